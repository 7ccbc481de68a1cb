"""Values of a few states by policy evaluation: from the policy's own chances of what comes next, not from returns."""

import torch
from torch import Tensor

from policy_gradients.estimators.checks import check_choices, check_tensor, check_weights, finite


class TransitionValues:
    """V(s) = Σ_k P(k | s) V(after(s, k)) + P(end | s) R(s), swept backwards; no returns, no network.

    `StateValues` takes means of sampled returns, which says little while hardly any episode earns something. But the
    policy states the chance of every next action, not of the drawn one alone. Summed over the actions that change the
    state alike they are transition probabilities, and those with what ending in each state earns give every V by the
    Bellman equation (Sutton & Barto 2018, section 4.1): also the chance of 1 in 10,000 that no episode has met.

    Transitions are means over the visits to a state; batches before the last count less by `memory` each. Two things
    bias it: as in `StateValues`, what the state leaves out of the past is averaged over; and every state is given the
    whole horizon, also where some of the episode's actions are spent.

    Attributes:
        after: (states, kinds): the state after an action of that kind.
        horizon: actions that are looked ahead, as many as an episode may have; who has not ended by then earns nothing.
        counts: (states,), visits.
        sums: (states, kinds + 1), the chances of each kind of action, and last of ending, summed over visits.
    """

    def __init__(self, after: Tensor, horizon: int, memory: float = 0.8):
        """Raises ValueError unless horizon ≥ 1, 0 ≤ memory < 1 and `after` holds states, (states, kinds)."""
        if horizon < 1 or not 0 <= memory < 1:
            raise ValueError(f"need horizon ≥ 1 and 0 ≤ memory < 1, got {horizon} and {memory}")
        check_tensor("after", after)
        if after.dim() != 2:
            raise ValueError(f"after must have shape (states, kinds), got {tuple(after.shape)}")
        check_choices("after", after, len(after))
        self.after, self.horizon, self.memory = after.long(), horizon, memory
        states, kinds = after.shape
        self.counts = torch.zeros(states)
        self.sums = torch.zeros(states, kinds + 1)

    def update(self, states: Tensor, kind_probs: Tensor) -> None:
        """Account for a batch of visits.

        Args:
            states: whole numbers, (visits,).
            kind_probs: (visits, kinds + 1), rows that sum to 1.

        Raises:
            ValueError: shapes that do not match, states that are not whole numbers below their count, chances that are
                negative or not finite, or do not sum to 1 (to a hundredth, for half precision). Then nothing changes.
        """
        check_choices("states", states, len(self.counts))
        check_tensor("kind_probs", kind_probs)
        if states.dim() != 1:
            raise ValueError(f"states must have shape (visits,), got {tuple(states.shape)}")
        if kind_probs.shape != (len(states), self.sums.shape[1]):
            raise ValueError(f"need kind_probs {(len(states), self.sums.shape[1])}, got {tuple(kind_probs.shape)}")
        if len(states):
            check_weights("kind_probs", kind_probs, "states", kind_probs.shape)
        chances = kind_probs.to(self.sums)
        sums = chances.sum(1)
        if (wrong := (sums - 1).abs() > 0.01).any():
            found = sums[wrong][:4].tolist()
            raise ValueError(f"kind_probs {tuple(kind_probs.shape)}: rows must sum to 1, got {found}")
        self.counts *= self.memory
        self.sums *= self.memory
        self.counts.index_add_(0, states.long(), torch.ones(len(states)))
        self.sums.index_add_(0, states.long(), chances)

    def estimates(self, ended: Tensor) -> Tensor:
        """V of going on from each state, (states,), with one pseudo-visit each that ended at once.

        Args:
            ended: (states,), what it earns to end in each.

        Raises:
            ValueError: another shape, or not finite.
        """
        ended = finite("ended", ended)
        if ended.shape != self.counts.shape:
            raise ValueError(f"ended must have shape {tuple(self.counts.shape)}, got {tuple(ended.shape)}")
        chances = self.sums.clone()
        chances[:, -1] += 1
        chances /= (self.counts + 1).unsqueeze(1)
        values = torch.zeros_like(ended)
        for _ in range(self.horizon):
            values = (chances[:, :-1] * values[self.after]).sum(1) + chances[:, -1] * ended
        return values
