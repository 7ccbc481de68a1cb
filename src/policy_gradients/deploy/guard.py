"""Starts one command and lives as long as it; ends it when whoever started the guard closes its stdin, or dies.

    python guard.py GRACE_SECONDS COMMAND …

Only the standard library: the command may belong to another environment. Its process number is printed first.
"""

import os
import signal
import subprocess
import sys
import threading


def main() -> int:
    """The exit status of the command."""
    grace, command = float(sys.argv[1]), sys.argv[2:]
    for number in (signal.SIGINT, signal.SIGTERM):  # of a terminal, they reach the whole group: the parent decides
        signal.signal(number, lambda *_: None)  # a function, which the command does not inherit; SIG_IGN it would
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        stderr=sys.stderr,
        start_new_session=True,  # a group of its own, with the workers that it starts
    )
    print(child.pid, flush=True)

    def end_with_parent() -> None:
        while os.read(0, 1024):
            pass
        _end(child, grace)

    threading.Thread(target=end_with_parent, daemon=True).start()
    status = child.wait()
    _signal(child, "SIGKILL")  # a worker may have outlived its server
    return status


def _end(child: subprocess.Popen, grace: float) -> None:
    _signal(child, "SIGTERM")
    try:
        child.wait(grace)
    except subprocess.TimeoutExpired:  # vLLM does not listen while it starts
        _signal(child, "SIGKILL")


def _signal(child: subprocess.Popen, name: str) -> None:
    try:
        if os.name == "posix":
            os.killpg(child.pid, getattr(signal, name))
        elif child.poll() is None:
            child.terminate()
    except (ProcessLookupError, PermissionError):
        pass


if __name__ == "__main__":
    sys.exit(main())
