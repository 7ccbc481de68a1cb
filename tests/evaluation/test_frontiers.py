"""Frontiers of several prompts against every other division of the same mean pass rate, and against the ascent."""

import itertools
import math

import numpy as np
import pytest

from policy_gradients.evaluation.frontiers import equal_weight_frontier, mean_kl, mean_kl_floor, settled_rates
from policy_gradients.evaluation.statistics import (
    binary_kl,
    chance_of_a_lower_prompt,
    kl_floor,
    optimal_frontier,
    tilted_rate,
)

RATES = [0.02, 0.1, 0.4, 0.8]


def test_a_tilt_multiplies_the_odds():
    assert tilted_rate(0.2, math.log(4)) == pytest.approx(0.5)
    assert tilted_rate(np.array([0.1, 0.5]), np.array([[0.0], [math.log(9)]])) == pytest.approx(
        np.array([[0.1, 0.5], [0.5, 0.9]])
    )


@pytest.mark.parametrize("target", [0.4, 0.6, 0.8, 0.95])
def test_no_division_of_the_same_mean_is_cheaper(target):
    floor = mean_kl_floor(target, RATES)
    grid = np.linspace(0.03, 0.99, 25)
    prices = [
        mean_kl([*some, last], RATES)
        for some in itertools.product(grid, repeat=3)
        if 0 < (last := 4 * target - sum(some)) < 1
    ]
    assert min(prices) >= floor - 1e-12 and min(prices) < 1.1 * floor + 1e-3


def test_one_prompt_is_the_floor_that_is_known():
    assert mean_kl_floor(0.7, [0.2]) == pytest.approx(kl_floor(0.7, 0.2), abs=1e-12)
    assert mean_kl_floor(float(np.mean(RATES)), RATES) == pytest.approx(0, abs=1e-12)


def test_the_frontier_is_made_of_floors():
    kl, pass_rate = equal_weight_frontier(RATES, num=9, furthest=6.0)
    assert kl[0] == 0 and pass_rate[0] == pytest.approx(np.mean(RATES))
    assert [mean_kl_floor(rate, RATES) for rate in pass_rate] == pytest.approx(kl, abs=1e-9)
    single, rate = equal_weight_frontier([0.3], num=50)
    assert np.interp(single, *optimal_frontier(0.3, 4000)) == pytest.approx(rate, abs=1e-4)


def test_a_constant_weight_rests_at_its_optimum():
    for beta in (0.2, 1.0, 3.0):
        assert settled_rates(RATES, lambda q, beta=beta: beta + 0 * q) == pytest.approx(
            tilted_rate(np.array(RATES), 1 / beta)
        )


def test_a_weight_that_follows_the_mean_gives_all_prompts_the_same_tilt():
    settled = settled_rates(RATES, lambda q: q**4)
    tilts = [math.log(q / (1 - q) * (1 - p) / p) for q, p in zip(settled, RATES, strict=True)]
    assert tilts == pytest.approx([1 / settled.mean() ** 4] * 4)
    assert mean_kl(list(settled), RATES) == pytest.approx(mean_kl_floor(settled.mean(), RATES), abs=1e-9)


def test_it_is_the_first_resting_place_that_is_reached_and_one_may_be_missing():
    """β = 1.2 · q(1-q)·4 rests below a half or not at all, and an ascent in small steps agrees."""
    for p, base in ((0.02, 0.5), (0.1, 0.5), (0.4, 0.5), (0.2, 0.2)):
        x = reference = math.log(p / (1 - p))
        for _ in range(200_000):
            q = 1 / (1 + math.exp(-x))
            x += 0.2 * q * (1 - q) * (1 - base * 4 * q * (1 - q) * (x - reference))
        [rests] = settled_rates([p], lambda q, base=base: base * 4 * q * (1 - q))
        assert rests == pytest.approx(1 / (1 + math.exp(-x)), abs=1e-3)
    assert settled_rates([0.4], lambda q: 0 * q) == 1.0


def test_how_often_equal_policies_differ_somewhere():
    assert chance_of_a_lower_prompt(0.5, 1, 1) == pytest.approx(0.25)
    assert chance_of_a_lower_prompt(1.0, 8, 100) == 0
    lower = sum(
        math.comb(4, a) * math.comb(4, b) * 0.3 ** (a + b) * 0.7 ** (8 - a - b) for a in range(5) for b in range(a)
    )
    assert chance_of_a_lower_prompt(0.3, 4, 1) == pytest.approx(lower)
    assert chance_of_a_lower_prompt(0.3, 4, 20) == pytest.approx(1 - (1 - lower) ** 20)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: mean_kl_floor(0.2, RATES), r"pass_rate must lie in \[0.33, 1\)"),
        (lambda: mean_kl_floor(1.0, RATES), "pass_rate must lie"),
        (lambda: mean_kl_floor(0.5, [0.0, 0.5]), "one a prompt"),
        (lambda: mean_kl([], []), "one a prompt"),
        (lambda: equal_weight_frontier(RATES, num=1), "num must be at least 2"),
        (lambda: settled_rates(RATES, lambda q: q - 1), "at least 0"),
        (lambda: chance_of_a_lower_prompt(0.5, 0, 1), "samples and prompts"),
        (lambda: chance_of_a_lower_prompt(1.5, 1, 1), "pass_rate"),
    ],
)
def test_what_is_wrong_is_said(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_a_kl_that_is_not_the_least_is_above_it():
    assert mean_kl([0.5, 0.5], [0.2, 0.8]) == pytest.approx((binary_kl(0.5, 0.2) + binary_kl(0.5, 0.8)) / 2)


@pytest.mark.parametrize(("pass_rate", "rate"), [(0.5, 1e-30), (0.9, 1e-26), (0.999, 1e-24), (0.3, 0.2)])
def test_of_one_prompt_the_floor_is_its_own_however_rare_its_passes(pass_rate, rate):
    assert mean_kl_floor(pass_rate, [rate]) == pytest.approx(kl_floor(pass_rate, rate))


def test_rates_of_zero_and_one_have_a_divergence():
    assert mean_kl([1.0, 0.5], [1.0, 0.5]) == 0 and mean_kl([0.5], [0.0]) == math.inf
    assert chance_of_a_lower_prompt(0.5, 1100, 1) == pytest.approx(0.5, abs=0.01)
