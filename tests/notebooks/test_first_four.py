"""What notebooks 01 to 04 promise of themselves: cell sizes, exercises that are used."""

import re
from pathlib import Path

import jupytext
import pytest

from policy_gradients.course.exercises.declare import exercises_of

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = ("01_reinforce_on_a_bandit", "02_baselines", "03_credit_and_long_horizons", "04_natural_gradient")

each = pytest.mark.parametrize("name", NAMES)


def cells(name: str, kind: str) -> list[str]:
    nb = jupytext.read(NOTEBOOKS / "scripts" / f"{name}.py", fmt="py:percent")
    return [cell.source for cell in nb.cells if cell.cell_type == kind]


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
