"""The states of a checker along a completion, and where each token of the vocabulary would lead from there."""

from typing import Any

import torch
from torch import Tensor

from policy_gradients.language.rewards import Completion, RewardFunction, call_reward
from policy_gradients.language.rules import StatefulRule, require_states


class CheckerStates:
    """Steps a `StatefulRule` through tokens, by table: what the rule remembers of a text after each of them.

    A token changes the state by what it reads as on its own. Only where a character is split between tokens, which
    decode to nothing readable, does that differ from the state of the whole text; rewards are not concerned.

    Attributes:
        kind_of_token: (vocabulary,): tokens that change every state alike are of one kind.
        after: (states, kinds): the state after a token of that kind.
        one_hot: (vocabulary, kinds + 1): the kind of each token, and last that of those that end a completion.
        texts: for each state one text that leads to it; None if no tokens do.
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
        pieces = dict(zip(changes, texts, strict=False))  # a text that changes the state so
        kinds = {change: kind for kind, change in enumerate(sorted(pieces))}
        self.kind_of_token = torch.tensor([kinds[change] for change in changes])
        self.after = torch.tensor([[rule.join(state, change) for change in kinds] for state in range(rule.num_states)])
        self.start = rule.state("")
        self.texts = _texts(self.after.tolist(), self.start, [pieces[change] for change in kinds])
        self.end_ids = torch.tensor(end_ids)
        with_end = self.kind_of_token.index_fill(0, self.end_ids, len(kinds))
        self.one_hot = torch.nn.functional.one_hot(with_end, len(kinds) + 1).float()

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

    def end_rewards(self, reward: RewardFunction) -> Tensor:
        """What a completion earns that ends in a state, (states,): the reward function is asked about a text of each.

        Exact, and known before any completion has ended there. A state that no tokens lead to has 0.
        """
        known = [state for state, text in enumerate(self.texts) if text is not None]
        earned = torch.zeros(self.num_states)
        earned[known] = torch.tensor(call_reward(reward, [Completion(self.texts[state], True) for state in known]))
        return earned

    def action_values(self, states: Tensor, going: Tensor, ended: Tensor) -> Tensor:
        """Q of every next token: the value of the state that it leads to, or of ending here.

        Args:
            states: (n,).
            going: (states,), V of going on from each.
            ended: (states,), `end_rewards`.

        Returns:
            (n, vocabulary).
        """
        device = states.device
        q = going.to(device)[self.after.to(device)[states]][:, self.kind_of_token.to(device)]
        q[:, self.end_ids.to(device)] = ended.to(device)[states].unsqueeze(1)
        return q


def _texts(after: list[list[int]], start: int, pieces: list[str]) -> list[str | None]:
    """Breadth first from the empty text: a text for every state that pieces of text lead to."""
    texts: list[str | None] = [None] * len(after)
    texts[start], queue = "", [start]
    for state in queue:  # grows on the way
        for kind, then in enumerate(after[state]):
            if texts[then] is None:
                texts[then] = f"{texts[state]}{pieces[kind]}"
                queue.append(then)
    return texts
