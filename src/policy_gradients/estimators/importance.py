"""Importance sampling: what the rollouts of an old policy say about the present one.

The ratios need a forward pass of the present policy on every step; what is saved is the sampling. Their variance grows
with the length of the episode and with the distance between the policies, which `effective_sample_size` measures.
`losses.clipped_loss` is the per-step ratio with PPO's clip.
"""

from typing import Literal

import torch
from torch import Tensor

from policy_gradients.estimators.checks import (
    check_positive,
    check_same_shape,
    finite,
    full_mask,
    half_in_float32,
    log_chances,
    on_steps,
)

Scope = Literal["trajectory", "prefix", "step"]


@half_in_float32
def importance_weights(
    log_probs: Tensor,
    old_log_probs: Tensor,
    mask: Tensor | None = None,
    per: Scope = "trajectory",
    clip: float | None = None,
) -> Tensor:
    """Ratios π/π_old, as products of the steps' ratios ρ_t = π(a_t|s_t) / π_old(a_t|s_t).

    - ``trajectory``: Π_k ρ_k over the whole episode. E_old[w f(episode)] = E[f(episode)], exactly, for every f.
    - ``prefix``: Π_{k≤t} ρ_k, all that has happened before r_t: exact for Σ_t γ^t r_t, with less variance
      (per-decision importance sampling: Precup, Sutton & Singh 2000).
    - ``step``: ρ_t alone, as in PPO. It leaves out that the old policy came to other states: biased, of bounded
      variance.

    Typical mistakes: the ratio the wrong way up; a sum of ratios instead of a product; the mask left out, so that
    padding is weighted; a gradient through `old_log_probs`.

    Args:
        log_probs: (..., time) of the present policy, with gradient if wanted.
        old_log_probs: (..., time) of the policy that sampled; no gradient is taken through it.
        mask: (..., time).
        clip: the largest weight allowed (truncated importance sampling, Ionides 2008): biased, of bounded variance.

    Returns:
        (...) for ``trajectory``, (..., time) else, zero on padding.

    Raises:
        ValueError: shapes that do not match, log-probabilities that are not finite on a step, clip ≤ 0, unknown scope,
            an episode without steps, a mask of other numbers than 0 and 1.
    """
    log_probs, old_log_probs = log_chances("log_probs", log_probs), log_chances("old_log_probs", old_log_probs)
    check_same_shape("old_log_probs", old_log_probs, "log_probs", log_probs)
    mask = full_mask(mask, "log_probs", log_probs)
    log_probs = on_steps("log_probs", log_probs, mask)
    old_log_probs = on_steps("old_log_probs", old_log_probs, mask)
    log_ratios = (log_probs - old_log_probs.detach()) * mask
    if per == "trajectory":
        log_weights = log_ratios.sum(-1)
    elif per == "prefix":
        log_weights = log_ratios.cumsum(-1)
    elif per == "step":
        log_weights = log_ratios
    else:
        raise ValueError(f"per must be 'trajectory', 'prefix' or 'step', got {per!r}")
    if per != "trajectory":
        log_weights = log_weights.masked_fill(mask == 0, -torch.inf)  # before exp: inf · 0 is NaN
    if clip is None:
        return log_weights.exp()
    check_positive("clip", clip)
    # filled before exp: the clip leaves no gradient there, and 0 · inf would be NaN
    overflow = log_weights.exp().isposinf()
    return log_weights.masked_fill(overflow, 0.0).exp().masked_fill(overflow, torch.inf).clamp(max=clip)


@half_in_float32
def self_normalized(weights: Tensor) -> Tensor:
    """w_i / Σ_j w_j · n, along the last dimension: mean 1. Weighted importance sampling: biased by O(1/n), bounded.

    Args:
        weights: (..., episodes), not negative.

    Raises:
        ValueError: empty, non-finite or negative weights, or weights that are all zero.
    """
    weights = finite("weights", weights, 1)
    largest = weights.detach().amax(-1, keepdim=True)
    if (weights < 0).any() or (largest == 0).any():
        raise ValueError(f"weights {tuple(weights.shape)} must not be negative, nor all zero")
    weights = weights / largest  # so that sums neither overflow nor vanish
    return weights / weights.mean(-1, keepdim=True)


@half_in_float32
def effective_sample_size(weights: Tensor) -> Tensor:
    """(Σ w)² / Σ w² (Kong 1992): n where all weights are equal, 1 where one outweighs all others; (..., n) → (...).

    Typical mistakes: Σ w² / (Σ w)², its inverse; n / max w.

    Raises:
        ValueError: as `self_normalized`.
    """
    weights = self_normalized(finite("weights", weights, 1).detach())
    return weights.shape[-1] ** 2 / weights.square().sum(-1)
