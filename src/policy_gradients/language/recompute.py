"""Gradient checkpointing of a model's blocks, also in eval mode, where transformers' own stays off."""

from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from policy_gradients.language.models import blocks_of


def recompute_blocks(model: PreTrainedModel) -> None:
    """From now on each block of `model` keeps its input for the backward pass, and computes the rest again there."""
    for block in blocks_of(model):
        block.forward = _recomputed(block.forward)


def _recomputed(forward: Any) -> Any:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        # nothing in a block draws random numbers: the policy is in eval mode, without dropout
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return wrapped
