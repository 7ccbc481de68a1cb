"""Checkpoints: whole or not at all, whatever moment the process is killed at; refused when they are not this run's."""

import json
import os
import random
import shutil
import signal
import sys
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from policy_gradients.language.models import load_model
from policy_gradients.training import loop
from policy_gradients.training.checkpoint import seal
from policy_gradients.training.config import make_config, with_settings
from policy_gradients.training.loop import train
from policy_gradients.training.run_folder import PARTIAL, RunFolder, read_metrics
from policy_gradients.training.setup import prepare

TIMING = ("seconds", "tokens_per_second", "elapsed")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")


@pytest.fixture
def config(micro_folder):
    return make_config(
        model=str(micro_folder),
        num_prompts=2,
        num_generations=2,
        max_new_tokens=4,
        max_prompt_tokens=128,
        max_steps=5,
        save_every=1,
        keep_checkpoints=1,
        precision="no",
        learning_rate=1e-3,
        entropy_weight=0.1,  # a random model earns nothing: so that there is a gradient
    )


@pytest.fixture
def whole(config, tmp_path):
    return train(config, tmp_path / "whole", progress=False)


def assert_same_run(one, other):
    rows = [read_metrics(folder / "metrics.jsonl") for folder in (one, other)]
    a, b = ([{k: v for k, v in row.items() if not k.startswith(TIMING)} for row in run] for run in rows)
    assert json.dumps(a) == json.dumps(b)
    a, b = (load_file(folder / "model" / "model.safetensors") for folder in (one, other))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in other.iterdir())


