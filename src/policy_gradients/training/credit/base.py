"""Who is paid for what: the one interface that every kind of credit has. A new kind is one file beside this one."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from policy_gradients.language.chunked import StateCredit
from policy_gradients.language.rewards import RewardFunction
from policy_gradients.language.scoring import TokenScores
from policy_gradients.training.batch import Batch

Gather = Callable[[Tensor], Tensor]
"""A column of this process's completions, (completions, time, …) → that of the global batch, on the CPU."""


@dataclass
class TokenLosses:
    """The policy's loss of each token, and what it was made from; (completions, time), or one advantage a completion.

    Attributes:
        loss: to be weighted (`token_weights`) and summed.
        advantages, old_log_probs: None where credit has none.
        returns: the critic's targets; None without a critic.
    """

    loss: Tensor
    advantages: Tensor | None = None
    old_log_probs: Tensor | None = None
    returns: Tensor | None = None


class Credit:
    """What the loop asks of a kind of credit, in the order in which it asks; override what differs.

    Attributes:
        critic: a module that is trained with the policy: (rollout, hidden states) → values; None: none.
        trust_region: nats a token that later updates of a batch may start from the policy that sampled; None: no bound.
    """

    critic: nn.Module | None = None
    trust_region: float | None = None

    def assign(self, groups: Tensor, reward: RewardFunction) -> Tensor | None:
        """Advantages from the rewards of the global batch, both (prompts, G); None where tokens are paid otherwise.

        Args:
            reward: the training reward of this step, for those who want to know what else would have earned.
        """
        raise NotImplementedError

    def before_update(self, batch: Batch, rewards: Tensor, gather: Gather) -> None:
        """Learn what must be known before the first update. `rewards`: (completions of the global batch,)."""

    def scoring(self, piece: Batch) -> StateCredit | None:
        """What the scorer has to add up over the whole vocabulary, besides the log-probs of what was sampled."""
        return None

    def losses(self, scores: TokenScores, old: TokenScores, piece: Batch, cost: Tensor) -> TokenLosses:
        """The loss of each token.

        Args:
            scores: of the policy as it is, with gradient; `old`: of the one that sampled (the same, at first).
            cost: (completions, time), the price of the divergence that each token is charged, no gradient.
        """
        raise NotImplementedError

    def learn(self, batch: Batch, before: TokenScores, rewards: Tensor, gather: Gather) -> None:
        """Learn from the batch, once it is used up. `before`: scores of the policy that sampled it."""

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of it, besides the critic's weights."""
        return {}

    def load(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""
