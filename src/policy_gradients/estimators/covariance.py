"""Which tokens take the entropy away: those whose log-prob and advantage are large together."""

import math

import torch
from torch import Tensor

from policy_gradients.estimators.checks import (
    check_finite_number,
    check_mask,
    check_unit_interval,
    floating,
    half_in_float32,
    log_chances,
    on_steps,
    wide,
)


@half_in_float32
def log_prob_covariances(
    log_probs: Tensor, advantages: Tensor, mask: Tensor, means: tuple[float, float] | None = None
) -> Tensor:
    """(log π_t - mean log π)(A_t - mean A) of each token, (completions, time), no gradient; means over all tokens.

    Their mean is the covariance that entropy falls with: along a step η A of a softmax's logits (a natural gradient's),
    dH/dη = -Cov_π(log π, A), exactly (Cui et al. 2025, arXiv:2505.22617). Clip-Cov and KL-Cov, of that
    paper, select tokens by it.

    Args:
        log_probs: shape (completions, time), of the policy that sampled.
        advantages: shape (completions,) or (completions, time).
        mask: 1 on tokens, 0 on padding, where the answer is 0.
        means: of log-probs and advantages, where the tokens are a part of a batch.

    Raises:
        ValueError: shapes that do not match, values not finite on a token, no token to take means of.
    """
    log_probs, advantages, mask = _on_tokens(log_probs, advantages, mask)
    mean_log_prob, mean_advantage = means or token_means(log_probs, advantages, mask)
    check_finite_number("means", mean_log_prob)
    check_finite_number("means", mean_advantage)
    return (log_probs - mean_log_prob) * (advantages - mean_advantage) * mask


def token_means(log_probs: Tensor, advantages: Tensor, mask: Tensor) -> tuple[float, float]:
    """The means over tokens that `log_prob_covariances` takes off; shapes and errors as there."""
    log_probs, advantages, mask = _on_tokens(log_probs, advantages, mask)
    if not mask.any():
        raise ValueError(f"mask {tuple(mask.shape)} has no token to take means of")
    return tuple(((wide(values) * mask).sum() / mask.sum()).item() for values in (log_probs, advantages))


def covariance_bound(covariances: Tensor, mask: Tensor, share: float) -> float:
    """What the largest `share` of the tokens' covariances begin at: above 0, and ∞ where that is less than one token.

    The paper's Clip-Cov draws the tokens to be clipped among those in a band (1 to 5). Here the largest are taken, as
    KL-Cov does: no draw, and no unit that a scale of the rewards would change.

    Raises:
        ValueError: shapes that differ, a share outside [0, 1].
    """
    check_unit_interval("share", share)
    covariances = floating("covariances", covariances)
    mask = check_mask(mask, "covariances", covariances)
    tokens = on_steps("covariances", covariances, mask)[mask.bool()]
    count = math.floor(share * len(tokens) + 1e-9)  # 0.29 * 100 is 28.999999999999996
    if count == 0:
        return math.inf
    return max(torch.topk(tokens, count).values[-1].item(), torch.finfo(tokens.dtype).tiny)


def _on_tokens(log_probs: Tensor, advantages: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    log_probs = log_chances("log_probs", log_probs, 2)
    mask = check_mask(mask, "log_probs", log_probs)
    advantages = floating("advantages", advantages, 1).detach()
    if advantages.shape == mask.shape[:1]:
        advantages = advantages.unsqueeze(1).expand_as(mask)
    if advantages.shape != mask.shape:
        raise ValueError(f"advantages must be one a completion, or shaped as the mask, got {tuple(advantages.shape)}")
    return on_steps("log_probs", log_probs, mask).detach(), on_steps("advantages", advantages, mask), wide(mask)
