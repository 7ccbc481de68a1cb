"""Exercises of notebook 07: intervals, the price of a pass rate, and a paired test."""

import math

from policy_gradients.course.exercises.declare import exercise
from policy_gradients.evaluation.statistics import binary_kl, kl_floor, paired_difference, wilson_interval

Z = 1.959963984540054


def _counts(generator):
    return [(0, 1), (3, 7), (0, 100), (1, 100), (50, 100), (100, 100)]


def _score_interval(rate, n, z=Z, centred=True, inside=True):
    half = z * math.sqrt(rate * (1 - rate) / n + inside * z * z / (4 * n * n)) / (1 + z * z / n)
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n) if centred else rate
    return centre - half, centre + half


def _undivided(rate, n):
    low, high = _score_interval(rate, n)
    half = (high - low) / 2 * Z * Z / n
    return low - half, high + half


def _wald(successes, trials):
    rate = successes / trials
    half = Z * math.sqrt(rate * (1 - rate) / trials)
    return rate - half, rate + half


@exercise(
    title="Wilson's interval",
    difficulty=2,
    minutes=15,
    importance=3,
    why=(
        "It holds all pass rates p under which the observed p̂ would be within z standard errors, computed at p "
        "and not at p̂.\n"
        "So it has a width at 0 and n successes, and never leaves [0, 1]."
    ),
    reference=wilson_interval,
    cases=_counts,
    hints=[
        "Its ends are the two solutions p of (p̂ − p)² = z² p(1 − p)/n: a quadratic in p. Sort it by powers.",
        "The centre of the two solutions is (p̂ + z²/2n) / (1 + z²/n): p̂, drawn towards one half.",
        "Half the width is z · √(p̂(1 − p̂)/n + z²/4n²) / (1 + z²/n).",
    ],
    mistakes={
        "That is p̂ ± z·√(p̂(1−p̂)/n). It has no width at 0 and at n successes, and leaves [0, 1] near them.": _wald,
        "The centre stays at p̂; it has to be drawn towards one half, (p̂ + z²/2n) / (1 + z²/n).": lambda k, n: (
            _score_interval(k / n, n, centred=False)
        ),
        "z²/4n² is missing under the root: at 0 successes the interval has no width.": lambda k, n: _score_interval(
            k / n, n, inside=False
        ),
        "z = 1.645 leaves 5 % on each side; 95 % in the middle take z = 1.960.": lambda k, n: _score_interval(
            k / n, n, z=1.6448536269514722
        ),
        "That is the ordinary interval cut off at 0 and 1. At 0 successes it still has no width.": lambda k, n: (
            max(0.0, _wald(k, n)[0]),
            min(1.0, _wald(k, n)[1]),
        ),
        "z is rounded to 1.96. The docstring gives it in full.": (lambda k, n: _score_interval(k / n, n, z=1.96)),
        "The centre is divided by 1 + z²/n, and half the width is not: both are.": (lambda k, n: _undivided(k / n, n)),
    },
)
def wilson(successes, trials):
    """The 95 % interval (low, high) of a pass rate, with z = 1.959963984540054."""
    z2 = 1.959963984540054**2
    a, b, c = trials + z2, -(2 * successes + z2), successes**2 / trials  # a p² + b p + c = 0
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def _rates(generator):
    return [(0.5, 0.5), (0.2, 0.3), (0.7, 0.001), (1.0, 0.001), (0.999, 0.2), (0.0, 0.2)]


