"""From values to the policy in one step: the best policy that they allow, and the distance to it."""

import torch
from torch import Tensor

from policy_gradients.estimators.checks import (
    check_finite,
    check_number,
    check_same_shape,
    floating,
    log_chances,
    log_distribution,
    wide,
)
from policy_gradients.estimators.log_probs import kl_divergence


def soft_target(log_ref: Tensor, action_values: Tensor, temperature: float) -> Tensor:
    """log q of q(a) ∝ π_ref(a) exp(Q(a)/η): of all policies the one with the highest Σ_a q(a) Q(a) - η KL(q ‖ π_ref).

    Peters, Mülling & Altun 2010 (REPS), its weights; Abdolmaleki et al. 2018 (MPO, arXiv:1806.06920), its E-step, with
    the frozen reference in the place of the last policy.

    The best for one choice and given Q, no more. Where Q leaves out what later choices will cost in divergence, doing
    this at every step is not the optimum of reward minus divergence over the whole episode.

    Args:
        log_ref: (…, actions).
        action_values: Q, the same shape; what stands where π_ref rules an action out (-inf) does not count.
        temperature: η, in units of Q per nat.

    Returns:
        (…, actions), normalised.

    Raises:
        ValueError: shapes that differ, no dimension of actions, a temperature that is not above 0, no action that is
            not ruled out, or a Q that is empty, or not finite where the action is not.
    """
    log_ref, action_values = log_chances("log_ref", log_ref, 1), floating("action_values", action_values)
    if log_ref.shape != action_values.shape:
        raise ValueError(f"log_ref {tuple(log_ref.shape)} and action_values {tuple(action_values.shape)} differ")
    check_number("temperature", temperature)
    if not temperature > 0:
        raise ValueError(f"the temperature must be above 0, got {temperature}")
    ruled_out = log_ref.isneginf()
    if ruled_out.all(-1).any():
        raise ValueError(f"log_ref {tuple(log_ref.shape)}: every action is ruled out (-inf) in some state")
    action_values = action_values.masked_fill(ruled_out, 0.0)
    check_finite("action_values", action_values)
    # less the best action's Q, which cancels: where Q/η is large, log π_ref would be lost beside it
    best = action_values.masked_fill(ruled_out, -torch.inf).amax(-1, keepdim=True)
    behind = (wide(action_values) - best).masked_fill(ruled_out, 0.0)
    scaled = torch.where(behind < 0, behind / temperature, 0.0)  # an η of next to 0 makes 0/0 of the best action
    dtype = torch.promote_types(log_ref.dtype, action_values.dtype)
    return torch.log_softmax(wide(log_ref) + scaled, dim=-1).to(dtype)


def projection_divergence(log_pi: Tensor, log_target: Tensor) -> Tensor:
    """KL(q ‖ π) = Σ_a q(a) (log q(a) - log π(a)), (…,): zero where the policy is the target.

    Its gradient by the logits is π - q, large also where π is all but zero. That of the policy gradient is
    π (Q - V) there, next to nothing: what a policy no longer tries, it does not find again, and ends with one answer.

    Args:
        log_pi: (…, actions), with gradient.
        log_target: (…, actions), fixed; -inf for actions that it rules out, which then count nothing. Where π alone
            rules one out it is +inf.

    Raises:
        ValueError: shapes that differ, no dimension of actions.
    """
    log_pi, log_target = log_distribution("log_pi", log_pi), log_distribution("log_target", log_target).detach()
    check_same_shape("log_target", log_target, "log_pi", log_pi)
    return kl_divergence(log_target, log_pi)
