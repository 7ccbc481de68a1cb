"""All outcomes of a small world with their probabilities: expectations and covariances without sampling."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from policy_gradients.estimators.trajectories import Trajectories
from policy_gradients.oracle.gradients import PolicyTable, score_table
from policy_gradients.oracle.mdp import FiniteMDP

# A batch of trajectories, (..., episodes, time), with scores → a gradient, (..., size)
Estimator = Callable[[Trajectories], Tensor]


@dataclass(frozen=True)
class Outcomes:
    """Every possible episode once.

    Attributes:
        episodes: trajectories (outcomes, time) with scores.
        probabilities: (outcomes,), summing to one.
    """

    episodes: Trajectories
    probabilities: Tensor

    def __len__(self) -> int:
        return len(self.probabilities)


@dataclass(frozen=True)
class Moments:
    """Exact mean (size,) and covariance (size, size) of an estimator over all outcomes."""

    mean: Tensor
    covariance: Tensor

    @property
    def variance(self) -> float:
        """The trace of the covariance: the expected squared distance from the mean."""
        return self.covariance.trace().item()

    def bias(self, exact: Tensor) -> float:
        """The distance of the mean from the exact gradient, ‖E[ĝ] - g‖."""
        return (self.mean - exact).norm().item()

    def stretch(self, exact: Tensor) -> float:
        """‖E[ĝ]‖ / ‖g‖: the part of a bias that a learning rate absorbs."""
        return (self.mean.norm() / exact.norm()).item()

    def angle(self, exact: Tensor) -> float:
        """Between E[ĝ] and g, in degrees: the part of a bias that no learning rate absorbs."""
        cosine = self.mean @ exact / (self.mean.norm() * exact.norm())
        return math.degrees(math.acos(cosine.clamp(-1, 1).item()))

    @property
    def noise(self) -> float:
        """Variance relative to the estimate's own length, E‖ĝ - E[ĝ]‖² / ‖E[ĝ]‖²: no scale can make it look better."""
        return self.variance / self.mean.norm().item() ** 2


def enumerate_outcomes(
    mdp: FiniteMDP,
    policy: PolicyTable,
    theta: Tensor,
    horizon: int | None = None,
    with_noise: bool = True,
    most: int = 200_000,
) -> Outcomes:
    """All episodes of at most `horizon` steps that have positive probability, with their scores.

    Bernoulli rewards branch into 0 and 1. Gaussian ones branch into the 3 Gauss–Hermite nodes, which gives exact means
    of polynomials up to degree 5 in each reward: so exact means and covariances of every estimator that is linear in
    the rewards, or divides by nothing that depends on them.

    Args:
        horizon: `mdp.max_steps` if not given; one of the two is needed.
        with_noise: False leaves the expected rewards in place of random ones.

    Raises:
        ValueError: no horizon or one below 1, more than `most` outcomes.
    """
    horizon = mdp.max_steps if horizon is None else horizon
    if horizon is None:
        raise ValueError("enumeration needs a horizon: give one, or a world with max_steps")
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1, got {horizon}")
    values, chances = _reward_branches(mdp, with_noise)
    joint = _what_can_follow(mdp, policy, theta, chances)
    alive = mdp.start.nonzero().flatten()
    probability, state = mdp.start[alive], alive
    past = [torch.zeros(len(alive), 0, dtype=torch.long) for _ in range(3)]  # states, actions, reward branches
    done: list[tuple[Tensor, list[Tensor]]] = []
    for time in range(horizon):
        if not len(state):
            break
        follow = joint[state]
        parent, action, branch, after = follow.nonzero(as_tuple=True)
        probability = probability[parent] * follow[parent, action, branch, after]
        past = [
            torch.cat([old[parent], new.unsqueeze(1)], dim=1)
            for old, new in zip(past, (state[parent], action, branch), strict=True)
        ]
        if len(parent) + sum(len(p) for p, _ in done) > most:
            raise ValueError(f"more than {most} outcomes: take a smaller world or a shorter horizon than {horizon}")
        over = (after == len(joint)) | (time == horizon - 1)
        done.append((probability[over], [part[over] for part in past]))
        probability, state, past = probability[~over], after[~over], [part[~over] for part in past]

    return _padded(done, values, score_table(policy, theta))


def _what_can_follow(mdp: FiniteMDP, policy: PolicyTable, theta: Tensor, chances: Tensor) -> Tensor:
    """P(action, reward branch, next state | state); one column more than states: the end of the episode."""
    with torch.no_grad():
        pi = policy(theta.double()).exp()
    ending = (1 - mdp.transitions.sum(-1, keepdim=True)).clamp(min=0)
    ending = torch.where(ending < 1e-12, 0.0, ending)
    return torch.einsum("sa,sak,sat->sakt", pi, chances, torch.cat([mdp.transitions, ending], dim=-1))


