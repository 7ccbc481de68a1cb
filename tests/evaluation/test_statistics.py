"""Intervals and tests against published numbers; the frontier against every policy one can think of."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_gradients.evaluation.statistics import (
    binary_kl,
    distinct_completions,
    distinct_ngrams,
    kl_floor,
    largest_cluster_share,
    largest_opening_share,
    largest_shape_share,
    optimal_frontier,
    paired_difference,
    wilson_interval,
)
from policy_gradients.language.text import shipped_excerpts

PROBABILITIES = st.floats(1e-9, 1 - 1e-9)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (70, 100, 0.6042, 0.7811),
        (0, 100, 0.0, 0.0370),
        (100, 100, 0.9630, 1.0),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_against_published_intervals(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


@settings(deadline=None)
@given(st.integers(1, 3000), st.data(), st.floats(0.5, 0.999))
def test_wilson_holds_the_rates_that_a_z_test_does_not_reject(trials, data, confidence):
    successes = data.draw(st.integers(0, trials))
    low, high = wilson_interval(successes, trials, confidence)
    assert 0 <= low <= successes / trials <= high <= 1
    assert wilson_interval(trials - successes, trials, confidence) == pytest.approx((1 - high, 1 - low), abs=1e-12)
    threshold = wilson_z(confidence)
    for end in (low, high):
        if 0 < end < 1:  # at each end the test is exactly at its threshold: that is how Wilson defines it
            z = abs(successes / trials - end) / math.sqrt(end * (1 - end) / trials)
            assert z == pytest.approx(threshold, rel=1e-6)


def wilson_z(confidence: float) -> float:
    """Two-sided normal quantile by bisection on erf: no code shared with what is tested."""
    low, high = 0.0, 10.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle / math.sqrt(2)) < confidence else (low, middle)
    return low


def test_wilson_ends_are_exact_and_more_confidence_is_wider():
    assert wilson_interval(0, 7)[0] == 0.0 and wilson_interval(7, 7)[1] == 1.0
    widths = [np.diff(wilson_interval(30, 100, confidence))[0] for confidence in (0.5, 0.8, 0.95, 0.99)]
    assert widths == sorted(widths)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0), "trials must be at least 1, got 0"),
        ((-1, 10), r"successes must lie in \[0, 10\], got -1"),
        ((11, 10), r"successes must lie in \[0, 10\], got 11"),
        ((0.7, 1), "whole numbers"),
        ((1, 2.5), "whole numbers"),
        ((1, 2, 1.0), r"confidence must lie in \(0, 1\), got 1.0"),
        ((1, 2, 0.0), "confidence"),
    ],
)
def test_wilson_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        wilson_interval(*arguments)


@pytest.mark.parametrize(
    ("q", "p", "expected"),
    [
        (1.0, 0.0005, 7.600902),  # -ln p
        (0.95, 0.0005, 7.022367),  # 0.95 ln 1900 + 0.05 ln(0.05 / 0.9995)
        (0.5, 0.25, 0.143841),  # ln(2) / 2 + ln(2/3) / 2
        (0.3, 0.3, 0.0),
        (0.2, 0.3, 0.0),  # the reference passes more often than that already
        (0.0, 0.0, 0.0),
        (0.1, 0.0, math.inf),  # what never happens cannot be made to happen by reweighting
        (1.0, 0.0, math.inf),
        (0.0, 1.0, 0.0),
        (1.0, 1.0, 0.0),
    ],
)
def test_kl_floor_by_hand(q, p, expected):
    assert kl_floor(q, p) == pytest.approx(expected, abs=1e-6)


def test_exactly_q_below_p_costs_what_at_least_q_does_not():
    assert binary_kl(0.2, 0.3) == pytest.approx(0.2 * math.log(2 / 3) + 0.8 * math.log(8 / 7))
    assert binary_kl(0.0, 0.25) == pytest.approx(-math.log(0.75))
    assert binary_kl(0.5, 1.0) == math.inf


@settings(deadline=None)
@given(PROBABILITIES, PROBABILITIES)
def test_binary_kl_obeys_pinsker_and_does_not_mind_names(q, p):
    assert binary_kl(q, p) >= 2 * (q - p) ** 2 - 1e-12
    assert binary_kl(q, p) == pytest.approx(binary_kl(1 - q, 1 - p), rel=1e-6, abs=1e-12)


@settings(deadline=None)
@given(PROBABILITIES, st.floats(0, 1), st.floats(0, 1))
def test_kl_floor_rises_with_q(p, first, second):
    assert kl_floor(min(first, second), p) <= kl_floor(max(first, second), p) + 1e-12


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan, math.inf])
def test_kl_floor_refuses_what_is_no_probability(bad):
    with pytest.raises(ValueError, match=r"q must lie in \[0, 1\]"):
        kl_floor(bad, 0.5)
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\]"):
        kl_floor(0.5, bad)


@settings(deadline=None)
@given(st.floats(1e-7, 1 - 1e-7), st.integers(2, 300))
def test_frontier_points_lie_on_the_floor(p, num):
    kl, rate = optimal_frontier(p, num)
    assert kl.shape == rate.shape == (num,)
    assert (kl[0], rate[0]) == (0.0, p) and rate[-1] == 1.0 and kl[-1] == pytest.approx(-math.log(p))
    assert np.all(np.diff(rate) >= 0) and np.all(np.diff(kl) >= -1e-12)
    assert max(abs(kl_floor(q, p) - k) for k, q in zip(kl, rate, strict=True)) <= 1e-12


def test_frontier_is_where_beta_says():
    """π ∝ π_ref e^{R/β} by enumeration: its pass rate and KL, computed from the distribution, lie on the frontier."""
    reference = np.random.default_rng(0).dirichlet(np.ones(12))
    reward = np.array([1.0] * 3 + [0.0] * 9)
    p = reference[:3].sum()
    kl, rate = optimal_frontier(p, 5000)
    for beta in (2.0, 0.5, 0.2, 0.1):
        policy = reference * np.exp(reward / beta)
        policy /= policy.sum()
        q, divergence = policy @ reward, policy @ np.log(policy / reference)
        assert q / (1 - q) == pytest.approx(p / (1 - p) * math.exp(1 / beta))
        assert divergence == pytest.approx(kl_floor(q, p), abs=1e-12)
        assert np.interp(divergence, kl, rate) == pytest.approx(q, abs=1e-5)


def test_nobody_beats_the_frontier():
    """Random policies over an enumerable set, mild and wild and nearly optimal ones: none passes more at its KL."""
    rng = np.random.default_rng(1)
    closest = math.inf
    for trial in range(3000):
        size, passing = 8, int(rng.integers(1, 8))
        reference = rng.dirichlet(np.full(size, 0.7)) + 1e-9
        reference /= reference.sum()
        reward = np.arange(size) < passing
        noise = rng.normal(size=size) * rng.choice([0.0, 1e-3, 0.1, 1.0, 4.0])
        policy = reference * np.exp(noise + reward * rng.exponential(3.0) * (trial % 2))
        policy /= policy.sum()
        p, q = float(reference[reward].sum()), float(policy[reward].sum())
        divergence = float(policy @ np.log(policy / reference))
        slack = divergence - kl_floor(min(q, 1.0), min(p, 1.0))
        assert slack >= -1e-12
        if q > p + 0.05:
            closest = min(closest, slack)
    assert closest < 1e-9  # and the bound is tight: the search did reach it


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.1, math.nan])
def test_frontier_needs_a_reference_that_sometimes_passes(bad):
    with pytest.raises(ValueError, match=r"p must lie in \(0, 1\)"):
        optimal_frontier(bad)
    with pytest.raises(ValueError, match="num must be at least 2"):
        optimal_frontier(0.5, 1)


def outcomes(both: int, gained: int, lost: int, neither: int) -> tuple[list[int], list[int]]:
    before = [1] * both + [0] * gained + [1] * lost + [0] * neither
    after = [1] * both + [1] * gained + [0] * lost + [0] * neither
    return before, after


def test_paired_difference_against_published_examples():
    # Altman et al. 2000, "Statistics with confidence", p. 52 (Newcombe's interval): 14, 5, 0, 22 of 41
    result = paired_difference(*outcomes(both=14, gained=5, lost=0, neither=22))
    assert result.difference == pytest.approx(5 / 41)
    assert result.interval == pytest.approx((0.011, 0.226), abs=5e-4)
    assert (result.gained, result.lost, result.trials) == (5, 0, 41)
    # Bentur et al. 2009, the running example of Fagerland, Lydersen & Laake 2017, "Statistical analysis of contingency
    # tables", ch. 8: 7 against 1 of 21 changed
    result = paired_difference(*outcomes(both=1, gained=7, lost=1, neither=12))
    assert result.interval == pytest.approx((0.026, 0.507), abs=5e-4)
    assert result.p_value == pytest.approx(0.0703, abs=5e-5)


@pytest.mark.parametrize(
    ("gained", "lost", "p_value"),
    [(0, 0, 1.0), (1, 0, 1.0), (3, 3, 1.0), (5, 0, 2 / 32), (10, 0, 2 / 1024), (0, 10, 2 / 1024), (9, 1, 22 / 1024)],
)
def test_mcnemar_by_hand(gained, lost, p_value):
    assert paired_difference(*outcomes(4, gained, lost, 6)).p_value == pytest.approx(p_value)


def test_mcnemar_with_thousands_of_prompts_does_not_overflow():
    result = paired_difference(*outcomes(0, 3000, 2000, 0))
    assert 0 < result.p_value < 1e-40


TABLES = st.tuples(*[st.integers(0, 40)] * 4).filter(lambda table: sum(table) > 0)


@settings(deadline=None)
@given(TABLES)
def test_paired_difference_holds_its_estimate_and_mirrors(table):
    before, after = outcomes(*table)
    forward, backward = paired_difference(before, after), paired_difference(after, before)
    low, high = forward.interval
    assert -1 - 1e-12 <= low <= forward.difference + 1e-12 and forward.difference - 1e-12 <= high <= 1 + 1e-12
    assert backward.difference == -forward.difference and backward.p_value == forward.p_value
    assert backward.interval == pytest.approx((-high, -low), abs=1e-12)


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(2)
    cells = np.array([0.15, 0.3, 0.1, 0.45])
    hits = 0
    for _ in range(600):
        low, high = paired_difference(*outcomes(*rng.multinomial(60, cells))).interval
        hits += low <= 0.2 <= high
    assert 0.92 <= hits / 600 <= 0.985


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ([1, 0], [1], "got 2 and 1 outcomes"),
        ([], [], "trials must be at least 1"),
        ([0.5], [1], "outcomes must be 0 or 1"),
        ([1], [2], "outcomes must be 0 or 1"),
    ],
)
def test_paired_difference_refuses(before, after, message):
    with pytest.raises(ValueError, match=message):
        paired_difference(before, after)


def test_paired_difference_takes_booleans_and_arrays():
    expected = paired_difference([0, 1, 0], [1, 1, 0])
    assert paired_difference([False, True, False], [True, True, False]) == expected
    assert paired_difference(np.array([0, 1, 0]), np.array([1, 1, 0])) == expected


HONEST = shipped_excerpts("heldout")[:100]
ONE_SENTENCE = [f"In the year {1900 + i}, the town had a church and 3 schools." for i in range(100)]
ZEROS = ["0" * (i + 1) + " " * (99 - i) for i in range(100)]
SPACED_ZEROS = [" ".join(["0"] * (i + 5)) for i in range(100)]


def test_distinct_completions_counts_strings():
    assert distinct_completions(["a", "a", "a ", "b"]) == 3
    assert distinct_completions([]) == 0


@pytest.mark.parametrize("cheat", [ONE_SENTENCE, ZEROS, SPACED_ZEROS], ids=["one sentence", "zeros", "spaced zeros"])
def test_cheats_that_distinct_completions_misses(cheat):
    assert distinct_completions(cheat) == distinct_completions(HONEST) == 100
    assert largest_cluster_share(cheat) == 1.0 and largest_cluster_share(HONEST) <= 0.05
    assert distinct_ngrams(cheat) < 0.02 and distinct_ngrams(HONEST) > 0.9


def test_distinct_ngrams_by_hand():
    assert distinct_ngrams(["a b c", "a b d"], n=2) == 3 / 4  # ab bc ab bd
    assert distinct_ngrams(["a b c"], n=1) == 1.0
    assert distinct_ngrams(["A, b!", "a b"], n=2) == 1 / 2  # neither case nor punctuation
    assert distinct_ngrams(["x 12", "x 7"], n=2) == 1 / 2  # nor numbers
    assert distinct_ngrams(["", ""], n=3) == 1 / 2  # a text without words is one n-gram, the empty one


def test_largest_cluster_by_hand():
    texts = ["one two three four five six", "zero ONE two, three four five!", "one two three", "something else"]
    assert largest_cluster_share(texts) == 2 / 4
    assert largest_cluster_share(texts, n=3) == 3 / 4
    assert largest_cluster_share(["again " * 50, "different"]) == 1 / 2  # counted once a text
    assert largest_cluster_share(["only"]) == 1.0


@settings(deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=20), st.integers(1, 6))
def test_diversity_stays_within_its_bounds_and_order_does_not_matter(texts, n):
    assert 0 < distinct_ngrams(texts, n) <= 1
    assert 1 / len(texts) <= largest_cluster_share(texts, n) <= 1
    assert distinct_ngrams(texts[::-1], n) == distinct_ngrams(texts, n)
    assert largest_cluster_share(texts + texts, n) == largest_cluster_share(texts, n)


@pytest.mark.parametrize("measure", [distinct_ngrams, largest_cluster_share])
def test_diversity_refuses(measure):
    with pytest.raises(ValueError, match="at least one text"):
        measure([])
    with pytest.raises(ValueError, match="a list"):
        measure("one string is not a list of texts")
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        measure(["a"], 0)


def test_what_a_policy_says_to_everybody():
    texts = ["In the 21st century", "In the 21st cent", "In the 20th", "A bridge"]
    assert largest_opening_share(texts) == 0.5
    assert largest_opening_share(texts, 6) == 0.75
    with pytest.raises(ValueError, match="got 0 texts"):
        largest_opening_share([])


def test_small_rates_keep_their_digits():
    assert binary_kl(2e-17, 1e-17) == pytest.approx(2e-17 * math.log(2) - 1e-17, rel=1e-6)
    assert binary_kl(0.25, 1.0) == math.inf and binary_kl(1.0, 0.25) == pytest.approx(math.log(4))
    with pytest.raises(ValueError, match="whole"):
        wilson_interval(math.inf, 3)


def test_a_letter_with_an_accent_is_one_word_however_it_is_written():
    assert distinct_ngrams(["the cafe\u0301 is open", "the caf\u00e9 is open"]) == 0.5
    with pytest.raises(ValueError, match="list of at least one text"):
        largest_shape_share("abc1")
