"""The figures: they show the data, survive holes in it, stay opaque, and carry their alt text into the file."""

import json
import math
import random
import subprocess
import sys
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from policy_gradients.course.figures import (
    before_after,
    compare_runs,
    reward_against_kl,
    running_mean,
    save,
    training_curves,
)
from policy_gradients.evaluation.statistics import kl_floor, wilson_interval


def made_up_rows(steps: int = 60, seed: int = 0) -> list[dict]:
    rng = random.Random(seed)
    rows = []
    for step in range(steps):
        done = step / steps
        parts = {"rollout": 0.9, "reward": 0.01, "log_probs": 0.2, "backward": 0.6, "optimizer": 0.1}
        rows.append(
            {
                "step": step,
                "strict_rate": 0.7 * done * rng.random(),
                "train_reward": 0.3 + 0.4 * done,
                "tolerance": 16 >> (step // 12),
                "length_rate": 0.8 * done,
                "digit_rate": 0.3 + 0.6 * done,
                "finished_rate": 0.95,
                "mean_length": 60.0,
                "distinct_share": 1.0,
                "entropy": 2.4 - done,
                "entropy_weight": 0.01,
                "kl": 9 * done,
                "kl_weight": 0.02,
                "zero_variance_share": 0.8 - 0.7 * done,
                "reward_std": 0.2,
                "grad_norm": math.exp(rng.gauss(0, 1)),
                "loss": 0.0,
                "learning_rate": 1e-4,
                "completion_tokens": 3000,
                "tokens_per_second": 2500.0,
                "seconds": 2.0,
                **{f"seconds_{name}": seconds for name, seconds in parts.items()},
                "elapsed": 2.0 * step,
            }
        )
    return rows


def made_up_report() -> dict:
    before = {"pass_rate": 0.0, "pass_rate_interval": [0.0, 0.037], "length_rate": 0.02, "digit_rate": 0.25}
    after = {"pass_rate": 0.72, "pass_rate_interval": [0.62, 0.8], "length_rate": 0.8, "digit_rate": 0.9}
    before |= {"finished_rate": 0.94, "distinct_completions": 100, "reference_nll_per_token": 2.3}
    after |= {"finished_rate": 1.0, "distinct_completions": 97, "reference_nll_per_token": 2.0, "kl_to_reference": 12.0}
    return {"reference": before, "tuned": after, "kl_floor": 4.8, "kl_over_floor": 2.5, "num_prompts": 100, "seed": 1}


POINTS = [
    {"label": "reference", "kl": 0.0, "pass_rate": 0.001, "interval": (0.0005, 0.002), "distinct": 100},
    {"label": "GRPO", "kl": 12.0, "pass_rate": 0.7, "interval": (0.6, 0.78), "distinct": 0.97, "shape": "*"},
    {"label": "no KL", "kl": 250.0, "pass_rate": 0.97, "interval": (0.91, 0.99), "distinct": 1},
]


def texts(figure: Figure) -> str:
    """Every word that the figure shows."""
    figure.draw_without_rendering()
    return "\n".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


def pixels(figure: Figure, path) -> np.ndarray:
    """What a viewer shows, shape (height, width, 4), 0..255."""
    return np.asarray(Image.open(save(figure, path / "figure.png", dpi=60)).convert("RGBA"))


FIGURES = {
    "training_curves": lambda: training_curves(made_up_rows()),
    "reward_against_kl": lambda: reward_against_kl(POINTS, 0.001, (0.0005, 0.002)),
    "before_after": lambda: before_after(made_up_report()),
    "compare_runs": lambda: compare_runs({f"seed {i}": made_up_rows(seed=i) for i in range(3)}, "strict_rate"),
}


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES.keys())
def test_saved_png_is_opaque_white_and_carries_its_alt_text(make, tmp_path):
    figure = make()
    path = save(figure, tmp_path / "figure.png")
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]
    with Image.open(path) as image:
        assert image.info["Description"] == figure.get_label()
        assert len(figure.get_label()) > 60 and figure.get_label().endswith(".")
        shown = np.asarray(image.convert("RGBA"))
    assert (shown[..., 3] == 255).all()
    assert (shown[[0, 0, -1, -1], [0, -1, 0, -1], :3] == 255).all()


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES.keys())
def test_a_dark_style_sheet_of_the_reader_changes_nothing(make, tmp_path):
    plain = pixels(make(), tmp_path)
    dark = dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "black")
    dark |= dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), "white")
    with matplotlib.rc_context(dark):
        assert (pixels(make(), tmp_path) == plain).all()


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES.keys())
def test_labels_of_one_axis_do_not_overlap_and_stay_inside(make):
    figure = make()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer, whole = canvas.get_renderer(), figure.bbox
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            shown = [label for label in axis.get_ticklabels() if label.get_text() and label.get_visible()]
            low, high = sorted(axis.get_view_interval())
            places = axis.get_majorticklocs()
            boxes = [
                label.get_window_extent(renderer)
                for label, place in zip(shown, places, strict=False)
                if low - 1e-9 <= place <= high + 1e-9
            ]
            for first, second in pairwise(boxes):
                assert not first.shrunk(0.98, 0.98).overlaps(second.shrunk(0.98, 0.98))
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label, axes._left_title):
            box = text.get_window_extent(renderer)
            if text.get_text():
                assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= whole.x1 + 1 and box.y1 <= whole.y1 + 1