def _padded(done: list[tuple[Tensor, list[Tensor]]], values: Tensor, scores: Tensor) -> Outcomes:
    """Episodes of all lengths in one batch: of each, its probability, and its states, actions and reward branches."""
    length = max(parts[0].shape[1] for _, parts in done)
    pad = [[torch.nn.functional.pad(p, (0, length - p.shape[1])) for p in parts] for _, parts in done]
    states, actions, picks = (torch.cat(column) for column in zip(*pad, strict=True))
    mask = torch.cat([(torch.arange(length) < parts[0].shape[1]).double().expand(len(p), -1) for p, parts in done])
    episodes = Trajectories(states, actions, values[states, actions, picks] * mask, mask)
    return Outcomes(episodes.with_scores(scores[states, actions]), torch.cat([p for p, _ in done]))


def exact_moments(estimator: Estimator, outcomes: Outcomes, group_size: int = 1, most: int = 2_000_000) -> Moments:
    """Exact mean and covariance of an estimator over all ordered groups of `group_size` independent episodes.

    Args:
        estimator: maps trajectories (groups, group_size, time) with scores to gradients (groups, size).
        outcomes: N of them; N^group_size groups are visited.

    Raises:
        ValueError: group_size < 1, more than `most` groups, an estimator that returns another shape.
    """
    if group_size < 1:
        raise ValueError(f"group_size must be at least 1, got {group_size}")
    return joint_moments(estimator, [outcomes] * group_size, most)


def joint_moments(estimator: Estimator, places: Sequence[Outcomes], most: int = 2_000_000) -> Moments:
    """The same for a batch whose episodes come from different worlds, such as one completion of each of n prompts.

    Args:
        estimator: maps trajectories (batches, places, time) with scores to gradients (batches, size).
        places: the outcomes of each place of the batch, independent of the others, all of one θ; the product of their
            numbers is how many batches are visited. Those of shorter worlds are padded.

    Raises:
        ValueError: no places, scores of different sizes, more than `most` batches, an estimator that returns another
            shape.
    """
    if not places:
        raise ValueError("joint_moments needs the outcomes of at least one place")
    if (batches := math.prod(map(len, places))) > most:
        counts = " × ".join(str(len(outcomes)) for outcomes in places)
        raise ValueError(f"{counts} outcomes are {batches} groups, more than {most}")
    worlds = list({id(outcomes): outcomes for outcomes in places}.values())
    episodes = _concatenated([outcomes.episodes for outcomes in worlds])
    probabilities = torch.cat([outcomes.probabilities for outcomes in worlds])
    first = dict(zip(map(id, worlds), _starts(map(len, worlds)), strict=True))
    assert episodes.scores is not None
    size = episodes.scores.shape[-1]
    chunk = max(1, int(4e6) // (len(places) * math.prod(episodes.scores.shape[1:])))
    mean, second = torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64)
    for start in range(0, batches, chunk):
        rest, digits = torch.arange(start, min(start + chunk, batches)), []
        for (
            outcomes
        ) in places:  # the digits of the batch's number, each place with a base of its own, name its episodes
            digits.append(first[id(outcomes)] + rest % len(outcomes))
            rest = rest // len(outcomes)
        index = torch.stack(digits, dim=-1)
        weight = probabilities[index].prod(-1)
        estimate = estimator(episodes[index])
        if estimate.shape != (len(index), size):
            raise ValueError(
                f"the estimator returned {tuple(estimate.shape)} for trajectories {tuple(index.shape)} + (time,): "
                f"it must keep the leading dimension and return (groups, {size})"
            )
        mean += weight @ estimate
        second += torch.einsum("n,np,nq->pq", weight, estimate, estimate)
    return Moments(mean, second - torch.outer(mean, mean))


