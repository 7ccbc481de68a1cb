"""What a step shows of itself, summed over micro-batches and processes: the numbers that curves and alarms read."""

import math

import torch
from accelerate import Accelerator
from torch import Tensor

from policy_gradients.estimators.losses import clipped_tokens
from policy_gradients.language.rollout import Rollout
from policy_gradients.language.scoring import TokenScores
from policy_gradients.training.batch import Batch
from policy_gradients.training.config import Clip, KlPenalty, TrainConfig
from policy_gradients.training.credit import TokenLosses
from policy_gradients.training.objective import token_kl


def measure(
    scores: TokenScores,
    old: TokenScores,
    losses: TokenLosses,
    loss: Tensor,
    rollout: Rollout,
    update: int,
    config: TrainConfig,
) -> dict[str, Tensor]:
    """Sums over the tokens of a micro-batch: in the first update where it starts, in later ones how far it went."""
    scores, old, mask, sums = scores.detach(), old.detach(), rollout.mask, {}
    divergence, clip = config.divergence, getattr(config.credit, "clip", None)
    if update == 0:
        sums = {"loss": loss.detach(), "entropy": scores.entropy.sum(), "kl": scores.kl.sum()}
        sums["sampler_mismatch"] = ((scores.log_probs - rollout.log_probs) * mask).abs().sum()
        sums["ratio_at_start"] = ((torch.exp(scores.log_probs - old.log_probs) - 1) * mask).abs().sum()
        if isinstance(divergence, KlPenalty) and divergence.kl_estimator != "exact":
            sums["kl_estimate"] = (token_kl(scores, old, divergence) * mask).sum()
        if losses.returns is not None:
            sums["squared_error"] = ((scores.values - losses.returns) ** 2 * mask).sum()
            sums["squared_return"] = (losses.returns**2 * mask).sum()
    else:  # KL(π_old ‖ π) of the tokens that π_old drew: k3 with r = π/π_old
        log_ratio = scores.log_probs - old.log_probs
        sums["update_kl"] = ((torch.expm1(log_ratio) - log_ratio) * mask).sum()
    if clip is not None and update == config.updates_per_batch - 1:
        sums["clipped_share"] = (_clipped(scores.log_probs, losses, clip) * mask).sum()
    return sums


def _clipped(log_probs: Tensor, losses: TokenLosses, clip: Clip) -> Tensor:
    """1 on tokens that the clip acts on, else 0: of a ratio on the side its advantage pulls to, of a weight on both."""
    pulls = (
        [losses.advantages] if clip.clip_place == "ratio" else [torch.ones_like(log_probs), -torch.ones_like(log_probs)]
    )
    old_log_probs = losses.old_log_probs.detach()
    return sum(clipped_tokens(log_probs, old_log_probs, pull, clip.clip_low, clip.clip_high) for pull in pulls)


def moved(rows: list[dict[str, Tensor]], batch: Batch, accelerator: Accelerator) -> float:
    """Nats a token that the policy of a later update is away from the one that sampled, over the global batch."""
    total = sum(sums["update_kl"] for sums in rows)
    return accelerator.reduce(total, "sum").item() / batch.tokens


def summarise(passes: list[list[dict[str, Tensor]]], batch: Batch, accelerator: Accelerator) -> dict[str, float]:
    """Means over the global batch: divergences in nats a completion, all else a token (the loss is a sum already).

    Of the first pass over the batch, and of the last, where there is more than one. With a critic `value_error` and
    `return_rms` are root mean squares, in units of reward.
    """
    measured = passes[0] if len(passes) == 1 else passes[0] + passes[-1]
    names = dict.fromkeys(name for sums in measured for name in sums)
    totals = torch.stack([sum(sums[name] for sums in measured if name in sums).float() for name in names])
    row = dict(zip(names, accelerator.reduce(totals, "sum").tolist(), strict=True))
    per = {"loss": 1, "kl": batch.completions, "kl_estimate": batch.completions}
    row = {name: value / per.get(name, batch.tokens) for name, value in row.items()}
    for square, root in (("squared_error", "value_error"), ("squared_return", "return_rms")):
        if square in row:
            row[root] = math.sqrt(row.pop(square))
    return row


def end_scored(rollout: Rollout, end_ids: list[int]) -> list[float]:
    """For each completion, 1 if its last scored token is an end token, 0 if not; NaN for one that was cut."""
    last = (rollout.mask.sum(1).long() - 1).clamp(min=0)
    token = rollout.completion_ids.gather(1, last.unsqueeze(1)).squeeze(1)
    scored = torch.isin(token, torch.tensor(end_ids, device=token.device)).float()
    return torch.where(rollout.finished, scored, math.nan).tolist()
