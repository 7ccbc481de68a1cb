import math

import pytest

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


def raises(completions):
    raise KeyError("oops")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (raises, "raises raised KeyError"),
        (lambda c: [1.0], "1 rewards for 2 completions"),
        (lambda c: [1.0, float("nan")], "returned nan for 'ab 12'"),
        (lambda c: [1.0, float("inf")], "returned inf"),
        (lambda c: ["a", "b"], "'a' as a reward"),
        (lambda c: None, "returned NoneType"),
    ],
)
def test_a_reward_function_is_held_to_its_contract(function, message):
    with pytest.raises(RewardError, match=message):
        call_reward(function, [GOOD, GOOD])


def test_a_good_reward_function_passes_through():
    assert call_reward(lambda completions: [len(c.text) for c in completions], [GOOD]) == [5.0]
