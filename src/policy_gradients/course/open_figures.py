"""Figures of notebook 09: frontiers of several prompts, whose noise a shared baseline is, tokens that a gradient costs.

As in `figures`: plain matplotlib `Figure` objects whose label is their alt text, and nothing told by colour alone.
"""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter
from numpy.typing import NDArray

from policy_gradients.course.figures import DASHES, GREY, INK, MARKERS, PALETTE, STYLE
from policy_gradients.evaluation.frontiers import equal_weight_frontier, mean_kl_floor
from policy_gradients.oracle.retrieval import Spread, best_group

Curve = tuple[Sequence[float] | NDArray[np.float64], Sequence[float] | NDArray[np.float64]]


@matplotlib.rc_context(STYLE)
def frontier_figure(rates: Sequence[float], curves: Mapping[str, Curve], lines: bool = False) -> Figure:
    """Left: mean pass rate against mean KL, with the frontier of one weight for all prompts. Right: how many nats more
    than the frontier each point pays for its pass rate.

    Args:
        rates: pass rates of the reference, one a prompt.
        curves: label -> (mean KL, mean pass rate) of its points.
        lines: joins the points of a curve, for paths of training.

    Raises:
        ValueError: no curves, rates outside (0, 1), a pass rate below the reference's mean or of 1.
    """
    if not curves:
        raise ValueError("frontier_figure needs at least one curve")
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    best = equal_weight_frontier(rates)
    left.plot(*best, color=INK, linewidth=1.4, label="the most that is possible")
    right.axhline(0, color=INK, linewidth=1.4)
    told = []
    for index, (label, (kl, rate)) in enumerate(curves.items()):
        more = [k - mean_kl_floor(q, rates) for k, q in zip(kl, rate, strict=True)]
        look = {"color": PALETTE[index % len(PALETTE)], "marker": MARKERS[index % len(MARKERS)], "markersize": 4.5}
        look |= {"linestyle": DASHES[index % len(DASHES)] if lines else "none", "markevery": max(1, len(more) // 12)}
        left.plot(kl, rate, label=label, **look)
        right.plot(rate, more, **look)
        told.append(f"{label} at most {max(more):.3f}")
    left.set(title="Mean pass rate against mean KL", xlabel="mean KL to the reference (nats a completion)")
    left.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    left.legend(loc="lower right")
    right.set(title="Nats paid above the frontier", xlabel="mean pass rate")
    right.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for axes in (left, right):
        axes.grid(True, axis="y")
    figure.set_label(
        f"Left: mean pass rate against mean KL over {len(rates)} prompts, below the curve of one weight for all. "
        f"Right: nats above that curve at equal pass rate: {'; '.join(told)}."
    )
    return figure


@matplotlib.rc_context(STYLE)
def noise_figure(noise: Mapping[str, Sequence[float]], rates: Sequence[float]) -> Figure:
    """The noise of each prompt's own part of the gradient, on a logarithmic axis, one line a way to compare.

    Args:
        noise: label -> variance over squared length, one number a prompt.
        rates: pass rates of the prompts.

    Raises:
        ValueError: nothing to draw, or another number of prompts.
    """
    if not noise or any(len(each) != len(rates) for each in noise.values()):
        raise ValueError(f"noise needs one number for each of {len(rates)} prompts")
    figure = Figure(figsize=(8.8, 3.8), layout="constrained")
    axes, places = figure.add_subplot(), np.arange(len(rates))
    for index, (label, each) in enumerate(noise.items()):
        look = {"color": PALETTE[index % len(PALETTE)], "marker": MARKERS[index % len(MARKERS)]}
        axes.plot(places, each, linestyle=DASHES[index % len(DASHES)], label=label, **look)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(places, [f"p = {rate:g}" for rate in rates])
    axes.set(title="Noise of each prompt's own gradient", ylabel="variance / length² (log scale)")
    axes.set_xlim(-0.3, len(rates) - 0.7)
    axes.grid(True, axis="y")
    figure.legend(loc="outside right upper", frameon=False)
    told = "; ".join(f"{label} {', '.join(f'{x:.2g}' for x in each)}" for label, each in noise.items())
    figure.set_label(f"Noise by prompt, at pass rates of {', '.join(f'{r:g}' for r in rates)}: {told}.")
    return figure


@matplotlib.rc_context(STYLE)
def tokens_figure(spread: Spread, costs: Sequence[tuple[int, int]], most: int = 24) -> Figure:
    """Variance for equally many tokens against the number of answers to each document, in units of one answer each.

    One line for each pair of lengths, where a document is read once for its answers, and a dotted one, the same for all
    lengths, where it is read anew for each of them.

    Args:
        costs: pairs of (tokens of a document, tokens of an answer).
        most: answers to a document, at most.

    Raises:
        ValueError: no costs; as `best_group`.
    """
    if not costs:
        raise ValueError("tokens_figure needs at least one pair of lengths")
    figure = Figure(figsize=(8.8, 3.8), layout="constrained")
    axes, groups, told = figure.add_subplot(), np.arange(1, most + 1), []
    variance = np.array([spread.variance(1, int(group)) for group in groups]) / spread.variance()
    for index, (document, answer) in enumerate(costs):
        once = variance * (document + groups * answer) / (document + answer)
        look = {"color": PALETTE[index % len(PALETTE)], "linestyle": DASHES[index % 2]}
        axes.plot(groups, once, label=f"{document} + G · {answer} tokens", **look)
        best = best_group(spread.between, spread.within, document, answer)
        if best <= most:
            marker = MARKERS[index % len(MARKERS)]
            axes.plot(best, once[best - 1], marker, color=look["color"], markersize=8, markeredgecolor=INK)
            told.append(f"{document} and {answer} tokens: least {once[best - 1]:.2f} at G = {best}")
    axes.plot(groups, variance * groups, color=GREY, linestyle=":", label="read anew for each answer")
    axes.axhline(1, color=GREY, linewidth=1)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks([0.25, 0.5, 1, 2, 4])
    axes.set(title="Variance for equally many tokens", xlabel="answers to each document, G")
    axes.set_ylabel("relative to one answer each (log scale)")
    axes.grid(True, axis="y")
    figure.legend(loc="outside right upper", frameon=False)
    figure.set_label(
        "Variance of the gradient for equally many tokens against the number of answers to each document, relative to "
        f"one answer each. Document read once: {'; '.join(told)}. Read for each answer, it never falls below 1."
    )
    return figure


@matplotlib.rc_context(STYLE)
def lessons_figure(pass_rates: Mapping[str, Sequence[NDArray[np.float64]]]) -> Figure:
    """Left: pass rates of the questions that a retriever was trained on. Right: of those it never saw.

    Args:
        pass_rates: label -> of each seed (steps + 1, 2), the trained questions first (`train_retriever`).

    Raises:
        ValueError: nothing to draw, or another shape.
    """
    if not pass_rates or any(path.ndim != 2 or path.shape[1] != 2 for paths in pass_rates.values() for path in paths):
        raise ValueError("lessons_figure needs pass rates of shape (steps + 1, 2)")
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    both = figure.subplots(1, 2, sharey=True)
    told = []
    for index, (label, paths) in enumerate(pass_rates.items()):
        look = {"color": PALETTE[index % len(PALETTE)], "linestyle": DASHES[index % len(DASHES)], "linewidth": 1.4}
        for side, axes in enumerate(both):
            for seed, path in enumerate(paths):
                axes.plot(path[:, side], label=None if seed else label, **look)
        ends = np.mean([path[-1] for path in paths], axis=0)
        told.append(f"{label} to {ends[0]:.0%} and {ends[1]:.0%}")
    for axes, title in zip(both, ("Questions it was trained on", "Questions about other articles"), strict=True):
        axes.set(title=title, xlabel="step")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(True, axis="y")
    both[0].set(ylabel="pass rate J", ylim=(0, None))
    both[0].legend(loc="lower right")
    figure.set_label(
        f"Pass rate by training step, of questions trained on and of questions about other articles: {'; '.join(told)}."
    )
    return figure