def in_a_fork(work):
    """The process id of a child that does `work` and ends."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:  # must not get back into pytest
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return child


def sealed_again(checkpoint):
    """Checksums for what is in it now, as one would make them who means to deceive."""
    state = json.loads((checkpoint / "state.json").read_text())
    seal(checkpoint, {name: value for name, value in state.items() if name not in ("files", "checksum")})


def resume_or_start(config, folder):
    train(config, folder, resume=(folder / "config.json").exists(), progress=False)


def watch_files(folder, on_operation):
    """Call `on_operation` with a count before each thing that this process asks of a path in `folder`, from now on."""
    count = 0

    def hook(event, arguments):
        nonlocal count
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree") and any(
            str(folder) in str(argument) for argument in arguments
        ):
            count += 1
            on_operation(count)

    sys.addaudithook(hook)


@needs_fork
@pytest.mark.slow
def test_killed_between_two_file_operations_a_run_resumes_exactly(config, whole, tmp_path):
    """At twelve of them, of which most are in the middle of a checkpoint: its files, its name, what it replaces."""
    folder, counted = tmp_path / "killed", tmp_path / "counted"

    def work(killed_at=None):
        def operation(count):
            counted.write_text(str(count))
            if count == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)

        watch_files(folder, operation)
        train(config, folder, progress=False)

    assert os.waitpid(in_a_fork(work), 0)[1] == 0
    operations = int(counted.read_text())
    assert operations > 50
    for killed_at in random.Random(0).sample(range(1, operations + 1), 12):
        shutil.rmtree(folder)
        _, status = os.waitpid(in_a_fork(lambda killed_at=killed_at: work(killed_at)), 0)
        assert os.WIFSIGNALED(status)
        resume_or_start(config, folder)
        assert_same_run(whole, folder)
        folder.mkdir(exist_ok=True)


@needs_fork
@pytest.mark.slow
def test_killed_again_and_again_at_random_times_a_run_resumes_exactly(config, tmp_path):
    config, folder = with_settings(config, max_steps=8), tmp_path / "killed"
    start = time.perf_counter()
    whole = train(config, tmp_path / "whole", progress=False)
    draw, longest, kills = random.Random(0), time.perf_counter() - start, 0
    for attempt in range(12):
        child = in_a_fork(lambda: resume_or_start(config, folder))
        if attempt == 0:  # in its first steps, whatever the machine does meanwhile
            while not (folder / "metrics.jsonl").exists() and time.perf_counter() - start < 60:
                time.sleep(0.001)
        else:
            time.sleep(draw.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        kills += os.WIFSIGNALED(status)
        if os.WIFEXITED(status):
            break
    resume_or_start(config, folder)
    assert kills > 0
    assert_same_run(whole, folder)


def test_what_a_killed_process_left_half_written_is_no_checkpoint_and_goes(config, whole):
    half = whole / f"checkpoint-000009{PARTIAL}"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    (whole / f"metrics.jsonl{PARTIAL}").write_bytes(b"half")
    before = read_metrics(whole / "metrics.jsonl")
    train(config, whole, resume=True, progress=False)
    assert read_metrics(whole / "metrics.jsonl") == before
    assert not list(whole.glob(f"*{PARTIAL}"))


def test_the_last_ones_and_the_best_one_are_kept(config, tmp_path, monkeypatch):
    rates = iter([0.1, 0.7, 0.2, 0.7, 0.3, 0.4])

    def step(run, number):
        run.pass_rate = next(rates)
        return {"step": number + 1, "strict_rate": 0.0}

    monkeypatch.setattr(loop, "train_step", step)
    monkeypatch.setattr(loop, "_postfix", lambda metrics: "")
    monkeypatch.setattr(loop, "ring_once", lambda rows, rung: [])
    monkeypatch.setattr(loop, "require_finite", lambda *_: None)
    config = with_settings(config, max_steps=6, keep_checkpoints=1)
    folder = RunFolder(train(config, tmp_path / "run", progress=False), config, resume=True)
    assert [path.name for path in folder.checkpoints()] == ["checkpoint-000004", "checkpoint-000006"]
    assert folder.best_checkpoint().name == "checkpoint-000004"


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_checkpoint_is_refused(config, whole, name, damage):
    file = whole / "checkpoint-000005" / name
    content = file.read_bytes()
    file.unlink() if damage == "gone" else file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"checkpoint-000005 is damaged .*; delete it to go back one"):
        train(config, whole, resume=True, progress=False)


def test_a_checkpoint_without_some_of_the_weights_is_refused(config, whole):
    file = whole / "checkpoint-000005" / "model.safetensors"
    weights = load_file(file)
    del weights["model.norm.weight"]
    save_file(weights, file)
    sealed_again(file.parent)
    with pytest.raises(ValueError, match=r"damaged .*model\.norm\.weight"):
        train(config, whole, resume=True, progress=False)


def test_a_checkpoint_of_another_run_is_refused(config, whole, tmp_path):
    other = train(with_settings(config, seed=3, max_steps=6), tmp_path / "other", progress=False)
    shutil.copytree(other / "checkpoint-000006", whole / "checkpoint-000006")
    with pytest.raises(ValueError, match=r"another config \(seed is 3, not 0, max_steps is 6, not 5\)"):
        train(config, whole, resume=True, progress=False)


@pytest.mark.parametrize("name", ["optimizer.pt", "scaler.pt"])
def test_pickled_code_is_never_run(config, whole, tmp_path, name):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"state": Evil()}, whole / "checkpoint-000005" / name)
    run = prepare(config)
    run.accelerator.scaler = torch.amp.GradScaler("cpu")  # as fp16 has one
    with pytest.raises(ValueError, match="checkpoint-000005 is damaged"):
        RunFolder(whole, config, resume=True).restore(run)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("fresh_process", [True, False])
def test_a_model_that_others_would_misread_is_kept_with_a_warning(
    config, micro_folder, tmp_path, caplog, fresh_process
):
    """With windows it has no Llama to be written as, and AutoTokenizer replaces its tokenizer by Qwen2's."""
    windows = shutil.copytree(micro_folder, tmp_path / "windows")
    settings = json.loads((windows / "config.json").read_text())
    (windows / "config.json").write_text(json.dumps({**settings, "use_sliding_window": True, "sliding_window": 512}))
    config = with_settings(config, model=str(windows), max_steps=1)
    folder = train(config, tmp_path / "run", progress=False, fresh_process=fresh_process)
    assert f"AutoTokenizer of the exported {folder / 'model'} encodes 0 of 53 texts as training did" in caplog.text
    _, tokenizer = load_model(str(folder / "model"))
    assert tokenizer.encode("The river") == load_model(str(windows))[1].encode("The river")


def test_the_written_model_samples_as_it_was_trained(config, tmp_path, caplog):
    folder = train(with_settings(config, max_steps=1, temperature=0.7), tmp_path / "run", progress=False)
    assert "exported" not in caplog.text
    sampling = json.loads((folder / "model" / "generation_config.json").read_text())
    wanted = {
        "do_sample": True,
        "temperature": 0.7,
        "top_p": 1.0,
        "top_k": 0,
        "eos_token_id": [0, 2],
        "pad_token_id": 0,
    }
    assert {key: sampling[key] for key in wanted} == wanted
