"""Preferences between two completions, and a reward model fitted to them: Bradley & Terry (1952), Newton's method.

Of n completions, `wins` (n, n) says how often, or how likely, i was preferred to j. Counts of a sample and the
expectation over all pairs are the same thing here, so noise and misspecification can be told apart.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor


def preference_chances(scores: Tensor) -> Tensor:
    """How likely a labeller who values completions at `scores` (n,), in nats, prefers i to j: σ(s_i - s_j), (n, n)."""
    return torch.sigmoid(scores.unsqueeze(-1) - scores)


def all_preferences(chance: Tensor, scores: Tensor) -> Tensor:
    """`wins` (n, n) of all pairs in the world, summing to one: how likely i is drawn, with j, and preferred to it.

    Both are drawn from `chance` (n,), and the label is that of `preference_chances`; either may be drawn first.
    """
    return 2 * chance.unsqueeze(-1) * chance * preference_chances(scores)


def draw_preferences(chance: Tensor, scores: Tensor, number: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Indices of the preferred and of the other completion, each (number,): pairs drawn from `chance`, with noise.

    Raises:
        ValueError: number below 1.
    """
    if number < 1:
        raise ValueError(f"number must be at least 1, got {number}")
    first, second = (torch.multinomial(chance, number, replacement=True, generator=generator) for _ in range(2))
    drawn = torch.rand(number, dtype=torch.float64, generator=generator)
    won = drawn < torch.sigmoid(scores[first] - scores[second])
    return torch.where(won, first, second), torch.where(won, second, first)


def count_wins(preferred: Tensor, other: Tensor, size: int) -> Tensor:
    """`wins` (size, size) of labelled pairs, indices as `draw_preferences` returns them."""
    ones = torch.ones(len(preferred), dtype=torch.float64)
    return torch.zeros(size, size, dtype=torch.float64).index_put((preferred, other), ones, accumulate=True)


def preference_gradient(weights: Tensor, preferred: Tensor, other: Tensor) -> Tensor:
    """Gradient of the mean log-likelihood of preferences, by the weights of a linear reward model, (features,).

    The mean of (x_preferred - x_other) · σ(r_other - r_preferred): each pair pulls as hard as it is misjudged.

    Args:
        weights: (features,).
        preferred, other: features of both completions of each pair, (pairs, features).
    """
    apart = preferred - other
    return (torch.sigmoid(-(apart @ weights)).unsqueeze(-1) * apart).mean(0)


def fit_reward(features: Tensor, wins: Tensor, ridge: float = 0.0, steps: int = 100) -> Tensor:
    """Weights w (k,) of the linear reward model r = features @ w that makes the preferences likeliest.

    Maximises Σ wins_ij log σ(r_i - r_j) - ridge/2 ‖w‖² by Newton's method. The second derivative is a Laplacian between
    the features. A feature that is alike for all completions has no say, and no weight: leave it out, or give a ridge.

    Args:
        features: (n, k).
        wins: (n, n), not negative.
        ridge: with a sample, a feature may decide every pair it is in; its weight would be infinite without one.

    Raises:
        ValueError: shapes that do not match, negative wins, no maximum (found in so many steps), or, without a ridge,
            more than one: a feature that is alike for all, or a sum of others.
    """
    if features.dim() != 2 or wins.shape != (len(features), len(features)):
        raise ValueError(f"wins must be (n, n) for features (n, k), got {tuple(wins.shape)}, {tuple(features.shape)}")
    if not (wins >= 0).all():
        raise ValueError("wins must be counts or chances of at least 0")
    features, wins = features.double(), wins.double()
    if ridge == 0 and torch.linalg.matrix_rank(features - features.mean(0)) < features.shape[1]:
        raise ValueError("a feature says nothing that others do not: leave it out, or give a ridge above 0")
    weights, prior = features.new_zeros(features.shape[1]), ridge * torch.eye(features.shape[1], dtype=torch.float64)
    seen = wins + wins.mT
    for _ in range(steps):
        chance = preference_chances(features @ weights)
        slope = features.mT @ (wins - seen * chance).sum(1) - prior @ weights
        tied = seen * chance * (1 - chance)
        curvature = features.mT @ (torch.diag(tied.sum(1)) - tied) @ features + prior
        step, failed = torch.linalg.solve_ex(curvature, slope)
        if failed or not step.isfinite().all():
            break
        weights = weights + step
        if step.abs().max() < 1e-10:
            return weights
    raise ValueError("no maximum: a feature decides all of its pairs, or says nothing; give a ridge above 0")


@dataclass(frozen=True)
class Judgement:
    """How well a reward model foretells preferences.

    Attributes:
        accuracy: share of preferences whose preferred one it scores higher, ties counting half.
        calibration_error: mean over pairs of |predicted - true chance|, within ten bins of the prediction.
    """

    accuracy: float
    calibration_error: float


def judged(scores: Tensor, wins: Tensor, bins: int = 10) -> Judgement:
    """A reward model with `scores` (n,) against preferences `wins` (n, n), of a sample or of all pairs.

    Pairs of a completion with itself are left out: nothing can be said of them.

    Raises:
        ValueError: no preferences.
    """
    wins = wins - torch.diag(wins.diag())
    if not wins.sum() > 0:
        raise ValueError("wins must hold a preference at least")
    wins = wins / wins.sum()
    predicted = preference_chances(scores)
    apart = (predicted - 0.5).where((predicted - 0.5).abs() > 1e-9, 0.0)
    accuracy = (wins * (apart.sign() + 1) / 2).sum().item()
    seen, place = wins + wins.mT, (predicted * bins).long().clamp(max=bins - 1).flatten()
    gaps = torch.zeros(bins, dtype=torch.float64).index_add(0, place, (wins - seen * predicted).flatten())
    return Judgement(accuracy, gaps.abs().sum().item() / 2)
