"""The best that a price on divergence allows: every β has one optimum, and all of them lie on the frontier."""

import math

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from policy_gradients.course.figures import BLUE, INK, PALE, STYLE, VERMILLION
from policy_gradients.course.widgets.explorer import Control, Explorer

CONTROLS = {
    "beta": Control("β, price of a nat", (2.0, 1.0, 0.5, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03), 0.2),
    "p": Control("the reference passes with p", (0.0001, 0.001, 0.006, 0.05, 0.2, 0.5), 0.006),
}


def frontier_explorer(**start: float) -> Explorer:
    """Sliders: the price β of a nat of divergence, and how often the reference passes."""
    return Explorer(frontier_figure, CONTROLS, **start)


def optimum(beta: float, p: float) -> float:
    """The pass rate of the policy that makes E[R] − β KL largest: β multiplies the odds of passing by e^(1/β)."""
    odds = math.exp(1 / beta) * p / (1 - p)
    return odds / (1 + odds)


def least_nats(q: float, p: float) -> float:
    """KL of the closest policy that passes with probability q ≥ p, in nats a completion."""
    return q * math.log(q / p) + ((1 - q) * math.log((1 - q) / (1 - p)) if q < 1 else 0.0)


@matplotlib.rc_context(STYLE)
def frontier_figure(beta: float = 0.2, p: float = 0.006) -> Figure:
    """The frontier with the optimum for β, and what the optimum is worth; the label is the alt text."""
    best = optimum(beta, p)
    nats = least_nats(best, p)
    figure = Figure(figsize=(9.6, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    rates = np.concatenate([np.linspace(p, 0.98, 200), 1 - np.geomspace(0.02, 1e-6, 60)])
    costs = np.array([least_nats(q, p) for q in rates])
    left.fill_between(costs, rates, 1.05, color=PALE, label="no policy gets here")
    left.plot(costs, rates, color=INK, label="frontier")
    left.plot([0], [p], "s", color=INK, label="reference")
    left.plot([nats], [best], "o", color=VERMILLION, markersize=9, zorder=5, label=f"best for β = {beta:g}")
    along = np.linspace(0, max(costs), 2)
    left.plot(along, best + beta * (along - nats), color=BLUE, linestyle=(0, (4, 2)), linewidth=1.2, label="slope β")
    left.set(xlabel="KL to the reference, nats a completion", ylabel="pass rate", ylim=(-0.03, 1.05))
    left.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    left.legend(frameon=False, fontsize=8, loc="lower right")

    right.plot(costs, rates - beta * costs, color=BLUE)
    right.plot([nats], [best - beta * nats], "o", color=VERMILLION, markersize=9, zorder=5)
    right.set(title="E[R] − β KL along the frontier", xlabel="KL, nats a completion")
    left.set_title(f"{best:.1%} for {nats:.1f} nats")
    figure.set_label(
        f"Left, pass rate against KL for a reference that passes with probability {p:g}: the exact frontier, and on it "
        f"the best policy for β = {beta:g}, which passes with {best:.1%} at {nats:.2f} nats; there the frontier's "
        f"slope is β. Right, what it is worth: E[R] − β KL is largest there, {best - beta * nats:.3f}."
    )
    return figure
