"""Step 4: log-probabilities, entropies and divergences, of categorical distributions (from logits) and of Gaussians."""

import math

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


def expected_value(log_pi: Tensor, action_values: Tensor) -> Tensor:
    """Σ_a π(a|s) Q(s, a), (..., actions) twice → (...); its gradient is Σ_a ∇π(a|s) Q(s, a), Q held fixed.

    This is the policy-gradient theorem as Sutton et al. (2000, Theorem 1) state it, a sum over *all* actions. The
    familiar Q ∇log π is the same sum estimated from the one action that was sampled. Where Q is known for every action
    there is no need to: the noise of that draw is gone, and an action that is rarely drawn is learnt about all the same
    (Mean Actor-Critic, Allen et al. 2017, arXiv:1709.00503; Ciosek & Whiteson 2018, arXiv:1706.05374). No baseline is
    needed, for Σ_a ∇π(a|s) b = 0; the mean is taken off Q all the same, to keep rounding small.

    Raises:
        ValueError: shapes that differ.
    """
    if log_pi.shape != action_values.shape:
        raise ValueError(f"log_pi {tuple(log_pi.shape)} and action_values {tuple(action_values.shape)} differ")
    pi, action_values = log_pi.exp(), action_values.detach()
    mean = (pi.detach() * action_values).sum(-1, keepdim=True)
    return (pi * (action_values - mean)).sum(-1) + mean.squeeze(-1)


def gaussian_log_probs_and_entropy(mean: Tensor, scale_tril: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """log density of actions under N(μ, Σ), Σ = L Lᵀ, and its entropy ½ ln det(2πe Σ), both differentiable.

    A density may exceed 1, and this entropy may be negative. The gradient to μ is Σ⁻¹(a - μ): it grows without bound as
    the spread shrinks (Williams 1992, §6).

    Args:
        mean, actions: (..., k).
        scale_tril: (..., k, k), the lower Cholesky factor L with a positive diagonal; broadcasts.

    Returns:
        log densities and entropies in nats, each (...).

    Raises:
        ValueError: shapes that do not match.
    """
    size = mean.shape[-1]
    if actions.shape != mean.shape or scale_tril.shape[-2:] != (size, size):
        raise ValueError(
            f"mean {tuple(mean.shape)}, scale_tril {tuple(scale_tril.shape)} and actions {tuple(actions.shape)} "
            "do not match"
        )
    whitened = torch.linalg.solve_triangular(scale_tril, (actions - mean).unsqueeze(-1), upper=False).squeeze(-1)
    log_det = scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    log_probs = -0.5 * whitened.square().sum(-1) - log_det - 0.5 * size * math.log(2 * math.pi)
    return log_probs, (0.5 * size * math.log(2 * math.pi * math.e) + log_det).expand(log_probs.shape)


def gaussian_kl(mean: Tensor, scale_tril: Tensor, ref_mean: Tensor, ref_scale_tril: Tensor) -> Tensor:
    """KL(N(μ, LLᵀ) ‖ N(μ_ref, L_ref L_refᵀ)) in nats, exact: (..., k) and (..., k, k), which broadcast → (...)."""
    shift = (ref_mean - mean).unsqueeze(-1)
    moved = torch.linalg.solve_triangular(ref_scale_tril, shift, upper=False).square().sum((-2, -1))
    spread = torch.linalg.solve_triangular(ref_scale_tril, scale_tril, upper=False).square().sum((-2, -1))
    log_det = (ref_scale_tril.diagonal(dim1=-2, dim2=-1).log() - scale_tril.diagonal(dim1=-2, dim2=-1).log()).sum(-1)
    return 0.5 * (moved + spread - mean.shape[-1]) + log_det


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
