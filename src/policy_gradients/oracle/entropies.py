"""What a policy's entropy is made of, where an answer passes or fails: how undecided it is *whether*, and *how*."""

import math

import torch
from torch import Tensor


def entropy_parts(probabilities: Tensor, passes: Tensor) -> tuple[float, float, float]:
    """Pass rate q, and the entropies in nats of the answers that pass and of those that fail, each by themselves.

    The whole entropy is `joined_entropy` of the three. A policy that is reweighted by a 0/1 reward (`tilting.tilted`)
    keeps the last two: only q moves.

    Args:
        probabilities: (n,), of sum one.
        passes: (n,), 1 or 0.

    Raises:
        ValueError: shapes that differ, or values other than 0 and 1 in `passes`.
    """
    if probabilities.shape != passes.shape or not ((passes == 0) | (passes == 1)).all():
        raise ValueError("passes must be 0 or 1 for each of the probabilities")
    parts = []
    for side in (passes == 1, passes == 0):
        mass = probabilities[side].sum()
        share = probabilities[side] / mass.clamp(min=1e-300)
        parts.append(-torch.special.xlogy(share, share).sum().item())
    return probabilities[passes == 1].sum().item(), *parts


def joined_entropy(q: float, h_pass: float, h_fail: float) -> float:
    """H = h(q) + q H_pass + (1 - q) H_fail, in nats, with h(q) that of the bit itself (the chain rule).

    Raises:
        ValueError: q outside [0, 1].
    """
    if not 0 <= q <= 1:
        raise ValueError(f"q must lie in [0, 1], got {q}")
    bit = -sum(x * math.log(x) for x in (q, 1 - q) if x > 0)
    return bit + q * h_pass + (1 - q) * h_fail


def entropy_slope(q: float, h_pass: float, h_fail: float) -> float:
    """dH/dq = log((1 - q)/q) + H_pass - H_fail, in nats: how entropy moves as a policy is reweighted towards passing.

    It rises as long as the odds q/(1 - q) are below e^{H_pass - H_fail}: roughly, the number of ways to pass over
    that of ways to fail.

    Raises:
        ValueError: q outside (0, 1).
    """
    if not 0 < q < 1:
        raise ValueError(f"q must lie in (0, 1), got {q}")
    return math.log((1 - q) / q) + h_pass - h_fail
