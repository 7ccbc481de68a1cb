"""The course's figures: plain matplotlib `Figure` objects, no pyplot state, readable in light and dark viewers.

Every figure's label (`figure.get_label()`) is its alt text, a sentence or two made from the data it shows; `save`
writes it into the PNG. Colours are Okabe & Ito's, which readers with any common colour blindness can tell apart, and
nothing is told by colour alone: lines differ in dashes, points in shape, bars in hatching.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from numpy.typing import NDArray

from policy_gradients.evaluation.statistics import kl_floor, optimal_frontier, wilson_interval

Row = Mapping[str, Any]
Run = Sequence[Row]

# Okabe & Ito 2008, "Color universal design"; without its yellow, which is hard to see as a line on white
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
INK, GREY, PALE = "#1a1a1a", "#6b6b6b", "#e4e4e4"

# What a figure may not inherit from the reader's own style sheet: dark text on opaque white, whatever the page.
STYLE = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "legend.facecolor": "white",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": GREY,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.labelcolor": INK,
    "legend.edgecolor": PALE,
    "legend.framealpha": 0.85,
    "legend.fontsize": 8.5,
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same widths on every machine
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "hatch.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "text.usetex": False,
}

NAMES = {
    "strict_rate": "strict pass rate",
    "train_reward": "train reward",
    "tolerance": "tolerance (characters)",
    "length_rate": "right length",
    "digit_rate": "right digits",
    "finished_rate": "ended by itself",
    "mean_length": "mean length (characters)",
    "distinct_share": "distinct completions",
    "entropy": "entropy (nats per token)",
    "entropy_weight": "entropy weight",
    "kl": "KL to the reference (nats per completion)",
    "kl_weight": "KL weight",
    "zero_variance_share": "groups without a gradient",
    "reward_std": "reward standard deviation",
    "grad_norm": "gradient norm",
    "learning_rate": "learning rate",
    "tokens_per_second": "completion tokens per second",
    "latency": "latency (seconds)",
    "first_token": "time to the first token (seconds)",
    "concurrency": "requests at the same time",
}
RATES = ("length_rate", "digit_rate", "finished_rate")
SHARES = {"strict_rate", "train_reward", *RATES, "distinct_share", "zero_variance_share"}  # drawn from 0 to 100 %
PARTS = ("rollout", "reward", "log_probs", "backward", "optimizer")


def save(figure: Figure, path: str | Path, alt: str | None = None, dpi: int = 150) -> Path:
    """Write the figure as an opaque PNG with its alt text in the metadata field "Description"; returns the path.

    Raises:
        ValueError: a path that does not end in .png, or no alt text given where the figure has none of its own.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"figures are saved as .png, got {path.name}")
    alt = figure.get_label() if alt is None else alt
    if not alt.strip():
        raise ValueError(f"{path.name} needs alt text: one sentence that says what the figure shows")
    figure.savefig(path, dpi=dpi, facecolor="white", metadata={"Description": alt, "Software": None})
    return path


@matplotlib.rc_context(STYLE)
def training_curves(rows: Run, groups: bool = True) -> Figure:
    """One run, from the rows of its metrics.jsonl: what is learnt, what it costs, and where the time goes.

    Raw values are pale points, lines are their centred running mean over about 4 % of the run. A key that is missing,
    or None, NaN or infinite, leaves a gap or an empty panel.

    Args:
        groups: whether completions are compared within their groups. Credit by the checker's states compares otherwise,
            so that groups without a gradient say nothing of it: the panel then has the texts' length.
    """
    figure = Figure(figsize=(11, 13), layout="constrained")
    axes = figure.subplots(4, 2).ravel()
    steps, weighed = _steps(rows), (_column(rows, "entropy_weight") > 0).any()

    _panel(axes[0], rows, ("strict_rate", "train_reward"), "Pass rate and reward", twin="tolerance")
    _panel(axes[1], rows, ("distinct_share", *RATES), "Completions, by part of the rule")
    _panel(axes[2], rows, ("entropy",), "Entropy, full softmax", twin="entropy_weight" if weighed else None)
    _panel(axes[3], rows, ("kl",), "Divergence from the reference", twin="kl_weight")
    if groups:
        _panel(axes[4], rows, ("zero_variance_share",), "Groups whose completions all got the same reward")
    else:
        _panel(axes[4], rows, ("mean_length",), "Length of the completions")
    _panel(axes[5], rows, ("grad_norm",), "Gradient norm before clipping", log=True)
    _panel(axes[6], rows, ("tokens_per_second",), "Speed")
    _time_panel(axes[7], rows)
    for panel in axes:
        panel.set_xlabel("step")
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        if len(steps):
            panel.set_xlim(steps.min() - 0.5, steps.max() + 0.5)

    told = {key: _ends(rows, key) for key in ("strict_rate", "distinct_share", "entropy", "kl")}
    figure.set_label(
        f"Training curves over {len(rows)} steps in eight panels. From the first tenth to the last tenth of the run: "
        + ("; ".join(f"{NAMES[key]} {ends}" for key, ends in told.items() if ends) or "nothing was recorded")
        + "."
    )
    return figure


