"""The figures of notebook 09: what is drawn is what was computed."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from policy_gradients.course.open_figures import frontier_figure, lessons_figure, noise_figure, tokens_figure
from policy_gradients.evaluation.frontiers import equal_weight_frontier, mean_kl_floor
from policy_gradients.oracle.retrieval import Spread

RATES = [0.1, 0.5]


def test_points_and_what_they_pay_above_the_frontier():
    figure = frontier_figure(RATES, {"dear": ([0.5, 0.9], [0.6, 0.7])}, lines=True)
    FigureCanvasAgg(figure).draw()
    left, right = figure.axes
    assert left.lines[0].get_xdata() == pytest.approx(equal_weight_frontier(RATES)[0])
    assert left.lines[1].get_xdata() == pytest.approx([0.5, 0.9])
    more = [0.5 - mean_kl_floor(0.6, RATES), 0.9 - mean_kl_floor(0.7, RATES)]
    assert right.lines[1].get_ydata() == pytest.approx(more) and min(more) > 0.1
    assert f"dear at most {max(more):.3f}" in figure.get_label()


def test_the_noise_of_each_prompt():
    figure = noise_figure({"groups": [5.0, 0.5], "batch": [20.0, 0.25]}, RATES)
    FigureCanvasAgg(figure).draw()
    [axes] = figure.axes
    assert [list(line.get_ydata()) for line in axes.lines] == [[5.0, 0.5], [20.0, 0.25]]
    assert "at pass rates of 0.1, 0.5: groups 5, 0.5; batch 20, 0.25." in figure.get_label()


def test_tokens_by_the_formula_and_the_best_group_marked():
    figure = tokens_figure(Spread(0.25, 1.0), [(400, 100), (100, 100)], most=6)
    FigureCanvasAgg(figure).draw()
    [axes] = figure.axes
    g = np.arange(1, 7)
    assert axes.lines[0].get_ydata() == pytest.approx((0.25 + 1 / g) * (400 + 100 * g) / (1.25 * 500))
    assert axes.lines[1].get_xdata() == [4] and axes.lines[1].get_ydata() == pytest.approx([0.5 * 800 / 625])
    assert axes.lines[4].get_ydata() == pytest.approx((0.25 + 1 / g) * g / 1.25)
    assert "400 and 100 tokens: least 0.64 at G = 4; 100 and 100 tokens: least 0.90 at G = 2" in figure.get_label()
    assert axes.lines[4].get_ydata().min() == pytest.approx(1)


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="at least one curve"):
        frontier_figure(RATES, {})
    with pytest.raises(ValueError, match="for each of 2 prompts"):
        noise_figure({"groups": [1.0]}, RATES)
    with pytest.raises(ValueError, match="for each of 2 prompts"):
        noise_figure({}, RATES)
    with pytest.raises(ValueError, match="at least one pair"):
        tokens_figure(Spread(1.0, 1.0), [])


def test_lessons_of_the_trained_and_of_the_others():
    paths = [np.array([[0.2, 0.3], [0.6, 0.1]]), np.array([[0.2, 0.3], [0.4, 0.3]])]
    figure = lessons_figure({"matrix": paths})
    FigureCanvasAgg(figure).draw()
    left, right = figure.axes
    assert [list(line.get_ydata()) for line in left.lines] == [[0.2, 0.6], [0.2, 0.4]]
    assert [list(line.get_ydata()) for line in right.lines] == [[0.3, 0.1], [0.3, 0.3]]
    assert "matrix to 50% and 20%." in figure.get_label()
    for wrong in ({}, {"matrix": [np.array([0.2, 0.3])]}):
        with pytest.raises(ValueError, match="shape"):
            lessons_figure(wrong)
