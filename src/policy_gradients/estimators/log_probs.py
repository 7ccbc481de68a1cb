"""Step 4: log-probabilities, entropies and divergences of categorical distributions, from logits."""

import torch
from torch import Tensor


def log_probs_and_entropy(logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """log π(a) of the given actions and the full-softmax entropy -Σ_a π(a) log π(a), both differentiable.

    The entropy is *not* -log π of the sampled action: that one has the right value on average, but the expectation of
    its gradient is exactly zero (the score function has mean zero).

    Args:
        logits: shape (..., actions), already divided by the sampling temperature.
        actions: whole numbers, shape (...).

    Returns:
        log-probabilities and entropies in nats, each of shape (...), float32 or wider.

    Raises:
        ValueError: shapes that do not match.
    """
    if logits.shape[:-1] != actions.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and actions {tuple(actions.shape)} do not match")
    log_pi = torch.log_softmax(_wide(logits), dim=-1)
    return log_pi.gather(-1, actions.unsqueeze(-1)).squeeze(-1), entropy(log_pi)


def entropy(log_pi: Tensor) -> Tensor:
    """H(π) = -Σ_a π(a) log π(a) in nats; `log_pi` of shape (..., actions) is normalised, -inf allowed."""
    return -torch.where(log_pi.isneginf(), 0.0, log_pi.exp() * log_pi).sum(dim=-1)


def kl_divergence(log_pi: Tensor, log_ref: Tensor) -> Tensor:
    """KL(π ‖ π_ref) = Σ_a π(a) (log π(a) - log π_ref(a)) in nats, shape (..., actions) → (...), exact.

    Summed along a sampled completion it estimates the divergence of whole completions without bias (the chain rule),
    and with less variance than log-ratios of the sampled tokens, because each step is an expectation, not a sample.
    """
    return torch.where(log_pi.isneginf(), 0.0, log_pi.exp() * (log_pi - log_ref)).sum(dim=-1)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
