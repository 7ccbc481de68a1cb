import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from policy_gradients.language import tasks
from policy_gradients.language.rewards import RewardError
from policy_gradients.language.tasks import RewardTask
from policy_gradients.training import distribution, loop, update
from policy_gradients.training.config import flat_of, with_settings
from policy_gradients.training.loop import train, train_step
from policy_gradients.training.presets import preset
from policy_gradients.training.run_folder import read_metrics
from policy_gradients.training.schedules import kl_weight, learning_rate
from policy_gradients.training.setup import prepare
from policy_gradients.training.sources import task_with_reward


@pytest.fixture
def config(micro_folder):
    return preset(
        "tiny",
        model=str(micro_folder),
        num_prompts=4,
        num_generations=4,
        max_new_tokens=6,
        max_prompt_tokens=128,
        max_steps=4,
        save_every=2,
        precision="no",
        micro_batch_prompts=3,
        learning_rate=1e-3,
        final_learning_rate=1.0,
        credit="completion",
        updates_per_batch=1,
        scale="none",
        kl_place="reward",
        kl_weight=0.03,
        kl_success_weight=0.03,
        prompt_kl_weight=0.0,
        entropy_weight=0.0,
    )


# the policy is fitted to a target, which is made from values by transitions
FITTED = {
    "credit": "state",
    "rule": "length=8&digits%3=0",
    "state_values": "transitions",
    "projection_weight": 2.0,
    "updates_per_batch": 2,
}


SHARED = {"sharded": True, "max_grad_norm": 0.01}  # so small that every gradient is clipped


def rewarded(config, reward):
    """A run of the rule's prompts that is trained on another reward."""
    return prepare(config, task_with_reward(config, reward))


def number_of_e(completions):
    """A dense reward that a random model can earn."""
    return [float(c.text.count("e")) for c in completions]


def comparable(rows):
    timing = ("seconds", "tokens_per_second", "elapsed")
    return [{k: v for k, v in row.items() if not k.startswith(timing)} for row in rows]


def weights_of(folder):
    """Of the exported model, by the names of the model that was trained: its export has zero biases beside them."""
    weights = load_file(folder / "model" / "model.safetensors")
    return {name: weight for name, weight in weights.items() if not name.endswith("o_proj.bias")}


def assert_same_run(one, other):
    a, b = (comparable(read_metrics(folder / "metrics.jsonl")) for folder in (one, other))
    assert json.dumps(a) == json.dumps(b)  # as text: NaN equals NaN
    for name, weight in weights_of(one).items():
        assert torch.equal(weight, weights_of(other)[name]), name


def cut_and_resumed(config, folder, cut_at, monkeypatch, reward_function=None):
    def interrupted(run, step):
        if step == cut_at:
            raise KeyboardInterrupt
        return train_step(run, step)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "train_step", interrupted)
        train(config, folder, reward_function=reward_function, progress=False)
    return train(config, folder, resume=True, reward_function=reward_function, progress=False)


@pytest.fixture
def finished(config, tmp_path):
    return train(config, tmp_path / "whole", reward_function=number_of_e, progress=False)


