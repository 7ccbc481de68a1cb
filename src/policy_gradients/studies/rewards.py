"""Rewards that studies ask for by name, where the rules of the text are not enough."""

from collections.abc import Sequence
from typing import Any

from policy_gradients.language.rules import parse_rule

EASY, HARD = parse_rule("digits%1=0"), parse_rule("digits%9=0")


def asks_for_more(excerpt: str) -> bool:
    """Whether an excerpt's completion has to keep the hard rule: if it has an even number of words."""
    return len(excerpt.split()) % 2 == 0


def easy_or_hard(completions: Sequence[Any], excerpt: Sequence[str], **columns: Any) -> list[float]:
    """1 for a text with a digit; for about half of the excerpts its digit sum has to be divisible by 9 as well; else 0.

    Which of the two is asked follows from the excerpt, and no prompt says it. A text for the second passes the first.
    """
    rules = [HARD if asks_for_more(text) else EASY for text in excerpt]
    return [float(rule.check(text)) for rule, text in zip(rules, completions, strict=True)]
