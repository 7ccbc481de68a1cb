"""The states of a checker along a completion, and where each token of the vocabulary would lead from there."""

from typing import Any

import torch
from torch import Tensor

from policy_gradients.estimators.state_values import StateValues
from policy_gradients.language.rules import StatefulRule, require_states


class CheckerStates:
    """Steps a `StatefulRule` through tokens, by table: what the rule remembers of a text after each of them.

    A token changes the state by what it reads as on its own. Only where a character is split between tokens, which
    decode to nothing readable, does that differ from the state of the whole text; rewards are not concerned.

    Attributes:
        kind_of_token: (vocabulary,): tokens that change every state alike are of one kind.
        after: (states, kinds): the state after a token of that kind.
        end_ids: tokens that end a completion.

    Raises:
        ValueError: the rule has no states.
    """

    def __init__(self, rule: StatefulRule, tokenizer: Any, vocab_size: int, end_ids: list[int]):
        require_states(rule)
        known = min(len(tokenizer), vocab_size)  # a model may have room for more tokens than its tokenizer knows
        texts = tokenizer.batch_decode(
            [[i] for i in range(known)], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        changes = [rule.state(text) for text in texts] + [rule.state("")] * (vocab_size - known)
        kinds = {change: kind for kind, change in enumerate(sorted(set(changes)))}
        self.kind_of_token = torch.tensor([kinds[change] for change in changes])
        self.after = torch.tensor([[rule.join(state, change) for change in kinds] for state in range(rule.num_states)])
        self.start = rule.state("")
        self.end_ids = torch.tensor(end_ids)

    @property
    def num_states(self) -> int:
        return len(self.after)

    def before_tokens(self, completion_ids: Tensor) -> Tensor:
        """The state in which each token was chosen, (completions, time) → (completions, time)."""
        kinds = self.kind_of_token.to(completion_ids.device)[completion_ids]
        after = self.after.to(completion_ids.device)
        state, states = torch.full_like(kinds[:, 0], self.start), []
        for t in range(kinds.shape[1]):
            states.append(state)
            state = after[state, kinds[:, t]]
        return torch.stack(states, dim=1)

    def action_values(self, states: Tensor, values: StateValues) -> Tensor:
        """Q of every next token, (n,) → (n, vocabulary): the value of the state that it leads to, or of ending here."""
        device = states.device
        going, ended = (table.to(device) for table in values.estimates())
        q = going[self.after.to(device)[states]][:, self.kind_of_token.to(device)]
        q[:, self.end_ids.to(device)] = ended[states].unsqueeze(1)
        return q
