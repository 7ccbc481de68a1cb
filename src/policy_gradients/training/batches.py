"""All the randomness of a run as pure functions of (seed, step): resuming needs no generator state."""

import torch
from torch import Tensor


def prompt_indices(num_excerpts: int, batch: int, step: int, seed: int) -> list[int]:
    """The excerpts of one step: a walk through one permutation an epoch."""
    first = step * batch
    return [_permutation(num_excerpts, i // num_excerpts, seed)[i % num_excerpts] for i in range(first, first + batch)]


def sampling_uniforms(rows: int, columns: int, step: int, seed: int) -> Tensor:
    """Numbers in [0, 1), shape (rows, columns): one for each token that a step may sample.

    Drawn for the whole global batch, so that every process can take its own rows of the same numbers.
    """
    return torch.rand(rows, columns, generator=_generator(seed, 1, step))


def _permutation(size: int, epoch: int, seed: int) -> list[int]:
    return torch.randperm(size, generator=_generator(seed, 0, epoch)).tolist()


def _generator(seed: int, stream: int, index: int) -> torch.Generator:
    # distinct streams for distinct uses; the multipliers are odd constants, the sum stays below 2^63
    return torch.Generator().manual_seed((seed * 1_000_003 + stream * 500_009 + index * 7_919) % 2**63)
