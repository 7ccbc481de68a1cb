"""What a run will take, said before it starts: a moment of its own work, timed and scaled up."""

import torch

from policy_gradients.language.rollout import Rollout, generate, pad_left
from policy_gradients.training.batch import Stopwatch
from policy_gradients.training.batches import sampling_uniforms
from policy_gradients.training.config import TrainConfig
from policy_gradients.training.run import Run

DECODED = 4  # tokens of each completion that are decoded to time one


def expected_seconds(run: Run) -> dict[str, float]:
    """Of one step, rollout and training, if every completion has the full length; nothing of the run is changed.

    Decodes a few tokens of a whole batch, and scores one prompt's completions. A backward pass costs two forward ones.
    """
    config, device = run.config, run.accelerator.device
    share = config.num_prompts // run.accelerator.num_processes
    prompts = [run.prompts[i % len(run.prompts)] for i in range(share)]
    clock = Stopwatch(device)

    def decode(tokens: int) -> float:
        start = clock.now()
        uniforms = sampling_uniforms(share * config.num_generations, tokens, 0, config.seed)
        generate(run.model, prompts, config.num_generations, uniforms, [-1], run.tokenizer.pad_token_id)
        return clock.now() - start

    with run.accelerator.autocast():
        decode(1)  # what happens once is not to be scaled up
        first, more = decode(1), decode(DECODED)
    rollout = first + max(0.0, more - first) / (DECODED - 1) * (config.max_new_tokens - 1)

    prompt_ids, prompt_mask = pad_left([max(prompts, key=len)], run.tokenizer.pad_token_id, device)
    shape = (config.num_generations, config.max_new_tokens)
    tokens = torch.randint(run.model.config.vocab_size, shape, generator=torch.Generator().manual_seed(config.seed))
    ended = torch.zeros(config.num_generations, dtype=torch.bool, device=device)
    mask = torch.ones(shape, device=device)
    group = Rollout(prompt_ids, prompt_mask, tokens.to(device), mask, ended, config.num_generations)
    with torch.no_grad(), run.accelerator.autocast():
        start = clock.now()
        run.accelerator.unwrap_model(run.scorer)(group, config.temperature, run.reference)
        both = clock.now() - start  # the policy and its reference
    passes = both + both * (1.5 if config.gradient_checkpointing else 1.0)
    return {"rollout": rollout, "training": share * passes * config.updates_per_batch}


def plan(seconds: dict[str, float], config: TrainConfig, steps: int) -> str:
    """In words, for the steps that are left."""
    step = sum(seconds.values())
    parts = ", ".join(f"{name} {_time(value)}" for name, value in seconds.items())
    early = ", less if the rule is met before" if config.stop_above < 1 else ""
    return f"a step takes up to about {_time(step)} ({parts}); {steps} steps: {_time(steps * step)}{early}"


def _time(seconds: float) -> str:
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