@exercise(
    title="The floor under a divergence",
    difficulty=2,
    minutes=10,
    importance=3,
    why=(
        "Reweighting the reference inside and outside the passing set is the cheapest way to pass with "
        "probability q.\n"
        "What is left is the divergence of two coins; below p the reference itself does it, for nothing."
    ),
    reference=kl_floor,
    shows=[kl_floor, binary_kl],
    cases=_rates,
    hints=[
        "Passing or not is all that matters: it is the divergence between two coins, one with q and one with p.",
        "q ln(q/p) + (1 − q) ln((1 − q)/(1 − p)); and 0 ln 0 is 0, though `math.log(0)` raises: q = 1 needs care.",
        "What does it cost to pass with *at least* probability q, if the reference already passes more often?",
    ],
    mistakes={
        "Below p it costs nothing: the reference itself passes at least that often.": binary_kl,
        "q and p are exchanged: the expectation is over the policy that passes with q.": lambda q, p: (
            0.0 if q <= p else binary_kl(p, q)
        ),
        "The half for completions that fail is missing: (1 − q) ln((1 − q)/(1 − p)).": lambda q, p: (
            0.0 if q <= p else q * math.log(q / p)
        ),
        "That is in bits; nats take the natural logarithm.": lambda q, p: kl_floor(q, p) / math.log(2),
        "At q = 1 the second term is 0 · ln 0. It is 0, but `math.log(0)` raises: treat it apart.": lambda q, p: (
            0.0 if q <= p else q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))
        ),
    },
)
def floor(q, p):
    """Least nats per completion at which a policy passes with probability ≥ q; the reference passes with p > 0."""
    if q <= p:
        return 0.0
    passing = q * (math.log(q) - math.log(p))
    return passing if q == 1 else passing + (1 - q) * (math.log1p(-q) - math.log1p(-p))


def _changes(generator):
    return [(0, 0), (1, 0), (1, 1), (0, 5), (2, 3), (6, 4), (10, 2), (30, 12)]


def _p_value(gained, lost):
    before, after = [0] * gained + [1] * lost + [0, 1], [1] * gained + [0] * lost + [0, 1]  # two that did not change
    return paired_difference(before, after).p_value


def _tail(gained, lost):
    n = gained + lost
    return sum(math.comb(n, k) for k in range(min(gained, lost) + 1)) / 2**n


@exercise(
    title="Is the change more than luck?",
    difficulty=3,
    minutes=15,
    importance=2,
    why=(
        "Prompts that did not change say nothing of the difference; the others are coin flips if there is none.\n"
        "The p-value is the chance of a split at least as uneven, on both sides."
    ),
    reference=_p_value,
    shows=[paired_difference],
    cases=_changes,
    hints=[
        "Prompts whose outcome stayed the same say nothing. If nothing changed in truth, each of the others is a fair "
        "coin: gained or lost.",
        "How likely is it that n = gained + lost coins split at least as unevenly? Sum `math.comb(n, k)` for k up to "
        "the smaller count, and divide by 2ⁿ.",
        "Two sides: double it. At equal counts the doubling counts the middle twice, so cut at 1.",
    ],
    mistakes={
        "That is one side only: a loss as large would surprise as much. Double it.": _tail,
        "A probability above 1: at equal counts the two sides overlap. Cut at 1.": lambda gained, lost: (
            2 * _tail(gained, lost)
        ),
        "Only the chance of exactly this split is taken; a p-value also counts those that are more "
        "uneven.": lambda gained, lost: min(
            1.0, 2 * math.comb(gained + lost, min(gained, lost)) / 2 ** (gained + lost)
        ),
        "That is the normal approximation, z = (gained − lost)/√(gained + lost): for so few prompts it is off, and for "
        "none it divides by zero. The exact sum is short.": lambda gained, lost: math.erfc(
            abs(gained - lost) / math.sqrt(2 * (gained + lost))
        ),
        "It counts the splits that are strictly more uneven; the one that was seen belongs to them.": (
            lambda gained, lost: min(
                1.0, 2 * (_tail(gained, lost) - math.comb(gained + lost, min(gained, lost)) / 2 ** (gained + lost))
            )
        ),
    },
)
def p_value(gained, lost):
    """McNemar's exact two-sided p-value, from the prompts that were gained and those that were lost."""
    n = gained + lost
    as_uneven = [k for k in range(n + 1) if abs(2 * k - n) >= abs(gained - lost)]
    return sum(math.comb(n, k) for k in as_uneven) / 2**n
