"""What a notebook puts on the page: figures that carry their alt text, and tables that read well without HTML too."""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from IPython import get_ipython
from IPython.display import display
from matplotlib.figure import Figure

POINTS_PER_INCH = 80  # CSS pixels on the page for one inch of a figure, whatever the resolution of the PNG
FIGURE = "policy-gradients-figure"
# On the dark pages of JupyterLab and Colab, light and dark change places; hues stay what a legend says.
ON_DARK = (
    f"<style>body[data-jp-theme-light=false] img.{FIGURE}, html[theme=dark] img.{FIGURE} "
    "{filter: invert(0.9) hue-rotate(180deg); background: white;}</style>"
)
MARK = {True: "✓", False: "✗"}


def in_notebook() -> bool:
    """Whether a front end can show pictures: Jupyter, Colab, nbclient; not a script or a terminal."""
    return getattr(get_ipython(), "kernel", None) is not None


def show(figure: Figure, dpi: int = 130) -> None:
    """Put a figure of `course.figures` on the page, once, with its alt text; in a script, print the alt text."""
    if not in_notebook():
        print(figure.get_label())
        return
    data, metadata = png_bundle(figure, dpi)
    display(data, raw=True, metadata=metadata)


def png_bundle(figure: Figure, dpi: int) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """A figure as Jupyter's (data, metadata): a PNG of fixed size, with its alt text beside it and in its place.

    JupyterLab gives an `image/png` no alt text, whatever its metadata say; an `<img>` of the same picture keeps it. The
    PNG itself is for what reads no HTML, and for the notebooks as they are published (`tools/nb.py`).
    """
    alt = figure.get_label()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Description": alt, "Software": None})
    width, height = (round(inches * POINTS_PER_INCH) for inches in figure.get_size_inches())
    png = base64.b64encode(buffer.getvalue()).decode()
    size = f'width="{width}" height="{height}"'
    image = f'<img class="{FIGURE}" src="data:image/png;base64,{png}" {size} alt="{html.escape(alt)}">{ON_DARK}'
    data = {"text/html": image, "image/png": png, "text/plain": alt}
    return data, {"image/png": {"width": width, "height": height, "alt": alt}}


@dataclass(frozen=True)
class Table:
    """Rows under a header; a last expression in a cell shows it as HTML, `print` as aligned text.

    Numbers are written with three significant digits, and stand to the right; truth values become ✓ and ✗.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"a row has {len(row)} cells under a header of {len(self.header)}: {list(row)}")

    def __repr__(self) -> str:
        if not self.rows:
            return "(no rows)"
        lines = [list(self.header), *([_written(cell) for cell in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        right = [all(_stands_right(row[i]) for row in self.rows) for i in range(len(self.header))]
        return "\n".join(
            "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)).rstrip()
            for line in lines
        )

    def _repr_html_(self) -> str:
        if not self.rows:
            return "<em>(no rows)</em>"
        columns = zip(self.header, zip(*self.rows, strict=True), strict=True)
        head = "".join(f"<th{_side(column[0])}>{html.escape(name)}</th>" for name, column in columns)
        body = "".join(f"<tr>{''.join(map(_html_cell, row))}</tr>" for row in self.rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def gallery(completions: Sequence[Mapping[str, Any]]) -> Table:
    """Completions with every check marked, as `evaluation.evaluate.marked` returns them; texts are quoted, so that a
    space at either end and a line break can be seen."""
    checks = list(completions[0]["checks"]) if completions else []
    rows = [
        [
            c["passed"],
            *(c["checks"][name] for name in checks),
            c["characters"],
            json.dumps(c["text"], ensure_ascii=False),
        ]
        for c in completions
    ]
    return Table(["passes", *checks, "characters", "completion"], rows)


def readable(metric: str, value: float) -> float | str:
    """A metric of a log or a report, for a table: those that are shares, by their names, as per cent."""
    return f"{value:.1%}" if metric.endswith(("_rate", "_share")) and metric != "learning_rate" else value


def zero(x: float, scale: float = 1.0) -> float:
    """A number, or exactly 0 where it is nothing but rounding: 1e-12 of the scale, or less."""
    return 0.0 if abs(x) <= 1e-12 * scale else x


def _written(cell: Any) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return MARK[cell]
    if isinstance(cell, float) and 1000 <= abs(cell) < 1e6:
        return f"{float(f'{cell:.3g}'):.0f}"  # 1050, where .3g writes 1.05e+03
    return f"{cell:.3g}" if isinstance(cell, float) else str(cell)


def _stands_right(cell: Any) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _html_cell(cell: Any) -> str:
    return f"<td{_side(cell)}>{html.escape(_written(cell))}</td>"


def _side(cell: Any) -> str:
    """Twice: JupyterLab's own style of a table beats `align`, and GitHub takes `style` away."""
    side = "right" if _stands_right(cell) else "left" if isinstance(cell, str) else "center"
    return f' align="{side}" style="text-align:{side}"'