def test_save_takes_another_alt_text_and_unicode(tmp_path):
    path = save(before_after(made_up_report()), tmp_path / "deep.PNG", "KL → 0, naïve ³ 🙂")
    with Image.open(path) as image:
        assert image.info["Description"] == "KL → 0, naïve ³ 🙂"


def test_save_refuses_other_formats_and_missing_alt_text(tmp_path):
    with pytest.raises(ValueError, match=r"saved as \.png, got figure\.jpg"):
        save(Figure(), tmp_path / "figure.jpg")
    with pytest.raises(ValueError, match="needs alt text"):
        save(Figure(), tmp_path / "figure.png")
    with pytest.raises(ValueError, match="needs alt text"):
        save(before_after(made_up_report()), tmp_path / "figure.png", "  ")
    assert not list(tmp_path.iterdir())


def test_no_pyplot_state_is_touched():
    code = (
        "import sys; from policy_gradients.course.figures import training_curves;"
        "training_curves([{'step': 0, 'kl': 1.0}]); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_training_curves_draw_every_quantity():
    shown = texts(training_curves(made_up_rows()))
    for words in (
        "strict pass rate",
        "train reward",
        "tolerance",
        "entropy weight",
        "KL weight",
        "nats per completion",
    ):
        assert words in shown
    for words in (
        "nats per token",
        "groups without a gradient",
        "gradient norm",
        "distinct completions",
        "right length",
    ):
        assert words in shown
    for words in ("right digits", "ended by itself", "tokens per second", "rollout 45 %", "log-probs 10 %", "other "):
        assert words in shown
    assert "not recorded" not in shown


def test_training_curves_alt_text_reports_both_ends():
    rows = [{"step": step, "strict_rate": 0.25 if step < 50 else 0.75, "kl": 3.0} for step in range(100)]
    label = training_curves(rows).get_label()
    assert "100 steps" in label and "strict pass rate 25 % → 75 %" in label and "entropy" not in label


HOLES = {
    "no rows": [],
    "one row": made_up_rows(1),
    "empty row": [{}],
    "steps alone": [{"step": step} for step in range(5)],
    "no steps": [{"kl": 1.0}, {"kl": 2.0}],
    "null": [dict.fromkeys(made_up_rows(1)[0])] * 3,
    "not finite": [dict.fromkeys(made_up_rows(1)[0], value) | {"step": 1} for value in (math.nan, math.inf, -math.inf)],
    "null among numbers": [
        row | {"grad_norm": None, "kl": math.nan} if row["step"] % 3 else row for row in made_up_rows()
    ],
    "zeros": [dict.fromkeys(made_up_rows(1)[0], 0) | {"step": step} for step in range(4)],
    "negative": [dict.fromkeys(made_up_rows(1)[0], -1.0) | {"step": step} for step in range(4)],
    "words": [{"step": 0, "kl": "high"}],
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rows", HOLES.values(), ids=HOLES.keys())
def test_holes_in_the_metrics_do_not_crash_a_figure(rows, tmp_path):
    rows = json.loads(json.dumps(rows))  # as it comes from the file
    save(training_curves(rows), tmp_path / "training.png", dpi=40)
    save(compare_runs({"a run": rows, "another": made_up_rows(5)}, "kl"), tmp_path / "compare.png", dpi=40)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "report",
    [
        {},
        {"tuned": {}, "reference": None},
        {"tuned": {"pass_rate": None, "length_rate": math.nan}, "reference": {"pass_rate": 0.1}, "num_prompts": None},
        {"tuned": {"pass_rate": 1.0}, "reference": {"pass_rate": 0.0}},
        {**made_up_report(), "kl_floor": None, "kl_over_floor": math.inf},
    ],
)
def test_holes_in_the_report_do_not_crash_the_bars(report, tmp_path):
    save(before_after(report), tmp_path / "bars.png", dpi=40)


def test_bars_have_their_heights_and_wilson_whiskers():
    [axes] = before_after(made_up_report()).axes
    bars = [container for container in axes.containers if isinstance(container, matplotlib.container.BarContainer)]
    assert [bar.patches[0].get_height() for bar in bars] == [0.0, 0.02, 0.25, 0.94, 0.72, 0.8, 0.9, 1.0]
    errors = [c for c in axes.containers if isinstance(c, matplotlib.container.ErrorbarContainer)]
    ends = [error.lines[2][0].get_segments()[0][:, 1] for error in errors]
    assert ends[4] == pytest.approx([0.62, 0.8])  # the report's own
    assert ends[5] == pytest.approx(wilson_interval(80, 100))
    assert ends[1] == pytest.approx(wilson_interval(2, 100))


def test_what_a_pass_rate_hides_stands_beside_it():
    figure = before_after(made_up_report())
    for words in (
        "distinct completions 100 → 97",
        "12.0 nats per completion = 2.5 × the least possible (4.8)",
        "2.30 → 2.00",
    ):
        assert words in texts(figure) and words in figure.get_label()


def line(figure: Figure, label: str) -> matplotlib.lines.Line2D:
    [found] = [a for axes in figure.axes for a in axes.lines if str(a.get_label()).startswith(label)]
    return found


@pytest.mark.parametrize("p", [1e-4, 0.001, 0.2, 0.9])
def test_the_drawn_frontier_is_the_floor(p):
    figure = reward_against_kl(POINTS, p)
    for label, factor in (("least possible KL", 1), ("3 × least KL", 3)):
        kl, rate = line(figure, label).get_data()
        below_one = np.asarray(rate) < 0.9999
        expected = [factor * kl_floor(q, p) for q in np.asarray(rate)[below_one]]
        assert np.asarray(kl)[below_one] == pytest.approx(expected, rel=2e-3)
        assert (np.asarray(kl)[~below_one] >= -factor * math.log(p) * 0.99).all()


def test_points_are_named_with_their_diversity_and_ratio():
    figure = reward_against_kl(POINTS, 0.001, (0.0005, 0.002))
    shown = texts(figure)
    for words in (
        "reference (100 distinct), KL 0",
        "GRPO (97 % distinct)",
        "no KL (1 distinct)",
        "p = 0.1 %",
        "0.05 % to 0.2 %",
    ):
        assert words in shown
    assert f"GRPO (97 % distinct): 70 % at 12 nats, {12 / kl_floor(0.7, 0.001):.1f} times" in figure.get_label()
    [axes] = figure.axes
    assert axes.get_xlim()[0] == 0.1 and axes.get_xlim()[1] > 250  # wide enough for the farthest point
    assert reward_against_kl(POINTS[:2], 0.001).axes[0].get_xlim() == (0.1, 100)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("p", [0.0, 1e-300, 0.999])
def test_extreme_references_and_unmeasured_points(p, tmp_path):
    points = [{"label": "diverged", "kl": math.nan, "pass_rate": None}, {"kl": math.inf, "pass_rate": 1.0}, *POINTS]
    figure = reward_against_kl(points, p, (0.0, 1.0))
    save(figure, tmp_path / "figure.png", dpi=40)
    assert "diverged: not measured" in texts(figure) and "policy 2: not measured" in texts(figure)
    save(reward_against_kl([], p), tmp_path / "figure.png", dpi=40)


def test_a_reference_that_always_passes_has_no_frontier():
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\), got 1"):
        reward_against_kl(POINTS, 1.0)


