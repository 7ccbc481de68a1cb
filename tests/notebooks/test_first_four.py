"""What notebooks 01 to 04 promise of themselves: minutes, cell sizes, exercises that are used, where to go next."""

import re
from pathlib import Path

import jupytext
import pytest

from policy_gradients.course.exercises.declare import exercises_of

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = ("01_reinforce_on_a_bandit", "02_baselines", "03_credit_and_long_horizons", "04_natural_gradient")
COUNT = {5: "five", 6: "six", 7: "seven"}

each = pytest.mark.parametrize("name", NAMES)


def cells(name: str, kind: str) -> list[str]:
    nb = jupytext.read(NOTEBOOKS / "scripts" / f"{name}.py", fmt="py:percent")
    return [cell.source for cell in nb.cells if cell.cell_type == kind]


def minutes(name: str) -> tuple[int, int]:
    """To read, and of the exercises, as the first cell says."""
    said = r"to read and think \| (\d+) min, and (\d+) min for the \w+ exercises"
    found = re.search(said, cells(name, "markdown")[0])
    assert found, "no minutes at the top"
    return int(found[1]), int(found[2])


@each
def test_the_minutes_at_the_top_are_those_of_the_exercises(name: str):
    exercises = exercises_of(name)
    assert minutes(name)[1] == sum(entry.minutes for entry in exercises)
    assert f"min for the {COUNT[len(exercises)]} exercises" in cells(name, "markdown")[0]


@each
def test_what_the_learner_writes_is_used_afterwards(name: str):
    code = cells(name, "code")
    for entry in exercises_of(name):
        after = code[next(i for i, source in enumerate(code) if source.startswith(f"{entry.name} = check")) + 1 :]
        used = re.compile(rf"\b{entry.name}\b")
        assert any(used.search(source) for source in after), f"{entry.name} is written for nothing"


@each
def test_cells_are_of_the_size_that_contributing_asks_for(name: str):
    lengths = sorted(len(source.splitlines()) for source in cells(name, "code"))
    assert lengths[-1] <= 30 and lengths[len(lengths) // 2] <= 6
    imports = [sum("import" in line for line in source.splitlines()) for source in cells(name, "code")]
    assert max(imports) <= 12, "imports stand where they are first used"


@each
def test_it_ends_with_where_to_go_and_names_the_source_page_once(name: str):
    *before, last = cells(name, "markdown")
    assert last.startswith("## Onward") and "Not shown:" in last
    [target] = re.findall(r"\]\((\w+)\.ipynb\)", last)
    assert int(target[:2]) == int(name[:2]) + 1 and (NOTEBOOKS / f"{target}.ipynb").exists()
    if target in NAMES:
        read, practise = minutes(target)
        assert f"{read} min to read and {practise} min of exercises" in " ".join(last.split())
    assert sum(text.count("(../docs/bibliography.md#the-source-page)") for text in before) == 1
