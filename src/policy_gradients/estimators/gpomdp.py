"""GPOMDP: the gradient of the *average* reward from one endless path, with a memory of two parameter vectors.

Baxter & Bartlett 2001, JAIR 15, Algorithm 1. β in [0, 1) is not the discount of the problem but a knob: bias falls and
variance grows as β → 1, and 1/(1 - β) has to be about the mixing time of the chain.
"""

import torch
from torch import Tensor

from policy_gradients.estimators.checks import check_unit_interval, finite, half_in_float32


@half_in_float32
def eligibility_traces(scores: Tensor, beta: float) -> Tensor:
    """z_t = β z_{t-1} + ∇log π(a_t|s_t), starting from zero.

    Typical mistakes: decaying the newest score as well; the plain running sum (β = 1), whose variance never stops
    growing.

    Args:
        scores: (..., time, parameters).
        beta: in [0, 1]; 1 only where episodes end.

    Returns:
        (..., time, parameters).

    Raises:
        ValueError: β outside [0, 1], empty or non-finite scores.
    """
    scores = finite("scores", scores, 2)
    check_unit_interval("beta", beta)
    traces, trace = [], torch.zeros_like(scores[..., 0, :])
    for score in scores.unbind(-2):
        trace = beta * trace + score
        traces.append(trace)
    return torch.stack(traces, dim=-2)


@half_in_float32
def gpomdp(scores: Tensor, rewards: Tensor, beta: float) -> Tensor:
    """Δ = (1/T) Σ_t r_t z_t, where r_t is the reward that follows the action at t.

    Its limit in T is ∇_β η = Σ_s d(s) Σ_a ∇π(a|s) Q_β(s, a), d the stationary distribution and Q_β the β-discounted
    values: biased for ∇η, and right as β → 1. Summed the other way round it is Σ_t ∇log π(a_t|s_t) G_t / T with returns
    discounted by β.

    Typical mistakes: r_t paired with z_{t-1}, which leaves an action's own reward out; β used as the discount of the
    objective.

    Args:
        scores: (..., time, parameters).
        rewards: (..., time).
        beta: in [0, 1].

    Returns:
        (..., parameters).

    Raises:
        ValueError: shapes that do not match, β outside [0, 1], empty or non-finite input.
    """
    rewards, scores = finite("rewards", rewards, 1), finite("scores", scores, 2)
    if scores.shape[:-1] != rewards.shape:
        raise ValueError(f"scores {tuple(scores.shape)} do not match rewards {tuple(rewards.shape)}")
    return (
        torch.einsum("...tp,...t->...p", eligibility_traces(scores, beta), rewards.to(scores.dtype)) / rewards.shape[-1]
    )
