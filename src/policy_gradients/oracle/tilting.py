"""A reference that is pulled towards a score: by a price on KL, to a given KL, or by taking the best of n samples."""

import math

import torch
from torch import Tensor

from policy_gradients.estimators import log_probs


def kl_divergence(log_pi: Tensor, log_ref: Tensor) -> Tensor:
    """KL(π ‖ π_ref) in nats, (...,), of log-probs (..., n) that broadcast: `estimators.kl_divergence`."""
    return log_probs.kl_divergence(*torch.broadcast_tensors(log_pi, log_ref))


def tilted(log_ref: Tensor, scores: Tensor, beta: float) -> Tensor:
    """log π (n,) of the policy that maximises E[score] - β·KL(π ‖ π_ref): π ∝ π_ref e^{score/β} (Korbak et al. 2022).

    Raises:
        ValueError: β not above 0.
    """
    if not beta > 0:
        raise ValueError(f"beta must be above 0, got {beta}")
    # less the best score that the reference allows, which cancels: where score/β is large, log π_ref would be lost
    best = scores.masked_fill(log_ref.isneginf(), -torch.inf).amax(-1, keepdim=True)
    return (
        (log_ref + (scores.double() - best) / beta).log_softmax(-1).to(torch.promote_types(log_ref.dtype, scores.dtype))
    )


def tilted_to(log_ref: Tensor, scores: Tensor, kl: float) -> Tensor:
    """log π (n,) of the `tilted` policy whose KL is `kl` nats, or of the nearest below it that there is.

    The KL of the limit β → 0 is -log of the reference's probability of the highest score; none goes farther.

    Raises:
        ValueError: kl below 0.
    """
    if not kl >= 0:
        raise ValueError(f"kl must be at least 0, got {kl}")
    spread = math.log((scores.max() - scores.min()).item() or 1.0)
    low, high = spread - 20.0, spread + 20.0  # log β, in units of the scores
    for _ in range(60):
        middle = (low + high) / 2
        apart = kl_divergence(tilted(log_ref, scores, math.exp(middle)), log_ref)
        low, high = (middle, high) if apart > kl else (low, middle)
    return tilted(log_ref, scores, math.exp(high))


def best_of_n(probabilities: Tensor, scores: Tensor, n: int) -> Tensor:
    """Distribution (m,) of the highest-scored of n samples from `probabilities` (m,); ties are broken at random.

    All n samples score at most s with probability F(s)^n. So F(s)^n - F(<s)^n is the chance that s is the highest,
    and within a score the sample is as the reference would have it. Scores within 1e-9 count as ties.

    Raises:
        ValueError: n below 1, or shapes that differ.
    """
    if n < 1 or probabilities.shape != scores.shape:
        raise ValueError(
            f"best_of_n needs n ≥ 1 and equal shapes, got {n}, {tuple(probabilities.shape)}, {tuple(scores.shape)}"
        )
    levels, level = torch.unique(scores.round(decimals=9), return_inverse=True)
    mass = torch.zeros(len(levels), dtype=torch.float64).index_add(0, level, probabilities.double())
    reached = (mass.cumsum(0) / mass.sum()).clamp(max=1)
    highest = reached**n - torch.nn.functional.pad(reached[:-1], (1, 0)) ** n
    share = torch.where(mass > 0, highest / mass, 0.0)
    return probabilities * share[level]


def best_of_n_kl_bound(n: int) -> float:
    """log n - (n - 1)/n nats: the KL of best-of-n where no two samples ever tie, and more than it where they do.

    That it bounds the true KL from above is shown by Beirami et al. (2024), arXiv:2401.01879.

    Raises:
        ValueError: n below 1.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    return math.log(n) - (n - 1) / n
