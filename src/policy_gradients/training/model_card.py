"""The model card of a run, `model/README.md`: what it is, what it was trained on and how, and what came of it."""

from typing import Any

from policy_gradients.training.config import TrainConfig, flat_of

LICENCES = {
    "tiny": ("cc-by-sa-4.0", "Wikipedia's, CC BY-SA 4.0, on whose text the base model was trained"),
    "HuggingFaceTB/SmolLM2-135M-Instruct": ("apache-2.0", "Apache-2.0, the base model's"),
    "Qwen/Qwen2.5-0.5B-Instruct": ("apache-2.0", "Apache-2.0, the base model's"),
    "gpt2": ("mit", "MIT, the base model's"),
}


def model_card(config: TrainConfig, task: str, steps: int, report: dict[str, Any] | None = None) -> str:
    """Markdown with the front matter that the hub reads.

    Args:
        task: its name.
        steps: that were trained.
        report: of `evaluate`, once there is one.
    """
    name, licence = LICENCES.get(config.model, ("other", f"that of the base model, {config.model}"))
    lines = [
        "---",
        f"base_model: {config.model}",
        f"license: {name}",
        "library_name: transformers",
        "tags: [policy-gradient, grpo, reinforcement-learning]",
        "---",
        "",
        f"# {config.model}, trained by policy gradient on the {task}",
        "",
        f"{steps} steps of {config.num_prompts} prompts × {config.num_generations} completions, seed {config.seed}, "
        f"credit by {config.credit.kind}. Sample it as it was trained: temperature {config.temperature:g}, no top-k, "
        f"no top-p, at most {config.max_new_tokens} new tokens.",
        "",
        "## Result",
        "",
        *_result(report),
        "",
        "## Settings",
        "",
        "| setting | value |",
        "| --- | --- |",
        *(f"| `{key}` | {value} |" for key, value in sorted(flat_of(config).items())),
        "",
        "## Licence",
        "",
        f"The weights: {licence}.",
        "",
    ]
    return "\n".join(lines)


def _result(report: dict[str, Any] | None) -> list[str]:
    if report is None:
        return ["Not evaluated yet: `policy-gradients evaluate DIR` fills this in."]
    before, after = report["reference"], report["tuned"]
    low, high = after["pass_rate_interval"]
    rows = [
        ("strict pass rate", f"{before['pass_rate']:.1%}", f"{after['pass_rate']:.1%} [{low:.1%}, {high:.1%}]"),
        ("distinct completions", before["distinct_completions"], after["distinct_completions"]),
        ("KL to the reference, nats a completion", "0", f"{after['kl_to_reference']:.1f}"),
        ("held-out perplexity", f"{before['heldout_perplexity']:.1f}", f"{after['heldout_perplexity']:.1f}"),
    ]
    return [
        f"On {report['num_prompts']} held-out prompts, seed {report['seed']} (95 % Wilson interval):",
        "",
        "| | before | after |",
        "| --- | --- | --- |",
        *(f"| {name} | {a} | {b} |" for name, a, b in rows),
    ]
