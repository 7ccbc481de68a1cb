"""Step 3, in time: from the rewards of an episode to what each of its actions is credited with.

All functions work along the last dimension, time; in front there may be any others. Padding stands at the end, unless
`gaps` is set; what stands on it does not count, NaN included. Whole numbers and truth values count as floats.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from policy_gradients.estimators.checks import (
    check_finite,
    check_finite_number,
    check_mask,
    check_same_shape,
    check_tensor,
    check_unit_interval,
    check_whole,
    finite,
    floating,
    full_mask,
    half_in_float32,
    on_steps,
)


@half_in_float32
def reverse_cumsum(values: Tensor, discount: float | Tensor = 1.0) -> Tensor:
    """y_t = x_t + discount_t · y_{t+1} along the last dimension, shape kept; one discount: Σ_{k≥t} discount^{k-t} x_k.

    Args:
        values: (..., time).
        discount: a number, or (..., time).

    Raises:
        ValueError: values without a dimension or without time; discounts of another shape, or one that is not finite.
    """
    values = floating("values", values, 1)
    if values.shape[-1] == 0:
        raise ValueError(f"values must not be empty, got shape {tuple(values.shape)}")
    if isinstance(discount, Tensor) and discount.dim():
        check_same_shape("discount", discount, "values", values)
        check_finite("discount", discount)
        each = discount.flip(-1).unbind(-1)
    else:
        check_finite_number("discount", discount)
        each = (discount,) * values.shape[-1]
        if discount == 1:
            return values.flip(-1).cumsum(-1).flip(-1)
    sums, running = [], torch.zeros_like(values[..., 0])
    for value, share in zip(values.flip(-1).unbind(-1), each, strict=True):
        running = value + share * running
        sums.append(running)
    return torch.stack(sums, dim=-1).flip(-1)


def discounts(time: int, gamma: float) -> Tensor:
    """γ^t for t = 0 … time - 1, float64: the weight of step t in the gradient of the *discounted* return.

    ∇J = E[Σ_t γ^t ∇log π(a_t|s_t) G_t] (Sutton et al. 2000, Theorem 1: its state distribution holds the γ^t). Without
    the weight, the direction is the gradient of no function (Nota & Thomas 2020, arXiv:1906.07073).

    Raises:
        ValueError: γ outside [0, 1], time that is negative or not whole.
    """
    check_unit_interval("gamma", gamma)
    check_whole("time", time, 0)
    return gamma ** torch.arange(time, dtype=torch.float64)


@half_in_float32
def discounted_returns(
    rewards: Tensor,
    gamma: float | Tensor = 1.0,
    mask: Tensor | None = None,
    bootstrap: Tensor | None = None,
    dones: Tensor | None = None,
    gaps: bool = False,
) -> Tensor:
    """G_t = Σ_{k≥t} γ^{k-t} r_k: the reward-to-go of each step (Williams 1992; Sutton et al. 2000).

    A reward that comes once, at the end, is credited to *every* step before it.

    Typical mistakes: summing from the start (Σ_{k≤t}); γ^k instead of γ^{k-t}; crediting only the step that was
    rewarded; letting rewards on padding count.

    Args:
        rewards: (..., time), finite on steps.
        gamma: in [0, 1]; or (..., time), γ_t between the step at t and the one after it.
        mask: (..., time), 1 on steps; all ones if not given.
        bootstrap: (...), value of the state after the last step where an episode was cut; zero if not given.
        dones: (..., time), 1 on steps that ended an episode, where a row holds several one after the other: nothing
            that comes later is credited to them, the bootstrap included.
        gaps: True lets the mask have zeros anywhere (tokens that a tool wrote, padding in front): the steps around a
            gap follow each other, without a discount for what lies between.

    Returns:
        (..., time), zero on padding.

    Raises:
        ValueError: shapes that do not match, empty rewards, rewards or bootstrap that are not finite, an episode
            without steps, γ outside [0, 1], a mask or dones of other numbers than 0 and 1, a gap without `gaps`.
    """
    if gaps:
        return _over_gaps(discounted_returns, mask, (rewards,), gamma, bootstrap, dones)
    rewards, gamma, mask, bootstrap = _checked(rewards, gamma, mask, bootstrap, dones)
    if bootstrap is not None:
        rewards = rewards + gamma * bootstrap.unsqueeze(-1) * _is_last(mask)
    return reverse_cumsum(rewards * mask, gamma) * mask


@half_in_float32
def td_errors(
    rewards: Tensor,
    values: Tensor,
    gamma: float | Tensor = 1.0,
    mask: Tensor | None = None,
    bootstrap: Tensor | None = None,
    dones: Tensor | None = None,
    gaps: bool = False,
) -> Tensor:
    """δ_t = r_t + γ V(s_{t+1}) - V(s_t), with V = 0 after the end (or `bootstrap` where an episode was cut).

    Typical mistakes: V(s_{t+1}) read from padding instead of zero; γ forgotten before V(s_{t+1}).

    Args:
        rewards, values: (..., time); values are V(s_t).
        gamma, mask, bootstrap, dones, gaps: as in `discounted_returns`.

    Returns:
        (..., time), zero on padding.

    Raises:
        ValueError: as `discounted_returns`; values of another shape, or not finite on a step.
    """
    if gaps:
        return _over_gaps(td_errors, mask, (rewards, values), gamma, bootstrap, dones)
    rewards, gamma, mask, bootstrap = _checked(rewards, gamma, mask, bootstrap, dones)
    check_same_shape("values", values, "rewards", rewards)
    values = on_steps("values", floating("values", values), mask)
    after = torch.cat([values[..., 1:], torch.zeros_like(values[..., :1])], dim=-1)
    last = _is_last(mask)
    after = torch.where(last > 0, 0.0 if bootstrap is None else bootstrap.unsqueeze(-1), after)
    return (rewards + gamma * after - values) * mask


@half_in_float32
def generalized_advantages(
    rewards: Tensor,
    values: Tensor,
    gamma: float | Tensor = 1.0,
    lam: float = 0.95,
    mask: Tensor | None = None,
    bootstrap: Tensor | None = None,
    dones: Tensor | None = None,
    gaps: bool = False,
) -> Tensor:
    """GAE(γ, λ): Â_t = Σ_{l≥0} (γλ)^l δ_{t+l} (Schulman et al. 2015, arXiv:1506.02438, eq. 16).

    λ = 1 is Monte Carlo, G_t - V(s_t): unbiased whatever V is. λ = 0 is the one-step error δ_t: unbiased for the right
    V alone, with less variance. With the right V every λ is unbiased.

    Typical mistakes: decay by λ or by γ alone; the sum carried across the end of an episode; V added back (that gives
    the λ-return, not the advantage).

    Args:
        rewards, values: (..., time).
        lam: λ, in [0, 1].
        gamma, mask, bootstrap, dones, gaps: as in `discounted_returns`.

    Returns:
        Advantages, (..., time), no gradient, zero on padding.

    Raises:
        ValueError: as `td_errors`; λ outside [0, 1].
    """
    check_unit_interval("lam", lam)
    if gaps:
        return _over_gaps(generalized_advantages, mask, (rewards, values), gamma, bootstrap, dones, lam=lam)
    errors = td_errors(rewards, values, gamma, mask, bootstrap, dones).detach()
    _, gamma, _, _ = _checked(rewards, gamma, mask, None, dones)
    return reverse_cumsum(errors, gamma * lam).detach()


@half_in_float32
def lambda_returns(
    rewards: Tensor,
    values: Tensor,
    gamma: float | Tensor = 1.0,
    lam: float = 0.95,
    mask: Tensor | None = None,
    bootstrap: Tensor | None = None,
    dones: Tensor | None = None,
    gaps: bool = False,
) -> Tensor:
    """G^λ_t = r_t + γ ((1 - λ) V(s_{t+1}) + λ G^λ_{t+1}): TD(λ)'s target for a critic (Sutton & Barto 2018, §12.1).

    It is V(s_t) plus the advantage of `generalized_advantages`. λ = 1 is the Monte-Carlo return, λ = 0 the TD target.

    Args:
        rewards, values: (..., time).
        lam: λ, in [0, 1].
        gamma, mask, bootstrap, dones, gaps: as in `discounted_returns`.

    Returns:
        (..., time), no gradient, zero on padding.

    Raises:
        ValueError: as `generalized_advantages`.
    """
    advantages = generalized_advantages(rewards, values, gamma, lam, mask, bootstrap, dones, gaps)
    values = floating("values", values).detach()
    return advantages + (values if mask is None else torch.where(mask > 0, values, 0.0))


@half_in_float32
def n_step_returns(
    rewards: Tensor,
    values: Tensor,
    n: int,
    gamma: float = 1.0,
    mask: Tensor | None = None,
    bootstrap: Tensor | None = None,
) -> Tensor:
    """Σ_{l<n} γ^l r_{t+l} + γ^n V(s_{t+n}), V = 0 after the end (Sutton & Barto 2018, eq. 7.1).

    Written as V(s_t) plus n discounted TD errors, which telescope to it. n = 1 is the TD target; from n = the length of
    the episode on it is the Monte-Carlo return.

    Raises:
        ValueError: as `td_errors`; n < 1 or no whole number, more than one γ.
    """
    check_whole("n", n, 1)
    check_unit_interval("gamma", gamma)
    errors = td_errors(rewards, values, gamma, mask, bootstrap).detach()
    mask = full_mask(mask, "rewards", errors)
    total, time = torch.where(mask > 0, floating("values", values).detach(), 0.0), rewards.shape[-1]
    for step in range(min(int(n), time)):
        total = total + gamma**step * torch.nn.functional.pad(errors[..., step:], (0, step))
    return total * mask


def _is_last(mask: Tensor) -> Tensor:
    """1 on the last step of each episode."""
    return mask - torch.nn.functional.pad(mask[..., 1:], (0, 1))


def _checked(
    rewards: Tensor, gamma: float | Tensor, mask: Tensor | None, bootstrap: Tensor | None, dones: Tensor | None
) -> tuple[Tensor, float | Tensor, Tensor, Tensor | None]:
    """Rewards with zeros on padding, the discounts with zeros where an episode ended, the mask, the bootstrap."""
    rewards = floating("rewards", rewards, 1)
    if isinstance(gamma, Tensor) and gamma.dim():
        check_same_shape("gamma", gamma, "rewards", rewards)
        gamma = gamma.to(rewards.dtype)
    else:
        check_unit_interval("gamma", gamma)
    if bootstrap is not None:
        bootstrap = finite("bootstrap", bootstrap)
        if bootstrap.shape != rewards.shape[:-1]:
            raise ValueError(
                f"bootstrap {tuple(bootstrap.shape)} must hold one value an episode of rewards {tuple(rewards.shape)}"
            )
    mask = full_mask(mask, "rewards", rewards)
    rewards = on_steps("rewards", rewards, mask)
    if isinstance(gamma, Tensor) and gamma.dim():
        gamma = torch.where(mask > 0, gamma, 0.0)
        if not ((gamma >= 0) & (gamma <= 1)).all():
            raise ValueError(f"gamma {tuple(gamma.shape)} must lie in [0, 1] on every step")
    if dones is not None:
        check_same_shape("dones", dones, "rewards", rewards)
        if not ((dones == 0) | (dones == 1) | (mask == 0)).all():
            raise ValueError(f"dones {tuple(dones.shape)} must hold zeros and ones alone")
        gamma = torch.where(dones == 1, 0.0, gamma * torch.ones_like(rewards))
    return rewards, gamma, mask, bootstrap


def _over_gaps(
    function: Callable[..., Tensor],
    mask: Tensor | None,
    columns: tuple[Tensor, ...],
    gamma: float | Tensor,
    bootstrap: Tensor | None,
    dones: Tensor | None,
    **rest: float,
) -> Tensor:
    """`function` of the steps moved together, each result then put back to where its step was."""
    check_tensor("rewards", columns[0], 1)
    if mask is None:
        return function(*columns, gamma=gamma, bootstrap=bootstrap, dones=dones, **rest)
    mask = check_mask(mask, "rewards", columns[0])
    order = torch.argsort((mask == 0).long(), dim=-1, stable=True)

    def together(name: str, x: Tensor | float | None) -> Tensor | float | None:
        if not isinstance(x, Tensor) or not x.dim():
            return x
        check_same_shape(name, x, "rewards", columns[0])
        return x.gather(-1, order)

    moved = function(
        *(together(name, x) for name, x in zip(("rewards", "values"), columns, strict=False)),
        gamma=together("gamma", gamma),
        mask=mask.gather(-1, order),
        bootstrap=bootstrap,
        dones=together("dones", dones),
        **rest,
    )
    return torch.zeros_like(moved).scatter(-1, order, moved)
