"""Step 5: the loss whose gradient is the policy gradient."""

from typing import Literal, get_args

import torch
from torch import Tensor

from policy_gradients.estimators.checks import (
    check_mask,
    check_not_negative,
    check_positive,
    check_same_shape,
    check_tensor,
    check_whole,
    floating,
    half_in_float32,
    log_chances,
    wide,
)

Aggregation = Literal["token", "sequence", "constant"]
RatioLevel = Literal["token", "sequence"]
ClipPlace = Literal["ratio", "weight"]
Empty = Literal["error", "zero"]


def policy_gradient_loss(log_probs: Tensor, advantages: Tensor) -> Tensor:
    """-A · log π, per token: its gradient is -A ∇log π (Williams 1992; Sutton et al. 2000).

    Args:
        log_probs: shape (completions, time), with gradient; in small worlds (..., episodes, time).
        advantages: shape (completions,), or (completions, time) for per-token advantages; leading dimensions alike.
            Whole numbers and truth values count as floats.

    Raises:
        ValueError: shapes that do not match.
    """
    log_probs = log_chances("log_probs", log_probs, 1)
    return -_per_token(advantages, log_probs) * log_probs


def clipped_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = None,
) -> Tensor:
    """-min(ρ A, clip(ρ, 1 - clip_low, 1 + clip_high) A), per token, with ρ = π/π_old (PPO: arXiv:1707.06347).

    At the first update on a batch ρ = 1: the clip does nothing, and the gradient is that of `policy_gradient_loss`.

    Args:
        log_probs: shape (completions, time), with gradient.
        old_log_probs: the same of the policy that sampled; no gradient is taken through it.
        advantages: shape (completions,) or (completions, time).
        dual_clip: c > 1; where A < 0 the loss is at most -c A, however much likelier a bad token has become (Ye et al.
            2020, arXiv:1912.09729, eq. 5). None: no such bound.

    Returns:
        (completions, time).

    Raises:
        ValueError: shapes that do not match, negative clip widths, a dual clip that is not above 1.
    """
    log_probs, old_log_probs = _checked(log_probs, old_log_probs, clip_low, clip_high, dual_clip)
    advantages = _per_token(advantages, log_probs)
    # a ρ that overflows is held, at the largest number, where the clip leaves no gradient: there 0 · inf would be NaN
    held = (log_probs - old_log_probs).exp().isposinf() & (advantages >= (0 if dual_clip is None else -torch.inf))
    log_probs = torch.where(held, log_probs.detach(), log_probs)
    ratio = torch.exp(log_probs - old_log_probs.detach())
    ratio = ratio.masked_fill(held, torch.finfo(ratio.dtype).max)
    gain = torch.minimum(ratio * advantages, ratio.clamp(1 - clip_low, 1 + clip_high) * advantages)
    if dual_clip is not None:
        gain = torch.where(advantages < 0, torch.maximum(gain, dual_clip * advantages), gain)
    return -gain


def clipped_tokens(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = None,
) -> Tensor:
    """Where `clipped_loss` has no gradient, (completions, time), bool: ρ is beyond the clip already, the way A wants.

    With one update a batch it is false everywhere, whatever the widths: ρ = 1. The arguments are those of
    `clipped_loss`.

    Raises:
        ValueError: as `clipped_loss`.
    """
    log_probs, old_log_probs = _checked(log_probs, old_log_probs, clip_low, clip_high, dual_clip)
    advantages = _per_token(advantages, log_probs)
    ratio = torch.exp(log_probs - old_log_probs).detach()
    clipped = ((ratio > 1 + clip_high) & (advantages > 0)) | ((ratio < 1 - clip_low) & (advantages < 0))
    return clipped if dual_clip is None else clipped | ((ratio > dual_clip) & (advantages < 0))


