"""What is drawn is what the runs hold, and the alt text says it."""

import dataclasses

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from policy_gradients.course.study_figures import curves_figure, study_figure, weight_figure
from policy_gradients.studies.analysis import compare
from policy_gradients.studies.study import Hypothesis, Study, load_study

ARMS = {
    "off": {},
    "constant": {"entropy_weight": 0.01},
    "aimed": {"entropy_schedule": "target", "entropy_weight": 0.01},
}
HYPOTHESES = (
    Hypothesis("constant", "off", "mean_strict_rate", 0.05),
    Hypothesis("aimed", "off", "mean_strict_rate", 0.05),
)
STUDY = Study(
    "made-up", "?", "!", "tiny-sparse", ARMS, HYPOTHESES, {"entropy_weight": 0.0, "entropy_schedule": "constant"}
)


@pytest.fixture
def runs(make_run):
    """Ten steps; `constant` is ahead by a fifth with every seed; `aimed` has no runs."""
    levels = {"off": 0.2, "constant": 0.4}
    found = {arm: {} for arm in ARMS}
    for arm, level in levels.items():
        found[arm] = {seed: make_run(STUDY, arm, seed, [level + seed / 100] * 10) for seed in range(7)}
    return found


def test_curves_and_differences(runs):
    figure = study_figure(STUDY, runs, compare(STUDY, runs))
    FigureCanvasAgg(figure).draw()
    left, right = figure.axes
    assert [line.get_label() for line in left.lines] == ["off", "constant"]
    assert left.lines[1].get_ydata() == pytest.approx([0.43] * 10)
    [point] = [line for line in right.lines if line.get_marker() == "o"]
    assert point.get_xdata() == pytest.approx([0.2 / 0.05])
    assert [tick.get_text() for tick in right.get_yticklabels()] == ["constant − off"]
    alt = figure.get_label()
    assert "off 23%, constant 43%" in alt and "constant better than off in mean_strict_rate: +0.200, holds" in alt


def test_a_difference_has_its_metric_beside_it_where_there_are_several(runs):
    asked = (HYPOTHESES[0], Hypothesis("constant", "off", "last_entropy", 0.1))
    figure = study_figure(STUDY, runs, compare(dataclasses.replace(STUDY, hypotheses=asked), runs))
    ticks = [tick.get_text() for tick in figure.axes[1].get_yticklabels()]
    assert ticks == ["constant − off,\nmean strict rate", "constant − off,\nlast entropy"]


def test_runs_of_several_lengths_are_drawn_as_far_as_all_go(runs, make_run):
    runs["off"][7] = make_run(STUDY, "off", 7, [0.2] * 6)
    figure = study_figure(STUDY, runs, [])
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [6, 10]


def test_any_columns_of_the_curves(runs):
    figure = curves_figure(STUDY, runs, ("entropy", "strict_rate", "reward_std"))
    FigureCanvasAgg(figure).draw()
    assert [axes.get_title(loc="left").partition(",")[0] for axes in figure.axes] == [
        "Entropy (nats per token)", "Strict pass rate", "Reward standard deviation",
    ]  # fmt: skip
    assert figure.axes[0].lines[0].get_ydata() == pytest.approx([1.77] * 10)
    assert "entropy (nats per token), mean of the last 5 steps: off 1.77, constant 1.57" in figure.get_label()


def test_the_weight_of_each_schedule_by_the_formula():
    study, n = load_study("entropy"), 100
    figure = weight_figure(study, points=n)
    FigureCanvasAgg(figure).draw()
    left, right = figure.axes
    p = np.arange(n + 1) / n
    assert left.lines[0].get_ydata() == pytest.approx(p * (1 - p))
    drawn = {line.get_label(): line.get_ydata() for line in right.lines}
    assert drawn.keys() == study.arms.keys() - {"target"}
    variance = p * (1 - p) * n / (n - 1)
    assert drawn["off"] == pytest.approx(np.zeros(n + 1)) and drawn["constant 0.01"] == pytest.approx(0.01)
    assert drawn["variance"] == pytest.approx(0.012 * variance, abs=1e-8)
    inverse = np.minimum(0.0003 / np.maximum(variance, 1e-9), 10 * 0.0003)
    assert drawn["inverse variance"] == pytest.approx(inverse, rel=1e-4)
    # the lesson: the same at both ends, which are success and failure
    for arm, ends in (("inverse variance", 0.003), ("variance", 0.0)):
        assert drawn[arm][[0, -1]] == pytest.approx([ends, ends])
    assert "inverse variance 0.003, 0.00119 and 0.003" in figure.get_label()
    assert "target" not in figure.get_label()


def test_nothing_to_draw_is_an_error(runs):
    empty = {arm: {} for arm in ARMS}
    for draw in (lambda: study_figure(STUDY, empty, []), lambda: curves_figure(STUDY, empty, ["entropy"])):
        with pytest.raises(ValueError, match="no arm of the study made-up has a run yet"):
            draw()
    with pytest.raises(ValueError, match="name a column"):
        curves_figure(STUDY, runs, [])
    aimed = Study(**{**vars(STUDY), "arms": {"aimed": ARMS["aimed"]}})
    with pytest.raises(ValueError, match="no arm of the study made-up has an entropy weight that follows"):
        weight_figure(aimed)
