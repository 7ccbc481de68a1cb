"""How much two texts have in common, by their letters alone."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def likeness(texts: Sequence[str], n: int = 5) -> Tensor:
    """Of any two texts, the share of their runs of n characters that both have (Jaccard index), (N, N), in [0, 1].

    Two texts of one template score high though they are different strings; two that only share a language, near 0. A
    text of fewer than n characters is one run.

    Raises:
        ValueError: no texts, or n below 1.
    """
    if isinstance(texts, str) or not len(texts):
        raise ValueError("texts must be a list of at least one text")
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    runs = [{text[i : i + n] for i in range(max(1, len(text) - n + 1))} for text in texts]
    holders: dict[str, list[int]] = defaultdict(list)
    for row, own in enumerate(runs):
        for run in own:
            holders[run].append(row)
    sizes = np.array([len(own) for own in runs], dtype=np.float64)
    common = np.diag(sizes)
    for rows in holders.values():
        if len(rows) > 1:
            common[np.ix_(rows, rows)] += 1
    np.fill_diagonal(common, sizes)
    return torch.from_numpy(common / (sizes[:, None] + sizes[None, :] - common))
