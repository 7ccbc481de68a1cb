"""Deterministic 0/1 checkers of a completion's text: small objects with a name, a sentence for the prompt, a check.

A rule sees the decoded text alone (special tokens removed, nothing stripped, Unicode code points), never the prompt.
Whether the completion *ended by itself* is a fact about the tokens, not the text: `passes` in `rewards` adds it.
"""

import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, singledispatch
from typing import Protocol, runtime_checkable

import regex

# letters, the marks that stand on them, numbers, underscores, and the joiners that Indic and Persian spelling needs
_WORD = r"[\p{L}\p{M}\p{N}\p{Pc}\u200c\u200d]+"
ASCII_DIGITS = "0123456789"  # str.isdigit is true for "³" and other digits that int() refuses


@runtime_checkable
class Rule(Protocol):
    """What the training loop and the evaluation ask of a rule."""

    @property
    def name(self) -> str: ...
    @property
    def sentence(self) -> str: ...
    def check(self, text: str) -> bool: ...


@runtime_checkable
class StatefulRule(Rule, Protocol):
    """A rule that reads a text piece by piece, like a finite automaton, and keeps no more than one whole number of it.

    state(a + b) = join(state(a), state(b)), and two texts with one state are equal to the rule. Not every rule has that
    (`LastNumberIsPrime` would have to remember the number).
    """

    @property
    def num_states(self) -> int: ...
    def state(self, text: str) -> int: ...
    def join(self, first: int, second: int) -> int: ...


MOST_STATES = 20_000  # that credit by state keeps a table of


def require_states(rule: Rule) -> None:
    """Raise ValueError unless the rule, and each part of it, is a `StatefulRule`, with states enough to count."""
    if isinstance(rule, AllOf):
        for part in rule.parts:
            require_states(part)
    elif not isinstance(rule, StatefulRule):
        raise ValueError(
            f"the rule {rule.name} has no states that sum a text up, as credit by state needs; use --credit completion"
        )
    if rule.num_states > MOST_STATES:
        raise ValueError(
            f"the rule {rule.name} has {rule.num_states:.3g} states: a table of them, each for every way in which a "
            f"character may be unfinished, takes some {rule.num_states * 1e-3:.3g} s and "
            f"{rule.num_states * 6e-5:.2g} GB; {MOST_STATES} are the most. Ask for a shorter text, or use "
            "--credit completion"
        )


@dataclass(frozen=True)
class ExactLength:
    """Exactly `characters` Unicode code points; a training curriculum may allow `tolerance` more or fewer.

    A code point is what `len` counts: `é` is one or two of them, a flag two. `ExactGraphemes` counts what is seen.
    """

    characters: int = 64
    tolerance: int = 0

    def __post_init__(self) -> None:
        _at_least_one("ExactLength: characters", self.characters)
        if self.tolerance < 0:
            raise ValueError(f"ExactLength: tolerance must not be negative, got {self.tolerance}")

    @property
    def name(self) -> str:
        return f"length={self.characters}" + (f"±{self.tolerance}" if self.tolerance else "")

    @property
    def sentence(self) -> str:
        return f"Write exactly {self.characters} characters."

    def distance(self, text: str) -> int:
        """Number of characters too many or too few."""
        return abs(len(text) - self.characters)

    def check(self, text: str) -> bool:
        return self.distance(text) <= self.tolerance

    @property
    def num_states(self) -> int:
        return 2 * self.characters + 1  # the last one is: that many or more

    def state(self, text: str) -> int:
        return min(len(text), self.num_states - 1)

    def join(self, first: int, second: int) -> int:
        return min(first + second, self.num_states - 1)


@dataclass(frozen=True)
class ExactGraphemes:
    """Exactly `characters` characters as they are seen: extended grapheme clusters (UAX #29) of code points.

    It has no states: whether a code point begins a cluster depends on those before it.
    """

    characters: int = 64
    tolerance: int = 0

    def __post_init__(self) -> None:
        _at_least_one("ExactGraphemes: characters", self.characters)
        if self.tolerance < 0:
            raise ValueError(f"ExactGraphemes: tolerance must not be negative, got {self.tolerance}")

    @property
    def name(self) -> str:
        return f"graphemes={self.characters}" + (f"±{self.tolerance}" if self.tolerance else "")

    @property
    def sentence(self) -> str:
        return f"Write exactly {self.characters} characters."

    def distance(self, text: str) -> int:
        """Number of characters too many or too few."""
        return abs(len(regex.findall(r"\X", text)) - self.characters)

    def check(self, text: str) -> bool:
        return self.distance(text) <= self.tolerance


