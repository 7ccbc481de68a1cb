"""Stopped by any signal at any moment, a run goes on as if nothing had been.

A few moments here; more with STOPS=30 PAIR_STOPS=30 pytest tests/training/test_stops.py.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file

from policy_gradients.cli import main
from policy_gradients.language.rewards import RewardError
from policy_gradients.training import loop
from policy_gradients.training.alarms import NotFinite
from policy_gradients.training.config import make_config
from policy_gradients.training.loop import train, train_step
from policy_gradients.training.run_folder import read_metrics
from policy_gradients.training.stops import Interrupted

STOPS, PAIR_STOPS = (int(os.environ.get(name, few)) for name, few in (("STOPS", 4), ("PAIR_STOPS", 3)))
CLOCK = ("seconds", "tokens_per_second", "elapsed")
SIGNALS = [getattr(signal, name) for name in ("SIGKILL", "SIGTERM", "SIGINT") if hasattr(signal, name)]
SETTINGS = {"num_prompts": 2, "num_generations": 2, "max_new_tokens": 4, "max_prompt_tokens": 128, "max_steps": 9,
            "save_every": 2, "precision": "no", "learning_rate": 1e-3, "entropy_weight": 0.1}  # fmt: skip


@pytest.fixture(autouse=True)
def no_reading_by_others(monkeypatch):
    """That strangers can read the model is tried elsewhere; in a process of its own it takes longer than the run."""
    monkeypatch.setattr("policy_gradients.training.run_folder.check_export", lambda *_: None)


@pytest.fixture(autouse=True)
def ctrl_c_is_heard():
    """Whoever runs the tests in the background of a shell has it ignored, and so have their children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def config(micro_folder):
    return make_config(model=str(micro_folder), **SETTINGS)


def command(config, folder, resume):
    options = [text for name, value in SETTINGS.items() for text in ("--" + name.replace("_", "-"), str(value))]
    line = ["train", "--output-dir", str(folder), "--no-progress", "--model", config.model, *options]
    line += ["--credit", "completion", "--updates-per-batch", "1", "--kl-place", "reward"]
    return line + ["--resume"] * resume


def assert_same(one, other):
    rows = [
        [
            {k: v for k, v in row.items() if not k.startswith((*CLOCK, "processes"))}
            for row in read_metrics(folder / "metrics.jsonl")
        ]
        for folder in (one, other)
    ]
    assert json.dumps(rows[0]) == json.dumps(rows[1])
    for part in ("model", "checkpoint-000009"):
        a, b = (load_file(folder / part / "model.safetensors") for folder in (one, other))
        assert {k: v.numpy().tobytes() for k, v in a.items()} == {k: v.numpy().tobytes() for k, v in b.items()}
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}


def stopping(run, step, at, number):
    if step == at:
        os.kill(os.getpid(), number)
    return train_step(run, step)


@pytest.mark.parametrize("number", [n for n in SIGNALS if n != getattr(signal, "SIGKILL", None)])
def test_a_signal_lets_the_step_end_and_keeps_it(config, tmp_path, monkeypatch, number):
    whole = train(config, tmp_path / "whole", progress=False)
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", lambda run, step: stopping(run, step, 4, number))
        with pytest.raises(Interrupted, match=r"stopped after step 5.*go on with --resume") as stop:
            train(config, tmp_path / "cut", progress=False)
    assert stop.value.number == number and signal.getsignal(number) == before
    assert (tmp_path / "cut" / "checkpoint-000005").is_dir() and not (tmp_path / "cut" / ".lock").exists()
    train(config, tmp_path / "cut", resume=True, progress=False)
    shutil.rmtree(tmp_path / "cut" / "checkpoint-000005", ignore_errors=True)
    shutil.rmtree(tmp_path / "whole" / "checkpoint-000008", ignore_errors=True)
    shutil.rmtree(tmp_path / "cut" / "checkpoint-000008", ignore_errors=True)
    assert_same(whole, tmp_path / "cut")


def test_a_second_ctrl_c_drops_the_step(config, tmp_path, monkeypatch):
    def twice(run, step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1.2)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        return train_step(run, step)

    monkeypatch.setattr(loop, "train_step", twice)
    with pytest.raises(Interrupted, match="the step was dropped"):
        train(config, tmp_path / "run", progress=False)
    assert len(read_metrics(tmp_path / "run" / "metrics.jsonl")) == 3


