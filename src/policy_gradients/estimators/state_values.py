"""Values of a few states that many episodes share, learned as means: groups that meet again after the first step."""

import torch
from torch import Tensor


class StateValues:
    """V(s) = mean return of the episodes from s on, and mean reward of those that ended there; no network.

    GRPO's baseline is the mean over episodes that share the first state, the prompt. Episodes may share later states
    too, as far as a reward can tell: so many characters, such a digit sum. GiGPO (Feng et al. 2025, arXiv:2505.10978)
    calls them anchor states and forms a group at each. Here they are one table, and it remembers earlier batches, which
    count less by `memory` for each batch since: the policy that they came from is no longer the present one.

    The table is biased where what it leaves out of a state matters for what comes: that is its price for little noise.

    Attributes:
        counts, sums: (2, states), of the episodes that went on from s, and of those that ended in s.
    """

    def __init__(self, num_states: int, memory: float = 0.8):
        """Raises ValueError unless num_states ≥ 1 and 0 ≤ memory < 1."""
        if num_states < 1 or not 0 <= memory < 1:
            raise ValueError(f"need num_states ≥ 1 and 0 ≤ memory < 1, got {num_states} and {memory}")
        self.memory = memory
        self.counts = torch.zeros(2, num_states)
        self.sums = torch.zeros(2, num_states)

    def update(self, states: Tensor, mask: Tensor, finished: Tensor, rewards: Tensor, returns: Tensor) -> None:
        """Account for a batch of episodes.

        Args:
            states: whole numbers, (episodes, time): the state in which each action was chosen.
            mask: (episodes, time), 1 on actions, the one that ended the episode included.
            finished: (episodes,): whether the last action ended it, or it was cut.
            rewards: (episodes,), of each whole episode.
            returns: (episodes, time): the reward less what the steps from this one on cost.

        Raises:
            ValueError: shapes that do not match.
        """
        same = states.shape == mask.shape == returns.shape and finished.shape == rewards.shape == states.shape[:1]
        if not same:
            shapes = [tuple(x.shape) for x in (states, mask, finished, rewards, returns)]
            raise ValueError(f"states, mask, finished, rewards and returns do not match: {shapes}")
        self.counts *= self.memory
        self.sums *= self.memory
        last = (mask.sum(1, keepdim=True).long() - 1).clamp(min=0)
        ended_at = states.gather(1, last).squeeze(1)[finished.bool()]
        visits, rewards, returns = mask.bool(), rewards.to(self.sums), returns.to(self.sums)
        for row, where, what in ((0, states[visits], returns[visits]), (1, ended_at, rewards[finished.bool()])):
            self.counts[row].index_add_(0, where, torch.ones_like(what))
            self.sums[row].index_add_(0, where, what)

    def estimates(self) -> Tensor:
        """(2, states): V of going on from s, and of having ended in s; with one pseudo-visit of the mean reward each.

        So a state that nobody has been in is worth the mean, and draws nobody in or out.
        """
        mean = self.sums[1].sum() / self.counts[1].sum().clamp(min=1)
        return (self.sums + mean) / (self.counts + 1)
