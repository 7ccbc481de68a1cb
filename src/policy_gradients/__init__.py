"""Policy gradients from REINFORCE on a bandit to GRPO on a language model; the estimators' names are here as well.

    from policy_gradients import group_advantages, clipped_loss, aggregate

They are loaded at the first use, so that the command line's `--help` need not wait for torch.
"""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if not name.startswith("__"):
        estimators = importlib.import_module("policy_gradients.estimators")
        if name in estimators.__all__:
            return getattr(estimators, name)
    elif name == "__all__":
        return importlib.import_module("policy_gradients.estimators").__all__
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *importlib.import_module("policy_gradients.estimators").__all__})