def cispo_loss(
    log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, clip_low: float = 1.0, clip_high: float = 4.0
) -> Tensor:
    """-sg(clip(ρ, 1 - clip_low, 1 + clip_high)) A log π, per token (CISPO: MiniMax-M1, arXiv:2506.13585, eq. 4).

    The *weight* is clipped, without gradient (sg), and not the token: each keeps the gradient -w A ∇log π, where
    `clipped_loss` drops that of a token beyond its clip. At the first update of a batch w is 1.

    Typical mistakes: a gradient through the weight; the clip written as in `clipped_loss`, with min.

    Args:
        log_probs: shape (completions, time), with gradient.
        old_log_probs: the same of the policy that sampled; no gradient is taken through it.
        advantages: shape (completions,) or (completions, time).
        clip_low, clip_high: widths below and above 1; the defaults leave weights from 0 to 5, so none is clipped from
            below, as in the paper.

    Returns:
        (completions, time).

    Raises:
        ValueError: shapes that do not match, negative clip widths.
    """
    log_probs, old_log_probs = _checked(log_probs, old_log_probs, clip_low, clip_high)
    weight = torch.exp(log_probs - old_log_probs).clamp(1 - clip_low, 1 + clip_high).detach()
    return -weight * _per_token(advantages, log_probs) * log_probs


def sequence_old_log_probs(log_probs: Tensor, old_log_probs: Tensor, mask: Tensor, normalised: bool = True) -> Tensor:
    """Old log-probs that give every token of a completion the completion's ratio, (completions, time), no gradient.

    ``clipped_loss(log_probs, sequence_old_log_probs(log_probs, old_log_probs, mask), advantages)`` then clips whole
    completions. Normalised, the ratio is the geometric mean of the tokens' ratios: GSPO (Zheng et al. 2025,
    arXiv:2507.18071; clip widths there are 3e-4 and 4e-4, as a mean moves less than a token does). Not normalised, it
    is their product, the completion's true importance weight: no bias, and far more variance. With `constant`
    aggregation that has the gradient of RLOO up to one scale; with `sequence` each completion's is 1/L_i of it, and
    with `token` all share the batch's number of tokens, which is random.

    Each token keeps its own gradient, ratio · A_t ∇log π_t (the paper's token form), so advantages may differ along a
    completion. Where they do not, `sequence` aggregation makes it GSPO's own gradient.

    Half precision comes back as float32: at -5 the numbers of float16 are 0.004 apart, ten times GSPO's clip.

    Args:
        log_probs, old_log_probs, mask: shape (completions, time).

    Raises:
        ValueError: shapes that differ, a completion without tokens, a mask of other numbers than 0 and 1.
    """
    log_probs, old_log_probs = log_chances("log_probs", log_probs), log_chances("old_log_probs", old_log_probs)
    log_probs, old_log_probs = wide(log_probs), wide(old_log_probs)
    check_tensor("mask", mask)
    if not log_probs.shape == old_log_probs.shape == mask.shape:
        shapes = [tuple(x.shape) for x in (log_probs, old_log_probs, mask)]
        raise ValueError(f"log_probs, old_log_probs and mask must have one shape, got {shapes}")
    mask = _completions(mask)
    lengths = _lengths(mask, "error")
    log_probs = log_probs.detach()
    log_probs = torch.where((mask > 0) | log_probs.isfinite(), log_probs, 0.0)
    log_ratio = torch.where(mask > 0, log_probs - old_log_probs.detach(), 0.0).sum(dim=1, keepdim=True)
    if normalised:
        log_ratio = log_ratio / lengths
    return log_probs - log_ratio


def token_weights(
    mask: Tensor, aggregation: Aggregation, completions: int, tokens: int, max_tokens: int, empty: Empty = "error"
) -> Tensor:
    """Weights w such that Σ w · loss_per_token is the aggregated loss of the *global* batch.

    Because the denominators are those of the whole batch, the losses of its micro-batches (and processes) add up to the
    loss of the batch exactly, however unevenly the completions are cut.

    - ``sequence``: mean over a completion's tokens, then over completions (Shao et al. 2024, eq. 3): a token of a long
      completion counts less.
    - ``token``: mean over all tokens of the batch (DAPO, Yu et al. 2025, arXiv:2503.14476).
    - ``constant``: sum over tokens divided by a constant (Dr. GRPO, arXiv:2503.20783): the gradient of J up to a scale.

    Args:
        mask: shape (completions of this micro-batch, time).
        completions, tokens: how many there are in the global batch.
        max_tokens: the constant, usually the longest completion allowed.
        empty: a completion without a token is an ``error``; with ``zero`` it adds 0 and counts among the completions,
            as in TRL.

    Returns:
        (completions of this micro-batch, time), zero on padding, float32 or wider.

    Raises:
        ValueError: a completion without tokens, counts below 1 or below what the mask holds, unknown aggregation or
            `empty`, a mask of other numbers than 0 and 1.
    """
    for name, count in (("completions", completions), ("tokens", tokens), ("max_tokens", max_tokens)):
        check_whole(name, count, 1)
    mask = _completions(mask)
    lengths = _lengths(mask, empty)
    if completions < len(mask):
        raise ValueError(f"completions must count the global batch, got {completions} for mask {tuple(mask.shape)}")
    if tokens < (found := int(mask.sum(dtype=torch.float64))):
        raise ValueError(f"tokens must count the global batch, got {tokens} where the mask alone holds {found}")
    if aggregation == "sequence":
        return mask / lengths / completions
    if aggregation == "token":
        return mask / tokens
    if aggregation == "constant":
        return mask / (completions * max_tokens)
    raise ValueError(f"aggregation must be 'token', 'sequence' or 'constant', got {aggregation!r}")


