"""Scores of chosen tokens straight from hidden states: the (tokens, vocabulary) logits exist a chunk at a time."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

ActionValues = Callable[[Tensor], Tensor]  # states (n,) → what each next token is worth there, (n, vocabulary)
ELEMENTS = 2**24  # of logits at once: 64 MiB in float32


def score_tokens(
    hidden: Tensor,
    head: Tensor,
    actions: Tensor,
    reference_hidden: Tensor | None = None,
    reference_head: Tensor | None = None,
    temperature: float = 1.0,
    chunk_size: int | None = None,
    states: Tensor | None = None,
    action_values: ActionValues | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """log π(a), entropy, KL(π ‖ π_ref), log π_ref(a) of softmax(hidden headᵀ / temperature), (tokens,) each, and Σ π Q.

    All but log π_ref(a) are differentiable in `hidden` and `head`. Without a reference the divergence is zero, and
    log π_ref(a) is the policy's own.

    Args:
        hidden: (tokens, width).
        head: (vocabulary, width).
        actions: (tokens,).
        reference_hidden, reference_head: the same for the reference.
        chunk_size: tokens at a time; by default as many as make `ELEMENTS` logits.
        states, action_values: for Σ_a π(a) Q(a) of the first len(states) tokens (`expected_value`); Q is fixed, and is
            asked for again in the backward pass.
    """
    size = chunk_size or max(1, ELEMENTS // len(head))
    *scores, gain = _ScoreTokens.apply(
        hidden, head, actions, reference_hidden, reference_head, temperature, size, states, action_values
    )
    return *scores, None if states is None or action_values is None else gain[: len(states)]


class _ScoreTokens(torch.autograd.Function):
    """The backward pass makes the logits z again, chunk by chunk. With upstream gradients a of log π(chosen), b of the
    entropy H, c of the divergence K and d of the expected value W = Σ π Q, their gradient is

        ∂/∂z_j = a 1[j chosen] + π_j ((c - b) log π_j - c log π_ref,j - a - b H - c K + d (Q_j - W))
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
        states: Tensor | None,
        action_values: ActionValues | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        device = hidden.device.type
        ctx.dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        ctx.temperature, ctx.size, ctx.action_values = temperature, size, action_values
        ctx.states = None if action_values is None else states
        arguments = (head, actions, reference_hidden, reference_head)
        with torch.autocast(device, enabled=False):
            columns = [_scores(hidden, *arguments, rows, ctx) for rows in _chunks(len(hidden), size)]
        log_probs, entropy, kl, ref_log_probs, gain = (torch.cat(column) for column in zip(*columns, strict=True))
        ctx.save_for_backward(hidden, head, actions, reference_hidden, reference_head, entropy, kl, gain)
        ctx.mark_non_differentiable(ref_log_probs)
        return log_probs, entropy, kl, ref_log_probs, gain

    @staticmethod
    def backward(ctx: Any, a: Tensor, b: Tensor, c: Tensor, _: Tensor, d: Tensor) -> tuple[Tensor | None, ...]:
        hidden, head = ctx.saved_tensors[:2]
        low, parts = head.to(ctx.dtype), []
        head_gradient = torch.zeros_like(head) if ctx.needs_input_grad[1] else None
        with torch.autocast(hidden.device.type, enabled=False):
            for rows in _chunks(len(hidden), ctx.size):
                gradient = _logit_gradient(ctx, rows, a, b, c, d)
                parts.append((gradient @ low).to(hidden.dtype))
                if head_gradient is not None:
                    head_gradient += gradient.T @ hidden[rows].to(ctx.dtype)
        return torch.cat(parts), head_gradient, *[None] * 7


def _scores(
    hidden: Tensor,
    head: Tensor,
    actions: Tensor,
    reference_hidden: Tensor | None,
    reference_head: Tensor | None,
    rows: slice,
    ctx: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What `score_tokens` returns, of one chunk."""
    log_pi = _log_softmax(hidden[rows], head, ctx.temperature, ctx.dtype)
    log_prob = log_pi.gather(1, actions[rows].unsqueeze(1)).squeeze(1)
    pi = log_pi.exp()
    negative_entropy, gain = _dot(pi, log_pi), torch.zeros_like(log_prob)
    if (values := _values(ctx, rows)) is not None:
        gain[: len(values)] = _dot(pi[: len(values)], values)
    if reference_hidden is None:
        return log_prob, -negative_entropy, torch.zeros_like(log_prob), log_prob, gain
    del log_pi  # before the reference's takes as much
    log_ref = _log_softmax(reference_hidden[rows], reference_head, ctx.temperature, ctx.dtype)
    chosen = log_ref.gather(1, actions[rows].unsqueeze(1)).squeeze(1)
    return log_prob, -negative_entropy, negative_entropy - _dot(pi, log_ref), chosen, gain


def _values(ctx: Any, rows: slice) -> Tensor | None:
    """Q of those tokens of the chunk that have a state, (tokens with a state, vocabulary), in float32."""
    if ctx.states is None or len(states := ctx.states[rows]) == 0:
        return None
    return ctx.action_values(states).float()


def _logit_gradient(ctx: Any, rows: slice, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """That of one chunk, by the formula of `_ScoreTokens`, (tokens, vocabulary), ready for products."""
    hidden, head, actions, reference_hidden, reference_head, entropy, kl, gain = ctx.saved_tensors
    if reference_hidden is None:
        c = torch.zeros_like(c)
    a, b, c, d, entropy, kl, gain = (x[rows].unsqueeze(1) for x in (a, b, c, d, entropy, kl, gain))
    log_pi = _log_softmax(hidden[rows], head, ctx.temperature, ctx.dtype)
    pi = log_pi.exp()
    gradient = log_pi.mul_(c - b)
    if reference_hidden is not None:
        log_ref = _log_softmax(reference_hidden[rows], reference_head, ctx.temperature, ctx.dtype)
        gradient.sub_(log_ref.mul_(c))
    if (values := _values(ctx, rows)) is not None:
        gradient[: len(values)] += (values - gain[: len(values)]).mul_(d[: len(values)])
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
