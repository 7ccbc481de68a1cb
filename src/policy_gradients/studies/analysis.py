"""What the runs of a study say: differences by seed, with intervals, corrected tests, and what they could have seen."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import bootstrap, nct, permutation_test, t

from policy_gradients.studies.study import HIGHER_IS_BETTER, Hypothesis, Metric, Study

ALPHA = 0.05
POWER = 0.8
LAST = 10  # steps that count as the end of a training
SMOOTHED = 5  # steps whose mean has to reach a half
RESAMPLES = 10_000

Runs = Mapping[str, Mapping[int, Mapping[str, Any]]]
"""Arm → seed → what `studies.runs.summary` keeps of a run."""
Verdict = Literal["holds", "the reverse holds", "no difference that matters", "undecided"]


def outcome(run: Mapping[str, Any], metric: Metric) -> float:
    """One number of a run, as `METRICS` describes it."""
    curves, report = run["curves"], run["report"]
    if metric == "mean_strict_rate":
        return float(np.mean(curves["strict_rate"]))
    if metric == "steps_to_half":
        return steps_to_half(curves["strict_rate"])
    if metric == "reward_variance":
        return float(np.mean(np.square(curves["reward_std"][-LAST:])))
    if metric in ("last_entropy", "mean_length"):
        return float(np.mean(curves[metric.removeprefix("last_")][-LAST:]))
    if metric == "distinct_share":
        return report["distinct_completions"] / report["num_prompts"]
    return float(report[{"kl": "kl_to_reference"}.get(metric, metric)])


def steps_to_half(strict_rates: Sequence[float]) -> float:
    """The first step, counted from 1, at which the mean of it and the four before is at least a half.

    Never counts as one step more than there are: the least that it could still be (a censored value; means over seeds
    are then too small).
    """
    for last in range(SMOOTHED, len(strict_rates) + 1):
        if np.mean(strict_rates[last - SMOOTHED : last]) >= 0.5:
            return float(last)
    return float(len(strict_rates) + 1)


def outcomes(runs: Runs, arm: str, metric: Metric) -> dict[int, float]:
    """Seed → outcome."""
    return {seed: outcome(run, metric) for seed, run in runs[arm].items()}


@dataclass(frozen=True)
class Comparison:
    """What the paired differences of two arms say about one hypothesis; differences above 0 speak for it."""

    hypothesis: Hypothesis
    seeds: int
    difference: float
    """Mean over seeds, in units of the metric, turned so that more is better."""
    interval: tuple[float, float]
    """95 %, bootstrapped over seeds (BCa; Efron 1987)."""
    effect: float
    """The mean difference in units of the differences' standard deviation (Cohen's d_z)."""
    p_value: float
    """Two-sided, by `sign_flip_p_value`."""
    corrected: float
    """The same, corrected for all hypotheses of the study (Holm 1979)."""
    detectable: float
    """The true difference that a paired t-test of as many seeds, with such a spread, would have found in four of five
    studies, at the level of one test."""
    needed: int
    """With so many seeds of such a spread, the smallest difference that matters would be `detectable`."""

    @property
    def verdict(self) -> Verdict:
        """As `verdict`; with so few seeds that the smallest p-value they allow is not below 5 %, `undecided`."""
        if smallest_p_value(self.seeds) >= ALPHA:
            return "undecided"
        return verdict(self.difference, self.interval, self.corrected, self.hypothesis.smallest)


def verdict(difference: float, interval: tuple[float, float], corrected: float, smallest: float) -> Verdict:
    """What a study says of one hypothesis.

    Args:
        difference: mean over seeds; above 0 it speaks for the hypothesis.
        interval: 95 %, of the mean.
        corrected: p-value, corrected for all hypotheses of the study.
        smallest: the least difference that would matter; an interval within ± this shows that there is none.
    """
    if corrected < ALPHA:
        return "holds" if difference > 0 else "the reverse holds"
    low, high = interval
    return "no difference that matters" if -smallest < low and high < smallest else "undecided"


def compare(study: Study, runs: Runs) -> list[Comparison]:
    """One comparison for each hypothesis whose arms have at least two seeds in common.

    The correction is for all hypotheses that were declared, also for those that have no runs yet.

    Raises:
        ValueError: no hypothesis has.
    """
    paired = [(each, differences(runs, each)) for each in study.hypotheses]
    paired = [(each, found) for each, found in paired if len(found) > 1]
    if not paired:
        raise ValueError(f"no two arms of the study {study.name} have two seeds in common yet; run more of it")
    p_values = [sign_flip_p_value(found) for _, found in paired]
    corrected = holm([*p_values, *[1.0] * (len(study.hypotheses) - len(paired))])
    return [
        Comparison(
            hypothesis=each,
            seeds=len(found),
            difference=float(found.mean()),
            interval=bootstrap_interval(found),
            effect=float(found.mean() / _spread(found)) if _spread(found) else math.nan,
            p_value=p_value,
            corrected=after,
            detectable=detectable_difference(_spread(found), len(found)),
            needed=seeds_to_detect(_spread(found), each.smallest),
        )
        for (each, found), p_value, after in zip(paired, p_values, corrected, strict=False)
    ]


def _spread(values: NDArray[np.float64]) -> float:
    """The standard deviation of a sample; 0 where its values are equal but for rounding."""
    return 0.0 if np.ptp(values) <= 1e-12 * np.abs(values).max() else float(values.std(ddof=1))


def differences(runs: Runs, hypothesis: Hypothesis) -> NDArray[np.float64]:
    """Of the seeds that both arms have, the arm's outcome less the other's, turned so that more is better."""
    of_arm, of_other = (outcomes(runs, arm, hypothesis.metric) for arm in (hypothesis.arm, hypothesis.against))
    sign = 1 if HIGHER_IS_BETTER[hypothesis.metric] else -1
    return np.array([sign * (of_arm[seed] - of_other[seed]) for seed in sorted(of_arm.keys() & of_other.keys())])


def sign_flip_p_value(differences: Sequence[float] | NDArray[np.float64]) -> float:
    """Two-sided p-value of the hypothesis that arms are exchangeable within a seed (Fisher 1935, §21): the share of the
    2ⁿ ways to turn signs round whose mean is at least as far from 0. Exact up to 14 seeds; of more, 2¹⁴ ways are drawn.

    With n seeds it cannot fall below `smallest_p_value`.

    Raises:
        ValueError: no differences, or one that is not finite.
    """
    differences = np.asarray(differences, dtype=float)
    if not (differences.size and np.isfinite(differences).all()):
        raise ValueError(f"differences must be finite, and at least one; got {differences.tolist()}")
    if len(differences) == 1 or not differences.any():
        return 1.0  # scipy wants two; of one, both signs are as far from 0
    found = permutation_test(
        (differences / np.abs(differences).max(),), lambda x, axis=-1: x.mean(axis=axis), permutation_type="samples",
        n_resamples=2**14, rng=np.random.default_rng(0),
    )  # fmt: skip
    return float(found.pvalue)


def smallest_p_value(seeds: int) -> float:
    """Of `sign_flip_p_value`: all differences have one sign, which two of the 2ⁿ ways do."""
    return 2.0 / 2**seeds


def least_seeds(hypotheses: int, alpha: float = ALPHA) -> int:
    """The fewest seeds with which one of so many hypotheses can come out below alpha after Holm's correction.

    Raises:
        ValueError: fewer hypotheses than one, or an alpha that is not between 0 and 1.
    """
    if hypotheses < 1 or not 0 < alpha < 1:
        raise ValueError(f"hypotheses must be at least 1 and alpha between 0 and 1, got {hypotheses} and {alpha}")
    seeds = 1
    while hypotheses * smallest_p_value(seeds) >= alpha:
        seeds += 1
    return seeds


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected p-values, in the order given: the chance of even one false "below 5 %" stays below 5 % (Holm 1979).

    Of m p-values the smallest counts m times, the next m − 1 times, …; none comes out below a smaller one, or above 1.
    """
    corrected, running = [0.0] * len(p_values), 0.0
    for place, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, (len(p_values) - place) * p_values[i])
        corrected[i] = min(1.0, float(running))
    return corrected


