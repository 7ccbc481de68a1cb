"""What a bug looks like: a few metrics of a broken run over those of the healthy one, drawn while it goes wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from policy_gradients.course.figures import BLUE, DASHES, INK, SHARES, STYLE, VERMILLION, _column, _steps
from policy_gradients.course.live import LivePlot, _name
from policy_gradients.training.alarms import Alarm

HEALTHY = "healthy"
RING = {"color": INK, "linestyle": DASHES[2], "linewidth": 1.2}


class Signature(LivePlot):
    """One panel a metric: the healthy run a solid blue line with discs, the broken one dashed and red with crosses.

    A value that is not finite stands at the foot of its panel as "NaN"; a dotted line marks the step at which the alarm
    first rings. It is filled, redrawn and left on the page as a `LivePlot` is: the healthy run first, by `log_healthy`
    or at once, then the broken one, by `log`.
    """

    def __init__(
        self,
        *keys: str,
        total: int,
        healthy: Sequence[Mapping[str, Any]] = (),
        alarm: Alarm | None = None,
        broken: str | None = "broken",
        columns: int = 3,
    ):
        """
        Args:
            keys: one metric a panel.
            total: steps of either run.
            healthy: rows of the healthy run, as far as they are there.
            alarm: one whose first ring is marked.
            broken: what the other run is called; None if there will be none.
            columns: panels side by side.

        Raises:
            ValueError: no keys.
        """
        super().__init__(*keys, total=total, columns=columns)
        self.healthy, self.alarm, self.broken = list(healthy), alarm, broken
        self.rang: int | None = None
        self._drawn: list[Line2D | Text] = []  # marks that are placed anew each time
        with matplotlib.rc_context(STYLE):
            self._beside: list[Line2D] = []
            for axes, key, line in self._curves:
                name, _, unit = _name(key).removesuffix(")").partition(" (")
                axes.set_title(name)
                axes.set_ylabel(unit, fontsize=8)
                line.set(color=VERMILLION, linestyle=DASHES[1], marker="X", markersize=5, label=broken, zorder=3)
                self._beside += axes.plot([], [], color=BLUE, marker="o", markersize=4, label=HEALTHY)
                axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
                axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))  # no 2.5 %, which would read 2 %
            handles = self._curves[0][0].get_legend_handles_labels()[0][::-1]
            if alarm is not None:
                handles.append(Line2D([], [], **RING, label=f"first ring of {alarm.__name__}"))
            self.figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False)

    def log_healthy(self, row: Mapping[str, Any]) -> None:
        """Record one step of the healthy run."""
        self.healthy.append(row)
        self.draw_if_due()

    def log(self, step: int, **values: Any) -> None:
        """As a `LivePlot`; and notes the step at which the alarm first rings."""
        rows = [*self.rows, {"step": step, **values}]
        if self.alarm is not None and self.rang is None and self.alarm(rows):
            self.rang = step
        super().log(step, **values)

    def _update(self) -> None:
        for mark in self._drawn:
            mark.remove()
        self._drawn, steps = [], _steps(self.rows)
        for (axes, key, line), beside in zip(self._curves, self._beside, strict=True):
            beside.set_data(_steps(self.healthy), _finite(self.healthy, key))
            values = _finite(self.rows, key)
            line.set_data(steps, values)
            both = np.concatenate([_finite(self.healthy, key), values, [0.0]])
            low, high = np.nanmin(both), np.nanmax(both)
            if key in SHARES and not 0 < high < 0.5:  # small shares may fill the panel
                high = 1.0
            room = 0.08 * (high - low or 1.0)
            axes.set_ylim(low - (3 if np.isnan(values).any() else 1) * room, high + room)  # "NaN" stands below the rest
            for step in steps[np.isnan(values)]:
                self._drawn.append(_nan(axes, step))
            if self.rang is not None:
                self._drawn.append(axes.axvline(self.rang, **RING))
            axes.set_xlim(0.5, max(self.total or 0, steps.max(initial=1)) + 0.5)
        self.figure.set_label(self._told())

    def _told(self) -> str:
        runs = [(name, rows) for name, rows in ((HEALTHY, self.healthy), (self.broken, self.rows)) if rows]
        parts = [
            f"{_name(key)}: {', '.join(f'{name} {_way(rows, key)}' for name, rows in runs)}"
            for _, key, _ in self._curves
        ]
        other = f" and a {self.broken} one" if self.broken else ""
        label = f"A healthy run{other} over {max(len(self.healthy), len(self.rows))} steps, first value to last. "
        label += "; ".join(parts) + "."
        if self.alarm is not None:
            rings = "does not ring" if self.rang is None else f"first rings at step {self.rang}"
            label += f" The alarm {self.alarm.__name__} {rings}."
        return label


def _nan(axes: Axes, step: float) -> Text:
    at_the_foot = axes.get_xaxis_transform()  # steps along, the panel's own height up
    return axes.text(
        step, 0.04, "NaN", transform=at_the_foot, color=VERMILLION, fontsize=7.5, ha="center", weight="bold"
    )


def _finite(rows: Sequence[Mapping[str, Any]], key: str) -> NDArray[np.float64]:
    values = _column(rows, key)
    return np.where(np.isfinite(values), values, np.nan)


def _way(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    first, last = _column(rows, key)[[0, -1]]
    return f"{first:.3g} → {last:.3g}".replace("nan", "NaN")
