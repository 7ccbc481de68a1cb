"""The plain path: whole sequences through a model's own `forward`, padded on the right. Slow, and right if causal.

What a causal model makes of a token depends on what is before it alone, so padding behind a sequence changes nothing,
also where a model ignores attention masks, carries a state, or has scales, caps and biases after its head.
`policy_gradients.language.agreement` finds out which models need it, and marks them.
"""

import inspect

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

ELEMENTS = 2**26  # of logits at once while sampling: 256 MiB in float32
_MARK = "reads_padded"


def mark(model: PreTrainedModel, padded: bool) -> None:
    """From now on the model, its backbone and copies of them are read so."""
    for part in (model, model.base_model):
        setattr(part, _MARK, padded)


def marked(model: nn.Module) -> bool | None:
    """How the model is read; None: nobody has marked it."""
    return getattr(model, _MARK, None)


def unmark(model: PreTrainedModel) -> None:
    """Forget what `mark` said."""
    for part in (model, model.base_model):
        if _MARK in vars(part):
            delattr(part, _MARK)


def read(model: nn.Module, ids: Tensor) -> Tensor:
    """(rows, length), padded on the right → logits (rows, length, vocabulary), or a backbone's last hidden states."""
    without_cache = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
    output = model(input_ids=ids, **without_cache)
    return output.logits if "logits" in output else output.last_hidden_state


def next_token_logits(model: PreTrainedModel, ids: Tensor, lengths: Tensor) -> Tensor:
    """Of what follows each row, (rows, vocabulary). `ids`: padded on the right, (rows, length); `lengths`: (rows,)."""
    size = max(1, ELEMENTS // (ids.shape[1] * model.get_output_embeddings().weight.shape[0]))
    parts = []
    for rows, counts in zip(ids.split(size), lengths.split(size), strict=True):
        rows = rows[:, : int(counts.max())]
        parts.append(read(model, rows)[torch.arange(len(rows), device=ids.device), counts - 1])
    return torch.cat(parts)


class PaddedDecoder:
    """As `packed.PackedDecoder`, by reading every sequence anew for each token."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompt_ids: Tensor,
        prompt_mask: Tensor,
        num_generations: int,
        max_new_tokens: int,
    ):
        """`prompt_ids`, `prompt_mask`: (prompts, prompt time), padded on the left."""
        self.model, self.num_generations = model, num_generations
        room = prompt_ids.new_zeros(len(prompt_ids), max_new_tokens)
        padding = (~prompt_mask.bool()).sort(dim=1, stable=True)  # the real tokens first, in their order
        prompts = prompt_ids.gather(1, padding.indices).masked_fill(padding.values, 0)
        self.ids = torch.cat([prompts, room], dim=1).repeat_interleave(num_generations, dim=0)
        self.length = prompt_mask.sum(1).repeat_interleave(num_generations)

    def first(self) -> Tensor:
        """Of each completion's first token, (completions, vocabulary)."""
        one = slice(None, None, self.num_generations)
        logits = next_token_logits(self.model, self.ids[one], self.length[one])
        return logits.repeat_interleave(self.num_generations, dim=0)

    def following(self, token: Tensor, going: Tensor | None) -> Tensor:
        """Of what follows `token` in each completion that goes on; see `packed.PackedDecoder.following`."""
        if going is not None:
            self.ids, self.length = self.ids[going], self.length[going]
        self.ids[torch.arange(len(token), device=token.device), self.length] = token
        self.length = self.length + 1
        return next_token_logits(self.model, self.ids, self.length)


def behind_prompts(prompt_ids: Tensor, prompt_mask: Tensor, completion_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Each completion behind its prompt, padded on the right: (completions, length), and the prompts' lengths.

    Args:
        prompt_ids, prompt_mask: (prompts, prompt time), padded on the left.
        completion_ids: (completions, time), padded on the right.
    """
    group = len(completion_ids) // len(prompt_ids)
    lengths = prompt_mask.sum(1).repeat_interleave(group)
    width, time = prompt_ids.shape[1], completion_ids.shape[1]
    together = torch.cat([prompt_ids.repeat_interleave(group, dim=0), completion_ids], dim=1)
    # rows move to the left by their own padding; what is pushed out at the left comes in again at the right
    places = torch.arange(width + time, device=together.device) + (width - lengths).unsqueeze(1)
    return together.gather(1, places % (width + time)), lengths


def read_rollout(
    model: nn.Module, prompt_ids: Tensor, prompt_mask: Tensor, completion_ids: Tensor
) -> tuple[Tensor, Tensor]:
    """What `scoring.hidden_states` returns, with `read` of each token in place of its hidden state."""
    width, time = prompt_ids.shape[1], completion_ids.shape[1]
    ids, lengths = behind_prompts(prompt_ids, prompt_mask, completion_ids[:, :-1])
    found = read(model, ids)
    rows = torch.arange(len(ids), device=ids.device).unsqueeze(1)
    completions = found[rows, lengths.unsqueeze(1) - 1 + torch.arange(time, device=ids.device)]
    first = rows[:: len(ids) // len(prompt_ids)]  # the prompt's own tokens are the same in all of a group
    places = torch.arange(width, device=ids.device) - (width - lengths[first])
    return found[first, places.clamp(min=0)] * prompt_mask.unsqueeze(-1), completions
