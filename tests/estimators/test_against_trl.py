"""A second opinion: TRL's own code on the same numbers, where TRL is installed (`pip install trl`; it is not required).

Written against TRL 1.16. Where its conventions are not ours:

- Standard deviation of a group: divides by G - 1 and adds 1e-4. The same by default here (`correction`, `epsilon`).
- Standard deviation of the batch: that of the rewards, even where the mean is the group's (`batch_reward_std`);
  `batch_std` is of what is left after the baseline.
- A group of one has advantage 0; here it is an error, as there is nothing to compare with.
- A reward that is None or NaN leaves its completion out; here it is an error.
- An empty completion counts as one of length 1 that adds 0; here it is an error, as sampling makes one token at least.
- `grpo`, `bnpo` and `dr_grpo` are means over a micro-batch, divided by their number; here over the global batch, so
  that uneven micro-batches change nothing.
- k3 in the loss is multiplied with the ratio by default (`use_bias_correction_kl`); here that is another place for the
  divergence, `weighted_loss`.
- RLOO: the loss is a mean over completions of one product of ratios each; here that product stands at each token. The
  gradients agree, the values differ by the lengths. Its KL is k1 summed over the completion and taken off the reward;
  here k1 in the reward is charged from each token on, with a baseline of its own.
"""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from policy_gradients.estimators.advantages import group_advantages
from policy_gradients.estimators.divergences import importance_weighted, k3
from policy_gradients.estimators.log_probs import log_probs_and_entropy
from policy_gradients.estimators.losses import clipped_loss, sequence_old_log_probs, token_weights

pytestmark = pytest.mark.slow  # importing TRL takes seconds
CLIP_LOW, CLIP_HIGH, BETA, LONGEST = 0.1, 0.15, 0.3, 7


@pytest.fixture(scope="module")
def trl():
    return pytest.importorskip("trl.trainer.grpo_trainer", reason="TRL is not installed")


@pytest.fixture
def batch():
    """Six completions of uneven lengths: log-probs of the policy (with gradient), an old one and a reference."""
    generator = torch.Generator().manual_seed(0)
    old = -2 * torch.rand(6, 5, generator=generator, dtype=torch.float64)
    noise = torch.randn(3, 6, 5, generator=generator, dtype=torch.float64)
    return SimpleNamespace(
        new=(old + 0.2 * noise[0]).requires_grad_(),
        old=old,
        ref=old + 0.5 * noise[1],
        entropy=noise[2].abs(),
        mask=(torch.arange(5) < torch.tensor([[5], [1], [3], [2], [5], [4]])).double(),
        advantages=torch.randn(6, generator=generator, dtype=torch.float64),
    )


def trainer_of(batch, **settings):
    """What `_compute_loss` reads of its trainer: settings, the model's scores, and a place for metrics."""
    arguments = {"use_bias_correction_kl": False, "delta": None, "steps_per_generation": 1}
    arguments |= {key: settings.pop(key) for key in list(settings) if key in arguments}
    trainer = {
        "aux_loss_enabled": False, "top_entropy_quantile": 1.0, "off_policy_mask_threshold": None,
        "importance_sampling_level": "token", "beta": 0.0, "loss_type": "grpo", "use_vllm": False,
        "epsilon_low": CLIP_LOW, "epsilon_high": CLIP_HIGH, "max_completion_length": LONGEST,
        "current_gradient_accumulation_steps": 1, "_entropy_bonus_enabled": False,
        "args": SimpleNamespace(**arguments), "model": SimpleNamespace(training=True),
        "_metrics": {"train": defaultdict(list)},
        "accelerator": SimpleNamespace(num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x),
        "_get_per_token_logps_and_entropies": lambda *_, **__: (batch.new, batch.entropy, None),
    }  # fmt: skip
    return SimpleNamespace(**{**trainer, **settings})


