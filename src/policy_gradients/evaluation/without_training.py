"""How far decoding alone gets: the checker's automaton steers the untouched reference, and no weight moves.

python -m policy_gradients.evaluation.without_training --output results/tiny/without_training.json
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from policy_gradients.errors import run_module
from policy_gradients.evaluation.deliver import check_file
from policy_gradients.evaluation.evaluate import (
    Row,
    Subject,
    judge_texts,
    reference_pass_count,
    report_rows,
    sample_completions,
    write_report,
)
from policy_gradients.evaluation.statistics import floor_ratio_interval, kl_floor, mean_interval, wilson_interval
from policy_gradients.language.checker_states import CheckerStates
from policy_gradients.language.constrained import ConstrainedDecoding, MeanTransitions, chances, reachable
from policy_gradients.language.models import best_device, end_token_ids, load_model
from policy_gradients.language.rewards import decode, rule_reward
from policy_gradients.language.rollout import LogitsProcessor
from policy_gradients.language.scoring import CompletionScorer
from policy_gradients.training.presets import PRESETS, preset
from policy_gradients.training.sources import make_task


@torch.no_grad()
def decode_steered(
    reference: Subject, rows: Sequence[Row], seed: int, steering: LogitsProcessor | None
) -> tuple[dict[str, Any], list[str]]:
    """One completion for each row by the reference under a logits processor: its report, and the texts.

    KL to the reference in nats a completion: the mean of log q − log π over what was drawn from q.
    """
    scorer, divergences, completions = CompletionScorer(reference.model), [], []
    for rollout in sample_completions(reference, rows, 1, seed, steering):
        own = scorer(rollout, reference.config.temperature).log_probs
        divergences += ((rollout.log_probs - own) * rollout.mask).sum(1).tolist()
        completions += decode(reference.tokenizer, rollout)
    report, _ = judge_texts(reference.task, rows, completions)
    kl, error = mean_interval(divergences)
    return {**report, "kl_to_reference": kl, "kl_standard_error": error}, [c.text for c in completions]


def steerings(reference: Subject, rows: Sequence[Row], seed: int) -> dict[str, LogitsProcessor]:
    """The two ways to steer: by what is still possible, and by how likely the reference is to get there.

    Args:
        rows: training rows, with one completion each that says how the reference moves between the checker's states.
    """
    config, model = reference.config, reference.model
    checker = CheckerStates(
        reference.task.rule, reference.tokenizer, model.config.vocab_size, end_token_ids(model, reference.tokenizer)
    )
    accepted = checker.end_rewards(rule_reward(reference.task.rule))
    counted = MeanTransitions(checker, config.temperature)
    for _ in sample_completions(reference, rows, 1, seed, counted):
        pass
    tokens = config.max_new_tokens
    return {
        name: ConstrainedDecoding(checker, reference.tokenizer, log_h, accepted, config.temperature)
        for name, log_h in (
            ("mask", reachable(checker, accepted, tokens)),
            ("chances", chances(checker, accepted, counted.estimates(), tokens)),
        )
    }


def untouched_reference(name: str) -> Subject:
    """The model that a preset starts from, with the preset's task."""
    config = preset(name)
    model, tokenizer = load_model(config.model)
    return Subject(model.to(best_device()), tokenizer, make_task(config), config)


def without_training(
    name: str, num_prompts: int, skip_prompts: int, seed: int, reference_samples: int, counted_rows: int = 2000
) -> dict[str, Any]:
    """The reference of a preset: untouched, under a mask, and under the chances of the checker's states.

    Args:
        num_prompts, skip_prompts, seed, reference_samples: as for `evaluate_run`; the prompts are the same.
        counted_rows: training prompts whose completions say what the reference does in each state.

    Raises:
        ValueError: a rule without states, or more prompts than there are.
    """
    reference = untouched_reference(name)
    rows, draws = report_rows(reference.task.heldout, num_prompts, skip_prompts, seed)
    ways: dict[str, LogitsProcessor | None] = {"untouched": None}
    ways |= steerings(reference, reference.task.rows[:counted_rows], seed)
    passed, drawn = reference_pass_count(reference, rows, reference_samples, draws)
    p = passed / drawn
    report: dict[str, Any] = {
        "model": reference.config.model,
        "rule": reference.task.rule.name,
        "num_prompts": num_prompts,
        "skip_prompts": skip_prompts,
        "seed": seed,
        "reference_pass_rate": p,
        "reference_pass_rate_interval": wilson_interval(passed, drawn),
        # until it passes: always right, and of all ways that always pass the one that is closest to the reference
        "rejection": {"pass_rate": 1.0, "kl_to_reference": -math.log(p), "kl_over_floor": 1.0, "draws": 1 / p}
        if passed
        else None,
    }
    for way, steering in ways.items():
        side, texts = decode_steered(reference, rows, draws, steering)
        count, kl, error = round(side["pass_rate"] * num_prompts), side["kl_to_reference"], side["kl_standard_error"]
        floor = kl_floor(side["pass_rate"], p) if passed else math.nan
        report[way] = {
            **side,
            "kl_floor": floor,
            "kl_over_floor": kl / floor if floor else math.nan,
            "kl_over_floor_interval": floor_ratio_interval(kl, error, count, num_prompts, passed, drawn, seed),
            "texts": texts[:20],
        }
    return report


def report_options(parser: argparse.ArgumentParser) -> None:
    """Where the report goes, and the prompts that all reports of results/ are of."""
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    parser.add_argument("--num-prompts", type=int, default=400)
    parser.add_argument("--skip-prompts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)


def main() -> None:
    """Write the report of a preset's reference as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    report_options(parser)
    parser.add_argument("--reference-samples", type=int, default=10_000)
    parsed = parser.parse_args()
    check_file(parsed.output)
    report = without_training(
        parsed.preset, parsed.num_prompts, parsed.skip_prompts, parsed.seed, parsed.reference_samples
    )
    parsed.output.parent.mkdir(parents=True, exist_ok=True)
    write_report(report, parsed.output)


if __name__ == "__main__":
    run_module(main)
