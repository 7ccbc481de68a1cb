"""The weights of the entropy bonus and of the divergence from the reference."""

from typing import Literal, get_args

import torch
from torch import Tensor

from policy_gradients.estimators.checks import (
    check_finite_number,
    check_mask,
    check_not_negative,
    check_number,
    check_positive,
    check_tensor,
    check_whole,
    finite,
    floating,
    half_in_float32,
    on_steps,
    wide,
)
from policy_gradients.estimators.returns import reverse_cumsum

EntropySchedule = Literal["constant", "inverse_variance", "variance", "target"]


def entropy_weight(
    base: float, rewards: Tensor, schedule: EntropySchedule = "constant", cap: float = 10.0, epsilon: float = 1e-8
) -> float:
    """Weight of the entropy bonus for one batch of rewards, shape (prompts, G).

    "Scale the bonus by the reward variance" has been written both ways, and here are both: ``inverse_variance`` is
    base / Var and ``variance`` is base · Var, with Var the within-group variance averaged over prompts. For 0/1 rewards
    Var = p(1 - p) is small where nothing passes *and* where everything does, so the inverse is largest in both, and
    unbounded: the weight is capped at cap · base.

    Raises:
        ValueError: unknown schedule, negative base, cap or epsilon not positive, rewards that are not finite or not
            (prompts, G ≥ 2), where the schedule asks for them.
    """
    if schedule not in (known := get_args(EntropySchedule)):
        raise ValueError(f"schedule must be one of {', '.join(map(repr, known))}, got {schedule!r}")
    check_not_negative("base", base)
    check_positive("cap", cap)
    check_positive("epsilon", epsilon)
    if schedule in ("constant", "target") or base == 0:
        return base  # with ``target`` it is where `target_entropy_weight` starts
    check_tensor("rewards", rewards)
    if rewards.ndim != 2 or rewards.shape[1] < 2:
        raise ValueError(f"rewards must have shape (prompts, G ≥ 2), got {tuple(rewards.shape)}")
    variance = torch.var(wide(finite("rewards", rewards)), dim=1).mean().item()
    if schedule == "inverse_variance":
        return min(base / (variance + epsilon), cap * base)
    return min(base * variance, cap * base)


def target_entropy_weight(weight: float, entropy: float, target: float, rate: float, cap: float) -> float:
    """The weight of the entropy bonus for the next batch: more while the entropy is below its target, less above it.

    weight ← clip(weight + rate · (target - entropy), 0, cap): dual ascent on the constraint entropy ≥ target, as for
    the temperature of soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905, §5). Skywork-OR1 (arXiv:2505.22312)
    steps by a constant instead, and applies the bonus only below the target.

    Args:
        weight: of this batch, not negative.
        entropy, target: in nats a token.
        rate: how much the weight moves for one nat of difference.
        cap: the weight's largest value.

    Raises:
        ValueError: a negative weight, target, rate or cap; one that is not finite, but for the cap.
    """
    for name, value in (("weight", weight), ("target", target), ("rate", rate)):
        check_not_negative(name, value)
    check_finite_number("entropy", entropy)
    check_number("cap", cap)
    if not cap >= 0:
        raise ValueError(f"cap must not be negative, got {cap}")
    return min(max(weight + rate * (target - entropy), 0.0), cap)


@half_in_float32
def divergence_to_go(kl: Tensor, mask: Tensor) -> Tensor:
    """Σ_{k>t} KL_k: the divergence a completion still meets *after* its token at t, (completions, time), no gradient.

    The divergence of whole completions is E[Σ_t KL_t(s_t)], and its gradient has two parts (product rule):
    E[Σ_t ∇KL_t(s_t)], and E[Σ_t ∇log π(a_t|s_t) Σ_{k>t} KL_k(s_k)], for the states that an action leads to. The first
    is the gradient of the exact KL put into the loss; the second is a policy gradient with this function as its cost.

    Raises:
        ValueError: shapes that differ, a mask of other numbers than 0 and 1, a divergence not finite on a token.
    """
    kl = floating("kl", kl, 1)
    kl = on_steps("kl", kl, check_mask(mask, "kl", kl)).detach()
    later = torch.nn.functional.pad(kl[..., 1:], (0, 1))  # not Σ_{k≥t} KL_k - KL_t: a large KL_t would drown the rest
    return reverse_cumsum(later)


@half_in_float32
def group_relative(cost: Tensor, num_generations: int) -> Tensor:
    """Cost minus the mean of the *other* completions of its group at the same time, (completions, time).

    They are zero where they have ended. Where G is 1 there are no others, and nothing is subtracted.

    Raises:
        ValueError: completions that do not divide into groups, a cost without time.
    """
    cost = floating("cost", cost, 2)
    check_whole("num_generations", num_generations, 1)
    if len(cost) % num_generations:
        raise ValueError(f"cost {tuple(cost.shape)} does not divide into groups of {num_generations}")
    if num_generations == 1:
        return cost
    groups = cost.unflatten(0, (-1, num_generations))
    others = (groups.sum(dim=1, keepdim=True) - groups) / (num_generations - 1)
    return (groups - others).flatten(0, 1)
