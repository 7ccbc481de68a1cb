"""The loss of one micro-batch, put together from the estimators: each choice of the config is one line here."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from policy_gradients.estimators.advantages import group_advantages
from policy_gradients.estimators.divergences import divergence_parts, importance_weighted, kl_estimate
from policy_gradients.estimators.losses import clipped_loss, policy_gradient_loss, sequence_old_log_probs
from policy_gradients.estimators.regularizers import group_relative
from policy_gradients.estimators.returns import reverse_cumsum
from policy_gradients.language.scoring import TokenScores
from policy_gradients.training.config import TrainConfig
from policy_gradients.training.value_head import advantages_and_returns

if TYPE_CHECKING:
    from policy_gradients.training.loop import Batch


@dataclass
class TokenLosses:
    """Each (completions, time), or one advantage a completion.

    Attributes:
        loss: to be weighted (`token_weights`) and summed.
        advantages, old_log_probs, kl: what it was made from.
        returns: the critic's targets; None without a critic.
    """

    loss: Tensor
    advantages: Tensor
    old_log_probs: Tensor
    kl: Tensor
    returns: Tensor | None = None


def batch_advantages(groups: Tensor, config: TrainConfig) -> Tensor:
    """Advantages of the whole batch from its rewards, (prompts, G); with a critic they come later, token by token.

    With credit by state there are none: the expected value of each step is differentiated itself.
    """
    if config.critic != "none":
        return groups
    if config.credit == "state":
        return torch.zeros_like(groups)
    return group_advantages(groups, config.baseline, config.scale)


def loss_per_token(
    scores: TokenScores, old: TokenScores, mask: Tensor, piece: "Batch", config: TrainConfig
) -> TokenLosses:
    """The loss of each token; with the default settings its sum has the gradient of -(E[R] - β KL + c H).

    The divergence enters as its gradient does (`divergence_parts`): exactly at each step, and, for the choices that
    lead into costly states, as a cost beside the reward, with a baseline of its own. Or not at all, where the policy is
    drawn to the best one that the values and the divergence allow (`soft_target`).

    Args:
        scores: of the policy as it is, with gradient.
        old: of the policy that sampled; at the first update of a batch these are `scores` themselves.
        mask: (completions, time).
        piece: the part of the batch that the scores belong to.
    """
    kl = token_kl(scores, old, config)
    cost, kl_term = divergence_parts(kl, mask, config.kl_place, exact=config.kl_estimator == "exact")
    cost, returns = piece.kl_weight * cost, None
    if config.critic == "none":
        charged = group_relative(reverse_cumsum(cost), config.num_generations)
        advantages = piece.advantages.flatten().unsqueeze(1) - charged
    else:
        advantages, returns = advantages_and_returns(piece.rewards.flatten(), cost, old.values, mask, config.gae_lambda)
    old_log_probs = old.log_probs
    if config.ratio_level == "sequence":
        old_log_probs = sequence_old_log_probs(scores.log_probs, old_log_probs, mask)
    if config.updates_per_batch == 1:
        loss = policy_gradient_loss(scores.log_probs, advantages)
    else:
        loss = clipped_loss(scores.log_probs, old_log_probs, advantages, config.clip_low, config.clip_high)
    if config.credit == "state":
        loss = loss - scores.expected_value
    if scores.projection is not None:  # to a target that keeps to the reference already
        loss = loss + piece.kl_weight * config.projection_weight * scores.projection
    else:
        loss = loss + piece.kl_weight * kl_term
    loss = loss - piece.entropy_weight * scores.entropy
    if config.critic != "none":
        loss = loss + config.value_weight * 0.5 * (scores.values - returns) ** 2
    return TokenLosses(loss, advantages, old_log_probs, kl, returns)


def token_kl(scores: TokenScores, old: TokenScores, config: TrainConfig) -> Tensor:
    """The divergence of each token as the config wants it estimated, (completions, time), in nats."""
    if config.kl_estimator == "exact":
        return scores.kl
    kl = kl_estimate(scores.log_probs, scores.ref_log_probs, config.kl_estimator)
    return importance_weighted(kl, scores.log_probs, old.log_probs) if config.kl_place == "weighted_loss" else kl