@matplotlib.rc_context(STYLE)
def reward_against_kl(
    points: Sequence[Mapping[str, Any]], p: float, p_interval: tuple[float, float] | None = None
) -> Figure:
    """Pass rate against KL(policy ‖ reference), over the exact frontier that no policy can cross.

    Args:
        points: one mapping a policy: `label`, `kl` (nats per completion), `pass_rate`, and, where known, `interval`
            (low, high) of the pass rate, `distinct` (a count, or a share as a float below 1) and `shape` (a marker).
            Points without a finite KL and pass rate are named in the legend as not measured.
        p: the reference's pass rate, in [0, 1); at 0 there is no frontier to draw.
        p_interval: its interval, drawn as a band around the frontier.

    Raises:
        ValueError: p outside [0, 1).
    """
    if not 0 <= p < 1:
        raise ValueError(f"p must lie in [0, 1), got {p}")
    measured = [kl for point in points if (kl := _number(point.get("kl"))) < math.inf]
    left, right = 0.1, max([100.0, *(1.3 * kl for kl in measured)])
    figure = Figure(figsize=(8.5, 6.4), layout="constrained")
    axes = figure.add_subplot()
    _frontier(axes, np.geomspace(left, right, 400), p, p_interval)
    told = [_policy_point(axes, index, point, p, left) for index, point in enumerate(points)]
    told = [each for each in told if each]
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.set_ylim(0, 1.05)
    axes.xaxis.set_major_locator(FixedLocator([0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    _shares(axes)
    axes.set_xlabel("KL to the reference (nats per completion, log scale)")
    axes.set_ylabel("strict pass rate")
    axes.set_title("Pass rate against divergence, and the best that any policy can do")
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.set_label(
        f"Pass rate against KL to the reference, which itself passes with probability {_percent(p)}, with the exact "
        "frontier above which no policy can lie. " + ("; ".join(told) or "No policy was measured") + "."
    )
    return figure


def _frontier(axes: Axes, grid: np.ndarray, p: float, p_interval: tuple[float, float] | None) -> None:
    """The least KL for each pass rate, three times that, the band of p's interval, and where no policy can be."""
    low_p, high_p = p_interval if p_interval is not None else (p, p)
    axes.fill_between(grid, _frontier_at(grid, high_p), 1.05, color="#f3f3f3", linewidth=0)
    if p > 0:
        axes.plot(grid, _frontier_at(grid, p), color=INK, label=f"least possible KL, p = {_percent(p)}")
    if p_interval is not None:
        label = f"the same for p's interval, {_percent(low_p)} to {_percent(high_p)}"
        ends = _frontier_at(grid, low_p), _frontier_at(grid, high_p)
        axes.fill_between(grid, *ends, color="#c9c9c9", linewidth=0, label=label, zorder=1.5)
    if p > 0:
        axes.plot(grid, _frontier_at(grid / 3, p), color=GREY, linestyle=DASHES[1], linewidth=1.3, label="3 × least KL")
    if high_p < 0.5:  # else the frontier is near the top, and there is no room for the words
        axes.text(0.02, 0.965, "no policy can be here", transform=axes.transAxes, color=GREY, va="top", style="italic")


def _policy_point(axes: Axes, index: int, point: Mapping[str, Any], p: float, left: float) -> str | None:
    """Draw one policy; what the figure's label says of it, or None where it was not measured."""
    kl, rate = _number(point.get("kl")), _number(point.get("pass_rate"))
    colour, marker = PALETTE[index % len(PALETTE)], point.get("shape") or MARKERS[index % len(MARKERS)]
    label = str(point.get("label", f"policy {index + 1}"))
    if (distinct := _distinct(point.get("distinct"))) is not None:
        label += f" ({distinct} distinct)"
    if not (math.isfinite(kl) and math.isfinite(rate)):
        axes.plot([], [], linestyle="none", marker=marker, color=colour, label=f"{label}: not measured")
        return None
    low, high = point.get("interval") or (rate, rate)
    if kl < left:  # the reference itself has KL 0, which a log axis cannot show: drawn on its edge, and said
        label += f", KL {kl:.2g}"
    axes.errorbar(
        max(kl, left), rate, yerr=[[max(0.0, rate - low)], [max(0.0, high - rate)]], color=colour, marker=marker,
        markersize=8, markeredgecolor="white", capsize=3, linestyle="none", zorder=4, clip_on=False,
    )  # fmt: skip
    axes.plot([], [], linestyle="none", marker=marker, markersize=8, color=colour, label=label)
    floor = kl_floor(min(max(rate, 0.0), 1.0), p)
    times = f", {kl / floor:.1f} times the least possible" if 0 < floor < math.inf else ""
    return f"{label}: {_percent(rate)} at {kl:.3g} nats{times}"


def _shares(axes: Axes) -> None:
    """A y-axis of shares, from 0 to 100 %."""
    axes.yaxis.set_major_locator(FixedLocator(np.linspace(0, 1, 6)))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.grid(True, axis="y")


@matplotlib.rc_context(STYLE)
def before_after(report: Mapping[str, Any]) -> Figure:
    """The reference and the tuned policy on the same held-out prompts: four rates with 95 % Wilson intervals.

    `report` is what `policy-gradients evaluate --json` writes. Under the title stands what a pass rate alone would
    hide: distinct completions, KL against its floor, and the reference's NLL of the text.
    """
    before, after = report.get("reference") or {}, report.get("tuned") or {}
    trials = int(report.get("num_prompts") or 0)
    rates = {
        "pass_rate": "strict pass",
        "length_rate": NAMES["length_rate"],
        "digit_rate": NAMES["digit_rate"],
        "finished_rate": NAMES["finished_rate"],
    }
    figure = Figure(figsize=(8.5, 5.2), layout="constrained")
    axes = figure.add_subplot()
    sides = ((before, "before (reference)", SKY, "//", -0.2), (after, "after (tuned)", BLUE, "", 0.2))
    told = [each for side in sides for each in _bars(axes, rates, trials, *side)]
    axes.set_xticks(range(len(rates)), list(rates.values()))
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.55, len(rates) - 0.45)
    axes.set_ylim(0, 1.1)
    _shares(axes)
    axes.set_ylabel(f"share of {trials} held-out prompts" if trials else "share of held-out prompts")

    beside = _beside_the_rate(report, before, after, trials)
    axes.set_title("\n".join(beside) or " ", fontsize=9, fontweight="normal", color=GREY)
    figure.suptitle("Before and after", x=0.01, ha="left", fontsize=12, fontweight="bold")
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.set_label(
        f"Bars of four rates before and after training, on {trials} held-out prompts, with 95 % Wilson intervals: "
        + ("; ".join([*told, *beside]) or "nothing was measured")
        + "."
    )
    return figure


def _bars(
    axes: Axes, rates: Mapping[str, str], trials: int, values: Mapping[str, Any], label: str, colour: str, hatch: str,
    offset: float,
) -> list[str]:  # fmt: skip
    """One policy's bar for each rate, beside the other's; what the figure's label says of them."""
    told: list[str] = []
    for position, (key, name) in enumerate(rates.items()):
        x, rate = position + offset, _number(values.get(key))
        if not math.isfinite(rate):
            axes.text(x, 0.01, "not\nmeasured", ha="center", va="bottom", fontsize=8, color=GREY)
            continue
        low, high = _rate_interval(values, key, rate, trials)
        axes.bar(x, rate, 0.38, color=colour, edgecolor="white", hatch=hatch, label=None if told else label)
        spread = [[max(0.0, rate - low)], [max(0.0, high - rate)]]
        axes.errorbar(x, rate, yerr=spread, color=INK, capsize=4, linewidth=1.2, linestyle="none")
        axes.text(x, max(rate, high) + 0.015, _percent(rate), ha="center", va="bottom", fontsize=9)
        told.append(f"{name} {label.split()[0]} {_percent(rate)}")
    return told


@matplotlib.rc_context(STYLE)
def compare_runs(runs: Mapping[str, Run | Sequence[Run]], key: str) -> Figure:
    """One metric, many runs: a thin line for each run, a bold one for the median over runs, step by step.

    Args:
        runs: label -> the rows of one run, or label -> several runs (seeds) of one method. With single runs only, the
            labels are taken for seeds, and one black median is drawn over them all (from three runs on). Otherwise
            each label has a colour and a median of its own.
        key: a key of metrics.jsonl.

    Lines are running means over about 4 % of the run; a median is drawn where at least half of its runs have a value.
    """
    methods = {label: _as_runs(value) for label, value in runs.items()}
    seeds_of_one = all(len(seeds) <= 1 for seeds in methods.values())
    figure = Figure(figsize=(8.5, 4.8), layout="constrained")
    axes = figure.add_subplot()
    told = []
    curves_of_all: list[dict[float, float]] = []
    for index, (label, seeds) in enumerate(methods.items()):
        colour, dashes = PALETTE[index % len(PALETTE)], DASHES[(index // len(PALETTE) + index) % len(DASHES)]
        curves = [_smooth_curve(rows, key) for rows in seeds]
        curves_of_all += curves
        for number, curve in enumerate(curves):
            style = {"linewidth": 1.1, "linestyle": dashes} if seeds_of_one else {"linewidth": 0.8, "alpha": 0.45}
            axes.plot(
                list(curve),
                list(curve.values()),
                color=colour,
                label=label if seeds_of_one and number == 0 else None,
                **style,
            )
        if not seeds_of_one:
            middle = _median_curve(curves)
            name = f"{label} (median of {len(seeds)})" if len(seeds) > 1 else label
            axes.plot(list(middle), list(middle.values()), color=colour, linestyle=dashes, linewidth=2.4, label=name)
            told.append(f"{name} ends at {_value(key, list(middle.values())[-1])}" if middle else f"{name}: no values")
    if seeds_of_one and len(curves_of_all) >= 3:
        middle = _median_curve(curves_of_all)
        axes.plot(list(middle), list(middle.values()), color=INK, linewidth=2.4, label=f"median of {len(runs)}")
    if seeds_of_one:
        ends = [list(curve.values())[-1] for curve in curves_of_all if curve]
        if ends:
            told = [f"{len(ends)} runs end between {_value(key, min(ends))} and {_value(key, max(ends))}"]
            told += [f"median {_value(key, float(np.median(ends)))}"]
    axes.set_xlabel("step")
    axes.set_ylabel(NAMES.get(key, key))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.grid(True, axis="y")
    _share_axis(axes, [key])
    if any(curves_of_all):
        figure.legend(loc="outside lower center", ncols=min(4, len(methods) + seeds_of_one), frameon=False)
    else:
        _no_data(axes)
    figure.set_label(f"{NAMES.get(key, key)} over training: " + ("; ".join(told) or "nothing was recorded") + ".")
    return figure


def running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Centred mean over `window` values, shape kept; fewer at the ends, and what is not finite is left out.

    Where a value itself is not finite the result is NaN: a gap stays a gap.
    """
    finite = np.isfinite(values)
    half = window // 2
    totals = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    start = np.maximum(np.arange(len(values)) - half, 0)
    stop = np.minimum(np.arange(len(values)) + half + 1, len(values))
    means = (totals[stop] - totals[start]) / np.maximum(counts[stop] - counts[start], 1)
    return np.where(finite, means, np.nan)


def _panel(axes: Axes, rows: Run, keys: Sequence[str], title: str, twin: str | None = None, log: bool = False) -> None:
    """Points and running means of `keys` over the steps, on the right the scheduled quantity `twin` in black dashes."""
    steps = _steps(rows)
    axes.set_title(title)
    axes.grid(True, axis="y")
    drawn = False
    for index, key in enumerate(keys):
        values = _column(rows, key)
        values = np.where(values > 0, values, np.nan) if log else values
        if not np.isfinite(values).any():
            continue
        drawn = True
        axes.plot(steps, values, ".", color=PALETTE[index], alpha=0.22, markersize=3.5, markeredgewidth=0)
        smooth = running_mean(values, _window(rows))
        single = np.isfinite(values).sum() == 1  # a line of one point is invisible
        axes.plot(
            steps,
            smooth,
            color=PALETTE[index],
            linestyle=DASHES[index],
            marker="o" if single else None,
            label=NAMES.get(key, key),
        )
    if log and drawn:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif drawn and not _share_axis(axes, keys):
        axes.set_ylim(bottom=0)
        axes.margins(y=0.1)
    if not drawn:
        _no_data(axes)
    if len(keys) == 1:
        name = NAMES.get(keys[0], keys[0])
        axes.set_ylabel(name[name.index("(") + 1 : -1] if twin and "(" in name else name)  # the legend says the rest
    handles, labels = axes.get_legend_handles_labels()
    if twin is not None and np.isfinite(scheduled := _column(rows, twin)).any():
        right = axes.twinx()
        right.spines["right"].set_visible(True)
        [line] = right.plot(steps, scheduled, color=INK, linewidth=1.2, linestyle=(0, (2, 2)), drawstyle="steps-post")
        right.set_ylabel(NAMES.get(twin, twin))
        right.yaxis.set_major_locator(MaxNLocator(6, integer=twin == "tolerance"))
        highest = np.nanmax(np.where(np.isfinite(scheduled), scheduled, 0))
        right.set_ylim(0, 1.15 * highest if highest > 0 else 1)
        handles, labels = [*handles, line], [*labels, f"{NAMES.get(twin, twin)}, right axis"]
    if len(handles) > 1:  # above the panel: inside, a legend always hides some run's curve
        axes.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(-0.01, 1.0),
            ncols=min(len(handles), 4),
            frameon=False,
            borderaxespad=0.1,
            columnspacing=1.2,
            handlelength=2.2,
            handletextpad=0.5,
            fontsize=8,
        )
        axes.set_title(title, pad=20)


def _time_panel(axes: Axes, rows: Run) -> None:
    """Stacked shares of each step's seconds, smoothed; what no part claims is "other"."""
    axes.set_title("Where the time goes")
    axes.set_ylabel("share of a step's seconds")
    parts = np.stack([np.nan_to_num(_column(rows, f"seconds_{part}"), posinf=0, neginf=0) for part in PARTS])
    whole = np.nan_to_num(_column(rows, "seconds"), posinf=0, neginf=0)
    parts = np.vstack([parts, np.maximum(whole - parts.sum(0), 0)]) if len(rows) else parts
    total = parts.sum(0)
    measured = total > 0
    if not measured.any():
        _no_data(axes)
        return
    steps, parts = _steps(rows)[measured], np.stack([running_mean(part[measured], _window(rows)) for part in parts])
    shares = parts / parts.sum(0)
    if len(steps) == 1:  # an area over one step has no width
        steps, shares = np.array([steps[0] - 0.5, steps[0] + 0.5]), np.repeat(shares, 2, axis=1)
    names = [*(part.replace("_", "-") for part in PARTS), "other"]
    colours = [BLUE, SKY, GREEN, ORANGE, VERMILLION, "#bdbdbd"]
    patches = axes.stackplot(steps, shares, colors=colours, edgecolor="white", linewidth=0.5)
    labels = [f"{name} {100 * share:.0f} %" for name, share in zip(names, shares.mean(1), strict=True)]
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    # top to bottom as stacked, beside the panel: the colours alone would not do
    axes.legend(patches[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8.5)


def _share_axis(axes: Axes, keys: Sequence[str]) -> bool:
    """Fix the axis to 0..100 % where every key is a share; says whether it did."""
    if not all(key in SHARES for key in keys):
        return False
    axes.set_ylim(-0.02, 1.05)
    axes.yaxis.set_major_locator(FixedLocator(np.linspace(0, 1, 6)))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    return True


def _no_data(axes: Axes) -> None:
    axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", va="center", color=GREY, style="italic")
    axes.set_yticks([])


def _frontier_at(kl: NDArray[np.float64], p: float) -> NDArray[np.float64]:
    """Best pass rate within each KL (nats), shape kept: the exact frontier read between 4000 of its points."""
    if p <= 0:
        return np.zeros_like(kl)
    if p >= 1:
        return np.ones_like(kl)
    return np.interp(kl, *optimal_frontier(p, 4000))


def _beside_the_rate(report: Row, before: Row, after: Row, trials: int) -> list[str]:
    """What must stand beside a pass rate, as lines of text; what was not measured is left out."""
    first, second = [], []
    if (distinct := _distinct(after.get("distinct_completions"))) is not None:
        first.append(f"distinct completions {_distinct(before.get('distinct_completions')) or '?'} → {distinct}")
    if math.isfinite(nll := _number(after.get("reference_nll_per_token"))):
        old = _number(before.get("reference_nll_per_token"))
        was = f"{old:.2f} → " if math.isfinite(old) else ""
        first.append(f"reference's NLL of the text {was}{nll:.2f} nats per token")
    if math.isfinite(kl := _number(after.get("kl_to_reference"))):
        ratio, floor = _number(report.get("kl_over_floor")), _number(report.get("kl_floor"))
        is_bound = report.get("reference_pass_rate") == 0
        most, least = (", at most", "at least ") if is_bound else (" =", "")
        times = f"{most} {ratio:.1f} × the least possible ({least}{floor:.1f})"
        times = times if math.isfinite(ratio + floor) else ""
        second.append(f"KL to the reference {kl:.1f} nats per completion{times}")
    return [" · ".join(part) for part in (first, second) if part]


def _rate_interval(values: Row, key: str, rate: float, trials: int) -> tuple[float, float]:
    """The report's own interval where it has one, else Wilson's from the rate and the number of prompts."""
    if given := values.get(f"{key}_interval"):
        return float(given[0]), float(given[1])
    return wilson_interval(round(min(max(rate, 0), 1) * trials), trials) if trials > 0 else (rate, rate)


def _as_runs(value: Run | Sequence[Run]) -> list[Run]:
    value = list(value)
    return [value] if not value or isinstance(value[0], Mapping) else value


def _smooth_curve(rows: Run, key: str) -> dict[float, float]:
    """Step -> running mean, steps without a value left out."""
    smooth = running_mean(_column(rows, key), _window(rows))
    return {float(s): float(v) for s, v in zip(_steps(rows), smooth, strict=True) if math.isfinite(v)}


def _median_curve(curves: Sequence[Mapping[float, float]]) -> dict[float, float]:
    """Step -> median over the curves that reach it, where at least half of them do."""
    steps = sorted({step for curve in curves for step in curve})
    at = {step: [curve[step] for curve in curves if step in curve] for step in steps}
    return {step: float(np.median(values)) for step, values in at.items() if 2 * len(values) >= len(curves)}


def _window(rows: Run) -> int:
    return max(1, round(len(rows) * 0.04))


def _steps(rows: Run) -> NDArray[np.float64]:
    """The rows' steps, shape (rows,); a row without one takes its place in the list."""
    steps = [_number(row.get("step")) for row in rows]
    return np.array([step if math.isfinite(step) else index for index, step in enumerate(steps)], dtype=float)


def _column(rows: Run, key: str) -> NDArray[np.float64]:
    """The values of a key, shape (rows,); NaN where it is missing or None, or not a number."""
    return np.array([_number(row.get(key)) for row in rows], dtype=float)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _distinct(value: Any) -> str | None:
    if value is None or not math.isfinite(_number(value)):
        return None
    return f"{100 * value:.0f} %" if isinstance(value, float) and value < 1 else f"{value:g}"


def _percent(rate: float) -> str:
    """As a percentage; below 10 % with two significant digits, so that 0.052 % stays apart from 0 %."""
    percent = 100 * rate
    if 0 < percent < 10:
        return f"{percent:.2g} %"
    return f"{percent:.0f} %" if abs(percent - round(percent)) < 0.05 else f"{percent:.1f} %"


def _value(key: str, value: float) -> str:
    return _percent(value) if key in SHARES else f"{value:.3g}"


def _ends(rows: Run, key: str) -> str:
    """ "first → last" of a metric, each the mean over a tenth of the run; empty where nothing was recorded."""
    values = _column(rows, key)
    values = values[np.isfinite(values)]
    if not len(values):
        return ""
    tenth = max(1, len(values) // 10)
    return f"{_value(key, float(values[:tenth].mean()))} → {_value(key, float(values[-tenth:].mean()))}"
