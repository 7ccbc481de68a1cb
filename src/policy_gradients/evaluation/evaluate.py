"""Did it learn, or did it cheat? The tuned policy beside its reference: same prompts, same decoding, same numbers."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from policy_gradients.evaluation.statistics import (
    distinct_completions,
    distinct_ngrams,
    kl_floor,
    largest_cluster_share,
    paired_difference,
    wilson_interval,
)
from policy_gradients.language.models import ModelError, best_device, end_token_ids, load_model
from policy_gradients.language.prompts import prompt_ids
from policy_gradients.language.rewards import Completion, check_rates, decode, passes
from policy_gradients.language.rollout import Rollout, generate
from policy_gradients.language.rules import AllOf, Rule, parse_rule
from policy_gradients.language.scoring import CompletionScorer, plain_perplexity
from policy_gradients.language.text import shipped_articles
from policy_gradients.training.batches import prompt_indices, sampling_uniforms
from policy_gradients.training.config import TrainConfig, load_config
from policy_gradients.training.sources import excerpts_of, source_sentence

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
ROLLOUT_ROWS = 128  # completions decoded at the same time


@dataclass
class Subject:
    """A policy to evaluate, with the decoding that it was trained for."""

    model: PreTrainedModel
    tokenizer: Any
    rule: Rule
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
) -> dict[str, Any]:
    """Evaluate a training run on held-out prompts, one sample a prompt, before and after.

    Args:
        directory: what `train` wrote.
        num_prompts: how many of the held-out excerpts of the run's own kind of text.
        seed: decides the excerpts and the samples; both policies see the same.
        reference_samples: completions of the reference that estimate p, its chance to pass, for the KL floor. If none
            of them passes, the floor is that of the largest p in its interval: the true one lies higher.
        rule: evaluate another rule than the run's own (an unseen length, say).
        progress: called with a line of text before each part.
        perplexity_texts: how many of the held-out articles the perplexity is of; None: all.
        precision: of the products, `no` (float32), `bf16` or `fp16`; both policies alike.

    Returns:
        The report; rates come with 95 % Wilson intervals, divergences in nats a completion.

    Raises:
        ValueError: the folder holds no finished run, more prompts than there are, or a model that cannot be loaded.
    """
    tuned = load_subject(Path(directory), rule)
    excerpts, source = excerpts_of(tuned.config, "heldout")
    if not 1 <= num_prompts <= len(excerpts):
        raise ValueError(f"num_prompts must lie in [1, {len(excerpts)}], the held-out excerpts; got {num_prompts}")
    model, tokenizer = load_model(tuned.config.model)
    reference = Subject(model.to(best_device()), tokenizer, tuned.rule, tuned.config)
    picked = [excerpts[i] for i in prompt_indices(len(excerpts), num_prompts, 0, seed)]

    if perplexity_texts is not None and perplexity_texts < 1:
        raise ValueError(f"perplexity_texts must be at least 1, got {perplexity_texts}")
    if precision not in ("no", *DTYPES):
        raise ValueError(f"precision must be no, {' or '.join(DTYPES)}, got {precision!r}")
    device = best_device().type
    with torch.autocast(device, DTYPES.get(precision), enabled=precision != "no"):
        progress("reference policy")
        before, before_completions = evaluate_policy(reference, reference.model, picked, seed, perplexity_texts)
        progress("tuned policy")
        after, after_completions = evaluate_policy(tuned, reference.model, picked, seed, perplexity_texts)
        progress(f"chance of the reference to pass, from {reference_samples} samples")
        passed, drawn = reference_pass_count(reference, picked, reference_samples, seed)
    interval = wilson_interval(passed, drawn)
    floor = kl_floor(after["pass_rate"], passed / drawn if passed else interval[1])
    outcomes = [[int(passes(tuned.rule, c)) for c in side] for side in (before_completions, after_completions)]
    return {
        "tuned": after,
        "reference": before,
        "kl_floor": floor,
        "kl_over_floor": after["kl_to_reference"] / floor if floor else math.nan,
        "reference_pass_rate": passed / drawn,
        "reference_pass_rate_interval": interval,
        "reference_pass_rate_by_importance": after["reference_pass_rate_by_importance"],
        "perplexity_increase": after["heldout_perplexity"] / before["heldout_perplexity"] - 1,
        "paired_difference": dataclasses.asdict(paired_difference(*outcomes)),
        "num_prompts": num_prompts,
        "perplexity_texts": perplexity_texts,
        "precision": precision,
        "seed": seed,
        "rule": tuned.rule.name,
        "model": tuned.config.model,
        "prompts": source_sentence(source),
        "completions": [
            {"excerpt": excerpt, "before": marked(tuned.rule, b), "after": marked(tuned.rule, a)}
            for excerpt, b, a in zip(picked, before_completions, after_completions, strict=True)
        ],
    }


def sample_run(directory: str | Path, prompt: str, n: int = 8, seed: int = 0) -> list[dict[str, Any]]:
    """`n` completions of one excerpt by the tuned policy, every check marked."""
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    subject = load_subject(Path(directory))
    [rollout] = sample_completions(subject, [prompt], n, seed)
    return [marked(subject.rule, completion) for completion in decode(subject.tokenizer, rollout)]


def load_subject(directory: Path, rule: str | None = None) -> Subject:
    """The tuned policy of a run.

    Raises:
        ValueError: the folder holds no finished run, or the model in it is damaged.
    """
    config = load_config(directory / "config.json")
    if not (directory / "model").is_dir():
        raise ModelError(f"{directory} holds no trained model yet; finish it with `train --resume`")
    model, tokenizer = load_model(str(directory / "model"))
    return Subject(model.to(best_device()), tokenizer, parse_rule(rule or config.rule), config)


@torch.no_grad()
def evaluate_policy(
    subject: Subject, reference: PreTrainedModel, excerpts: list[str], seed: int, perplexity_texts: int | None = None
) -> tuple[dict[str, Any], list[Completion]]:
    """One sampled completion for each excerpt; every number of the report about one policy."""
    rollouts = list(sample_completions(subject, excerpts, 1, seed))
    completions = [c for rollout in rollouts for c in decode(subject.tokenizer, rollout)]
    scorer, reference_scorer = CompletionScorer(subject.model), CompletionScorer(reference)
    tokens, entropy, kl, nll, log_ratios = 0.0, 0.0, 0.0, 0.0, []
    for rollout in rollouts:
        scores = scorer(rollout, subject.config.temperature, reference)
        tokens += rollout.mask.sum().item()
        entropy += scores.entropy.sum().item()
        kl += scores.kl.sum().item()
        log_ratios += (scores.ref_log_probs - scores.log_probs).sum(1).tolist()
        nll -= reference_scorer(rollout, subject.config.temperature).log_probs.sum().item()
    outcomes = [passes(subject.rule, c) for c in completions]
    texts = [c.text for c in completions]
    heldout = [article["text"] for article in shipped_articles("heldout")][:perplexity_texts]
    return {
        "pass_rate": sum(outcomes) / len(outcomes),
        "pass_rate_interval": wilson_interval(sum(outcomes), len(outcomes)),
        # E under π of 1[passes] π_ref/π: unbiased where plain samples of the reference would never pass, but blind to
        # passing texts that this policy hardly ever writes, so as a rule too low
        "reference_pass_rate_by_importance": sum(
            math.exp(ratio) for ratio, passed in zip(log_ratios, outcomes, strict=True) if passed
        )
        / len(outcomes),
        "mean_reward": sum(outcomes) / len(outcomes),
        **check_rates(subject.rule, completions),
        "mean_length": sum(map(len, texts)) / len(texts),
        "distinct_completions": distinct_completions(texts),
        "distinct_trigrams": distinct_ngrams(texts, 3),
        "largest_cluster_share": largest_cluster_share(texts),
        "entropy": entropy / tokens,
        "kl_to_reference": kl / len(completions),
        "reference_nll_per_token": nll / tokens,
        "heldout_perplexity": plain_perplexity(subject.model, subject.tokenizer, heldout),
    }, completions


def reference_pass_count(subject: Subject, excerpts: list[str], samples: int, seed: int) -> tuple[int, int]:
    """How many of at least `samples` completions of the reference pass, and how many were drawn."""
    passed = drawn = 0
    each = math.ceil(samples / len(excerpts))
    for rollout in sample_completions(subject, excerpts, each, seed + 1_000_000):  # other numbers than the evaluation's
        completions = decode(subject.tokenizer, rollout)
        passed += sum(passes(subject.rule, c) for c in completions)
        drawn += len(completions)
    return passed, drawn


def sample_completions(subject: Subject, excerpts: list[str], num_generations: int, seed: int) -> Iterator[Rollout]:
    """Rollouts of a few excerpts at a time; the same excerpts, seed and G give the same numbers to every policy."""
    config = subject.config
    prompts = [prompt_ids(subject.tokenizer, subject.rule, e, config.max_prompt_tokens) for e in excerpts]
    end_ids, pad_id = end_token_ids(subject.model, subject.tokenizer), subject.tokenizer.pad_token_id
    size = max(1, ROLLOUT_ROWS // num_generations)
    for i in range(0, len(prompts), size):
        part = prompts[i : i + size]
        uniforms = sampling_uniforms(len(part) * num_generations, config.max_new_tokens, i, seed)
        yield generate(subject.model, part, num_generations, uniforms, end_ids, pad_id, config.temperature)


def marked(rule: Rule, completion: Completion) -> dict[str, Any]:
    """A completion with every check of the rule marked."""
    parts = rule.parts if isinstance(rule, AllOf) else (rule,)
    return {
        "text": completion.text,
        "characters": len(completion.text),
        "passed": passes(rule, completion),
        "checks": {"finished": completion.finished, **{part.name: part.check(completion.text) for part in parts}},
    }


def write_report(report: dict[str, Any], path: Path) -> None:
    """As JSON; what is not a number is written as null."""
    path.write_text(json.dumps(_no_nan(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _no_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _no_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_no_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
