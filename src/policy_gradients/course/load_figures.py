"""How a server behaves under load, as a picture."""

from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from policy_gradients.course.figures import BLUE, ORANGE, STYLE

KINDS = {"unshared": ("o", "-"), "shared": ("s", "--")}


@matplotlib.rc_context(STYLE)
def under_load(report: Mapping[str, Any]) -> Figure:
    """Latency (median, and up to the 95th percentile) and throughput, against the number of clients; the label is the
    alt text.

    Args:
        report: of `deploy.loadtest.load_test`.
    """
    figure = Figure(figsize=(8.6, 3.2), layout="constrained")
    panels = figure.subplots(1, 2)
    levels, said = list(report["levels"]), []
    clients = sorted({level["concurrency"] for level in levels})
    for (prefix, (marker, dash)), colour in zip(KINDS.items(), (BLUE, ORANGE), strict=True):
        rows = [level for level in levels if level["prefix"] == prefix]
        if not rows:
            continue
        x = [clients.index(row["concurrency"]) for row in rows]
        half, high = ([row["latency_ms"][p] for row in rows] for p in ("p50", "p95"))
        spread = [[0] * len(rows), [b - a for a, b in zip(half, high, strict=True)]]
        look = {"marker": marker, "linestyle": dash, "color": colour, "label": f"{prefix} prefix"}
        panels[0].errorbar(x, half, yerr=spread, capsize=4, **look)
        panels[1].plot(x, [row["tokens_per_second"] for row in rows], **look)
        said += [f"{prefix}, {row['concurrency']} clients: {a:.0f} ms, {row['tokens_per_second']:.0f} tokens a second"
                 for row, a in zip(rows, half, strict=True)]  # fmt: skip
    for axes, title in zip(panels, ("latency, ms: median, and up to p95", "tokens a second"), strict=True):
        axes.set_title(title)
        axes.set_xlabel("clients at the same time")
        axes.set_xticks(range(len(clients)), [str(n) for n in clients])
        axes.set_ylim(bottom=0)
    if said:
        panels[0].legend()
    figure.set_label("Median latency and throughput by clients. " + "; ".join(said) + ".")
    return figure
