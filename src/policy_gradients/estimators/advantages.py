"""Step 3: from rewards to advantages."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from policy_gradients.estimators.baselines import leave_one_out
from policy_gradients.estimators.checks import (
    check_not_negative,
    check_same_shape,
    check_tensor,
    check_whole,
    finite,
    wide,
)

Baseline = Literal["none", "mean", "leave_one_out", "batch_mean"]
Scale = Literal["none", "std", "batch_std", "batch_reward_std", "mean"]


def group_advantages(
    rewards: Tensor, baseline: Baseline = "mean", scale: Scale = "none", epsilon: float = 1e-4, correction: int = 1
) -> Tensor:
    """Advantages of G completions of the *same* prompt, relative to their group (or to the batch).

    | baseline, scale            | known as                                                                     |
    | -------------------------- | ---------------------------------------------------------------------------- |
    | ``none, none``             | REINFORCE: the reward itself                                                 |
    | ``leave_one_out, none``    | RLOO: r minus the mean of the *other* G - 1 (Ahmadian et al., 2402.14740)    |
    | ``mean, none``             | Dr. GRPO: (1 - 1/G) times leave-one-out (Liu et al. 2025, 2503.20783)        |
    | ``mean, std``              | GRPO: each prompt on its own scale (Shao et al. 2024, 2402.03300, §4.1.2)    |
    | ``mean, mean``             | MaxRL: (r - mean) / mean, rewards not negative (2602.02710)                  |
    | ``batch_mean, batch_std``  | REINFORCE++: one mean, one scale for the batch (Hu et al. 2025, 2501.03262)  |
    | ``mean, batch_std``        | its variant with a group baseline                                            |
    | ``mean, batch_reward_std`` | TRL's ``scale_rewards="batch"``: the spread between prompts counts as well   |

    Only ``none`` and ``leave_one_out`` are free of bias. A mean that includes the own reward shrinks the gradient by
    1 - 1/G, which a learning rate absorbs; a group's standard deviation or mean gives each prompt its own factor,
    which none does: it changes the objective.

    Args:
        rewards: shape (prompts, G), finite; whole numbers and truth values count as floats. Statistics of a batch need
            the *whole* batch, not a micro-batch of it. Half precision is computed in float32.
        epsilon: added to the standard deviation, in units of reward; not negative.
        correction: the standard deviation divides by n - correction: 1 (default, as in TRL) is the sample's, 0 the
            population's. The GRPO paper does not say which.

    Returns:
        Advantages, shape (prompts, G), no gradient. A group of equal rewards gives exact zeros with a group baseline,
        a batch of equal rewards with any but ``none``; with scale ``mean`` so does a group whose mean is 0.

    Raises:
        ValueError: wrong shape, too few completions to compare, non-finite rewards, unknown choice, epsilon negative,
            correction not below n, negative rewards with scale ``mean``, nothing to divide by (no spread, no epsilon),
            rewards so large that their differences overflow.
    """
    rewards = _checked(rewards, 2, "(prompts, G)", baseline, scale, epsilon)
    if rewards.shape[1] < 2 and (baseline in ("mean", "leave_one_out") or scale == "std"):
        raise ValueError(f"rewards: a group needs at least 2 completions, got shape {tuple(rewards.shape)}")
    values = wide(rewards)
    return _narrow(_scaled(_centred(values, baseline), values, scale, epsilon, correction), rewards)


def group_advantages_by_id(
    rewards: Tensor,
    groups: Tensor,
    baseline: Baseline = "mean",
    scale: Scale = "none",
    epsilon: float = 1e-4,
    correction: int = 1,
) -> Tensor:
    """`group_advantages` of groups of uneven sizes, in any order: who has the same number belongs together.

    Args:
        rewards: shape (completions,).
        groups: whole numbers, (completions,): the prompt that each completion answers. They need not be consecutive.
        baseline, scale, epsilon, correction: as in `group_advantages`.

    Returns:
        (completions,), no gradient.

    Raises:
        ValueError: as `group_advantages`; `groups` of another shape or not whole numbers; a group of one where its
            others are needed.
    """
    rewards = _checked(rewards, 1, "(completions,)", baseline, scale, epsilon)
    check_same_shape("groups", groups, "rewards", rewards)
    if groups.is_floating_point() or groups.is_complex():
        raise ValueError(f"groups {tuple(groups.shape)} must be whole numbers, got {groups.dtype}")
    values, sizes = groups.unique(return_counts=True)
    if (sizes < 2).any() and (baseline in ("mean", "leave_one_out") or scale == "std"):
        alone = values[sizes < 2][:4].tolist()
        raise ValueError(f"groups: a group needs at least 2 completions, but {alone} have 1")

    def each(function: Callable[..., Tensor], whole_batch: bool, *columns: Tensor) -> Tensor:
        """`function` of the rows (1, size) of each group, or of the batch as one row, put back in place."""
        result = torch.empty_like(columns[0])
        for own in [torch.ones_like(groups, dtype=torch.bool)] if whole_batch else [groups == v for v in values]:
            result[own] = function(*(column[own].unsqueeze(0) for column in columns))[0]
        return result

    own = wide(rewards)
    centred = each(lambda r: _centred(r, baseline), baseline == "batch_mean", own)
    of_batch = scale.startswith("batch")
    return _narrow(each(lambda a, r: _scaled(a, r, scale, epsilon, correction), of_batch, centred, own), rewards)


def _checked(rewards: Tensor, dims: int, shape: str, baseline: str, scale: str, epsilon: float) -> Tensor:
    """Rewards as floats, without gradient."""
    check_tensor("rewards", rewards)
    if rewards.ndim != dims or rewards.numel() == 0:
        raise ValueError(f"rewards must have shape {shape} and not be empty, got {tuple(rewards.shape)}")
    rewards = finite("rewards", rewards).detach()
    for name, choice, known in (("baseline", baseline, Baseline), ("scale", scale, Scale)):
        if choice not in get_args(known):
            raise ValueError(f"{name} must be one of {', '.join(map(repr, get_args(known)))}, got {choice!r}")
    check_not_negative("epsilon", epsilon)
    if rewards.numel() < 2 and (baseline == "batch_mean" or scale.startswith("batch")):
        raise ValueError(f"rewards: a batch needs at least 2 completions, got shape {tuple(rewards.shape)}")
    if scale == "mean" and (rewards < 0).any():
        raise ValueError(f"rewards {tuple(rewards.shape)} must not be negative with scale 'mean': the sign would turn")
    return rewards


def _centred(rewards: Tensor, baseline: Baseline) -> Tensor:
    """Exact zeros where all are equal: what rounding leaves of a mean, a standard deviation near 0 would blow up."""
    if baseline == "none":
        return rewards
    if baseline == "batch_mean":
        return torch.where((rewards == rewards[:1, :1]).all(), 0.0, rewards - rewards.mean())
    mean = rewards.mean(dim=1, keepdim=True) if baseline == "mean" else leave_one_out(rewards, dim=1)
    return torch.where(_equal(rewards), 0.0, rewards - mean)


def _scaled(advantages: Tensor, rewards: Tensor, scale: Scale, epsilon: float, correction: int) -> Tensor:
    if scale == "none":
        return advantages
    if scale == "mean":
        mean = rewards.mean(dim=1, keepdim=True)
        return torch.where(mean > 0, advantages / mean.where(mean > 0, 1.0), 0.0)
    values = advantages if scale == "batch_std" else rewards  # TRL's "batch": of the rewards, even with a group's mean
    if scale != "std":
        values = values.reshape(1, -1)
    check_whole("correction", correction, 0)
    if correction >= values.shape[1]:
        raise ValueError(f"correction must be at least 0 and below the {values.shape[1]} compared, got {correction}")
    spread = values.std(dim=1, keepdim=True, correction=correction)
    divisor = torch.where(_equal(values), 0.0, spread) + epsilon
    if ((divisor == 0) & (advantages != 0)).any():
        raise ValueError("epsilon must be above 0 here: rewards that do not spread leave nothing to divide by")
    return advantages / divisor.where(divisor > 0, 1.0)


def _equal(rewards: Tensor) -> Tensor:
    """Whether all of a row are the same, (rows, 1)."""
    return (rewards == rewards[:, :1]).all(dim=1, keepdim=True)


def _narrow(advantages: Tensor, rewards: Tensor) -> Tensor:
    """In the dtype of the rewards; refused where sums or differences of them overflow."""
    if not (advantages := advantages.to(rewards.dtype)).isfinite().all():
        largest = rewards.abs().max().item()
        raise ValueError(f"rewards {tuple(rewards.shape)} up to {largest:.3g} overflow {rewards.dtype}: divide them")
    return advantages


def zero_variance_share(rewards: Tensor) -> Tensor:
    """Share of groups, shape (prompts, G) → scalar, whose rewards are all equal: they carry no gradient.

    For 0/1 rewards with pass probability p it is p^G + (1 - p)^G in expectation.

    Raises:
        ValueError: wrong shape, empty or non-finite rewards.
    """
    rewards = _checked(rewards, 2, "(prompts, G)", "none", "none", 0.0)
    return _equal(rewards).float().mean()
