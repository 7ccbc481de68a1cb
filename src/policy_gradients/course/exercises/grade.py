"""Hold an answer against the reference: value, shape, dtype, gradient, edge cases; and name the mistake it makes."""

import copy
import ctypes
import dis
import inspect
import linecache
import math
import reprlib
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from policy_gradients.course.exercises.declare import Case, Exercise, Function

Outcome = Literal["correct", "incorrect", "not attempted", "error in your code"]
SECONDS = 10.0  # that one call of an answer may take; the slowest right answer takes a few hundredths
TOLERANCE = {torch.float64: (1e-7, 1e-9), torch.float32: (1e-4, 1e-6)}  # relative, absolute; coarser for halves


@dataclass(frozen=True)
class Verdict:
    """Attributes:
    outcome: one of four.
    message: what to tell the learner, in sentences, with `code` in backquotes.
    shown: (label, code) pairs: the smallest failing input, what came out and what should have, or the line that raised.
    mistake: the planted mistake that was recognised, a key of `Exercise.mistakes`.
    """

    outcome: Outcome
    message: str
    shown: tuple[tuple[str, str], ...] = ()
    mistake: str | None = None


class Stopped(BaseException):
    """Raised inside an answer that is stopped; no `except Exception` of the answer's own keeps it."""


class Endless(Exception):
    """An answer that was stopped, by the clock or by hand."""


@dataclass(frozen=True)
class Response:
    """What a function made of one input: a value with its gradients, or an exception."""

    value: Any = None
    gradients: tuple[Tensor | None, ...] = ()
    error: Exception | None = None
    changed: tuple[int, ...] = ()  # arguments that it overwrote
    backward: bool = False  # it called `backward` itself


def grade(exercise: Exercise, function: Function) -> Verdict:
    """The verdict on one answer. Nothing is printed, no state is kept, and torch's random state is left as it was."""
    if getattr(function, "handed_back", False):
        return Verdict(
            "not attempted",
            f"`{exercise.name}` is the reference here, handed back by an earlier check. "
            "Run the cell with your own code, then this one.",
        )
    cases = exercise.inputs()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(0)
        first = respond(function, cases[0], exercise.through)
        if _unfinished(function, first):
            return Verdict("not attempted", "Nothing to check yet: replace `...` by your code.")
        mine: list[Response] = []
        for case in cases:
            mine.append(respond(function, case, exercise.through))
            if isinstance(mine[-1].error, Endless):
                return _stopped(exercise, function, case, mine[-1].error)
        right = [respond(exercise.reference, case, exercise.through) for case in cases]
        faults = [_fault(exercise, *three) for three in zip(cases, mine, right, strict=True)]
        wrong = [i for i, fault in enumerate(faults) if fault]
        if not wrong:
            return _on_the_accelerator(exercise, function, cases) or Verdict("correct", _praise(exercise, cases, right))
        recognised, where_seen = _recognise(exercise, cases, mine, right, wrong)

    raised = next((i for i in wrong if mine[i].error and not right[i].error), None)
    worst = _telling(wrong, mine, right) if raised is None else raised
    smallest = "smallest input at which it fails" if raised is None else "smallest input at which it raises"
    case = (smallest, _written_case(exercise, cases[worst]))
    said = [recognised] if where_seen in ("everywhere", "values") else []
    if raised is not None:
        error = mine[raised].error
        said.insert(0, f"{type(error).__name__}: {error}")
        where = _line_of(function, error)
        said += [] if where else [f"It is called as `{exercise.name}({', '.join(exercise.parameters)})`."]
        shown = (("raised here", where), case) if where else (case,)
    else:
        if not said:
            said = [faults[worst], *_relation(mine, right, wrong)]
        shown = (case, *_side_by_side(exercise, cases[worst], mine[worst], right[worst]))
    if where_seen == "values":
        said.append("It is not the only one: with this mended, the next check will show another.")
    if where_seen == "inputs":
        said.append(f"On some inputs it looks like this: {recognised}")
    outcome: Outcome = "incorrect" if raised is None else "error in your code"
    return Verdict(outcome, "\n".join(said), shown, recognised)


