"""PPO beside GRPO: one task, one set of prompts, one number of completions; what differs is where the baseline is from.

    python -m policy_gradients.training.compare_critics --output-dir results/ppo_vs_grpo

Every run has a process of its own, so that its peak memory is its own. Methods alternate within a seed, and a run that
the folder holds already is not done again, so that a comparison which was cut goes on.
"""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from policy_gradients.errors import run_module
from policy_gradients.language.rewards import Completion
from policy_gradients.training.config import TrainConfig, save_config
from policy_gradients.training.loop import train_step
from policy_gradients.training.presets import preset
from policy_gradients.training.run import Run
from policy_gradients.training.run_folder import METRICS, read_metrics
from policy_gradients.training.setup import prepare
from policy_gradients.training.sources import task_with_reward

MEMORY = "memory.json"
DESCRIPTION = "config.json"
FINISHED = "finished"

METHODS: dict[str, dict[str, Any]] = {
    "grpo": {"baseline": "mean", "scale": "std"},
    "ppo-head": {"critic": "head", "gae_lambda": 1.0, "value_weight": 0.1},
    "ppo-model": {"critic": "model", "gae_lambda": 1.0, "value_weight": 0.1},
}
"""What a method changes. λ = 1 keeps PPO's advantages free of bias while its critic knows nothing yet."""

TASK: dict[str, Any] = {
    "num_prompts": 8,
    "num_generations": 8,
    "micro_batch_prompts": 8,
    "max_prompt_tokens": 80,
    "max_new_tokens": 24,
    "max_steps": 20,
    "stop_above": 1.0,
    "learning_rate": 4e-4,
    "final_learning_rate": 1.0,
    "warmup_steps": 5,
    "credit": "completion",
    "updates_per_batch": 1,
    "aggregation": "constant",
    # advantages come in other units with each method, and a β, or an entropy weight, would mean something else in each
    "kl_weight": 0.0,
    "kl_success_weight": 0.0,
    "prompt_kl_weight": 0.0,
    "entropy_weight": 0.0,
    "curriculum": False,
}
"""What all methods share."""


def holds_a_digit(completions: Sequence[Completion]) -> list[float]:
    """The reward of the task: 1 for a completion with a digit, 0 for one without; it need not have ended.

    One completion in five or six of the untrained model earns it, so that every method has something to learn from at
    once. With a rarer reward, which seed happens to meet it first would decide.
    """
    return [float(any(c in "0123456789" for c in completion.text)) for completion in completions]


def config_of(method: str, seed: int, **overrides: Any) -> TrainConfig:
    """The settings of one run.

    Raises:
        ValueError: unknown method; as `preset`.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; known are {', '.join(METHODS)}")
    return preset("tiny", **{**TASK, **METHODS[method], "seed": seed, **overrides})


def held_bytes(run: Run) -> dict[str, int]:
    """Bytes that a run holds from step to step, whatever the batch: exact, from the tensors' own sizes.

    Call it after a step, when the optimiser has its state. Gradients are as large as what is trained.
    """
    critic = [] if run.credit.critic is None else list(run.credit.critic.parameters())
    trained = [p for p in run.scorer.parameters() if p.requires_grad]
    state = [x for s in run.optimizer.state.values() for x in s.values() if isinstance(x, torch.Tensor)]
    return {
        "policy": _bytes(run.model.parameters()),
        "reference": _bytes(run.reference.parameters()),
        "critic": _bytes(critic),
        "gradients": _bytes(trained),
        "optimizer": _bytes(state),
    }


def measured_run(config: TrainConfig) -> tuple[list[dict[str, float]], dict[str, int]]:
    """Train and watch; rows of metrics with `cpu_seconds`, and bytes held with `peak`.

    The CPU seconds of this process do not depend on who else uses the machine, as those of the clock do. `peak` is what
    the run adds to the most that the process had held before it.
    """
    from policy_gradients.training.benchmark import peak_memory

    before = peak_memory("cpu")
    run, rows = prepare(config, task_with_reward(config, holds_a_digit)), []
    for step in range(config.max_steps):
        start = time.process_time()
        row = train_step(run, step)
        rows.append({**row, "cpu_seconds": time.process_time() - start})
    return rows, {**held_bytes(run), "peak": peak_memory("cpu") - before}


def compare(
    folder: Path, methods: Sequence[str], seeds: Sequence[int], threads: int = 1, **overrides: Any
) -> dict[str, list[Path]]:
    """Do the runs that `folder` lacks; method → folders of its runs, seed by seed.

    Raises:
        ValueError: as `config_of`, before any run.
        RuntimeError: a run failed; what it said went to standard error.
    """
    configs = {(seed, method): config_of(method, seed, **overrides) for seed in seeds for method in methods}
    found: dict[str, list[Path]] = {method: [] for method in methods}
    for (seed, method), config in configs.items():
        path = folder / method / f"seed-{seed}"
        if not (path / MEMORY).exists():
            print(f"… {method}, seed {seed}", flush=True)
            _in_a_process(config, path, threads)
        found[method].append(path)
    return found


def read_runs(folder: Path) -> dict[str, list[list[dict[str, Any]]]]:
    """Method → rows of each seed, in the order of `METHODS`; only what is there, finished."""
    runs = {}
    for method in METHODS:
        if paths := sorted((folder / method).glob(f"seed-*/{MEMORY}")):
            runs[method] = [read_metrics(path.with_name(METRICS)) for path in paths]
    return runs


def read_memory(folder: Path) -> dict[str, dict[str, int]]:
    """Method → bytes, of its first run."""
    paths = {method: sorted((folder / method).glob(f"seed-*/{MEMORY}")) for method in METHODS}
    return {method: json.loads(found[0].read_text(encoding="utf-8")) for method, found in paths.items() if found}


def _in_a_process(config: TrainConfig, path: Path, threads: int) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_run_and_write, args=(config, path, threads))
    process.start()
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"the run of {path} failed with exit code {process.exitcode}")


def _run_and_write(config: TrainConfig, path: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    rows, memory = measured_run(config)
    path.mkdir(parents=True, exist_ok=True)
    save_config(config, path / DESCRIPTION)
    # five digits are more than any figure shows
    short = [{k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    (path / METRICS).write_text("".join(json.dumps(row) + "\n" for row in short), encoding="utf-8")
    # last: it says that the run is whole
    (path / MEMORY).write_text(json.dumps(memory, indent=2) + "\n", encoding="utf-8")


def _bytes(tensors: Any) -> int:
    return sum(x.numel() * x.element_size() for x in tensors)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m policy_gradients.training.compare_critics", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--output-dir", type=Path, required=True, help="where results are, and will be")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--max-steps", type=int, default=TASK["max_steps"])
    parser.add_argument("--threads", type=int, default=1, help="of each run [1]")
    options = parser.parse_args(arguments)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    options.output_dir.mkdir(parents=True, exist_ok=True)  # what cannot be written to shows before the first run
    compare(options.output_dir, options.methods, options.seeds, options.threads, max_steps=options.max_steps)


if __name__ == "__main__":
    run_module(main)
