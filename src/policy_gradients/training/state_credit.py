"""Credit by the states of the checker: what they are worth, learned from each batch, and what that says of tokens."""

import math
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from policy_gradients.estimators.returns import reverse_cumsum
from policy_gradients.estimators.state_values import StateValues
from policy_gradients.estimators.transition_values import TransitionValues
from policy_gradients.language.checker_states import CheckerStates
from policy_gradients.language.chunked import StateCredit
from policy_gradients.language.rewards import RewardFunction
from policy_gradients.language.scoring import pad_time
from policy_gradients.training.config import TrainConfig

if TYPE_CHECKING:
    from policy_gradients.training.loop import Batch, Run

# below it, what is left of a reward is noise, and would be blown up to the size of a signal
MEAN_SQUARE_FLOOR = 0.04


def make_state_values(config: TrainConfig, checker: CheckerStates) -> StateValues | TransitionValues:
    """Of the kind that the config asks for, with nothing known yet."""
    if config.state_values == "returns":
        return StateValues(checker.num_states, config.state_memory)
    return TransitionValues(checker.after, config.max_new_tokens, config.state_memory)


def end_rewards(run: "Run", reward: RewardFunction) -> Tensor:
    """What ending in each state of the checker earns, (states,), in the unit of the config's `state_values`."""
    earned = run.checker_states.end_rewards(reward)
    if run.config.state_values == "returns":
        return earned
    return earned / math.sqrt(max(run.mean_square_reward, MEAN_SQUARE_FLOOR))


def state_credit(run: "Run", piece: "Batch") -> StateCredit:
    """What the states of the checker that a piece's tokens were chosen in say of every next token."""
    config, checker = run.config, run.checker_states
    going = run.state_values.estimates(piece.end_rewards)
    return StateCredit(
        checker.before_tokens(piece.rollout.completion_ids),
        partial(checker.action_values, going=going, ended=piece.end_rewards),
        checker.one_hot.to(piece.rewards.device) if config.state_values == "transitions" else None,
        piece.kl_weight if config.projection_weight else None,
    )


def learn_state_values(run: "Run", batch: "Batch", kl: Tensor, rewards: Tensor) -> None:
    """Account for the global batch in the values of the checker's states; every process comes to the same ones.

    What a state is worth includes the divergence that is still to be paid from there on: without it a digit forced in
    at the last moment would seem as good as one that the text led to. Unless `kl_place` charges the tokens for it: once
    is enough.

    Args:
        kl: (completions of this process, time), in nats.
        rewards: (completions of the global batch,).
    """
    states, mask, kl = _with_states(run, batch, kl)
    price = 0.0 if run.config.kl_place == "reward" else batch.kl_weight
    returns = rewards.unsqueeze(1) - price * reverse_cumsum(kl * mask)
    run.state_values.update(states, mask, returns)


def learn_transitions(run: "Run", batch: "Batch", kind_probs: Tensor) -> None:
    """Account for the global batch in the chances of what comes next; every process comes to the same ones.

    Args:
        kind_probs: (completions of this process, time, kinds).
    """
    states, mask, kind_probs = _with_states(run, batch, kind_probs)
    run.state_values.update(states[mask.bool()], kind_probs[mask.bool()])


def _with_states(run: "Run", batch: "Batch", column: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """States, mask and a column of this process's completions, as those of the global batch, on the CPU."""
    rollout = batch.rollout
    columns = (run.checker_states.before_tokens(rollout.completion_ids), rollout.mask.long(), column)
    width = run.config.max_new_tokens  # processes meet at one width, to be gathered
    states, mask, column = (run.accelerator.gather(pad_time(x, width)).cpu() for x in columns)
    return states, mask, column