def respond(function: Function, case: Case, through: Function | None = None) -> Response:
    """Call a function on copies of the arguments, and take the gradients of what comes out.

    With `through`, an argument that asks for gradients is passed through it first, and the gradients are those by what
    it was before.
    """
    leaves = [_fresh(argument) for argument in case]
    arguments = [through(leaf) if through and _asks(leaf) else leaf for leaf in leaves]
    before = [a.detach().clone() if isinstance(a, Tensor) else copy.copy(a) for a in arguments]
    try:
        value = _within(SECONDS, function, arguments)
    except Exception as error:  # shown to the learner, at its line
        return Response(error=error)
    if any(_asks(leaf) and leaf.grad is not None for leaf in leaves):
        return Response(value, backward=True)
    try:
        gradients = _gradients(value, leaves)
    except Exception as error:
        return Response(error=error)
    changed = [i for i, pair in enumerate(zip(arguments, before, strict=True)) if not _untouched(*pair)]
    return Response(value, gradients, changed=tuple(changed))


def _within(seconds: float, function: Function, arguments: Sequence[Any]) -> Any:
    """The value of a call; raises Endless if it is still running after so many seconds, or is interrupted by hand.

    A second thread raises an exception in this one, which needs no signal: it also works on Windows and where the
    kernel runs cells outside the main thread. The exception arrives between two steps of Python; a single call into
    another language, such as `time.sleep`, is waited for.
    """
    here, lock, over = threading.get_ident(), threading.Lock(), threading.Event()

    def watch() -> None:
        pause = seconds
        while not over.wait(pause):
            with lock:
                if not over.is_set():
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(here), ctypes.py_object(Stopped))
            pause = 0.5  # again, for an answer whose bare `except` has caught it

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        return function(*arguments)
    except Stopped as stopped:
        message = f"It was still running after {seconds:g} seconds, and was stopped."
        raise Endless(message).with_traceback(stopped.__traceback__) from None
    except KeyboardInterrupt as stopped:
        raise Endless("It was stopped by hand.").with_traceback(stopped.__traceback__) from None
    finally:
        with lock:
            over.set()
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(here), None)  # one that is still under way


def _stopped(exercise: Exercise, function: Function, case: Case, error: Exception) -> Verdict:
    """What to say of an answer that does not come to an end."""
    advice = "Does a loop never end? Look at what its condition waits for, and whether the loop ever changes that."
    where = _line_of(function, error)
    shown = [("it was here", where)] if where else []
    return Verdict("error in your code", f"{error} {advice}", (*shown, ("input", _written_case(exercise, case))))


def _telling(wrong: Sequence[int], mine: Sequence[Response], right: Sequence[Response]) -> int:
    """The failing input to show: the smallest, or, where shapes differ and all its sizes are 1, the next that
    shows which dimension is which."""

    def shape(response: Response) -> tuple[int, ...] | None:
        return tuple(response.value.shape) if isinstance(response.value, Tensor) else None

    theirs, ours = shape(right[wrong[0]]), shape(mine[wrong[0]])
    if theirs is None or ours in (None, theirs) or math.prod(theirs) > 1:
        return wrong[0]
    return next((i for i in wrong if 1 not in (shape(right[i]) or (1,))), wrong[0])


