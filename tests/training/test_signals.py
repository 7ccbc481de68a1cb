import math

import pytest
import torch

from policy_gradients.language.rollout import Rollout
from policy_gradients.language.scoring import TokenScores
from policy_gradients.training.config import Clip
from policy_gradients.training.credit.group import surrogate
from policy_gradients.training.loop import train_step
from policy_gradients.training.presets import preset
from policy_gradients.training.setup import prepare
from policy_gradients.training.signals import end_scored
from policy_gradients.training.sources import task_with_reward


def rollout_of(completion_ids, mask, finished):
    ids, mask = torch.tensor(completion_ids), torch.tensor(mask, dtype=torch.float32)
    return Rollout(ids[:, :1], mask[:, :1], ids, mask, torch.tensor(finished), 1)


def test_whether_the_end_token_is_scored():
    ids = [[5, 2, 0], [5, 6, 2], [5, 6, 7], [2, 0, 0]]
    finished = [True, True, False, True]
    right = rollout_of(ids, [[1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 0, 0]], finished)
    assert [x for x in end_scored(right, [1, 2]) if not math.isnan(x)] == [1, 1, 1]
    wrong = rollout_of(ids, [[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0]], finished)
    assert [x for x in end_scored(wrong, [1, 2]) if not math.isnan(x)] == [0, 0, 1]
    assert math.isnan(end_scored(right, [1, 2])[2])


def rewarded(config, reward):
    """A run of the rule's prompts that is trained on another reward."""
    return prepare(config, task_with_reward(config, reward))


def number_of_e(completions):
    return [float(c.text.count("e")) for c in completions]


@pytest.fixture
def config(micro_folder):
    return {
        "model": str(micro_folder),
        "num_prompts": 3,
        "num_generations": 4,
        "max_new_tokens": 6,
        "max_prompt_tokens": 128,
        "precision": "no",
        "learning_rate": 1e-3,
        "credit": "completion",
    }


def test_a_healthy_first_step(config):
    run = rewarded(preset("tiny", **config, updates_per_batch=2), number_of_e)
    row = train_step(run, 0)
    assert row["kl"] == pytest.approx(0, abs=1e-5)
    assert row["sampler_mismatch"] == pytest.approx(0, abs=1e-5)
    assert row["ratio_at_start"] == 0
    assert 0 <= row["clipped_share"] < 0.5
    assert "kl_estimate" not in row and "value_error" not in row
    assert row["reward_min"] <= row["train_reward"] <= row["reward_max"]


def test_with_one_update_a_batch_the_clip_never_acts(config):
    run = rewarded(preset("tiny", **config, updates_per_batch=1), number_of_e)
    assert "clipped_share" not in train_step(run, 0)
    run = rewarded(preset("tiny", **config, clip_low=1e-6, clip_high=1e-6, updates_per_batch=2), number_of_e)
    assert train_step(run, 0)["clipped_share"] > 0.1


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_a_clip_of_the_weight_keeps_the_gradient_that_a_clip_of_the_ratio_drops(level):
    """By hand: ratios 4, 4, 1/4, 1/4 with advantages +1, -1, +1, -1; a clip at 1/2 and 2. Each a completion of one
    token, so that the completion's ratio is the token's."""
    ratios, pull = torch.tensor([4.0, 4.0, 0.25, 0.25]), torch.tensor([1.0, -1.0, 1.0, -1.0])
    old_log_probs, mask = torch.full((4, 1), -2.0), torch.ones(4, 1)
    expected = {"ratio": [0.0, 4.0, -0.25, 0.0], "weight": [-2.0, 2.0, -0.5, 0.5]}
    for place, gradient in expected.items():
        log_probs = (old_log_probs + ratios.log().unsqueeze(1)).requires_grad_()
        scores = TokenScores(log_probs, *[torch.zeros(4, 1)] * 3)
        old = TokenScores(old_log_probs, *[torch.zeros(4, 1)] * 3)
        clip = Clip(clip_low=0.5, clip_high=1.0, clip_place=place, ratio_level=level)
        losses = surrogate(scores, old, pull.unsqueeze(1), mask, clip)
        losses.loss.sum().backward()
        torch.testing.assert_close(log_probs.grad.squeeze(1), torch.tensor(gradient))


def test_the_share_that_is_clipped_is_of_either_side_where_the_weight_is(config):
    clip = {"clip_low": 1e-7, "clip_high": 1e-7, "updates_per_batch": 2}
    shares = {}
    for place in ("ratio", "weight"):
        run = rewarded(preset("tiny", **config, **clip, clip_place=place), number_of_e)
        shares[place] = train_step(run, 0)["clipped_share"]
    assert 0.1 < shares["ratio"] < shares["weight"] <= 1


def test_a_critic_that_says_zero_errs_by_the_whole_return(config):
    settings = preset("tiny", **config, critic="model", kl_weight=0.0)
    run = rewarded(settings, lambda c: [1.0 + x for x in number_of_e(c)])
    row = train_step(run, 0)
    assert row["value_error"] == pytest.approx(row["return_rms"]) and row["return_rms"] >= 1


def test_the_sampled_divergence_is_logged_beside_the_exact_one(config):
    run = rewarded(preset("tiny", **config, kl_estimator="k1"), number_of_e)
    first, second = (train_step(run, step) for step in range(2))
    assert first["kl_estimate"] == pytest.approx(0, abs=1e-5)
    assert second["kl"] > 0 and second["kl_estimate"] != second["kl"]


@pytest.mark.parametrize("aggregation", ["token", "sequence", "constant"])
@pytest.mark.parametrize("more", [{"scale": "batch_std"}, {"ratio_level": "sequence", "updates_per_batch": 2}], ids=str)
def test_accumulated_gradients_are_those_of_the_whole_batch(config, aggregation, more):
    """Micro-batches of 2 and 1 prompts against all 3 at once, in float64: the weights agree after the step."""
    weights = []
    for size in (2, 3):
        # a step of SGD's size in Adam's place: the first step of Adam is a sign, which rounding may turn
        settings = {**config, **more, "aggregation": aggregation, "micro_batch_prompts": size, "max_grad_norm": 1e9}
        run = rewarded(preset("tiny", **settings), number_of_e)
        run.model.double(), run.reference.double()
        run.optimizer = torch.optim.SGD(run.model.parameters(), lr=1.0)
        train_step(run, 0)
        weights.append([p.detach().clone() for p in run.model.parameters()])
    for one, whole in zip(*weights, strict=True):
        torch.testing.assert_close(one, whole, atol=1e-6, rtol=1e-6)
