"""Credit by a critic (PPO): advantages from a learned value of each state of a completion."""

from torch import Tensor
from transformers import PreTrainedModel

from policy_gradients.language.rewards import RewardFunction
from policy_gradients.language.scoring import TokenScores
from policy_gradients.training.batch import Batch
from policy_gradients.training.config import ByCritic
from policy_gradients.training.credit.base import Credit, TokenLosses
from policy_gradients.training.credit.group import surrogate
from policy_gradients.training.value_head import advantages_and_returns, make_critic


class CriticCredit(Credit):
    """GAE of the reward at the end, less the divergence still to be paid; the critic learns beside the policy."""

    def __init__(self, settings: ByCritic, model: PreTrainedModel):
        self.settings, self.critic = settings, make_critic(settings.critic, model)

    def assign(self, groups: Tensor, reward: RewardFunction) -> None:
        """None yet: they come token by token, with the values."""

    def losses(self, scores: TokenScores, old: TokenScores, piece: Batch, cost: Tensor) -> TokenLosses:
        mask, settings = piece.rollout.mask, self.settings
        rewards = piece.rewards.flatten()
        advantages, returns = advantages_and_returns(rewards, cost, old.values, mask, settings.gae_lambda)
        losses = surrogate(scores, old, advantages, mask, settings.clip)
        losses.loss = losses.loss + settings.value_weight * 0.5 * (scores.values - returns) ** 2
        losses.returns = returns
        return losses
