"""Scores of chosen tokens straight from hidden states: the (tokens, vocabulary) logits exist a chunk at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from policy_gradients.estimators.projection import soft_target

ELEMENTS = 2**24  # of logits at once: 64 MiB in float32


@dataclass(frozen=True)
class StateCredit:
    """What the states that tokens were chosen in say of every next token.

    Attributes:
        states: (n,) for the first n tokens of `score_tokens`; (completions, time) for a whole rollout.
        action_values: states (n,) → Q of each next token, (n, vocabulary); fixed, asked for again in the backward pass.
        kinds: one-hot, (vocabulary, kinds): what the policy's chances are summed over; None: no sums.
        projection_temperature: η of the target π_ref exp(Q/η) (`soft_target`); None: no projection.
    """

    states: Tensor
    action_values: Callable[[Tensor], Tensor]
    kinds: Tensor | None = None
    projection_temperature: float | None = None


class Scores(NamedTuple):
    """Of each token, (tokens,); the last three of those with a state alone, and None without.

    Attributes:
        log_probs: log π(a) of the chosen one.
        entropy: of π.
        kl: KL(π ‖ π_ref); zero without a reference.
        ref_log_probs: log π_ref(a), no gradient; the policy's own without a reference.
        expected_value: Σ_a π(a) Q(a).
        projection: KL(q ‖ π), with q = `soft_target` of the reference and Q.
        kind_probs: (tokens, kinds), Σ π over the tokens of each kind, no gradient.
    """

    log_probs: Tensor
    entropy: Tensor
    kl: Tensor
    ref_log_probs: Tensor
    expected_value: Tensor | None = None
    projection: Tensor | None = None
    kind_probs: Tensor | None = None


def score_tokens(
    hidden: Tensor,
    head: Tensor | None,
    actions: Tensor,
    reference_hidden: Tensor | None = None,
    reference_head: Tensor | None = None,
    temperature: float = 1.0,
    chunk_size: int | None = None,
    credit: StateCredit | None = None,
) -> Scores:
    """The scores of softmax(hidden headᵀ / temperature), differentiable in `hidden` and `head`.

    A logit may be -inf: that token is ruled out, adds nothing to sums over the vocabulary and gets no gradient.

    Args:
        hidden: (tokens, width).
        head: (vocabulary, width); None: `hidden` are the logits, (tokens, vocabulary). The reference's likewise.
        actions: (tokens,).
        reference_hidden, reference_head: the same for the reference.
        chunk_size: tokens at a time; by default as many as make `ELEMENTS` logits.
        credit: for the scores of the first len(credit.states) tokens that need a state.

    Raises:
        ValueError: a projection without a reference.
    """
    if credit is not None and credit.projection_temperature is not None and reference_hidden is None:
        raise ValueError("the target of a projection is made from the reference: give one")
    size = chunk_size or max(1, ELEMENTS // (hidden.shape[1] if head is None else len(head)))
    *scores, gain, projection, kinds = _ScoreTokens.apply(
        hidden, head, actions, reference_hidden, reference_head, temperature, size, credit
    )
    if credit is None:
        return Scores(*scores)
    known = slice(len(credit.states))
    return Scores(
        *scores,
        gain[known],
        None if credit.projection_temperature is None else projection[known],
        None if credit.kinds is None else kinds[known],
    )


class _ScoreTokens(torch.autograd.Function):
    """The backward pass makes the logits z again, chunk by chunk. With upstream gradients a of log π(chosen), b of the
    entropy H, c of the divergence K, d of the expected value W = Σ π Q and e of the projection KL(q ‖ π), theirs is

        ∂/∂z_j = a 1[j chosen] + π_j ((c - b) log π_j - c log π_ref,j - a - b H - c K + d (Q_j - W)) + e (π_j - q_j)
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: Tensor | None,
        actions: Tensor,
        reference_hidden: Tensor | None,
        reference_head: Tensor | None,
        temperature: float,
        size: int,
        credit: StateCredit | None,
    ) -> tuple[Tensor, ...]:
        device = hidden.device.type
        ctx.dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        ctx.temperature, ctx.size, ctx.credit = temperature, size, credit
        arguments = (head, actions, reference_hidden, reference_head)
        with torch.autocast(device, enabled=False):
            columns = [_scores(hidden, *arguments, rows, ctx) for rows in _chunks(len(hidden), size)]
        scores = [torch.cat(column) for column in zip(*columns, strict=True)]
        _, entropy, kl, ref_log_probs, gain, _, kinds = scores
        ctx.save_for_backward(hidden, head, actions, reference_hidden, reference_head, entropy, kl, gain)
        ctx.mark_non_differentiable(ref_log_probs, kinds)
        return tuple(scores)

    @staticmethod
    def backward(
        ctx: Any, a: Tensor, b: Tensor, c: Tensor, _: Tensor, d: Tensor, e: Tensor, __: Tensor
    ) -> tuple[Tensor | None, ...]:
        hidden, head = ctx.saved_tensors[:2]
        low, parts = None if head is None else head.to(ctx.dtype), []
        head_gradient = torch.zeros_like(head) if ctx.needs_input_grad[1] else None
        with torch.autocast(hidden.device.type, enabled=False):
            for rows in _chunks(len(hidden), ctx.size):
                gradient = _logit_gradient(ctx, rows, a, b, c, d, e)
                parts.append((gradient if low is None else gradient @ low).to(hidden.dtype))
                if head_gradient is not None:
                    head_gradient += gradient.T @ hidden[rows].to(ctx.dtype)
        return torch.cat(parts), head_gradient, *[None] * 6


