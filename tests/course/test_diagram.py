from pathlib import Path

import pytest

from policy_gradients.course.diagram import NEW, STEPS, five_steps

SCRIPTS = Path(__file__).parents[2] / "notebooks" / "scripts"


@pytest.mark.parametrize("notebook", [None, *NEW])
def test_one_step_is_lit_and_said(notebook):
    figure = five_steps(notebook)
    [axes] = figure.axes
    boxes = [patch for patch in axes.patches if hasattr(patch, "get_boxstyle") and patch.get_width() > 1]
    thick = [i for i, box in enumerate(boxes, start=1) if box.get_linewidth() > 2]
    assert len(boxes) == len(STEPS) and thick == ([NEW[notebook][0]] if notebook else [])
    assert all(step in figure.get_label() for step in STEPS)
    if notebook:
        assert NEW[notebook][1] in figure.get_label() and (SCRIPTS / f"{notebook}.py").exists()


def test_everything_that_is_written_lies_inside():
    figure = five_steps("06_grpo_on_a_t4")
    figure.draw_without_rendering()
    edge = figure.bbox
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        assert edge.x0 <= box.x0 and box.x1 <= edge.x1 and edge.y0 <= box.y0 and box.y1 <= edge.y1, text


def test_an_unknown_notebook_is_refused():
    with pytest.raises(ValueError, match="must be one of 01_reinforce"):
        five_steps("99_none")
