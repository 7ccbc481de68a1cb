"""Spreading one late reward over the steps that led to it, with and without harm."""

import torch
from torch import Tensor

from policy_gradients.estimators.checks import (
    check_same_shape,
    check_unit_interval,
    finite,
    floating,
    full_mask,
    on_steps,
    wide,
)
from policy_gradients.estimators.returns import discounts, td_errors


def shape_rewards(rewards: Tensor, potentials: Tensor, gamma: float = 1.0, mask: Tensor | None = None) -> Tensor:
    """r_t + γ Φ(s_{t+1}) - Φ(s_t), with Φ = 0 after the end (Ng, Harada & Russell 1999).

    The sums telescope: Σ_t γ^t of it is Σ_t γ^t r_t - Φ(s_0), so the ranking of policies and ∇J stay as they were, for
    *any* Φ, while reward-to-go becomes G_t - Φ(s_t). With Φ = V the shaped reward is the advantage of the step.

    Typical mistakes: γ forgotten before Φ(s_{t+1}); Φ kept after the end (changes the objective); the sign turned
        round.

    Args:
        rewards, potentials: (..., time); potentials are Φ(s_t).
        gamma: in [0, 1].
        mask: (..., time).

    Returns:
        (..., time), zero on padding.

    Raises:
        ValueError: shapes that do not match, rewards or potentials that are not finite on a step, γ outside [0, 1],
            an episode without steps, a mask of other numbers than 0 and 1.
    """
    check_same_shape("potentials", potentials, "rewards", rewards)
    return td_errors(rewards, potentials, gamma, mask)


def redistribute(returns: Tensor, shares: Tensor, gamma: float = 1.0, mask: Tensor | None = None) -> Tensor:
    """Per-step rewards r_t = R · share_t / γ^t, with shares scaled to sum to one: Σ_t γ^t r_t = R exactly.

    J stays as it was. But R depends on later actions too, so the rewards "before" an action now depend on it, and
    reward-to-go, which drops them, is *biased* (uniform shares: G_t = R (T - t)/T). Shares of the whole return, or a
    causal split (`shape_rewards`), are not.

    Typical mistakes: shares that do not sum to one over the real steps; γ^t multiplied instead of divided out.

    Args:
        returns: (...), R of each episode.
        shares: (..., time), not negative, not all zero; scaled to sum to one over real steps.
        gamma: in (0, 1].
        mask: (..., time).

    Returns:
        (..., time), zero on padding.

    Raises:
        ValueError: shapes that do not match, returns or shares that are not finite, negative or all-zero shares, γ
            outside (0, 1], an episode without steps, a mask of other numbers than 0 and 1; a γ^t that underflows on a
            step, or a reward that overflows.
    """
    returns, shares = finite("returns", returns), floating("shares", shares, 1)
    dtype = torch.promote_types(returns.dtype, shares.dtype)
    check_unit_interval("gamma", gamma)
    if returns.shape != shares.shape[:-1] or gamma == 0:
        raise ValueError(f"returns {tuple(returns.shape)} and shares {tuple(shares.shape)} do not match, or {gamma=}")
    returns, shares = wide(returns), wide(shares)
    mask = full_mask(mask, "shares", shares)
    shares = on_steps("shares", shares, mask)
    total = shares.sum(-1, keepdim=True)
    if (shares < 0).any() or (total == 0).any():
        raise ValueError(f"shares {tuple(shares.shape)} must not be negative, nor all zero")
    weight = torch.where(mask > 0, discounts(shares.shape[-1], gamma).to(shares), 1.0)
    rewards = (returns.unsqueeze(-1) * (shares / total) / weight).to(dtype)
    if (weight < torch.finfo(weight.dtype).tiny).any() or not rewards.isfinite().all():
        raise ValueError(f"{gamma=} is too small for shares {tuple(shares.shape)}: R / gamma**t overflows {dtype}")
    return rewards


def with_terminal_reward(returns: Tensor, mask: Tensor) -> Tensor:
    """(...) and (..., time) → (..., time): R on the last real step, zero elsewhere, as a rule pays a completion.

    Raises:
        ValueError: shapes that do not match, an episode without steps, empty or non-finite returns, a mask of other
            numbers than 0 and 1.
    """
    returns = finite("returns", returns)
    mask = floating("mask", mask, 1)
    if returns.shape != mask.shape[:-1]:
        raise ValueError(f"returns {tuple(returns.shape)} do not match mask {tuple(mask.shape)}")
    mask = full_mask(mask, "returns", mask.to(returns.dtype))
    last = mask - torch.nn.functional.pad(mask[..., 1:], (0, 1))
    return returns.unsqueeze(-1) * last
