"""From a trained policy to a server that answers over HTTP, and back: is what is served the policy that was trained?

Nothing is imported here: the server's own process does not wait for a transformer library.
"""
