"""Chat templates are programs that come with a model: they are run for a while, and not for ever."""

import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

SECONDS = 10.0  # for one prompt, which takes well under a millisecond
_in_time: set[str] = set()  # templates that have been seen to end


class EndlessTemplate(ValueError):
    """A template did not come to an end."""


def render(tokenizer: Any, messages: Sequence[Mapping[str, Any]], template: str | None = None) -> str:
    """The text of a conversation, up to where the assistant answers.

    Args:
        template: in place of the tokenizer's own.

    Raises:
        EndlessTemplate: it takes too long; and whatever else a template raises.
    """
    template = tokenizer.chat_template if template is None else template
    work = partial(
        tokenizer.apply_chat_template, messages, chat_template=template, tokenize=False, add_generation_prompt=True
    )
    if str(template) in _in_time:
        return work()
    text = _within(SECONDS, work)
    _in_time.add(str(template))
    return text


def _within(seconds: float, work: Callable[[], str]) -> str:
    """Do it in a thread of its own, which is ended if it takes longer."""
    done: list[str] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # is raised again, where it was asked for
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(TimeoutError))
        raise EndlessTemplate(f"the model's chat template did not end within {seconds:g} s; choose another model")
    if failed:
        raise failed[0]
    return done[0]
