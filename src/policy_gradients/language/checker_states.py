"""The states of a checker along a completion, and where each token of the vocabulary would lead from there."""

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from policy_gradients.language.rewards import Completion, RewardFunction, call_reward
from policy_gradients.language.rules import AllOf, Rule, StatefulRule, Words, fewest_characters, require_states
from policy_gradients.language.text import shipped_excerpts
from policy_gradients.language.tokens import added_texts

MANY_JOINS = 200_000  # from here on, some seconds: a bar shows
UNFAMILIAR = (
    "Ça coûte 3 € – naïve façade, 12³ m² in Zürich.",
    "Москва, 1147; Αθήνα; 東京は日本の首都です。 नमस्ते 2024 مرحبا",
    "x = {'a': [1, 2]};\n\tif x  !=  7: print(\"it's 100%\") # don't 👍🏽",
)


class CheckerStates:
    """Steps a `StatefulRule` through tokens, by table: what the rule remembers of a text after each of them.

    What a token changes is what it adds to the text before it, at the beginning of a completion and after it: the two
    differ for tokenizers that write spaces between words. Where a character is split between tokens, the first of them
    counts as the character. The table is held against whole texts when it is made.

    Attributes:
        kind_of_token: (vocabulary,): tokens that change every state alike are of one kind.
        after: (states, kinds): the state after a token of that kind.
        one_hot: (vocabulary, kinds + 1): the kind of each token, and last that of those that end a completion.
        texts: for each state one text that leads to it; None if no tokens do.
        end_ids: tokens that end a completion.

    Where the beginning is special, there is one more state than the rule has, the last: something has been written, and
    the rule's state is still that of the empty text, which as a state of the table means that nothing was written.

    Raises:
        ValueError: the rule has no states, or no table is exact for this tokenizer.
    """

    def __init__(self, rule: StatefulRule, tokenizer: Any, vocab_size: int, end_ids: list[int]):
        require_states(rule)
        known = min(len(tokenizer), vocab_size)  # a model may have room for more tokens than its tokenizer knows
        first, later = added_texts(tokenizer, known)
        rest = [(rule.state(""), rule.state(""))] * (vocab_size - known)
        changes = [(rule.state(a), rule.state(b)) for a, b in zip(first, later, strict=True)] + rest
        pieces = dict(zip(changes, zip(first, later, strict=True), strict=False))  # texts that change the state so
        kinds = {change: kind for kind, change in enumerate(sorted(pieces | dict.fromkeys(changes, ("", ""))))}
        pieces = {change: pieces.get(change, ("", "")) for change in kinds}
        self.kind_of_token = torch.tensor([kinds[change] for change in changes])
        self.start, begun = rule.state(""), rule.num_states
        self.after = torch.tensor([
            [rule.join(state, later) for _, later in kinds]
            for state in tqdm(range(rule.num_states), "states", disable=rule.num_states * len(kinds) < MANY_JOINS)
        ])  # fmt: skip
        if any(first != later for first, later in kinds):
            # kinds in which nothing is written stay at the beginning: special tokens, which are not part of the text
            nothing = [pieces[kind] == ("", "") for kind in kinds]
            self.after = torch.cat([self.after, self.after[self.start : self.start + 1]])
            self.after[self.after == self.start] = begun
            self.after[self.start] = torch.tensor([
                self.start if silent else begun if first == self.start else first
                for silent, (first, _) in zip(nothing, kinds, strict=True)
            ])  # fmt: skip
        self.texts = _texts(self.after.tolist(), self.start, [pieces[change] for change in kinds])
        self.end_ids = torch.tensor(end_ids)
        with_end = self.kind_of_token.index_fill(0, self.end_ids, len(kinds))
        self.one_hot = torch.nn.functional.one_hot(with_end, len(kinds) + 1).float()
        if hasattr(tokenizer, "encode"):
            self._require_exact(rule, tokenizer)

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

    def fewest_tokens(self, accepts: Callable[[str], bool]) -> int | None:
        """Tokens of the shortest completion, its end included, whose text is accepted; None: there is none.

        `accepts` must look at no more of a text than the rule's state.
        """
        steps, reached, frontier = 1, {self.start}, {self.start}
        while frontier:
            if any(accepts(self.texts[state]) for state in frontier):
                return steps
            frontier = set(self.after[sorted(frontier)].unique().tolist()) - reached
            reached |= frontier
            steps += 1
        return None

    def texts_that_differ(self, rule: StatefulRule, tokenizer: Any, texts: Sequence[str]) -> list[str]:
        """Those whose state by the table is not the rule's of the whole text, at one of its tokens or at its end.

        Within a character that is split between tokens there is no text yet to compare.
        """
        wrong = []
        for text in texts:
            ids = tokenizer.encode(text, add_special_tokens=False)
            if not ids or max(ids) >= len(self.kind_of_token):
                continue
            states = self.before_tokens(torch.tensor([[*ids, ids[0]]]))[0].tolist()
            prefixes = tokenizer.batch_decode(
                [ids[:t] for t in range(len(ids) + 1)], skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
            found = [self.start if state == rule.num_states else state for state in states]
            wanted = [(state, rule.state(prefix)) for state, prefix in zip(found, prefixes, strict=True)]
            split = [prefix.endswith("\ufffd") for prefix in prefixes]
            if any(a != b and not within for (a, b), within in zip(wanted, split, strict=True)):
                wrong.append(text)
        return wrong

    def _require_exact(self, rule: StatefulRule, tokenizer: Any) -> None:
        texts = [*shipped_excerpts("heldout")[:80], *UNFAMILIAR]
        if wrong := self.texts_that_differ(rule, tokenizer, texts):
            raise ValueError(
                f"credit by state is not exact for this tokenizer: in {len(wrong)} of {len(texts)} texts the states of "
                f"the tokens are not those of the text, as in {wrong[0][:40]!r}; use --credit completion"
            )


def fewest_tokens(rule: Rule, tokenizer: Any, vocab_size: int) -> int:
    """A lower bound on the tokens of a completion that passes, its end included: a lower cap is hopeless.

    From the characters that the rule asks for (`fewest_characters`) and the longest text that one token adds.
    """
    first, later = added_texts(tokenizer, min(len(tokenizer), vocab_size))
    pieces = {*first, *later}
    longest = max(1, *map(len, pieces))
    longest_spelling = max(longest, *(len(unicodedata.normalize("NFD", piece).casefold()) for piece in pieces))

    def tokens(rule: Rule) -> int:
        if isinstance(rule, AllOf):
            return max(map(tokens, rule.parts))
        # words are compared in a spelling that may be longer than what was written
        return -(-fewest_characters(rule) // (longest_spelling if isinstance(rule, Words) else longest))

    return tokens(rule) + 1


def require_reachable(rule: Rule, tokenizer: Any, vocab_size: int, max_new_tokens: int) -> None:
    """Raise ValueError if no completion of at most `max_new_tokens` tokens, its end included, satisfies the rule."""
    needed = fewest_tokens(rule, tokenizer, vocab_size)
    if needed > max_new_tokens:
        raise ValueError(
            f"no completion of max_new_tokens={max_new_tokens} can satisfy {rule.name}: with this tokenizer's longest "
            f"tokens it takes {needed}, the end included; raise max_new_tokens or ask for less"
        )


def _texts(after: list[list[int]], start: int, pieces: list[tuple[str, str]]) -> list[str | None]:
    """Breadth first from the empty text: a text for every state that pieces of text, at first and later, lead to."""
    texts: list[str | None] = [None] * len(after)
    texts[start], queue = "", [start]
    for state in queue:  # grows on the way
        for kind, then in enumerate(after[state]):
            if texts[then] is None:
                texts[then] = f"{texts[state]}{pieces[kind][state != start]}"
                queue.append(then)
    return texts
