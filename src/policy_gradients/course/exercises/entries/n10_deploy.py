"""Exercises of notebook 10: percentiles, Little's law, the divergence of a server, and the share of a cache."""

import math

import torch

from policy_gradients.course.exercises.declare import exercise
from policy_gradients.evaluation.load_statistics import cached_share, k3, latency_by_littles_law
from policy_gradients.evaluation.load_statistics import percentile as nearest_rank
from policy_gradients.evaluation.load_statistics import server_divergence as divergence


def _times(generator):
    few = [
        ([7.0], 0.5),
        ([3.0, 1.0], 0.5),
        ([1.0, 2.0], 0.9),
        ([5.0, 1.0, 9.0, 2.0], 0.5),
        ([4.0, 1.0, 3.0, 2.0, 9.0], 0.95),
    ]
    drawn = (100 * torch.rand(40, generator=generator, dtype=torch.double)).tolist()
    return [*few, (drawn, 0.5), (drawn, 0.95), (drawn, 0.99), (drawn, 1.0)]


def _interpolated(times, share):
    ordered, place = sorted(times), share * (len(times) - 1)
    low = math.floor(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


@exercise(
    title="A percentile from raw times",
    difficulty=1,
    minutes=8,
    importance=3,
    why=(
        "Of n sorted times, the ⌈share · n⌉-th is the smallest that at least that share does not exceed.\n"
        "So it is a time that somebody waited, and p99 of forty requests is simply the slowest."
    ),
    reference=nearest_rank,
    cases=_times,
    hints=[
        "Sort first. How many of n times have to lie at or below the answer?",
        "At least share · n of them, and a count is whole: round *up*. Places in a list begin at 0.",
        "sorted(times)[math.ceil(share * len(times)) - 1]",
    ],
    mistakes={
        "The times are not sorted: the place in the list says when a request ended, not how long it took.": (
            lambda times, share: times[max(0, math.ceil(share * len(times)) - 1)]
        ),
        "One place too far: places in a list begin at 0, so the k-th value is `[k - 1]`.": lambda times, share: sorted(
            times
        )[min(len(times) - 1, math.ceil(share * len(times)))],
        "Rounded down, fewer than the share lie at or below it: take `math.ceil`.": lambda times, share: sorted(times)[
            max(0, math.floor(share * len(times)) - 1)
        ],
        "That is between two times, one that nobody waited. Here a percentile is one of the values.": _interpolated,
        "That is the mean. It hides the slow requests, and they are what a percentile is for.": lambda times, share: (
            sum(times) / len(times)
        ),
        "It is sorted from slow to fast: that is the share from the other end.": lambda times, share: sorted(
            times, reverse=True
        )[max(0, math.ceil(share * len(times)) - 1)],
    },
)
def percentile(times, share):
    """The smallest of the times that at least this share (such as 0.95) of all times does not exceed."""
    ordered = sorted(times)
    needed = share * len(ordered)
    for count, time in enumerate(ordered, start=1):
        if count >= needed:
            return time
    return ordered[-1]


def _loads(generator):
    return [(1, 1.0), (1, 20.0), (4, 20.0), (16, 20.0), (16, 62.5)]


@exercise(
    title="Little's law",
    difficulty=2,
    minutes=8,
    importance=3,
    why=(
        "Requests that are inside = arrivals a second × seconds that each stays, whatever the server does (Little "
        "1961).\n"
        "Clients that ask again at once keep their number inside: if throughput stands still, latency grows with them."
    ),
    reference=latency_by_littles_law,
    cases=_loads,
    hints=[
        "Each client always has one request inside the server: how many are inside?",
        "Inside = rate × time, so time = inside / rate. In which unit is it asked for?",
        "1000 * clients / per_second",
    ],
    mistakes={
        "That is in seconds; milliseconds are 1000 times as many.": lambda clients, per_second: clients / per_second,
        "Upside down: more clients at the same throughput wait longer, not shorter.": lambda clients, per_second: (
            1000 * per_second / clients
        ),
        "The clients are missing: that is the time between two answers, not the time that one request stays.": (
            lambda clients, per_second: 1000 / per_second
        ),
        "Rate and time are multiplied the wrong way: inside = rate × time, so divide.": lambda clients, per_second: (
            1000 * clients * per_second
        ),
    },
)
def expected_latency(clients, per_second):
    """Mean latency in ms, if so many clients ask again at once and so many requests a second are answered."""
    milliseconds_between_answers = 1000 / per_second
    return clients * milliseconds_between_answers


def _log_probs(generator):
    cases = [(torch.tensor([-1.0, -2.0]), torch.tensor([-1.5, -1.9]))]
    for n in (3, 12):
        first, second = -3 * torch.rand(2, n, generator=generator)
        cases.append((first, second))
    return cases


@exercise(
    title="A server's divergence, from its own log-probs",
    difficulty=2,
    minutes=12,
    importance=3,
    why=(
        "The tokens are the server's, so E[r] = 1 for r = π/π_served, and r − 1 − ln r estimates KL(served ‖ policy) "
        "without bias.\n"
        "Each term is at least 0, so that a small divergence is not lost in the noise of −ln r."
    ),
    reference=divergence,
    shows=[divergence, k3],
    cases=_log_probs,
    hints=[
        "It is k3 of notebook 05. Who sampled? The expectation is over that one, and it stands below in the ratio.",
        "r = exp(policy − served), and a completion's divergence is the sum over its tokens.",
        "d = policy - served; return (d.exp() - 1 - d).sum()",
    ],
    mistakes={
        "The ratio is upside down: the server sampled, so r = π/π_served.": lambda policy, served: divergence(
            served, policy
        ),
        "That is k1, −ln r: right on average, but it comes out negative as often as not when KL is small.": (
            lambda policy, served: (served - policy).sum()
        ),
        "That is the mean over tokens. Nats a completion are the sum.": lambda policy, served: (
            divergence(policy, served) / len(policy)
        ),
        "That is k2, ½ (ln r)²: near k3 while r is near 1, and biased.": lambda policy, served: (
            (policy - served) ** 2 / 2
        ).sum(),
        "The −1 is missing: of equal log-probs, each token adds 1 instead of 0.": lambda policy, served: (
            (policy - served).exp() - (policy - served)
        ).sum(),
    },
)
def server_divergence(policy, served):
    """k3 estimate of KL(served ‖ policy), in nats, from both log-probs of the server's tokens, (tokens,) each."""
    ratio = torch.exp(policy) / torch.exp(served)
    return torch.sum(ratio - 1 - torch.log(ratio))


def _counts(generator):
    def count(cached, computed):
        return {"cached": cached, "computed": computed}

    return [
        (count(0, 0), count(75, 25)),
        (count(10, 90), count(85, 115)),
        (count(500, 100), count(500, 400)),
        (count(5, 5), count(5, 5)),
        (count(10, 90), count(20, 190)),
        (count(5, 5), count(6, 5)),
    ]


@exercise(
    title="The share of a cache",
    difficulty=1,
    minutes=6,
    importance=2,
    why=(
        "Counters of a server only ever grow, so a measurement is a difference of two readings.\n"
        "What was taken from the cache was not computed: all prompt tokens are the sum of the two."
    ),
    reference=cached_share,
    cases=_counts,
    hints=[
        "The server counts since it started. What happened in between?",
        "llama.cpp counts tokens that it computed and tokens that it took from the cache: neither is all of them.",
        "Differences first, then cached / (cached + computed); 0 where nothing was asked.",
    ],
    mistakes={
        "That is since the server started, warm-up included: take the difference to the reading before.": (
            lambda before, after: cached_share({"cached": 0, "computed": 0}, after)
        ),
        "`computed` is not all: what came from the cache is not in it. Divide by the sum.": lambda before, after: (
            (after["cached"] - before["cached"]) / max(after["computed"] - before["computed"], 1)
        ),
        "That is the share that had to be computed.": lambda before, after: cached_share(
            {"cached": before["computed"], "computed": before["cached"]},
            {"cached": after["computed"], "computed": after["cached"]},
        ),
        "Where nothing was asked, the share is 0, and 0/0 an error.": lambda before, after: (
            (after["cached"] - before["cached"])
            / (after["cached"] - before["cached"] + after["computed"] - before["computed"])
        ),
    },
)
def cache_share(before, after):
    """Share of prompt tokens taken from the cache between two readings of {"cached": …, "computed": …} counters."""
    new = {name: after[name] - before[name] for name in before}
    return new["cached"] / max(sum(new.values()), 1)
