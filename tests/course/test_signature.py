"""The signature figure: both runs are drawn, told apart without colour, NaN is seen, and the alarm has its line."""

import math

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from policy_gradients.course.signature import Signature

HEALTHY = [{"step": n, "loss": 0.1 * n, "train_reward": 0.5} for n in (1, 2, 3)]


def rises(rows):
    """An alarm like any other."""
    return "it rises" if rows[-1]["loss"] > 1 else None


def filled(*losses, healthy=HEALTHY, **options):
    with Signature("loss", "train_reward", total=3, healthy=healthy, **options) as live:
        for n, loss in enumerate(losses, start=1):
            live.log(step=n, loss=loss, train_reward=0.25)
    FigureCanvasAgg(live.figure).draw()
    return live


def test_both_runs_are_drawn_and_differ_in_more_than_colour():
    live = filled(0.1, 0.9, 1.5, broken="mystery")
    lines = {line.get_label(): line for line in live.figure.axes[0].get_lines()}
    assert lines["healthy"].get_ydata().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert lines["mystery"].get_ydata().tolist() == [0.1, 0.9, 1.5]
    for look in ("get_color", "get_linestyle", "get_marker"):
        assert getattr(lines["healthy"], look)() != getattr(lines["mystery"], look)()
    low, high = live.figure.axes[0].get_ylim()
    assert low < 0 and high > 1.5
    assert live.figure.axes[1].get_ylim()[1] > 1  # a share of a half or more has the whole of its axis


def test_the_first_ring_is_marked_once_in_each_panel():
    live = filled(0.5, 1.5, 2.0, alarm=rises)
    assert live.rang == 2
    for axes in live.figure.axes:
        [mark] = [line for line in axes.get_lines() if list(line.get_xdata()) == [2, 2]]
        assert mark.get_label() not in ("healthy", "broken")
    assert live.figure.legends[0].get_texts()[-1].get_text() == "first ring of rises"
    assert filled(0.5, 0.5, alarm=rises).rang is None


def test_what_is_not_finite_is_written_at_the_foot():
    live = filled(math.nan, 0.2, math.inf)
    first, second = live.figure.axes
    assert [(text.get_position()[0], text.get_text()) for text in first.texts] == [(1, "NaN"), (3, "NaN")]
    assert second.texts == [] or not list(second.texts)
    assert first.get_ylim()[0] < 0


def test_a_small_share_fills_its_panel_and_none_at_all_does_not():
    small = [{**row, "train_reward": 0.1} for row in HEALTHY]
    live = filled(0.1, 0.2, healthy=small)
    assert 0.25 < live.figure.axes[1].get_ylim()[1] < 0.5
    nothing = Signature("train_reward", total=1, healthy=[{"step": 1, "train_reward": 0.0}])
    nothing.draw()
    assert nothing.figure.axes[0].get_ylim()[1] > 1


def test_units_stand_beside_the_axis():
    axes = Signature("kl", total=1).figure.axes[0]
    assert (axes.get_title(loc="left"), axes.get_ylabel()) == ("KL to the reference", "nats per completion")


def test_the_healthy_run_may_come_step_by_step():
    live = Signature("loss", total=3, broken=None)
    for row in HEALTHY:
        live.log_healthy(row)
    live.draw()
    assert len(live.figure.axes[0].get_lines()[1].get_xydata()) == 3
    assert live.figure.get_label() == "A healthy run over 3 steps, first value to last. loss: healthy 0.1 → 0.3."
    assert [text.get_text() for text in live.figure.legends[0].get_texts()] == ["healthy"]


def test_alt_text_tells_both_ways_and_the_alarm():
    label = filled(math.nan, 2.0, alarm=rises).figure.get_label()
    assert "loss: healthy 0.1 → 0.3, broken NaN → 2" in label
    assert "train reward: healthy 0.5 → 0.5, broken 0.25 → 0.25" in label
    assert label.endswith("The alarm rises first rings at step 2.")
    assert filled(0.1, alarm=rises).figure.get_label().endswith("The alarm rises does not ring.")
    assert "alarm" not in filled(0.1).figure.get_label()
