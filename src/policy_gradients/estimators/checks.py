"""Early, clear errors: each names the argument, what was wrong with it, and its shape."""

import torch
from torch import Tensor


def check_tensor(name: str, values: Tensor, dims: int = 0) -> None:
    """Raises ValueError for what is no tensor, or has fewer than `dims` dimensions."""
    if not isinstance(values, Tensor):
        raise ValueError(f"{name} must be a tensor, got {type(values).__name__}: wrap it in torch.tensor(...)")
    if values.dim() < dims:
        raise ValueError(f"{name} must have at least {dims} dimensions, got shape {tuple(values.shape)}")


def check_finite(name: str, values: Tensor, dims: int = 0) -> None:
    """Raises ValueError for a tensor that is empty, has too few dimensions, or holds NaN or an infinity."""
    check_tensor(name, values, dims)
    if values.numel() == 0:
        raise ValueError(f"{name} must not be empty, got shape {tuple(values.shape)}")
    if not torch.isfinite(values).all():
        bad = values[~torch.isfinite(values)][:4].tolist()
        raise ValueError(f"{name} {tuple(values.shape)} must be finite, got {bad}")


def floating(name: str, values: Tensor, dims: int = 0) -> Tensor:
    """The same numbers as floats: whole numbers and truth values, such as 0/1 rewards, become the default dtype.

    Raises:
        ValueError: no tensor, complex numbers, too few dimensions.
    """
    check_tensor(name, values, dims)
    if values.is_complex():
        raise ValueError(f"{name} {tuple(values.shape)} must be real, got {values.dtype}")
    return values if values.is_floating_point() else values.to(torch.get_default_dtype())


def finite(name: str, values: Tensor, dims: int = 0) -> Tensor:
    """`floating` after `check_finite`."""
    check_finite(name, values, dims)
    return floating(name, values)


def on_steps(name: str, values: Tensor, mask: Tensor) -> Tensor:
    """The values with zeros on padding, whatever stood there, NaN included.

    Raises:
        ValueError: empty, or not finite on a step.
    """
    values = torch.where(mask > 0, values, 0.0)
    check_finite(name, values)
    return values


def check_same_shape(name: str, values: Tensor, other: str, like: Tensor) -> None:
    check_tensor(name, values)
    check_tensor(other, like)
    if values.shape != like.shape:
        raise ValueError(f"{name} {tuple(values.shape)} must have the shape of {other} {tuple(like.shape)}")


def check_unit_interval(name: str, value: float) -> None:
    if isinstance(value, Tensor) and value.numel() != 1:
        raise ValueError(f"{name} must be one number here, got a tensor of shape {tuple(value.shape)}")
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")


def check_not_negative(name: str, value: float) -> None:
    """Raises ValueError for a negative number, NaN or an infinity."""
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must not be negative, nor infinite or NaN, got {value}")


def check_positive(name: str, value: float) -> None:
    """Raises ValueError for zero, a negative number, NaN or an infinity."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be positive and finite, got {value}")


def check_weights(name: str, values: Tensor, other: str, shape: torch.Size) -> None:
    """Raises ValueError unless the weights are finite, not negative, and of the shape that `other` asks for."""
    check_finite(name, values)
    if values.shape != shape:
        raise ValueError(f"{name} {tuple(values.shape)} do not match {other}, for which they must be {tuple(shape)}")
    if (values < 0).any():
        raise ValueError(f"{name} {tuple(values.shape)} must not be negative")


def check_choices(name: str, values: Tensor, count: int) -> None:
    """Raises ValueError unless all are whole numbers in [0, count): else a gather fails in the backend's words."""
    check_tensor(name, values)
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise ValueError(f"{name} {tuple(values.shape)} must be whole numbers (torch.long), got {values.dtype}")
    if values.numel() and (values.min() < 0 or values.max() >= count):
        low, high = int(values.min()), int(values.max())
        raise ValueError(f"{name} {tuple(values.shape)} must lie in [0, {count}), got {low} to {high}")


def check_mask(mask: Tensor, name: str, like: Tensor) -> Tensor:
    """The mask in the dtype of `like`, zeros and ones in any order.

    Raises:
        ValueError: a shape other than that of `like`, anything but zeros and ones (NaN and fractions included).
    """
    check_same_shape("mask", mask, name, like)
    mask = mask.to(like.dtype if like.is_floating_point() else torch.get_default_dtype())
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError(f"mask {tuple(mask.shape)} must hold zeros and ones alone")
    return mask


def full_mask(mask: Tensor | None, name: str, like: Tensor) -> Tensor:
    """The mask in the dtype of `like`, ones where none is given; along time it is ones, then zeros, and never empty.

    Raises:
        ValueError: a shape other than that of `like`, no time at all, an episode without a step, steps after padding.
    """
    check_tensor(name, like, 1)
    if like.shape[-1] == 0:
        raise ValueError(f"{name} must not be empty, got shape {tuple(like.shape)}")
    if mask is None:
        return torch.ones_like(like)
    mask = check_mask(mask, name, like)
    if (mask[..., 0] == 0).any():
        raise ValueError(f"mask {tuple(mask.shape)}: {int((mask[..., 0] == 0).sum())} episodes have no first step")
    if (mask[..., 1:] > mask[..., :-1]).any():
        raise ValueError(f"mask {tuple(mask.shape)}: padding must stand at the end of an episode, not within it")
    return mask