def trl_loss(trainer_class, batch, **settings):
    ids = torch.zeros_like(batch.mask, dtype=torch.long)
    inputs = {
        "prompt_ids": ids[:, :1],
        "prompt_mask": ids[:, :1] + 1,
        "completion_ids": ids,
        "completion_mask": batch.mask,
        "advantages": batch.advantages,
        "old_per_token_logps": batch.old,
        "old_logps": (batch.old * batch.mask).sum(1),
        "ref_per_token_logps": batch.ref,
        "num_items_in_batch": batch.mask.sum(),
    }
    return trainer_class._compute_loss(trainer_of(batch, **settings), None, inputs)


def our_loss(batch, aggregation, level="token", normalised=True, kl=None):
    old = batch.old
    if level == "sequence":
        old = sequence_old_log_probs(batch.new, old, batch.mask, normalised)
    per_token = clipped_loss(batch.new, old, batch.advantages, CLIP_LOW, CLIP_HIGH)
    if kl is not None:
        per_token = per_token + BETA * kl
    weights = token_weights(batch.mask, aggregation, len(batch.mask), int(batch.mask.sum()), LONGEST)
    return (weights * per_token).sum()


def assert_same(ours, theirs, batch):
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    gradients = [torch.autograd.grad(loss, batch.new, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=0)
    assert gradients[0].norm() > 1e-3


@pytest.mark.parametrize(
    ("loss_type", "aggregation"),
    [("grpo", "sequence"), ("bnpo", "token"), ("dapo", "token"), ("dr_grpo", "constant")],
)
def test_clipped_losses(trl, batch, loss_type, aggregation):
    assert_same(our_loss(batch, aggregation), trl_loss(trl.GRPOTrainer, batch, loss_type=loss_type), batch)


def test_sequence_ratios(trl, batch):
    theirs = trl_loss(trl.GRPOTrainer, batch, importance_sampling_level="sequence")
    assert_same(our_loss(batch, "sequence", "sequence"), theirs, batch)


@pytest.mark.parametrize("corrected", [False, True])
def test_k3_in_the_loss_with_and_without_the_ratio(trl, batch, corrected):
    kl = k3(batch.new, batch.ref)
    if corrected:
        kl = importance_weighted(kl, batch.new, batch.old)
    theirs = trl_loss(trl.GRPOTrainer, batch, beta=BETA, use_bias_correction_kl=corrected)
    assert_same(our_loss(batch, "sequence", kl=kl), theirs, batch)


def test_rloo(batch):
    rloo = pytest.importorskip("trl.trainer.rloo_trainer", reason="TRL is not installed")
    ours = LONGEST * our_loss(batch, "constant", "sequence", normalised=False)  # theirs has no constant to divide by
    theirs = trl_loss(rloo.RLOOTrainer, batch)
    # a mean over completions of one loss each; ours repeats it for each token: the gradient is the same, not the value
    gradients = [torch.autograd.grad(loss, batch.new, retain_graph=True)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=0)


def test_standard_deviations(trl):
    """The groups of GRPO through TRL's own `nanstd`; the batch's after a batch mean, where both mean the same."""
    rewards = torch.rand(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, std = rewards.nanmean(1, keepdim=True), trl.nanstd(rewards, dim=1, keepdim=True)
    torch.testing.assert_close(group_advantages(rewards, "mean", "std"), (rewards - mean) / (std + 1e-4))
    everything = (rewards - rewards.nanmean()) / (trl.nanstd(rewards) + 1e-4)
    torch.testing.assert_close(group_advantages(rewards, "batch_mean", "batch_std"), everything)
    batch = (rewards - mean) / (trl.nanstd(rewards) + 1e-4)  # scale_rewards="batch"
    torch.testing.assert_close(group_advantages(rewards, "mean", "batch_reward_std"), batch)


def test_log_probs_and_entropy(trl):
    utilities = pytest.importorskip("trl.trainer.utils")
    logits = torch.randn(3, 4, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    actions = torch.arange(12).view(3, 4) % 9
    log_probs, entropies = log_probs_and_entropy(logits, actions)
    torch.testing.assert_close(log_probs, utilities.selective_log_softmax(logits, actions))
    torch.testing.assert_close(entropies, utilities.entropy_from_logits(logits))
