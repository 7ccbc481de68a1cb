"""The figures of notebook 09's second half: what is drawn is what was computed."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from policy_gradients.course.proxy_figures import overoptimisation_figure


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
