"""What runs are said to show, held against enumeration: of all signs, all subsets, all outcomes."""

import itertools
import math
import re
import warnings

import numpy as np
import pytest
from scipy.stats import t
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from policy_gradients.studies.analysis import (
    VERDICT_HEADER,
    Comparison,
    bootstrap_interval,
    claims,
    compare,
    detectable_difference,
    differences,
    holm,
    least_seeds,
    outcome,
    seeds_to_detect,
    sign_flip_p_value,
    smallest_p_value,
    steps_to_half,
    summaries,
    verdict,
    verdict_rows,
    written,
)
from policy_gradients.studies.study import METRICS, Hypothesis, Study

HYPOTHESES = (
    Hypothesis("dynamic", "low", "mean_strict_rate", 0.03),
    Hypothesis("dynamic", "high", "mean_strict_rate", 0.03),
    Hypothesis("low", "high", "steps_to_half", 2),
)
ARMS = {"dynamic": {}, "low": {"entropy_weight": 0.01}, "high": {"entropy_weight": 0.03}}
SETTINGS = {"entropy_weight": 0.0, "entropy_schedule": "constant"}
STUDY = Study("made-up", "Does it?", "Only if.", "tiny-sparse", ARMS, HYPOTHESES, SETTINGS)


def runs_of(make_run, levels: dict[str, list[float]]) -> dict:
    """Arm → seed → a run of ten steps at one rate."""
    return {
        arm: {seed: make_run(STUDY, arm, seed, [level] * 10) for seed, level in enumerate(levels.get(arm, []))}
        for arm in STUDY.arms
    }


def test_outcomes_are_what_the_metrics_say(make_run):
    run = make_run(STUDY, "low", 0, [0.0] * 10 + [0.5] * 2 + [1.0] * 8)
    found = {metric: outcome(run, metric) for metric in METRICS}
    assert found["mean_strict_rate"] == pytest.approx(0.45)
    assert found["steps_to_half"] == 14  # steps 10 to 14: 0, ½, ½, 1, 1; a step before it is two fifths
    assert found["reward_variance"] == pytest.approx(0.05)  # two of the last ten steps, a quarter each
    assert found["last_entropy"] == pytest.approx(1.1)
    assert found["distinct_share"] == pytest.approx(0.9)
    assert (found["pass_rate"], found["kl"], found["perplexity_increase"]) == (1.0, 5.0, 0.1)


@pytest.mark.parametrize(
    ("rates", "step"),
    [([1.0] * 9, 5), ([0.5] * 9, 5), ([0.49] * 9, 10), ([1.0] * 4, 5), ([0, 0, 1, 0, 0.6, 0.9], 6), ([], 1)],
)
def test_steps_to_half_by_hand(rates, step):
    assert steps_to_half(rates) == step


@pytest.mark.parametrize("n", range(1, 9))
def test_the_sign_flip_test_is_the_count_of_all_signs(n):
    rng = np.random.default_rng(n)
    for values in (
        rng.normal(size=n),
        rng.integers(-2, 3, n) / 10,
        np.ones(n),
        np.zeros(n),
        np.r_[1.0, np.zeros(n - 1)],
    ):
        means = [abs(np.mean(signs * values)) for signs in itertools.product((1, -1), repeat=n)]
        share = np.mean([mean >= abs(values.mean()) - 1e-12 for mean in means])
        assert sign_flip_p_value(values) == pytest.approx(share, abs=1e-12), values
        assert sign_flip_p_value(-values) == pytest.approx(share, abs=1e-12)
    assert sign_flip_p_value([0.1] * n) == smallest_p_value(n)


def test_of_many_seeds_ways_are_drawn_and_the_p_value_is_near_the_exact_one():
    """Of 2¹⁴ draws (always the same) the error is 0.004 at most, three standard errors."""
    values = np.random.default_rng(0).normal(0.2, 1, 16)
    signs = 1 - 2 * ((np.arange(2**16)[:, None] >> np.arange(16)) & 1)
    exact = np.mean(np.abs(signs @ values) >= abs(values.sum()) - 1e-9)
    assert sign_flip_p_value(values) == pytest.approx(exact, abs=0.004 * 3)