def _scores(
    hidden: Tensor,
    head: Tensor | None,
    actions: Tensor,
    reference_hidden: Tensor | None,
    reference_head: Tensor | None,
    rows: slice,
    ctx: Any,
) -> tuple[Tensor, ...]:
    """What `score_tokens` returns, of one chunk; zeros where there is nothing to say."""
    log_pi = _log_softmax(hidden[rows], head, ctx.temperature, ctx.dtype)
    log_prob = log_pi.gather(1, actions[rows].unsqueeze(1)).squeeze(1)
    pi = log_pi.exp()
    negative_entropy, gain, projection = _dot(pi, log_pi), torch.zeros_like(log_prob), torch.zeros_like(log_prob)
    credit, values = ctx.credit, _values(ctx, rows)
    known = slice(0 if values is None else len(values))
    one_hot = None if credit is None else credit.kinds
    kinds = pi.new_zeros(len(pi), 0 if one_hot is None else one_hot.shape[1])
    if values is not None:
        gain[known] = _dot(pi[known], values)
        if one_hot is not None:
            kinds[known] = pi[known] @ one_hot
    if reference_hidden is None:
        return log_prob, -negative_entropy, torch.zeros_like(log_prob), log_prob, gain, projection, kinds
    projected = values is not None and credit.projection_temperature is not None
    log_pi = log_pi[known] if projected else None  # else let go, before the reference's takes as much
    log_ref = _log_softmax(reference_hidden[rows], reference_head, ctx.temperature, ctx.dtype)
    chosen = log_ref.gather(1, actions[rows].unsqueeze(1)).squeeze(1)
    kl = negative_entropy - _dot(pi, log_ref)
    if projected:
        log_q = soft_target(log_ref[known], values, credit.projection_temperature)
        projection[known] = _dot(log_q.exp(), log_q - log_pi)
    return log_prob, -negative_entropy, kl, chosen, gain, projection, kinds


def _values(ctx: Any, rows: slice) -> Tensor | None:
    """Q of those tokens of the chunk that have a state, (tokens with a state, vocabulary), in float32."""
    if ctx.credit is None or len(states := ctx.credit.states[rows]) == 0:
        return None
    return ctx.credit.action_values(states).float()


def _logit_gradient(ctx: Any, rows: slice, a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor) -> Tensor:
    """That of one chunk, by the formula of `_ScoreTokens`, (tokens, vocabulary), ready for products."""
    hidden, head, actions, reference_hidden, reference_head, entropy, kl, gain = ctx.saved_tensors
    if reference_hidden is None:
        c = torch.zeros_like(c)
    a, b, c, d, e, entropy, kl, gain = (x[rows].unsqueeze(1) for x in (a, b, c, d, e, entropy, kl, gain))
    log_pi = _log_softmax(hidden[rows], head, ctx.temperature, ctx.dtype)
    pi = log_pi.exp()
    gradient = log_pi.mul_(c - b)
    values, q = _values(ctx, rows), None
    known = slice(0 if values is None else len(values))
    if reference_hidden is not None:
        log_ref = _log_softmax(reference_hidden[rows], reference_head, ctx.temperature, ctx.dtype)
        if values is not None and ctx.credit.projection_temperature is not None:
            q = soft_target(log_ref[known], values, ctx.credit.projection_temperature).exp_()
        gradient.sub_(log_ref.mul_(c))
    if values is not None:
        gradient[known] += (values - gain[known]).mul_(d[known])
    gradient.sub_(a + b * entropy + c * kl)
    if not gradient.sum().isfinite():  # of tokens that are ruled out; they get no gradient
        gradient.masked_fill_(pi == 0, 0.0)
    gradient.mul_(pi)
    if q is not None:
        gradient[known] += (pi[known] - q).mul_(e[known])
    gradient.scatter_add_(1, actions[rows].unsqueeze(1), a)
    return gradient.div_(ctx.temperature).to(ctx.dtype)


def _chunks(count: int, size: int) -> list[slice]:
    return [slice(first, first + size) for first in range(0, count, size)]


def _log_softmax(hidden: Tensor, head: Tensor | None, temperature: float, dtype: torch.dtype) -> Tensor:
    """(tokens, vocabulary), float32: products in `dtype`, normalised in float32."""
    # without a head a copy: what follows is done in place
    logits = hidden.to(torch.float32, copy=True) if head is None else (hidden.to(dtype) @ head.to(dtype).T).float()
    if temperature != 1:
        logits = logits.div_(temperature)
    return logits.sub_(logits.logsumexp(1, keepdim=True))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Σ_j a_ij b_ij, without a matrix of the products; what has no weight counts nothing, -inf included."""
    sums = torch.bmm(a.unsqueeze(1), b.unsqueeze(2)).flatten()
    if sums.isnan().any():  # 0 · (-inf): some tokens are ruled out
        sums = torch.bmm(a.unsqueeze(1), b.masked_fill(a == 0, 0.0).unsqueeze(2)).flatten()
    return sums
