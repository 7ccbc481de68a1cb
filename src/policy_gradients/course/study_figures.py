"""One figure a study: how its arms learn, and what their differences say."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from policy_gradients.course.figures import BLUE, DASHES, GREY, INK, PALETTE, STYLE, VERMILLION, running_mean
from policy_gradients.studies.analysis import Comparison, Runs
from policy_gradients.studies.study import Study

WINDOW = 5  # steps
COLOURS = {"holds": BLUE, "the reverse holds": VERMILLION}


@matplotlib.rc_context(STYLE)
def study_figure(study: Study, runs: Runs, comparisons: Sequence[Comparison], curve: str = "strict_rate") -> Figure:
    """Left: a column of `curves`, mean over seeds and running mean of five steps, one line an arm. Right: for each
    hypothesis the difference and its interval, with the range in which it would not matter.

    Raises:
        ValueError: no arm has a run.
    """
    present = {arm: list(of_arm.values()) for arm, of_arm in runs.items() if of_arm}
    if not present:
        raise ValueError(f"no arm of the study {study.name} has a run yet")
    figure = Figure(figsize=(11.5, max(3.6, 1.3 + 0.3 * len(comparisons))), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    ends = _curves(left, present, curve)
    _differences(right, comparisons)
    told = ", ".join(f"{arm} {end:.0%}" for arm, end in ends.items())
    figure.set_label(
        f"Left: the strict pass rate of each arm over the steps of training; mean of the last {WINDOW} steps: {told}. "
        "Right: the differences that the study asks for, with 95 % intervals over seeds: "
        + "; ".join(f"{each.hypothesis}: {each.difference:+.3f}, {each.verdict}" for each in comparisons)
        + "."
    )
    return figure


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
    axes.set(title="Strict pass rate, mean over seeds", xlabel="step", ylim=(0, None))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend(loc="upper left")
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
    axes.set_yticks(places, [f"{each.hypothesis.arm} − {each.hypothesis.against}" for each in comparisons], fontsize=8)
    axes.set(title="Differences", xlabel="in units of the smallest difference that matters (grey: none)")
    axes.tick_params(axis="y", length=0)