@pytest.mark.parametrize("function", [sign_flip_p_value, bootstrap_interval])
@pytest.mark.parametrize("bad", [[], [0.1, math.nan], [math.inf, 1.0]])
def test_what_is_no_number_is_refused(function, bad):
    with pytest.raises(ValueError, match="must be finite, and at least one"):
        function(bad)


def test_holm_is_closed_testing_with_bonferroni():
    """A hypothesis is rejected if every set of hypotheses that it belongs to is (Marcus, Peritz & Gabriel 1976)."""
    rng = np.random.default_rng(0)
    for m in range(1, 6):
        for p_values in (rng.random(m) ** 3, rng.integers(1, 4, m) / 20):
            sets = [s for k in range(1, m + 1) for s in itertools.combinations(range(m), k)]
            for i, corrected in enumerate(holm(p_values)):
                worst = max(len(s) * min(p_values[j] for j in s) for s in sets if i in s)
                assert corrected == pytest.approx(min(1.0, worst))
    p_values = [0.01, 0.04, 0.03, 0.005, 0.04]
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_with_the_correction_a_study_without_an_effect_rarely_says_that_there_is_one():
    """Exact: of two hypotheses and seven seeds, all 128² ways in which signs can fall."""
    values = np.array([1.0, 1.3, 0.7, 2.0, 0.2, 1.1, 0.9])
    signs = np.array(list(itertools.product((1, -1), repeat=7)))
    p_values = [sign_flip_p_value(row) for row in signs * values]
    pairs = list(itertools.product(p_values, repeat=2))
    uncorrected = np.mean([min(pair) < 0.05 for pair in pairs])
    corrected = np.mean([min(holm(pair)) < 0.05 for pair in pairs])
    assert corrected <= 0.05 < uncorrected
    assert uncorrected == pytest.approx(1 - (1 - np.mean(np.array(p_values) < 0.05)) ** 2)


@pytest.mark.parametrize("hypotheses", [1, 2, 12, 100])
def test_the_least_number_of_seeds_allows_a_verdict_and_one_less_does_not(hypotheses):
    for seeds, found in ((least_seeds(hypotheses), True), (least_seeds(hypotheses) - 1, False)):
        best = sign_flip_p_value([1.0] * seeds)
        assert (holm([best, *[1.0] * (hypotheses - 1)])[0] < 0.05) == found
    assert least_seeds(12) == 9 and least_seeds(1) == 6


@pytest.mark.parametrize(("hypotheses", "alpha"), [(0, 0.05), (1, 0.0), (1, 1.0), (1, math.nan)])
def test_numbers_of_seeds_that_make_no_sense(hypotheses, alpha):
    with pytest.raises(ValueError, match="hypotheses must be at least 1"):
        least_seeds(hypotheses, alpha)


def test_intervals_of_few_seeds_are_numbers_and_warn_of_nothing():
    grid = (0.0, 0.1, 0.1 + 1e-16, 0.3, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in (1, 2, 3):
            for values in itertools.combinations_with_replacement(grid, n):
                low, high = bootstrap_interval(values)
                ends = [min(values), low, np.mean(values), high, max(values)]
                assert (np.diff(ends) > -1e-12).all(), values
        assert bootstrap_interval([0.1, 0.1 + 1e-17, 0.1]) == (0.1, 0.1)


def test_the_interval_of_ten_seeds_is_somewhat_narrower_than_student_s():
    values = np.random.default_rng(1).normal(size=10)
    low, high = bootstrap_interval(values)
    student = t.ppf(0.975, 9) * values.std(ddof=1) / math.sqrt(10)
    assert 0.7 * 2 * student < high - low < 2 * student
    assert bootstrap_interval(-values) == pytest.approx((-high, -low), abs=0.05)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 12])
