"""`python -m policy_gradients …`, the form that `accelerate launch -m` needs."""

from policy_gradients.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