@half_in_float32
def aggregate(
    loss: Tensor,
    mask: Tensor,
    aggregation: Aggregation = "token",
    max_tokens: int | None = None,
    empty: Empty = "error",
) -> Tensor:
    """Σ w · loss with the weights of `token_weights`, scalar, for a batch that is held whole.

    What stands on padding does not count, NaN included, neither here nor in the gradient by `loss`. Further back it
    may: `clipped_loss`, `policy_gradient_loss` and `k3` turn the 0 that comes back into NaN where advantages or
    log-probs on padding are NaN (0 · NaN), or differ by an infinity. Fill such padding before them.

    Args:
        loss, mask: shape (completions, time).
        max_tokens: the constant of ``constant``; the time dimension if not given.
        empty: as in `token_weights`.

    Raises:
        ValueError: shapes that differ; as `token_weights`.
    """
    loss = floating("loss", loss, 1)
    check_same_shape("mask", mask, "loss", loss)
    mask = _completions(mask)
    tokens = max(1, int(mask.sum(dtype=torch.float64)))
    longest = mask.shape[1] if max_tokens is None else max_tokens
    weights = token_weights(mask, aggregation, len(mask), tokens, longest, empty)
    return (weights.to(loss.dtype) * torch.where(mask > 0, loss, 0.0)).sum()


def _completions(mask: Tensor) -> Tensor:
    """The mask as floats, (completions, time), in float32 or wider: bfloat16 counts to 256."""
    mask = wide(floating("mask", mask))
    if mask.dim() != 2 or mask.numel() == 0:
        raise ValueError(f"mask must have shape (completions, time) and not be empty, got {tuple(mask.shape)}")
    return check_mask(mask, "mask", mask)


def _lengths(mask: Tensor, empty: Empty) -> Tensor:
    """Tokens of each completion, (completions, 1), at least 1."""
    if empty not in get_args(Empty):
        raise ValueError(f"empty must be 'error' or 'zero', got {empty!r}")
    lengths = mask.sum(dim=1, keepdim=True)
    if empty == "error" and (lengths == 0).any():
        raise ValueError(f"mask {tuple(mask.shape)}: {int((lengths == 0).sum())} completions have no token at all")
    return lengths.clamp(min=1)


def _checked(
    log_probs: Tensor, old_log_probs: Tensor, clip_low: float, clip_high: float, dual_clip: float | None = None
) -> tuple[Tensor, Tensor]:
    log_probs, old_log_probs = log_chances("log_probs", log_probs, 1), log_chances("old_log_probs", old_log_probs)
    if old_log_probs.shape != log_probs.shape:
        raise ValueError(f"old_log_probs {tuple(old_log_probs.shape)} and log_probs {tuple(log_probs.shape)} differ")
    check_not_negative("clip_low", clip_low)
    check_not_negative("clip_high", clip_high)
    if dual_clip is not None:
        check_positive("dual_clip", dual_clip)
        if dual_clip <= 1:
            raise ValueError(f"dual_clip must be above 1, got {dual_clip}")
    return log_probs, old_log_probs


def _per_token(advantages: Tensor, log_probs: Tensor) -> Tensor:
    advantages = floating("advantages", advantages)
    if advantages.shape not in (log_probs.shape, log_probs.shape[:-1]):
        raise ValueError(f"advantages {tuple(advantages.shape)} do not match log_probs {tuple(log_probs.shape)}")
    advantages = advantages.detach()
    return advantages if advantages.shape == log_probs.shape else advantages.unsqueeze(-1)
