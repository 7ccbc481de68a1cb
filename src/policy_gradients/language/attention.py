"""Attention that reads each prompt's keys and values once for all of its completions, over tokens without padding.

A transformer works token by token, but for its attention. So the real tokens of a whole batch go through it as one row,
and a function `attend` puts each token back into its sequence, lets it look at what it may see, and returns to the row.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "shared_prefix"

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""A `PackedAttention`, or a method of a `DecodingAttention`: tells its `longest` sequence, for models with windows.

(block, scaled queries (tokens, heads, size), keys, values (tokens, key-value heads, size)) → as the queries
"""


def positions(mask: Tensor) -> Tensor:
    """Position of each token in its own sequence: padding does not count."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def run_packed(backbone: PreTrainedModel, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
    """Last hidden states (tokens, width) of a row of tokens, each at its position in its own sequence, both (tokens,).

    Raises:
        ValueError: the model's attention is of a kind that `attend` does not compute.
    """
    if backbone.config._attn_implementation != NAME:
        backbone.config._attn_implementation = NAME  # the same as before wherever no `attend` is given
    unused = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=ids.device)  # given one, a model makes no mask of its own
    output = backbone(
        ids.unsqueeze(0), position_ids=positions.unsqueeze(0), attention_mask=unused, use_cache=False, attend=attend
    )
    return output.last_hidden_state.squeeze(0)


def _dispatch(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    attend: Attend | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What a block calls for its attention: (1, heads, tokens, size) each → (1, tokens, heads, size)."""
    if attend is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    window = kwargs.pop("sliding_window", None)
    longest = getattr(attend, "__self__", attend).longest
    if window is not None and longest > window:
        raise ValueError(
            f"{type(module).__name__} looks back sliding_window={window} tokens, and packed attention computes no "
            f"window: prompt and completion together, here up to {longest} tokens, must fit into it"
        )
    if unknown := [name for name in ("softcap", "s_aux") if kwargs.get(name) is not None]:
        raise ValueError(f"{type(module).__name__} asks for {unknown[0]}, which packed attention does not compute")
    device = query.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype
    # scaled before it is multiplied: in fp16 the products of large models overflow else
    query = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    rows = (x.squeeze(0).transpose(0, 1).to(dtype) for x in (query, key, value))
    with torch.autocast(device, enabled=False):
        return attend(module.layer_idx, *rows).unsqueeze(0), None


AttentionInterface.register(NAME, _dispatch)
AttentionMaskInterface.register(NAME, sdpa_mask)


class Grid:
    """Between the row of real tokens and a padded rectangle, in which padding is zero."""

    def __init__(self, mask: Tensor):
        """`mask`: of any shape, True on real tokens."""
        self.shape, self.full = mask.shape, bool(mask.all())
        self.places = mask.flatten().nonzero().squeeze(1)

    def pad(self, row: Tensor) -> Tensor:
        """(tokens, …) → (*shape, …)."""
        if not self.full:
            row = row.new_zeros(self.shape.numel(), *row.shape[1:]).index_copy(0, self.places, row)
        return row.unflatten(0, self.shape)

    def pack(self, padded: Tensor) -> Tensor:
        """(*shape, …) → (tokens, …)."""
        row = padded.flatten(0, len(self.shape) - 1)
        return row if self.full else row.index_select(0, self.places)


