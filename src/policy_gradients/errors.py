"""How the command line fails: bad input in one line, stops with how to go on, a fault of ours with all that it takes.

Whatever a user can give that is wrong ends in an error of a few kinds (`is_input`); every other kind is a bug.
"""

import codecs
import contextlib
import os
import signal
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

LONGEST = 300  # characters of the line
BAD_INPUT, BUG = 2, 1
_PLAIN = {"✓": "+", "✗": "-", "…": "...", "−": "-", "–": "-", "×": "x", "·": "*", "≥": ">=", "≤": "<=", "→": "->",
          "±": "+-", "β": "beta", "λ": "lambda", "π": "pi", "ε": "epsilon", "²": "^2", "⁹": "^9"}  # fmt: skip


def guarded(work: Callable[[], int], debug: bool = False) -> int:
    """Do the work and return its exit status, or say what went wrong and return another: 2 for bad input, 1 for a bug
    of ours, 128 and its number for a signal.

    Args:
        debug: show where each error came from.
    """
    with _streams(), _termination():
        try:
            if sys.stdout is None:
                raise OSError("standard output is closed, so nothing could be shown")
            status = work()
            sys.stdout.flush()
            return status
        except KeyboardInterrupt as error:
            _leave_output()
            number = getattr(error, "number", signal.SIGINT)
            said = str(error) or "what was written stays"
            _say(f"\n{'interrupted' if number == signal.SIGINT else signal.Signals(number).name}: {said}")
            return 128 + number
        except BrokenPipeError:  # the reader of a pipe has enough, as `head` has
            _leave_output()
            return 128 + 13
        except Exception as error:
            _leave_output()
            if debug or not is_input(error):
                traceback.print_exception(error)
            if is_input(error):
                _say(f"error: {one_line(error)}")
                return BAD_INPUT
            _say("this is a bug in policy-gradients, not in what you gave it: please report it, with the lines above "
                 "and your command")  # fmt: skip
            return BUG


def run_module(main: Callable[[], Any]) -> NoReturn:
    """End the process of `python -m` with what `guarded` makes of a module's own main."""
    sys.exit(guarded(lambda: main() or 0))


def is_input(error: BaseException) -> bool:
    """Whether an error tells of input, files or the machine, and not of a bug."""
    return isinstance(error, ValueError | OSError | ImportError) or _of_the_machine(error) or _users_line(error) != ""


def _of_the_machine(error: BaseException) -> bool:
    """Memory, or other processes: torch's own kinds by name, for to import torch here would slow every --help down."""
    kind, text = type(error).__name__, str(error)
    named = kind in ("OutOfMemoryError", "AcceleratorError") or kind.startswith("Dist") or "can't allocate" in text
    return isinstance(error, MemoryError) or named


def _users_line(error: BaseException) -> str:
    """The last line of a file of the user's own that an error passed through; empty if it passed through none."""
    known = (str(Path(__file__).parent), *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")))
    files = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    theirs = [(file, line) for file, line in files if not file.startswith(("<", *known)) and Path(file).is_file()]
    return f"line {theirs[-1][1]} of {theirs[-1][0]}" if theirs else ""


def one_line(error: BaseException) -> str:
    """What an error says, in one line of at most `LONGEST` characters, with the file that it is about."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        file = "standard output" if error.filename is None else os.fsdecode(error.filename)
        text = f"{shortened(file, LONGEST // 2)}: {error.strerror}"
    elif _of_the_machine(error):
        text = f"out of memory, or of machines ({text or 'MemoryError'}); a smaller model, batch or length needs less"
    elif not isinstance(error, ValueError | OSError | ImportError):
        text = f"{_users_line(error)} raised {type(error).__name__}: {text}"
    printable = "".join(c if c.isprintable() else " " for c in text)
    return shortened(" ".join(printable.split()) or type(error).__name__, LONGEST - len("error: "))


def shortened(text: str, longest: int) -> str:
    """Its beginning and its end."""
    return text if len(text) <= longest else f"{text[: longest * 2 // 3 - 3]} … {text[-longest // 3 :]}"


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def _leave_output() -> None:
    """Give up what stdout could not take, or Python would try again at its end, and fail with lines of its own."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Tolerant:
    """A stream for messages: that nobody can read them any more, as after a lost connection, ends no run."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _streams() -> Iterator[None]:
    """What a stream's encoding has no character for is written in ASCII: a report is not lost for a tick mark."""
    codecs.register_error("policy_gradients.plain", _in_ascii)
    errors = sys.stderr
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="policy_gradients.plain")
    sys.stderr = open(os.devnull, "w") if errors is None else _Tolerant(errors)  # type: ignore[assignment]  # noqa: SIM115
    try:
        yield
    finally:
        sys.stderr = errors


def _in_ascii(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in letters), error.end


@contextlib.contextmanager
def _termination() -> Iterator[None]:
    """SIGTERM ends the work as Ctrl-C does: locks are given back, and it is said."""

    def end(number: int, frame: Any) -> None:
        error = KeyboardInterrupt()
        error.number = number  # type: ignore[attr-defined]
        raise error

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
