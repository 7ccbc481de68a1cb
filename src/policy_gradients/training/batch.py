"""What a step holds in its hands: completions, what they earned, what an update learns from, the seconds it took."""

import dataclasses
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from policy_gradients.language.rollout import Rollout


@dataclass
class Sample:
    """This process's share of a step's completions, and the task's row of each."""

    rollout: Rollout
    rows: list[Mapping[str, Any]]


@dataclass
class Rewarded:
    """What a step's completions earned.

    Attributes:
        own: (prompts of this process, G).
        groups: (prompts of the global batch, G), on the CPU.
        compared: what advantages are made of, of the same shape: `groups`, or what sharing left of it.
        strict: (completions of the global batch,), 1 where the strict metric is met.
        texts: of the global batch.
        shown: what the row of metrics says of them.
    """

    own: Tensor
    groups: Tensor
    compared: Tensor
    strict: Tensor
    texts: list[str]
    tokens: int
    shown: dict[str, float]


@dataclass
class Batch:
    """What one update learns from: this process's completions, and counts over the global batch.

    Attributes:
        rewards, advantages: (prompts of this process, G); no advantages where credit needs none.
    """

    rollout: Rollout
    rewards: Tensor
    advantages: Tensor | None
    completions: int
    tokens: int
    kl_weight: float
    entropy_weight: float

    def piece(self, first: int, last: int) -> "Batch":
        """The prompts first … last - 1 of it; the counts stay those of the whole."""
        return dataclasses.replace(
            self,
            rollout=self.rollout.slice_prompts(first, last),
            rewards=self.rewards[first:last],
            advantages=None if self.advantages is None else self.advantages[first:last],
        )


@dataclass
class Stopwatch:
    """Seconds spent in the named parts of a step."""

    device: torch.device
    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("rollout", "reward", "log_probs", "backward", "optimizer"), 0.0)
    )

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = self.now()
        try:
            yield
        finally:  # what ends in an error took its time too
            self.seconds[name] += self.now() - start

    def now(self) -> float:
        """Seconds, once the device has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
