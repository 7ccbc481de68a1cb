"""How far a policy is from a reference, estimated from sampled actions: values, and what their gradients really are.

With x ~ π and r = π_ref(x) / π(x) (Schulman 2020, http://joschu.net/blog/kl-approx.html):

| estimator           | expected value | gradient as a loss   | gradient as a reward               |
| ------------------- | -------------- | -------------------- | ---------------------------------- |
| k1 = -log r         | KL(π ‖ π_ref)  | 0                    | ∇KL(π ‖ π_ref)                     |
| k2 = ½ (log r)²     | biased         | ∇KL(π ‖ π_ref)       | of no divergence                   |
| k3 = r - 1 - log r  | KL(π ‖ π_ref)  | ∇KL(π_ref ‖ π)       | ∇KL(π ‖ π_ref) - ∇KL(π_ref ‖ π)    |

"As a loss": E[∇k]. "As a reward": E[k ∇log π], k a number without gradient. A value without bias is no promise about
the gradient: where a sampled k is differentiated, the dependence of the *sampling* on the parameters is lost. The
ratio of `importance_weighted` puts it back: E[∇(ρ k)] = ∇KL(π ‖ π_ref) for both k1 and k3. (Tang & Munos 2025,
arXiv:2506.09477; Liu et al. 2025, arXiv:2510.01555; every entry is enumerated in this project's tests.)
"""

from typing import Literal

import torch
from torch import Tensor

from policy_gradients.estimators.checks import check_mask, check_tensor, floating, half_in_float32, log_chances

KlEstimator = Literal["exact", "k1", "k2", "k3"]
KlPlace = Literal["reward", "loss", "weighted_loss"]


def k1(log_probs: Tensor, ref_log_probs: Tensor) -> Tensor:
    """-log r = log π - log π_ref of sampled actions, elementwise, in nats: unbiased, of either sign.

    Raises:
        ValueError: shapes that differ.
    """
    return _checked(log_probs, ref_log_probs)


@half_in_float32
def k2(log_probs: Tensor, ref_log_probs: Tensor) -> Tensor:
    """½ (log r)², elementwise: never negative, biased, and the one of the three with the right gradient as a loss.

    Raises:
        ValueError: shapes that differ.
    """
    return 0.5 * _checked(log_probs, ref_log_probs) ** 2


@half_in_float32
def k3(log_probs: Tensor, ref_log_probs: Tensor) -> Tensor:
    """r - 1 - log r, elementwise: never negative, unbiased; the divergence of GRPO (arXiv:2402.03300, eq. 4).

    Raises:
        ValueError: shapes that differ.
    """
    log_ratio = -_checked(log_probs, ref_log_probs)
    return log_ratio.expm1() - log_ratio  # exp() - 1 would lose what is left where policies are close


def kl_estimate(log_probs: Tensor, ref_log_probs: Tensor, estimator: KlEstimator) -> Tensor:
    """k1, k2 or k3 by name.

    Raises:
        ValueError: shapes that differ, or a name that is not one of the three: the exact divergence takes whole
            distributions, `kl_divergence`.
    """
    if estimator not in (known := {"k1": k1, "k2": k2, "k3": k3}):
        raise ValueError(f"estimator must be 'k1', 'k2' or 'k3', got {estimator!r}")
    return known[estimator](log_probs, ref_log_probs)


def importance_weighted(estimate: Tensor, log_probs: Tensor, old_log_probs: Tensor) -> Tensor:
    """ρ k with ρ = π/π_old *differentiable*: over samples of π_old, E[ρ k] = E_π[k] for every π, and so its gradient.

    At the first update on a batch ρ is 1, but its gradient is not 0: that is the part which a sampled k leaves out.
    (DeepSeek-V3.2, arXiv:2512.02556, uses it with k3. It corrects the choice of this token, not of those before it.)

    Raises:
        ValueError: shapes that differ.
    """
    estimate, log_probs = floating("estimate", estimate), log_chances("log_probs", log_probs)
    old_log_probs = log_chances("old_log_probs", old_log_probs)
    if not estimate.shape == log_probs.shape == old_log_probs.shape:
        shapes = [tuple(x.shape) for x in (estimate, log_probs, old_log_probs)]
        raise ValueError(f"estimate, log_probs and old_log_probs must have one shape, got {shapes}")
    return estimate * torch.exp(log_probs - old_log_probs.detach())


def divergence_parts(kl: Tensor, mask: Tensor, place: KlPlace = "reward", exact: bool = True) -> tuple[Tensor, Tensor]:
    """Where a divergence enters an update: (cost of each token in the reward, term of each token in the loss).

    - ``reward``: the gradient is that of E[R - β Σ_t KL_t], the divergence of whole completions. A sampled estimate is
      a cost like any other, charged to the token that it was computed from. An exact KL_t depends on the state s_t and
      not on the action a_t: it is charged to the token *before*, which led there, and its own step, the expectation of
      k1 ∇log π over a_t, is known to be ∇KL_t and goes into the loss.
    - ``loss``, ``weighted_loss``: differentiated as it stands, at the states that were met; no token is charged for the
      states that it leads to. This is GRPO's way.

    Args:
        kl: (completions, time), in nats: exact (`kl_divergence`) or estimated, already weighted if it is to be.
        mask: (completions, time).

    Returns:
        Two tensors (completions, time), zero on padding: the cost has no gradient, the term does.

    Raises:
        ValueError: shapes that differ, unknown place, a mask of other numbers than 0 and 1.
    """
    kl = floating("kl", kl)
    check_tensor("mask", mask)
    if kl.dim() != 2:
        raise ValueError(f"kl must have shape (completions, time), got {tuple(kl.shape)}")
    if kl.shape != mask.shape:
        raise ValueError(f"kl {tuple(kl.shape)} and mask {tuple(mask.shape)} differ")
    kl = torch.where(check_mask(mask, "kl", kl) > 0, kl, 0.0)
    nothing = torch.zeros_like(kl)
    if place in ("loss", "weighted_loss"):
        return nothing, kl
    if place != "reward":
        raise ValueError(f"place must be 'reward', 'loss' or 'weighted_loss', got {place!r}")
    if not exact:
        return kl.detach(), nothing
    return torch.cat([kl[:, 1:], nothing[:, :1]], dim=1).detach(), kl


def _checked(log_probs: Tensor, ref_log_probs: Tensor) -> Tensor:
    """log π - log π_ref; the reference never learns."""
    log_probs, ref_log_probs = log_chances("log_probs", log_probs), log_chances("ref_log_probs", ref_log_probs)
    if log_probs.shape != ref_log_probs.shape:
        raise ValueError(f"log_probs {tuple(log_probs.shape)} and ref_log_probs {tuple(ref_log_probs.shape)} differ")
    return log_probs - ref_log_probs.detach()
