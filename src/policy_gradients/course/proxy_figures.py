"""Figures of notebook 09 on learnt rewards, on a teacher and on entropy.

As in `figures`: plain matplotlib `Figure` objects whose label is their alt text, and nothing told by colour alone.
"""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from policy_gradients.course.figures import DASHES, GREY, MARKERS, PALETTE, STYLE

Way = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


@matplotlib.rc_context(STYLE)
def overoptimisation_figure(ways: Mapping[str, Way]) -> Figure:
    """Gold (left) and what the proxy seems to gain (right) against √KL, as in Gao et al. (2022), arXiv:2210.10760.

    Args:
        ways: label -> (√KL, gold, proxy gained) of its points, in order of KL; a star marks the highest gold.

    Raises:
        ValueError: nothing to draw.
    """
    if not ways:
        raise ValueError("overoptimisation_figure needs at least one way")
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    told = []
    for index, (label, (root, gold, proxy)) in enumerate(ways.items()):
        look = {"color": PALETTE[index % len(PALETTE)], "linestyle": DASHES[index % len(DASHES)]}
        look |= {"marker": MARKERS[index % len(MARKERS)], "markevery": max(1, len(root) // 10), "markersize": 4.5}
        left.plot(root, gold, label=label, **look)
        right.plot(root, proxy, label=label, **look)
        top = int(np.argmax(gold))
        left.plot(root[top], gold[top], "*", color=look["color"], markersize=13, markeredgecolor="white")
        told.append(f"{label} from {gold[0]:.2f} over {gold[top]:.2f} at √KL {root[top]:.2f} to {gold[-1]:.2f}")
    left.axhline(next(iter(ways.values()))[1][0], color=GREY, linewidth=1, linestyle=":")
    left.set(title="Gold: what it is worth", ylabel="mean gold score (nats)")
    right.set(title="Proxy: what it seems to gain", ylabel="mean proxy score, over the reference's (nats)")
    for axes in (left, right):
        axes.set_xlabel("√KL to the reference (√nats a completion)")
        axes.grid(True, axis="y")
    right.legend(loc="upper left")
    figure.set_label(
        f"Left: gold against √KL: {'; '.join(told)}. Right: what each way's own score gains, which rises all the way."
    )
    return figure


@matplotlib.rc_context(STYLE)
def learning_figure(runs: Mapping[str, NDArray[np.float64]], target: float) -> Figure:
    """Pass rate against step: every run thin, the median of each method thick.

    Args:
        runs: label -> pass rates, (steps + 1, seeds).
        target: a line at this pass rate.

    Raises:
        ValueError: nothing to draw.
    """
    if not runs:
        raise ValueError("learning_figure needs at least one method")
    figure = Figure(figsize=(8.8, 3.8), layout="constrained")
    axes, told = figure.add_subplot(), []
    for index, (label, path) in enumerate(runs.items()):
        color, middle = PALETTE[index % len(PALETTE)], np.median(path, axis=1)
        axes.plot(path, color=color, linewidth=0.6, alpha=0.5)
        axes.plot(middle, color=color, linewidth=2.4, linestyle=DASHES[index % len(DASHES)], label=label)
        there = np.flatnonzero(middle >= target)
        told.append(f"{label} {f'after {there[0]} steps' if len(there) else 'not'}")
    axes.axhline(target, color=GREY, linewidth=1, linestyle=":")
    axes.set(title="Exact pass rate on the way", xlabel="step", ylabel="pass rate")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(True, axis="y")
    axes.legend(loc="lower right")
    figure.set_label(f"Pass rate against step. The median run reaches {target:.0%}: {'; '.join(told)}.")
    return figure


@matplotlib.rc_context(STYLE)
def entropy_figure(families: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]]) -> Figure:
    """Entropy against pass rate, one panel a family: each prompt's way from its start (hollow) to its end (filled).

    Args:
        families: label -> for each prompt (pass rates, entropies in nats) along training.

    Raises:
        ValueError: nothing to draw.
    """
    if not families:
        raise ValueError("entropy_figure needs at least one family")
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    panels, told = figure.subplots(1, len(families), squeeze=False)[0], []
    for axes, (label, lines) in zip(panels, families.items(), strict=True):
        for index, (rates, entropies) in enumerate(lines):
            color, marker = PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)]
            axes.plot(rates, entropies, color=color, linewidth=1.2)
            axes.plot(rates[0], entropies[0], marker, color=color, markerfacecolor="white", markersize=7)
            axes.plot(rates[-1], entropies[-1], marker, color=color, markersize=7)
        axes.set(title=label, xlabel="pass rate", xlim=(-0.03, 1.03))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(True, axis="y")
        ends = "; ".join(f"{h[0]:.1f} to {h[-1]:.1f}" for _, h in lines)
        told.append(f"{label}: {ends}")
    panels[0].set_ylabel("entropy of the answer (nats)")
    figure.set_label(f"Entropy against pass rate along training, start to end in nats. {'. '.join(told)}.")
    return figure
