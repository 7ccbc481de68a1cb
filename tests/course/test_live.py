"""The live board: one picture that is replaced, cheap to draw, complete at the end, and silent without a notebook."""

import math

import numpy as np
import pytest

from policy_gradients.course import live
from policy_gradients.course.live import LivePlot


class Page:
    """Stands for a notebook's front end, and for its clock."""

    def __init__(self):
        self.pictures, self.updates, self.now, self.cost = [], [], 0.0, 0.0

    def display(self, data, raw, metadata, display_id):
        assert raw and display_id
        self.pictures.append((data, metadata))
        self.now += self.cost
        return self

    def update(self, data, raw, metadata):
        self.updates.append((data, metadata))
        self.now += self.cost


@pytest.fixture
def page(monkeypatch):
    page = Page()
    monkeypatch.setattr(live, "in_notebook", lambda: True)
    monkeypatch.setattr(live, "display", page.display)
    monkeypatch.setattr(live, "perf_counter", lambda: page.now)
    monkeypatch.setattr(live, "png_bundle", lambda figure, dpi: ({"dpi": dpi}, {"alt": figure.get_label()}))
    return page


def curve(plot: LivePlot, key: str) -> tuple[np.ndarray, np.ndarray]:
    [line] = [line for _, name, line in plot._curves if name == key]
    return line.get_data()


def test_one_picture_is_replaced_in_place_and_the_last_is_sharp(page):
    with LivePlot("kl", every=0) as plot:
        for step in range(5):
            plot.log(step, kl=float(step))
            page.now += 1
    assert len(page.pictures) == 1
    assert [data["dpi"] for data, _ in page.updates] == [80, 80, 80, 80, 80, 160]
    assert "Curves of 5 training steps" in page.updates[-1][1]["alt"] and "0 → 4" in page.updates[-1][1]["alt"]


@pytest.mark.parametrize("cost", [0.01, 0.3, 4.0])
def test_drawing_takes_less_than_a_tenth_of_the_time(page, cost):
    page.cost = cost
    plot = LivePlot("kl", every=0.5)
    for step in range(2000):
        plot.log(step, kl=1.0)
        page.now += 0.1
    drawn = len(page.pictures) + len(page.updates)
    assert drawn > 1 and (drawn - 1) * cost < 0.1 * page.now
    assert drawn <= page.now / 0.5 + 1


def test_an_interruption_leaves_the_final_picture_and_is_not_swallowed(page):
    with pytest.raises(KeyboardInterrupt), LivePlot("kl") as plot:
        plot.log(0, kl=1.0)
        plot.log(1, kl=2.0)
        raise KeyboardInterrupt
    assert list(curve(plot, "kl")[1]) == [1.0, 2.0]
    assert page.updates[-1][0]["dpi"] == 160


def test_without_a_notebook_nothing_is_printed_and_the_figure_is_there(capsys):
    with LivePlot("strict_rate, train_reward | tolerance", "kl", total=9) as plot:
        plot.log(step=1, strict_rate=0.5, train_reward=0.6, tolerance=16, kl=0.2, other="kept")
    assert capsys.readouterr().out == ""
    assert plot.rows == [
        {"step": 1, "strict_rate": 0.5, "train_reward": 0.6, "tolerance": 16, "kl": 0.2, "other": "kept"}
    ]
    label = plot.figure.get_label()
    assert "strict pass rate 50 % → 50 %" in label and "tolerance (characters) 16 → 16" in label


def test_values_after_the_bar_get_their_own_axis_and_shares_go_from_0_to_100_percent():
    plot = LivePlot("strict_rate, train_reward | tolerance")
    axes = {key: axes for axes, key, _ in plot._curves}
    assert axes["strict_rate"] is axes["train_reward"] is not axes["tolerance"]
    assert axes["strict_rate"].get_ylim() == (0, 1.02)
    styles = [(line.get_color(), line.get_linestyle()) for _, _, line in plot._curves]
    assert len(set(styles)) == 3


