from policy_gradients.estimators import *  # noqa: F403  (what type checkers read of the names loaded at first use)
