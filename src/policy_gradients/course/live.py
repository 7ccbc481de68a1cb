"""Curves that grow while something trains, in a notebook and in place; the last picture stays in the file."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import matplotlib
import numpy as np
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from policy_gradients.course.display import in_notebook, png_bundle
from policy_gradients.course.figures import DASHES, NAMES, PALETTE, SHARES, STYLE, _column, _ends, _steps

PANEL = (3.1, 2.15)  # inches, in a board of three columns or more
WIDTH = 9.4  # inches that fewer columns share, none of them wider than twice a panel
TELLING = 3  # steps until what is left can be said: the first one warms up


class LivePlot:
    """A board of small panels, redrawn in place:

        with LivePlot("strict_rate | tolerance", "kl | kl_weight", total=40) as live:
            train(config, folder, progress=False, on_step=lambda row: live.log(**row))

    Every update replaces one picture of fixed size, so the page does not jump, and the notebook file ends up with one
    PNG and its alt text, also after an interruption. Without a notebook front end nothing is shown; `rows` and `figure`
    are there all the same.
    """

    def __init__(
        self,
        *panels: str,
        total: int | None = None,
        columns: int = 4,
        every: float = 0.5,
        share_y: bool = False,
        unit: str = "step",
    ):
        """
        Args:
            panels: names of values, such as "entropy" or "strict_rate, train_reward"; those after a "|" get an axis of
                their own on the right. Shares (`figures.SHARES`) are drawn from 0 to 100 %, all else from 0 up.
            total: steps to come, for the width of the panels and the time that is left.
            columns: panels side by side.
            every: least seconds between two pictures; drawing also never takes more than a tenth of the time.
            share_y: one scale for the left axes of all panels, so that their curves can be compared by eye.
            unit: what is counted along the axis.

        Raises:
            ValueError: no panels, or one that names nothing.
        """
        if not panels:
            raise ValueError("LivePlot needs at least one panel, such as 'strict_rate'")
        self.rows: list[dict[str, Any]] = []
        self.total, self.every, self.unit = total, every, unit
        self._handle: Any = None
        self._start, self._next_draw = perf_counter(), 0.0
        columns = min(columns, len(panels))
        lines = -(-len(panels) // columns)
        with matplotlib.rc_context(STYLE):
            width = min(2 * PANEL[0], max(PANEL[0], WIDTH / columns))
            height = PANEL[1] * (1.25 if width > PANEL[0] else 1)
            self.figure = Figure(figsize=(width * columns, height * lines + 0.3), layout="constrained")
            grid = self.figure.subplots(lines, columns, squeeze=False, sharey=share_y).ravel()
            self._curves = [curve for axes, panel in zip(grid, panels, strict=False) for curve in _panel(axes, panel)]
            for axes in grid[len(panels) :]:
                axes.set_axis_off()
            for axes in grid[: len(panels)][-columns:]:
                axes.set_xlabel(unit, fontsize=8)

    def log(self, step: int, **values: Any) -> None:
        """Record one step; what no panel names is kept in `rows`, and what is no number leaves a gap."""
        self.rows.append({"step": step, **values})
        self.draw_if_due()

    def draw_if_due(self) -> None:
        """`draw`, if there is a page and the last picture is old enough."""
        if in_notebook() and perf_counter() >= self._next_draw:
            self.draw()

    def draw(self, dpi: int = 80) -> None:
        """Show the picture as it is now; the next one waits at least nine times as long as this one takes."""
        start = perf_counter()
        with matplotlib.rc_context(STYLE):
            self._update()
            if in_notebook():
                data, metadata = png_bundle(self.figure, dpi)
                if self._handle is None:
                    self._handle = display(data, raw=True, metadata=metadata, display_id=True)
                else:
                    self._handle.update(data, raw=True, metadata=metadata)
        end = perf_counter()
        self._next_draw = end + max(self.every, 10 * (end - start))

    def __enter__(self) -> "LivePlot":
        self.draw()  # the first step may take a while: an empty board says that it is under way
        return self

    def __exit__(self, *exception: object) -> None:
        self.draw(dpi=160)  # also after Ctrl-C: what was reached stays on the page

    def _update(self) -> None:
        steps = _steps(self.rows)
        least: dict[Axes, float] = {}  # of all curves that share the axes: one may not have begun
        for axes, key, line in self._curves:
            values = _column(self.rows, key)
            values[~np.isfinite(values)] = np.nan
            line.set_data(steps, values)
            least[axes] = min(least.get(axes, np.inf), np.nanmin(values, initial=np.inf))
        for axes, key, _ in self._curves:
            if key not in SHARES:
                axes.relim()
                axes.autoscale_view(scalex=False)
                if least[axes] >= 0:  # a curve that seems to fall to the bottom should be falling to nothing
                    axes.set_ylim(bottom=0, auto=True)
            if len(steps):
                axes.set_xlim(steps.min() - 0.5, max(self.total or 0, steps.max()) + 0.5)
        self.figure.suptitle(self._status(), x=0.01, ha="left", fontsize=9.5)
        keys = [key for _, key, _ in self._curves]
        told = [f"{NAMES.get(key, key)} {ends}" for key in keys if (ends := _ends(self.rows, key))]
        counted = "training steps" if self.unit == "step" else f"{self.unit}s"
        self.figure.set_label(
            f"Curves of {len(self.rows)} {counted}. From the first tenth of them to the last: "
            + ("; ".join(told) or "nothing was recorded")
            + "."
        )

    def _status(self) -> str:
        done, seconds = len(self.rows), perf_counter() - self._start
        status = f"{done} of {self.total} {self.unit}s" if self.total else f"{done} {self.unit}s"
        status += f" in {seconds:.0f} s"
        if self.total and TELLING <= done < self.total:
            status += f", about {seconds / done * (self.total - done):.0f} s to go"
        return status


def _panel(axes: Axes, panel: str) -> list[tuple[Axes, str, Line2D]]:
    """Lay out one panel; its curves, still empty, as (axes, key, line)."""
    left, _, right = panel.partition("|")
    keys, right_keys = _keys(left), _keys(right)
    if not keys:
        raise ValueError(f"panel {panel!r} names no value on its left axis")
    curves = [_curve(axes, key, index) for index, key in enumerate(keys)]
    if len(keys) > 1:
        axes.legend(  # above the curves, where a title would stand
            loc="lower left",
            bbox_to_anchor=(0, 1),
            borderaxespad=0.2,
            ncols=len(keys),
            handlelength=1.4,
            handletextpad=0.4,
            columnspacing=0.9,
            frameon=False,
            fontsize=7.5,
        )
    else:
        axes.set_title(_name(keys[0]), fontsize=8.5)
    if right_keys:
        twin = axes.twinx()
        twin.spines["right"].set_visible(True)
        curves += [_curve(twin, key, index) for index, key in enumerate(right_keys, start=len(keys))]
        colour = curves[-1][2].get_color()
        twin.set_ylabel(", ".join(map(_name, right_keys)), fontsize=8, color=colour)
        twin.tick_params(labelsize=7.5, labelcolor=colour)
    axes.grid(True, axis="y")
    axes.tick_params(labelsize=7.5)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    return curves


def _curve(axes: Axes, key: str, index: int) -> tuple[Axes, str, Line2D]:
    [line] = axes.plot(
        [],
        [],
        color=PALETTE[index % len(PALETTE)],
        linestyle=DASHES[index % len(DASHES)],
        marker=".",
        markersize=3.5,
        linewidth=1.4,
        label=_name(key),
    )
    if key in SHARES:
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    return axes, key, line


def _keys(names: str) -> Sequence[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _name(key: str) -> str:
    return NAMES.get(key, key.replace("_", " "))
