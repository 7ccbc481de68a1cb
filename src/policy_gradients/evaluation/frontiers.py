"""Several prompts at once: the best mean pass rate at a mean KL, and where a KL weight that follows the reward rests.

Rewards are 0 or 1, and each prompt has a reference that passes with a probability p of its own. All is exact. The
curve of a single prompt is `statistics.optimal_frontier`.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from policy_gradients.evaluation.statistics import binary_kl, tilted_rate

FURTHEST = 60.0  # of all tilts: odds times e^60, where a rate of 1e-9 has become 1 on any plot
GRID = 8000


def mean_kl(settled: Sequence[float], rates: Sequence[float]) -> float:
    """Mean over prompts of the least KL, in nats a completion, from passing at `rates` to passing at `settled`.

    Raises:
        ValueError: sequences of different or no length, a rate outside [0, 1].
    """
    known = [float(p) for p in rates]
    if not known:
        raise ValueError("rates must be probabilities, one a prompt; got none")
    return float(np.mean([binary_kl(float(q), p) for q, p in zip(settled, known, strict=True)]))


def mean_kl_floor(pass_rate: float, rates: Sequence[float]) -> float:
    """Least *mean* KL at which the mean pass rate over the prompts is `pass_rate`, in nats a completion.

    By Lagrange: min Σ KL_i for a given Σ q_i multiplies the odds of every prompt by the same e^{1/β}, so all prompts
    have one weight β. (Each KL_i is convex in q_i, so there is no other optimum.) For one prompt it is
    `statistics.kl_floor`.

    Raises:
        ValueError: rates outside (0, 1), or a pass rate below their mean or not below 1.
    """
    known = _rates(rates)
    if not known.mean() - 1e-12 <= pass_rate < 1:
        raise ValueError(f"pass_rate must lie in [{known.mean():.3g}, 1), got {pass_rate}")
    odds = np.log(known) - np.log1p(-known)
    low, high = 0.0, max(0.0, float(np.log(pass_rate) - np.log1p(-pass_rate) - odds.min())) + 1  # all are there by then
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if tilted_rate(known, middle).mean() < pass_rate else (low, middle)
    return mean_kl(list(tilted_rate(known, (low + high) / 2)), rates)


def equal_weight_frontier(
    rates: Sequence[float], num: int = 200, furthest: float = 20.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(mean KL, mean pass rate), both (num,), of one weight β = 1/s for all prompts, s from 0 to `furthest`.

    Raises:
        ValueError: rates outside (0, 1), num below 2.
    """
    known = _rates(rates)
    if num < 2:
        raise ValueError(f"num must be at least 2, got {num}")
    settled = tilted_rate(known, np.linspace(0, furthest, num)[:, None])
    return np.array([mean_kl(list(row), rates) for row in settled]), settled.mean(1)


def settled_rates(
    rates: Sequence[float], weight: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Pass rates at which prompts come to rest whose common KL weight follows their mean pass rate, (prompts,).

    Where the gradient of E[R] - β·KL vanishes, with β as a number, every prompt's odds are multiplied by e^{1/β}. So
    from the reference on the odds e^s rise while β·s < 1, and come to rest at the first s with β(mean q)·s = 1. One
    prompt alone, `settled_rates([p], weight)`, is a weight for each prompt by itself. Where no s up to 60 is one (the
    weight vanishes as fast as the odds grow) nothing holds the prompts back, and the rates are 1.

    Args:
        weight: mean pass rates (any shape) to β, elementwise, not negative. Between two of 8000 steps it is taken to
            cross 1/s once at most.

    Raises:
        ValueError: rates outside (0, 1), a weight that is negative or not a number.
    """
    known = _rates(rates)

    def pull(tilt: NDArray[np.float64]) -> NDArray[np.float64]:
        beta = np.asarray(weight(tilted_rate(known, tilt[:, None]).mean(1)))
        if not (beta >= 0).all():
            raise ValueError("weight must give numbers of at least 0")
        return beta * tilt - 1

    tilts = np.linspace(0, FURTHEST, GRID + 1)
    held = pull(tilts) >= 0
    if not held.any():
        return np.ones(len(known))
    last = int(held.argmax())
    low, high = tilts[last - 1], tilts[last]
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if pull(np.array([middle]))[0] >= 0 else (middle, high)
    return tilted_rate(known, high)


def _rates(rates: Sequence[float]) -> NDArray[np.float64]:
    known = np.asarray(rates, dtype=np.float64)
    if known.ndim != 1 or not len(known) or not ((known > 0) & (known < 1)).all():
        raise ValueError(f"rates must be probabilities in (0, 1), one a prompt, got {list(rates)}")
    return known
