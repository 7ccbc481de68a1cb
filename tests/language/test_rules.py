"""The checkers: what passes, what does not, and what they refuse to be built from."""

import itertools
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_gradients.language.rules import (
    AllOf,
    DigitSum,
    ExactGraphemes,
    ExactLength,
    ExactTokens,
    LastNumberIsPrime,
    Rule,
    Words,
    find_part,
    length_and_digits,
    parse_rule,
    partial_credit,
    require_states,
    with_tolerance,
)

EVERY_RULE = [
    ExactLength(3),
    DigitSum(),
    ExactTokens(lambda text: text.split(), 2),
    LastNumberIsPrime(),
    Words(required=("cat",), forbidden=("dog",)),
    length_and_digits(),
]


@pytest.mark.parametrize("rule", EVERY_RULE, ids=lambda rule: rule.name)
def test_every_rule_has_a_name_a_sentence_and_a_check(rule):
    assert isinstance(rule, Rule)
    assert rule.name and rule.sentence.endswith(".")
    assert rule.check("") is False  # no rule here is satisfied by writing nothing


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("", 0),
        ("abc", 3),
        ("abc ", 4),  # nothing is stripped
        (" abc\n", 5),
        ("\u00e9", 1),
        ("e\u0301", 2),  # the same letter as two code points
        ("🙂", 1),
        ("👨‍👩‍👧", 5),  # three people and two joiners
        ("👍🏽", 2),  # a thumb and a skin tone
        ("日本語", 3),
    ],
)
def test_length_is_counted_in_code_points(text, length):
    assert ExactLength(max(length, 1)).check(text) is (length > 0)
    assert not ExactLength(length + 1).check(text)
    assert ExactLength(100).distance(text) == 100 - length


def test_normalisation_changes_the_length():
    assert ExactLength(4).check("café") and not ExactLength(4).check(unicodedata.normalize("NFD", "café"))


@pytest.mark.parametrize("tolerance", [0, 1, 5])
def test_tolerance_is_inclusive_on_both_sides(tolerance):
    rule = ExactLength(10, tolerance)
    assert [n for n in range(21) if rule.check("x" * n)] == list(range(10 - tolerance, 11 + tolerance))
    assert rule.sentence == "Write exactly 10 characters."  # the prompt does not give the curriculum away


@pytest.mark.parametrize("text", ["³", "Ⅲ", "٣", "３", "९", "½", "three", ""])
def test_only_ascii_digits_are_digits(text):
    assert not DigitSum().check(text)
    assert DigitSum().check(text + "3")
    assert not DigitSum().check(text + "4")


def test_a_sum_of_zero_needs_a_digit():
    assert DigitSum().check("0")
    assert not DigitSum().check("no digits, sum zero")


@settings(deadline=None)
@given(st.text(), st.integers(1, 12), st.data())
def test_digit_sum_against_brute_force(text, divisor, data):
    residue = data.draw(st.integers(0, divisor - 1))
    values = {str(value): value for value in range(10)}
    found = [values[character] for character in text if character in values]
    assert DigitSum(divisor, residue).check(text) == (len(found) > 0 and sum(found) % divisor == residue)


@settings(deadline=None)
@given(st.text(alphabet="0123456789 a³", min_size=1))
def test_exactly_one_residue_holds_where_there_is_a_digit(text):
    holds = [DigitSum(3, residue).check(text) for residue in range(3)]
    assert sum(holds) == (1 if set(text) & set("0123456789") else 0)


