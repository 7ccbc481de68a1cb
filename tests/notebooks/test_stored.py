"""The notebooks as they are stored: what a reader on GitHub, or a learner who opens one on Colab, is given."""

import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import way  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

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
def test_the_badge_opens_this_notebook_or_there_is_none(path: Path):
    top, owner = cells(path, "markdown")[0].source, way.owner()
    room = next(room for room in way.rooms() if room.name == path.stem)
    assert (way.badge(room, owner) if owner else way.NO_BADGE) in top
    assert "OWNER" not in top, "a link to a 404"


@each
def test_the_set_up_cell_is_short_and_installs_the_course_alone(path: Path):
    source, owner = cells(path, "code")[0].source, way.owner()
    lines = [line for line in source.splitlines() if line.strip()]
    assert len(lines) <= 5 and lines[0].startswith("# @title")
    assert 'if find_spec("policy_gradients") is None:' in lines
    assert (f'"install -q git+https://github.com/{owner}/policy-gradients"' if owner else way.NO_INSTALL) in source
    assert source.count("run_line_magic") == bool(owner)