@pytest.mark.parametrize("seeds", [3, 10, 30])
def test_what_was_detectable_is_found_four_times_out_of_five(seeds, alpha):
    """By statsmodels; and by 40,000 studies, whose share is off by more than 0.01 less than once in a million."""
    found = detectable_difference(0.2, seeds, alpha)
    assert TTestPower().power(found / 0.2, seeds, alpha) == pytest.approx(0.8, abs=1e-6)
    draws = np.random.default_rng(0).normal(found, 0.2, (40_000, seeds))
    statistic = draws.mean(1) / draws.std(1, ddof=1) * math.sqrt(seeds)
    assert np.mean(np.abs(statistic) > t.ppf(1 - alpha / 2, seeds - 1)) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(("spread", "difference"), [(0.2, 0.03), (0.2, 0.3), (1.0, 1.0), (0.01, 1.0), (0.0, 0.1)])
def test_the_seeds_needed_are_the_first_that_see_the_difference(spread, difference):
    """By trying one number after another."""
    found = seeds_to_detect(spread, difference)
    seen = [n for n in range(2, found + 1) if detectable_difference(spread, n) <= difference]
    assert seen == [found]


@pytest.mark.parametrize(("spread", "difference"), [(-1.0, 0.1), (math.nan, 0.1), (0.2, 0.0), (0.2, -0.1)])
def test_no_number_of_seeds_sees_nothing(spread, difference):
    with pytest.raises(ValueError, match="difference above 0"):
        seeds_to_detect(spread, difference)


def test_two_seeds_and_no_spread_have_an_answer():
    assert detectable_difference(0.2, 2) > detectable_difference(0.2, 3) > 0.2
    assert detectable_difference(0.0, 10) == 0.0


@pytest.mark.parametrize(
    ("difference", "interval", "corrected", "said"),
    [
        (0.10, (0.05, 0.15), 0.01, "holds"),
        (-0.10, (-0.15, -0.05), 0.01, "the reverse holds"),
        (0.01, (0.005, 0.02), 0.01, "holds"),  # significant, though it matters to nobody: the rule asks no more
        (0.10, (0.05, 0.15), 0.05, "undecided"),
        (0.00, (-0.02, 0.02), 0.90, "no difference that matters"),
        (0.00, (-0.03, 0.02), 0.90, "undecided"),
        (0.02, (-0.02, 0.04), 0.90, "undecided"),
    ],
)
def test_verdicts(difference, interval, corrected, said):
    assert verdict(difference, interval, corrected, 0.03) == said


@pytest.mark.parametrize(("seeds", "said"), [(5, "undecided"), (6, "no difference that matters")])
def test_too_few_seeds_decide_nothing_not_even_that_there_is_nothing(seeds, said):
    found = Comparison(HYPOTHESES[0], seeds, 0.0, (-0.01, 0.01), 0.0, 1.0, 1.0, 0.1, 20)
    assert found.verdict == said


def test_runs_are_paired_by_seed_and_turned_so_that_more_is_better(make_run):
    runs = runs_of(make_run, {"dynamic": [0.1, 0.2, 0.6], "low": [0.6, 0.1], "high": [0.0, 0.1]})
    assert differences(runs, HYPOTHESES[0]) == pytest.approx([-0.5, 0.1])
    assert differences(runs, HYPOTHESES[2]) == pytest.approx([11 - 5, 0])  # low is there first


def test_a_comparison_by_hand(make_run):
    levels = {"dynamic": [0.30, 0.35, 0.40, 0.45, 0.50, 0.45, 0.40], "low": [0.1] * 7, "high": [0.4] * 7}
    runs = runs_of(make_run, levels)
    better, near, same = compare(STUDY, runs)
    assert (better.seeds, better.difference) == (7, pytest.approx(0.3071, abs=1e-4))
    assert better.p_value == 2 / 128 and better.corrected == pytest.approx(3 * 2 / 128)
    assert better.effect == pytest.approx(0.3071 / np.std([0.2, 0.25, 0.3, 0.35, 0.4, 0.35, 0.3], ddof=1), rel=1e-3)
    assert better.interval[0] < better.difference < better.interval[1]
    assert near.corrected == 1.0 and math.isnan(same.effect) and same.p_value == 1.0
    assert [each.verdict for each in (better, near, same)] == ["holds", "undecided", "no difference that matters"]
    rows = verdict_rows([better, near, same])
    assert all(len(row) == len(VERDICT_HEADER) for row in rows) and rows[2][3] == "–"
    assert rows[0][0] == "dynamic better than low in mean_strict_rate" and rows[0][-1] == "holds"


