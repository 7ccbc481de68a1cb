"""Exercises that name the mistake: `check` an answer, ask for a `hint`, read the `solution`, see your `progress`.

    leave_one_out = check(leave_one_out)

shows one of four outcomes (correct, incorrect, not attempted, error in your code), and gives back a function that
works: yours if it is correct, else the reference, so that the cells below can go on.
"""

import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import policy_gradients.course.exercises.kept as kept
from policy_gradients.course.display import Table
from policy_gradients.course.exercises.declare import Exercise, all_exercises, exercises_of, find
from policy_gradients.course.exercises.grade import grade
from policy_gradients.course.exercises.page import card

__all__ = ["check", "hint", "progress", "solution"]

_MARKS = {"correct": "✓", "incorrect": "✗", "not attempted": "…", "error in your code": "!"}
_hints_given: dict[str, int] = {}  # of this session


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Hold your function against the reference, and say what is wrong with it, if anything is.

    The function's name is the exercise's. Use it as `f = check(f)`, or as a decorator.

    Returns:
        `function` if it is correct, else the reference.

    Raises:
        TypeError: not a function.
        ValueError: no exercise has that name.
    """
    if not callable(function):
        raise TypeError(f"check takes the function itself, as in f = check(f); this is {function!r}")
    entry = find(getattr(function, "__name__", repr(function)))
    verdict = grade(entry, function)
    correct = verdict.outcome == "correct"
    if verdict.outcome != "not attempted":
        kept.record(entry.name, solved=correct, checks=1)
    text = verdict.message
    if not correct:
        text += f"\nThe notebook goes on with the reference. Stuck? `hint({entry.name})`"
    card(
        _MARKS[verdict.outcome],
        f"{entry.title}: {verdict.outcome}",
        text,
        verdict.shown,
        foot=f"{entry.weight}\n{entry.notebook}: {kept.bar(exercises_of(entry.notebook))}",
        facts={"exercise": entry.name, "outcome": verdict.outcome},
    )
    return function if correct else entry.handed_back()


def hint(exercise: str | Callable[..., Any], number: int | None = None) -> None:
    """Show the next hint, or the one of that number (from 1). Each says more than the one before.

    Raises:
        ValueError: no such exercise, or no hint of that number.
    """
    entry = _entry(exercise)
    last = len(entry.hints)
    if number is None:
        number = min(_hints_given.get(entry.name, 0) + 1, last)
    if not 1 <= number <= last:
        raise ValueError(f"{entry.name} has hints 1 to {last}, not {number}")
    _hints_given[entry.name] = number
    kept.record(entry.name, hints=number)
    after = (
        "run this again for the next one" if number < last else f"the last one; then there is solution({entry.name})"
    )
    card("?", f"{entry.title}: hint {number} of {last}", entry.hints[number - 1], foot=after)


def solution(exercise: str | Callable[..., Any]) -> None:
    """Show why the answer is what it is, an answer as short as yours may be, and, folded, the library's source.

    Raises:
        ValueError: no such exercise.
    """
    entry = _entry(exercise)
    kept.record(entry.name, solution=True)
    library = [(_called(function), _source(function)) for function in entry.shows]
    card("?", f"{entry.title}: solution", entry.why, [("a short answer", entry.solved)], folded=library)


def progress() -> Table:
    """What you have solved, notebook by notebook; it is kept in a file on this machine and nowhere else."""
    notebooks: dict[str, list[Exercise]] = {}
    for entry in all_exercises():
        notebooks.setdefault(entry.notebook, []).append(entry)
    rows = [[name, kept.bar(entries)] for name, entries in notebooks.items()]
    return Table(["notebook", "exercises"], [*rows, ["all", kept.bar(all_exercises())]])


def _entry(exercise: str | Callable[..., Any]) -> Exercise:
    return find(exercise if isinstance(exercise, str) else getattr(exercise, "__name__", repr(exercise)))


def _called(function: Callable[..., Any]) -> str:
    """Where the reference lives, and how it is called if not plainly."""
    inner = function.func if isinstance(function, functools.partial) else function
    name = f"the reference, `{inner.__module__}.{inner.__qualname__}`"
    if isinstance(function, functools.partial):
        given = [*map(repr, function.args), *(f"{key}={value!r}" for key, value in function.keywords.items())]
        name += f" with {', '.join(given)}"
    return name


def _source(function: Callable[..., Any]) -> str:
    inner = function.func if isinstance(function, functools.partial) else function
    return textwrap.dedent(inspect.getsource(inner)).rstrip()
