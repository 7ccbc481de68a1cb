"""Credit by the states of the checker: what they are worth, learned from each batch, and what that says of tokens.

It needs more than the reward of what was written: the checker is asked about texts that lead to each of its states.
"""

import math
from functools import partial

import torch
from torch import Tensor

from policy_gradients.estimators.losses import policy_gradient_loss
from policy_gradients.estimators.regularizers import group_relative
from policy_gradients.estimators.returns import reverse_cumsum
from policy_gradients.estimators.state_values import StateValues
from policy_gradients.estimators.transition_values import TransitionValues
from policy_gradients.language.checker_states import CheckerStates
from policy_gradients.language.chunked import StateCredit
from policy_gradients.language.rewards import RewardFunction
from policy_gradients.language.scoring import TokenScores
from policy_gradients.training.batch import Batch
from policy_gradients.training.config import ByState, KlPenalty, KlProjection
from policy_gradients.training.credit.base import Credit, Gather, TokenLosses

# below it, what is left of a reward is noise, and would be blown up to the size of a signal
MEAN_SQUARE_FLOOR = 0.04


class CheckerCredit(Credit):
    """Σ_a π(a) Q(a) at each step, with Q from the values of the states that tokens lead to (Sutton et al. 2000, Thm 1).

    Q of a checker's state stands in for Q of the whole prefix, of which it is a summary: less noise, and a bias.
    """

    def __init__(
        self, settings: ByState, divergence: KlPenalty | KlProjection | None, checker: CheckerStates, max_tokens: int
    ):
        self.checker, self.trust_region = checker, settings.max_update_kl
        self.charged = isinstance(divergence, KlPenalty) and divergence.kl_place == "reward"
        self.projected = isinstance(divergence, KlProjection)
        self.by_returns = settings.state_values == "returns"
        self.values: StateValues | TransitionValues = (
            StateValues(checker.num_states, settings.state_memory)
            if self.by_returns
            else TransitionValues(checker.after, max_tokens, settings.state_memory)
        )
        self.mean_square_reward = MEAN_SQUARE_FLOOR  # running mean
        self.ended = torch.zeros(checker.num_states)  # what ending in each state earns, at this step

    def assign(self, groups: Tensor, reward: RewardFunction) -> None:
        """No advantages: the expected value of each step is differentiated itself. What endings earn is asked for."""
        self.ended = self.checker.end_rewards(reward)
        if not self.by_returns:
            self.ended = self.ended / math.sqrt(max(self.mean_square_reward, MEAN_SQUARE_FLOOR))

    def before_update(self, batch: Batch, rewards: Tensor, gather: Gather) -> None:
        self._fresh = self.by_returns and not self.values.counts.any()
        if self._fresh:  # nothing is known yet, and the policy is the reference
            self._learn_returns(batch, torch.zeros_like(batch.rollout.mask), rewards, gather)

    def scoring(self, piece: Batch) -> StateCredit:
        going = self.values.estimates(self.ended)
        return StateCredit(
            self.checker.before_tokens(piece.rollout.completion_ids),
            partial(self.checker.action_values, going=going, ended=self.ended),
            None if self.by_returns else self.checker.one_hot.to(piece.rewards.device),
            piece.kl_weight if self.projected else None,
        )

    def losses(self, scores: TokenScores, old: TokenScores, piece: Batch, cost: Tensor) -> TokenLosses:
        if not self.charged:
            return TokenLosses(-scores.expected_value)
        advantages = -group_relative(reverse_cumsum(cost), piece.rewards.shape[1])
        return TokenLosses(policy_gradient_loss(scores.log_probs, advantages) - scores.expected_value, advantages)

    def learn(self, batch: Batch, before: TokenScores, rewards: Tensor, gather: Gather) -> None:
        if not self.by_returns:
            states, mask, kinds = self._with_states(batch, before.kind_probs, gather)
            self.values.update(states[mask.bool()], kinds[mask.bool()])
        elif not self._fresh:
            self._learn_returns(batch, before.kl, rewards, gather)
        self.mean_square_reward = 0.8 * self.mean_square_reward + 0.2 * rewards.square().mean().item()

    def _learn_returns(self, batch: Batch, kl: Tensor, rewards: Tensor, gather: Gather) -> None:
        """Account for the global batch in the values of the checker's states; every process comes to the same ones.

        What a state is worth includes the divergence that is still to be paid from there on: without it a digit forced
        in at the last moment would seem as good as one that the text led to. Unless tokens are charged for it: once is
        enough.
        """
        states, mask, kl = self._with_states(batch, kl, gather)
        price = 0.0 if self.charged else batch.kl_weight
        self.values.update(states, mask, rewards.unsqueeze(1) - price * reverse_cumsum(kl * mask))

    def _with_states(self, batch: Batch, column: Tensor, gather: Gather) -> tuple[Tensor, Tensor, Tensor]:
        rollout = batch.rollout
        columns = (self.checker.before_tokens(rollout.completion_ids), rollout.mask.long(), column)
        states, mask, column = (gather(x) for x in columns)
        return states, mask, column

    def state(self) -> dict[str, Tensor]:
        mean_square = torch.tensor(self.mean_square_reward, dtype=torch.float64)
        return {"counts": self.values.counts, "sums": self.values.sums, "mean_square_reward": mean_square}

    def load(self, state: dict[str, Tensor]) -> None:
        self.values.counts.copy_(state["counts"])
        self.values.sums.copy_(state["sums"])
        self.mean_square_reward = state["mean_square_reward"].item()