@dataclass(frozen=True)
class DigitSum:
    """At least one ASCII digit, and the sum of the ASCII digits is `residue` modulo `divisor`."""

    divisor: int = 3
    residue: int = 0

    def __post_init__(self) -> None:
        _at_least_one("DigitSum: divisor", self.divisor)
        if not 0 <= self.residue < self.divisor:
            raise ValueError(f"DigitSum: residue must lie in [0, {self.divisor}), got {self.residue}")

    @property
    def name(self) -> str:
        return f"digits%{self.divisor}={self.residue}"

    @property
    def sentence(self) -> str:
        if self.residue:
            return f"Use digits whose sum leaves {self.residue} when divided by {self.divisor}."
        return f"Use digits whose sum is divisible by {self.divisor}."

    def check(self, text: str) -> bool:
        digits = [int(c) for c in text if c in ASCII_DIGITS]
        return bool(digits) and sum(digits) % self.divisor == self.residue

    @property
    def num_states(self) -> int:
        return self.divisor + 1  # no digit yet, or the remainder of their sum

    def state(self, text: str) -> int:
        digits = [int(c) for c in text if c in ASCII_DIGITS]
        return 1 + sum(digits) % self.divisor if digits else 0

    def join(self, first: int, second: int) -> int:
        return 1 + (first + second - 2) % self.divisor if first and second else first or second


@dataclass(frozen=True)
class ExactTokens:
    """Exactly `tokens` tokens under the given tokenizer's `encode` (the end-of-sequence token not counted)."""

    encode: Callable[[str], list[int]]
    tokens: int = 12

    def __post_init__(self) -> None:
        _at_least_one("ExactTokens: tokens", self.tokens)

    @property
    def name(self) -> str:
        return f"tokens={self.tokens}"

    @property
    def sentence(self) -> str:
        return f"Write exactly {self.tokens} tokens."

    def check(self, text: str) -> bool:
        return len(self.encode(text)) == self.tokens


@dataclass(frozen=True)
class LastNumberIsPrime:
    """The last run of ASCII digits in the text is a prime number of at most 24 digits (leading zeros not counted)."""

    name: str = "last-number-prime"
    sentence: str = "Let the last number be a prime."

    def check(self, text: str) -> bool:
        numbers = re.findall(r"[0-9]+", text)
        last = numbers[-1].lstrip("0") if numbers else ""
        return 1 <= len(last) <= 24 and _is_prime(last)


@dataclass(frozen=True)
class Words:
    """Every word of `required` occurs and none of `forbidden` does: whole words, case-insensitive.

    Words begin and end at the default word boundaries of Unicode (UAX #29): of a script without spaces, such as Thai,
    at any character. Two spellings are equal after canonical composition (NFC) and full case folding: `STRASSE` is
    `Straße`, `é` is `e` with an accent behind it. Vowel points are letters: they are not left out.
    """

    required: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.required or self.forbidden):
            raise ValueError("Words: give at least one required or forbidden word")
        for word in (*self.required, *self.forbidden):  # a phrase or "don't" would never be found among whole words
            if not regex.fullmatch(_WORD, word):
                raise ValueError(f"Words: {word!r} is not one word of letters, marks, digits and underscores")
        if clash := set(map(_folded, self.required)) & set(map(_folded, self.forbidden)):
            raise ValueError(f"Words: {sorted(clash)} both required and forbidden, which nothing can satisfy")

    @property
    def name(self) -> str:
        return ",".join([f"+{w}" for w in self.required] + [f"-{w}" for w in self.forbidden])

    @property
    def sentence(self) -> str:
        parts = []
        if self.required:
            parts.append(f"Use {_listed(self.required, 'and')}.")
        if self.forbidden:
            parts.append(f"Do not use {_listed(self.forbidden, 'or')}.")
        return " ".join(parts)

    def check(self, text: str) -> bool:
        folded = _folded(text)
        return all(_has_word(folded, w) for w in self.required) and not any(
            _has_word(folded, w) for w in self.forbidden
        )


