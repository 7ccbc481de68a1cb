"""The floor of the KL that prompts of different difficulty leave: p prompt by prompt, by importance sampling.

python -m policy_gradients.evaluation.attainable --output results/tiny/attainable_floor.json

`statistics.kl_floor` of the mean pass rate bounds averages over prompts, too, as the KL is convex in both of its
arguments together; it is reached only where the reference passes as often for one prompt as for another. How often that
is for a single prompt, two in a thousand or ten, plain samples cannot say. Decoding steered by the checker always
passes, and the chance of what it draws under reference and steering is known: its weights have the mean p.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

from policy_gradients.errors import run_module
from policy_gradients.evaluation.deliver import check_file
from policy_gradients.evaluation.evaluate import Row, Subject, report_rows, sample_completions, write_report
from policy_gradients.evaluation.frontiers import mean_kl_floor
from policy_gradients.evaluation.statistics import kl_floor, mean_interval
from policy_gradients.evaluation.without_training import report_options, steerings, untouched_reference
from policy_gradients.language.rewards import decode
from policy_gradients.language.rollout import LogitsProcessor
from policy_gradients.language.scoring import CompletionScorer


def attainable_floor(q: float, pass_rates: Sequence[float] | NDArray[np.float64]) -> float:
    """Least mean KL(policy ‖ reference), nats a completion, at which a policy passes with probability q on average.

    The prompts' own rates q_i are free: `frontiers.mean_kl_floor`, and its ends. 0 where the reference passes so often
    already, as in `kl_floor`; always to pass costs the mean of −ln p.

    Args:
        pass_rates: (prompts,), the reference's chance to pass on each, above 0 and below 1.

    Raises:
        ValueError: q outside [0, 1], or a rate that is not between 0 and 1.
    """
    rates = np.asarray(pass_rates, dtype=np.float64)
    if not 0 <= q <= 1:
        raise ValueError(f"q must be in [0, 1], got {q}")
    if rates.size == 0 or not ((rates > 0) & (rates < 1)).all():
        raise ValueError("pass_rates must be chances above 0 and below 1, one for each prompt")
    if q <= rates.mean():
        return 0.0
    if q == 1:
        return float(-np.log(rates).mean())
    return mean_kl_floor(q, rates.tolist())


@torch.no_grad()
def log_weights(
    reference: Subject, rows: Sequence[Row], draws: int, seed: int, steering: LogitsProcessor
) -> NDArray[np.float64]:
    """log π(y) − log q(y) of `draws` completions y ~ q for each prompt, −∞ where y fails the rule, (prompts, draws).

    q is the reference under the steering; nothing that passes may be impossible under q for the mean weight to be p.
    """
    scorer, found = CompletionScorer(reference.model), []
    repeated = iter([row for row in rows for _ in range(draws)])
    for rollout in sample_completions(reference, rows, draws, seed, steering):
        own = scorer(rollout, reference.config.temperature).log_probs
        weights = ((own - rollout.log_probs) * rollout.mask).sum(1).double().cpu().numpy()
        completions = decode(reference.tokenizer, rollout)
        _, passed = reference.task.judge([next(repeated) for _ in completions], completions)
        found.append(np.where(np.asarray(passed) > 0, weights, -np.inf))
    return np.concatenate(found).reshape(len(rows), draws)


def floor_of_weights(q: float, weights: NDArray[np.float64]) -> float:
    """`attainable_floor` from `log_weights`, its bias of order 1/draws taken out (Efron & Tibshirani 1993, ch. 10).

    The mean weight is p without bias, but the floor is curved in p: with few draws it comes out too high. So from n
    times it the jackknife takes n - 1 times its mean without one draw, the same column of all prompts at once.
    """
    draws = weights.shape[1]

    def floor(some: NDArray[np.float64]) -> float:
        return attainable_floor(q, np.exp(logsumexp(some, axis=1) - np.log(some.shape[1])))

    without_one = np.mean([floor(np.delete(weights, i, axis=1)) for i in range(draws)])
    return float(draws * floor(weights) - (draws - 1) * without_one)


def estimate(
    name: str,
    num_prompts: int,
    skip_prompts: int,
    seed: int,
    draws: int,
    pass_rates: Sequence[float],
    counted_rows: int = 2000,
) -> dict[str, Any]:
    """p of every prompt for the reference of a preset, and both floors at some pass rates.

    Args:
        num_prompts, skip_prompts, seed: as for `evaluate_run`; the prompts are the same.
        draws: steered completions for each prompt.
        pass_rates: each a q of `attainable_floor`.
        counted_rows: as in `without_training`.

    Raises:
        ValueError: fewer than two draws or prompts, a rule without states, or more prompts than there are.
    """
    if draws < 2 or num_prompts < 2:
        raise ValueError(f"need two draws of two prompts at least, got {draws} of {num_prompts}")
    reference = untouched_reference(name)
    rows, start = report_rows(reference.task.heldout, num_prompts, skip_prompts, seed)
    steering = steerings(reference, reference.task.rows[:counted_rows], seed)["chances"]
    weights = log_weights(reference, rows, draws, start, steering)
    rates = np.exp(logsumexp(weights, axis=1) - np.log(draws))
    p, error = mean_interval(rates)
    return {
        "model": reference.config.model,
        "rule": reference.task.rule.name,
        "num_prompts": num_prompts,
        "skip_prompts": skip_prompts,
        "seed": seed,
        "draws": draws,
        "mean_pass_rate": p,
        "mean_pass_rate_standard_error": error,
        "pass_rate_deciles": np.quantile(rates, np.linspace(0.1, 0.9, 9)).tolist(),
        "floors": [
            {"pass_rate": q, "of_the_mean": kl_floor(q, p), "attainable": floor_of_weights(q, weights)}
            for q in pass_rates
        ],
    }


def main() -> None:
    """Write the floors of a preset's reference as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    report_options(parser)
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--pass-rates", type=float, nargs="+", default=[0.5, 0.9, 0.95, 0.97, 1.0])
    parsed = parser.parse_args()
    check_file(parsed.output)
    report = estimate(
        parsed.preset, parsed.num_prompts, parsed.skip_prompts, parsed.seed, parsed.draws, parsed.pass_rates
    )
    parsed.output.parent.mkdir(parents=True, exist_ok=True)
    write_report(report, parsed.output)


if __name__ == "__main__":
    run_module(main)
