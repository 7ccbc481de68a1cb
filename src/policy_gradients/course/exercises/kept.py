"""What a learner has solved and predicted: a small file on their machine, and a bar made from it. Nothing leaves it.

Nothing in here raises into a learner's cell: a file that cannot be written keeps nothing, a damaged one gives what can
still be read of it, and of its backup.
"""

import contextlib
import json
import math
import os
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from policy_gradients.course.exercises.declare import Exercise

VARIABLE = "POLICY_GRADIENTS_PROGRESS"  # another file; tests and the notebook builder point it at an empty one
WIDTH = 20  # characters of a bar, at most
PREDICTED = "predict: "  # before the name of a prediction, so that none is taken for an exercise
WAIT = 5.0  # seconds for another notebook to let go of the file
STALE = 10.0  # seconds after which a lock is one that a killed process has left
LARGEST = 10**6  # that a count can be; more is no count
_UNREADABLE = (OSError, ValueError, RecursionError, OverflowError)


def path() -> Path:
    """The file: `$POLICY_GRADIENTS_PROGRESS`, else ~/.policy-gradients/progress.json; where there is no home, one in
    the system's folder of temporary files."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    try:
        home = Path.home()
    except (RuntimeError, KeyError):
        home = Path(tempfile.gettempdir())
    return home / ".policy-gradients" / "progress.json"


def read() -> dict[str, dict[str, Any]]:
    """Exercise name -> {"solved": bool, "checks": int, "hints": int, "solution": bool}, and "predict: name" ->
    {"right": bool, "guess": text}; what is damaged is left out."""
    stored, whole = _parsed(path())
    if not whole:  # what the file has lost, its backup may have
        stored = {**_parsed(_backup())[0], **stored}
    return stored


def record(name: str, *, solved: bool = False, checks: int = 0, hints: int = 0, solution: bool = False) -> None:
    """Add to what is stored of one exercise; what was solved stays solved. Where no file can be written, nothing is
    kept, and the course goes on."""

    def added(before: dict[str, Any]) -> dict[str, Any]:
        return {
            "solved": solved or bool(before.get("solved")),
            "checks": checks + _count(before.get("checks")),
            "hints": max(hints, _count(before.get("hints"))),
            "solution": solution or bool(before.get("solution")),
        }

    _update(name, added)


def record_prediction(name: str, guess: str, right: bool) -> None:
    """Keep a prediction. The first counts: with the answer in sight, none is one."""
    _update(PREDICTED + name, lambda before: before or {"guess": guess, "right": right})


def prediction(name: str) -> dict[str, Any] | None:
    """{"guess": text, "right": bool}, if that prediction was made."""
    return read().get(PREDICTED + name)


def score() -> tuple[int, int]:
    """How many predictions came true, of how many that were made."""
    made = [entry for name, entry in read().items() if name.startswith(PREDICTED)]
    return sum(bool(entry.get("right")) for entry in made), len(made)


def forget() -> None:
    """Start anew: remove the file and its backup."""
    for file in (path(), _backup()):
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


def bar(entries: list[Exercise]) -> str:
    """ "■■□□□ 2 of 5 solved", of the given exercises."""
    stored = read()
    done = sum(bool(stored.get(entry.name, {}).get("solved")) for entry in entries)
    width = min(WIDTH, len(entries))
    filled = done * width // max(1, len(entries))
    return f"{'■' * filled}{'□' * (width - filled)} {done} of {len(entries)} solved"


def _backup() -> Path:
    return path().with_name(path().name + ".bak")


def _update(name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Read, change one entry and write, while no other notebook does."""
    try:
        path().parent.mkdir(parents=True, exist_ok=True)
        with _locked():
            everything = read()
            everything[name] = change(everything.get(name, {}))
            _, whole = _parsed(path())
            if whole and path().exists():
                _replace(path().read_bytes(), _backup())
            _replace(json.dumps(everything, indent=1, sort_keys=True).encode(), path())
    except _UNREADABLE:
        return


def _replace(content: bytes, file: Path) -> None:
    """Write a file whole or not at all."""
    descriptor, new = tempfile.mkstemp(dir=file.parent, suffix=".partial")
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
        for attempt in range(20):
            try:
                os.replace(new, file)
                return
            except PermissionError:  # Windows, while another process reads the file
                if attempt == 19:
                    raise
                time.sleep(0.02)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(new)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Hold the file `….lock`, which exists or not, on network drives too. An old one was left by a killed process,
    and is removed; past one that stays, the work goes on without."""
    lock, until, held = path().with_name(path().name + ".lock"), time.monotonic() + WAIT, False
    while not held and time.monotonic() < until:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            held = True
        except PermissionError:
            if os.name != "nt":  # on Windows, the lock is just being removed; elsewhere, the folder cannot be written
                raise
            time.sleep(0.01)
        except FileExistsError:
            with contextlib.suppress(OSError):
                if time.time() - lock.stat().st_mtime > STALE:
                    lock.unlink()
            time.sleep(random.Random().uniform(0.001, 0.01))
    try:
        yield
    finally:
        if held:
            with contextlib.suppress(OSError):
                lock.unlink()


def _parsed(file: Path) -> tuple[dict[str, dict[str, Any]], bool]:
    """What a file holds, and whether all of it could be read; a file that is not there is empty and whole."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return {}, True
    except OSError:
        return {}, False
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = content.decode("utf-16" if wide else "utf-8-sig", errors="replace")
    try:
        stored, whole = json.loads(text), True
    except _UNREADABLE:
        stored, whole = _salvaged(text), False
    if not isinstance(stored, dict):
        return {}, False
    return {name: _entry(entry) for name, entry in stored.items() if isinstance(entry, dict)}, whole


def _salvaged(text: str) -> dict[str, Any]:
    """The entries of a damaged file that are still whole, `"name": {…}` each."""
    found = {}
    for match in re.finditer(r'"([^"\\]{1,200})"\s*:\s*(\{[^{}]{0,2000}\})', text):
        entry = re.sub(r",(\s*\})", r"\1", match[2])  # a comma before the brace, which hands leave behind
        with contextlib.suppress(*_UNREADABLE):
            found[match[1]] = json.loads(entry)
    return found


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    if "guess" in entry or "right" in entry:
        return {"guess": str(entry.get("guess", "")), "right": entry.get("right") is True}
    truths = {key: entry.get(key) is True for key in ("solved", "solution")}
    return {**truths, **{key: _count(entry.get(key)) for key in ("checks", "hints")}}


def _count(value: Any) -> int:
    """A count as it was stored, or 0 where that is none: null, text, infinity, a negative number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return 0
    return int(value) if 0 <= value <= LARGEST else 0
