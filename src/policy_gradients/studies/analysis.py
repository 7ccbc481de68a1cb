"""What the runs of a study say: differences by seed, with intervals, corrected tests, and what they could have seen."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, permutation_test
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from policy_gradients.studies.study import HIGHER_IS_BETTER, Hypothesis, Metric, Study

ALPHA = 0.05
POWER = 0.8
LAST = 10  # steps that count as the end of a training
SMOOTHED = 5  # steps whose mean has to reach a half
RESAMPLES = 10_000

Runs = Mapping[str, Mapping[int, Mapping[str, Any]]]


def outcome(run: Mapping[str, Any], metric: Metric) -> float:
    """One number of a run, as `METRICS` describes it."""
    curves, report = run["curves"], run["report"]
    if metric == "mean_strict_rate":
        return float(np.mean(curves["strict_rate"]))
    if metric == "steps_to_half":
        return _steps_to_half(curves["strict_rate"])
    if metric == "reward_variance":
        return float(np.mean(np.square(curves["reward_std"][-LAST:])))
    if metric == "last_entropy":
        return float(np.mean(curves["entropy"][-LAST:]))
    if metric == "distinct_share":
        return report["distinct_completions"] / report["num_prompts"]
    return float(report[{"pass_rate": "pass_rate", "kl": "kl_to_reference"}.get(metric, metric)])


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
    """Two-sided, exact: how many of the 2ⁿ ways to turn signs round give a mean at least as far from 0."""
    corrected: float
    """The same, corrected for all hypotheses of the study (Holm 1979)."""
    detectable: float
    """The true difference that a paired t-test of as many seeds, with such a spread, would have found in four of five
    studies, at the level of one test."""

    @property
    def verdict(self) -> str:
        """`holds`, `the reverse holds`, `no difference that matters`, or `undecided`."""
        if self.corrected < ALPHA:
            return "holds" if self.difference > 0 else "the reverse holds"
        if -self.hypothesis.smallest < self.interval[0] and self.interval[1] < self.hypothesis.smallest:
            return "no difference that matters"
        return "undecided"


def compare(study: Study, runs: Runs) -> list[Comparison]:
    """One comparison for each hypothesis whose arms have at least two seeds in common.

    Raises:
        ValueError: no hypothesis has.
    """
    paired = [(each, differences(runs, each)) for each in study.hypotheses]
    paired = [(each, found) for each, found in paired if len(found) > 1]
    if not paired:
        raise ValueError(f"no two arms of the study {study.name} have two seeds in common yet; run more of it")
    p_values = [sign_flip_p_value(found) for _, found in paired]
    corrected = multipletests(p_values, ALPHA, method="holm")[1]
    return [
        Comparison(
            hypothesis=each,
            seeds=len(found),
            difference=float(found.mean()),
            interval=bootstrap_interval(found),
            effect=float(found.mean() / found.std(ddof=1)) if found.std() else math.nan,
            p_value=p_value,
            corrected=float(after),
            detectable=detectable_difference(found),
        )
        for (each, found), p_value, after in zip(paired, p_values, corrected, strict=True)
    ]


def differences(runs: Runs, hypothesis: Hypothesis) -> NDArray[np.float64]:
    """Of the seeds that both arms have, the arm's outcome less the other's, turned so that more is better."""
    of_arm, of_other = (outcomes(runs, arm, hypothesis.metric) for arm in (hypothesis.arm, hypothesis.against))
    sign = 1 if HIGHER_IS_BETTER[hypothesis.metric] else -1
    return np.array([sign * (of_arm[seed] - of_other[seed]) for seed in sorted(of_arm.keys() & of_other.keys())])


def sign_flip_p_value(differences: NDArray[np.float64]) -> float:
    """Exact two-sided p-value of the hypothesis that arms are exchangeable within a seed (Fisher 1935, §21).

    With n seeds it cannot fall below 2 / 2ⁿ.
    """
    if not differences.any():
        return 1.0
    found = permutation_test(
        (differences,), lambda x, axis=-1: x.mean(axis=axis), permutation_type="samples", n_resamples=2**14,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    return float(found.pvalue)


def bootstrap_interval(values: Sequence[float] | NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float]:
    """Of the mean, by resampling seeds; of equal values, that value twice."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2 or np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    found = bootstrap(
        (values,), np.mean, confidence_level=confidence, n_resamples=RESAMPLES, rng=np.random.default_rng(0)
    ).confidence_interval
    return float(found.low), float(found.high)


def detectable_difference(differences: NDArray[np.float64]) -> float:
    """In units of the metric; 0 where differences do not vary, infinite where so few seeds could find nothing."""
    spread = float(differences.std(ddof=1))
    if spread == 0:
        return 0.0
    effect = TTestPower().solve_power(nobs=len(differences), alpha=ALPHA, power=POWER, alternative="two-sided")
    return float(np.squeeze(effect)) * spread


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
    spec = ".0f" if metric == "steps_to_half" else ".3f" if metric == "reward_variance" else ".2f"
    return f"{np.mean(values):{spec}} [{low:{spec}}, {high:{spec}}]"


def verdict_rows(comparisons: Sequence[Comparison]) -> list[list[str]]:
    """One row a hypothesis, under `VERDICT_HEADER`."""
    return [
        [
            str(each.hypothesis),
            str(each.seeds),
            f"{each.difference:+.3g} [{each.interval[0]:+.3g}, {each.interval[1]:+.3g}]",
            f"{each.effect:+.2f}",
            f"{each.corrected:.3g}",
            f"{each.detectable:.2g}",
            each.verdict,
        ]
        for each in comparisons
    ]


VERDICT_HEADER = (
    "hypothesis", "seeds", "difference [95 %], more is better", "d_z", "p (Holm)", "detectable", "verdict"
)  # fmt: skip


def _steps_to_half(strict: Sequence[float]) -> float:
    for last in range(SMOOTHED, len(strict) + 1):
        if np.mean(strict[last - SMOOTHED : last]) >= 0.5:
            return float(last)
    return float(len(strict) + 1)
