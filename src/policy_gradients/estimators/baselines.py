"""What may be subtracted from a return without bias: anything that does not depend on the action it is held against.

E[∇log π(a|s) b(s)] = b(s) Σ_a ∇π(a|s) = 0. Baselines are older than policy gradients with function approximation:
Sutton (1984), Williams (1988, 1992), Dayan (1991). A constant one needs no function: `rewards - b`. The mean over a
batch that contains the sample itself is *not* independent of it: it scales the expected gradient by 1 - 1/n
(`group_advantages`).
"""

import torch
from torch import Tensor

from policy_gradients.estimators.checks import (
    check_same_shape,
    check_tensor,
    check_unit_interval,
    check_weights,
    finite,
    floating,
    full_mask,
    half_in_float32,
    on_steps,
    wide,
)


@half_in_float32
def leave_one_out(values: Tensor, dim: int = -1) -> Tensor:
    """The mean of the *others* along `dim`, shape kept: unbiased, because no sample sees itself (Kool et al. 2019).

    Typical mistakes: the mean of all; dividing by n instead of n - 1; the mean over the wrong dimension.

    Raises:
        ValueError: fewer than two values along `dim`, values that are not finite, a dimension that is not there.
    """
    values = finite("values", values)
    if not -values.dim() <= dim < values.dim():
        raise ValueError(f"dim must be a dimension of values {tuple(values.shape)}, got {dim}")
    if (size := values.shape[dim]) < 2:
        raise ValueError(f"values {tuple(values.shape)}: leaving one out needs at least 2 along dimension {dim}")
    others = (size * values.mean(dim=dim, keepdim=True) - values) / (size - 1)
    return torch.where((values == values.narrow(dim, 0, 1)).all(dim, keepdim=True), values, others)  # no rounding there


def mean_of_peers(values: Tensor, peers: Tensor) -> Tensor:
    """The mean of the *others* that a sample is compared with; who has no peers is compared with all others.

    One function for every way to share a baseline: peers of the same prompt give RLOO, all of a batch the batch's
    leave-one-out mean, those of a cluster something between. A sample is never its own peer, whatever the diagonal
    says. Without bias as long as who is a peer of i does not depend on what i did or earned.

    Typical mistakes: the own value counted; the number of all divided by, not that of the peers; peers chosen by the
    value itself.

    Args:
        values: (..., n), n ≥ 2.
        peers: truth values, (n, n), or (..., n, n): row i says with whom i is compared.

    Returns:
        (..., n), no gradient.

    Raises:
        ValueError: fewer than two values, values that are not finite, peers that are no truth values or do not match.
    """
    values = finite("values", values, 1)
    n = values.shape[-1]
    if n < 2:
        raise ValueError(f"values {tuple(values.shape)}: a comparison needs at least 2")
    check_tensor("peers", peers, 2)
    if peers.dtype != torch.bool or peers.shape[-2:] != (n, n) or peers.shape[:-2] not in ((), values.shape[:-1]):
        raise ValueError(
            f"peers must be truth values of shape ({n}, {n}), or with the leading dimensions of values "
            f"{tuple(values.shape)}; got {peers.dtype}, {tuple(peers.shape)}"
        )
    own = wide(values.detach())
    weights = (peers & ~torch.eye(n, dtype=torch.bool, device=peers.device)).to(own.dtype)
    count = weights.sum(-1)
    mean = (weights @ own.unsqueeze(-1)).squeeze(-1) / count.clamp(min=1)
    return torch.where(count > 0, mean, leave_one_out(own)).to(values.dtype)


def running_mean(baseline: Tensor | float, rewards: Tensor, rate: float = 0.1) -> Tensor:
    """b + rate · (mean(r) - b): the baseline for the *next* batch (Williams 1992, reinforcement comparison).

    The batch it is updated with must not use it: subtract the old one, then update.

    Args:
        baseline: (...), the one so far; rewards: (..., episodes); rate: in [0, 1].

    Returns:
        (...), no gradient, float32 or wider.

    Raises:
        ValueError: empty or non-finite rewards, rate outside [0, 1], a baseline that is neither one number nor one for
            each row of rewards, or not finite.
    """
    rewards = wide(finite("rewards", rewards, 1))
    check_unit_interval("rate", rate)
    if not isinstance(baseline, (Tensor, int, float)):
        raise ValueError(f"baseline must be a number or a tensor, got {type(baseline).__name__}")
    if not isinstance(baseline, Tensor):
        baseline = torch.tensor(baseline, dtype=rewards.dtype)
    baseline = finite("baseline", baseline)
    if baseline.dim() and baseline.shape != rewards.shape[:-1]:
        raise ValueError(f"baseline {tuple(baseline.shape)} does not match rewards {tuple(rewards.shape)}")
    return (baseline + rate * (rewards.mean(-1) - baseline)).detach()


@half_in_float32
def optimal_baseline(scores: Tensor, returns: Tensor, probabilities: Tensor | None = None) -> Tensor:
    """b_k = E[ψ_k² R] / E[ψ_k²], one for each parameter k: of all constants, the one with the least variance.

    (Greensmith, Bartlett & Baxter 2004, JMLR 5; Peters & Schaal 2008.) It weighs each return by the squared score,
    so it is not the mean return. Estimated from the very samples it is subtracted from, it is slightly biased.

    Typical mistakes: the mean return; weights |ψ| instead of ψ²; one baseline shared by all parameters.

    Args:
        scores: (..., episodes, parameters), ψ = Σ_t ∇log π of each episode.
        returns: (..., episodes).
        probabilities: (..., episodes) of enumerated outcomes; equal weights if not given.

    Returns:
        (..., parameters); zero for a parameter whose score is always zero.

    Raises:
        ValueError: shapes that do not match, empty or non-finite scores or returns, negative probabilities.
    """
    returns, scores = finite("returns", returns, 1), finite("scores", scores, 2)
    if scores.shape[:-1] != returns.shape:
        raise ValueError(f"scores {tuple(scores.shape)} do not match returns {tuple(returns.shape)}")
    squares = scores.square()
    if probabilities is not None:
        check_weights("probabilities", probabilities, "returns", returns.shape)
        squares = squares * probabilities.unsqueeze(-1)
    weight = squares.sum(-2)
    return torch.where(weight > 0, (squares * returns.unsqueeze(-1)).sum(-2) / weight.where(weight > 0, 1.0), 0.0)


@half_in_float32
def value_loss(values: Tensor, returns: Tensor, mask: Tensor | None = None) -> Tensor:
    """½ E[(V(s_t) - G_t)²] over real steps, scalar: what a learned baseline minimises; no gradient through `returns`.

    Raises:
        ValueError: shapes that do not match, returns or values that are not finite on a step, an episode without
            steps, a mask of other numbers than 0 and 1.
    """
    returns, values = floating("returns", returns), floating("values", values)
    check_same_shape("values", values, "returns", returns)
    mask = full_mask(mask, "returns", returns)
    returns, values = on_steps("returns", returns, mask), on_steps("values", values, mask)
    return 0.5 * ((values - returns.detach()).square() * mask).sum() / mask.sum()
