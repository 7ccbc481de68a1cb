"""Sampling, told which path reads the model (`packed` or `padded`): what `rollout.generate` decides and calls."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from policy_gradients.language.packed import PackedDecoder
from policy_gradients.language.padded import PaddedDecoder

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
def decode(
    model: PreTrainedModel,
    prompts: list[list[int]],
    num_generations: int,
    uniforms: Tensor,
    end_ids: list[int],
    pad_id: int,
    temperature: float = 1.0,
    logits_processor: LogitsProcessor | None = None,
    *,
    plain: bool,
) -> Rollout:
    """`rollout.generate` on the path that `plain` names: True for `padded`, False for `packed`."""
    if not temperature > 0:
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

    decoder = (PaddedDecoder if plain else PackedDecoder)(
        model, prompt_ids, prompt_mask, num_generations, max_new_tokens
    )
    logits = decoder.first()
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
            alive, token = alive[going], token[going]
        if len(alive) == 0 or t == max_new_tokens - 1:
            break
        logits = decoder.following(token, going)
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
