"""Step 4: log-probabilities, entropies and divergences, of categorical distributions (from logits) and of Gaussians."""

import math

import torch
from torch import Tensor

from policy_gradients.estimators.checks import (
    check_broadcast,
    check_choices,
    check_same_shape,
    check_tensor,
    finite,
    floating,
    half_in_float32,
    log_distribution,
    wide,
)


def log_probs_and_entropy(logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """log π(a) of the given actions and the full-softmax entropy -Σ_a π(a) log π(a), both differentiable.

    The entropy is *not* -log π of the sampled action: that one has the right value on average, but the expectation of
    its gradient is exactly zero (the score function has mean zero).

    Args:
        logits: shape (..., actions), already divided by the sampling temperature; -inf for actions that are ruled out,
            which then count nothing, in values and in gradients.
        actions: whole numbers, shape (...).

    Returns:
        log-probabilities and entropies in nats, each of shape (...), float32 or wider.

    Raises:
        ValueError: shapes that do not match, logits that are NaN or +inf, no action that is not ruled out, actions
            that are not whole numbers below the number of actions.
    """
    logits = floating("logits", logits, 1)
    check_tensor("actions", actions)
    if logits.shape[:-1] != actions.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and actions {tuple(actions.shape)} do not match")
    check_choices("actions", actions, logits.shape[-1])
    if (logits.isnan() | logits.isposinf()).any():
        raise ValueError(f"logits {tuple(logits.shape)} must not hold NaN or +inf")
    if logits.isneginf().all(-1).any():
        raise ValueError(f"logits {tuple(logits.shape)}: every action is ruled out (-inf) in some state")
    log_pi = torch.log_softmax(wide(logits), dim=-1)
    return log_pi.gather(-1, actions.long().unsqueeze(-1)).squeeze(-1), entropy(log_pi)


@half_in_float32
def entropy(log_pi: Tensor) -> Tensor:
    """H(π) = -Σ_a π(a) log π(a) in nats; `log_pi` of shape (..., actions) is normalised, -inf allowed.

    Raises:
        ValueError: no tensor of shape (..., actions).
    """
    log_pi = log_distribution("log_pi", log_pi)
    # filled before the product: 0 · (-inf) is NaN in the gradient, also where it is not taken
    return -(log_pi.exp() * log_pi.masked_fill(log_pi.isneginf(), 0.0)).sum(dim=-1)


@half_in_float32
def kl_divergence(log_pi: Tensor, log_ref: Tensor) -> Tensor:
    """KL(π ‖ π_ref) = Σ_a π(a) (log π(a) - log π_ref(a)) in nats, shape (..., actions) → (...), exact.

    Summed along a sampled completion it estimates the divergence of whole completions without bias (the chain rule),
    and with less variance than log-ratios of the sampled tokens, because each step is an expectation, not a sample.
    Actions that π rules out (-inf) count nothing, in values and gradients; where π_ref alone rules one out it is +inf.

    Raises:
        ValueError: shapes that differ, no dimension of actions.
    """
    log_pi, log_ref = log_distribution("log_pi", log_pi), log_distribution("log_ref", log_ref)
    check_same_shape("log_ref", log_ref, "log_pi", log_pi)
    pi, ruled_out = log_pi.exp(), log_pi.isneginf()
    # π so small that its exp is 0 is a chance all the same, and 0 · inf is NaN: what is infinite is said, not summed
    infinite = (pi == 0) & ~ruled_out & log_ref.isneginf()
    divergence = (pi * (log_pi - log_ref).masked_fill(ruled_out | infinite, 0.0)).sum(dim=-1)
    return divergence.masked_fill(infinite.any(-1), math.inf)


def expected_value(log_pi: Tensor, action_values: Tensor) -> Tensor:
    """Σ_a π(a|s) Q(s, a), (..., actions) twice → (...); its gradient is Σ_a ∇π(a|s) Q(s, a), Q held fixed.

    This is the policy-gradient theorem as Sutton et al. (2000, Theorem 1) state it, a sum over *all* actions. The
    familiar Q ∇log π is the same sum estimated from the one action that was sampled. Where Q is known for every action
    there is no need to: the noise of that draw is gone, and an action that is rarely drawn is learnt about all the same
    (Mean Actor-Critic, Allen et al. 2017, arXiv:1709.00503; Ciosek & Whiteson 2018, arXiv:1706.05374). No baseline is
    needed, for Σ_a ∇π(a|s) b = 0; the mean is taken off Q all the same, to keep rounding small.

    Raises:
        ValueError: shapes that differ, no dimension of actions.
    """
    log_pi, action_values = log_distribution("log_pi", log_pi), floating("action_values", action_values)
    if log_pi.shape != action_values.shape:
        raise ValueError(f"log_pi {tuple(log_pi.shape)} and action_values {tuple(action_values.shape)} differ")
    pi, action_values = log_pi.exp(), action_values.detach().masked_fill(log_pi.isneginf(), 0.0)
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
        ValueError: shapes that do not match, a mean or L that is empty or not finite, an L that is not lower
            triangular, a diagonal of L that is not positive.
    """
    mean, actions = finite("mean", mean, 1), floating("actions", actions)
    scale_tril = _factor("scale_tril", scale_tril)
    size = mean.shape[-1]
    if actions.shape != mean.shape or scale_tril.shape[-2:] != (size, size):
        raise ValueError(
            f"mean {tuple(mean.shape)}, scale_tril {tuple(scale_tril.shape)} and actions {tuple(actions.shape)} "
            "do not match"
        )
    check_broadcast(("mean", mean.shape[:-1]), ("scale_tril", scale_tril.shape[:-2]))
    mean, scale_tril, actions = wide(mean), wide(scale_tril), wide(actions)
    whitened = torch.linalg.solve_triangular(scale_tril, (actions - mean).unsqueeze(-1), upper=False).squeeze(-1)
    log_det = scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    log_probs = -0.5 * whitened.square().sum(-1) - log_det - 0.5 * size * math.log(2 * math.pi)
    return log_probs, (0.5 * size * math.log(2 * math.pi * math.e) + log_det).expand(log_probs.shape)


def gaussian_kl(mean: Tensor, scale_tril: Tensor, ref_mean: Tensor, ref_scale_tril: Tensor) -> Tensor:
    """KL(N(μ, LLᵀ) ‖ N(μ_ref, L_ref L_refᵀ)) in nats, exact: (..., k) and (..., k, k), which broadcast → (...).

    Raises:
        ValueError: sizes k that differ, leading dimensions that do not broadcast, input that is empty or not finite, an
            L or L_ref that is not lower triangular, or whose diagonal is not positive.
    """
    mean, ref_mean = finite("mean", mean, 1), finite("ref_mean", ref_mean, 1)
    scale_tril, ref_scale_tril = _factor("scale_tril", scale_tril), _factor("ref_scale_tril", ref_scale_tril)
    named = {"ref_mean": ref_mean, "scale_tril": scale_tril, "ref_scale_tril": ref_scale_tril}
    for name, x in named.items():
        if x.shape[-1] != mean.shape[-1]:
            raise ValueError(f"{name} {tuple(x.shape)} and mean {tuple(mean.shape)} must have the same size k")
    batches = {name: x.shape[:-2] if "tril" in name else x.shape[:-1] for name, x in {"mean": mean, **named}.items()}
    check_broadcast(*batches.items())
    mean, ref_mean, scale_tril, ref_scale_tril = map(wide, (mean, ref_mean, scale_tril, ref_scale_tril))
    shift = (ref_mean - mean).unsqueeze(-1)
    moved = torch.linalg.solve_triangular(ref_scale_tril, shift, upper=False).square().sum((-2, -1))
    spread = torch.linalg.solve_triangular(ref_scale_tril, scale_tril, upper=False).square().sum((-2, -1))
    log_det = (ref_scale_tril.diagonal(dim1=-2, dim2=-1).log() - scale_tril.diagonal(dim1=-2, dim2=-1).log()).sum(-1)
    return 0.5 * (moved + spread - mean.shape[-1]) + log_det


def _factor(name: str, scale_tril: Tensor) -> Tensor:
    scale_tril = finite(name, scale_tril, 2)
    if scale_tril.shape[-1] != scale_tril.shape[-2]:
        raise ValueError(f"{name} {tuple(scale_tril.shape)} must be square: (..., k, k)")
    if not (scale_tril.diagonal(dim1=-2, dim2=-1) > 0).all():
        raise ValueError(f"{name} {tuple(scale_tril.shape)} must have a positive diagonal")
    if scale_tril.triu(1).any():
        raise ValueError(f"{name} {tuple(scale_tril.shape)} must be lower triangular, zero above the diagonal")
    return scale_tril