def test_a_reward_that_raises_keeps_the_step_before(config, tmp_path):
    calls = []

    def reward(completions):
        calls.append(1)
        if len(calls) == 5:  # the first was a trial before training
            raise RuntimeError("no more")
        return [float(c.text.count("e")) for c in completions]

    with pytest.raises(RewardError, match=r"RuntimeError: no more \(line \d+ of .*test_stops\.py\)"):
        train(config, tmp_path / "run", reward_function=reward, progress=False)
    assert [path.name for path in sorted((tmp_path / "run").glob("checkpoint-*"))][-1] == "checkpoint-000003"
    calls[:] = [1] * 10
    train(config, tmp_path / "run", resume=True, reward_function=reward, progress=False, allow_changed_task=True)
    assert [row["step"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == list(range(1, 10))


@pytest.mark.parametrize("broken", ["loss", "grad_norm", "weights"])
def test_a_run_that_is_not_finite_fails_and_keeps_the_last_good_checkpoint(config, tmp_path, monkeypatch, broken):
    def step(run, number):
        row = train_step(run, number)
        if number == 5 and broken == "weights":
            next(run.model.parameters()).data[0, 0] = float("inf")
        return {**row, broken: float("nan")} if number == 5 and broken != "weights" else row

    monkeypatch.setattr(loop, "train_step", step)
    with pytest.raises(NotFinite, match="step 6"):
        train(config, tmp_path / "run", progress=False)
    assert sorted(path.name for path in (tmp_path / "run").glob("*[0-9l]")) == [
        "checkpoint-000002", "checkpoint-000004", "metrics.jsonl",
    ]  # fmt: skip
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="stops forked processes")
def test_stopped_at_random_moments_by_any_signal_a_run_goes_on_exactly(config, tmp_path):
    assert main(command(config, tmp_path / "whole", False)) == 0
    start = time.perf_counter()
    assert main(command(config, tmp_path / "again", False)) == 0
    longest, draw, stopped = time.perf_counter() - start, random.Random(0), 0
    while stopped < STOPS:
        folder = tmp_path / f"stopped-{stopped}"
        for _ in range(20):  # until it has come to its end
            number = draw.choice(SIGNALS)
            child = os.fork()
            if child == 0:
                os._exit(main(command(config, folder, (folder / "config.json").exists())))
            time.sleep(draw.uniform(0, longest))
            os.kill(child, number)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert status in (0, -number, 128 + number), (number, status)
            if status == 0:
                break
            stopped += 1
        if status != 0:
            assert main(command(config, folder, (folder / "config.json").exists())) == 0
        for each in (folder, tmp_path / "whole"):  # which others are kept depends on where it was stopped
            for old in each.glob("checkpoint-00000[1-8]"):
                shutil.rmtree(old)
        assert_same(tmp_path / "whole", folder)
    print("stopped", stopped)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="SIGKILL")
def test_two_processes_stopped_at_random_moments_go_on_exactly(config, tmp_path):
    """torchrun hands SIGTERM and SIGINT on to its workers; one that is killed leaves them behind, so all are killed."""
    psutil = pytest.importorskip("psutil")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "policy_gradients"]

    def launch(folder):
        line = [sys.executable, *launcher, *command(config, folder, (folder / "config.json").exists())]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with (tmp_path / "said.txt").open("w") as said:  # a pipe would be held open by whoever is left
            return subprocess.Popen(line, env=environment, stdout=said, stderr=said)

    def stop(process, number):
        family = [process, *psutil.Process(process.pid).children(recursive=True)]
        for each in family if number == signal.SIGKILL else [process]:
            each.send_signal(number)

    def ended(process):
        try:
            return process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            stop(process, signal.SIGKILL)
            pytest.fail(f"does not end: {(tmp_path / 'said.txt').read_text()[-3000:]}")

    start = time.perf_counter()
    assert ended(launch(tmp_path / "whole")) == 0
    longest, draw = time.perf_counter() - start, random.Random(1)
    stopped = 0
    for again in range(-(-PAIR_STOPS // len(SIGNALS))):
        folder = tmp_path / f"stopped-{again}"
        for number in SIGNALS:
            process = launch(folder)
            time.sleep(draw.uniform(0.4 * longest, 0.8 * longest))
            if process.poll() is None:
                stop(process, number)
            if ended(process) == 0:
                break
            stopped += 1
        else:
            assert ended(launch(folder)) == 0, (tmp_path / "said.txt").read_text()[-3000:]
        for each in (folder, tmp_path / "whole"):
            for old in each.glob("checkpoint-00000[1-8]"):
                shutil.rmtree(old)
        assert_same(tmp_path / "whole", folder)
    print("stopped", stopped)
