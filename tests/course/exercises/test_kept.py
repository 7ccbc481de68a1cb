"""The progress file: several notebooks at once, damage of every kind, and no place to write it."""

import json
import multiprocessing
import os
import random
import sys
import time

import pytest

from policy_gradients.course.exercises import kept
from policy_gradients.course.exercises.declare import find

WHOLE = {
    "leave_one_out": {"solved": True, "checks": 2, "hints": 1, "solution": False},
    "checker": {"solved": True, "checks": 1, "hints": 0, "solution": True},
    "predict: arms": {"guess": "3", "right": True},
}


def written(content: bytes) -> None:
    kept.path().parent.mkdir(parents=True, exist_ok=True)
    kept.path().write_bytes(content)


def many(number: int) -> None:
    for i in range(25):
        kept.record(f"exercise_{number}_{i}", solved=True, checks=1)


def test_no_record_of_four_kernels_is_lost():
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    workers = [context.Process(target=many, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert len(kept.read()) == 100 and all(entry["solved"] for entry in kept.read().values())
    assert sorted(file.name for file in kept.path().parent.iterdir()) == ["progress.json", "progress.json.bak"]


def test_a_lock_that_a_killed_process_left_is_taken_over():
    written(b"{}")
    lock = kept.path().with_name("progress.json.lock")
    lock.write_text("")
    os.utime(lock, (time.time() - 60,) * 2)
    before = time.monotonic()
    kept.record("checker", solved=True)
    assert kept.read()["checker"]["solved"] and time.monotonic() - before < kept.WAIT / 2 and not lock.exists()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_an_editor_does_to_the_encoding_loses_nothing(encoding):
    written(json.dumps(WHOLE).encode(encoding))
    assert kept.read() == WHOLE
    kept.record("checker", checks=1)
    assert kept.read()["checker"]["checks"] == 2 and kept.read()["leave_one_out"] == WHOLE["leave_one_out"]


def test_a_truncated_file_keeps_its_whole_entries_and_its_backup_the_rest():
    written(json.dumps(WHOLE, indent=1).encode())
    kept.record("wilson", solved=True)  # backs up what was there
    kept.path().write_bytes(kept.path().read_bytes()[:150])
    assert kept.read()["leave_one_out"]["solved"] and kept.read()["checker"]["solved"]
    kept.record("floor", solved=True)
    assert set(WHOLE) | {"floor"} <= set(kept.read())


def test_a_comma_left_by_hand_loses_nothing():
    written(b'{"checker": {"solved": true, "checks": 1, "hints": 0, "solution": false,},}')
    assert kept.read()["checker"]["solved"]


@pytest.mark.parametrize(
    "value", ["null", "1e999", "-1e999", "NaN", "-3", '"2"', "[1]", "true", "9" * 5000, "1e300", "{}"]
)
def test_a_count_that_is_none_counts_zero(value, capsys):
    written(b'{"checker": {"solved": true, "checks": %s, "hints": %s}}' % (value.encode(), value.encode()))
    kept.record("checker", checks=1)
    assert kept.read()["checker"]["checks"] == 1
    assert kept.bar([find("checker")])


def test_no_damage_raises():
    """Two hundred seeded ones: bits, cuts, repeated and foreign pieces."""
    draw = random.Random(0)
    whole = json.dumps(WHOLE, indent=1).encode()
    pieces = [
        b"\x00",
        b"\xff",
        b"null",
        b"1e999",
        b"{" * 5000,
        b"[" * 100000,
        b'"',
        b"\\u12",
        b"9" * 5000,
        b"\xef\xbb\xbf",
    ]
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(content) + 1)
            kind = draw.randrange(3)
            if kind == 0:
                content[at:] = b""
            elif kind == 1:
                content[at:at] = draw.choice(pieces)
            elif at < len(content):
                content[at] ^= 1 << draw.randrange(8)
        written(bytes(content))
        kept.record("wilson", solved=True, checks=1)
        assert kept.read()["wilson"]["solved"] and kept.score()[1] <= 2
        kept.forget()


def test_no_home_and_no_folder_raise_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv(kept.VARIABLE)

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(kept.Path, "home", no_home)
    monkeypatch.setattr(kept.tempfile, "gettempdir", lambda: str(tmp_path))
    kept.record("checker", solved=True)
    assert kept.read()["checker"]["solved"] and kept.path().is_relative_to(tmp_path)
    monkeypatch.setenv(kept.VARIABLE, str(tmp_path))  # a folder in its place
    kept.record("checker", solved=True)
    assert kept.read() == {}
    kept.forget()


def test_the_first_prediction_counts():
    kept.record_prediction("arms", "3", True)
    kept.record_prediction("arms", "4", False)
    kept.record_prediction("sign", "up", False)
    assert kept.prediction("arms") == {"guess": "3", "right": True} and kept.score() == (1, 2)
    assert kept.prediction("other") is None
