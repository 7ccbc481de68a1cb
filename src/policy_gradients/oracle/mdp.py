"""Exact values, distributions and objectives of a finite Markov decision process, by linear algebra.

`log_pi` is (states, actions) throughout, and everything can be differentiated with respect to it. Rows of the
transitions that sum to less than one end the episode. With `horizon` an episode is cut after so many steps, and the
functions of time return one row for each of them; without it, they are solved for ever. Actions may be ruled out
(log π = -inf). A `log_pi` of another shape or with NaN, and a horizon below 1, are a ValueError everywhere.
"""

from typing import Protocol

import torch
from torch import Tensor

from policy_gradients.estimators.log_probs import entropy, kl_divergence


class FiniteMDP(Protocol):
    """See `worlds.tabular.TabularMDP`, which is one."""

    @property
    def transitions(self) -> Tensor: ...  # (states, actions, states), rows sum to ≤ 1
    @property
    def rewards(self) -> Tensor: ...  # (states, actions), expected
    @property
    def start(self) -> Tensor: ...  # (states,)
    @property
    def gamma(self) -> float: ...
    @property
    def max_steps(self) -> int | None: ...
    @property
    def noise(self) -> str: ...  # "none", "bernoulli" or "gaussian"
    @property
    def reward_std(self) -> float: ...


def state_values(mdp: FiniteMDP, log_pi: Tensor, horizon: int | None = None) -> Tensor:
    """V(s) = E[Σ_k γ^k r_{t+k} | s_t = s]: (states,), or (horizon, states) where episodes are cut."""
    transition, reward = _under(mdp, log_pi)
    _check_horizon(horizon)
    if horizon is None:
        return _solve(mdp.gamma * transition, reward)
    values = [reward]
    for _ in range(horizon - 1):
        values.append(reward + mdp.gamma * transition @ values[-1])
    return torch.stack(values[::-1])


def action_values(mdp: FiniteMDP, log_pi: Tensor, horizon: int | None = None) -> Tensor:
    """Q(s, a) = r(s, a) + γ Σ_s' P(s'|s, a) V(s'): (states, actions), or (horizon, states, actions)."""
    values = state_values(mdp, log_pi, horizon)
    if horizon is not None:
        values = torch.cat([values[1:], torch.zeros_like(values[:1])])
    return mdp.rewards + mdp.gamma * torch.einsum("sat,...t->...sa", mdp.transitions, values)


def advantage_values(mdp: FiniteMDP, log_pi: Tensor, horizon: int | None = None) -> Tensor:
    """A(s, a) = Q(s, a) - V(s), shaped as `action_values`."""
    return action_values(mdp, log_pi, horizon) - state_values(mdp, log_pi, horizon).unsqueeze(-1)


def state_distribution(
    mdp: FiniteMDP, log_pi: Tensor, gamma: float | None = None, horizon: int | None = None
) -> Tensor:
    """d(s) = Σ_t γ^t Pr{s_t = s}, not normalised: (states,), or (horizon, states), its terms, where episodes are cut.

    This is the d of the policy-gradient theorem for γ = `mdp.gamma` (the default); γ = 1 counts the visits.
    """
    gamma = mdp.gamma if gamma is None else gamma
    transition, _ = _under(mdp, log_pi)
    _check_horizon(horizon)
    if horizon is None:
        return _solve(gamma * transition, mdp.start, transposed=True)
    visits = [mdp.start]
    for _ in range(horizon - 1):
        visits.append(gamma * visits[-1] @ transition)
    return torch.stack(visits)


def expected_return(mdp: FiniteMDP, log_pi: Tensor, horizon: int | None = None) -> Tensor:
    """J = E[Σ_t γ^t r_t] from the start, over `horizon` steps or until the end; scalar.

    Raises:
        ValueError: episodes that need never end, with γ = 1 and no horizon.
    """
    values = state_values(mdp, log_pi, horizon)
    return mdp.start @ (values if horizon is None else values[0])


def stationary_distribution(mdp: FiniteMDP, log_pi: Tensor) -> Tensor:
    """d = dᵀP_π of a chain that never ends and has one recurrent class, (states,).

    Raises:
        ValueError: rows of the transitions that do not sum to one.
    """
    transition = _endless(mdp, log_pi)
    identity, ones = torch.eye(len(transition), dtype=transition.dtype), torch.ones_like(transition)
    return torch.linalg.solve((identity - transition + ones).T, ones[0])


