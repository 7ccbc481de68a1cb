"""What steps 3 to 5 need from a rollout, whatever the world: a bandit, a Markov chain, a robot, a tree of tokens."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Trajectories:
    """Episodes side by side, padded at the end. The leading dimensions `...` (several seeds, say) are optional.

    Attributes:
        observations: (..., episodes, time), or with the size of an observation behind.
        actions: (..., episodes, time), or with the size of an action behind.
        rewards: (..., episodes, time); the reward that follows the action. Zero on padding.
        mask: (..., episodes, time), 1 on steps that were taken.
        scores: (..., episodes, time, parameters), ∇_θ log π(a_t|s_t), where the policy is small enough; zero on
            padding.
        last_observations: (..., episodes), or with the size of an observation behind: what the last action led to.
        terminated: (..., episodes), whether the episode ended, rather than was cut; then nothing is left to be earned.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    mask: Tensor
    scores: Tensor | None = None
    last_observations: Tensor | None = None
    terminated: Tensor | None = None

    @property
    def returns(self) -> Tensor:
        """Σ_t r_t of each episode, undiscounted, (..., episodes)."""
        return torch.where(self.mask > 0, self.rewards, 0).sum(-1)

    @property
    def lengths(self) -> Tensor:
        """Steps of each episode, (..., episodes)."""
        return self.mask.sum(-1)

    def __getitem__(self, index: Tensor) -> "Trajectories":
        """The episodes `index` (whole numbers of any shape) of trajectories without leading dimensions."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Trajectories(**{name: None if v is None else v[index] for name, v in values.items()})

    def with_scores(self, scores: Tensor) -> "Trajectories":
        """The same with scores of shape (..., episodes, time, parameters); those on padding are set to zero.

        Raises:
            ValueError: scores that do not match the mask.
        """
        if scores.shape[:-1] != self.mask.shape:
            raise ValueError(f"scores {tuple(scores.shape)} do not match mask {tuple(self.mask.shape)}")
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Trajectories(**{**values, "scores": torch.where(self.mask.unsqueeze(-1) > 0, scores, 0.0)})
