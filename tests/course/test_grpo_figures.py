"""The table says what moments say, and the bars add up to what they were given."""

import math

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from policy_gradients.course.grpo_figures import MIB, estimator_table, step_costs
from policy_gradients.oracle.outcomes import Moments

EXACT = torch.tensor([2.0, 0.0], dtype=torch.float64)
MOMENTS = {
    "half": Moments(torch.tensor([1.0, 0.0], dtype=torch.float64), torch.eye(2, dtype=torch.float64)),
    "bent": Moments(torch.tensor([2.0, 2.0], dtype=torch.float64), 3 * torch.eye(2, dtype=torch.float64)),
}


def test_length_angle_and_noise():
    half, bent = estimator_table(MOMENTS, EXACT).rows
    assert half == ["half", 0.5, 0.0, 2.0]
    assert bent == ["bent", pytest.approx(math.sqrt(2)), pytest.approx(45.0), pytest.approx(0.75)]


def test_each_estimator_may_have_a_target_of_its_own():
    targets = {"half": EXACT, "bent": torch.tensor([1.0, 1.0], dtype=torch.float64)}
    _, bent = estimator_table(MOMENTS, targets).rows
    assert bent == ["bent", pytest.approx(2.0), 0.0, pytest.approx(0.75)]


def test_bars_and_their_sums():
    seconds = {"a": {"rollout": 1.0, "backward": 0.5}, "b": {"rollout": 1.0, "log_probs": 2.0}}
    held = {"a": {"policy": MIB, "peak": 9 * MIB}, "b": {"policy": MIB, "critic": 2 * MIB}}
    figure = step_costs(seconds, held)
    FigureCanvasAgg(figure).draw()
    left, right = figure.axes
    assert sum(bar.get_width() for bar in left.patches) == pytest.approx(4.5)
    assert sum(bar.get_width() for bar in right.patches) == pytest.approx(4.0)  # a peak is nobody's
    assert [text.get_text().strip() for text in left.texts] == ["1.50 s", "3.00 s"]
    assert "a: 1.50 s and 1 MiB; b: 3.00 s and 3 MiB" in figure.get_label()


def test_what_does_not_match_is_an_error():
    with pytest.raises(ValueError, match="same methods"):
        step_costs({"a": {}}, {"b": {}})
    with pytest.raises(ValueError, match="same methods"):
        step_costs({}, {})
