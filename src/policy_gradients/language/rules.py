"""Deterministic 0/1 checkers of a completion's text: small objects with a name, a sentence for the prompt, a check.

A rule sees the decoded text alone (special tokens removed, nothing stripped, Unicode code points), never the prompt.
Whether the completion *ended by itself* is a fact about the tokens, not the text: `passes` in `rewards` adds it.
"""

import itertools
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce, singledispatch
from typing import Protocol, runtime_checkable

import regex

# letters, the marks that stand on them, numbers, underscores, and the joiners that Indic and Persian spelling needs
_WORD = r"[\p{L}\p{M}\p{N}\p{Pc}\u200c\u200d]+"
ASCII_DIGITS = "0123456789"  # str.isdigit is true for "³" and other digits that int() refuses
MOST_DIGITS = 18  # of a number in the name of a rule
# what nobody sees: soft hyphens, marks of direction, variation selectors, tags …; joiners are looked at one by one
_INVISIBLE = regex.compile(r"(?V1)[\p{Default_Ignorable_Code_Point}--[\u200c\u200d]]+")
# Joiners are kept where RFC 5892 (A.1, A.2) says that they show: behind a virama, and, of a non-joiner, between letters
# that would join, as in Persian. Of a run of them the first decides, so that one more makes no other word.
_JOINERS = regex.compile(
    r"(?<=\p{ccc=9})([\u200c\u200d])[\u200c\u200d]*(?=\p{L})"
    r"|(?<=[\p{jt=L}\p{jt=D}]\p{jt=T}*)\u200d*(\u200c)[\u200c\u200d]*(?=\p{jt=T}*[\p{jt=R}\p{jt=D}])"
    r"|[\u200c\u200d]+"
)
_LIGATURES = re.compile("ffi|ffl|ss|ff|fi|fl|st|.")  # what one code point may be when folded: ﬃ, ﬄ, ß, ﬀ, ﬁ, ﬂ, ﬆ


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
        states = min(rule.num_states, 10**300)  # beyond that no float says how many
        raise ValueError(
            f"the rule {rule.name} has {states:.3g} states: a table of them, each for every way in which a "
            f"character may be unfinished, takes some {states * 1e-3:.3g} s and "
            f"{states * 6e-5:.2g} GB; {MOST_STATES} are the most. Ask for a shorter text, or use "
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
        _not_negative("ExactLength: tolerance", self.tolerance)

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
        _not_negative("ExactGraphemes: tolerance", self.tolerance)

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
        _whole("DigitSum: residue", self.residue)
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
    `Straße`, `é` is `e` with an accent behind it. Vowel points are letters: they are not left out. Code points that
    nobody sees are (Default_Ignorable_Code_Point): a soft hyphen or a tag in a word makes no other word of it. Joiners
    that Indic and Persian spelling needs stay where they show (`_JOINERS`).
    """

    required: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.required or self.forbidden):
            raise ValueError("Words: give at least one required or forbidden word")
        for word in (*self.required, *self.forbidden):  # a phrase or "don't" would never be found among whole words
            if not regex.fullmatch(_WORD, word) or not _folded(word):  # of marks that nobody sees nothing is left
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
    """Every part holds.

    Raises:
        ValueError: no part; parts of which it is known that no text satisfies them all (`_require_satisfiable`).
    """

    parts: tuple[Rule, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("AllOf: needs at least one rule")
        _require_satisfiable(list(_single_parts(self)))

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


def _require_satisfiable(parts: Sequence[Rule]) -> None:
    """Raise ValueError if rules of one part each contradict one another.

    Whatever is refused has no text; not all that has none is refused, for this looks at lengths, digit sums and words
    apart from one another, and a rule of one's own is taken as it is.
    """
    _require_other_words([part for part in parts if isinstance(part, Words)])
    digits = _require_one_sum([part for part in parts if isinstance(part, DigitSum)])
    length = _tightest([part for part in parts if isinstance(part, ExactLength)])
    graphemes = _tightest([part for part in parts if isinstance(part, ExactGraphemes)])
    if length and graphemes and fewest_characters(graphemes) > _most_characters(length):
        raise ValueError(f"{graphemes.name} and {length.name}: no text has more characters than code points")
    words = {_folded(word) for part in parts if isinstance(part, Words) for word in part.required}
    for limit, gap in ((length, 1), (graphemes, 0)):  # what parts two words may belong to the cluster before it
        needed = {"its words": _fewest_spelt(words, gap), "its digits": -(-digits.residue // 9) if digits else 0}
        for what, characters in needed.items():
            if limit and characters > _most_characters(limit):
                raise ValueError(f"{limit.name} is too short: {what} take at least {characters} characters")
    if length and digits and words and not any(c in ASCII_DIGITS for word in words for c in word):
        characters = _fewest_spelt(words, 1) + max(1, -(-digits.residue // 9))
        if characters > _most_characters(length):
            raise ValueError(
                f"{length.name} is too short: its words and its digits take at least {characters} characters"
            )
    has_prime = any(isinstance(part, LastNumberIsPrime) for part in parts)
    if has_prime and length and digits and not _leaves_a_prime(_most_characters(length), digits):
        raise ValueError(f"{length.name} is too short for a prime as the last number and {digits.name} besides")


def _single_parts(rule: Rule) -> Iterator[Rule]:
    """The rule, or what its parts come to in the end."""
    for part in rule.parts if isinstance(rule, AllOf) else ():
        yield from _single_parts(part)
    if not isinstance(rule, AllOf):
        yield rule


def _most_characters(rule: ExactLength | ExactGraphemes) -> int:
    return rule.characters + rule.tolerance


def _tightest(rules: Sequence[ExactLength | ExactGraphemes]) -> ExactLength | ExactGraphemes | None:
    """The one whose upper limit is the lowest; ValueError if another begins above it."""
    if not rules:
        return None
    lowest, highest = min(rules, key=_most_characters), max(rules, key=fewest_characters)
    if fewest_characters(highest) > _most_characters(lowest):
        raise ValueError(f"{lowest.name} and {highest.name}: no text has both lengths")
    return lowest


def _require_one_sum(rules: Sequence[DigitSum]) -> DigitSum | None:
    """The one condition that several on the sum of the digits come to; ValueError if there is no such sum."""
    for first, second in itertools.combinations(dict.fromkeys(rules), 2):
        if (first.residue - second.residue) % math.gcd(first.divisor, second.divisor):
            raise ValueError(f"{first.name} and {second.name}: no sum of digits leaves both")
    return reduce(_both_sums, rules) if rules else None


def _both_sums(first: DigitSum, second: DigitSum) -> DigitSum:
    """The Chinese remainder theorem, for divisors that may share factors."""
    shared = math.gcd(first.divisor, second.divisor)
    rest = second.divisor // shared
    steps = (second.residue - first.residue) // shared * pow(first.divisor // shared, -1, rest) % rest
    return DigitSum(first.divisor * rest, first.residue + first.divisor * steps)


def _require_other_words(rules: Sequence[Words]) -> None:
    required = {_folded(word) for rule in rules for word in rule.required}
    if clash := required & {_folded(word) for rule in rules for word in rule.forbidden}:
        raise ValueError(f"Words: {sorted(clash)} both required and forbidden, which nothing can satisfy")


def _fewest_spelt(words: set[str], gap: int) -> int:
    """A lower bound on the code points of a text, as it is written, with all these folded words in it.

    Only ASCII is counted: no code point is folded to more of it than a ligature. Of ASCII words none lies within
    another, and `gap` characters part two of them.
    """
    taken = {word: sum(len(_LIGATURES.findall(run)) for run in re.findall("[!-~]+", word)) for word in words}
    apart = [characters + gap for word, characters in taken.items() if word.isascii()]
    return max(sum(apart) - gap, *taken.values(), 0) if taken else 0


def _leaves_a_prime(most: int, digits: DigitSum) -> bool:
    """Whether so many characters can end in a prime and have that digit sum; True where it would take long to tell."""
    if most > 3:
        return True
    for prime in filter(_is_prime, map(str, range(10**most))):
        spare = max(0, most - len(prime) - 1)  # digits of numbers before it, from which a character parts it
        if (digits.residue - sum(map(int, prime))) % digits.divisor <= 9 * spare:
            return True
    return False


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
        return ExactLength(_number("length", match[1]))
    if match := re.fullmatch(r"graphemes=(-?\d+)", part):
        return ExactGraphemes(_number("graphemes", match[1]))
    if match := re.fullmatch(r"digits%(\d+)=(\d+)", part):
        return DigitSum(_number("digits", match[1]), _number("digits", match[2]))
    if part == "last-number-prime":
        return LastNumberIsPrime()
    if regex.fullmatch(rf"[+-]{_WORD}(,[+-]{_WORD})*", part):
        words = part.split(",")
        return Words(*(tuple(w[1:] for w in words if w[0] == sign) for sign in "+-"))
    raise ValueError(
        f"unknown rule {part!r}; known are length=64, graphemes=64, digits%3=0, last-number-prime, +word,-word, "
        "joined by &"
    )


def _number(what: str, written: str) -> int:
    """The number; ValueError for one so long that no text has to do with it (and that int() may not take)."""
    if len(written.lstrip("-")) > MOST_DIGITS:
        raise ValueError(f"{what}: a number of {len(written.lstrip('-'))} digits; {MOST_DIGITS} are the most")
    return int(written)


def _at_least_one(what: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{what} must be a whole number of at least 1, got {value!r}")


def _whole(what: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{what} must be a whole number, got {value!r}")


def _not_negative(what: str, value: int) -> None:
    _whole(what, value)
    if value < 0:
        raise ValueError(f"{what} must not be negative, got {value}")


def _folded(text: str) -> str:
    """One spelling of all that are equal to `Words`."""
    composed = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))  # what is left meets, and may compose
    seen = unicodedata.normalize("NFC", _JOINERS.sub(r"\1\2", composed))
    return unicodedata.normalize("NFC", seen.casefold())


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
