"""The natural gradient: steps measured by how far the *policy* moves (in KL), not its parameters.

Amari 1998; Kakade 2001 (NIPS 14). maximise gᵀd subject to ½ dᵀF d ≤ δ gives d = √(2δ / gᵀF⁻¹g) F⁻¹g. It does not lower
the variance of g; it makes the step independent of the parametrisation.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from policy_gradients.estimators.checks import (
    check_finite,
    check_not_negative,
    check_positive,
    check_same_shape,
    check_weights,
    check_whole,
    finite,
    floating,
    half_in_float32,
)


@half_in_float32
def fisher_matrix(scores: Tensor, weights: Tensor | None = None) -> Tensor:
    """F = E[ψ ψᵀ], ψ = ∇log π(a|s), over sampled (or enumerated) states and actions of the policy itself.

    Typical mistakes: the outer product of the *mean* score, which is zero in expectation; scores times rewards inside.

    Args:
        scores: (..., samples, parameters).
        weights: (..., samples), probabilities of enumerated samples or a mask over their number; 1/n if not given.

    Returns:
        (..., parameters, parameters), positive semidefinite; for softmax policies singular.

    Raises:
        ValueError: shapes that do not match, scores empty or not finite where their weight is above 0, negative
            weights.
    """
    scores, weighted = _weighted(scores, weights)
    return torch.einsum("...np,...nq->...pq", weighted, scores)


@half_in_float32
def fisher_vector_product(scores: Tensor, vector: Tensor, weights: Tensor | None = None) -> Tensor:
    """F v = E[ψ (ψᵀ v)] without ever forming F: (..., samples, parameters), (..., parameters) → (..., parameters).

    Raises:
        ValueError: as `fisher_matrix`; a vector of another shape, or not finite.
    """
    scores, weighted = _weighted(scores, weights)
    vector = finite("vector", vector, 1)
    if vector.shape != (*scores.shape[:-2], scores.shape[-1]):
        raise ValueError(f"vector {tuple(vector.shape)} does not match scores {tuple(scores.shape)}")
    dtype = torch.promote_types(scores.dtype, vector.dtype)
    scores, weighted, vector = scores.to(dtype), weighted.to(dtype), vector.to(dtype)
    along = torch.einsum("...np,...p->...n", scores, vector)
    return torch.einsum("...np,...n->...p", weighted, along)


def natural_gradient(gradient: Tensor, fisher: Tensor, damping: float = 0.0) -> Tensor:
    """(F + damping · I)⁻¹ g; with damping 0 the pseudo-inverse, since F of a softmax policy has no inverse.

    It is computed in float64 and returned in the gradient's dtype. Without damping, eigenvalues below size · ε of
    the largest count as zero, with ε the rounding unit of the dtype that F came in (float32: 1.2e-7): smaller ones are
    what rounding made of a zero, and their inverses would drown the rest. A damping below that cut is none for them.

    Typical mistakes: F g instead of F⁻¹ g; √F⁻¹; a plain inverse of a singular F.

    Args:
        gradient: (..., parameters).
        fisher: (..., parameters, parameters).
        damping: in the units of F, not negative.

    Raises:
        ValueError: shapes that do not match, non-finite input, negative damping, a fisher that is not symmetric, or
            one with a negative eigenvalue that the damping takes to 0.
    """
    gradient, fisher = finite("gradient", gradient, 1), finite("fisher", fisher, 2)
    size = gradient.shape[-1]
    if fisher.shape != (*gradient.shape, size):
        raise ValueError(f"fisher {tuple(fisher.shape)} does not match gradient {tuple(gradient.shape)}")
    check_not_negative("damping", damping)
    rounding, largest = torch.finfo(fisher.dtype).eps, fisher.abs().amax((-2, -1), keepdim=True)
    if ((fisher - fisher.mT).abs() > max(1e-4, 10 * rounding) * largest).any():
        raise ValueError(f"fisher {tuple(fisher.shape)} must be symmetric")
    wide, vector = fisher.double(), gradient.double().unsqueeze(-1)
    identity = torch.eye(size, dtype=wide.dtype, device=wide.device)
    if (
        damping <= size * rounding * wide.diagonal(dim1=-2, dim2=-1).sum(-1)
    ).any():  # the trace is at least the largest
        values, vectors = torch.linalg.eigh(wide)
        cut = size * rounding * values.abs().amax(-1, keepdim=True)
        counts = (values.abs() > cut) | (damping > cut)
        inverse = torch.where(counts, 1 / (values + damping).where(counts, 1.0), 0.0)
        return (vectors @ (inverse.unsqueeze(-1) * (vectors.mT @ vector))).squeeze(-1).to(gradient.dtype)
    try:
        return torch.linalg.solve(wide + damping * identity, vector).squeeze(-1).to(gradient.dtype)
    except torch.linalg.LinAlgError:
        raise ValueError(
            f"{damping=} is too small: fisher {tuple(fisher.shape)} with it has no inverse. Raise it, or take 0, which "
            "gives the pseudo-inverse"
        ) from None


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], gradient: Tensor, iterations: int = 10, tolerance: float = 1e-10
) -> Tensor:
    """x with A x = g for a positive semidefinite A that is known by its products alone (Hestenes & Stiefel 1952).

    In exact arithmetic it takes as many iterations as A has different eigenvalues; the first few give most of it. TRPO
    (Schulman et al. 2015, arXiv:1502.05477, appendix C) uses 10. Damping is added by the caller: v ↦ F v + damping · v.

    A may be singular, as the Fisher matrix of a softmax policy is: x is then the pseudo-inverse's answer. What rounding
    leaves along a direction without curvature must not be divided by that curvature, so it stops for good where the
    residual is at rounding, or where a direction's curvature is at most 10 rounding units of the largest stretch of A
    seen so far, and it returns the x with the smallest residual. If g has a part along such a direction, which no A x
    can reach (a policy's own gradient has none), it starts again without that part.

    Args:
        product: v ↦ A v, (..., parameters) → (..., parameters).
        gradient: (..., parameters).
        iterations: at most so many.
        tolerance: a residual whose norm is at most this share of that of g is small enough; 10 rounding units of the
            dtype (float32: 1.2e-6) where that is more.

    Raises:
        ValueError: an empty or non-finite gradient, iterations < 1 or not whole, a negative tolerance, a product of
            another shape, or not finite.
    """
    gradient = finite("gradient", gradient, 1)
    check_whole("iterations", iterations, 1)
    check_not_negative("tolerance", tolerance)
    rounding = torch.finfo(gradient.dtype).eps
    # by its own length, so that squares neither vanish nor overflow
    length = torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
    unit = gradient / length.where(length > 0, 1.0)
    x, flat = _conjugate_gradient(product, unit, iterations, max(tolerance, 10 * rounding))
    out_of_reach = (unit * flat).sum(-1, keepdim=True)
    if (mixed := out_of_reach.abs() > rounding**0.5).any():
        reachable, _ = _conjugate_gradient(
            product, unit - out_of_reach * flat, iterations, max(tolerance, 10 * rounding)
        )
        x = torch.where(mixed, reachable, x)
    return x * length


def _conjugate_gradient(
    product: Callable[[Tensor], Tensor], gradient: Tensor, iterations: int, tolerance: float
) -> tuple[Tensor, Tensor]:
    """x, and the unit vector along which A was found to be flat, the part of g out of reach; 0 if it was not."""
    rounding = torch.finfo(gradient.dtype).eps
    residual, x, best, flat = gradient, *(torch.zeros_like(gradient) for _ in range(3))
    direction, size = residual, (residual * residual).sum(-1, keepdim=True)
    least, stretch, going = size, torch.zeros_like(size), torch.ones_like(size, dtype=torch.bool)
    for _ in range(int(iterations)):
        going = going & (size > tolerance**2)  # per leading dimension: those that are done stand still
        if not going.any():
            break
        moved = product(direction)
        check_same_shape("product(direction)", moved, "gradient", gradient)
        check_finite("product(direction)", moved)
        square = (direction * direction).sum(-1, keepdim=True)
        curvature = (direction * moved).sum(-1, keepdim=True)
        unit = moved.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(moved.dtype).tiny)  # squares may overflow
        length = unit * torch.linalg.vector_norm(moved / unit, dim=-1, keepdim=True)
        stretch = torch.maximum(stretch, length / square.where(square > 0, 1.0).sqrt())
        curved = curvature > 10 * rounding * stretch * square
        flat = torch.where(going & ~curved, direction / square.where(square > 0, 1.0).sqrt(), flat)
        going = going & curved
        step = torch.where(going, size / curvature.where(going, 1.0), 0.0)
        x, residual = x + step * direction, residual - step * moved
        new_size = (residual * residual).sum(-1, keepdim=True)
        best, least = torch.where(new_size < least, x, best), torch.minimum(new_size, least)
        direction = residual + new_size / size.where(size > 0, 1.0) * direction
        size = new_size
    return best, flat


@half_in_float32
def kl_step(gradient: Tensor, direction: Tensor, max_kl: float) -> Tensor:
    """√(2δ / gᵀd) · d for d = F⁻¹g: the step whose KL is δ to second order (TRPO's, arXiv:1502.05477, appendix C).

    Typical mistakes: the 2 left out; gᵀg in place of gᵀF⁻¹g; no square root.

    Args:
        gradient, direction: (..., parameters), g and F⁻¹g.
        max_kl: δ in nats, positive.

    Returns:
        (..., parameters); zero where gᵀd is not positive (no ascent along d).

    Raises:
        ValueError: shapes that do not match, non-finite input, δ ≤ 0.
    """
    gradient, direction = finite("gradient", gradient, 1), finite("direction", direction)
    check_same_shape("direction", direction, "gradient", gradient)
    check_positive("max_kl", max_kl)
    # in units of about their lengths, so that products neither vanish nor overflow
    (gradient, g), (direction, d) = _in_units(gradient), _in_units(direction)
    slope = (gradient * direction).sum(-1, keepdim=True)
    size = torch.where(slope > 0, (2 * max_kl / slope.where(slope > 0, 1.0)).sqrt(), 0.0)
    return size * direction * (d.sqrt() / g.sqrt())


def _in_units(x: Tensor) -> tuple[Tensor, Tensor]:
    """x in units of a power of four near its largest entry, and that unit: to divide by it, or its root, is exact."""
    largest = x.detach().abs().amax(-1, keepdim=True).clamp(min=4 * torch.finfo(x.dtype).tiny)
    mantissa, exponent = torch.frexp(largest)  # in [½, 1), so the quotient below is 2^(exponent - 1)
    unit = largest / (2 * mantissa)
    unit = torch.where(exponent % 2 == 0, unit / 2, unit)
    return x / unit, unit


def compatible_critic(
    scores: Tensor, returns: Tensor, features: Tensor | None = None, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The w and v that minimise E[(R - wᵀψ - vᵀφ)²]: w is F⁻¹∇J, so the critic *is* the natural step.

    Sutton et al. 2000, Theorem 2 (a critic linear in the scores leaves the gradient exact); Kakade 2001, Theorem 1
    (w = F⁻¹∇J); Peters & Schaal 2008 (episodic: scores and returns summed over an episode, φ = 1). vᵀφ(s) is a
    baseline: scores have mean zero in every state, so it does not move w in expectation, and it lowers its variance.

    Typical mistakes: no constant among the features; features of the action in φ; ψ of other actions than those taken.

    Args:
        scores: (..., samples, parameters).
        returns: (..., samples).
        features: (..., samples, features), functions of the state alone; a constant 1 if not given.
        weights: (..., samples), probabilities or a mask; equal if not given.

    Returns:
        w (..., parameters) and v (..., features): of all minimisers, the shortest. Computed in float64; singular values
        of (ψ, φ) below size · ε of the largest count as zero, ε of the dtype that they came in. Half precision comes
        back as float32.

    Raises:
        ValueError: shapes that do not match, input that is empty or not finite where its weight is above 0, negative
            weights.
    """
    scores, returns = floating("scores", scores, 2), floating("returns", returns, 1)
    if returns.shape != scores.shape[:-1]:
        raise ValueError(f"returns {tuple(returns.shape)} do not match scores {tuple(scores.shape)}")
    features = torch.ones_like(scores[..., :1]) if features is None else floating("features", features, 2)
    if features.shape[:-1] != returns.shape:
        raise ValueError(f"features {tuple(features.shape)} do not match returns {tuple(returns.shape)}")
    if weights is not None:
        check_weights("weights", weights, "scores", returns.shape)
        counts = weights.unsqueeze(-1) > 0
        scores, features = torch.where(counts, scores, 0.0), torch.where(counts, features, 0.0)
        returns = torch.where(weights > 0, returns, 0.0)
    for name, x in (("scores", scores), ("returns", returns), ("features", features)):
        check_finite(name, x)
    design, target = torch.cat([scores, features], dim=-1), returns.to(scores.dtype).unsqueeze(-1)
    if weights is not None:
        root = weights.sqrt().unsqueeze(-1)
        design, target = root * design, root * target
    # by singular values, as scores of softmax policies are linearly dependent; CUDA has no such driver
    driver = "gels" if design.is_cuda else "gelsd"
    dtype, rounding = torch.promote_types(design.dtype, torch.float32), torch.finfo(design.dtype).eps
    found = torch.linalg.lstsq(design.double(), target.double(), rcond=design.shape[-1] * rounding, driver=driver)
    solution = found.solution.squeeze(-1).to(dtype)
    return solution[..., : scores.shape[-1]], solution[..., scores.shape[-1] :]


def _weighted(scores: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """The scores, zero where they weigh nothing, and the same times their weights."""
    scores = floating("scores", scores, 2)
    if weights is not None:
        check_weights("weights", weights, f"scores {tuple(scores.shape)}", scores.shape[:-1])
        scores = torch.where(weights.unsqueeze(-1) > 0, scores, 0.0)
        scores = scores.to(torch.promote_types(scores.dtype, weights.dtype))
    check_finite("scores", scores)
    return scores, scores / scores.shape[-2] if weights is None else scores * weights.unsqueeze(-1)
