"""The rooms of the package import in one direction only, so that each can be read, and run, without those below it."""

import ast
import inspect
import sys
from pathlib import Path

import pytest

from policy_gradients.training.loop import train_step

PACKAGE = Path(__file__).parents[1] / "src" / "policy_gradients"
ROOMS = {
    "estimators": set(),
    "worlds": {"estimators"},
    "oracle": {"estimators"},
    "language": {"estimators"},
    "training": {"language", "estimators"},
    "evaluation": {"training", "language", "estimators", "oracle", "worlds"},
    "deploy": {"evaluation", "training", "language", "estimators"},
    "studies": {"evaluation", "training", "language", "estimators"},
    "course": {"studies", "evaluation", "training", "language", "estimators", "oracle", "worlds"},
}
# `cli` and `__main__` stand in front of all rooms: they may import everything, and no room may import them. `errors`
# lies beneath them: how a command fails is the same in every room.
BENEATH = {"errors"}
FRONT = {file.stem for file in PACKAGE.glob("*.py")} - {"__init__"} - BENEATH


def imported(source: str, package: str) -> set[str]:
    """Full names of all that `source`, a module of `package`, imports: at the top, in functions, and relatively."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            # `from policy_gradients import worlds` names the room only in its second half
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def imports_of(file: Path) -> set[str]:
    package = ".".join(["policy_gradients", *file.parent.relative_to(PACKAGE).parts])
    return imported(file.read_text(encoding="utf-8"), package)


def rooms(names: set[str]) -> set[str]:
    """Those rooms and front files of the package that the full names lie in."""
    return {name.split(".")[1] for name in names if name.startswith("policy_gradients.")} & (FRONT | set(ROOMS))


def test_relative_and_nested_imports_are_seen():
    source = "from . import losses\nfrom ..oracle import exact\nfrom pg import a\ndef f():\n    import numpy.random"
    assert imported(source, "pg.worlds") == {"pg.worlds.losses", "pg.oracle.exact", "pg.a", "numpy.random"}


def test_every_room_is_listed():
    assert {file.parent.name for file in PACKAGE.glob("*/__init__.py")} == set(ROOMS)


@pytest.mark.parametrize("file", sorted(PACKAGE.glob("*/**/*.py")), ids=lambda file: "/".join(file.parts[-2:]))
def test_imports_point_towards_the_estimators(file: Path):
    room = file.relative_to(PACKAGE).parts[0]
    assert rooms(imports_of(file)) <= ROOMS[room] | {room}


def test_the_package_itself_imports_no_room():
    """Else `import policy_gradients.estimators` would load a transformer library for a bandit."""
    assert not rooms(imports_of(PACKAGE / "__init__.py"))


@pytest.mark.parametrize("file", sorted(PACKAGE.glob("estimators/**/*.py")), ids=lambda file: file.name)
def test_estimators_need_torch_alone(file: Path):
    known = {"torch", "policy_gradients", *sys.stdlib_module_names}
    assert not {name for name in imports_of(file) if name.partition(".")[0] not in known}


def test_what_lies_beneath_all_rooms_needs_nothing():
    for name in BENEATH:
        assert {each.partition(".")[0] for each in imports_of(PACKAGE / f"{name}.py")} <= sys.stdlib_module_names


def modules() -> dict[str, set[str]]:
    """Each module of the package, with the modules of the package that it imports."""
    files = {
        ".".join(["policy_gradients", *file.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__"): file
        for file in PACKAGE.glob("**/*.py")
    }
    found = {}
    for name, file in files.items():
        names = imports_of(file)
        # a name that is a module is that module; else it is something in one
        modules_named = {each if each in files else each.rpartition(".")[0] for each in names}
        found[name] = (modules_named & files.keys()) - {name, "policy_gradients"}
    return found


def test_no_module_imports_itself_by_a_detour():
    """Nor under TYPE_CHECKING: who needs another's types to be read is not apart from it."""
    graph, done = modules(), set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in sorted(graph[name]):
                walk(other, (*path, name))
            done.add(name)

    for name in graph:
        walk(name, ())
    assert not [file for file in PACKAGE.glob("**/*.py") if "TYPE_CHECKING" in file.read_text(encoding="utf-8")]


def test_the_step_reads_like_the_lesson():
    """The five steps, in order, on one page."""
    source = inspect.getsource(train_step)
    assert len(source.splitlines()) <= 30
    marks = [source.index(f"# {step}") for step in ("1 rollout", "2 reward", "3 advantage", "4 log-prob, 5 loss")]
    assert marks == sorted(marks)
