"""The notebooks as they are stored: what a reader on GitHub, or a learner who opens one on Colab, is given."""

from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
COLAB = "https://colab.research.google.com/github/OWNER/policy-gradients/blob/main/notebooks"

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


@each
def test_every_picture_has_alt_text(path: Path):
    pictures = [o for cell in cells(path, "code") for o in cell.outputs if "image/png" in o.get("data", {})]
    assert pictures
    for picture in pictures:
        assert len(picture.metadata["image/png"]["alt"]) > 20 and picture.data["text/plain"]
        assert "text/html" not in picture.data, "the picture twice"
    for cell in cells(path, "markdown"):
        assert "![](" not in cell.source


@each
def test_the_badge_opens_this_notebook(path: Path):
    assert f"]({COLAB}/{path.name})" in cells(path, "markdown")[0].source


@each
def test_the_set_up_cell_is_short_and_installs_the_course_alone(path: Path):
    source = cells(path, "code")[0].source
    lines = [line for line in source.splitlines() if line.strip()]
    assert len(lines) <= 5 and lines[0].startswith("# @title")
    assert 'if find_spec("policy_gradients") is None:' in lines
    assert source.count("install") == 2, "in the title, and the one command"
    assert '"install -q git+https://github.com/OWNER/policy-gradients"' in source
