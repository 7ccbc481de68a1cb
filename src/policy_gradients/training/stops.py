"""Ctrl-C, and the signals of those who end sessions and jobs: noted at once, answered between two steps."""

import contextlib
import os
import signal
import threading
import time
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
AGAIN = 1.0  # seconds after which a second Ctrl-C is one: launchers send the first one twice


class Interrupted(KeyboardInterrupt):
    """A run was stopped from outside; the message says what is kept.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int, message: str = ""):
        super().__init__(message)
        self.number = number


class Stops:
    """While it is entered, a signal lets the step end, so that it can be kept; a second Ctrl-C drops the step."""

    def __init__(self, accelerator: Accelerator):
        self.accelerator, self.number, self.since = accelerator, 0, 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Stops":
        if threading.current_thread() is threading.main_thread():  # others may not ask for signals
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # nohup wants to be left alone
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        alone = self.accelerator.num_processes == 1  # several have to end at the same step
        if self.number and number == signal.SIGINT and alone and time.monotonic() - self.since > AGAIN:
            raise Interrupted(number, "the step was dropped; the last checkpoint stays: go on with --resume")
        if not self.number:
            self.number, self.since = number, time.monotonic()
            if self.accelerator.is_main_process:
                with contextlib.suppress(OSError):  # not through a stream, which may be in use just now
                    os.write(2, b"\nstopping after this step, with a checkpoint\n")

    def asked(self) -> int:
        """The signal that any of the processes was sent, 0 if none; all get the same answer."""
        if self.accelerator.num_processes == 1:
            return self.number
        mine = torch.tensor([self.number], device=self.accelerator.device)
        return int(self.accelerator.gather(mine).max())
