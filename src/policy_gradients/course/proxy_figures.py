"""Figures of notebook 09 on learnt rewards.

As in `figures`: plain matplotlib `Figure` objects whose label is their alt text, and nothing told by colour alone.
"""

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.figure import Figure
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
