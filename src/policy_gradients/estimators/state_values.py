"""Values of a few states that many episodes share, learned as means: groups that meet again after the first step."""

import torch
from torch import Tensor

from policy_gradients.estimators.checks import check_choices, check_mask, check_tensor, finite, floating


class StateValues:
    """V(s) = mean return of the episodes from s on; no network.

    GRPO's baseline is the mean over episodes that share the first state, the prompt. Episodes may share later states
    too, as far as a reward can tell: so many characters, such a digit sum. GiGPO (Feng et al. 2025, arXiv:2505.10978)
    calls them anchor states and forms a group at each. Here they are one table, and it remembers earlier batches, which
    count less by `memory` for each batch since: the policy that they came from is no longer the present one.

    The table is biased where what it leaves out of a state matters for what comes: that is its price for little noise.

    Attributes:
        counts, sums: (states,), visits and the returns from them on.
    """

    def __init__(self, num_states: int, memory: float = 0.8):
        """Raises ValueError unless num_states ≥ 1 and 0 ≤ memory < 1."""
        if num_states < 1 or not 0 <= memory < 1:
            raise ValueError(f"need num_states ≥ 1 and 0 ≤ memory < 1, got {num_states} and {memory}")
        self.memory = memory
        self.counts = torch.zeros(num_states)
        self.sums = torch.zeros(num_states)

    def update(self, states: Tensor, mask: Tensor, returns: Tensor) -> None:
        """Account for a batch of episodes.

        Args:
            states: whole numbers, (episodes, time): the state in which each action was chosen.
            mask: (episodes, time), 1 on actions, the one that ended the episode included.
            returns: (episodes, time): the reward less what the steps from this one on cost.

        Raises:
            ValueError: shapes that do not match, states that are not whole numbers below `num_states`, returns that are
                not finite on an action, a mask of other numbers than 0 and 1.
        """
        for name, x in (("states", states), ("mask", mask), ("returns", returns)):
            check_tensor(name, x)
        if not states.shape == mask.shape == returns.shape:
            shapes = [tuple(x.shape) for x in (states, mask, returns)]
            raise ValueError(f"states, mask and returns do not match: {shapes}")
        returns = floating("returns", returns)
        acted = check_mask(mask, "returns", returns) > 0
        check_choices("states", states[acted], len(self.counts))
        visited, found = states[acted].long(), returns[acted].to(self.sums)
        if not torch.isfinite(found).all():
            raise ValueError(f"returns {tuple(returns.shape)} must be finite on every action")
        self.counts *= self.memory
        self.sums *= self.memory
        self.counts.index_add_(0, visited, torch.ones_like(found))
        self.sums.index_add_(0, visited, found)

    def estimates(self, ended: Tensor) -> Tensor:
        """V, (states,), with one pseudo-visit each, which ended at once.

        So what nobody has tried is worth no more than what is known of it: hopes of a mean value would lead there.

        Args:
            ended: (states,), what it earns to end in each.

        Raises:
            ValueError: another shape, or not finite.
        """
        ended = finite("ended", ended)
        if ended.shape != self.counts.shape:
            raise ValueError(f"ended must have shape {tuple(self.counts.shape)}, got {tuple(ended.shape)}")
        return (self.sums + ended) / (self.counts + 1)