def test_token_count_uses_the_given_encoder():
    rule = ExactTokens(lambda text: list(text.encode()), 3)
    assert rule.check("abc") and rule.check("日") and not rule.check("ab")
    assert rule.name == "tokens=3" and rule.sentence == "Write exactly 3 tokens."


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("in 1987 and 7", True),
        ("7 and 8", False),
        ("no number", False),
        ("", False),
        ("0", False),
        ("1", False),
        ("2", True),
        ("000", False),
        ("007", True),
        ("3.14", False),  # the last run of digits is 14
        ("-13", True),
        ("9", False),
        ("7³", True),  # the superscript is no digit
        ("1000003", True),
        ("999999999989", True),
        ("3825123056546413051", False),  # strong pseudoprime to every prime base up to 23
        ("318665857834031151167461", False),  # ... up to 37
        ("0" * 5000 + "7", True),  # longer than int() takes
        ("9" * 25, False),
        ("7" * 5000, False),
    ],
)
def test_last_number_is_prime(text, passes):
    assert LastNumberIsPrime().check(text) is passes


def test_primes_against_a_sieve():
    limit = 3000
    sieve = [number >= 2 for number in range(limit)]
    for number in range(2, limit):
        for multiple in range(number * number, limit, number):
            sieve[multiple] = False
    assert [LastNumberIsPrime().check(f"it was {number}.") for number in range(limit)] == sieve


@settings(deadline=None)
@given(st.text())
def test_last_number_never_raises(text):
    LastNumberIsPrime().check(text)


def test_words_are_whole_and_case_does_not_matter():
    rule = Words(required=("cat", "Tree"), forbidden=("dog",))
    assert rule.check("A CAT, in a tree.")
    assert not rule.check("A catalogue of trees.")
    assert not rule.check("cat tree Dog")
    assert rule.check("cat tree dogma")
    assert rule.sentence == 'Use "cat" and "Tree". Do not use "dog".'
    assert rule.name == "+cat,+Tree,-dog"
    assert Words(forbidden=("a", "b", "c")).sentence == 'Do not use "a", "b" or "c".'


def test_all_of_needs_every_part_at_once():
    rule = length_and_digits(5)
    assert rule.check("ab 12") and rule.check("12   ")
    assert not rule.check("ab 11") and not rule.check("ab 12 ") and not rule.check("abcde")
    assert rule.name == "length=5&digits%3=0"
    assert rule.sentence == "Write exactly 5 characters. Use digits whose sum is divisible by 3."
    assert rule == AllOf((ExactLength(5), DigitSum(3)))


@settings(deadline=None)
@given(st.text(max_size=80), st.integers(1, 70), st.integers(1, 9))
def test_the_default_rule_is_the_two_sentences_of_its_definition(text, characters, divisor):
    digits = [int(character) for character in text if character in "0123456789"]
    expected = len(text) == characters and digits != [] and sum(digits) % divisor == 0
    assert length_and_digits(characters, divisor).check(text) == expected


def test_with_tolerance_widens_lengths_only_and_leaves_the_original():
    rule = AllOf((AllOf((ExactLength(8), DigitSum())), Words(required=("a",))))
    wide = with_tolerance(rule, 2)
    assert find_part(wide, ExactLength) == ExactLength(8, 2)
    assert find_part(wide, DigitSum) == DigitSum() and find_part(wide, Words) == Words(required=("a",))
    assert find_part(rule, ExactLength) == ExactLength(8)
    assert with_tolerance(wide, 0) == rule
    assert with_tolerance(DigitSum(), 5) == DigitSum()


def test_find_part_says_none_where_there_is_none():
    assert find_part(DigitSum(), ExactLength) is None
    assert find_part(length_and_digits(), Words) is None


@pytest.mark.parametrize(
    "rule",
    [
        ExactLength(64),
        DigitSum(7, 2),
        LastNumberIsPrime(),
        Words(("cat", "tree"), ("dog",)),
        length_and_digits(),
        AllOf((ExactLength(9), DigitSum(), LastNumberIsPrime(), Words(forbidden=("the",)))),
    ],
    ids=lambda rule: rule.name,
)
def test_a_name_is_enough_to_rebuild_the_rule(rule):
    assert parse_rule(rule.name) == rule


