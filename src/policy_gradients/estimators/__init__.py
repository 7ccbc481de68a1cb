"""Pure tensor maths of policy gradients: it imports torch alone, holds no state, and reads like the equations.

Conventions (all modules): maximise J, minimise `loss`; `mask` is 1 on completion tokens, the end-of-sequence token
included, 0 on padding; advantages carry no gradient; entropies are full-softmax entropies; logs are natural, so
entropies and divergences are in nats.
"""
