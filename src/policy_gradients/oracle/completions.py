"""Every completion of a small world of tokens, once: from a policy's table of tokens to its distribution, and back."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from policy_gradients.oracle.mdp import FiniteMDP
from policy_gradients.oracle.outcomes import enumerate_outcomes


@dataclass(frozen=True)
class Completions:
    """All completions of a world whose states are prefixes, in one order.

    Attributes:
        states: the prefix before each token, (completions, time).
        actions: the tokens, (completions, time); what stands on padding does not count.
        mask: 1 on tokens and 0 on padding, (completions, time).
        shape: (states, tokens) of a policy's table.
    """

    states: Tensor
    actions: Tensor
    mask: Tensor
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.mask)

    @property
    def texts(self) -> list[tuple[int, ...]]:
        """The tokens of each completion, the end token included."""
        lengths = self.mask.sum(1).long().tolist()
        return [tuple(row[:length]) for row, length in zip(self.actions.tolist(), lengths, strict=True)]

    def each(self, score: Callable[[tuple[int, ...]], float]) -> Tensor:
        """A score of every completion, (completions,), float64."""
        return torch.tensor([float(score(text)) for text in self.texts], dtype=torch.float64)

    def token_log_probs(self, table: Tensor) -> Tensor:
        """log π of every token of every completion, (..., completions, time), 0 on padding; of a table
        (..., states, tokens)."""
        return table[..., self.states, self.actions].masked_fill(self.mask == 0, 0.0)

    def log_probs(self, table: Tensor) -> Tensor:
        """log π of every completion, (..., completions), of a table of log-probs (..., states, tokens)."""
        return self.token_log_probs(table).sum(-1)

    def visits(self, probabilities: Tensor) -> Tensor:
        """How likely each token is written after each prefix, d(s) π(a|s), (states, tokens), for a distribution over
        completions, (completions,)."""
        flat = torch.zeros(self.shape[0] * self.shape[1], dtype=torch.float64)
        places = self.states * self.shape[1] + self.actions
        return flat.index_add(0, places.flatten(), (probabilities.unsqueeze(1) * self.mask).flatten()).view(self.shape)

    def table(self, probabilities: Tensor) -> Tensor:
        """log π(token | prefix), (states, tokens), of the policy with this distribution over completions: each token's
        share of what passes through its prefix. A prefix that has no probability gets all tokens alike."""
        visits = self.visits(probabilities)
        here = visits.sum(-1, keepdim=True)
        return torch.where(here > 0, visits / here, 1 / self.shape[1]).log()


def completions(mdp: FiniteMDP) -> Completions:
    """All completions of a token tree (`worlds.small.token_tree`), or of any world in which a token decides the next
    state.

    Raises:
        ValueError: a world without an end (`max_steps`), or of more than 200,000 completions.
    """
    states, tokens = mdp.rewards.shape
    even = torch.zeros(states, tokens, dtype=torch.float64).log_softmax(-1)
    found = enumerate_outcomes(mdp, lambda theta: even + 0 * theta.sum(), torch.zeros(1), with_noise=False)
    episodes = found.episodes
    return Completions(episodes.observations, episodes.actions, episodes.mask, (states, tokens))