def _fresh(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return argument.detach().clone().requires_grad_(argument.requires_grad)
    if isinstance(argument, torch.Generator):
        return torch.Generator(argument.device).set_state(argument.get_state())
    return copy.deepcopy(argument)


def _untouched(now: Any, before: Any) -> bool:
    if isinstance(now, Tensor):
        return now.shape == before.shape and bool(torch.isclose(now, before, 0, 0, equal_nan=True).all())
    return now == before if isinstance(now, list | dict | set) else True


def _gradients(value: Any, arguments: Sequence[Any]) -> tuple[Tensor | None, ...]:
    """Gradients for each argument that asks for one, of the outputs weighted 1, 2, 3, …: a plain sum would hide much,
    such as everything about probabilities."""
    wanted = [a for a in arguments if isinstance(a, Tensor) and a.requires_grad]
    parts = [part for part in _parts(value) if isinstance(part, Tensor) and part.requires_grad]
    if not wanted or not parts:
        return (None,) * len(wanted)
    flat = torch.cat([part.flatten() for part in parts])
    objective = flat @ torch.arange(1, len(flat) + 1).to(flat)
    return torch.autograd.grad(objective, wanted, allow_unused=True)


def _parts(value: Any) -> list[Any]:
    return [part for item in value for part in _parts(item)] if isinstance(value, list | tuple) else [value]


def _unfinished(function: Function, response: Response) -> bool:
    if isinstance(response.error, NotImplementedError) or response.value is ...:
        return True
    if isinstance(response.error, TypeError) and "ellipsis" in str(response.error):  # a gap in given code
        return True
    return response.error is None and response.value is None and _does_nothing(function)


def _does_nothing(function: Function) -> bool:
    """`pass`, `...`, `return None` and a docstring, as against code that lacks its `return`."""
    idle = ("RESUME", "NOP", "CACHE", "LOAD_CONST", "POP_TOP", "RETURN_VALUE", "RETURN_CONST", "GEN_START")
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is not None and all(step.opname in idle for step in dis.get_instructions(code))


def _fault(exercise: Exercise, case: Case, mine: Response, right: Response) -> str | None:
    """What is wrong with one response, in words, or None."""
    if right.error:
        expected = type(right.error).__name__
        if isinstance(mine.error, type(right.error)):
            return None
        return f"This input is not valid, so a {expected} is expected: {right.error}"
    if mine.error:
        return f"{type(mine.error).__name__}: {mine.error}"
    if mine.backward:
        return "Your function calls `backward` itself. Only return the value: whoever asked for it takes the gradient."
    if mine.value is None and right.value is not None:
        return "Your function computes something, but returns None: is a `return` missing?"
    if fault := _difference(mine.value, right.value):
        return fault
    for i in set(mine.changed) - set(right.changed):
        return f"The result is right, but `{exercise.parameters[i]}` was changed in place: work on a new tensor."
    asked = [name for name, argument in zip(exercise.parameters, case, strict=False) if _asks(argument)]
    for name, ours, theirs in zip(asked, mine.gradients, right.gradients, strict=False):
        if fault := _gradient_fault(name, ours, theirs):
            return fault
    return None


def _asks(argument: Any) -> bool:
    return isinstance(argument, Tensor) and argument.requires_grad


def _gradient_fault(name: str, mine: Tensor | None, right: Tensor | None) -> str | None:
    if mine is None and right is None:
        return None
    if mine is None or right is None:  # no gradient is a gradient of zero
        mine, right = (torch.zeros_like(other) if g is None else g for g, other in ((mine, right), (right, mine)))
    if _close(mine, right):
        return None
    if not mine.any():
        return (
            f"The value is right, but no gradient reaches `{name}`: is there a `detach`, `item` or `no_grad` too many?"
        )
    if not right.any():
        return f"The value is right, but a gradient flows into `{name}`, which is only a number here: use `detach`."
    return f"The value is right, but its gradient with respect to `{name}` is not."


def _difference(mine: Any, right: Any, what: str = "The result") -> str | None:
    """How one value differs from another, in words, or None."""
    if isinstance(right, list | tuple):
        if not isinstance(mine, list | tuple) or len(mine) != len(right):
            return f"{what} should hold {len(right)} values, yours is {_kind(mine)}."
        pairs = enumerate(zip(mine, right, strict=True), start=1)
        return next((fault for i, pair in pairs if (fault := _difference(*pair, f"Value {i} of {len(right)}"))), None)
    if isinstance(right, Tensor) and not (right.ndim == 0 and _is_number(mine) and not isinstance(mine, Tensor)):
        if not isinstance(mine, Tensor):
            return f"{what} should be {_kind(right)}, yours is {_kind(mine)}."
        if mine.shape != right.shape:
            return _wrong_shape(what, tuple(mine.shape), tuple(right.shape))
        if mine.dtype != right.dtype:
            return f"{what} should be of dtype {_plain(right.dtype)}, yours is {_plain(mine.dtype)}."
        if mine.device != right.device:
            return f"{what} should lie on {right.device}, where the input is; yours lies on {mine.device}."
        return None if _close(mine, right) else _wrong_entry(what, mine, right)
    if isinstance(right, bool):
        truth = str(getattr(mine, "dtype", "")) in ("bool", "torch.bool") and mine.ndim == 0
        if not isinstance(mine, bool) and not truth:
            return f"{what} should be True or False, yours is {_kind(mine)}."
        return None if bool(mine) == right else f"{what} should be {right} here."
    if _is_number(right):
        if not _is_number(mine):
            return f"{what} should be a number, yours is {_kind(mine)}."
        a, b = (float(x.detach() if isinstance(x, Tensor) else x) for x in (mine, right))
        if math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) or (math.isnan(a) and math.isnan(b)):
            return None
        return f"{what} should be {b:.6g} here, yours is {a:.6g}."
    same = type(mine) is type(right) and mine == right
    return None if same else f"{what} should be {right!r} here, yours is {_kind(mine)}."


