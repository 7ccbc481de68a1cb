"""Exercises of notebook 08: a censored time, an exact paired test, its limit, a correction, and a verdict."""

import itertools
import math

import torch

from policy_gradients.course.exercises.declare import exercise
from policy_gradients.studies.analysis import holm as correct
from policy_gradients.studies.analysis import least_seeds as fewest
from policy_gradients.studies.analysis import sign_flip_p_value as exact
from policy_gradients.studies.analysis import steps_to_half as first_half
from policy_gradients.studies.analysis import verdict as judge


def _curves(generator):
    yield [0.0, 0.25, 0.5]
    yield [1.0] * 6
    yield [0.0, 0.0, 0.0, 0.75, 0.75, 0.75, 0.75]
    yield [0.0, 0.5, 0.5, 0.5, 0.5, 0.5]
    yield [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    yield [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    yield []
    yield [1.0] * 3
    yield [1.0] * 4
    yield [1.0] * 5
    yield (torch.linspace(0, 1, 40) + 0.1 * torch.randn(40, generator=generator)).clamp(0, 1).tolist()


def _windows(rates, least=5):
    """(step, mean of the five that end with it) where there are as many."""
    return [(step, sum(rates[max(0, step - 5) : step]) / min(step, 5)) for step in range(least, len(rates) + 1)]


@exercise(
    title="Steps to one half",
    difficulty=1,
    minutes=8,
    importance=2,
    why=(
        "A single batch reaches a half by luck; five in a row rarely do.\n"
        "A run that never gets there took longer than it lasted, so it counts as one step more: the least that is true."
    ),
    reference=first_half,
    cases=_curves,
    hints=[
        "The first step that has four before it is step 5. Which rates does its mean take?",
        "`strict_rates[step - 5 : step]` are the five that end with `step`, counted from 1.",
        "A loop over step = 5 … len(strict_rates) that returns; after the loop, `return len(strict_rates) + 1`.",
    ],
    mistakes={
        "That is the first single step at a half: one lucky batch. Take the mean of five.": lambda rates: next(
            (step for step, rate in enumerate(rates, 1) if rate >= 0.5), len(rates) + 1
        ),
        "Steps are counted from 1 here, not from 0.": lambda rates: first_half(rates) - 1,
        "A run that never gets there counts as its last step, as if it had: it is one step more.": lambda rates: next(
            (step for step, mean in _windows(rates) if mean >= 0.5), len(rates)
        ),
        "One run that never gets there makes the mean over seeds infinite. It counts as one step more than there "
        "are.": lambda rates: next((step for step, mean in _windows(rates) if mean >= 0.5), math.inf),
        "A mean of exactly a half is *at least* a half.": lambda rates: next(
            (step for step, mean in _windows(rates) if mean > 0.5), len(rates) + 1
        ),
        "That is the first of the five steps; it is known only at the last of them.": lambda rates: next(
            (step - 4 for step, mean in _windows(rates) if mean >= 0.5), len(rates) + 1
        ),
        "Before step 5 there are no five steps whose mean could be taken.": lambda rates: next(
            (step for step, mean in _windows(rates, 1) if mean >= 0.5), len(rates) + 1
        ),
    },
)
def steps_to_half(strict_rates):
    """First step (from 1) at which the mean of it and the four before is ≥ ½; never: one step more than there are."""
    for step in range(5, len(strict_rates) + 1):
        if sum(strict_rates[step - 5 : step]) / 5 >= 0.5:
            return step
    return len(strict_rates) + 1


def _differences(generator):
    yield [0.5]
    yield [0.25, -0.5]
    yield [-0.25, -0.5]
    yield [0.0, 0.0]
    yield [0.5, 0.25, 0.25]
    yield [0.125, 0.25, -0.125, 0.5]
    yield [1.0, 1.0, 1.0, 1.0, 1.0, -8.0]
    yield torch.randn(8, generator=generator, dtype=torch.double).tolist()
    yield (torch.randn(10, generator=generator, dtype=torch.double) - 0.7).tolist()


def _sums(differences):
    """What the sum would be with every choice of signs."""
    return [sum(s * d for s, d in zip(signs, differences, strict=True))
            for signs in itertools.product((1, -1), repeat=len(differences))]  # fmt: skip


def _share(differences, counts):
    found, sums = sum(differences), _sums(differences)
    return sum(counts(other, found) for other in sums) / len(sums)


def _sign_test(differences):
    up, n = sum(d > 0 for d in differences), sum(d != 0 for d in differences)
    return sum(math.comb(n, k) for k in range(n + 1) if abs(2 * k - n) >= abs(2 * up - n)) / 2**n


@exercise(
    title="All the ways the signs could have fallen",
    difficulty=2,
    minutes=15,
    importance=3,
    why=(
        "If the arms do not differ, which of a seed's two runs carries which name is a toss of a coin: each difference "
        "could have had the other sign.\n"
        "Of the 2ⁿ ways, those whose mean is at least as far from 0 are the p-value, and no curve is assumed."
    ),
    reference=exact,
    cases=_differences,
    hints=[
        "If the names of the arms meant nothing, each difference could as well have had the other sign. Go through all "
        "ways.",
        "`itertools.product((1, -1), repeat=n)` gives the 2ⁿ choices of signs. For how many is the mean as far from 0 "
        "as the one found, or farther, on either side?",
        "sum(abs(other) >= abs(found) for other in sums) / len(sums), with one sum for each choice of signs.",
    ],
    mistakes={
        "That is one side only: a mean as far below 0 would surprise as much.": lambda d: _share(
            d, lambda other, found: other >= found
        ),
        "The signs that were seen belong to the count: at least as far, not farther.": lambda d: _share(
            d, lambda other, found: abs(other) > abs(found) + 1e-12
        ),
        "That leaves out the way that was seen, above and below the line. It is one of the 2ⁿ.": lambda d: (
            (2 ** len(d) * _share(d, lambda other, found: abs(other) >= abs(found) - 1e-12) - 1) / (2 ** len(d) - 1)
        ),
        "Changing the order of the differences changes no mean. It is their signs that could have been "
        "others.": lambda d: 1.0,
        "That is the sign test: it forgets how large the differences are.": _sign_test,
        "That is the chance to be *nearer* to 0 than what was found.": lambda d: _share(
            d, lambda other, found: abs(other) < abs(found) - 1e-12
        ),
    },
)
def sign_flip_p_value(differences):
    """Share of the 2ⁿ ways to choose the signs of these numbers whose mean is at least as far from 0 as theirs."""
    sums = [0.0]
    for difference in differences:
        sums = [total + sign * difference for sign in (1, -1) for total in sums]
    found = abs(sum(differences))
    return sum(abs(total) >= found - 1e-12 for total in sums) / len(sums)


def _families(generator):
    return [(1, 0.0625), (1, 0.05), (2, 0.05), (3, 0.01), (5, 0.1), (12, 0.05), (100, 0.05)]


def _seeds(hypotheses, alpha, ways=2, strictly=True):
    seeds = 1
    while (smallest := hypotheses * ways / 2**seeds) > alpha or (strictly and smallest == alpha):
        seeds += 1
    return seeds


@exercise(
    title="How many seeds before anything can be found",
    difficulty=2,
    minutes=8,
    importance=3,
    why=(
        "The most extreme outcome is that all differences have one sign, which two of the 2ⁿ ways do: no p-value is "
        "smaller.\n"
        "The correction multiplies it by the number of hypotheses, and what is left has to be below alpha."
    ),
    reference=fewest,
    cases=_families,
    hints=[
        "What is the smallest p-value that the sign-flip test can give with n seeds?",
        "Two of the 2ⁿ ways are as extreme: 2 / 2ⁿ. Holm multiplies the smallest of m p-values by m.",
        "Count n up from 1 while hypotheses * 2 / 2**n >= alpha.",
    ],
    mistakes={
        "Two of the 2ⁿ ways are as extreme, one above 0 and one below.": lambda m, a: _seeds(m, a, ways=1),
        "Holm's correction is missing: the smallest p-value counts once for each hypothesis.": lambda m, a: _seeds(
            1, a
        ),
        "At exactly alpha nothing is found yet: it has to be *below*.": lambda m, a: _seeds(m, a, strictly=False),
        "That grants each hypothesis an alpha of its own, times their number: the correction goes the other "
        "way.": lambda m, a: _seeds(1, a * m),
    },
)
def least_seeds(hypotheses, alpha):
    """Fewest seeds n with which one of so many hypotheses can have a sign-flip p-value below alpha after Holm."""
    seeds = 1
    while 2**seeds * alpha <= 2 * hypotheses:
        seeds += 1
    return seeds


def _p_values(generator):
    yield [0.04]
    yield [0.04, 0.03]
    yield [0.01, 0.6]
    yield [0.04, 0.01, 0.03]
    yield [0.02, 0.02, 0.9, 0.5]
    yield torch.rand(12, generator=generator, dtype=torch.double).pow(3).tolist()


def _stepped(p_values, factor=lambda m, place: m - place, running=True, cap=True, order=True):
    m, places = len(p_values), sorted(range(len(p_values)), key=lambda i: p_values[i])
    stepped = [factor(m, place) * p_values[i] for place, i in enumerate(places)]
    stepped = list(itertools.accumulate(stepped, max)) if running else stepped
    stepped = [min(1.0, p) for p in stepped] if cap else stepped
    return [stepped[places.index(i)] for i in range(m)] if order else stepped


def _false_discoveries(p_values):
    m, places = len(p_values), sorted(range(len(p_values)), key=lambda i: -p_values[i])
    stepped = list(itertools.accumulate((p_values[i] * m / (m - k) for k, i in enumerate(places)), min))
    return [min(1.0, stepped[places.index(i)]) for i in range(m)]


@exercise(
    title="Holm's correction",
    difficulty=2,
    minutes=12,
    importance=3,
    why=(
        "If the smallest p-value counts m times and is still small, that hypothesis is settled, and only m − 1 others "
        "are left to be mistaken about.\n"
        "A larger p-value may not come out below a smaller one, so each takes at least the value before it."
    ),
    reference=correct,
    cases=_p_values,
    hints=[
        "Sort them. The smallest is multiplied by m, the next by m − 1, and so on: but mind the order in which to "
        "return them.",
        "`sorted(range(m), key=lambda i: p_values[i])` are the places from the smallest p-value to the largest.",
        "Go through those places with running = max(running, (m - k) * p_values[i]), and store min(1, running) at i.",
    ],
    mistakes={
        "That is Bonferroni: every p-value times m. Holm's factors fall from m to 1.": lambda p: [
            min(1.0, len(p) * each) for each in p
        ],
        "A larger p-value has come out below a smaller one: keep a running maximum.": lambda p: _stepped(
            p, running=False
        ),
        "They are returned from the smallest to the largest; the caller needs each in its own place.": lambda p: (
            _stepped(p, order=False)
        ),
        "A p-value above 1: cut at 1.": lambda p: _stepped(p, cap=False),
        "The factors begin at m − 1; the smallest p-value counts m times.": lambda p: _stepped(
            p, factor=lambda m, place: max(1, m - place - 1)
        ),
        "That is Benjamini and Hochberg's correction: it bounds the share of false findings among the findings, not "
        "the chance of any.": _false_discoveries,
        "The factors grow from 1 to m: the smallest p-value is the one that counts m times.": lambda p: _stepped(
            p, factor=lambda m, place: place + 1
        ),
    },
)
def holm(p_values):
    """Holm's corrected p-values, a list in the order given: sorted, times m, m − 1, …, never falling, at most 1."""
    m = len(p_values)
    corrected = []
    for own in p_values:
        below = [(sum(other < p for other in p_values), p) for p in p_values if p <= own]
        corrected.append(min(1.0, max((m - rank) * p for rank, p in below)))
    return corrected


def _found(generator):
    return [
        (0.10, (0.05, 0.15), 0.01, 0.03),
        (-0.10, (-0.15, -0.05), 0.01, 0.03),
        (0.01, (0.005, 0.02), 0.01, 0.03),
        (0.10, (0.05, 0.15), 0.20, 0.03),
        (0.00, (-0.02, 0.02), 0.90, 0.03),
        (-0.10, (-0.25, 0.02), 0.90, 0.03),
        (0.02, (-0.02, 0.06), 0.90, 0.03),
        (0.05, (0.01, 0.09), 0.05, 0.03),
    ]


def _judged(difference, interval, corrected, smallest, nothing):
    if corrected < 0.05:
        return "holds" if difference > 0 else "the reverse holds"
    return "no difference that matters" if nothing else "undecided"


@exercise(
    title="A verdict",
    difficulty=2,
    minutes=8,
    importance=3,
    why=(
        "A small p-value says that there is a difference, and its sign says which way.\n"
        "A large one says nothing; only an interval that leaves no room for a difference that matters shows that there "
        "is none."
    ),
    reference=judge,
    cases=_found,
    hints=[
        "Which of the four does a p-value of 0.9 show? None: it may come from too few seeds.",
        "Below 0.05, the sign decides. Else ask the interval: does it lie within ±smallest, both ends?",
        "`-smallest < low and high < smallest` is what shows that no difference matters.",
    ],
    mistakes={
        "A large p-value does not show that there is no difference: too few seeds have large p-values, too.": (
            lambda d, i, p, s: _judged(d, i, p, s, True)
        ),
        "A significant difference *below* 0 speaks for the reverse.": lambda d, i, p, s: (
            "holds" if p < 0.05 else judge(d, i, p, s)
        ),
        "That is one uncorrected interval; the rule asks for the corrected p-value.": lambda d, i, p, s: judge(
            d, i, 0.0 if i[0] > 0 or i[1] < 0 else 1.0, s
        ),
        "It is the interval that has to lie within ±smallest, not the mean: the truth may be anywhere in it.": (
            lambda d, i, p, s: _judged(d, i, p, s, abs(d) < s)
        ),
        "Both ends have to lie within: this one asks the upper end alone.": lambda d, i, p, s: _judged(
            d, i, p, s, i[1] < s
        ),
        "The rule asks for significance, not for a difference above smallest as well.": lambda d, i, p, s: (
            judge(d, i, p, s) if abs(d) >= s else judge(d, i, 1.0, s)
        ),
        "At exactly 0.05 nothing is significant: below.": lambda d, i, p, s: judge(d, i, p - 1e-12, s),
    },
)
def verdict(difference, interval, corrected, smallest):
    """Significant (corrected p < 0.05): "holds", or "the reverse holds"; else, if the interval (low, high) lies within
    ±smallest, "no difference that matters"; else "undecided". A difference above 0 speaks for the hypothesis."""
    if corrected < 0.05:
        return "holds" if difference > 0 else "the reverse holds"
    if max(-interval[0], interval[1]) < smallest:
        return "no difference that matters"
    return "undecided"
