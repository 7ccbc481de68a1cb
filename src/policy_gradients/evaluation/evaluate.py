"""Did it learn, or did it cheat? The tuned policy beside its reference: same prompts, same decoding, same numbers."""

import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from policy_gradients.evaluation.deliver import write_json
from policy_gradients.evaluation.statistics import (
    distinct_completions,
    distinct_ngrams,
    floor_ratio_interval,
    kl_floor,
    largest_cluster_share,
    largest_shape_share,
    mean_interval,
    paired_difference,
    wilson_interval,
)
from policy_gradients.language.files import write_whole
from policy_gradients.language.limits import require_room
from policy_gradients.language.models import ModelError, best_device, end_token_ids, load_model, origin_of_weights
from policy_gradients.language.rewards import Completion, decode
from policy_gradients.language.rollout import LogitsProcessor, Rollout, generate
from policy_gradients.language.rules import parse_rule
from policy_gradients.language.scoring import PERPLEXITY_TOKENS, CompletionScorer, plain_perplexity
from policy_gradients.language.tasks import CheckerTask, Task, chat_ids
from policy_gradients.language.text import shipped_articles
from policy_gradients.training.batches import prompt_indices, sampling_uniforms
from policy_gradients.training.config import MOST_SAMPLED, TrainConfig, check_number, load_config, require_affordable
from policy_gradients.training.model_card import model_card
from policy_gradients.training.run_folder import (
    CARD,
    CONFIG,
    METRICS,
    MODEL,
    TASK,
    changed_since,
    read_metrics,
    read_tasks,
    require_unchanged_model,
)
from policy_gradients.training.sources import make_task, source_sentence

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
ROLLOUT_ROWS = 128  # completions decoded at the same time


@dataclass
class Subject:
    """A policy to evaluate, with the decoding that it was trained for."""

    model: PreTrainedModel
    tokenizer: Any
    task: Task
    config: TrainConfig


def evaluate_run(
    directory: str | Path,
    num_prompts: int = 100,
    seed: int = 1,
    reference_samples: int = 4000,
    rule: str | None = None,
    progress: Callable[[str], None] = lambda message: None,
    perplexity_texts: int | None = None,
    precision: str = "no",
    task: Task | None = None,
    skip_prompts: int = 0,
) -> dict[str, Any]:
    """Evaluate a training run on held-out prompts, one sample a prompt, before and after.

    Args:
        directory: what `train` wrote.
        num_prompts: how many of the held-out rows of the run's own task.
        seed: decides the rows and the samples; both policies see the same.
        reference_samples: completions of the reference that estimate p, its chance to pass, for the KL floor. If none
            of them passes, the floor is that of the largest p in its interval: the true one lies higher.
        rule: evaluate another rule than the run's own (an unseen length, say).
        progress: called with a line of text before each part.
        perplexity_texts: how many of the held-out articles the perplexity is of; None: all.
        precision: of the products, `no` (float32), `bf16` or `fp16`; both policies alike.
        task: instead of the run's own, where its files have moved, say.
        skip_prompts: leave out so many of the seed's prompts, and their random numbers: a run that was chosen by the
            first hundred is reported on others.

    Returns:
        The report; pass rates come with 95 % Wilson intervals, divergences in nats a completion. Where no sample of the
        reference passes, `kl_over_floor` is an upper bound, and `kl_over_floor_interval` None.

    Raises:
        ValueError: the folder holds no finished run, more prompts than there are, or a model that cannot be loaded.
    """
    if perplexity_texts is not None and perplexity_texts < 1:
        raise ValueError(f"perplexity_texts must be at least 1, got {perplexity_texts}")
    if precision not in ("no", *DTYPES):
        raise ValueError(f"precision must be no, {' or '.join(DTYPES)}, got {precision!r}")
    check_number("seed", seed, int, {"least": 0, "most": 2**31 - 1})
    check_number("reference_samples", reference_samples, int, {"least": 1})
    tuned = load_subject(Path(directory), rule, task)
    picked, draws = report_rows(tuned.task.heldout, num_prompts, skip_prompts, seed)
    require_affordable("reference_samples", reference_samples, tuned.config.max_new_tokens, MOST_SAMPLED)
    model, tokenizer = load_model(tuned.config.model, longest=longest_read(tuned.config))
    reference = Subject(model.to(best_device()), tokenizer, tuned.task, tuned.config)
    device = best_device().type
    with torch.autocast(device, DTYPES.get(precision), enabled=precision != "no"):
        progress("reference policy")
        before, told_before = evaluate_policy(reference, reference.model, picked, draws, perplexity_texts)
        progress("tuned policy")
        after, told_after = evaluate_policy(tuned, reference.model, picked, draws, perplexity_texts)
        progress(f"chance of the reference to pass, from {reference_samples} samples")
        passed, drawn = reference_pass_count(reference, picked, reference_samples, draws)
    outcomes = [[int(told["passed"]) for told in side] for side in (told_before, told_after)]
    return {
        "tuned": after,
        "reference": before,
        **over_floor(after, sum(outcomes[1]), num_prompts, passed, drawn, seed),
        "reference_pass_rate_by_importance": after["reference_pass_rate_by_importance"],
        "perplexity_increase": after["heldout_perplexity"] / before["heldout_perplexity"] - 1,
        "paired_difference": dataclasses.asdict(paired_difference(*outcomes)),
        "num_prompts": num_prompts,
        "skip_prompts": skip_prompts,
        "perplexity_texts": perplexity_texts,
        "precision": precision,
        "seed": seed,
        "task": tuned.task.name,
        "rule": tuned.task.rule.name if isinstance(tuned.task, CheckerTask) else None,
        "model": tuned.config.model,
        "weights_from": origin_of_weights(tuned.config.model),
        "prompts": source_sentence(tuned.config),
        "completions": [
            {**{name: row[name] for name in row}, "before": b, "after": a}
            for row, b, a in zip(picked, told_before, told_after, strict=True)
        ],
    }


