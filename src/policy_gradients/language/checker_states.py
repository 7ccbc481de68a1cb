"""The states of a checker along a completion, and where each token of the vocabulary would lead from there."""

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from policy_gradients.language.rewards import Completion, RewardFunction, call_reward
from policy_gradients.language.rules import AllOf, Rule, StatefulRule, Words, fewest_characters, require_states
from policy_gradients.language.text import shipped_excerpts
from policy_gradients.language.tokens import EVERY, NOTHING, Addition, additions, decode_each

MANY_JOINS = 200_000  # from here on, some seconds: a bar shows
UNFAMILIAR = (
    "Ça coûte 3 € – naïve façade, 12³ m² in Zürich.",
    "Москва, 1147; Αθήνα; 東京は日本の首都です。 नमस्ते 2024 مرحبا",
    "x = {'a': [1, 2]};\n\tif x  !=  7: print(\"it's 100%\") # don't 👍🏽",
)


class CheckerStates:
    """Steps a `StatefulRule` through tokens, by table: what the rule remembers of a text after each of them.

    What a token changes is what it adds to the text before it (`additions`). Two things count besides the rule's state:
    whether anything has been written, for tokenizers that write spaces between words, and what is unfinished of a
    character that is split between tokens, for the same byte goes on with one and is a character of its own behind
    another. The table is held against whole texts when it is made. One thing it does not know: a tokenizer that *falls
    back* to bytes writes a run of them that is no UTF-8 as one U+FFFD a byte, where the table has one a beginning.

    Attributes:
        kind_of_token: (vocabulary,): tokens that change every state alike are of one kind.
        after: (states, kinds): the state after a token of that kind.
        one_hot: (vocabulary, kinds + 1): the kind of each token, and last that of those that end a completion.
        texts: for each state one text that leads to it; None if no tokens do.
        end_ids: tokens that end a completion.
        whole_states: states in which no character is unfinished; as many again follow for each kind of `UNFINISHED`, if
            there are tokens that leave one.

    Where the beginning is special, there is one more state than the rule has, the last of those: something has been
    written, and the rule's state is still that of the empty text, which in the table means that nothing was written.

    Raises:
        ValueError: the rule has no states, or no table is exact for this tokenizer.
    """

    def __init__(self, rule: StatefulRule, tokenizer: Any, vocab_size: int, end_ids: list[int]):
        require_states(rule)
        known = min(len(tokenizer), vocab_size)  # a model may have room for more tokens than its tokenizer knows
        added = additions(tokenizer, known) + [NOTHING] * (vocab_size - known)
        change_of = {each: _change(rule, each) for each in set(added)}
        example = {change: each for each, change in change_of.items()}
        kinds = {change: kind for kind, change in enumerate(sorted(example))}
        examples = [example[change] for change in kinds]
        self.kind_of_token = torch.tensor([kinds[change_of[each]] for each in added])
        self.start = rule.state("")
        self.after, self.whole_states = _transitions(rule, list(kinds), self.start)
        self.texts = _texts(self.after.tolist(), self.start, self.whole_states, examples)
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

    def rule_states(self, states: Tensor, rule: StatefulRule) -> Tensor:
        """The rule's own state in each of the table's, of any shape."""
        whole = states % self.whole_states
        return torch.where(whole == rule.num_states, self.start, whole)

    def texts_that_differ(self, rule: StatefulRule, tokenizer: Any, texts: Sequence[str]) -> list[str]:
        """Those whose state by the table is not the rule's of the whole text, at one of its tokens or at its end.

        But for places within a character that is split between tokens: what is there depends on the tokenizer's family.
        """
        wrong = []
        for text in texts:
            ids = tokenizer.encode(text, add_special_tokens=False)
            if not ids or max(ids) >= len(self.kind_of_token):
                continue
            states = self.before_tokens(torch.tensor([[*ids, ids[0]]]))[0]
            found = self.rule_states(states, rule).tolist()
            wanted = [rule.state(prefix) for prefix in decode_each(tokenizer, [ids[:t] for t in range(len(ids) + 1)])]
            whole = (states < self.whole_states).tolist()
            if any(a != b and finished for a, b, finished in zip(found, wanted, whole, strict=True)):
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
    pieces = {
        text for each in additions(tokenizer, min(len(tokenizer), vocab_size)) for text in (each.first, *each.behind)
    }
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


class _Change(NamedTuple):
    """What a token does to the states of a rule: the states of what it adds, and what `Addition` has besides."""

    first: int
    behind: tuple[int, ...]
    leaves: tuple[int, ...]
    is_silent: bool


def _change(rule: StatefulRule, added: Addition) -> _Change:
    state = {text: rule.state(text) for text in {added.first, *added.behind}}
    return _Change(state[added.first], tuple(state[text] for text in added.behind), added.leaves, added.is_silent)


def _transitions(rule: StatefulRule, kinds: Sequence[_Change], start: int) -> tuple[Tensor, int]:
    """The table `after`, and how many of its states have nothing unfinished."""
    changes = sorted({state for kind in kinds for state in (kind.first, *kind.behind)})
    joined = torch.tensor([
        [rule.join(state, change) for change in changes]
        for state in tqdm(range(rule.num_states), "states", disable=rule.num_states * len(changes) < MANY_JOINS)
    ])  # fmt: skip
    column = {change: place for place, change in enumerate(changes)}
    # where no token begins a character without finishing it, nothing is ever unfinished
    unfinished = EVERY if any(kind.leaves[0] for kind in kinds) else EVERY[:1]
    behind = [joined[:, [column[kind.behind[end]] for kind in kinds]] for end in unfinished]
    first = joined[start, [column[kind.first] for kind in kinds]]
    if not torch.equal(first, behind[0][start]):
        begun = rule.num_states
        behind = [torch.cat([rows, rows[start : start + 1]]) for rows in behind]
        for rows in behind:
            rows[rows == start] = begun
        # kinds in which nothing is written stay at the beginning: special tokens, which are not part of the text
        silent = torch.tensor([kind.is_silent for kind in kinds])
        behind[0][start] = first.masked_fill(first == start, begun).masked_fill(silent, start)
    states = len(behind[0])
    leaves = torch.tensor([[kind.leaves[end] for kind in kinds] for end in unfinished])
    return torch.cat([rows + states * left for rows, left in zip(behind, leaves, strict=True)]), states


def _texts(after: list[list[int]], start: int, whole_states: int, examples: list[Addition]) -> list[str | None]:
    """Breadth first from the empty text: a text for every state that tokens of these kinds lead to."""
    texts: list[str | None] = [None] * len(after)
    texts[start], queue = "", [start]
    for state in queue:  # grows on the way
        for each, then in zip(examples, after[state], strict=True):
            if texts[then] is None:
                texts[then] = texts[state] + (each.first if state == start else each.behind[state // whole_states])
                queue.append(then)
    return texts
