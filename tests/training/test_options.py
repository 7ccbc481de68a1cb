"""Runs with the loop's less usual options: a critic, an entropy controller, groups of one; and the alarms aloud."""

import logging

import pytest
import torch
from safetensors.torch import load_file

from policy_gradients.training import loop
from policy_gradients.training.config import make_config, with_settings
from policy_gradients.training.loop import train, train_step
from policy_gradients.training.run_folder import read_metrics
from policy_gradients.training.setup import prepare
from policy_gradients.training.sources import task_with_reward


@pytest.fixture
def config(micro_folder):
    return make_config(
        model=str(micro_folder),
        num_prompts=4,
        num_generations=4,
        max_new_tokens=6,
        max_prompt_tokens=128,
        max_steps=4,
        save_every=2,
        precision="no",
        learning_rate=1e-3,
    )


def rewarded(config, reward):
    """A run of the rule's prompts that is trained on another reward."""
    return prepare(config, task_with_reward(config, reward))


def number_of_e(completions):
    return [float(c.text.count("e")) for c in completions]


CONTROLLER = {"entropy_schedule": "target", "entropy_weight": 0.01, "entropy_target": 9.0}


@pytest.mark.parametrize(
    "options", [{"critic": "head"}, {"critic": "model", "gae_lambda": 0.9}, CONTROLLER], ids=lambda o: next(iter(o))
)
def test_an_interrupted_run_resumes_exactly(config, tmp_path, monkeypatch, options):
    config = with_settings(config, **options)
    train(config, tmp_path / "whole", reward_function=number_of_e, progress=False)

    def interrupted(run, step):
        if step == 3:
            raise KeyboardInterrupt
        return train_step(run, step)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "train_step", interrupted)
        train(config, tmp_path / "cut", reward_function=number_of_e, progress=False)
    train(config, tmp_path / "cut", resume=True, reward_function=number_of_e, progress=False)
    whole, cut = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "cut"))
    for name, weight in whole.items():
        assert torch.equal(weight, cut[name]), name
    rows = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "cut")]
    assert [row["entropy_weight"] for row in rows[0]] == [row["entropy_weight"] for row in rows[1]]


def test_the_entropy_weight_follows_its_target(config):
    run = rewarded(with_settings(config, **CONTROLLER), number_of_e)
    weights = [train_step(run, step)["entropy_weight"] for step in range(3)]
    assert weights[0] == 0.01 and weights[0] < weights[1] < weights[2]  # 9 nats are more than 400 tokens can have


def test_shared_rewards_are_what_is_compared_and_not_what_is_reported(config):
    """Where all earn the same, nothing is learnt without sharing; with it, those win that are like fewer others."""

    def of(**settings):
        config_of_it = with_settings(config, temperature=0.1, **settings)  # so that some texts are alike
        return train_step(rewarded(config_of_it, lambda completions: [1.0] * len(completions)), 0)

    plain, shared = of(), of(sharing=1.0)
    assert plain["grad_norm"] == 0 and plain["zero_variance_share"] == 1
    assert shared["grad_norm"] > 0 and shared["zero_variance_share"] < 1
    assert shared["train_reward"] == 1 and shared["reward_std"] == 0
    assert shared["precision_bits"] == 32
    with pytest.raises(ValueError, match="sharing must be at most 1"):
        with_settings(config, sharing=2.0)
    with pytest.raises(ValueError, match="sharing has no part in this run: it needs credit completion"):
        with_settings(config, credit="state", sharing=0.5)


def test_tokens_that_would_take_entropy_away_keep_still(config):
    """Micro-batches of 1 and all prompts at once clip the same tokens: those of the whole batch."""
    steps = {}
    for size in (1, config.num_prompts):
        for share in (0.0, 0.2):
            run = rewarded(with_settings(config, micro_batch_prompts=size, clip_cov=share), number_of_e)
            steps[size, share] = train_step(run, 0)["grad_norm"]
    assert steps[1, 0.2] == pytest.approx(steps[config.num_prompts, 0.2], rel=1e-4)
    assert steps[1, 0.0] == pytest.approx(steps[config.num_prompts, 0.0], rel=1e-4)
    assert steps[1, 0.2] != pytest.approx(steps[1, 0.0], rel=1e-3)
    with pytest.raises(ValueError, match="clip_cov has no part in this run: it needs credit completion"):
        with_settings(config, credit="state", clip_cov=0.5)


def test_groups_of_one_learn_from_the_batch(config):
    options = {"num_prompts": 16, "num_generations": 1, "baseline": "batch_mean", "scale": "batch_std"}
    row = train_step(rewarded(with_settings(config, **options), number_of_e), 0)
    assert row["grad_norm"] > 0
    with pytest.raises(ValueError, match="num_generations must be at least 2"):
        with_settings(config, num_generations=1)


def test_a_learned_value_needs_no_group(config):
    row = train_step(rewarded(with_settings(config, num_generations=1, critic="head"), number_of_e), 0)
    assert row["grad_norm"] > 0


def test_an_alarm_is_heard_once_in_a_run(config, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        train(with_settings(config, max_steps=7), tmp_path / "run", reward_function=lambda c: [0.5] * len(c),
              progress=False)  # fmt: skip
    heard = [record.getMessage() for record in caplog.records if "[constant_reward]" in record.getMessage()]
    assert len(heard) == 1
    assert heard[0].startswith("step 5: every completion so far had the reward 0.5")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"critic": "head", "gae_lambda": 1.5}, "gae_lambda must be at most 1"),
        ({"entropy_schedule": "target", "entropy_weight": 0.0}, "needs an entropy_weight above 0"),
        ({"kl_place": "weighted_loss"}, "an exact divergence is no sample"),
        ({"critic": "head", "value_weight": -1.0}, "value_weight must not be negative"),
    ],
)
def test_options_that_do_not_go_together(config, options, message):
    with pytest.raises(ValueError, match=message):
        with_settings(config, **options)
