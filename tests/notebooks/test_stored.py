"""The notebooks as they are stored: what a reader on GitHub, or a learner who opens one on Colab, is given."""

import re
import sys
from pathlib import Path

import nbformat
import pytest

from policy_gradients.course.predictions import ASKED

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


@each
def test_predictions_are_stored_folded_and_have_names_of_their_own(path: Path):
    asked = [cell for cell in cells(path, "code") if re.search(r"^ask\(", cell.source, re.MULTILINE)]
    assert len(asked) >= 3, "few predictions"
    for cell in asked:
        [shown] = [o.data["text/html"] for o in cell.outputs if "text/html" in o.get("data", {})]
        question, _, answer = shown.partition("<details>")
        assert "Predict:" in question and "<summary>" in answer and "</details>" in answer
        assert all("The answer is" not in str(o.get("data", o.get("text"))) for o in cell.outputs)
    assert not any("> **Predict**" in cell.source for cell in cells(path, "markdown")), "a box that commits nobody"


def test_each_prediction_is_asked_once():
    sources = [cell.source for path in NOTEBOOKS for cell in cells(path, "code")]
    names = [name for source in sources for name in re.findall(r"^ask\(\"([^\"]+)\"", source, re.MULTILINE)]
    assert sorted(names) == sorted(ASKED) and len(names) > 60


def test_the_lab_s_mystery_is_not_told_on_opening():
    """What is stored names the bug in the folded answer alone."""
    lab = next(path for path in NOTEBOOKS if path.stem == "break_it")
    section = nbformat.read(lab, as_version=4).cells
    start = next(i for i, cell in enumerate(section) if "A mystery run" in cell.source)
    end = next(i for i, cell in enumerate(section) if cell.source.startswith("## 13"))
    for cell in section[start:end]:
        for output in cell.get("outputs", []):
            data = output.get("data", {"text/plain": output.get("text", "")})
            for mime, shown in data.items():
                if not mime.startswith("image/"):
                    assert (
                        "no mask under left padding" not in str(shown).partition("<details>")[0].partition("One of:")[0]
                    )
