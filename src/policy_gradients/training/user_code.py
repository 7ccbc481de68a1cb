"""Functions and tasks that a user brings in files: imported from a path or a module, with errors in one line."""

import hashlib
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from policy_gradients.language.tasks import Task


def load_object(spec: str, what: str, default: str | None = None) -> Any:
    """What FILE.py:NAME or module:NAME stands for.

    Args:
        what: for messages, such as "reward function".
        default: the name where none is given.

    Raises:
        ValueError: it is not written so, is not there, or its code fails; the line is named.
    """
    place, _, name = spec.rpartition(":") if ":" in spec else (spec, "", default or "")
    if spec.endswith(".py"):  # a drive letter's colon, or none
        place, name = spec, default or ""
    if not place or not name:
        raise ValueError(f"{what} {spec!r}: write it as FILE.py:NAME or module:NAME")
    module = _from_file(Path(place), what) if place.endswith(".py") else _by_name(place, what)
    try:
        return getattr(module, name)
    except AttributeError:
        there = ", ".join(n for n in vars(module) if not n.startswith("_"))[:120]
        raise ValueError(f"{what} {spec!r}: {place} defines no {name!r}; it has {there}") from None


def load_task(spec: str) -> Task:
    """The task that a file defines, or that a function without arguments in it makes.

    Raises:
        ValueError: as `load_object`; the function fails, or what it makes is no task.
    """
    made = load_object(spec, "task file", default="task")
    lacking = _lacks(made)
    if lacking and callable(made):
        try:
            made = made()
        except BaseException as error:
            _raise(error, f"task file {spec}", spec.partition(":")[0], "makes no task")
        lacking = _lacks(made)
    if lacking:
        raise ValueError(f"task file {spec!r}: a {type(made).__name__} is no task, for it has no {lacking[0]}")
    return made


def _lacks(made: Any) -> list[str]:
    """What a task has, and this has not; a class has no rows of its own."""
    names = ("name", "rows", "heldout", "prompt", "reward_function", "judge", "rates", "marked", "identity")
    return ["rows"] if isinstance(made, type) else [name for name in names if not hasattr(made, name)]


def portable(spec: str) -> str:
    """The same with an absolute path, so that it is found from another folder."""
    place, _, name = spec.rpartition(":")
    if place.endswith(".py"):
        return f"{Path(place).resolve()}:{name}"
    return str(Path(spec).resolve()) if spec.endswith(".py") else spec


def _from_file(path: Path, what: str) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"{what}: {path} is no file")
    # of its own name, so that two files called reward.py are two modules
    name = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules[name] = module  # where pickle, dataclasses and inspect look for it
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)  # its neighbours can be imported, as when it is run
    try:
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    except BaseException as error:
        sys.modules.pop(name, None)
        _raise(error, f"{what} {path}", str(path))
    finally:
        sys.path.remove(folder)
    return module


def _by_name(name: str, what: str) -> ModuleType:
    here = str(Path.cwd())
    sys.path.insert(0, here)  # a file in the current folder counts as a module
    try:
        return importlib.import_module(name)
    except BaseException as error:
        _raise(error, f"{what} {name}", name)
    finally:
        sys.path.remove(here)
    raise AssertionError


def _raise(error: BaseException, what: str, file: str, failed: str = "cannot be imported") -> None:
    if isinstance(error, KeyboardInterrupt):
        raise error
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(file)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    where = f", line {line}" if line else ""
    said = f"sys.exit({error.code})" if isinstance(error, SystemExit) else f"{type(error).__name__}: {error}"
    raise ValueError(f"{what} {failed} ({said}{where})") from None
