"""Early, clear errors: each names the argument, what was wrong with it, and its shape."""

import functools
import inspect
import math
from collections.abc import Callable
from numbers import Real
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P, R = ParamSpec("P"), TypeVar("R")

HALF = (torch.float16, torch.bfloat16)
CHOOSING = ("mask", "dones")  # arguments that choose among steps, and say nothing of how exact the answer is to be


def wide(x: Tensor) -> Tensor:
    """Half precision as float32, in which sums do not stop growing; anything else as it came."""
    return x.float() if x.dtype in HALF else x


def half_in_float32(function: Callable[P, R]) -> Callable[P, R]:
    """`function` with half precision computed in float32, and rounded back once, at the end.

    The sum of 5,000 ones is 256 in bfloat16. Where nothing comes in half precision, `function` itself is called. The
    answer, one tensor, has the dtype that its arguments have together, but for the mask.
    """
    names = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def widened(*args: P.args, **kwargs: P.kwargs) -> R:
        named = {**dict(zip(names, args, strict=False)), **kwargs}
        tensors = {name: x for name, x in named.items() if isinstance(x, Tensor)}
        if not any(x.dtype in HALF for x in tensors.values()):
            return function(*args, **kwargs)
        kinds = [
            x.dtype if x.is_floating_point() or x.is_complex() else torch.get_default_dtype()
            for name, x in tensors.items()
            if name not in CHOOSING and x.dim()
        ]
        answer = function(**{**named, **{name: wide(x) for name, x in tensors.items()}})
        return answer.to(functools.reduce(torch.promote_types, kinds)) if kinds else answer

    return widened


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


def log_chances(name: str, values: Tensor, dims: int = 0) -> Tensor:
    """Log-probs or log-densities as they came. Whole numbers and truth values are none: they are actions, or a mask.

    Raises:
        ValueError: no tensor of floats, too few dimensions.
    """
    check_tensor(name, values, dims)
    if not values.is_floating_point():
        raise ValueError(f"{name} {tuple(values.shape)} must be log-probabilities, floats, got {values.dtype}")
    return values


def log_distribution(name: str, values: Tensor) -> Tensor:
    """The logs of whole distributions, (..., actions); a hundredth above 0 is left to the rounding of half precision.

    Raises:
        ValueError: as `log_chances`; a log-probability above 0, as logits have.
    """
    values = log_chances(name, values, 1)
    if (values > 0.01).any():
        raise ValueError(
            f"{name} {tuple(values.shape)} must be log-probabilities, none above 0, got {values.max().item():.3g}: "
            "of logits take .log_softmax(-1) first"
        )
    return values


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


def check_broadcast(*shapes: tuple[str, torch.Size]) -> None:
    """Raises ValueError unless the named leading dimensions broadcast."""
    try:
        torch.broadcast_shapes(*(shape for _, shape in shapes))
    except RuntimeError:
        named = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes)
        raise ValueError(f"leading dimensions do not broadcast: {named}") from None


def check_number(name: str, value: float) -> None:
    """Raises ValueError for a tensor of several numbers, and for what is no number at all."""
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ValueError(f"{name} must be one number here, got a tensor of shape {tuple(value.shape)}")
    elif not isinstance(value, Real):
        raise ValueError(f"{name} must be a number, got {type(value).__name__}")


def check_finite_number(name: str, value: float) -> None:
    """Raises ValueError for anything but one number that is neither NaN nor infinite."""
    check_number(name, value)
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")


def check_whole(name: str, value: int, least: int) -> None:
    """Raises ValueError for anything but a finite whole number from `least` on."""
    check_number(name, value)
    if not least <= value < float("inf") or value != int(value):
        raise ValueError(f"{name} must be at least {least} and whole, got {value}")


def check_unit_interval(name: str, value: float) -> None:
    check_number(name, value)
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")


def check_not_negative(name: str, value: float) -> None:
    """Raises ValueError for a negative number, NaN or an infinity."""
    check_number(name, value)
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must not be negative, nor infinite or NaN, got {value}")


def check_positive(name: str, value: float) -> None:
    """Raises ValueError for zero, a negative number, NaN or an infinity."""
    check_number(name, value)
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
    if mask.is_complex():
        raise ValueError(f"mask {tuple(mask.shape)} must be real, got {mask.dtype}")
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
