"""Figures of studies: how arms learn, what their differences say, what an entropy bonus weighs at which pass rate."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from policy_gradients.course.figures import (
    BLUE,
    DASHES,
    GREY,
    INK,
    NAMES,
    PALETTE,
    SHARES,
    STYLE,
    VERMILLION,
    running_mean,
)
from policy_gradients.estimators.regularizers import entropy_weight
from policy_gradients.studies.analysis import Comparison, Runs
from policy_gradients.studies.study import Study
from policy_gradients.training.config import ScheduledEntropy, TargetEntropy

WINDOW = 5  # steps
COLOURS = {"holds": BLUE, "the reverse holds": VERMILLION}


@matplotlib.rc_context(STYLE)
def study_figure(study: Study, runs: Runs, comparisons: Sequence[Comparison]) -> Figure:
    """Left: the strict pass rate, mean over seeds and running mean of five steps, one line an arm. Right: for each
    hypothesis the difference and its interval, with the range in which it would not matter.

    Raises:
        ValueError: no arm has a run.
    """
    present = _present(study, runs)
    figure = Figure(figsize=(11.5, max(3.6, 1.3 + 0.3 * len(comparisons))), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    ends = _curves(left, present, "strict_rate")
    _differences(right, comparisons)
    told = ", ".join(f"{arm} {end:.0%}" for arm, end in ends.items())
    figure.set_label(
        f"Left: the strict pass rate of each arm over the steps of training; mean of the last {WINDOW} steps: {told}. "
        "Right: the differences that the study asks for, with 95 % intervals over seeds: "
        + "; ".join(f"{each.hypothesis}: {each.difference:+.3f}, {each.verdict}" for each in comparisons)
        + "."
    )
    return figure


@matplotlib.rc_context(STYLE)
def curves_figure(study: Study, runs: Runs, columns: Sequence[str]) -> Figure:
    """Columns of a run's `curves` beside one another, drawn as in `study_figure`.

    Raises:
        ValueError: no arm has a run, or no columns.
    """
    present = _present(study, runs)
    if not columns:
        raise ValueError("name a column of the curves at least")
    figure = Figure(figsize=(5.6 * len(columns), 3.6), layout="constrained")
    told = []
    for axes, column in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
        ends = _curves(axes, present, column)
        listed = ", ".join(f"{arm} {end:.3g}" for arm, end in ends.items())
        told.append(f"{NAMES.get(column, column)}, mean of the last {WINDOW} steps: {listed}")
    figure.set_label("Over the steps of training, one line an arm: " + "; ".join(told) + ".")
    return figure


@matplotlib.rc_context(STYLE)
def weight_figure(study: Study, points: int = 1000) -> Figure:
    """Left: the variance p(1 − p) of a 0/1 reward. Right: the weight of the entropy bonus at that pass rate, for each
    arm whose weight follows from it; one that is steered by the entropy itself is left out.

    Args:
        points: completions in the one group whose share p passes; so the variance is p(1 − p) · points/(points − 1).

    Raises:
        ValueError: no arm has a weight that follows from the pass rate.
    """
    rates = np.linspace(0, 1, points + 1)
    drawn = {arm: weights for arm in study.arms if (weights := _weights(study, arm, points)) is not None}
    if not drawn:
        raise ValueError(f"no arm of the study {study.name} has an entropy weight that follows from the pass rate")
    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    left.plot(rates, rates * (1 - rates), color=INK)
    left.plot([0, 1], [0, 0], "o", color=VERMILLION, markersize=7, clip_on=False)
    left.annotate("nothing passes", (0, 0), (0.05, 0.012), fontsize=9)
    left.annotate("everything passes", (1, 0), (0.95, 0.012), fontsize=9, ha="right")
    left.set(title="Variance of a 0/1 reward", ylim=(0, 0.28))
    told = []
    for index, (arm, weights) in enumerate(drawn.items()):
        look = {"color": PALETTE[index % len(PALETTE)], "linestyle": DASHES[index % len(DASHES)]}
        right.plot(rates, weights, label=arm, **look)
        told.append(f"{arm} {weights[0]:.3g}, {weights[points // 2]:.3g} and {weights[-1]:.3g}")
    right.set(title="Weight of the entropy bonus", ylim=(-0.0005, None))
    right.legend(loc="upper right", bbox_to_anchor=(1, 0.92))
    for axes in (left, right):
        axes.set_xlabel("pass rate p")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.set_label(
        "Left: the variance p(1 − p) is 0 both where nothing passes and where everything does, and largest between. "
        f"Right: weight of the entropy bonus at pass rates of 0, 50 and 100 %: {'; '.join(told)}."
    )
    return figure


def _weights(study: Study, arm: str, points: int) -> list[float] | None:
    """Of the entropy bonus at pass rates k/points, (points + 1,); None if it does not follow from the pass rate."""
    entropy = study.config(arm, study.seeds[0]).entropy
    if isinstance(entropy, TargetEntropy):
        return None
    if not isinstance(entropy, ScheduledEntropy):
        return [entropy.entropy_weight if entropy else 0.0] * (points + 1)
    settings = entropy.entropy_schedule, entropy.entropy_cap
    passing = torch.arange(points)
    groups = ((passing < k).float()[None] for k in range(points + 1))
    return [entropy_weight(entropy.entropy_weight, group, *settings) for group in groups]


def _present(study: Study, runs: Runs) -> dict[str, list[Mapping[str, Any]]]:
    present = {arm: list(of_arm.values()) for arm, of_arm in runs.items() if of_arm}
    if not present:
        raise ValueError(f"no arm of the study {study.name} has a run yet")
    return present


def _curves(axes: Axes, runs: Mapping[str, Sequence[Mapping[str, Any]]], curve: str) -> dict[str, float]:
    """Draw them; returns where each ends."""
    ends = {}
    for index, (arm, of_arm) in enumerate(runs.items()):
        shortest = min(len(run["curves"][curve]) for run in of_arm)
        mean = np.mean([run["curves"][curve][:shortest] for run in of_arm], axis=0)
        look = {
            "color": PALETTE[index % len(PALETTE)],
            "linestyle": DASHES[(index + index // len(PALETTE)) % len(DASHES)],
        }
        axes.plot(np.arange(1, shortest + 1), running_mean(mean, WINDOW), label=arm, **look)
        ends[arm] = float(mean[-WINDOW:].mean())
    name = NAMES.get(curve, curve)
    axes.set(title=f"{name[0].upper()}{name[1:]}, mean over seeds", xlabel="step", ylim=(0, None))
    if curve in SHARES:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(loc="best")
    return ends


def _differences(axes: Axes, comparisons: Sequence[Comparison]) -> None:
    """A point and an interval each, in units of the smallest difference that matters: metrics have several units."""
    places = np.arange(len(comparisons))[::-1]
    axes.axvspan(-1, 1, color=GREY, alpha=0.13, linewidth=0)
    axes.axvline(0, color=GREY, linewidth=1)
    for place, each in zip(places, comparisons, strict=True):
        unit, colour = each.hypothesis.smallest, COLOURS.get(each.verdict, INK)
        axes.plot([x / unit for x in each.interval], [place, place], color=colour, linewidth=2)
        axes.plot(each.difference / unit, place, "o", color=colour, markersize=5)
        axes.text(
            1.01, place, each.verdict, color=colour, fontsize=8, va="center", transform=axes.get_yaxis_transform()
        )
    several = len({each.hypothesis.metric for each in comparisons}) > 1
    labels = []
    for hypothesis in (each.hypothesis for each in comparisons):
        metric = f",\n{hypothesis.metric.replace('_', ' ')}" if several else ""
        labels.append(f"{hypothesis.arm} − {hypothesis.against}{metric}")
    axes.set_yticks(places, labels, fontsize=8)
    axes.set(title="Differences", xlabel="in units of the smallest difference that matters (grey: none)")
    axes.tick_params(axis="y", length=0)
