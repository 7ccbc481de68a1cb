"""What the lines of GRPO do to a gradient, and what a critic costs: a table and a figure of notebook 05."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from policy_gradients.course.display import Table
from policy_gradients.course.figures import INK, PALETTE, PARTS, STYLE
from policy_gradients.oracle.outcomes import Moments

MIB = 2**20
HELD = ("policy", "reference", "critic", "gradients", "optimizer")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "")


def estimator_table(moments: Mapping[str, Moments], exact: Tensor | Mapping[str, Tensor]) -> Table:
    """Estimators in rows: how long E[ĝ] is beside the exact gradient, the angle between them, and the noise.

    A learning rate absorbs a length, and nothing absorbs an angle. The noise is relative to the estimate's own length,
    so that a shorter estimate does not look quieter. An angle below 10⁻⁴ degrees is written as 0.

    Args:
        exact: one gradient, (size,), or for each label its own.
    """
    rows = []
    for label, m in moments.items():
        target = exact[label] if isinstance(exact, Mapping) else exact
        angle = m.angle(target)
        rows.append([label, m.stretch(target), 0.0 if angle < 1e-4 else angle, m.noise])
    return Table(["estimator", "length ‖E ĝ‖ / ‖∇J‖", "angle to ∇J, degrees", "noise E‖ĝ − E ĝ‖² / ‖E ĝ‖²"], rows)


@matplotlib.rc_context(STYLE)
def step_costs(seconds: Mapping[str, Mapping[str, float]], held: Mapping[str, Mapping[str, int]]) -> Figure:
    """Two stacked bars a method: the seconds of a step by part, and the bytes held from step to step by owner.

    Args:
        seconds: method -> part (`figures.PARTS`) -> seconds; parts that are missing count nothing.
        held: method -> owner (`HELD`) -> bytes; the same methods.

    Raises:
        ValueError: no methods, or not the same on both sides.
    """
    if not seconds or list(seconds) != list(held):
        raise ValueError(f"both sides need the same methods, got {list(seconds)} and {list(held)}")
    figure = Figure(figsize=(10.5, 1.9 + 0.45 * len(seconds)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = [part.replace("_", "-") for part in PARTS]
    _stacked(left, {m: [parts.get(part, 0.0) for part in PARTS] for m, parts in seconds.items()}, names, "{:.2f} s")
    _stacked(right, {m: [o.get(owner, 0) / MIB for owner in HELD] for m, o in held.items()}, list(HELD), "{:.0f} MiB")
    left.set(title="Time of a step", xlabel="seconds")
    right.set(title="Memory held from step to step", xlabel="MiB")
    totals = {m: (sum(seconds[m].values()), sum(held[m].get(owner, 0) for owner in HELD) / MIB) for m in seconds}
    told = "; ".join(f"{m}: {time:.2f} s and {size:.0f} MiB" for m, (time, size) in totals.items())
    figure.set_label(f"Stacked bars of the time of a step and of the memory held, for each method. {told}.")
    return figure


def _stacked(axes: Axes, columns: Mapping[str, Sequence[float]], parts: Sequence[str], total: str) -> None:
    """One horizontal bar a method, its parts in colours and hatchings, its sum written at its end."""
    places = np.arange(len(columns))[::-1]
    values = np.array(list(columns.values()), dtype=float)  # (methods, parts)
    start = np.zeros(len(columns))
    for index, part in enumerate(parts):
        look = {"color": PALETTE[index % len(PALETTE)], "hatch": HATCHES[index % len(HATCHES)]}
        axes.barh(places, values[:, index], 0.62, left=start, edgecolor="white", linewidth=0.5, label=part, **look)
        start += values[:, index]
    for place, end in zip(places, start, strict=True):
        axes.text(end, place, "  " + total.format(end), va="center", color=INK, fontsize=8.5)
    axes.set_yticks(places, list(columns))
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1.22 * max(start.max(), 1e-12))
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.22), ncols=3, frameon=False, fontsize=8)
