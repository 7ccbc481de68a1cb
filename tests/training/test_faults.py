"""A disk that fails at any moment, in any way: a run says so in a line, loses nothing, and goes on once it is mended.

A few moments here; more with FAULTS=100 pytest tests/training/test_faults.py.
"""

import errno
import json
import os
import random
import shutil
import signal
import sys

import pytest
from safetensors.torch import load_file

from policy_gradients.cli import main
from policy_gradients.training.run_folder import read_metrics

FAULTS = int(os.environ.get("FAULTS", 8))
CLOCK = ("seconds", "tokens_per_second", "elapsed")
EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.chmod", "os.scandir", "os.listdir",
          "shutil.rmtree")  # fmt: skip
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="breaks forked processes")]


@pytest.fixture(autouse=True)
def no_reading_by_others(monkeypatch):
    """That strangers can read the model is tried elsewhere; in a process of its own it takes longer than the run."""
    monkeypatch.setattr("policy_gradients.training.run_folder.check_export", lambda *_: None)


@pytest.fixture
def line(micro_folder):
    settings = {"model": micro_folder, "num-prompts": 2, "num-generations": 2, "max-new-tokens": 4, "max-steps": 4,
                "max-prompt-tokens": 128, "save-every": 1, "keep-checkpoints": 1, "precision": "no",
                "entropy-weight": 0.1, "learning-rate": 1e-3}  # fmt: skip
    return ["train", "--no-progress", *(text for k, v in settings.items() for text in (f"--{k}", str(v)))]


def result(folder):
    rows = [{k: v for k, v in row.items() if not k.startswith(CLOCK)} for row in read_metrics(folder / "metrics.jsonl")]
    weights = load_file(folder / "model" / "model.safetensors")
    return json.dumps(rows), {name: weight.numpy().tobytes() for name, weight in weights.items()}


def in_a_fork(work, said):
    """The exit status of a child that does `work`, with what it says in a file."""
    child = os.fork()
    if child == 0:
        sys.stderr = said.open("w")
        os._exit(work())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def go_on(line, folder):
    """Start, resume, or, where no more than a beginning was written, begin again."""
    resume = ["--resume"] if (folder / "config.json").exists() else []
    return main([*line, "--output-dir", str(folder), *resume])


def check(status, said, line, folder, whole):
    text = said.read_text()
    errors = [each for each in text.splitlines() if each.startswith("error: ")]
    assert "Traceback" not in text and status in (0, 2), text[-3000:]
    assert (status == 2) == (len(errors) == 1) and all(len(each) <= 300 for each in errors), text[-3000:]
    assert go_on(line, folder) == 0
    assert result(folder) == whole


def test_whatever_operation_fails_nothing_is_lost(line, tmp_path):
    whole = tmp_path / "whole"
    assert go_on(line, whole) == 0
    folder, counted, said = tmp_path / "broken", tmp_path / "counted", tmp_path / "said"

    def work(broken_at, number):
        count = 0

        def hook(event, arguments):
            nonlocal count
            if event in EVENTS and any(str(folder) in str(argument) for argument in arguments[:2]):
                count += 1
                if count == broken_at:
                    raise OSError(number, os.strerror(number), str(arguments[0]))

        sys.addaudithook(hook)
        status = go_on(line, folder)
        counted.write_text(str(count))
        return status

    assert in_a_fork(lambda: work(0, 0), said) == 0
    draw, operations = random.Random(0), int(counted.read_text())
    assert operations > 100
    for broken_at in draw.sample(range(1, operations + 1), min(FAULTS, operations)):
        shutil.rmtree(folder)
        number = draw.choice(ERRORS)
        status = in_a_fork(lambda broken_at=broken_at, number=number: work(broken_at, number), said)
        check(status, said, line, folder, result(whole))


def test_files_that_cannot_grow_lose_nothing(line, tmp_path):
    """As on a disk that is full: writes fail in the middle, in the libraries that write weights, too."""
    import resource

    whole, folder, said = tmp_path / "whole", tmp_path / "broken", tmp_path / "said"
    assert go_on(line, whole) == 0
    # of weights: the size of a figure, and of a log, depends on how many digits the clock's numbers have
    largest = max(file.stat().st_size for file in whole.rglob("*.safetensors"))

    def work(limit):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        return go_on(line, folder)

    draw = random.Random(0)
    for limit in [4096, largest - 1, *(draw.randint(4096, largest - 1) for _ in range(FAULTS // 4))]:
        status = in_a_fork(lambda limit=limit: work(limit), said)
        assert status == 2
        check(status, said, line, folder, result(whole))
        shutil.rmtree(folder)
