"""Scores ψ = ∇_θ log π(a|s), one vector a sample: for policies small enough to write their gradients side by side.

`policy_gradient_loss` followed by `backward` gives the same gradient without ever forming them, which is why the
language model uses it. Variances, the Fisher matrix and eligibility traces need the vectors themselves.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from policy_gradients.estimators.checks import check_finite, floating, full_mask, half_in_float32, on_steps


def score_vectors(log_prob: Callable[[Tensor], Tensor], theta: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """∇_θ log π of every sample, by one backward pass: each sample is given its own copy of θ.

    Args:
        log_prob: maps parameters of shape (*shape, parameters) to log-probabilities of that shape, each from its own.
        theta: (*copies, parameters).
        shape: (*copies, samples …), that of the samples.

    Returns:
        (*shape, parameters), no gradient.

    Raises:
        ValueError: `shape` does not begin with theta's leading dimensions, theta is empty or not finite, log-probs of
            another shape.
    """
    check_finite("theta", theta, 1)
    copies = theta.shape[:-1]
    if tuple(shape[: len(copies)]) != tuple(copies):
        raise ValueError(f"shape {tuple(shape)} must begin with the leading dimensions of theta {tuple(theta.shape)}")
    own = theta.detach().reshape(*copies, *[1] * (len(shape) - len(copies)), -1).expand(*shape, -1)
    own = own.clone().requires_grad_()
    with torch.enable_grad():
        log_probs = log_prob(own)
        if log_probs.shape != torch.Size(shape):
            raise ValueError(f"log_prob must return shape {tuple(shape)}, got {tuple(log_probs.shape)}")
        return torch.autograd.grad(log_probs.sum(), own)[0]


@half_in_float32
def score_gradient(scores: Tensor, advantages: Tensor, mask: Tensor | None = None) -> Tensor:
    """ĝ = (1/n) Σ_i Σ_t A_{i,t} ∇log π(a_{i,t}|s_{i,t}): REINFORCE, for any advantage (Williams 1992, Theorem 1).

    Typical mistakes: the mean over steps in place of the sum (long episodes then count less); a forgotten mask; a minus
    sign (ascent: this is ∇J, not the gradient of the loss).

    Args:
        scores: (..., episodes, time, parameters).
        advantages: (..., episodes) for one number an episode, or (..., episodes, time).
        mask: (..., episodes, time).

    Returns:
        (..., parameters).

    Raises:
        ValueError: shapes that do not match, scores or advantages that are empty or not finite on a step, a mask of
            other numbers than 0 and 1.
    """
    scores = floating("scores", scores, 3)
    advantages = floating("advantages", advantages)
    steps = scores.shape[:-1]
    if advantages.shape == steps[:-1]:
        advantages = advantages.unsqueeze(-1).expand(steps)
    if advantages.shape != steps:
        raise ValueError(f"advantages {tuple(advantages.shape)} do not match scores {tuple(scores.shape)}")
    mask = full_mask(mask, "advantages", advantages)
    advantages = on_steps("advantages", advantages, mask)
    scores = on_steps("scores", scores, mask.unsqueeze(-1))
    return torch.einsum("...ntp,...nt->...p", scores, advantages.to(scores.dtype)) / steps[-2]