def test_parse_rule_allows_spaces_around_the_joiner():
    assert parse_rule(" length=64 & digits%3=0 ") == length_and_digits()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "unknown rule ''"),
        ("length", "unknown rule 'length'"),
        ("length=64&", "unknown rule ''"),
        ("length=64.5", "unknown rule"),
        ("length=0", "at least 1, got 0"),
        ("length=-3", "at least 1, got -3"),
        ("digits%0=0", "at least 1, got 0"),
        ("digits%3=3", r"residue must lie in \[0, 3\), got 3"),
        ("+cat,-Cat", "both required and forbidden"),
        ("length=" + "9" * 5001, "length: a number of 5001 digits; 18 are the most"),
        ("graphemes=-" + "9" * 19, "graphemes: a number of 19 digits"),
        ("digits%3=" + "9" * 5001, "digits: a number of 5001 digits"),
    ],
)
def test_parse_rule_says_what_is_wrong(spec, message):
    with pytest.raises(ValueError, match=message):
        parse_rule(spec)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExactLength(0), "ExactLength: characters must be a whole number of at least 1, got 0"),
        (lambda: ExactLength(64.0), "whole number"),
        (lambda: ExactLength(True), "whole number"),
        (lambda: ExactLength(64, -1), "tolerance must not be negative, got -1"),
        (lambda: ExactLength(4, float("nan")), "ExactLength: tolerance must be a whole number, got nan"),
        (lambda: ExactLength(4, 0.5), "ExactLength: tolerance must be a whole number, got 0.5"),
        (lambda: ExactGraphemes(4, 0.5), "ExactGraphemes: tolerance must be a whole number"),
        (lambda: ExactGraphemes(4, True), "ExactGraphemes: tolerance must be a whole number"),
        (lambda: DigitSum(3, 0.5), "DigitSum: residue must be a whole number, got 0.5"),
        (lambda: DigitSum(0), "DigitSum: divisor must be a whole number of at least 1, got 0"),
        (lambda: DigitSum(3, 3), r"residue must lie in \[0, 3\), got 3"),
        (lambda: DigitSum(3, -1), "residue must lie in"),
        (lambda: ExactTokens(str.split, 0), "ExactTokens: tokens"),
        (lambda: Words(), "at least one required or forbidden word"),
        (lambda: Words(("Cat",), ("cat",)), r"\['cat'\] both required and forbidden"),
        (lambda: Words(required=("New York",)), "'New York' is not one word"),
        (lambda: Words(forbidden=("don't",)), "is not one word"),
        (lambda: Words(required=("",)), "'' is not one word"),
        (lambda: Words(required=("\u200d",)), "is not one word"),  # nothing of it is seen
        (lambda: Words(("cat",), ("c\u200dat",)), "both required and forbidden"),
        (lambda: AllOf(()), "at least one rule"),
    ],
)
def test_rules_that_nothing_can_satisfy_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("rule", "text", "credit"),
    [
        (ExactLength(4), "abcd", 1.0),
        (ExactLength(4), "abc", 0.0),
        (ExactLength(4, tolerance=3), "abc", 0.75),
        (ExactLength(4, tolerance=3), "abcdefg", 0.25),
        (ExactLength(4, tolerance=3), "abcdefghijk", 0.0),
        (DigitSum(3), "no digit", 0.0),
        (DigitSum(3), "1 digit", 0.0),
        (DigitSum(3), "12 digits", 1.0),
        (AllOf((ExactLength(4, tolerance=1), DigitSum(3))), "a 1", 0.125),
        (AllOf((ExactLength(4, tolerance=1), DigitSum(3))), "a 3", 0.625),
        (AllOf((ExactLength(4, tolerance=1), DigitSum(3))), "abcd", 0.25),
        (AllOf((ExactLength(4, tolerance=1), DigitSum(3))), "ab 3", 1.0),
        (Words(required=("one",)), "one", 1.0),
        (Words(required=("one",)), "two", 0.0),
    ],
)
def test_partial_credit(rule, text, credit):
    assert partial_credit(rule, text) == pytest.approx(credit)