def over_floor(
    tuned: Mapping[str, Any], tuned_passed: int, num_prompts: int, passed: int, drawn: int, seed: int
) -> dict[str, Any]:
    """What a policy paid, over the least that its pass rate can cost, from how many of the reference's samples pass."""
    interval = wilson_interval(passed, drawn)
    floor = kl_floor(tuned["pass_rate"], passed / drawn if passed else interval[1])
    kl, error = tuned["kl_to_reference"], tuned["kl_standard_error"]
    ends = floor_ratio_interval(kl, error, tuned_passed, num_prompts, passed, drawn, seed)
    return {
        "kl_floor": floor,
        "kl_over_floor": kl / floor if floor else math.nan,
        "kl_over_floor_interval": ends if passed else None,
        "reference_pass_rate": passed / drawn,
        "reference_pass_rate_interval": interval,
    }


def report_rows(heldout: Sequence[Row], num_prompts: int, skip_prompts: int, seed: int) -> tuple[list[Row], int]:
    """The rows of a report, in the seed's order after those that it skips, and the seed of its samples.

    Raises:
        ValueError: there are not so many held-out rows.
    """
    if not len(heldout):
        raise ValueError(
            "the task has no held-out rows to evaluate on: bring some (heldout_dataset), or more rows, of which one "
            "in ten is set apart"
        )
    if not 1 <= num_prompts <= len(heldout):
        raise ValueError(f"num_prompts must lie in [1, {len(heldout)}], the held-out rows; got {num_prompts}")
    if not 0 <= skip_prompts <= len(heldout) - num_prompts:
        raise ValueError(
            f"skip_prompts must lie in [0, {len(heldout) - num_prompts}]: there are {len(heldout)} held-out rows, and "
            f"num_prompts is {num_prompts}; got {skip_prompts}"
        )
    order = prompt_indices(len(heldout), skip_prompts + num_prompts, 0, seed)
    return [heldout[i] for i in order[skip_prompts:]], seed + 10_000 * skip_prompts