@dataclass(frozen=True)
class AllOf:
    """Every part holds."""

    parts: tuple[Rule, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("AllOf: needs at least one rule")

    @property
    def name(self) -> str:
        return "&".join(part.name for part in self.parts)

    @property
    def sentence(self) -> str:
        return " ".join(part.sentence for part in self.parts)

    def check(self, text: str) -> bool:
        return all(part.check(text) for part in self.parts)

    @property
    def num_states(self) -> int:
        return math.prod(part.num_states for part in self._stateful)

    def state(self, text: str) -> int:
        return self._pack([part.state(text) for part in self._stateful])

    def join(self, first: int, second: int) -> int:
        pairs = zip(self._unpack(first), self._unpack(second), strict=True)
        return self._pack([part.join(*pair) for part, pair in zip(self._stateful, pairs, strict=True)])

    @cached_property  # a table asks some thousand times, and to look at a protocol takes long
    def _stateful(self) -> tuple["StatefulRule", ...]:
        for part in self.parts:
            require_states(part)
        return self.parts  # type: ignore[return-value]

    def _pack(self, states: list[int]) -> int:
        packed = 0
        for part, state in zip(self._stateful, states, strict=True):
            packed = packed * part.num_states + state
        return packed

    def _unpack(self, packed: int) -> list[int]:
        states = []
        for part in reversed(self._stateful):
            packed, state = divmod(packed, part.num_states)
            states.append(state)
        return states[::-1]


def length_and_digits(characters: int = 64, divisor: int = 3) -> AllOf:
    """The default rule: exactly `characters` characters, at least one digit, digit sum divisible by `divisor`."""
    return AllOf((ExactLength(characters), DigitSum(divisor)))


@singledispatch
def partial_credit(rule: Rule, text: str) -> float:
    """How far a text is on the way to a rule, in [0, 1]: for training alone, 1 where the rule holds without tolerance.

    - a length pays less by 1/(tolerance + 1) for each character that it is off;
    - a conjunction pays half for the mean of its parts and half for their product: each part teaches by itself, and
      the last one missing is worth more than it would be alone;
    - any other rule is all or nothing.
    """
    return float(rule.check(text))


@partial_credit.register(ExactLength)
@partial_credit.register(ExactGraphemes)
def _(rule: ExactLength | ExactGraphemes, text: str) -> float:
    return max(0.0, 1 - rule.distance(text) / (rule.tolerance + 1))


@partial_credit.register
def _(rule: AllOf, text: str) -> float:
    parts = [partial_credit(part, text) for part in rule.parts]
    return 0.5 * sum(parts) / len(parts) + 0.5 * math.prod(parts)


def with_tolerance(rule: Rule, tolerance: int) -> Rule:
    """The same rule with every length in it widened: what a curriculum trains on, never what is reported."""
    if isinstance(rule, ExactLength | ExactGraphemes):
        return replace(rule, tolerance=tolerance)
    if isinstance(rule, AllOf):
        return AllOf(tuple(with_tolerance(part, tolerance) for part in rule.parts))
    return rule


def fewest_characters(rule: Rule) -> int:
    """A lower bound on the code points of a text that satisfies a rule of one part; 0 for one that is not known here.

    For `Words` of the text as they compare it, composed and folded.
    """
    if isinstance(rule, ExactLength | ExactGraphemes):
        return max(0, rule.characters - rule.tolerance)
    if isinstance(rule, DigitSum | LastNumberIsPrime):
        return 1
    if isinstance(rule, Words) and rule.required:
        words = {_folded(word) for word in rule.required}
        # a word of a script without spaces may lie within another
        return sum(map(len, words)) + len(words) - 1 if all(map(str.isascii, words)) else max(map(len, words))
    return 0


def find_part(rule: Rule, kind: type) -> Rule | None:
    """The first part of the given kind, or None."""
    if isinstance(rule, kind):
        return rule
    parts = rule.parts if isinstance(rule, AllOf) else ()
    return next((found for part in parts if (found := find_part(part, kind)) is not None), None)


def parse_rule(spec: str) -> Rule:
    """The rule with the given name, so that a name in a config or on the command line is enough to rebuild it.

    Parts are joined by ``&``: ``length=64``, ``graphemes=64``, ``digits%3=0``, ``last-number-prime``,
    ``+word`` and ``-word``.
    (`ExactTokens` needs a tokenizer and is made in Python.)

    Raises:
        ValueError: a part that is none of these, or one that no text can satisfy.
    """
    parts = [_parse_part(part.strip()) for part in spec.split("&")]
    return parts[0] if len(parts) == 1 else AllOf(tuple(parts))


def _parse_part(part: str) -> Rule:
    if match := re.fullmatch(r"length=(-?\d+)", part):
        return ExactLength(int(match[1]))
    if match := re.fullmatch(r"graphemes=(-?\d+)", part):
        return ExactGraphemes(int(match[1]))
    if match := re.fullmatch(r"digits%(\d+)=(\d+)", part):
        return DigitSum(int(match[1]), int(match[2]))
    if part == "last-number-prime":
        return LastNumberIsPrime()
    if regex.fullmatch(rf"[+-]{_WORD}(,[+-]{_WORD})*", part):
        words = part.split(",")
        return Words(*(tuple(w[1:] for w in words if w[0] == sign) for sign in "+-"))
    raise ValueError(
        f"unknown rule {part!r}; known are length=64, graphemes=64, digits%3=0, last-number-prime, +word,-word, "
        "joined by &"
    )


def _at_least_one(what: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{what} must be a whole number of at least 1, got {value!r}")


def _folded(text: str) -> str:
    """One spelling of all that are equal to `Words`."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _has_word(folded: str, word: str) -> bool:
    return regex.search(rf"(?w)\b{regex.escape(_folded(word))}\b", folded) is not None


def _listed(words: tuple[str, ...], joiner: str) -> str:
    quoted = [f'"{w}"' for w in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {joiner} {quoted[-1]}"


def _is_prime(digits: str) -> bool:
    """Deterministic Miller-Rabin: with the first 13 primes as bases it errs for no number below 3.3e24.

    Sorenson & Webster 2017, "Strong pseudoprimes to twelve prime bases". A policy under training writes any string of
    digits, so this must neither raise nor hang: whoever calls it has cut numbers of more than 24 digits off before.
    """
    number = int(digits)
    bases = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)
    if number < 2 or any(number % p == 0 for p in bases):
        return number in bases
    halvings = (number - 1 & 1 - number).bit_length() - 1  # number - 1 = odd · 2^halvings
    odd = (number - 1) >> halvings
    for base in bases:
        power = pow(base, odd, number)
        if power != 1 and all(pow(power, 2**k, number) != number - 1 for k in range(halvings)):
            return False
    return True
