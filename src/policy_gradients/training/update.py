"""Steps 4 and 5: score the batch in pieces, add up their gradients, let the optimiser step."""

import logging
import math
from dataclasses import dataclass

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor

from policy_gradients.estimators.losses import token_weights
from policy_gradients.language.scoring import TokenScores, hidden_states, joined
from policy_gradients.training.batch import Batch, Stopwatch
from policy_gradients.training.distribution import clip_gradients, synchronised
from policy_gradients.training.objective import loss_per_token
from policy_gradients.training.run import Run
from policy_gradients.training.signals import measure, moved, summarise

logger = logging.getLogger(__name__)


class OutOfMemory(ValueError):
    """The smallest piece of work does not fit into memory; the message says what to change."""


@dataclass
class Sampled:
    """What a piece of a batch keeps from its first update: scores of the policy that sampled, states of the reference.

    The reference never moves: what it makes of the tokens is computed once.
    """

    scores: TokenScores | None = None
    reference_hidden: tuple[Tensor, Tensor] | None = None


def update_policy(run: Run, batch: Batch, watch: Stopwatch) -> tuple[dict[str, float], TokenScores]:
    """Backward through every micro-batch, one optimiser step per pass over the batch.

    Returns what the step shows, and the scores of the policy before it, without gradient.

    A micro-batch that does not fit into memory is halved, from then on, and its pass over the batch starts again. A
    later update is left out once the policy has moved further than the credit's trust region.

    Raises:
        OutOfMemory: not even one prompt with its completions fits.
    """
    pieces = micro_batches(batch.rollout.num_prompts, run.micro_batch_prompts)
    sampled: dict[int, Sampled] = {}  # what later updates need of the first one, by the first prompt of a piece
    passes: list[list[dict[str, Tensor]]] = []
    norms: list[float] = []  # that of the first update is the policy gradient's: there the ratio is 1
    for update in range(run.config.updates_per_batch):
        while (rows := _try_pass(run, batch, pieces, sampled, update, watch)) is None:
            pieces, sampled = _halve(run, batch, pieces, sampled, update)
        passes.append(rows)
        with watch.part("optimizer"):
            if _used_up(run, batch, rows, update):
                run.optimizer.zero_grad()
                break
            norms.append(_step(run))
    before = joined([sampled[first].scores for first, _ in pieces], batch.rollout.mask.shape[1])
    shown = summarise(passes, batch, run.accelerator)
    return {"grad_norm": norms[0], "updates": len(norms), **shown}, before


def micro_batches(prompts: int, size: int) -> list[tuple[int, int]]:
    """First prompt and the one after the last, of pieces of at most `size` prompts."""
    return [(i, min(i + size, prompts)) for i in range(0, prompts, size)]


def _step(run: Run) -> float:
    """One step of the optimiser; the gradient's norm before clipping."""
    norm = clip_gradients(run.accelerator, run.scorer, run.config).item()
    if math.isfinite(norm) or run.accelerator.scaler is not None:
        run.optimizer.step()  # with fp16's scaler, which skips an overflow itself and then lowers its scale
    else:
        logger.warning("the gradient is not finite: this update is skipped, the weights stay as they were")
    run.optimizer.zero_grad()
    return norm


def _used_up(run: Run, batch: Batch, rows: list[dict[str, Tensor]], update: int) -> bool:
    """Whether the policy has left the trust region around the one that sampled."""
    bound = run.credit.trust_region
    return update > 0 and bound is not None and moved(rows, batch, run.accelerator) > bound


def _try_pass(
    run: Run,
    batch: Batch,
    pieces: list[tuple[int, int]],
    sampled: dict[int, Sampled],
    update: int,
    watch: Stopwatch,
) -> list[dict[str, Tensor]] | None:
    """The gradient of the whole batch, summed over the pieces; None if one of them did not fit into memory."""
    measured = []
    try:
        for first, last in pieces:
            with synchronised(run.accelerator, run.scorer, last == batch.rollout.num_prompts):
                measured.append(_backward(run, batch.piece(first, last), sampled, first, update, watch))
    except RuntimeError as error:
        # alone in stopping here, a process would leave the others waiting for its gradients
        if not should_reduce_batch_size(error) or run.accelerator.num_processes > 1:
            raise
        return None
    return measured


def _backward(
    run: Run, piece: Batch, sampled: dict[int, Sampled], first: int, update: int, watch: Stopwatch
) -> dict[str, Tensor]:
    """Add the gradient of one micro-batch; what its scores show."""
    config, accelerator, mask = run.config, run.accelerator, piece.rollout.mask
    with watch.part("log_probs"):
        earlier = sampled.get(first, Sampled())
        reference_hidden = earlier.reference_hidden
        if reference_hidden is None:
            with torch.no_grad(), accelerator.autocast():
                reference_hidden = hidden_states(run.reference, piece.rollout)
        scores = run.scorer(
            piece.rollout, config.temperature, run.reference, config.prompt_kl_weight > 0, run.credit.scoring(piece),
            reference_hidden,
        )  # fmt: skip
        old = earlier.scores or scores
        losses = loss_per_token(scores, old, piece, run.credit, config)
        weights = token_weights(mask, config.aggregation, piece.completions, piece.tokens, config.max_new_tokens)
        loss = (weights * losses.loss).sum()
        if scores.prompt_kl is not None:
            price = config.prompt_kl_weight / (config.num_prompts * config.max_new_tokens)
            loss = loss + price * scores.prompt_kl.sum()
    with watch.part("backward"):
        # DDP averages over processes, the weights already divide by the global batch
        accelerator.backward(loss * accelerator.num_processes)
    sampled[first] = Sampled(old.detach(), reference_hidden if update + 1 < config.updates_per_batch else None)
    return measure(scores, old, losses, loss, piece.rollout, update, config)


def _halve(
    run: Run, batch: Batch, pieces: list[tuple[int, int]], sampled: dict[int, Sampled], update: int
) -> tuple[list[tuple[int, int]], dict[int, Sampled]]:
    """Each piece in two, and what is known of it with it.

    Raises:
        OutOfMemory: the pieces are single prompts already.
    """
    run.optimizer.zero_grad()
    clear_device_cache(garbage_collection=True)
    size = max(last - first for first, last in pieces)
    if size == 1:
        raise OutOfMemory(
            "one prompt with its completions does not fit into memory; lower num_generations or max_new_tokens, or "
            "set gradient_checkpointing or lora_rank"
        )
    logger.warning("out of memory with %d prompts a micro-batch: it goes on with %d", size, size // 2)
    run.micro_batch_prompts = size // 2
    halves = {piece: micro_batches(piece[1] - piece[0], run.micro_batch_prompts) for piece in pieces}
    known = {} if update == 0 else sampled
    cut = {
        first + a: Sampled(known[first].scores.cut(batch.piece(first + a, first + b).rollout, a))
        for (first, _), parts in halves.items() if first in known for a, b in parts
    }  # fmt: skip
    return [(first + a, first + b) for (first, _), parts in halves.items() for a, b in parts], cut