STATEFUL = [ExactLength(5), DigitSum(3), DigitSum(7, 2), AllOf((ExactLength(4), DigitSum(3), DigitSum(2)))]


@pytest.mark.parametrize("rule", STATEFUL, ids=lambda rule: rule.name)
@given(first=st.text("a1290 ", max_size=9), second=st.text("b378é", max_size=9))
def test_states_join_as_texts_do_and_decide_the_check(rule, first, second):
    joined = rule.state(first + second)
    assert joined == rule.join(rule.state(first), rule.state(second))
    assert 0 <= joined < rule.num_states
    if rule.state(first) == rule.state(second):
        assert rule.check(first) == rule.check(second)


def test_no_state_is_left_out():
    rule = AllOf((ExactLength(4), DigitSum(3)))
    texts = ["a" * n + digits for n in range(9) for digits in ("", "3", "1", "2")]
    assert {rule.state(text) for text in texts} == set(range(rule.num_states)) - {
        1,
        2,
        3,
    }  # no digits without characters


@pytest.mark.parametrize(
    "rule", [LastNumberIsPrime(), Words(required=("one",)), AllOf((DigitSum(3), LastNumberIsPrime()))]
)
def test_a_rule_that_remembers_more_has_no_states(rule):
    with pytest.raises(ValueError, match="has no states"):
        require_states(rule)


def test_rules_with_states_are_accepted():
    for rule in STATEFUL:
        require_states(rule)


INVISIBLE = ["\u2060", "\u00ad", "\u202c", "\u200b", "\u200c", "\u200d", "\u200e", "\ufeff", "\ufe0f", "\U000e0061"]


@pytest.mark.parametrize("mark", INVISIBLE, ids=ascii)
@pytest.mark.parametrize("text", ["a foo{} b", "a {}foo b", "a f{}oo b", "{}foo", "foo{}{}", "f{}{}oo"])
def test_what_nobody_sees_neither_hides_a_word_nor_takes_it_away(text, mark):
    written = text.replace("{}", mark)
    assert not Words(forbidden=("foo",)).check(written)
    assert Words(required=("foo",)).check(written)


def test_an_accent_behind_an_invisible_mark_is_on_its_letter():
    assert Words(required=("café",)).check("a cafe\u2060\u0301.") and Words(forbidden=("cafe",)).check(
        "cafe\u034f\u0301"
    )


@pytest.mark.parametrize("word", ["नमस्ते", "می\u200cخواهم", "کتاب\u200cها", "ශ්\u200dරී", "क्\u200cष", "שָׁלוֹם", "สวัสดี"])
def test_words_with_joiners_and_marks_are_found(word):
    assert Words(required=(word,)).check(f"« {word} »") and not Words(forbidden=(word,)).check(word)
    assert Words(required=(word,)).check(f"\u200c{word}\u200d\u200c"), "a joiner at its edge is not part of it"


