"""One writer: a file in the run's folder says who writes there, on network drives too, and whether they still live.

A lock of the system (flock) is not to be had on many network drives, and a killed process would leave a plain file for
ever. So the file names its process, which can be looked up on the same machine; elsewhere, a sign of life on the file
itself, its time of change, tells.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import psutil

from policy_gradients.language.files import PARTIAL

LOCK = ".lock"
BEAT = 20.0  # seconds between signs of life …
STALE = 120.0  # … and after which a process on another machine counts as gone


class InUse(ValueError):
    """Another process writes to this folder."""


class FolderLock:
    """Held while it is entered.

    Raises:
        InUse: somebody else holds it, and lives.
    """

    def __init__(self, folder: Path):
        self.file, self.token = folder / LOCK, uuid.uuid4().hex
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def refuse_if_held(self) -> None:
        """Raise InUse if another process holds it now; nothing is written."""
        if holder := self._living(time.time()):
            raise InUse(holder)

    def __enter__(self) -> "FolderLock":
        partial = self.file.with_name(f"{LOCK}-{self.token}{PARTIAL}")
        partial.write_text(json.dumps({"token": self.token, **_this_process()}), encoding="utf-8")
        try:
            for _ in range(10):
                now = partial.stat().st_mtime  # by the clock of the file system, which all of its users share
                if self._create(partial):
                    break
                seen = self._content()
                if holder := self._living(now):
                    raise InUse(holder)
                self._take_away(seen)
            else:
                raise InUse(f"{self.file} could not be had; remove it if nobody writes there")
        finally:
            partial.unlink(missing_ok=True)
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()
        if self.is_mine():
            with contextlib.suppress(OSError):
                self.file.unlink()

    def is_mine(self) -> bool:
        """Whether this one holds it still: a machine that slept for long may find that another has taken over."""
        return _parsed(self._content()).get("token") == self.token

    def _create(self, partial: Path) -> bool:
        """Whether the file is there now, and is ours. A hard link comes with its content; not all drives have them."""
        try:
            os.link(partial, self.file)
        except FileExistsError:
            return self.is_mine()  # a network drive may do what was asked, and say that it was done before
        except OSError:
            try:
                descriptor = os.open(self.file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                return False
            with os.fdopen(descriptor, "wb") as file:
                file.write(partial.read_bytes())
        return True

    def _living(self, now: float) -> str:
        """Who holds it, in words; empty if nobody does, or nobody who lives."""
        try:
            age = now - self.file.stat().st_mtime
        except FileNotFoundError:
            return ""
        holder, here = _parsed(self._content()), _this_process()
        if holder.get("token") == self.token:
            return ""
        if holder.get("machine") == here["machine"]:
            birth = _birth(holder.get("pid"))
            if birth is None or birth != holder.get("birth"):
                return ""
        elif age > STALE:
            return ""
        return (
            f"{self.file.parent} is in use: process {holder.get('pid', '?')} on {holder.get('host', '?')} writes to it "
            f"(last sign of life {max(0.0, age):.0f} s ago). Wait for it, or stop it"
        )

    def _take_away(self, seen: bytes) -> None:
        """Remove the file of one who is gone; should a living one have come in between, it gets it back."""
        aside = self.file.with_name(f"{LOCK}-{self.token}-gone{PARTIAL}")
        try:
            self.file.rename(aside)
        except OSError:
            return
        try:
            if aside.read_bytes() != seen:
                with contextlib.suppress(OSError):
                    os.link(aside, self.file)
        finally:
            aside.unlink(missing_ok=True)

    def _content(self) -> bytes:
        try:
            return self.file.read_bytes()
        except OSError:
            return b""

    def _live(self) -> None:
        while not self._done.wait(BEAT):
            with contextlib.suppress(OSError):
                if self.is_mine():
                    os.utime(self.file)


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _this_process() -> dict[str, Any]:
    """The machine, as far as process ids mean the same on it, and the process, by its id and when it began."""
    boot, names = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    host = socket.gethostname()
    with contextlib.suppress(OSError):
        machine = [host, boot.read_text().strip(), os.readlink(names)]
        return {"host": host, "machine": machine, "pid": os.getpid(), "birth": _birth(os.getpid())}
    return {"host": host, "machine": [host], "pid": os.getpid(), "birth": _birth(os.getpid())}


def _birth(pid: Any) -> str | None:
    """When a process began, None if it is not there, or dead and only not buried yet."""
    if not isinstance(pid, int):
        return None
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.0f}"
    except psutil.Error:
        return None