def test_a_run_moves_the_weights_and_logs_every_step(config, finished):
    rows = read_metrics(finished / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(row["grad_norm"] > 0 for row in rows)
    before = load_file(f"{config.model}/model.safetensors")
    moved = [name for name, weight in weights_of(finished).items() if not torch.equal(weight, before[name])]
    assert len(moved) > 10
    assert sorted(p.name for p in finished.iterdir()) == [
        "checkpoint-000002", "checkpoint-000004", "config.json", "metrics.jsonl", "model", "task.json",
    ]  # fmt: skip


def test_two_runs_with_one_seed_agree_and_another_seed_differs(config, finished, tmp_path):
    again = train(config, tmp_path / "again", reward_function=number_of_e, progress=False)
    assert_same_run(finished, again)
    other = with_settings(config, **{"seed": 1})
    train(other, tmp_path / "other", reward_function=number_of_e, progress=False)
    assert comparable(read_metrics(tmp_path / "other/metrics.jsonl")) != comparable(
        read_metrics(finished / "metrics.jsonl")
    )


@pytest.mark.parametrize("cut_at", [0, 1, 3])
def test_an_interrupted_run_resumes_exactly(config, finished, tmp_path, monkeypatch, cut_at):
    assert_same_run(finished, cut_and_resumed(config, tmp_path / "cut", cut_at, monkeypatch, number_of_e))


def test_a_full_disk_costs_the_steps_since_the_last_checkpoint_alone(config, finished, tmp_path, monkeypatch):
    written = []

    def save(state, path):
        written.append(path)
        if len(written) == 2:
            path.write_bytes(b"half of it")
            raise OSError(28, "No space left on device")
        torch.serialization.save(state, path)

    folder = tmp_path / "full"
    with (
        monkeypatch.context() as patch,
        pytest.raises(ValueError, match=r"could not be written.*No space left.*--resume"),
    ):
        patch.setattr(torch, "save", save)
        train(config, folder, reward_function=number_of_e, progress=False)
    names = sorted(p.name for p in folder.iterdir())
    assert names == ["checkpoint-000002", "config.json", "metrics.jsonl", "task.json"]
    train(config, folder, resume=True, reward_function=number_of_e, progress=False)
    assert_same_run(finished, folder)


def test_the_curriculum_is_part_of_a_checkpoint(config, tmp_path):
    folder = train(config, tmp_path / "run", progress=False)
    resumed = prepare(config)
    resumed.curriculum.tolerance = 99
    assert loop.RunFolder(folder, config, resume=True).restore(resumed) == 4
    assert 0 <= resumed.curriculum.tolerance <= config.curriculum.start_tolerance


def test_micro_batches_change_nothing(config, tmp_path):
    rows = {}
    for size in (1, 4):
        run = rewarded(with_settings(config, **{"micro_batch_prompts": size}), number_of_e)
        rows[size] = [train_step(run, step) for step in range(2)]
    for one, whole in zip(rows[1], rows[4], strict=True):
        for key in ("loss", "grad_norm", "entropy", "kl", "train_reward"):
            assert one[key] == pytest.approx(whole[key], rel=1e-4, abs=1e-6), key


class LittleMemory:
    """A scorer that finds no memory for more than `limit` prompts at once, from its `first_call`-th call on."""

    def __init__(self, scorer, limit, first_call=0):
        self.scorer, self.limit, self.first_call, self.calls = scorer, limit, first_call, 0
        self.parameters = scorer.parameters

    def __call__(self, rollout, *rest):
        self.calls += 1
        if self.calls > self.first_call and rollout.num_prompts > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.scorer(rollout, *rest)


@pytest.mark.parametrize(("updates", "first_call", "size"), [(1, 0, 4), (2, 0, 4), (2, 1, 4), (2, 2, 3)])
def test_out_of_memory_halves_the_micro_batch_and_changes_nothing_else(config, caplog, updates, first_call, size):
    changed = with_settings(config, updates_per_batch=updates, micro_batch_prompts=size, entropy_weight=0.1)
    rows, weights = {}, {}
    for memory in ("enough", "little"):
        run = rewarded(changed, number_of_e)
        if memory == "little":
            run.scorer = LittleMemory(run.scorer, 1, first_call)
        rows[memory] = [train_step(run, step) for step in range(2)]
        weights[memory] = [p.detach() for p in run.model.parameters()]
    assert [row["micro_batch_prompts"] for row in rows["little"]] == [1, 1]
    assert "out of memory with" in caplog.text and "it goes on with 1" in caplog.text
    for enough, little in zip(rows["enough"], rows["little"], strict=True):
        for key in ("loss", "grad_norm", "entropy", "kl", "train_reward", "ratio_at_start"):
            assert little[key] == pytest.approx(enough[key], rel=1e-4, abs=1e-6), key
    for enough, little in zip(weights["enough"], weights["little"], strict=True):
        torch.testing.assert_close(little, enough, atol=1e-5, rtol=1e-4)


def test_where_not_even_one_prompt_fits_it_says_what_to_change(config):
    run = rewarded(config, number_of_e)
    run.scorer = LittleMemory(run.scorer, 0)
    with pytest.raises(update.OutOfMemory, match="gradient_checkpointing"):
        train_step(run, 0)


def test_another_error_is_not_taken_for_a_lack_of_memory(config):
    run = rewarded(config, number_of_e)

    def broken(*_):
        raise RuntimeError("shapes do not match")

    run.scorer = broken
    with pytest.raises(RuntimeError, match="shapes do not match"):
        train_step(run, 0)


def test_recomputed_blocks_train_the_same(config):
    rows = {}
    for flag in (False, True):
        run = rewarded(with_settings(config, **{"gradient_checkpointing": flag}), number_of_e)
        rows[flag] = comparable([train_step(run, step) for step in range(2)])
    for plain, again in zip(rows[False], rows[True], strict=True):
        assert again == pytest.approx(plain, rel=1e-5, abs=1e-7, nan_ok=True)


def test_adapters_alone_are_trained_resumed_and_merged(config, tmp_path):
    pytest.importorskip("peft")
    config = with_settings(config, **{"lora_rank": 2, "learning_rate": 1e-2})
    whole = train(config, tmp_path / "whole", reward_function=number_of_e, progress=False)
    assert read_metrics(whole / "metrics.jsonl")[-1]["kl"] > 0
    before, after = load_file(f"{config.model}/model.safetensors"), weights_of(whole)
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(name.endswith("_proj.weight") for name in moved)
    shutil.copytree(whole, tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "checkpoint-000004")
    again = train(config, tmp_path / "again", resume=True, reward_function=number_of_e, progress=False)
    assert_same_run(whole, again)


def test_learning_goes_toward_reward(config):
    run = rewarded(with_settings(config, **{"max_steps": 40, "kl_weight": 0.0, "kl_success_weight": 0.0}), number_of_e)
    rewards = [train_step(run, step)["train_reward"] for step in range(40)]
    assert sum(rewards[-8:]) > 1.5 * sum(rewards[:8])


def test_a_strong_divergence_price_keeps_the_policy_home(config):
    run = rewarded(with_settings(config, **{"kl_weight": 50.0, "kl_success_weight": 50.0}), number_of_e)
    assert [train_step(run, step) for step in range(4)][-1]["kl"] < 0.05


@pytest.mark.parametrize("updates", [1, 3])
def test_several_updates_a_batch(config, updates):
    run = rewarded(with_settings(config, **{"updates_per_batch": updates}), number_of_e)
    assert math.isfinite(train_step(run, 0)["loss"])


def test_the_reference_reads_a_batch_once_for_all_updates(config, monkeypatch):
    run = rewarded(with_settings(config, updates_per_batch=3, micro_batch_prompts=2), number_of_e)
    reads = []

    def counted(model, rollout, real=update.hidden_states):
        reads.append(model is run.reference)
        return real(model, rollout)

    monkeypatch.setattr(update, "hidden_states", counted)
    monkeypatch.setattr("policy_gradients.language.scoring.hidden_states", counted)
    train_step(run, 0)
    assert sum(reads) == 2 and len(reads) - sum(reads) == 3 * 2  # two pieces


@pytest.mark.parametrize(
    ("reward", "message"), [(lambda c: [0.0], "1 rewards for 16"), (lambda c: [float("nan")] * len(c), "returned nan")]
)
def test_a_broken_reward_function_fails_before_training(config, tmp_path, reward, message):
    with pytest.raises(RewardError, match=message):
        train(config, tmp_path / "run", reward_function=reward, progress=False)
    assert not (tmp_path / "run").exists()


def test_a_constant_reward_warns_before_training(config, caplog):
    with caplog.at_level(logging.WARNING):
        rewarded(config, lambda completions: [1.0] * len(completions))
    assert "a constant reward has no gradient" in caplog.text
    assert "no held-out rows" not in caplog.text


def test_a_task_that_cannot_be_evaluated_warns_before_training(config, caplog):
    rows = [{"prompt": "Say something."}]
    with caplog.at_level(logging.WARNING):
        prepare(config, RewardTask(rows, reward=lambda prompts, completions: [0.0] * len(completions)))
    assert "the task has no held-out rows" in caplog.text


@pytest.mark.parametrize("credit", ["completion", "state"])
def test_silent_groups_are_an_alarm_where_completions_are_compared_within_them(config, tmp_path, monkeypatch, credit):
    silent = []
    monkeypatch.setattr(loop, "ring_once", lambda rows, rung: silent.append("uniform_groups" in rung) or [])
    train(with_settings(config, credit=credit), tmp_path / "run", progress=False)
    assert silent == [credit == "state"] * 4


def test_a_gradient_that_is_not_finite_is_skipped(config, caplog):
    run = rewarded(config, number_of_e)
    before = {name: p.clone() for name, p in run.model.named_parameters()}
    run.accelerator.clip_grad_norm_ = lambda parameters, limit: torch.tensor(math.nan)
    train_step(run, 0)
    assert all(torch.equal(p, before[name]) for name, p in run.model.named_parameters())
    assert "not finite" in caplog.text


def test_schedules():
    config = preset("tiny", max_steps=90, warmup_steps=10, learning_rate=1.0, final_learning_rate=0.1,
                    kl_weight=0.01, kl_success_weight=0.05)  # fmt: skip
    rates = [learning_rate(config, step) for step in range(90)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[59] == 1.0 and rates[89] == pytest.approx(0.1)
    assert kl_weight(config, 0.0) == 0.01 and kl_weight(config, 1.0) == pytest.approx(0.05)


@pytest.mark.parametrize("problem", ["other run", "foreign files", "other settings", "nothing to resume", "a file"])
def test_an_output_folder_is_never_overwritten(config, tmp_path, problem):
    folder, resume, message = tmp_path / "run", False, "not empty"
    if problem == "a file":
        folder.write_text("mine")
        message = "is a file"
    elif problem == "foreign files":
        folder.mkdir()
        (folder / "thesis.tex").write_text("mine")
    elif problem == "nothing to resume":
        resume, message = True, "holds no run"
    else:
        loop.RunFolder(folder, config, resume=False).open(0)
        if problem == "other settings":
            resume, message = True, "seed is 0, not 5"
            config = with_settings(config, **{"seed": 5})
    with pytest.raises(ValueError, match=message):
        train(config, folder, resume=resume, progress=False)


def test_a_damaged_checkpoint_is_refused(config, finished):
    weights = finished / "checkpoint-000004" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="checkpoint-000004 is damaged"):
        train(config, finished, resume=True, reward_function=number_of_e, progress=False)


def test_pickled_code_in_a_checkpoint_is_not_run(config, finished, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"state": Evil()}, finished / "checkpoint-000004" / "optimizer.pt")
    with pytest.raises(ValueError, match="damaged"):
        train(config, finished, resume=True, reward_function=number_of_e, progress=False)
    assert not (tmp_path / "owned").exists()


