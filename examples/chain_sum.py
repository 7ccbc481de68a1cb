"""A task of one's own: sums from `reasoning-gym` (pip install reasoning-gym), its questions, answers and scorer.

policy-gradients train --preset tiny --task examples/chain_sum.py --output-dir runs/sums
"""

import re

import reasoning_gym

from policy_gradients.language.tasks import RewardTask

DATA = reasoning_gym.create_dataset(
    "chain_sum", size=2000, seed=0, min_terms=2, max_terms=2, min_digits=1, max_digits=1
)


def solved(prompts, completions, entry, **_):
    """reasoning-gym's own score of the last number in each completion: 1 for the right one."""
    answers = [(re.findall(r"-?\d+", text) or [""])[-1] for text in completions]
    return [DATA.score_answer(answer, entry=row) for answer, row in zip(answers, entry, strict=True)]


def has_a_number(completions, **_):
    """A little for any number at all: what is never tried is never rewarded."""
    return [float(bool(re.search(r"\d", text))) for text in completions]


def task():
    rows = [{"question": entry["question"], "entry": entry} for entry in DATA]
    return RewardTask(rows, "{question}", [solved, has_a_number], [1.0, 0.1], name="sums of two digits", pass_at=1.0)