def runs_of(*values: float, steps: int = 4) -> list[list[dict]]:
    return [[{"step": step, "kl": value} for step in range(steps)] for value in values]


def test_seeds_get_one_median():
    figure = compare_runs(dict(zip("abc", runs_of(1.0, 2.0, 9.0), strict=True)), "kl")
    assert list(line(figure, "median of 3").get_ydata()) == [2.0] * 4
    assert len(figure.axes[0].lines) == 4
    assert "3 runs end between 1 and 9; median 2" in figure.get_label()


def test_two_runs_have_no_median_to_speak_of():
    assert len(compare_runs(dict(zip("ab", runs_of(1.0, 2.0), strict=True)), "kl").axes[0].lines) == 2


def test_methods_get_a_median_each():
    figure = compare_runs({"GRPO": runs_of(1.0, 2.0, 9.0), "RLOO": runs_of(4.0)}, "kl")
    assert list(line(figure, "GRPO (median of 3)").get_ydata()) == [2.0] * 4
    assert list(line(figure, "RLOO").get_ydata()) == [4.0] * 4
    assert len(figure.axes[0].lines) == 4 + 2


def test_a_median_stops_where_most_runs_have_stopped():
    seeds = [*runs_of(1.0, steps=4), *runs_of(2.0, steps=4), *runs_of(3.0, steps=9)]
    assert list(line(compare_runs({"GRPO": seeds}, "kl"), "GRPO").get_xdata()) == [0, 1, 2, 3]


def test_comparing_nothing_says_so():
    for nothing in ({}, {"a": []}, {"a": [{"step": 1}]}):
        figure = compare_runs(nothing, "kl")
        assert "not recorded" in texts(figure) and "nothing was recorded" in figure.get_label()


def test_running_mean_by_hand():
    values = np.array([1.0, 2.0, 3.0, np.nan, 5.0])
    np.testing.assert_allclose(running_mean(values, 3), [1.5, 2.0, 2.5, np.nan, 5.0])
    np.testing.assert_allclose(running_mean(values, 1), values)
    assert running_mean(np.array([]), 3).shape == (0,)
