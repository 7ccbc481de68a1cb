"""Constrained decoding: the checker's automaton steers the untouched model token by token, and nothing is trained."""

from typing import Any

import torch
from torch import Tensor

from policy_gradients.language.checker_states import CheckerStates
from policy_gradients.language.tokens import whole_tokens


class ConstrainedDecoding:
    """Draws from π(a | text) h(state after a) / Σ: a `logits_processor` for `generate`.

    With h in {0, 1}, whether the rule can still be met, this is the masking of guided generation (Willard & Louf 2023,
    arXiv:2307.09702, where the automaton is that of a regular expression). With h the chance that the model will meet
    the rule from there, it would be the model's own distribution given that the rule is met, of all that always meet it
    the closest to the model (Lew et al. 2023, arXiv:2306.03081); a table of states knows that chance on average only.

    Tokens that hold a part of a character are left out: followed by the wrong ones they are no characters, and a mask
    finds them.
    """

    def __init__(
        self, checker: CheckerStates, tokenizer: Any, log_h: Tensor, accepted: Tensor, temperature: float = 1.0
    ):
        """
        Args:
            log_h: (tokens left + 1, states), log h of being in a state with so many tokens left.
            accepted: (states,), 1.0 where a text that ends there meets the rule.
            temperature: that of the sampling.
        """
        self.checker, self.log_h, self.temperature = checker, log_h, temperature
        self.log_accepted = accepted.log()
        vocabulary = len(checker.kind_of_token)
        whole = torch.zeros(vocabulary, dtype=torch.bool)
        whole[: len(tokenizer)] = torch.tensor(whole_tokens(tokenizer, len(tokenizer)))[:vocabulary]
        self.left_out = ~whole.index_fill(0, checker.end_ids, True)

    def __call__(self, completion_ids: Tensor, logits: Tensor) -> Tensor:
        """Completions so far, (rows, tokens), and the model's logits, (rows, vocabulary) → the logits to draw from."""
        states = states_of(self.checker, completion_ids)
        left = len(self.log_h) - 2 - completion_ids.shape[1]  # after the token that is to be drawn
        steered = self.checker.action_values(states, self.log_h[left], self.log_accepted)
        return (logits + self.temperature * steered).masked_fill(self.left_out.to(logits.device), -torch.inf)


def reachable(checker: CheckerStates, accepted: Tensor, max_tokens: int) -> Tensor:
    """0 where the rule can still be met with so many tokens left, the end included, else −∞; (left + 1, states)."""
    can = [torch.zeros(checker.num_states, dtype=torch.bool)]
    for _ in range(max_tokens):
        can.append((accepted > 0) | can[-1][checker.after].any(1))
    return torch.stack(can).float().log()


def chances(checker: CheckerStates, accepted: Tensor, transitions: Tensor, max_tokens: int) -> Tensor:
    """log of the chance to meet the rule with so many tokens left, by backward recursion; (left + 1, states).

    Args:
        accepted: (states,), 1.0 where a text that ends there meets the rule.
        transitions: (states, kinds + 1), the mean chance of each kind of token in each state, the ends last; rows sum
            to 1.
    """
    transitions, accepted = transitions.double(), accepted.double()
    values = [torch.zeros(checker.num_states, dtype=torch.float64)]
    for _ in range(max_tokens):
        values.append((transitions[:, :-1] * values[-1][checker.after]).sum(1) + transitions[:, -1] * accepted)
    return torch.stack(values).log().float()


class MeanTransitions:
    """A `logits_processor` that changes nothing, and counts what the model would do in each state of the checker."""

    def __init__(self, checker: CheckerStates, temperature: float = 1.0):
        self.checker, self.temperature = checker, temperature
        self.sums = torch.zeros(checker.num_states, checker.one_hot.shape[1], dtype=torch.float64)

    def __call__(self, completion_ids: Tensor, logits: Tensor) -> Tensor:
        """As `ConstrainedDecoding`; the logits come back as they were."""
        chances = (logits.float() / self.temperature).softmax(-1) @ self.checker.one_hot.to(logits.device)
        self.sums.index_add_(0, states_of(self.checker, completion_ids).cpu(), chances.double().cpu())
        return logits

    def estimates(self) -> Tensor:
        """(states, kinds + 1), each row with one pseudo-visit of the mean over all states.

        Raises:
            ValueError: nothing was counted yet.
        """
        total = self.sums.sum(0)
        if not total.any():
            raise ValueError("no completions were counted; give this to `generate` as its logits_processor first")
        rows = self.sums + total / total.sum()
        return rows / rows.sum(1, keepdim=True)


def states_of(checker: CheckerStates, completion_ids: Tensor) -> Tensor:
    """The state that each completion so far is in, (rows, tokens) → (rows,)."""
    following = torch.nn.functional.pad(completion_ids, (0, 1))  # the state *before* a token that is yet to come
    return checker.before_tokens(following)[:, -1]