def command(config, folder, *more):
    own, theirs = flat_of(config), flat_of(preset("tiny"))
    settings = {k: v for k, v in own.items() if k not in theirs or v != theirs[k]}
    options = [text for k, v in settings.items() for text in (f"--{k.replace('_', '-')}", str(v)) if text != "True"]
    return ["-m", "policy_gradients", "train", "--output-dir", str(folder), "--no-progress",
            "--no-fresh-process", *options, *more]  # fmt: skip


def in_processes(count, config, folder, *more):
    """Train as a user would, from a shell."""
    launch = [] if count == 1 else ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *launch, *command(config, folder, *more)], check=True, env=environment)
    return read_metrics(folder / "metrics.jsonl")


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"credit": "state"}, FITTED, SHARED], ids=["returns", "transitions", "sharded"])
def test_two_processes_equal_one(config, more, tmp_path):
    # a random model earns nothing: the bonus makes sure that there is a gradient to agree on
    config = with_settings(config, **{"entropy_weight": 0.1, **more})
    alone = in_processes(1, with_settings(config, sharded=False), tmp_path / "1")
    both = in_processes(2, config, tmp_path / "2")
    assert len(alone) == len(both) == 4
    assert [row.pop("processes") for row in alone + both] == 4 * [1] + 4 * [2]
    for one, two in zip(comparable(alone), comparable(both), strict=True):
        assert one.keys() == two.keys()
        for key, value in one.items():
            # a divergence is the small difference of two sums of about 6 nats, in float32
            assert two[key] == pytest.approx(value, rel=1e-4, abs=4e-6, nan_ok=True), key
    for name, weight in weights_of(tmp_path / "1").items():
        torch.testing.assert_close(weights_of(tmp_path / "2")[name], weight, atol=1e-6, rtol=1e-5)


