"""The figures of notebook 09's second half: what is drawn is what was computed."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from policy_gradients.course.proxy_figures import entropy_figure, learning_figure, overoptimisation_figure


def test_gold_on_the_left_proxy_on_the_right_and_a_star_at_the_top():
    root = np.array([0.0, 1.0, 2.0])
    figure = overoptimisation_figure({"price": (root, np.array([0.5, 2.0, -1.0]), np.array([0.0, 1.5, 4.0]))})
    FigureCanvasAgg(figure).draw()
    left, right = figure.axes
    assert left.lines[0].get_ydata() == pytest.approx([0.5, 2.0, -1.0])
    assert right.lines[0].get_ydata() == pytest.approx([0.0, 1.5, 4.0])
    assert list(left.lines[1].get_xdata()) == [1.0] and list(left.lines[1].get_ydata()) == [2.0]
    assert left.lines[2].get_ydata()[0] == 0.5  # where it began
    assert "price from 0.50 over 2.00 at √KL 1.00 to -1.00" in figure.get_label()


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="at least one way"):
        overoptimisation_figure({})


def test_runs_thin_and_their_median_thick():
    path = np.array([[0.1, 0.1, 0.1], [0.3, 0.5, 0.9], [0.7, 0.9, 0.95]])
    figure = learning_figure({"teacher": path, "bit": path / 2}, 0.8)
    FigureCanvasAgg(figure).draw()
    [axes] = figure.axes
    assert [line.get_linewidth() for line in axes.lines[:4]] == [0.6, 0.6, 0.6, 2.4]
    assert axes.lines[3].get_ydata() == pytest.approx([0.1, 0.5, 0.9])
    assert "reaches 80%: teacher after 2 steps; bit not." in figure.get_label()
    with pytest.raises(ValueError, match="at least one method"):
        learning_figure({}, 0.8)


def test_each_prompt_s_way_from_hollow_to_filled():
    ways = {"rules": [([0.1, 0.5], [2.0, 1.0]), ([0.6, 0.9], [0.5, 1.5])], "doubt": [([0.2, 0.3], [3.0, 2.0])]}
    figure = entropy_figure(ways)
    FigureCanvasAgg(figure).draw()
    first, second = figure.axes
    assert [list(line.get_ydata()) for line in first.lines] == [[2.0, 1.0], [2.0], [1.0], [0.5, 1.5], [0.5], [1.5]]
    assert first.lines[1].get_markerfacecolor() == "white" != first.lines[2].get_markerfacecolor()
    assert second.get_title(loc="left") == "doubt" and len(second.lines) == 3
    assert "rules: 2.0 to 1.0; 0.5 to 1.5. doubt: 3.0 to 2.0." in figure.get_label()
    with pytest.raises(ValueError, match="at least one family"):
        entropy_figure({})
