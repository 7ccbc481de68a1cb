"""The way in and on: one owner, one map, minutes that are those of the exercises, and `make learn`."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import way  # noqa: E402

ROOMS = way.rooms()
TITLE = "# @title Setup"
each = pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)


def tracked() -> list[str]:
    """What git would commit, or, without git, everything outside the environment."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git here")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_the_map_of_the_readme_is_what_the_notebooks_say():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert way.with_map(text, ROOMS, way.owner()) == text, "run python tools/way.py"
    assert len(text.splitlines()) < 120
    assert [room.name[:2] for room in ROOMS[:8]] == ["01", "02", "03", "04", "05", "br", "06", "07"]


def test_the_whole_course_s_minutes_are_said_once():
    said = way.total(ROOMS).partition(",")[0]
    assert sum((ROOT / name).read_text(encoding="utf-8").count(said) for name in tracked() if name.endswith("md")) == 1


@each
def test_minutes_and_exercises_at_the_top_are_those_that_there_are(room):
    count = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")[room.exercises]
    told = f"| to read and think | {room.reading} min, and {room.practice} min for the {count} exercises |"
    assert told in way.head(way.SCRIPTS / f"{room.name}.py")


def markdown(room) -> list[str]:
    nb = jupytext.read(way.SCRIPTS / f"{room.name}.py", fmt="py:percent")
    return [cell.source for cell in nb.cells if cell.cell_type == "markdown"]


@each
def test_it_ends_with_where_to_go(room):
    """Recap, what was not shown, and the next notebooks: their questions, and their minutes as they stand there."""
    last = markdown(room)[-1]
    assert last.startswith("## Onward") and "Not shown:" in last
    recap = last.split("\n\n")[1]
    assert len(re.findall(r"[.?!](?:\s|$)", recap)) == 3, "three sentences of recap"
    said, by_name = " ".join(last.split()), {room.name: room for room in ROOMS}
    links = re.findall(r"\[([^\]]+)\]\((\w+)\.ipynb\), (\d+) min to read and (\d+) min of exercises", said)
    assert links and len(links) == said.count(".ipynb)")
    for text, target, reading, practice in links:
        there = by_name[target]
        assert text.endswith(there.question) and target != room.name
        assert (int(reading), int(practice)) == (there.reading, there.practice), target


def test_the_links_onward_lead_through_the_whole_course():
    todo, seen = ["01_reinforce_on_a_bandit"], set()
    by_name = {room.name: room for room in ROOMS}
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += re.findall(r"\]\((\w+)\.ipynb\)", markdown(by_name[name])[-1])
    assert seen == set(by_name)


@each
def test_who_corrects_the_source_page_names_it_once(room):
    texts = markdown(room)
    corrects = any("source page differs" in text or "the page's recipe" in text for text in texts)
    assert sum(text.count("(../docs/bibliography.md#the-source-page)") for text in texts) == corrects


@each
def test_the_five_steps_stand_at_the_top_with_the_new_one_lit(room):
    nb = jupytext.read(way.SCRIPTS / f"{room.name}.py", fmt="py:percent")
    drawn = [cell.source for cell in nb.cells if "five_steps(" in cell.source]
    assert len(drawn) == 1 and nb.cells.index(next(c for c in nb.cells if c.source == drawn[0])) <= 2
    assert f'five_steps("{room.name}")' in drawn[0] or room.name == "break_it"


def test_the_owner_stands_in_one_place():
    """By hand, in pyproject.toml; what is generated (the notebooks, the map) has it from there."""
    name, generated = way.owner(), re.compile(r"^notebooks/[^/]+\.ipynb$|^README\.md$")
    named = re.compile(
        rf"git(?:hub\.com|hub)/({way.PLACEHOLDER}|{re.escape(name) or way.PLACEHOLDER})/policy-gradients"
    )
    for file in tracked():
        if not file.endswith((".py", ".md", ".ipynb", ".toml", ".yml", ".txt", "Makefile")):
            continue
        found = set(named.findall((ROOT / file).read_text(encoding="utf-8")))
        if generated.match(file):
            assert found <= {name} - {""}, f"{file}: run python tools/nb.py owner {name or 'NAME'}"
        elif file.startswith("notebooks/scripts/"):
            assert found == {way.PLACEHOLDER}, file
        else:
            assert not found, file


@pytest.fixture
def copy(tmp_path):
    """What `nb.py owner` works on, of two notebooks."""
    for name in ("tools/nb.py", "tools/way.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "notebooks" / "scripts").mkdir(parents=True)
    for name in ("01_reinforce_on_a_bandit", "06_grpo_on_a_t4"):  # one with a GPU's metadata
        shutil.copy(way.SCRIPTS / f"{name}.py", tmp_path / "notebooks" / "scripts")
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", tmp_path / "notebooks")
    for part in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / part, tmp_path)
    return tmp_path


def nb(folder: Path, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(folder / "tools" / "nb.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


def test_one_command_sets_the_owner_everywhere_and_takes_it_away(copy):
    files = [copy / "README.md", copy / "pyproject.toml", *sorted(copy.glob("notebooks/*.ipynb"))]
    way.set_owner("", copy)
    assert nb(copy, "owner", "").returncode == 0  # the map of these two
    before = [file.read_bytes() for file in files]
    stale = nb(copy, "check").stdout  # nothing that the owner does may make it longer
    assert nb(copy, "owner", "octo-cat").returncode == 0
    assert nb(copy, "check").stdout == stale
    for file in files[2:]:
        cells = nbformat.read(file, as_version=4).cells
        setup = next(cell for cell in cells if cell.source.startswith(TITLE))
        assert f"]({way.COLAB}/github/octo-cat/policy-gradients/blob/main/notebooks/{file.name})" in cells[0].source
        assert '"install -q git+https://github.com/octo-cat/policy-gradients"' in setup.source
        assert setup.execution_count, "setting the owner loses no output"
    assert (copy / "README.md").read_text(encoding="utf-8").count("github/octo-cat/") == len(files) - 2
    assert nb(copy, "owner", "").returncode == 0
    assert [file.read_bytes() for file in files] == before


@pytest.mark.parametrize("name", ["OWNER", "two words", "-x", "x-", "a--b", "a" * 40, "a/b"])
def test_what_is_no_account_is_refused_and_nothing_is_written(copy, name):
    before = (copy / "pyproject.toml").read_bytes()
    with pytest.raises(ValueError, match=r"is no name of a GitHub account|is the placeholder"):
        way.set_owner(name, copy)
    assert (copy / "pyproject.toml").read_bytes() == before


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("nb", ["", "05_grpo_from_scratch", "notebooks/05_grpo_from_scratch.ipynb"])
def test_make_learn_opens_a_notebook_that_there_is(nb):
    said = subprocess.run(
        ["make", "--no-print-directory", "-n", "learn", f"NB={nb}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    opened = said.stdout.splitlines()[-1].split()
    assert opened[0].endswith("/jupyter") and opened[1] == "lab"
    notebook = opened[2].partition("=/lab/tree/")[2]
    assert (ROOT / notebook).is_file() and ("05" if nb else "01") in notebook