def average_reward(mdp: FiniteMDP, log_pi: Tensor) -> Tensor:
    """η = lim (1/n) E[Σ_{t<n} r_t] = Σ_s d(s) Σ_a π(a|s) r(s, a), scalar; not the discounted return.

    Raises:
        ValueError: as `stationary_distribution`.
    """
    return stationary_distribution(mdp, log_pi) @ _under(mdp, log_pi)[1]


def differential_values(mdp: FiniteMDP, log_pi: Tensor) -> Tensor:
    """h(s) = Σ_k (E[r_{t+k} | s_t = s] - η), the values of the average reward, with Σ_s d(s) h(s) = 0; (states,)."""
    transition, reward = _endless(mdp, log_pi), _under(mdp, log_pi)[1]
    stationary = stationary_distribution(mdp, log_pi)
    identity = torch.eye(len(transition), dtype=transition.dtype)
    fundamental = identity - transition + stationary.expand(len(transition), -1)
    return torch.linalg.solve(fundamental, reward - stationary @ reward)


def ends_within(mdp: FiniteMDP, steps: int | None) -> bool:
    """Whether every episode has ended by itself after so many steps, whatever the policy does."""
    if steps is None:
        return False
    follows = (mdp.transitions > 0).any(1)
    here = mdp.start > 0
    for _ in range(steps):
        here = follows[here].any(0)
        if not here.any():
            return True
    return False


def episode_entropy(mdp: FiniteMDP, log_pi: Tensor, horizon: int | None = None) -> Tensor:
    """Σ_t E[H(π(·|s_t))]: the entropy of a whole episode's choices, in nats; of a token tree, that of its texts."""
    return (_visits(mdp, log_pi, horizon) * entropy(log_pi)).sum()


def episode_kl(mdp: FiniteMDP, log_pi: Tensor, log_ref: Tensor, horizon: int | None = None) -> Tensor:
    """KL(π ‖ π_ref) of whole episodes in nats, by the chain rule Σ_t E_π[KL(π(·|s_t) ‖ π_ref(·|s_t))].

    The other way round, KL(π_ref ‖ π), is this with the two exchanged: then the states are those that π_ref visits.
    """
    visits = _visits(mdp, log_pi, horizon)
    # where π never comes it costs nothing to differ, be it infinitely
    log_ref = torch.where(visits.unsqueeze(-1) > 0, log_ref, log_pi.detach())
    return (visits * kl_divergence(log_pi, log_ref)).sum()


def _visits(mdp: FiniteMDP, log_pi: Tensor, horizon: int | None) -> Tensor:
    visits = state_distribution(mdp, log_pi, gamma=1.0, horizon=horizon)
    return visits if horizon is None else visits.sum(0)


def _under(mdp: FiniteMDP, log_pi: Tensor) -> tuple[Tensor, Tensor]:
    """P_π (states, states) and r_π (states,)."""
    if log_pi.shape != mdp.rewards.shape:
        raise ValueError(f"log_pi {tuple(log_pi.shape)} must be (states, actions), here {tuple(mdp.rewards.shape)}")
    if log_pi.isnan().any():
        raise ValueError(f"log_pi {tuple(log_pi.shape)} must not hold NaN")
    pi = log_pi.exp()
    return torch.einsum("sa,sat->st", pi, mdp.transitions), (pi * mdp.rewards).sum(-1)


def _check_horizon(horizon: int | None) -> None:
    if horizon is not None and horizon < 1:
        raise ValueError(f"horizon must be at least 1, got {horizon}")


def _solve(matrix: Tensor, vector: Tensor, transposed: bool = False) -> Tensor:
    """x = v + M x, or v + Mᵀ x, with M = γ P_π: a sum over all times, which is finite if every state can end."""
    ends = 1 - matrix.detach().sum(-1) > 1e-12
    for _ in range(len(matrix)):  # who can go where an episode can end can end, too
        ends = ends | ((matrix.detach() > 0) & ends).any(-1)
    if not ends.all():
        raise ValueError("episodes need never end: take γ < 1, a horizon, or the average reward")
    matrix = matrix.T if transposed else matrix
    return torch.linalg.solve(torch.eye(len(matrix), dtype=matrix.dtype) - matrix, vector)


def _endless(mdp: FiniteMDP, log_pi: Tensor) -> Tensor:
    if ((mdp.transitions.sum(-1) - 1).abs() > 1e-9).any():
        raise ValueError("the average reward needs a chain that never ends: rows of the transitions must sum to one")
    return _under(mdp, log_pi)[0]