@pytest.mark.filterwarnings("error")
def test_holes_in_the_values_are_gaps(page):
    with LivePlot("kl", "entropy", "never_logged", every=0) as plot:
        for step, value in enumerate([1.0, None, math.nan, math.inf, "high", 3.0]):
            plot.log(step, kl=value, entropy=-1.0)
            page.now += 1
    steps, values = curve(plot, "kl")
    assert list(steps) == list(range(6))
    np.testing.assert_array_equal(values, [1.0, *[np.nan] * 4, 3.0])
    assert np.isnan(curve(plot, "never_logged")[1]).all()
    assert plot._curves[0][0].get_ylim()[0] == 0 and plot._curves[1][0].get_ylim()[0] < -1


def test_axes_follow_curves_that_grow_and_start_at_nothing(page):
    with LivePlot("kl | kl_weight", "strict_rate", every=0) as plot:
        for step in range(30):
            plot.log(step, kl=0.01 * 2**step, kl_weight=0.02, strict_rate=0.1)
            page.now += 1
            for axes, key, line in plot._curves:
                low, high = axes.get_ylim()
                assert low == 0 and high >= line.get_ydata().max(), (step, key)


@pytest.mark.filterwarnings("error")
def test_a_board_that_saw_no_step_draws_all_the_same(page):
    with LivePlot("kl", total=3) as plot:
        pass
    assert "nothing was recorded" in plot.figure.get_label() and len(page.pictures) == 1 == len(page.updates)


def test_the_total_fixes_the_width_and_tells_the_time_to_go(page):
    plot = LivePlot("kl", total=10, every=0)
    page.now = 4.0
    plot.log(1, kl=1.0)
    plot.log(2, kl=1.0)
    plot.draw()
    assert plot.figure._suptitle.get_text() == "2 of 10 steps in 4 s", "too early to say"
    page.now = 6.0
    plot.log(3, kl=1.0)
    plot.draw()
    assert plot.figure._suptitle.get_text() == "3 of 10 steps in 6 s, about 14 s to go"
    assert plot._curves[0][0].get_xlim() == (0.5, 10.5)


@pytest.mark.parametrize("panels", [(), ("",), ("| tolerance",)])
def test_panels_that_name_nothing_are_refused(panels):
    with pytest.raises(ValueError, match=r"names no value|at least one panel"):
        LivePlot(*panels)


def test_a_real_picture_of_a_whole_board_has_a_fixed_size():
    from policy_gradients.course.display import png_bundle

    with LivePlot("strict_rate | tolerance", "kl", "entropy", "grad_norm", "distinct_share") as plot:
        plot.log(1, strict_rate=0.1, tolerance=16, kl=0.0)
        _, first = png_bundle(plot.figure, 40)
        for step in range(2, 30):
            plot.log(step, strict_rate=0.9, tolerance=0, kl=1e4 * step)
        plot.draw()
        _, last = png_bundle(plot.figure, 80)
    assert {key: first["image/png"][key] for key in ("width", "height")} == {
        key: last["image/png"][key] for key in ("width", "height")
    }


def test_negative_values_stand_the_right_way_up_while_another_curve_has_not_begun(page):
    with LivePlot("first, second", every=0) as plot:
        for step in range(3):
            plot.log(step, first=step - 12.0)
    [axes] = {axes for axes, *_ in plot._curves}
    bottom, top = axes.get_ylim()
    assert bottom < top and bottom <= -12
    plot.log(3, second=-20.0)
    assert axes.get_ylim()[0] <= -20 and axes.get_ylim()[0] < axes.get_ylim()[1]


def test_panels_can_share_a_scale_so_that_a_ruined_one_looks_ruined():
    for share, same in ((True, True), (False, False)):
        with LivePlot("fine", "ruined", share_y=share, every=0) as plot:
            for step in range(1, 4):
                plot.log(step, fine=-float(step), ruined=-100.0 * step)
        fine, ruined = (axes.get_ylim() for axes in plot.figure.axes)
        assert (fine == ruined) == same


def test_what_is_counted_is_said_everywhere(page):
    plot = LivePlot("latency", total=10, unit="request")
    page.now = 4.0
    plot.log(1, latency=0.5)
    plot.draw()
    assert plot.figure.axes[0].get_xlabel() == "request"
    assert plot.figure._suptitle.get_text() == "1 of 10 requests in 4 s"
    assert (
        plot.figure.get_label().startswith("Curves of 1 requests. ") and "latency (seconds)" in plot.figure.get_label()
    )
