import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from policy_gradients.language.rewards import Completion, RewardError, call_reward, check_rates, passes, rule_reward
from policy_gradients.language.rules import ExactLength, LastNumberIsPrime, length_and_digits

RULE = length_and_digits(5)
GOOD = Completion("ab 12", True)


def test_only_a_completion_that_ended_by_itself_passes():
    assert passes(RULE, GOOD)
    assert not passes(RULE, Completion("ab 12", False))
    assert not passes(RULE, Completion("ab 12 ", True))
    assert rule_reward(RULE)([GOOD, Completion("ab 13", True)]) == [1.0, 0.0]


def test_rates_of_the_halves_of_the_rule():
    rates = check_rates(RULE, [GOOD, Completion("ab 13", True), Completion("3", False), Completion("xxxxx", True)])
    assert rates == {"finished_rate": 0.75, "length_rate": 0.75, "digit_rate": 0.5}
    rates = check_rates(LastNumberIsPrime(), [GOOD])
    assert math.isnan(rates["length_rate"]) and math.isnan(rates["digit_rate"])
    assert check_rates(ExactLength(5), [GOOD])["length_rate"] == 1
    assert all(math.isnan(rate) for rate in check_rates(RULE, []).values())


def raises(completions):
    raise KeyError("oops")


def late(completions):
    yield 1.0
    raise KeyError("oops")


def leaves(completions):
    yield 1.0
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (late, r"late raised KeyError.*line \d+ of .*test_rewards.py"),
        (leaves, r"leaves called sys.exit\(3\)"),
        (lambda c: [10**400, 1], "returned 1000.* as a reward"),
        (lambda c: [10**5000, 1], "returned int as a reward"),
        (lambda c: [torch.ones(2)] * 2, r"returned tensor\(\[1., 1.\]\) as a reward"),
        (lambda c: [np.ones(2)] * 2, r"returned array\(\[1., 1.\]\) as a reward"),
        (lambda c: [torch.ones(0)] * 2, "as a reward"),
        (lambda c: [Decimal("sNaN"), 1], "as a reward"),
        (lambda c: [torch.ones((), device="meta")] * 2, "as a reward"),
        (lambda c: torch.ones(2, device="meta"), "raised "),
        (lambda c: [torch.tensor(1j)] * 2, "as a reward"),
        (lambda c: bytearray(b"ab"), "returned bytearray"),
        (lambda c: memoryview(b"ab"), "returned memoryview"),
        (raises, "raises raised KeyError"),
        (lambda c: [1.0], "1 rewards for 2 completions"),
        (lambda c: [1.0, float("nan")], "returned nan for 'ab 12'"),
        (lambda c: [1.0, float("inf")], "returned inf"),
        (lambda c: [1.0, 1e39], r"returned 1e\+39"),
        (lambda c: ["a", "b"], "'a' as a reward"),
        (lambda c: None, "returned NoneType"),
    ],
)
def test_a_reward_function_is_held_to_its_contract(function, message):
    with pytest.raises(RewardError, match=message):
        call_reward(function, [GOOD, GOOD])


def test_a_good_reward_function_passes_through():
    assert call_reward(lambda completions: [len(c.text) for c in completions], [GOOD]) == [5.0]


@pytest.mark.parametrize(
    "answer",
    [
        [np.ones(1)] * 2,
        [torch.ones(1)] * 2,
        (1.0 for _ in range(2)),
        [Fraction(1), Decimal(1)],
        np.ones(2),
        [np.int8(1), True],
    ],
    ids=["arrays", "tensors", "a generator", "fractions and decimals", "an array", "numpy and bool"],
)
def test_whatever_holds_one_number_is_one(answer):
    assert call_reward(lambda completions: answer, [GOOD, GOOD]) == [1.0, 1.0]
