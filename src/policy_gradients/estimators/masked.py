"""Statistics over the steps that a mask leaves; what stands on padding does not count, NaN included."""

import torch
from torch import Tensor

from policy_gradients.estimators.checks import (
    check_mask,
    check_not_negative,
    check_tensor,
    floating,
    half_in_float32,
    on_steps,
)


@half_in_float32
def masked_mean(values: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Mean over the steps, (...) → scalar; along `dim` alone where it is given, which leaves the other dimensions.

    Raises:
        ValueError: shapes that differ, a mask of other numbers than 0 and 1, non-finite values on a step, no step to
            take the mean of, a dimension that is not there.
    """
    values, mask, count = _checked(values, mask, dim, 1)
    return _sum(values, dim).squeeze(dim) / count.squeeze(dim) if dim is not None else _sum(values, dim) / count


@half_in_float32
def masked_var(values: Tensor, mask: Tensor, dim: int | None = None, correction: int = 1) -> Tensor:
    """Variance over the steps: Σ (x - mean)² / (n - correction), shaped as `masked_mean`; 0 where all are equal.

    Raises:
        ValueError: as `masked_mean`; not more than `correction` steps, a negative correction.
    """
    check_not_negative("correction", correction)
    values, mask, count = _checked(values, mask, dim, 1 + correction)
    variance = _sum(_centred(values, mask, count, dim).square(), dim) / (count - correction)
    return variance if dim is None else variance.squeeze(dim)


@half_in_float32
def masked_whiten(values: Tensor, mask: Tensor, shift_mean: bool = True, epsilon: float = 1e-8) -> Tensor:
    """(x - mean) / √(variance + ε) over all steps, shape kept, zero on padding: PPO's whitened advantages.

    Args:
        values, mask: the same shape, of the *whole* batch.
        shift_mean: False puts the mean back, for rewards whose sign matters.
        epsilon: added to the sample variance, not negative.

    Raises:
        ValueError: as `masked_var`; epsilon negative.
    """
    check_not_negative("epsilon", epsilon)
    values, mask, count = _checked(values, mask, None, 2)
    centred = _centred(values, mask, count, None)
    # in units of a power of two, which is exact, so that squares do not overflow
    unit = torch.ldexp(torch.ones_like(count), torch.frexp(centred.detach().abs().max())[1] - 1)
    centred = centred / unit
    divisor = ((centred.square().sum() / (count - 1)) + epsilon / unit / unit).sqrt()
    whitened = centred / divisor.where(divisor > 0, 1.0)
    return whitened if shift_mean else whitened + values.sum() / count * mask


def _checked(values: Tensor, mask: Tensor, dim: int | None, least: int) -> tuple[Tensor, Tensor, Tensor]:
    """Values with zeros on padding, the mask, and the numbers of steps with `dim` kept."""
    values = floating("values", values)
    check_tensor("values", values, 1)
    if dim is not None and not -values.dim() <= dim < values.dim():
        raise ValueError(f"dim must be a dimension of values {tuple(values.shape)}, got {dim}")
    mask = check_mask(mask, "values", values)
    values = on_steps("values", values, mask)
    count = _sum(mask, dim)
    if (count < least).any():
        raise ValueError(f"mask {tuple(mask.shape)} must leave at least {least} steps to take statistics of")
    return values, mask, count


def _sum(values: Tensor, dim: int | None) -> Tensor:
    return values.sum() if dim is None else values.sum(dim, keepdim=True)


def _centred(values: Tensor, mask: Tensor, count: Tensor, dim: int | None) -> Tensor:
    """Deviations from the mean, zero on padding, and exactly zero where all steps are equal."""
    shown = values.masked_fill(mask == 0, -torch.inf)
    hidden = values.masked_fill(mask == 0, torch.inf)
    if dim is None:
        equal = shown.max() == hidden.min()
    else:
        equal = shown.amax(dim, keepdim=True) == hidden.amin(dim, keepdim=True)
    return torch.where(equal, 0.0, values - _sum(values, dim) / count) * mask