@pytest.mark.slow
def test_a_model_in_shares_resumes_exactly(config, tmp_path):
    config = with_settings(config, **{"entropy_weight": 0.1, "sharded": True})
    in_processes(2, config, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for left in ("checkpoint-000004", "model"):
        shutil.rmtree(tmp_path / "cut" / left)
    in_processes(2, config, tmp_path / "cut", "--resume")
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_shares_need_somebody_to_share_with(config, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="several processes: torchrun"):
        train(with_settings(config, sharded=True), tmp_path / "run", progress=False)
    for more in ({"lora_rank": 4}, {"precision": "fp16"}):
        with pytest.raises(ValueError, match="sharded goes without"):
            with_settings(config, sharded=True, **more)
    monkeypatch.setattr(distribution, "choose_precision", lambda device: "fp16")
    with pytest.raises(ValueError, match="bf16 or no: fp16's gradient scaler"):
        prepare(with_settings(config, sharded=True, precision="auto"))


@pytest.mark.slow
def test_a_killed_process_resumes_exactly(config, tmp_path):
    config = with_settings(config, **{"max_steps": 12, "entropy_weight": 0.1})
    whole = train(config, tmp_path / "whole", progress=False)
    folder = tmp_path / "killed"
    # one thread, as in this process: another number of threads rounds sums differently
    process = subprocess.Popen([sys.executable, *command(config, folder)], env={**os.environ, "OMP_NUM_THREADS": "1"})
    while process.poll() is None and not list(folder.glob("checkpoint-*")):
        time.sleep(0.01)
    process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    process.wait()
    train(config, folder, resume=True, progress=False)
    assert_same_run(whole, folder)


def test_a_run_ends_when_the_rule_is_met_and_stays_ended(config, tmp_path):
    config = with_settings(config, stop_above=0.45)

    def content(completions):  # all pass: running mean 0.2, 0.36, 0.488
        return [1.0] * len(completions)

    folder = train(config, tmp_path / "short", reward_function=content, progress=False)
    assert len(read_metrics(folder / "metrics.jsonl")) == 3
    assert (folder / "checkpoint-000003").is_dir() and (folder / "model").is_dir()
    train(config, folder, resume=True, reward_function=content, progress=False)
    assert len(read_metrics(folder / "metrics.jsonl")) == 3


def test_the_anchor_on_the_prompts_is_part_of_the_loss(config, tmp_path):
    """Without rewards that differ, and without a price on completions, the prompts' divergence alone has a gradient."""
    config = with_settings(config, kl_weight=0.0, kl_success_weight=0.0, curriculum=False)
    norms = []
    for weight in (0.0, 5.0):
        run = rewarded(with_settings(config, prompt_kl_weight=weight), lambda completions: [0.0] * len(completions))
        with torch.no_grad():
            for parameter in run.model.parameters():
                parameter.add_(0.05)
        norms.append(train_step(run, 0)["grad_norm"])
    assert norms[0] < 1e-8 < 1e-3 < norms[1]


@pytest.fixture
def earning(monkeypatch):
    """The rule's reward replaced by one that a random model can earn, while credit stays with the checker's states."""
    monkeypatch.setattr(tasks, "call_reward", lambda function, completions: number_of_e(completions))


def test_credit_by_state_learns_what_states_are_worth_and_moves_the_weights(config, earning):
    config = with_settings(config, credit="state")
    run = prepare(config)
    assert run.credit.values.counts.sum() == 0
    first = train_step(run, 0)
    assert first["grad_norm"] > 0  # the first batch is learnt from at once
    seen = run.credit.values.counts.sum()
    train_step(run, 1)
    assert run.credit.values.counts.sum() > seen


@pytest.mark.parametrize("place", ["loss", "reward"])
def test_a_price_on_divergence_is_in_the_values_of_states_or_charged_to_tokens(config, earning, monkeypatch, place):
    """Same samples and rewards: states are worth less by what the policy has moved away along the way, once."""
    config = with_settings(config, credit="state", kl_place=place)
    sums = {}
    for price in (0.0, 5.0):
        run = prepare(with_settings(config, kl_weight=1e-12, kl_success_weight=1e-12))
        train_step(run, 0)
        monkeypatch.setattr(loop, "kl_weight", lambda config, pass_rate, price=price: price)
        train_step(run, 1)
        sums[price] = run.credit.values.sums.clone()
    assert (sums[5.0] < sums[0.0] - 1e-6).any() == (place == "loss")


def test_state_values_are_part_of_a_checkpoint(config, tmp_path):
    config = with_settings(config, credit="state")
    folder = train(config, tmp_path / "run", progress=False)
    resumed = prepare(config)
    loop.RunFolder(folder, config, resume=True).restore(resumed)
    assert resumed.credit.values.counts.sum() > 0


@pytest.fixture
def projecting(config):
    return with_settings(
        config, credit="state", state_values="transitions", projection_weight=4.0, curriculum_gate="reward"
    )


def test_values_from_transitions_need_no_reward_to_start_from(projecting):
    """No completion of a random model earns anything; what an end would earn is known, and where tokens lead."""
    run = prepare(with_settings(projecting, partial_credit=False))
    rows = [train_step(run, step) for step in range(2)]
    assert all(row["train_reward"] == 0 and row["grad_norm"] > 0 for row in rows)
    values = run.credit.values
    assert values.counts.sum() > 0
    torch.testing.assert_close(values.sums.sum(1), values.counts)


def test_micro_batches_change_nothing_about_a_projection(projecting, earning):
    rows, tables = {}, {}
    for size in (1, 4):
        run = prepare(with_settings(projecting, micro_batch_prompts=size, updates_per_batch=2))
        rows[size] = [train_step(run, step) for step in range(2)]
        tables[size] = run.credit.values.sums
    for one, whole in zip(rows[1], rows[4], strict=True):
        for key in ("loss", "grad_norm", "entropy", "kl"):
            assert one[key] == pytest.approx(whole[key], rel=1e-4, abs=1e-6), key
    torch.testing.assert_close(tables[1], tables[4], atol=1e-4, rtol=1e-4)


def test_rare_rewards_are_worth_more_in_values_from_transitions(projecting):
    run = prepare(projecting)
    rule = run.task.reward_function(loop.tolerance(run))
    plain = run.credit.checker.end_rewards(rule)
    for mean_square, unit in ((0.25, 0.5), (1e-6, 0.2)):
        run.credit.mean_square_reward = mean_square
        run.credit.assign(torch.zeros(1, 1), rule)
        torch.testing.assert_close(run.credit.ended, plain / unit)


def test_a_run_with_a_projection_resumes_exactly(projecting, tmp_path, monkeypatch, earning):
    whole = train(projecting, tmp_path / "whole", progress=False)

    assert_same_run(whole, cut_and_resumed(projecting, tmp_path / "cut", 3, monkeypatch))


def test_a_reward_function_and_credit_by_state_are_refused_before_any_work(projecting, tmp_path):
    with pytest.raises(ValueError, match="credit to completion"):
        train(projecting, tmp_path / "own", reward_function=number_of_e, progress=False)
    assert not (tmp_path / "own").exists()


def test_runs_of_two_precisions_in_one_process(config, tmp_path):
    for precision in ("no", "bf16"):
        settings = with_settings(config, precision=precision, max_steps=1)
        train(settings, tmp_path / precision, progress=False)
