"""What a server's raw numbers say: percentiles, Little's law, divergence from its log-probs, the share of its cache."""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed (nearest rank); NaN of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def latency_by_littles_law(clients: int, requests_per_second: float) -> float:
    """Mean latency in ms of clients that ask again at once: inside = rate × time (Little 1961)."""
    return 1000 * clients / requests_per_second


def k3(log_probs: Tensor, served_log_probs: Tensor) -> Tensor:
    """Schulman's estimate of KL(served ‖ policy) from the served model's samples, one value a token: r - 1 - ln r."""
    log_ratio = log_probs - served_log_probs
    return log_ratio.expm1() - log_ratio


def server_divergence(log_probs: Tensor, served_log_probs: Tensor) -> Tensor:
    """`k3` summed over the tokens of a completion: nats a completion."""
    return k3(log_probs, served_log_probs).sum()


def cached_share(before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """Share of prompt tokens from the cache between two readings of counters `cached` and `computed`; 0 of none."""
    cached, computed = (after[name] - before[name] for name in ("cached", "computed"))
    return cached / (cached + computed) if cached + computed else 0.0