def _wrong_shape(what: str, mine: tuple[int, ...], right: tuple[int, ...]) -> str:
    if right == ():
        return f"{what} should be a single number, a tensor of shape (); yours has shape {mine}."
    said = f"{what} should have shape {right}, yours has {mine}."
    if [n for n in mine if n != 1] == [n for n in right if n != 1]:
        many = "many: is there a `keepdim`, `unsqueeze` or `[:, None]` too many, or a `squeeze` missing?"
        few = "few: is a `keepdim=True`, `unsqueeze` or `[:, None]` missing?"
        said += f" A dimension of size 1 is one too {many if len(mine) > len(right) else few}"
    return said


def _wrong_entry(what: str, mine: Tensor, right: Tensor) -> str:
    if mine.ndim == 0:
        return f"{what} should be {right.item():.6g} here, yours is {mine.item():.6g}."
    relative, absolute = TOLERANCE.get(right.dtype, (1e-2, 1e-3))
    off = ~torch.isclose(mine.double(), right.double(), relative, absolute, equal_nan=True)
    place = off.nonzero()[0].tolist()
    a, b = mine[tuple(place)].item(), right[tuple(place)].item()
    return (
        f"{what} is wrong in {int(off.sum())} of {off.numel()} entries; at {place} it should be {b:.6g}, not {a:.6g}."
    )