def test_hypotheses_without_runs_count_in_the_correction(make_run):
    runs = runs_of(make_run, {"dynamic": [0.3, 0.4, 0.5, 0.45, 0.5, 0.6, 0.4], "low": [0.1] * 7})
    [found] = compare(STUDY, runs)
    assert found.corrected == pytest.approx(3 * 2 / 128)
    with pytest.raises(ValueError, match="no two arms of the study made-up have two seeds in common"):
        compare(STUDY, runs_of(make_run, {"dynamic": [0.3], "low": [0.1]}))


def of(hypothesis: Hypothesis, verdict: str, seeds: int = 10) -> Comparison:
    """A comparison that comes out as wished."""
    corrected = 0.01 if verdict in ("holds", "the reverse holds") else 1.0
    difference = -0.1 if verdict == "the reverse holds" else 0.1
    interval = (-0.01, 0.01) if verdict == "no difference that matters" else (-0.2, 0.2)
    return Comparison(hypothesis, seeds, difference, interval, 0.0, corrected, corrected, 0.1, 20)


@pytest.mark.parametrize(
    ("verdicts", "word", "said"),
    [
        (("holds", "holds"), "holds", "It is better than low and high."),
        (("holds", "undecided"), "undecided", "It is better than low; undecided against high."),
        (("holds", "the reverse holds"), "fails", "It is better than low; worse than high."),
        (
            ("undecided", "no difference that matters"),
            "fails",
            "It is not different in a way that matters from high; undecided",
        ),
        (("holds", None), "undecided", "(so far 0 of 10 seeds). It is better than low; undecided against high."),
    ],
)
def test_a_claim_holds_if_all_of_its_hypotheses_do(verdicts, word, said):
    found = [of(each, verdict) for each, verdict in zip(HYPOTHESES, verdicts, strict=False) if verdict]
    first, second = claims(STUDY, found)
    assert (first.arm, first.metric, first.verdict) == ("dynamic", "mean_strict_rate", word)
    assert said in first.sentence and re.search(f"the claim (is )?{word}", first.sentence)
    assert (second.arm, second.metric, second.verdict) == ("low", "steps_to_half", "undecided")


def test_a_claim_from_part_of_the_seeds_says_so():
    [first, _] = claims(STUDY, [of(each, "holds", seeds=7) for each in HYPOTHESES])
    assert first.verdict == "holds" and "(so far 7 of 10 seeds)" in first.sentence


def test_tables_of_arms(make_run):
    runs = runs_of(make_run, {"dynamic": [0.3, 0.5], "low": [0.1]})
    first, second = summaries(STUDY, runs, ["mean_strict_rate", "steps_to_half"])
    assert first == ["dynamic", "2", "40 % [30, 50]", "8 [5, 11]"] and second[:2] == ["low", "1"]
    assert written([0.25], "reward_variance") == "0.250 [0.250, 0.250]"
    assert written([1.0, 2.0], "kl") == "1.50 [1.00, 2.00]"


def test_differences_that_are_equal_but_for_rounding_have_no_spread(make_run):
    levels = [0.62, 0.52, 0.32, 0.82, 0.42, 0.72]
    runs = runs_of(make_run, {"dynamic": levels, "low": [level - 0.02 for level in levels]})
    [found] = compare(STUDY, runs)
    assert found.difference == pytest.approx(0.02) and math.isnan(found.effect)
    assert (found.detectable, found.needed) == (0, 2) and found.p_value == 2 / 64


def test_large_numbers_and_odd_confidences():
    assert sign_flip_p_value([1e308] * 3) == 0.25
    for confidence in (95, 0, 1, math.nan):
        with pytest.raises(ValueError, match="confidence"):
            bootstrap_interval([1.0, 2.0, 3.0], confidence)
