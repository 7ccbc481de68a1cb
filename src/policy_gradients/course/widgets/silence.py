"""How wide must the length be taken, for groups to have something to say?"""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from policy_gradients.course.figures import BLUE, INK, PALE, STYLE, VERMILLION
from policy_gradients.course.widgets.explorer import Control, Explorer

TOLERANCES = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24)
GROUPS = (2, 4, 8, 16, 32, 64)


def silence_explorer(lengths: Sequence[int], right: Sequence[bool], target: int, **start: int) -> Explorer:
    """Sliders: the tolerance of the length, and the size of a group.

    Args:
        lengths: of completions, in characters; `right`: whether each meets the rest of the rule, in the same order.
        target: the length that is asked for.

    Raises:
        ValueError: no completions, or not as many of the one as of the other.
    """
    if not len(lengths) or len(lengths) != len(right):
        raise ValueError(f"give one length and one verdict a completion, got {len(lengths)} and {len(right)}")
    sizes, kept = np.asarray(lengths), np.asarray(right, dtype=bool)
    controls = {
        "tolerance": Control("tolerance, ± characters", TOLERANCES, 0),
        "group": Control("completions a group, G", GROUPS, 16),
    }
    return Explorer(lambda tolerance, group: silence_figure(sizes, kept, target, tolerance, group), controls, **start)


def pass_rate(lengths: np.ndarray, right: np.ndarray, target: int, tolerance: int) -> float:
    """Share of the completions whose length is within the tolerance and whose rest is right."""
    return float(((np.abs(lengths - target) <= tolerance) & right).mean())


def silent_share(p: float | np.ndarray, group: int) -> float | np.ndarray:
    """Chance that all of a group pass, or none, if each passes with chance p."""
    return p**group + (1 - p) ** group


@matplotlib.rc_context(STYLE)
def silence_figure(lengths: np.ndarray, right: np.ndarray, target: int, tolerance: int, group: int) -> Figure:
    """The lengths with the window that passes, and the share of silent groups against p; the label is the alt text."""
    p = pass_rate(lengths, right, target, tolerance)
    figure = Figure(figsize=(9.6, 3.0), layout="constrained")
    left, other = figure.subplots(1, 2)
    low, high = min(lengths.min(), target - max(TOLERANCES)), max(lengths.max(), target + max(TOLERANCES))
    left.axvspan(target - tolerance - 0.5, target + tolerance + 0.5, color=PALE, zorder=0)
    bins = np.arange(low - 0.5, high + 1.5)
    left.hist(lengths, bins, color="white", edgecolor=INK, linewidth=0.6, label="all")
    left.hist(lengths[right], bins, color=BLUE, edgecolor=INK, linewidth=0.6, label="digits right")
    left.set(title=f"Who passes within ±{tolerance}", xlabel="characters", ylabel="completions")
    left.legend(frameon=False)

    places = np.linspace(0, 1, 401)
    for size in GROUPS:
        here = size == group
        other.plot(places, silent_share(places, size), color=BLUE if here else PALE, linewidth=2.2 if here else 1.2)
    other.plot([p], [silent_share(p, group)], "o", color=VERMILLION, markersize=9, zorder=5)
    for axis in (other.xaxis, other.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    silent = silent_share(p, group)
    other.set(
        title=f"p = {p:.1%}: {silent:.0%} of groups of {group} are silent", xlabel="pass rate p", ylim=(-0.03, 1.05)
    )
    other.set_ylabel("groups that say nothing")
    figure.set_label(
        f"Left, the lengths of {len(lengths)} completions, with a window of {target} ± {tolerance} characters: "
        f"{p:.1%} pass. Right, the share of groups without a gradient against the pass rate, for groups of "
        f"{', '.join(map(str, GROUPS))}; with G = {group} it is {silent:.0%} here."
    )
    return figure
