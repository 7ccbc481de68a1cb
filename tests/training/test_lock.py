"""One writer to a folder: who holds it is known, and the dead hold nothing."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from policy_gradients.training import lock as lock_module
from policy_gradients.training.lock import LOCK, STALE, FolderLock, InUse

HOLD = """
import sys, time
from pathlib import Path
from policy_gradients.training.lock import FolderLock
with FolderLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `tmp_path`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_it_is_held_and_given_back(tmp_path):
    with FolderLock(tmp_path) as lock:
        assert lock.is_mine() and [file.name for file in tmp_path.iterdir()] == [LOCK]
    assert not lock.is_mine() and not list(tmp_path.iterdir())


def test_another_process_is_refused_and_told_who_holds_it(tmp_path, holder):
    for attempt in (FolderLock(tmp_path).refuse_if_held, FolderLock(tmp_path).__enter__):
        with pytest.raises(InUse, match=rf"{tmp_path} is in use: process {holder.pid} on .*Wait for it, or stop it"):
            attempt()
    assert [file.name for file in tmp_path.iterdir()] == [LOCK]


def test_a_killed_holder_holds_nothing_even_before_it_is_buried(tmp_path, holder):
    holder.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    time.sleep(0.2)  # dead, but nobody has waited for it
    with FolderLock(tmp_path) as lock:
        assert lock.is_mine()


def test_a_process_of_the_same_id_that_began_later_is_another(tmp_path, holder):
    content = json.loads((tmp_path / LOCK).read_text())
    content["birth"] = "1"
    (tmp_path / LOCK).write_text(json.dumps(content))
    with FolderLock(tmp_path) as lock:
        assert lock.is_mine()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"machine": ["elsewhere"], "pid": 1, "host": "elsewhere"}'])
def test_of_another_machine_the_signs_of_life_count(tmp_path, content):
    (tmp_path / LOCK).write_bytes(content)
    with pytest.raises(InUse, match="in use"), FolderLock(tmp_path):
        pass
    old = time.time() - STALE - 60
    os.utime(tmp_path / LOCK, (old, old))
    with FolderLock(tmp_path) as lock:
        assert lock.is_mine()


def test_it_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_module, "BEAT", 0.05)
    with FolderLock(tmp_path):
        os.utime(tmp_path / LOCK, (0, 0))
        for _ in range(200):
            time.sleep(0.05)
            if (tmp_path / LOCK).stat().st_mtime > 0:
                break
        assert (tmp_path / LOCK).stat().st_mtime > 0


def test_a_drive_without_hard_links_has_locks_too(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    with FolderLock(tmp_path) as lock:
        assert lock.is_mine()
        with pytest.raises(InUse), FolderLock(tmp_path):
            pass
    assert not list(tmp_path.iterdir())


def test_one_that_was_taken_over_knows_it(tmp_path):
    lock = FolderLock(tmp_path)
    with lock:
        (tmp_path / LOCK).write_text('{"token": "of another"}')
        assert not lock.is_mine()
    assert (tmp_path / LOCK).exists()  # it is the other's


def test_of_many_at_once_one_gets_it(tmp_path):
    script = HOLD.replace("time.sleep(60)", "time.sleep(3)")
    (tmp_path / LOCK).write_text(json.dumps({"machine": lock_module._this_process()["machine"], "pid": 2**22 + 1}))
    many = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(6)
    ]
    assert sorted(process.wait() for process in many) == [0, 1, 1, 1, 1, 1]
    for process in many:
        process.communicate()
    assert not list(tmp_path.iterdir())