class PackedAttention:
    """First the tokens of all prompts, then those of all completions: causal, each completion behind its own prompt."""

    def __init__(self, prompt_mask: Tensor, completion_mask: Tensor | None = None):
        """Masks as in `Rollout`, bool: prompts (P, length) padded on the left, completions (P·G, time) on the right."""
        self.prompts, self.prompt_mask = Grid(prompt_mask), prompt_mask
        self.num_prompt_tokens = len(self.prompts.places)
        self.longest = prompt_mask.shape[1] + (0 if completion_mask is None else completion_mask.shape[1])
        self.completions = None
        if completion_mask is not None and completion_mask.any():
            self.completions = Grid(completion_mask.unflatten(0, (len(prompt_mask), -1)))

    def __call__(self, block: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """See `Attend`."""
        count = self.num_prompt_tokens
        query, key, value = (self.prompts.pad(x[:count]) for x in (queries, keys, values))
        key, value = key.transpose(1, 2), value.transpose(1, 2)  # (P, key-value heads, length, size)
        out = self._prompts(query, key, value).flatten(-2)
        if self.completions is None:
            return self.prompts.pack(out).unflatten(-1, queries.shape[1:])
        own = [self.completions.pad(x[count:]) for x in (queries, keys, values)]
        rest = self._completions(*own, key, value).flatten(-2)
        return torch.cat([self.prompts.pack(out), self.completions.pack(rest)]).unflatten(-1, queries.shape[1:])

    def _prompts(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Queries (P, length, heads, size) on (P, key-value heads, length, size) → (P, length, heads, size)."""
        length, heads, shared = query.shape[1], query.shape[2], key.shape[1]
        query = query.unflatten(2, (shared, -1)).permute(0, 2, 3, 1, 4).flatten(2, 3)
        causal = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
        itself = torch.eye(length, dtype=torch.bool, device=query.device)  # or a padded query would see nothing: NaN
        seen = causal & self.prompt_mask.unsqueeze(1) | itself
        scores = (query @ key.mT).unflatten(2, (-1, length)) + _blocked(seen, query.dtype)[:, None, None]
        out = scores.softmax(-1).flatten(2, 3) @ value
        return out.unflatten(2, (-1, length)).permute(0, 3, 1, 2, 4).reshape(len(out), length, heads, -1)

    def _completions(
        self, query: Tensor, key: Tensor, value: Tensor, prompt_key: Tensor, prompt_value: Tensor
    ) -> Tensor:
        """Each (P, G, time, heads, size), the prompts' (P, key-value heads, length, size); as the queries."""
        (prompts, group, time, heads, _), shared = query.shape, key.shape[3]
        query = query.unflatten(3, (shared, -1)).permute(
            0, 3, 1, 4, 2, 5
        )  # (P, key-value heads, G, repeats, time, size)
        shape = query.shape[:-1]
        together = query.flatten(2, 4)  # all that look at one prompt's keys
        key, value = (x.permute(0, 3, 1, 2, 4) for x in (key, value))  # (P, key-value heads, G, time, size)
        seen = torch.cat([
            self.prompt_mask.unsqueeze(1).expand(prompts, time, -1),
            torch.ones(time, time, dtype=torch.bool, device=query.device).tril().expand(prompts, time, time),
        ], dim=-1)  # fmt: skip
        scores = torch.cat([
            (together @ prompt_key.mT).view(*shape, -1),
            (query.flatten(3, 4) @ key.mT).view(*shape, -1),
        ], dim=-1)  # fmt: skip
        weights = scores.add_(_blocked(seen, query.dtype)[:, None, None, None]).softmax(-1)
        before, own = weights.split([prompt_key.shape[2], time], dim=-1)
        out = (before.reshape(*together.shape[:3], -1) @ prompt_value).view(*shape, -1)
        out = out + (own.flatten(3, 4) @ value).view(*shape, -1)
        return out.permute(0, 2, 4, 1, 3, 5).reshape(prompts, group, time, heads, -1)


class DecodingAttention:
    """A cache of keys and values for decoding G completions a prompt: each prompt's once, room for each completion's.

    `prefill` attends among the prompts and keeps their keys and values. Then, a token at a time, `start` says which
    completions go on, and `decode` attends from these tokens.
    """

    def __init__(self, prompt_mask: Tensor, group: int, room: int):
        """`room`: most tokens that a completion may have."""
        self.prompt_attention, self.room, self.time = PackedAttention(prompt_mask), room, -1
        self.prompt_attention.longest = self.longest = prompt_mask.shape[1] + room
        self.blocked = prompt_mask.unsqueeze(1).unsqueeze(1).unsqueeze(1)
        self.prompt_cache: list[tuple[Tensor, Tensor]] = []
        self.own_cache: list[
            tuple[Tensor, Tensor]
        ] = []  # (P, key-value heads, G, room, size), by prompt and place in it
        places = torch.arange(len(prompt_mask) * group, device=prompt_mask.device)
        self.group, self.prompt_of, self.place_of = group, places // group, places % group
        self.size = (len(prompt_mask), group)

    def prefill(self, block: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """See `Attend`."""
        kept = [self.prompt_attention.prompts.pad(x).transpose(1, 2).contiguous() for x in (keys, values)]
        self.prompt_cache.append(tuple(kept))
        shape = (self.size[0], keys.shape[1], self.size[1], self.room, keys.shape[2])
        self.own_cache.append((keys.new_zeros(shape), values.new_zeros(shape)))
        return self.prompt_attention(block, queries, keys, values)

    def start(self, going: Tensor | None = None) -> None:
        """Next token; `going`, (completions so far,) bool, says which of them have one."""
        self.time += 1
        if going is not None:
            self.prompt_of, self.place_of = self.prompt_of[going], self.place_of[going]
            self._shrink()

    def decode(self, block: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """See `Attend`; the row holds one token of each completion that goes on."""
        (own_keys, own_values), (prompt_keys, prompt_values) = self.own_cache[block], self.prompt_cache[block]
        own_keys[self.prompt_of, :, self.place_of, self.time] = keys
        own_values[self.prompt_of, :, self.place_of, self.time] = values
        own_keys, own_values = own_keys[:, :, :, : self.time + 1], own_values[:, :, :, : self.time + 1]
        shared, heads = keys.shape[1], queries.shape[1]
        # who has ended leaves a gap here, and only here: attention is the cheap part, and stays a plain rectangle
        query = queries.new_zeros(*self.size, heads, queries.shape[2])
        query[self.prompt_of, self.place_of] = queries
        query = query.unflatten(2, (shared, -1)).transpose(1, 2)  # (P, key-value heads, G, repeats, size)
        shape, together = query.shape[:-1], query.flatten(2, 3)
        before = (together @ prompt_keys.mT).view(*shape, -1) + _blocked(self.blocked, query.dtype)
        weights = torch.cat([before, query @ own_keys.mT], dim=-1).softmax(-1)
        before, own = weights.split([prompt_keys.shape[2], self.time + 1], dim=-1)
        out = (before.flatten(2, 3) @ prompt_values).view(*shape, -1) + own @ own_values
        return out.transpose(1, 2).flatten(2, 3)[self.prompt_of, self.place_of]

    def _shrink(self) -> None:
        """Close the gaps once they are half of the rectangle, so that copying is rare."""
        if not len(self.prompt_of):
            return
        kept, renamed, counts = self.prompt_of.unique(return_inverse=True, return_counts=True)
        size = (len(kept), int(counts.max()))
        if 2 * size[0] * size[1] > self.size[0] * self.size[1]:
            return
        rank = torch.arange(len(renamed), device=renamed.device) - (counts.cumsum(0) - counts)[renamed]
        source = torch.zeros(size, dtype=torch.long, device=kept.device)
        source[renamed, rank] = self.place_of
        self.prompt_cache = [tuple(x[kept] for x in pair) for pair in self.prompt_cache]
        self.own_cache = [
            tuple(x[kept.unsqueeze(1), :, source].transpose(1, 2).contiguous() for x in pair) for pair in self.own_cache
        ]
        self.blocked = self.blocked[kept]
        self.prompt_of, self.place_of, self.size = renamed, rank, size


def _blocked(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """To be added to scores: 0 where a key is seen, -inf where not."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, -torch.inf)
