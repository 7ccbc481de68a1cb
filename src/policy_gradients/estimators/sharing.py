"""Rewards that are shared by completions that are alike, so that a second right answer pays."""

import torch
from torch import Tensor

from policy_gradients.estimators.checks import check_not_negative, finite, wide


def shared_rewards(rewards: Tensor, alike: Tensor, sharing: float = 1.0) -> Tensor:
    """r_i / (Σ_j s_ij)^γ, j over all with r_j > 0: what a completion earned, over how many that earned are like it.

    Fitness sharing (Goldberg & Richardson 1987, "Genetic algorithms with sharing for multimodal function
    optimization"); among a group's answers DRA-GRPO does it (Chen et al. 2025, arXiv:2505.09655), and a bonus that
    falls with repetition within a batch is in Song, Kempe & Munos 2025 (arXiv:2509.06941).

    With γ = 1, s the equality of texts and r ≥ 0, the expectation of Σ_i r'_i ∇log π(y_i) over independent
    completions is exactly the gradient of E[Σ_y r(y) (1 + 1/2 + … + 1/n_y)], where n_y of them are the text y: the k-th
    copy is worth 1/k. A group's baseline is made of shares that depend on the own text, so with one it is so up to a
    bias.

    Args:
        rewards: any shape, N numbers in all. What is 0 or less is left as it is: a share of a punishment would be less
            of it.
        alike: s, (N, N), in the order of `rewards` flattened: 1 for what is the same, 0 for what has nothing in common.
        sharing: γ; 0 leaves rewards as they are.

    Returns:
        Shape and dtype of `rewards` (whole numbers as floats), no gradient.

    Raises:
        ValueError: wrong shapes, values not finite, `alike` outside [0, 1] or without ones on its diagonal, `sharing`
            negative.
    """
    rewards, alike = finite("rewards", rewards).detach(), finite("alike", alike).detach()
    check_not_negative("sharing", sharing)
    count = rewards.numel()
    if alike.shape != (count, count):
        raise ValueError(f"alike must have shape {(count, count)}, a row for each reward, got {tuple(alike.shape)}")
    if ((alike < 0) | (alike > 1)).any() or (alike.diagonal() != 1).any():
        raise ValueError(f"alike {tuple(alike.shape)} must lie in [0, 1], with ones on its diagonal")
    values = wide(rewards).flatten()
    earned = values > 0
    crowd = wide(alike).to(values.dtype) @ earned.to(values.dtype)
    return (
        torch.where(earned, values / crowd.where(earned, 1.0) ** sharing, values).view(rewards.shape).to(rewards.dtype)
    )