def test_a_joiner_makes_another_word_only_where_it_shows():
    joined, parted = "میخواهم", "می\u200cخواهم"
    assert not Words(required=(joined,)).check(parted) and not Words(required=(parted,)).check(joined)
    assert Words(required=(parted,)).check("می\u200c\u200cخواهم"), "one more changes nothing"
    assert Words(required=(joined,)).check("می\u200dخواهم"), "these letters are joined anyhow"
    assert Words(required=("کارها",)).check("کار\u200cها"), "these are not joined in any case"
    assert not Words(required=("क्ष",)).check("क्\u200cष")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("length=3&length=4", "length=3 and length=4: no text has both lengths"),
        ("length=3&digits%3=0&length=4", "no text has both lengths"),
        ("graphemes=3&graphemes=2", "graphemes=2 and graphemes=3: no text has both lengths"),
        ("graphemes=3&length=2", "graphemes=3 and length=2: no text has more characters than code points"),
        ("+a&-a", "'a'.* both required and forbidden"),
        ("+a&length=9&-b,-A", "'a'.* both required and forbidden"),
        ("digits%3=0&digits%3=1", "digits%3=0 and digits%3=1: no sum of digits leaves both"),
        ("digits%9=1&digits%3=0", "digits%9=1 and digits%3=0: no sum"),
        ("digits%4=1&digits%7=3&digits%6=4", "digits%4=1 and digits%6=4: no sum"),
        ("length=1&+ab", "length=1 is too short: its words take at least 2 characters"),
        ("length=6&+abc,+xyz", "length=6 is too short: its words take at least 7 characters"),
        ("length=6&+abc&+xyz", "take at least 7"),
        ("graphemes=5&+abc&+xyz", "graphemes=5 is too short: its words take at least 6 characters"),
        ("length=2&+café", "take at least 3"),
        ("length=4&+moon&digits%3=0", "length=4 is too short: its words and its digits take at least 5 characters"),
        ("length=7&+moon&digits%40=37", "its words and its digits take at least 9 characters"),
        ("length=2&digits%20=19", "length=2 is too short: its digits take at least 3 characters"),
        ("length=2&digits%4=3&digits%5=4", "length=2 is too short: its digits take at least 3"),  # 19 modulo 20
        (
            "last-number-prime&length=1&digits%7=1",
            "length=1 is too short for a prime as the last number and digits%7=1",
        ),
        ("last-number-prime&length=2&digits%30=18", "too short for a prime"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(spec, said):
    with pytest.raises(ValueError, match=said):
        parse_rule(spec)


def test_a_word_may_bring_the_digits_or_stand_beside_them():
    assert parse_rule("length=2&+a3&digits%3=0").check("a3")
    assert parse_rule("length=2&+月&digits%3=0").check("月3")  # a boundary without a gap


def test_parts_of_parts_and_widened_lengths_are_compared():
    with pytest.raises(ValueError, match="both lengths"):
        AllOf((AllOf((ExactLength(3), DigitSum())), ExactLength(5, tolerance=1)))
    assert AllOf((ExactLength(3), ExactLength(5, tolerance=2))).check("abc")
    assert AllOf((Words(required=("abc",)), ExactLength(2, tolerance=1))).check("abc")


SHORT_TEXTS = ["".join(each) for n in range(1, 4) for each in itertools.product("aBs135 ßﬃé\u0301\u200b", repeat=n)]
PARTS = [
    "length=1", "length=2", "length=3", "graphemes=1", "graphemes=2", "graphemes=3", "digits%3=0", "digits%3=1",
    "digits%6=4", "digits%20=9", "digits%20=10", "digits%13=7", "last-number-prime", "+a", "+ab", "+ss", "+ffi,+a",
    "+é", "-a", "+b,-ss", "+ssss",
]  # fmt: skip


def test_no_rule_that_a_short_text_satisfies_is_refused():
    """All pairs and threes of parts, against all texts of up to three characters."""
    holds = {part: {text for text in SHORT_TEXTS if parse_rule(part).check(text)} for part in PARTS}
    refused = 0
    for parts in (each for n in (2, 3) for each in itertools.combinations(PARTS, n)):
        try:
            parse_rule("&".join(parts))
        except ValueError as error:
            refused += 1
            assert not set.intersection(*(holds[part] for part in parts)), f"{parts}: {error}"
    assert refused > 300


def test_no_code_point_is_folded_to_more_ascii_than_the_ligatures_that_are_counted():
    for number in range(0x110000):
        letter = chr(number)
        if not letter.isascii() and (len(run := [c for c in letter.casefold() if c.isascii()])) > 1:
            assert "".join(run) in {"ffi", "ffl", "ss", "ff", "fi", "fl", "st"}
            assert AllOf((ExactLength(1), Words(required=("".join(run),)))).check(letter)


def test_a_rule_of_too_many_states_for_a_float_is_refused():
    with pytest.raises(ValueError, match=r"has 1e\+300 states"):
        require_states(AllOf((DigitSum(9999),) * 80))
