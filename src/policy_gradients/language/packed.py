"""The fast path: the real tokens of a batch as one row, each prompt once for all of its completions.

It knows transformers whose logits are hidden states times a matrix; `policy_gradients.language.agreement` finds out of
a model whether it is one, and `policy_gradients.language.padded` reads the others.
"""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from policy_gradients.language.attention import DecodingAttention, Grid, PackedAttention, positions, run_packed


class PackedDecoder:
    """Logits of the next token, with a cache of keys and values: one copy of each prompt's for its whole group."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompt_ids: Tensor,
        prompt_mask: Tensor,
        num_generations: int,
        max_new_tokens: int,
    ):
        """`prompt_ids`, `prompt_mask`: (prompts, prompt time), padded on the left."""
        self.backbone, self.head = model.base_model, model.get_output_embeddings()
        self.cache = DecodingAttention(prompt_mask.bool(), num_generations, max_new_tokens)
        self.prompts, self.num_generations = (prompt_ids, prompt_mask), num_generations
        self.position = prompt_mask.sum(1).repeat_interleave(num_generations)  # of the next token in each sequence

    def first(self) -> Tensor:
        """Of each completion's first token, (completions, vocabulary)."""
        ids, mask = self.prompts
        real = mask.bool()
        hidden = run_packed(self.backbone, ids[real], positions(mask)[real], self.cache.prefill)
        return self.head(hidden[mask.sum(1).cumsum(0) - 1]).repeat_interleave(self.num_generations, dim=0)

    def following(self, token: Tensor, going: Tensor | None) -> Tensor:
        """Of what follows `token` in each completion that goes on, (going, vocabulary).

        Args:
            token: (going,), of those that go on.
            going: their places among those that went on before; None: all of them.
        """
        if going is not None:
            self.position = self.position[going]
        self.cache.start(going)
        logits = self.head(run_packed(self.backbone, token, self.position, self.cache.decode))
        self.position = self.position + 1
        return logits


def read_rollout(
    model: PreTrainedModel, prompt_ids: Tensor, prompt_mask: Tensor, completion_ids: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """What `scoring.hidden_states` returns; shapes as in `Rollout`."""
    prompt_mask, lengths = prompt_mask.bool(), prompt_mask.sum(1)
    inputs = mask[:, 1:].bool()  # tokens that predict another one: the last of a completion does not
    ids = torch.cat([prompt_ids[prompt_mask], completion_ids[:, :-1][inputs]])
    group = len(mask) // len(prompt_mask)
    behind = torch.arange(inputs.shape[1], device=ids.device) + lengths.repeat_interleave(group).unsqueeze(1)
    places = torch.cat([positions(prompt_mask)[prompt_mask], behind[inputs]])
    hidden = run_packed(model.base_model, ids, places, PackedAttention(prompt_mask, inputs))
    prompts, rest = hidden.split([int(lengths.sum()), int(inputs.sum())])
    prompts = Grid(prompt_mask).pad(prompts)
    first = prompts[:, -1:].repeat_interleave(group, dim=0)
    return prompts, torch.cat([first, Grid(inputs).pad(rest)], dim=1)
