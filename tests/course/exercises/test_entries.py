"""Every exercise, proved: blank, reference, an independent answer, and each planted mistake."""

import ast
import inspect
import textwrap
from collections import Counter
from pathlib import Path

import jupytext
import pytest

from policy_gradients.course.exercises.declare import Exercise, all_exercises, exercises_of
from policy_gradients.course.exercises.grade import grade, respond

EXERCISES = all_exercises()
MISTAKES = [(entry, message) for entry in EXERCISES for message in entry.mistakes]
SCRIPTS = sorted((Path(__file__).parents[3] / "notebooks" / "scripts").glob("*.py"))
IMPORT = "from policy_gradients.course.exercises import"

each = pytest.mark.parametrize("entry", EXERCISES, ids=lambda entry: entry.name)


def run_cell(source: str, name: str):
    """What the name means after a cell of this source, with the imports that a notebook has."""
    space: dict = {}
    exec(f"import math\nimport torch\n{source}", space)
    return space[name]


@each
def test_the_blank_cell_is_not_attempted(entry: Exercise):
    verdict = grade(entry, run_cell(entry.blank, entry.name))
    assert verdict.outcome == "not attempted", verdict


@each
def test_the_reference_is_correct(entry: Exercise):
    verdict = grade(entry, entry.reference)
    assert verdict.outcome == "correct", verdict


@each
def test_the_independent_answer_is_correct_as_a_cell_of_its_own(entry: Exercise):
    verdict = grade(entry, run_cell(entry.solved, entry.name))
    assert verdict.outcome == "correct", verdict


@pytest.mark.parametrize(("entry", "message"), MISTAKES, ids=lambda part: getattr(part, "name", part)[:30])
def test_each_planted_mistake_is_told_its_own_message(entry: Exercise, message: str):
    verdict = grade(entry, entry.mistakes[message])
    assert verdict.outcome in ("incorrect", "error in your code")
    assert verdict.mistake == message and message in verdict.message.split("\n"), verdict
    assert verdict.shown[0][0] == "smallest input at which it fails" or verdict.shown[0][0] == "raised here"


@each
def test_the_reference_handed_back_takes_the_learners_arguments(entry: Exercise):
    """By name as well as by position, under the same name, and not accepted as an answer."""
    case = entry.inputs()[-1]
    handed = entry.handed_back()
    assert handed.__name__ == entry.name
    by_name = respond(lambda *arguments: handed(**dict(zip(entry.parameters, arguments, strict=True))), case)
    assert repr(by_name) == repr(respond(entry.reference, case))
    assert grade(entry, handed).outcome == "not attempted"


@each
def test_the_answer_is_documented_and_does_not_call_the_reference(entry: Exercise):
    assert inspect.getdoc(entry.answer), "the docstring is all that the blank cell says of shapes"
    called = {node.id for node in ast.walk(ast.parse(entry.solved)) if isinstance(node, ast.Name)}
    assert not called & {getattr(function, "__name__", "") for function in entry.shows}
    assert all(len(line) <= 120 for line in entry.blank.splitlines())


@each
def test_two_sentences_say_why(entry: Exercise):
    first, _, second = entry.why.partition("\n")
    assert all(len(part) > 30 and part.endswith((".", "]")) for part in (first, second)), entry.why


@each
def test_solution_has_source_of_this_package_to_show(entry: Exercise):
    for function in entry.shows:
        function = getattr(function, "func", function)
        assert function.__module__.startswith("policy_gradients.")
        assert ".exercises." not in function.__module__, "an adapter is no reference: name the function in `shows`"
        assert textwrap.dedent(inspect.getsource(function)).startswith(("def ", "@"))


def test_there_are_forty_exercises_and_more_than_four_planted_mistakes_for_each():
    assert len(EXERCISES) >= 40 and len(MISTAKES) > 4 * len(EXERCISES)


def test_names_are_unique():
    twice = [name for name, count in Counter(entry.name for entry in EXERCISES).items() if count > 1]
    assert not twice


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_notebook_holds_its_exercises_as_declared(script: Path):
    cells = jupytext.reads(script.read_text(encoding="utf-8"), fmt="py:percent").cells
    if not any(IMPORT in cell.source for cell in cells):
        pytest.skip("uses no exercises")
    entries = exercises_of(script.stem)
    sources = [cell.source.strip() for cell in cells]
    for entry in entries:
        assert any(entry.heading in source for source in sources), f"no cell begins with {entry.heading!r}"
        assert entry.blank in sources, f"the blank cell of {entry.name} should be\n{entry.blank}"
        assert any(source.startswith(f"{entry.name} = check({entry.name})") for source in sources), entry.name
    checked = {line.partition(" =")[0] for source in sources for line in source.splitlines() if " = check(" in line}
    assert checked == {entry.name for entry in entries}
