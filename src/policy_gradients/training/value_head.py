"""The critic of PPO: a learned value of each state of a completion, and the advantages that it gives."""

import copy
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from policy_gradients.estimators.credit import with_terminal_reward
from policy_gradients.estimators.returns import generalized_advantages
from policy_gradients.language.rollout import Rollout
from policy_gradients.language.scoring import hidden_states

CriticKind = Literal["head", "model"]


class ValueHead(nn.Module):
    """V(s) = w · h(s) + b on the policy's own last hidden states: nearly free, but it pulls at the policy's weights.

    It starts at V = 0, where the first advantages are the rewards themselves.
    """

    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, rollout: Rollout, hidden: Tensor) -> Tensor:
        """Hidden states (completions, time, width) → values (completions, time), float32 or wider."""
        return self.linear(hidden).squeeze(-1).to(torch.promote_types(hidden.dtype, torch.float32))


class ValueModel(nn.Module):
    """V(s) by a second network that starts as a copy of the policy: as large as it, and independent of it."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.backbone = copy.deepcopy(model.base_model)
        self.head = ValueHead(model.get_output_embeddings().weight.shape[1])

    def forward(self, rollout: Rollout, hidden: Tensor) -> Tensor:
        """As `ValueHead`, from its own hidden states; the policy's are ignored."""
        return self.head(rollout, hidden_states(self.backbone, rollout)[1])


def make_critic(kind: CriticKind, model: PreTrainedModel) -> nn.Module:
    """The critic for a policy.

    Raises:
        ValueError: unknown kind.
    """
    if kind == "head":
        head = ValueHead(model.get_output_embeddings().weight.shape[1])
        return head.to(model.get_output_embeddings().weight)
    if kind == "model":
        critic = ValueModel(model)
        return critic.to(model.get_output_embeddings().weight)
    raise ValueError(f"critic must be 'head' or 'model', got {kind!r}")


def advantages_and_returns(
    rewards: Tensor, cost: Tensor, values: Tensor, mask: Tensor, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """GAE with γ = 1, of a reward that comes with the last token and costs that come with each; the critic's targets.

    Args:
        rewards: (completions,).
        cost, values, mask: (completions, time); a completion that was cut counts as ended, as its reward does.

    Returns:
        Advantages and their λ-returns, Â + V, each (completions, time), no gradient.
    """
    values = values.detach()
    advantages = generalized_advantages(with_terminal_reward(rewards, mask) - cost, values, 1.0, gae_lambda, mask)
    return advantages, advantages + values * mask