def _close(mine: Tensor, right: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Equal up to the rounding of a dtype, that of `right` unless another is given."""
    if mine.shape != right.shape:
        return False
    relative, absolute = TOLERANCE.get(dtype or right.dtype, (1e-2, 1e-3))
    return torch.allclose(mine.double(), right.double(), relative, absolute, equal_nan=True)


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 0
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return not isinstance(value, str)


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return "None" if value is None else f"{reprlib.repr(value)} ({type(value).__name__})"


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


Seen = Literal["everywhere", "values", "inputs"]


def _recognise(
    exercise: Exercise, cases: Sequence[Case], mine: Sequence[Response], right: Sequence[Response], wrong: Sequence[int]
) -> tuple[str | None, Seen | None]:
    """The planted mistake that this answer makes: everywhere, else in all its values, else on most of the inputs that
    fail; (message, where)."""
    in_values: str | None = None
    likely: dict[str, int] = {}
    off = [i for i in wrong if not _alike_in_value(mine[i], right[i])]
    for message, mistaken in exercise.mistakes.items():
        theirs = [respond(mistaken, case, exercise.through) for case in cases]
        alike = [_alike(exercise, *three) for three in zip(cases, mine, theirs, strict=True)]
        if all(alike):
            return message, "everywhere"
        if off and all(_alike_in_value(*pair) for pair in zip(mine, theirs, strict=True)):
            in_values = in_values or message
        # an answer that is right where the mistake shows has not made it
        spared = any(not _alike(exercise, cases[i], right[i], theirs[i]) for i in range(len(cases)) if i not in wrong)
        likely[message] = 0 if spared else sum(alike[i] for i in wrong)
    if in_values:
        return in_values, "values"
    best = max(likely, key=likely.__getitem__)
    return (best, "inputs") if 2 * likely[best] > len(wrong) else (None, None)


def _alike_in_value(mine: Response, theirs: Response) -> bool:
    return not (mine.error or theirs.error) and _difference(mine.value, theirs.value) is None


def _alike(exercise: Exercise, case: Case, mine: Response, theirs: Response) -> bool:
    if mine.error or theirs.error:
        return type(mine.error) is type(theirs.error)
    return _fault(exercise, case, mine, theirs) is None and _fault(exercise, case, theirs, mine) is None


def _relation(mine: Sequence[Response], right: Sequence[Response], wrong: Sequence[int]) -> list[str]:
    """A pattern in the numbers that no planted mistake explains, if there is one."""
    pairs = [(_as_tensor(mine[i].value), _as_tensor(right[i].value)) for i in wrong if _numeric(mine[i], right[i])]
    if len(pairs) < len(wrong):
        return []
    ours, theirs = (torch.cat([pair[side].double().flatten() for pair in pairs]) for side in (0, 1))
    rounded = torch.float64 if all(pair[1].dtype == torch.float64 for pair in pairs) else torch.float32
    if len(ours) < 2 or not (ours.isfinite() & theirs.isfinite()).all():
        if ours.isnan().any() and not theirs.isnan().any():
            return ["Yours holds NaN: look for 0/0, a logarithm of zero, or 0 · infinity."]
        return []
    if _close(ours, theirs, rounded):  # what differs is no number: a gradient that is missing, a dtype
        return []
    if not ours.any():
        return ["Yours is zero everywhere."]
    if _close(ours, -theirs, rounded):
        return ["Every sign is the opposite of the reference's."]
    nonzero = theirs != 0
    factor = (ours[nonzero] / theirs[nonzero]).mean() if nonzero.any() else torch.tensor(0.0)
    if _close(ours, factor * theirs, rounded):
        return [f"Everywhere, yours is {factor:.4g} times the reference's."]
    offset = (ours - theirs).mean()
    return (
        [f"Everywhere, yours is the reference's plus {offset:.4g}."] if _close(ours, theirs + offset, rounded) else []
    )


def _as_tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)


def _numeric(mine: Response, right: Response) -> bool:
    a, b = mine.value, right.value
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape
    return isinstance(a, int | float) and isinstance(b, int | float) and _is_number(a)


def _on_the_accelerator(exercise: Exercise, function: Function, cases: Sequence[Case]) -> Verdict | None:
    """Where there is a GPU, a right answer must also be right there: no tensor made on the CPU may slip in."""
    if not torch.cuda.is_available() or not any(isinstance(argument, Tensor) for argument in cases[0]):
        return None
    there = tuple(a.detach().cuda().requires_grad_(_asks(a)) if isinstance(a, Tensor) else a for a in cases[0])
    mine, right = (respond(f, there, exercise.through) for f in (function, exercise.reference))
    if right.error or not (fault := _fault(exercise, there, mine, right)):
        return None
    case = ("smallest input at which it fails", _written_case(exercise, there))
    message = f"Right on the CPU, but not on the GPU. {fault}\nMake new tensors with `device=` of an input."
    return Verdict("incorrect", message, (case,))


def _praise(exercise: Exercise, cases: Sequence[Case], right: Sequence[Response]) -> str:
    compared = ["values"]
    if any(isinstance(part, Tensor) for response in right for part in _parts(response.value)):
        compared += ["shapes", "dtypes"]
    if any(_asks(argument) for case in cases for argument in case):
        compared.append("gradients")
    listed = " and ".join(filter(None, [", ".join(compared[:-1]), compared[-1]]))
    return f"It agrees with the reference on {len(cases)} inputs, edge cases among them: {listed}."


def _line_of(function: Function, error: Exception | None) -> str | None:
    """The learner's own line that an exception passed through last, with its number and source."""
    space = getattr(inspect.unwrap(function), "__globals__", None)
    frames = traceback.walk_tb(error.__traceback__ if error else None)
    own = [(frame, line) for frame, line in frames if frame.f_globals is space]
    if not own:
        return None
    frame, line = own[-1]
    source = linecache.getline(frame.f_code.co_filename, line, frame.f_globals).strip()
    return f"{frame.f_code.co_name}, line {line}:  {source}"


def _written_case(exercise: Exercise, case: Case) -> str:
    pairs = zip(exercise.parameters, case, strict=False)
    return "\n".join(f"{name} = {_indented(_written(argument), len(name) + 3)}" for name, argument in pairs)


def _side_by_side(exercise: Exercise, case: Case, mine: Response, right: Response) -> list[tuple[str, str]]:
    """The two values; where they agree, the gradients."""
    if any(side.error for side in (mine, right)) or _difference(mine.value, right.value):
        return [("yours", _written_response(mine)), ("reference", _written_response(right))]
    asked = [name for name, argument in zip(exercise.parameters, case, strict=False) if _asks(argument)]
    count = sum(part.numel() for part in _parts(right.value) if isinstance(part, Tensor))
    of = f" of the {count} results, weighted 1 to {count}" if count > 1 else ""
    return [
        (f"{whose} gradient with respect to {name}{of}", _written(gradient))
        for name, *pair in zip(asked, mine.gradients, right.gradients, strict=False)
        if _gradient_fault(name, *pair)
        for whose, gradient in zip(("your", "the reference's"), pair, strict=True)
    ]


def _written_response(response: Response) -> str:
    return f"{type(response.error).__name__}: {response.error}" if response.error else _written(response.value)


def _written(value: Any) -> str:
    if isinstance(value, tuple | list):
        opening, closing = "()" if isinstance(value, tuple) else "[]"
        return opening + ", ".join(map(_written, value)) + closing
    if isinstance(value, float):
        return f"{value:.6g}"
    return repr(value.detach()) if isinstance(value, Tensor) else repr(value)


def _indented(text: str, width: int) -> str:
    return text.replace("\n", "\n" + " " * width)
