"""Credit by completion: every token gets the advantage of its completion, relative to its group (GRPO and its kin)."""

from torch import Tensor

from policy_gradients.estimators.advantages import group_advantages
from policy_gradients.estimators.covariance import covariance_bound, log_prob_covariances, token_means
from policy_gradients.estimators.losses import cispo_loss, clipped_loss, policy_gradient_loss, sequence_old_log_probs
from policy_gradients.estimators.regularizers import group_relative
from policy_gradients.estimators.returns import reverse_cumsum
from policy_gradients.language.rewards import RewardFunction
from policy_gradients.language.scoring import TokenScores
from policy_gradients.training.batch import Batch
from policy_gradients.training.config import ByGroup, Clip
from policy_gradients.training.credit.base import Credit, Gather, TokenLosses


class GroupCredit(Credit):
    """GRPO, RLOO, Dr. GRPO, REINFORCE++, by `baseline` and `scale` (`group_advantages` has the table)."""

    def __init__(self, settings: ByGroup):
        self.settings = settings

    def assign(self, groups: Tensor, reward: RewardFunction) -> Tensor:
        return group_advantages(groups, self.settings.baseline, self.settings.scale)

    def before_update(self, batch: Batch, rewards: Tensor, gather: Gather) -> None:
        if self.settings.clip_cov:
            mask = batch.rollout.mask
            paid = batch.advantages.flatten().unsqueeze(1).expand_as(mask)
            log_probs, paid, mask = (gather(column) for column in (batch.rollout.log_probs, paid, mask))
            self._means = token_means(log_probs, paid, mask)
            covariances = log_prob_covariances(log_probs, paid, mask, self._means)
            self._bound = covariance_bound(covariances, mask, self.settings.clip_cov)

    def losses(self, scores: TokenScores, old: TokenScores, piece: Batch, cost: Tensor) -> TokenLosses:
        rollout = piece.rollout
        charged = group_relative(reverse_cumsum(cost), piece.rewards.shape[1])
        advantages = piece.advantages.flatten().unsqueeze(1) - charged
        losses = surrogate(scores, old, advantages, rollout.mask, self.settings.clip)
        if self.settings.clip_cov:
            covariances = log_prob_covariances(rollout.log_probs, piece.advantages.flatten(), rollout.mask, self._means)
            losses.loss = losses.loss * (covariances < self._bound)
        return losses


def surrogate(
    scores: TokenScores, old: TokenScores, advantages: Tensor, mask: Tensor, clip: Clip | None
) -> TokenLosses:
    """-Â log π with one update a batch; with more, the clipped ratio, as itself (PPO) or as a weight (CISPO)."""
    old_log_probs = old.log_probs
    if clip is None:
        return TokenLosses(policy_gradient_loss(scores.log_probs, advantages), advantages, old_log_probs)
    if clip.ratio_level == "sequence":
        old_log_probs = sequence_old_log_probs(scores.log_probs, old_log_probs, mask)
    clipped = cispo_loss if clip.clip_place == "weight" else clipped_loss
    loss = clipped(scores.log_probs, old_log_probs, advantages, clip.clip_low, clip.clip_high)
    return TokenLosses(loss, advantages, old_log_probs)
