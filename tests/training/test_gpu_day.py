"""`tools/gpu_day.py` in small, on the CPU: every check but those of a GPU's own memory does here what it does there."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

TOOL = Path(__file__).parents[2] / "tools" / "gpu_day.py"
spec = importlib.util.spec_from_file_location("gpu_day", TOOL)
gpu_day = importlib.util.module_from_spec(spec)
sys.modules["gpu_day"] = gpu_day
spec.loader.exec_module(gpu_day)


def run(*arguments):
    return subprocess.run([sys.executable, str(TOOL), *map(str, arguments)], capture_output=True, text=True)


def test_it_trains_evaluates_and_keeps_what_is_small(micro_folder, tmp_path):
    checks = ["machine", "agreement", "page", "by-state"]
    done = run("--dry-run", "--model", micro_folder, "--output-dir", tmp_path, "--only", *checks)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("ok")]
    assert [line.split(":")[0].split()[1] for line in lines] == checks
    for name, credit in (("page", "group"), ("by-state", "state")):
        assert {file.name for file in (tmp_path / name).iterdir()} == {"config.json", "metrics.jsonl", "report.json"}
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert config["task"]["rule"] == "length=64&digits%3=0" and config["credit"]["kind"] == credit
        found = json.loads((tmp_path / f"{name}.json").read_text())
        assert found["passed"] and found["steps"] == 2 and 0 <= found["pass_rate"] <= 1
    assert json.loads((tmp_path / "agreement.json").read_text())["difference"] < 1e-4


@pytest.mark.skipif(
    "GPU_DAY" not in os.environ, reason="takes a minute; GPU_DAY=1 pytest tests/training/test_gpu_day.py"
)
def test_a_stopped_run_goes_on_as_if_it_had_not_been(micro_folder, tmp_path):
    done = run("--dry-run", "--model", micro_folder, "--output-dir", tmp_path, "--only", "resume")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "resume.json").read_text())["largest_difference"] == 0


@pytest.fixture
def day(tmp_path):
    return gpu_day.Day("none", tmp_path, True, 14.6, time.monotonic() + 60)


def test_a_check_that_fails_is_written_down_and_made_again_the_next_time(day, tmp_path, monkeypatch):
    calls = []

    def broken(day):
        calls.append(day)
        raise RuntimeError("the card is on fire")

    monkeypatch.setitem(gpu_day.CHECKS, "memory", broken)
    for made in (1, 2):
        found = gpu_day.check("memory", day)
        assert found["error"] == "RuntimeError: the card is on fire" and len(calls) == made
        assert json.loads((tmp_path / "memory.json").read_text())["passed"] is False
    monkeypatch.setitem(gpu_day.CHECKS, "memory", lambda day: calls.append(day) or {"peak_gib": 9.5})
    assert gpu_day.check("memory", day)["peak_gib"] == gpu_day.check("memory", day)["peak_gib"] == 9.5
    assert len(calls) == 3  # what has passed is not made again


def test_a_command_that_fails_or_hangs_says_so(day):
    with pytest.raises(RuntimeError, match=r"train ended with status 2: .*error: "):
        gpu_day.call(day, ["train", "--preset", "nobody"])
    with pytest.raises(RuntimeError, match=r"not done after 0\.0001 minutes"):
        gpu_day.call(day, ["train"], minutes=1e-4)
    over = dataclasses.replace(day, deadline=time.monotonic() - 1)
    with pytest.raises(RuntimeError, match=r"not done after 0 minutes"):
        gpu_day.call(over, ["train"])


def test_nothing_halved_under_too_little_memory_is_a_failure(day, tmp_path, monkeypatch):
    (tmp_path / "memory.json").write_text('{"peak_gib": 10}')
    said = []

    def pretend(day, line, gib):
        said.append(gib)
        return "out of memory with 2 prompts"

    monkeypatch.setattr(gpu_day, "call", pretend)
    monkeypatch.setattr(gpu_day, "read_metrics", lambda _: [{"micro_batch_prompts": 2}])
    with pytest.raises(RuntimeError, match=r"nothing was halved under 8.00 GiB; the whole took 10.00"):
        gpu_day.halving(day)
    monkeypatch.setattr(gpu_day, "read_metrics", lambda _: [{"micro_batch_prompts": 1}])
    assert gpu_day.halving(day) == {"micro_batch_prompts": [1], "warned": True}
    assert said == [8.0, 8.0]


def test_the_peak_is_read_from_what_a_process_said():
    assert gpu_day.peak_of("warning\npeak 3.250 GiB\n") == 3.25
    assert gpu_day.peak_of("run written to x\n") is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_what_can_be_done_here(tmp_path):
    done = run("--output-dir", tmp_path)
    assert done.returncode == 2 and "--dry-run makes the same checks in small on the CPU" in done.stderr