def reward_moments(advantages: Callable[[Tensor], Tensor], places: Sequence[Outcomes], most: int = 2**18) -> Moments:
    """`joint_moments` of ĝ = (1/n) Σ_i A_i ψ_i where all returns are 0 or 1 and the A_i follow from them alone.

    Given the returns, the scores ψ_i of the places are independent: so only the 2^n patterns of returns are visited,
    whatever the number of answers, and the mean and covariance of ψ_i given its own return do the rest.

    Args:
        advantages: maps returns (batches, n) of 0 and 1 to advantages of that shape.
        places: the outcomes of each of the n places, independent of the others, all of one θ.

    Raises:
        ValueError: no places, scores of different sizes, a return other than 0 and 1, more than `most` patterns,
            advantages of another shape.
    """
    if not places:
        raise ValueError("reward_moments needs the outcomes of at least one place")
    if 2 ** len(places) > most:
        raise ValueError(f"{len(places)} places have {2 ** len(places)} patterns of returns, more than {most}")
    worlds = {id(outcomes): _by_return(outcomes) for outcomes in places}
    if len({mean.shape[1] for _, mean, _ in worlds.values()}) != 1:
        raise ValueError("the outcomes need scores, all with respect to one θ")
    chance, mean, within = (
        torch.stack(column) for column in zip(*(worlds[id(outcomes)] for outcomes in places), strict=True)
    )  # (n, 2), (n, 2, size), (n, 2, size, size)
    n = len(places)
    returns = (torch.arange(2**n).unsqueeze(1) >> torch.arange(n)) & 1
    given = advantages(returns.double())
    if given.shape != returns.shape:
        raise ValueError(f"the advantages {tuple(given.shape)} must have the shape of the returns, ({2**n}, {n})")
    weight = torch.where(returns == 1, chance[:, 1], chance[:, 0]).prod(1)
    split = torch.stack([given * (1 - returns), given * returns], dim=-1) / n  # (2^n, n, 2): by own return
    middle = torch.einsum("bnr,nrp->bp", split, mean)
    centre = weight @ middle
    covariance = torch.einsum("b,bp,bq->pq", weight, middle, middle) - torch.outer(centre, centre)
    covariance += torch.einsum("nr,nrpq->pq", torch.einsum("b,bnr->nr", weight, split.square()), within)
    return Moments(centre, covariance)


def _by_return(outcomes: Outcomes) -> tuple[Tensor, Tensor, Tensor]:
    """Of a return of 0 and of 1: its chance, (2,), and the score's mean (2, size) and covariance (2, size, size)."""
    returns, probabilities = outcomes.episodes.returns, outcomes.probabilities
    if not ((returns == 0) | (returns == 1)).all():
        raise ValueError("reward_moments takes returns of 0 and 1 alone")
    assert outcomes.episodes.scores is not None
    scores = outcomes.episodes.scores.sum(1)
    parts = []
    for value in (0, 1):
        own = torch.where(returns == value, probabilities, 0.0)
        chance = own.sum()
        share = own / chance.clamp(min=1e-300)
        mean = share @ scores
        parts.append((chance, mean, torch.einsum("n,np,nq->pq", share, scores, scores) - torch.outer(mean, mean)))
    chance, mean, covariance = (torch.stack(column) for column in zip(*parts, strict=True))
    return chance, mean, covariance


def gauss_hermite(nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights with Σ w f(x) = E[f(z)], z standard normal, exact for polynomials of degree 2·nodes - 1.

    They are the eigenvalues of the Hermite polynomials' recurrence matrix (Golub & Welsch 1969).

    Raises:
        ValueError: nodes < 1.
    """
    if nodes < 1:
        raise ValueError(f"nodes must be at least 1, got {nodes}")
    off = torch.arange(1, nodes, dtype=torch.float64).sqrt()
    points, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return points, vectors[0].square()


def _reward_branches(mdp: FiniteMDP, with_noise: bool) -> tuple[Tensor, Tensor]:
    """Possible rewards and their probabilities, each (states, actions, branches)."""
    mean = mdp.rewards.unsqueeze(-1)
    if with_noise and mdp.noise == "bernoulli":
        return torch.cat([torch.zeros_like(mean), torch.ones_like(mean)], -1), torch.cat([1 - mean, mean], -1)
    if with_noise and mdp.noise == "gaussian":
        points, weights = gauss_hermite(3)
        return mean + mdp.reward_std * points, weights.expand(*mdp.rewards.shape, -1)
    return mean, torch.ones_like(mean)


def _starts(lengths: Iterable[int]) -> list[int]:
    """Where each of several lists begins when they are put end to end."""
    return [0, *itertools.accumulate(lengths)][:-1]


def _concatenated(parts: Sequence[Trajectories]) -> Trajectories:
    """Episodes of several worlds in one, padded to the longest."""
    time = max(part.mask.shape[-1] for part in parts)
    if len({part.scores.shape[-1] for part in parts if part.scores is not None}) != 1:
        raise ValueError("the outcomes need scores, all with respect to one θ")

    def joined(name: str) -> Tensor:
        columns = [getattr(part, name) for part in parts]
        short = [time - column.shape[1] for column in columns]
        # the last pair pads the second dimension, time; scores have one more behind it
        padded = [
            torch.nn.functional.pad(c, (*[0, 0] * (c.dim() - 2), 0, n)) for c, n in zip(columns, short, strict=True)
        ]
        return torch.cat(padded)

    return Trajectories(*(joined(name) for name in ("observations", "actions", "rewards", "mask", "scores")))
