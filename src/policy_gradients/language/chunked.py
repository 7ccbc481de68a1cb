"""Scores of chosen tokens straight from hidden states: the (tokens, vocabulary) logits exist a chunk at a time."""

from typing import Any

import torch
from torch import Tensor

ELEMENTS = 2**24  # of logits at once: 64 MiB in float32


def score_tokens(
    hidden: Tensor,
    head: Tensor,
    actions: Tensor,
    reference_hidden: Tensor | None = None,
    reference_head: Tensor | None = None,
    temperature: float = 1.0,
    chunk_size: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """log π(a), entropy, KL(π ‖ π_ref) and log π_ref(a) of softmax(hidden headᵀ / temperature), (tokens,) each.

    The first three are differentiable in `hidden` and `head`. Without a reference the divergence is zero, and the last
    is the policy's own.

    Args:
        hidden: (tokens, width).
        head: (vocabulary, width).
        actions: (tokens,).
        reference_hidden, reference_head: the same for the reference.
        chunk_size: tokens at a time; by default as many as make `ELEMENTS` logits.
    """
    size = chunk_size or max(1, ELEMENTS // len(head))
    return _ScoreTokens.apply(hidden, head, actions, reference_hidden, reference_head, temperature, size)


class _ScoreTokens(torch.autograd.Function):
    """The backward pass makes the logits z again, chunk by chunk. With upstream gradients a of log π(chosen), b of the
    entropy H and c of the divergence K, their gradient is

        ∂/∂z_j = a 1[j chosen] + π_j ((c - b) log π_j - c log π_ref,j - a - b H - c K)
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: Tensor,
        actions: Tensor,
        reference_hidden: Tensor | None,
        reference_head: Tensor | None,
        temperature: float,
        size: int,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        device = hidden.device.type
        ctx.dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        ctx.temperature, ctx.size = temperature, size
        arguments = (head, actions, reference_hidden, reference_head)
        with torch.autocast(device, enabled=False):
            columns = [_scores(hidden, *arguments, rows, ctx) for rows in _chunks(len(hidden), size)]
        log_probs, entropy, kl, ref_log_probs = (torch.cat(column) for column in zip(*columns, strict=True))
        ctx.save_for_backward(hidden, head, actions, reference_hidden, reference_head, entropy, kl)
        ctx.mark_non_differentiable(ref_log_probs)
        return log_probs, entropy, kl, ref_log_probs

    @staticmethod
    def backward(ctx: Any, a: Tensor, b: Tensor, c: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        hidden, head = ctx.saved_tensors[:2]
        low, parts = head.to(ctx.dtype), []
        head_gradient = torch.zeros_like(head) if ctx.needs_input_grad[1] else None
        with torch.autocast(hidden.device.type, enabled=False):
            for rows in _chunks(len(hidden), ctx.size):
                gradient = _logit_gradient(ctx, rows, a, b, c)
                parts.append((gradient @ low).to(hidden.dtype))
                if head_gradient is not None:
                    head_gradient += gradient.T @ hidden[rows].to(ctx.dtype)
        return torch.cat(parts), head_gradient, None, None, None, None, None


def _scores(
    hidden: Tensor,
    head: Tensor,
    actions: Tensor,
    reference_hidden: Tensor | None,
    reference_head: Tensor | None,
    rows: slice,
    ctx: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What `score_tokens` returns, of one chunk."""
    log_pi = _log_softmax(hidden[rows], head, ctx.temperature, ctx.dtype)
    log_prob = log_pi.gather(1, actions[rows].unsqueeze(1)).squeeze(1)
    pi = log_pi.exp()
    negative_entropy = _dot(pi, log_pi)
    if reference_hidden is None:
        return log_prob, -negative_entropy, torch.zeros_like(log_prob), log_prob
    del log_pi  # before the reference's takes as much
    log_ref = _log_softmax(reference_hidden[rows], reference_head, ctx.temperature, ctx.dtype)
    chosen = log_ref.gather(1, actions[rows].unsqueeze(1)).squeeze(1)
    return log_prob, -negative_entropy, negative_entropy - _dot(pi, log_ref), chosen


def _logit_gradient(ctx: Any, rows: slice, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """That of one chunk, by the formula of `_ScoreTokens`, (tokens, vocabulary), ready for products."""
    hidden, head, actions, reference_hidden, reference_head, entropy, kl = ctx.saved_tensors
    if reference_hidden is None:
        c = torch.zeros_like(c)
    a, b, c, entropy, kl = (x[rows].unsqueeze(1) for x in (a, b, c, entropy, kl))
    log_pi = _log_softmax(hidden[rows], head, ctx.temperature, ctx.dtype)
    pi = log_pi.exp()
    gradient = log_pi.mul_(c - b)
    if reference_hidden is not None:
        log_ref = _log_softmax(reference_hidden[rows], reference_head, ctx.temperature, ctx.dtype)
        gradient.sub_(log_ref.mul_(c))
    gradient.sub_(a + b * entropy + c * kl).mul_(pi)
    gradient.scatter_add_(1, actions[rows].unsqueeze(1), a)
    return gradient.div_(ctx.temperature).to(ctx.dtype)


def _chunks(count: int, size: int) -> list[slice]:
    return [slice(first, first + size) for first in range(0, count, size)]


def _log_softmax(hidden: Tensor, head: Tensor, temperature: float, dtype: torch.dtype) -> Tensor:
    """(tokens, vocabulary), float32: products in `dtype`, normalised in float32."""
    logits = (hidden.to(dtype) @ head.to(dtype).T).float()
    if temperature != 1:
        logits = logits.div_(temperature)
    return logits.sub_(logits.logsumexp(1, keepdim=True))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Σ_j a_ij b_ij, without a matrix of the products."""
    return torch.bmm(a.unsqueeze(1), b.unsqueeze(2)).flatten()