def sample_run(directory: str | Path, prompt: str, n: int = 8, seed: int = 0) -> list[dict[str, Any]]:
    """`n` completions by the tuned policy, every check marked.

    Args:
        prompt: the text to continue, with the rule's instruction; for a task of one's own, the whole prompt.
    """
    check_number("n", n, int, {"least": 1})
    check_number("seed", seed, int, {"least": 0, "most": 2**31 - 1})
    subject = load_subject(Path(directory))
    require_affordable("n", n, subject.config.max_new_tokens, MOST_SAMPLED // 10)  # all at once
    if isinstance(subject.task, CheckerTask):
        row: Row = {"excerpt": prompt}
        [rollout] = sample_completions(subject, [row], n, seed)
        return [subject.task.marked(row, completion) for completion in decode(subject.tokenizer, rollout)]
    ids = chat_ids(subject.tokenizer, prompt)
    require_room(subject.model, len(ids), subject.config.max_new_tokens)
    [rollout] = sample_prompts(subject, [ids], n, seed)
    completions = decode(subject.tokenizer, rollout)  # there is no row, and no reward
    return [
        {"text": c.text, "characters": len(c.text), "passed": c.finished, "checks": {"finished": c.finished}}
        for c in completions
    ]


def longest_read(config: TrainConfig) -> int:
    """Tokens of the longest sequence that an evaluation reads: prompt and completion, or a text of the perplexity."""
    return max(config.max_prompt_tokens + config.max_new_tokens, PERPLEXITY_TOKENS)


def load_subject(directory: Path, rule: str | None = None, task: Task | None = None) -> Subject:
    """The tuned policy of a run.

    Raises:
        ValueError: the folder holds no finished run, or the model in it is damaged, or another rule is asked of a task
            that has none.
    """
    config = load_config(directory / CONFIG)
    if not (directory / "model").is_dir():
        raise ModelError(f"{directory} holds no trained model yet; finish it with `train --resume`")
    require_unchanged_model(directory)
    model, tokenizer = load_model(str(directory / "model"), longest=longest_read(config))
    task = task or make_task(config)
    if changed := changed_since(read_tasks(directory / TASK), task.identity()):
        logger.warning("the run was trained on another task: %s", changed)
    if rule is not None:
        if not isinstance(task, CheckerTask):
            raise ValueError(f"--rule is for runs of a rule; this one's task is {task.name}")
        task = dataclasses.replace(task, rule=parse_rule(rule))
    return Subject(model.to(best_device()), tokenizer, task, config)


@torch.no_grad()
def evaluate_policy(
    subject: Subject, reference: PreTrainedModel, rows: Sequence[Row], seed: int, perplexity_texts: int | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One sampled completion for each row: every number of the report about one policy, and each completion marked."""
    rollouts = list(sample_completions(subject, rows, 1, seed))
    completions = [c for rollout in rollouts for c in decode(subject.tokenizer, rollout)]
    scorer, reference_scorer = CompletionScorer(subject.model), CompletionScorer(reference)
    tokens, entropy, nll = 0.0, 0.0, 0.0
    divergences: list[float] = []
    log_ratios: list[float] = []
    for rollout in rollouts:
        scores = scorer(rollout, subject.config.temperature, reference)
        tokens += rollout.mask.sum().item()
        entropy += scores.entropy.sum().item()
        divergences += scores.kl.sum(1).tolist()
        log_ratios += (scores.ref_log_probs - scores.log_probs).sum(1).tolist()
        nll -= reference_scorer(rollout, subject.config.temperature).log_probs.sum().item()
    texts, outcomes = judge_texts(subject.task, rows, completions)
    kl, kl_error = mean_interval(divergences)
    heldout = [article["text"] for article in shipped_articles("heldout")][:perplexity_texts]
    return {
        **texts,
        # E under π of 1[passes] π_ref/π: unbiased where plain samples of the reference would never pass, but blind to
        # passing texts that this policy hardly ever writes, so as a rule too low
        "reference_pass_rate_by_importance": sum(
            math.exp(ratio) for ratio, outcome in zip(log_ratios, outcomes, strict=True) if outcome
        )
        / len(outcomes),
        "entropy": entropy / tokens,
        "kl_to_reference": kl,
        "kl_standard_error": kl_error,
        "reference_nll_per_token": nll / tokens,
        "heldout_perplexity": plain_perplexity(subject.model, subject.tokenizer, heldout),
    }, [subject.task.marked(row, completion) for row, completion in zip(rows, completions, strict=True)]


def judge_texts(
    task: Task, rows: Sequence[Row], completions: Sequence[Completion]
) -> tuple[dict[str, Any], list[float]]:
    """What a report says of the texts alone, one completion for each row; and which of them pass, 0 or 1 each."""
    rewards, outcomes = task.judge(rows, completions)
    passed, texts = int(sum(outcomes)), [c.text for c in completions]
    return {
        "pass_rate": passed / len(outcomes),
        "pass_rate_interval": wilson_interval(passed, len(outcomes)),
        "mean_reward": sum(outcomes if isinstance(task, CheckerTask) else rewards) / len(outcomes),
        **task.rates(completions),
        "mean_length": sum(map(len, texts)) / len(texts),
        "distinct_completions": distinct_completions(texts),
        "distinct_trigrams": distinct_ngrams(texts, 3),
        "largest_cluster_share": largest_cluster_share(texts),
        "largest_shape_share": largest_shape_share(texts),
    }, outcomes


def reference_pass_count(subject: Subject, rows: Sequence[Row], samples: int, seed: int) -> tuple[int, int]:
    """How many of at least `samples` completions of the reference pass, and how many were drawn."""
    passed = drawn = 0
    each = math.ceil(samples / len(rows))
    repeated = iter([row for row in rows for _ in range(each)])
    for rollout in sample_completions(subject, rows, each, seed + 1_000_000):  # other numbers than the evaluation's
        completions = decode(subject.tokenizer, rollout)
        _, outcomes = subject.task.judge([next(repeated) for _ in completions], completions)
        passed += int(sum(outcomes))
        drawn += len(completions)
    return passed, drawn


def sample_completions(
    subject: Subject,
    rows: Sequence[Row],
    num_generations: int,
    seed: int,
    logits_processor: LogitsProcessor | None = None,
) -> Iterator[Rollout]:
    """Rollouts of a few rows at a time; the same rows, seed and G give the same numbers to every policy."""
    prompts = [subject.task.prompt(subject.tokenizer, row, subject.config.max_prompt_tokens) for row in rows]
    return sample_prompts(subject, prompts, num_generations, seed, logits_processor)


def sample_prompts(
    subject: Subject,
    prompts: list[list[int]],
    num_generations: int,
    seed: int,
    logits_processor: LogitsProcessor | None = None,
) -> Iterator[Rollout]:
    """The same of prompts that are token ids already."""
    config = subject.config
    end_ids, pad_id = end_token_ids(subject.model, subject.tokenizer), subject.tokenizer.pad_token_id
    size = max(1, ROLLOUT_ROWS // num_generations)
    for i in range(0, len(prompts), size):
        part = prompts[i : i + size]
        uniforms = sampling_uniforms(len(part) * num_generations, config.max_new_tokens, i, seed)
        yield generate(
            subject.model, part, num_generations, uniforms, end_ids, pad_id, config.temperature, logits_processor
        )


def write_card(directory: str | Path, report: dict[str, Any]) -> None:
    """Put a report into the model's card, where the run has one."""
    card, metrics = Path(directory, MODEL, CARD), Path(directory, METRICS)
    if card.exists() and metrics.exists():
        steps = len(read_metrics(metrics))
        write_whole(card, model_card(load_config(Path(directory, CONFIG)), report["task"], steps, report).encode())


def write_report(report: dict[str, Any], path: Path) -> None:
    """As JSON; what is not a number is written as null."""
    write_json(without_nan(report), path)


def without_nan(value: Any) -> Any:
    """The same with None for each number that is not finite."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
