"""What an exercise is, how one is declared, and how its name finds it."""

import ast
import difflib
import functools
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import torch
from torch import Tensor

import policy_gradients.course.exercises.entries as entries

Function = Callable[..., Any]
Case = tuple[Any, ...]
SEED = 0


@dataclass(frozen=True)
class Exercise:
    """One exercise; `exercise` makes it from a correct answer, see there.

    Attributes:
        name: of the function that the learner writes.
        notebook: stem of the notebook it belongs to, such as "05_grpo_from_scratch".
        answer: a correct answer, written independently of the reference.
        through: what an argument that asks for gradients is the output of, see `exercise`.
    """

    name: str
    notebook: str
    title: str
    difficulty: int
    minutes: int
    importance: int
    why: str
    reference: Function
    cases: Callable[[torch.Generator], Iterable[Any]]
    hints: tuple[str, ...]
    mistakes: Mapping[str, Function]
    answer: Function
    shows: tuple[Function, ...]
    through: Function | None = None

    def __post_init__(self) -> None:
        if self.difficulty not in (1, 2, 3):
            raise ValueError(f"{self.name}: difficulty must be 1, 2 or 3, got {self.difficulty}")
        if self.minutes < 1:
            raise ValueError(f"{self.name}: minutes must be at least 1, got {self.minutes}")
        if self.importance not in (1, 2, 3):
            raise ValueError(f"{self.name}: importance must be 1, 2 or 3, got {self.importance}")
        if len(self.hints) < 2:
            raise ValueError(f"{self.name}: give at least two hints, from a direction to nearly the code")
        if len(self.mistakes) < 3:
            raise ValueError(f"{self.name}: plant at least three mistakes, got {len(self.mistakes)}")

    @property
    def parameters(self) -> list[str]:
        return list(inspect.signature(self.answer).parameters)

    @property
    def stars(self) -> str:
        return "★" * self.difficulty

    @property
    def weight(self) -> str:
        """What it costs and what it is worth, in words."""
        worth = {1: "a detail", 2: "used again later", 3: "the core"}[self.importance]
        dots = "●" * self.importance + "○" * (3 - self.importance)
        return f"difficulty {self.stars}, {self.minutes} min, importance {dots} ({worth})"

    @property
    def heading(self) -> str:
        """How the exercise's Markdown cell begins."""
        return f"**Exercise: {self.title}** ({self.stars}, {self.minutes} min)."

    @property
    def blank(self) -> str:
        """The cell that the learner finds: signature and docstring of the answer, and no answer."""
        node, source = _definition(self.answer)
        first = node.body[0]
        documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        last = first.end_lineno if documented else first.lineno - 1
        head = source.splitlines()[node.lineno - 1 : last]
        return "\n".join([*head, "    return ...  # your code here"])

    @property
    def solved(self) -> str:
        """The same cell with a correct answer in it."""
        node, source = _definition(self.answer)
        return "\n".join(source.splitlines()[node.lineno - 1 : node.end_lineno])

    def inputs(self) -> list[Case]:
        """The inputs of a check, smallest first: the same ones each time."""
        drawn = self.cases(torch.Generator().manual_seed(SEED))
        return sorted((case if isinstance(case, tuple) else (case,) for case in drawn), key=_size)

    def handed_back(self) -> Function:
        """The reference under the learner's signature, marked, so that a second check does not take it for theirs."""
        signature = inspect.signature(self.answer)

        @functools.wraps(self.answer)
        def reference(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return self.reference(*bound.args, **bound.kwargs)

        reference.handed_back = True  # type: ignore[attr-defined]
        return reference


def exercise(
    *,
    title: str,
    difficulty: int,
    minutes: int,
    importance: int = 2,
    why: str = "",
    reference: Function,
    cases: Callable[[torch.Generator], Iterable[Any]],
    hints: Sequence[str],
    mistakes: Mapping[str, Function],
    shows: Sequence[Function] = (),
    through: Function | None = None,
) -> Callable[[Function], Exercise]:
    """Declare an exercise: a decorator on a correct answer, written as a learner would and not copied from `reference`.

    The answer's name, signature and docstring are those of the blank cell; the file it stands in, `entries/n05_x.py`,
    names the notebook, `05_x`.

    Args:
        title: as in the notebook's heading.
        difficulty: 1 (reading the equation), 2 (a trap or two), 3 (worth a pencil).
        minutes: for a learner who has read the section.
        importance: 1 (a detail, good to have seen), 2 (used again in this course), 3 (the core of the notebook).
        why: two sentences, why the answer is what it is; `solution` begins with them.
        reference: the function of this package that is the solution; it takes the answer's arguments by position.
            `functools.partial` fixes those that the learner's function does not have.
        cases: from a seeded `torch.Generator` to inputs, each a tuple of arguments (or the one argument). Begin with
            the smallest input at which each mistake shows; edge cases are inputs like any other. Gradients are
            compared for every tensor that has `requires_grad`.
        hints: at least two, from a direction to nearly the code.
        mistakes: at least three: what the learner is told -> the function that makes this mistake. `code` in
            backquotes; no two mistakes may agree on all inputs.
        shows: functions whose source `solution` shows, where that is not `reference` itself.
        through: applied to each argument that asks for gradients before a call, such as `log_softmax`: gradients are
            then compared by what went into it. Log-probabilities sum to one, and two right formulas may differ off
            that surface, where no policy can go.
    """

    def declare(answer: Function) -> Exercise:
        file = answer.__module__.rpartition(".")[2]
        return Exercise(
            name=answer.__name__,
            notebook=file.removeprefix("n") if file[1:2].isdigit() else file,
            title=title,
            difficulty=difficulty,
            minutes=minutes,
            importance=importance,
            why=why,
            reference=reference,
            cases=cases,
            hints=tuple(hints),
            mistakes=dict(mistakes),
            answer=answer,
            shows=tuple(shows) or (reference,),
            through=through,
        )

    return declare


def find(name: str) -> Exercise:
    """The exercise of that name.

    Of the files of entries, only the one that defines it is imported: a notebook on a bandit does not wait for the
    libraries of a language model.

    Raises:
        ValueError: there is none; the message names the nearest.
    """
    sources = resources.files(entries)
    for file in _files():
        if f"\ndef {name}(" in (sources / f"{file}.py").read_text(encoding="utf-8") and name in _declared(file):
            return _declared(file)[name]
    if name == "<lambda>":
        raise ValueError(
            "a lambda has no name by which to find its exercise: write it as a function, `def name(...):`, as in the "
            "blank cell"
        )
    near = difflib.get_close_matches(name, [entry.name for entry in all_exercises()], n=3)
    raise ValueError(f"no exercise is called {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else ""))


def exercises_of(notebook: str) -> list[Exercise]:
    """The exercises of one notebook, in the order in which they are declared."""
    file = f"n{notebook}" if notebook[:1].isdigit() else notebook
    return list(_declared(file).values()) if file in _files() else []


def all_exercises() -> list[Exercise]:
    """Every exercise; this imports every library that any of them needs."""
    return [entry for file in _files() for entry in _declared(file).values()]


def _files() -> list[str]:
    # n01 … n10 by number, then the labs
    return sorted((file.name for file in pkgutil.iter_modules(entries.__path__)), key=lambda f: (f[1:2].isalpha(), f))


def _declared(file: str) -> dict[str, Exercise]:
    module = importlib.import_module(f"{entries.__name__}.{file}")
    return {entry.name: entry for entry in vars(module).values() if isinstance(entry, Exercise)}


def _definition(function: Function) -> tuple[ast.FunctionDef, str]:
    source = textwrap.dedent(inspect.getsource(function))
    [node] = ast.parse(source).body
    assert isinstance(node, ast.FunctionDef)
    return node, source


def _size(case: Case) -> int:
    """How much a reader has to look at."""

    def of(value: Any) -> int:
        if isinstance(value, Tensor):
            return value.numel()
        if isinstance(value, str):
            return len(value)
        return sum(map(of, value)) if isinstance(value, list | tuple) else 1

    return sum(map(of, case))
