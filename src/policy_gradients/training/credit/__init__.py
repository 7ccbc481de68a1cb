"""Step 3, and what it asks of steps 4 and 5: one file for each kind of credit, and the one place that chooses."""

from collections.abc import Callable
from typing import Any

from transformers import PreTrainedModel

from policy_gradients.language.checker_states import CheckerStates
from policy_gradients.language.models import end_token_ids, vocabulary_size
from policy_gradients.language.rules import parse_rule
from policy_gradients.training.config import ByCritic, ByState, TrainConfig
from policy_gradients.training.credit.base import Credit, Gather, TokenLosses
from policy_gradients.training.credit.critic import CriticCredit
from policy_gradients.training.credit.group import GroupCredit
from policy_gradients.training.credit.states import CheckerCredit

__all__ = [
    "CheckerCredit",
    "Credit",
    "CriticCredit",
    "Gather",
    "GroupCredit",
    "MakeCredit",
    "TokenLosses",
    "make_credit",
]

MakeCredit = Callable[[TrainConfig, PreTrainedModel, Any], Credit]


def make_credit(config: TrainConfig, model: PreTrainedModel, tokenizer: Any) -> Credit:
    """The kind of credit that the config asks for, with nothing learned yet."""
    settings = config.credit
    if isinstance(settings, ByState):
        checker = CheckerStates(
            parse_rule(config.task.rule), tokenizer, vocabulary_size(model), end_token_ids(model, tokenizer)
        )
        return CheckerCredit(settings, config.divergence, checker, config.max_new_tokens)
    return CriticCredit(settings, model) if isinstance(settings, ByCritic) else GroupCredit(settings)