def bootstrap_interval(values: Sequence[float] | NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float]:
    """Of the mean, by resampling seeds (BCa; Efron 1987); of one value, or equal ones, that value twice.

    Of few values it is too narrow: notebook 08 counts how often it holds the truth.

    Raises:
        ValueError: no values, one that is not finite, or a confidence outside (0, 1).
    """
    values = np.asarray(values, dtype=float)
    if not (values.size and np.isfinite(values).all()):
        raise ValueError(f"values must be finite, and at least one; got {values.tolist()}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    if len(values) == 1 or not _spread(values):
        return float(values[0]), float(values[0])
    found = bootstrap(
        (values,), np.mean, confidence_level=confidence, n_resamples=RESAMPLES, rng=np.random.default_rng(0)
    ).confidence_interval
    return float(found.low), float(found.high)


def detectable_difference(spread: float, seeds: int, alpha: float = ALPHA) -> float:
    """The true difference that a paired t-test would find in four of five studies; in units of the metric.

    Args:
        spread: standard deviation of the differences by seed; 0 gives 0.
        seeds: at least 2.
    """
    if spread == 0:
        return 0.0
    critical = t.ppf(1 - alpha / 2, seeds - 1)

    def missing(shift: float) -> float:
        other_side = np.nan_to_num(nct.cdf(-critical, seeds - 1, shift))  # scipy gives NaN where there is nothing left
        return nct.sf(critical, seeds - 1, shift) + other_side - POWER

    return brentq(missing, 0.0, 10 * critical) / math.sqrt(seeds) * spread


def seeds_to_detect(spread: float, difference: float, alpha: float = ALPHA) -> int:
    """The fewest seeds, at least 2, whose `detectable_difference` is no larger than this one.

    Raises:
        ValueError: a spread below 0, or a difference that is not above 0.
    """
    if not 0 <= spread < math.inf or not 0 < difference < math.inf:
        raise ValueError(f"spread must not be negative and difference above 0, got {spread} and {difference}")
    enough = 2
    while detectable_difference(spread, enough, alpha) > difference:
        enough *= 2
    seeds = range(max(2, enough // 2), enough + 1)
    return seeds[bisect_left(seeds, -difference, key=lambda n: -detectable_difference(spread, n, alpha))]


@dataclass(frozen=True)
class Claim:
    """What the hypotheses of one arm and one metric come to together: that it beats all that it is compared with."""

    arm: str
    metric: Metric
    verdict: Literal["holds", "fails", "undecided"]
    """`holds` if every hypothesis does; `fails` if for one the reverse holds, or no difference matters."""
    sentence: str


def claims(study: Study, comparisons: Sequence[Comparison]) -> list[Claim]:
    """One for each arm and metric that hypotheses speak of, in their order."""
    known = {each.hypothesis: each for each in comparisons}
    grouped: dict[tuple[str, Metric], list[Hypothesis]] = {}
    for each in study.hypotheses:
        grouped.setdefault((each.arm, each.metric), []).append(each)
    return [_claim(study, arm, metric, group, known) for (arm, metric), group in grouped.items()]


def _claim(
    study: Study, arm: str, metric: Metric, group: Sequence[Hypothesis], known: Mapping[Hypothesis, Comparison]
) -> Claim:
    against: dict[Verdict, list[str]] = {each: [] for each in get_args(Verdict)}
    for each in group:
        against[known[each].verdict if each in known else "undecided"].append(each.against)
    refuted = against["the reverse holds"] or against["no difference that matters"]
    word = "fails" if refuted else "undecided" if against["undecided"] else "holds"
    relations = ("better than", "worse than", "not different in a way that matters from", "undecided against")
    said = [f"{how} {_listed(arms)}" for how, arms in zip(relations, against.values(), strict=True) if arms]
    seeds = min(known[each].seeds if each in known else 0 for each in group)
    early = f" (so far {seeds} of {len(study.seeds)} seeds)" if seeds < len(study.seeds) else ""
    said_of = "is undecided" if word == "undecided" else word
    return Claim(arm, metric, word, f"{arm}, by {metric}: the claim {said_of}{early}. It is {'; '.join(said)}.")


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def summaries(study: Study, runs: Runs, metrics: Sequence[Metric]) -> list[list[str]]:
    """One row an arm that has runs: its name, its number of seeds, and for each metric the mean and its interval."""
    rows = []
    for arm in study.arms:
        if not runs[arm]:
            continue
        cells = [written(list(outcomes(runs, arm, metric).values()), metric) for metric in metrics]
        rows.append([arm, str(len(runs[arm])), *cells])
    return rows


def written(values: Sequence[float], metric: Metric) -> str:
    """The mean over seeds, with its interval: "63 % [50, 71]"."""
    low, high = bootstrap_interval(values)
    share = metric in ("mean_strict_rate", "pass_rate", "distinct_share", "perplexity_increase")
    if share:
        return f"{100 * np.mean(values):.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
    spec = ".0f" if metric in ("steps_to_half", "mean_length") else ".3f" if metric == "reward_variance" else ".2f"
    return f"{np.mean(values):{spec}} [{low:{spec}}, {high:{spec}}]"


def verdict_rows(comparisons: Sequence[Comparison]) -> list[list[str]]:
    """One row a hypothesis, under `VERDICT_HEADER`."""
    return [
        [
            str(each.hypothesis),
            str(each.seeds),
            f"{each.difference:+.3g} [{each.interval[0]:+.3g}, {each.interval[1]:+.3g}]",
            "–" if math.isnan(each.effect) else f"{each.effect:+.2f}",
            f"{each.corrected:.3g}",
            f"{each.detectable:.2g}",
            f"{each.needed:,}",
            each.verdict,
        ]
        for each in comparisons
    ]


VERDICT_HEADER = (
    "hypothesis", "seeds", "difference [95 %], more is better", "d_z", "p (Holm)", "detectable", "seeds needed",
    "verdict",
)  # fmt: skip
