"""`python -m policy_gradients …`, the form that `torchrun -m` and `accelerate launch -m` need."""

from policy_gradients.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
