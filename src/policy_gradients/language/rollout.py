"""Step 1: sample completions with a KV cache, each prompt encoded once for its whole group."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from policy_gradients.language.attention import DecodingAttention, run_packed
from policy_gradients.language.padded import is_padded, next_token_logits

LogitsProcessor = Callable[[Tensor, Tensor], Tensor]
"""Completions so far, (rows, tokens), and the model's logits, (rows, vocabulary) → the logits to draw from."""


@dataclass
class Rollout:
    """G completions for each of P prompts, in rows p·G … p·G + G - 1.

    Attributes:
        prompt_ids, prompt_mask: (P, prompt time), padded on the left.
        completion_ids: (P·G, time), padded on the right.
        mask: (P·G, time), 1 on completion tokens, the end token included.
        finished: (P·G,), whether the end token was sampled before the cap.
        num_generations: G.
        log_probs: (P·G, time), the sampler's own log-prob of each token, zero after the end: what the trainer's are
            held against. None for a rollout that was not sampled here.
    """

    prompt_ids: Tensor
    prompt_mask: Tensor
    completion_ids: Tensor
    mask: Tensor
    finished: Tensor
    num_generations: int
    log_probs: Tensor | None = None

    @property
    def num_prompts(self) -> int:
        return self.prompt_ids.shape[0]

    def slice_prompts(self, start: int, stop: int) -> "Rollout":
        """The prompts start … stop - 1 with their completions, trimmed to the longest of them."""
        rows = slice(start * self.num_generations, stop * self.num_generations)
        prompt_width = int(self.prompt_mask[start:stop].sum(1).max())
        width = int(self.mask[rows].sum(1).max())
        return Rollout(
            self.prompt_ids[start:stop, -prompt_width:],
            self.prompt_mask[start:stop, -prompt_width:],
            self.completion_ids[rows, :width],
            self.mask[rows, :width],
            self.finished[rows],
            self.num_generations,
            None if self.log_probs is None else self.log_probs[rows, :width],
        )


def pad_left(prompts: list[list[int]], pad_id: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Token ids and mask, both (prompts, longest), so that every prompt ends in the last column."""
    if not prompts or not all(prompts):
        raise ValueError("prompts must be a non-empty list of non-empty lists of token ids")
    width = max(map(len, prompts))
    ids = torch.tensor([[pad_id] * (width - len(p)) + p for p in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    return ids, mask


def positions(mask: Tensor) -> Tensor:
    """Position of each token in its own sequence: padding does not count."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def sample(logits: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Draw from softmax(logits / temperature) by inverting its cumulative distribution at `uniform` in [0, 1).

    One number a token decides the draw, so a completion depends on its own numbers alone, not on who shares its batch.

    Returns:
        The tokens and their log-probs, each of the shape of `uniform`.

    Raises:
        ValueError: a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}: for the likeliest token take argmax")
    probabilities = torch.softmax(logits.float() / temperature, dim=-1)
    cumulative = probabilities.cumsum(dim=-1)
    threshold = uniform.unsqueeze(-1) * cumulative[..., -1:]  # rounding may leave the sum a little off 1
    token = torch.searchsorted(cumulative, threshold, right=True).clamp(max=logits.shape[-1] - 1)
    return token.squeeze(-1), probabilities.gather(-1, token).squeeze(-1).log()


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    prompts: list[list[int]],
    num_generations: int,
    uniforms: Tensor,
    end_ids: list[int],
    pad_id: int,
    temperature: float = 1.0,
    logits_processor: LogitsProcessor | None = None,
) -> Rollout:
    """Sample `num_generations` completions of every prompt, at most `uniforms.shape[1]` tokens each.

    The prompts go through the model once, and all completions of a group read the keys and values of that one copy.
    Rows that have ended leave the decoding batch. A model whose own forward is something else than that (see
    `agreement`) reads every sequence anew for each token, in its own way.

    Args:
        prompts: P lists of token ids.
        uniforms: numbers in [0, 1), shape (P · num_generations, max new tokens): the only randomness.
        end_ids: tokens that end a completion.
        logits_processor: makes the logits to draw from out of the model's: constrained decoding. The log-probs are then
            those of what it makes.

    Raises:
        ValueError: empty prompts, shapes that do not match, temperature not above 0.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    rows, max_new_tokens = uniforms.shape
    if rows != len(prompts) * num_generations:
        raise ValueError(f"uniforms {tuple(uniforms.shape)} must have {len(prompts)} · {num_generations} rows")
    device = next(model.parameters()).device
    prompt_ids, prompt_mask = pad_left(prompts, pad_id, device)
    uniforms, end = uniforms.to(device), torch.tensor(end_ids, device=device)
    completion_ids = torch.full((rows, max_new_tokens), pad_id, device=device)
    log_probs = torch.zeros(rows, max_new_tokens, device=device)
    finished = torch.zeros(rows, dtype=torch.bool, device=device)

    lengths, plain = prompt_mask.sum(1), is_padded(model)
    if plain:
        plain_ids = torch.full((rows, prompt_ids.shape[1] + max_new_tokens), 0, device=device)
        for row in range(rows):
            prompt = prompts[row // num_generations]
            plain_ids[row, : len(prompt)] = torch.tensor(prompt, device=device)
        logits = next_token_logits(model, plain_ids[::num_generations], lengths)
    else:
        cache = DecodingAttention(prompt_mask.bool(), num_generations, max_new_tokens)
        backbone, head = model.base_model, model.get_output_embeddings()
        real = prompt_mask.bool()
        hidden = run_packed(backbone, prompt_ids[real], positions(prompt_mask)[real], cache.prefill)
        logits = head(hidden[lengths.cumsum(0) - 1])
    logits = logits.repeat_interleave(num_generations, dim=0)
    position = lengths.repeat_interleave(num_generations)
    alive = torch.arange(rows, device=device)  # rows still decoding
    for t in range(max_new_tokens):
        if logits_processor is not None:
            logits = logits_processor(completion_ids[alive, :t], logits)
        token, log_probs[alive, t] = sample(logits, uniforms[alive, t], temperature)
        completion_ids[alive, t] = token
        going, ended = None, torch.isin(token, end)
        finished[alive[ended]] = True
        if ended.any():
            going = (~ended).nonzero().squeeze(1)
            alive, token, position = (x[going] for x in (alive, token, position))
        if len(alive) == 0 or t == max_new_tokens - 1:
            break
        if plain:
            plain_ids[alive, position] = token
            logits = next_token_logits(model, plain_ids[alive], position + 1)
        else:
            cache.start(going)
            logits = head(run_packed(backbone, token, position, cache.decode))
        position = position + 1
    steps = t + 1
    return Rollout(
        prompt_ids,
        prompt_mask,
        completion_ids[:, :steps],
        completion_mask(completion_ids[:, :steps], end),
        finished,
        num_generations,
        log_probs[:, :steps],
    )


def completion_mask(completion_ids: Tensor, end_ids: Tensor) -> Tensor:
    """1 up to and including the first end token of each row, 0 after it, float, (completions, time)."""
    is_end = torch.isin(completion_ids, end_ids)
    return (is_end.cumsum(1) - is_end.long() == 0).float()
