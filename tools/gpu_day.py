"""All that a GPU has to be asked, in one command: does it compute what the CPU does, does a T4 hold it, does it learn?

python tools/gpu_day.py --model Qwen/Qwen2.5-0.5B-Instruct --output-dir results/gpu

At most 25 minutes on any CUDA machine: what is not done by then has failed. Each check leaves a file DIR/NAME.json as
soon as it has ended; what failed is written down, and the next one begins. A check whose file says that it passed is
not made again. Memory is capped at what a T4 has, whatever the card. `--dry-run` takes sizes that a CPU is done with
in seconds, on any model folder.
"""

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from policy_gradients.evaluation.deliver import write_json
from policy_gradients.training.budget import GIB, T4_GIB
from policy_gradients.training.run_folder import read_metrics

MINUTES = 25.0
FULL = {"prompt-source": "shipped"}
# a CPU's sizes: the checks are the same
SMALL = {**FULL, "num-prompts": 2, "num-generations": 2, "max-new-tokens": 4, "max-prompt-tokens": 128}
SMALL_WORK = {"num-prompts": 2, "num-generations": 2, "max-new-tokens": 4, "prompt-tokens": 16}
TIMES = ("seconds", "tokens_per_second", "elapsed")


@dataclass(frozen=True)
class Day:
    """What every check is given."""

    model: str
    folder: Path
    small: bool
    cap_gib: float
    deadline: float  # on `time.monotonic`'s clock


def options(**settings: Any) -> list[str]:
    """Settings as a command line has them."""
    return [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def capped(gib: float, arguments: Sequence[str]) -> list[str]:
    """A command line of this project in a process that may hold so much of the GPU, and says how much it held."""
    return [sys.executable, __file__, "--capped", str(gib), *arguments]


def run_capped(gib: float, arguments: list[str]) -> int:
    """The inside of that process."""
    from policy_gradients.cli import main

    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, gib * GIB / total))
    status = main(arguments)
    if torch.cuda.is_available():
        print(f"peak {torch.cuda.max_memory_reserved() / GIB:.3f} GiB", file=sys.stderr)
    return status


def call(day: Day, arguments: Sequence[str], *, gib: float | None = None, minutes: float = 5.0) -> str:
    """What a command line said on stderr.

    Raises:
        RuntimeError: it failed, or took longer than that.
    """
    command = capped(day.cap_gib if gib is None else gib, arguments)
    seconds = min(60 * minutes, max(0.0, day.deadline - time.monotonic()))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{arguments[0]}: not done after {seconds / 60:g} minutes") from None
    if done.returncode:
        raise RuntimeError(f"{arguments[0]} ended with status {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stderr


def peak_of(said: str) -> float | None:
    """GiB that a capped process held at most; None without a GPU."""
    lines = [line for line in said.splitlines() if line.startswith("peak ")]
    return float(lines[-1].split()[1]) if lines else None


def train(day: Day, name: str, **settings: Any) -> list[str]:
    """The command line of a run, of the page's recipe if nothing else is said, into a folder that is begun anew."""
    folder = day.folder / "runs" / name
    shutil.rmtree(folder, ignore_errors=True)
    sizes = SMALL if day.small else FULL
    chosen = options(**{"preset": "page", "model": day.model, "output_dir": folder, **settings, **sizes})
    return ["train", "--no-progress", *chosen]


def machine(day: Day) -> dict[str, Any]:
    """What all the other numbers are of."""
    facts: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda, "processors": os.cpu_count()}
    if not torch.cuda.is_available():
        return {**facts, "device": "cpu"}
    card = torch.cuda.get_device_properties(0)
    return {
        **facts,
        "device": card.name,
        "capability": f"{card.major}.{card.minor}",
        "memory_gib": card.total_memory / GIB,
        "bf16": torch.cuda.is_bf16_supported(including_emulation=False),
    }


def agreement(day: Day) -> dict[str, Any]:
    """Sampler, packed trainer and the model's own forward on this device's attention kernels."""
    from policy_gradients.language.agreement import check_agreement
    from policy_gradients.language.models import best_device, load_model

    found = check_agreement(load_model(day.model)[0].to(best_device()))
    return {"architecture": found.architecture, "padded": found.padded, "difference": found.difference}


def speed(precision: str) -> Callable[[Day], dict[str, Any]]:
    """Seconds and memory of a step beside the bare model, in one precision (fp16: autocast and its scaler)."""

    def measure(day: Day) -> dict[str, Any]:
        file = day.folder / f"benchmark-{precision}.json"
        work = SMALL_WORK if day.small else {}
        chosen = options(model=day.model, precision=precision, rounds=1, json=file, **work)
        call(day, ["benchmark", *chosen, "--sides", "ours", "floor"])
        return {"measured": json.loads(file.read_text(encoding="utf-8"))[0]["measured"]}

    return measure


def memory(day: Day) -> dict[str, Any]:
    """Two steps of the page's recipe within what a T4 has."""
    said = call(day, train(day, "memory", max_steps=2))
    rows = read_metrics(day.folder / "runs" / "memory" / "metrics.jsonl")
    last = {"micro_batch_prompts": rows[-1]["micro_batch_prompts"], "seconds_a_step": rows[-1]["seconds"]}
    return {"cap_gib": day.cap_gib, "peak_gib": peak_of(said), **last}


def halving(day: Day) -> dict[str, Any]:
    """Too little memory for a whole batch at once: smaller pieces, and the run goes on."""
    peak = json.loads((day.folder / "memory.json").read_text(encoding="utf-8")).get("peak_gib")
    whole = 2 if day.small else 4
    line = train(day, "halving", max_steps=2, micro_batch_prompts=whole)
    said = call(day, line, gib=day.cap_gib if peak is None else 0.8 * peak)
    rows = read_metrics(day.folder / "runs" / "halving" / "metrics.jsonl")
    pieces = [row["micro_batch_prompts"] for row in rows]
    if peak is not None and pieces[-1] == whole:
        raise RuntimeError(f"nothing was halved under {0.8 * peak:.2f} GiB; the whole took {peak:.2f}")
    return {"micro_batch_prompts": pieces, "warned": "out of memory with" in said}


def resume(day: Day) -> dict[str, Any]:
    """A run that is stopped after a step and goes on, against one that is not: the largest difference of any metric."""
    steps = {"max_steps": 3, "save_every": 1}
    call(day, train(day, "whole", **steps))
    line, folder = train(day, "stopped", **steps), day.folder / "runs" / "stopped"
    process = subprocess.Popen(capped(day.cap_gib, line), stderr=subprocess.DEVNULL)
    stop_after(process, lambda: len(list(folder.glob("checkpoint-*"))) > 0, seconds=300)
    call(day, [*line, "--resume"])
    rows = [read_metrics(day.folder / "runs" / name / "metrics.jsonl") for name in ("whole", "stopped")]
    worst = max(
        (abs(a[key] - b[key]), key)
        for a, b in zip(*rows, strict=True)
        for key in a
        if not key.startswith(TIMES) and isinstance(a[key], float) and not math.isnan(a[key])
    )
    return {"steps": len(rows[0]), "largest_difference": worst[0], "metric": worst[1]}


def stop_after(process: subprocess.Popen, happened: Callable[[], bool], seconds: float) -> None:
    """Ask a process to stop (SIGTERM: it writes a checkpoint) once something has happened, or after so long."""
    end = time.monotonic() + seconds
    while process.poll() is None and not happened() and time.monotonic() < end:
        time.sleep(0.05)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    process.wait()


def learn(name: str, share: float, **settings: Any) -> Callable[[Day], dict[str, Any]]:
    """A recipe at 64 characters on the real model, for a share of the time that is left, and its evaluation."""

    def run(day: Day) -> dict[str, Any]:
        begun = time.monotonic()
        seconds = share * max(0.0, day.deadline - begun)
        few = {"max_steps": 2} if day.small else {}
        line, folder = train(day, name, **settings, **few), day.folder / "runs" / name
        with (day.folder / f"{name}.log").open("w", encoding="utf-8") as log:
            process = subprocess.Popen(capped(day.cap_gib, line), stderr=log)
            stop_after(process, lambda: False, 0.8 * seconds)
        if process.returncode not in (0, 128 + signal.SIGTERM):
            said = (day.folder / f"{name}.log").read_text(encoding="utf-8")
            raise RuntimeError(f"train ended with status {process.returncode}: {said.strip()[-300:]}")
        report = folder / "report.json"
        count = {"num_prompts": 4, "reference_samples": 8} if day.small else {"reference_samples": 1000}
        call(day, ["evaluate", str(folder), *options(json=report, **count)], minutes=max(2.0, seconds / 60))
        kept = day.folder / name
        kept.mkdir(exist_ok=True)
        for file in ("config.json", "metrics.jsonl", "report.json"):
            shutil.copy(folder / file, kept / file)
        rows, tuned = read_metrics(folder / "metrics.jsonl"), json.loads(report.read_text(encoding="utf-8"))["tuned"]
        return {
            "steps": len(rows),
            "minutes": (time.monotonic() - begun) / 60,
            "seconds_a_step": rows[-1]["seconds"],
            **{key: tuned[key] for key in ("pass_rate", "distinct_completions", "kl_to_reference")},
        }

    return run


BY_STATE = {"preset": "smollm2", "rule": "length=64&digits%3=0", "max_new_tokens": 24}
CHECKS: dict[str, Callable[[Day], dict[str, Any]]] = {
    "machine": machine,
    "agreement": agreement,
    **{f"speed-{precision}": speed(precision) for precision in ("no", "fp16", "bf16")},
    "memory": memory,
    "halving": halving,
    "resume": resume,
    "page": learn("page", 0.5),
    "by-state": learn("by-state", 0.9, **BY_STATE),
}


def check(name: str, day: Day) -> dict[str, Any]:
    """Make one check, unless its file says that it has passed, and leave its file."""
    file = day.folder / f"{name}.json"
    if file.exists() and (known := json.loads(file.read_text(encoding="utf-8")))["passed"]:
        return known
    begun = time.monotonic()
    try:
        found = {"passed": True, **CHECKS[name](day)}
    except Exception as error:  # whatever it is, it is this check's result, and the others are still to be made
        found = {"passed": False, "error": f"{type(error).__name__}: {error}"}
    found["seconds"] = time.monotonic() - begun
    write_json(found, file)
    return found


def main() -> int:
    """All checks in their order; 0 if each of them passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default="Qwen/Qwen2.5-0.5B-Instruct", help="a hub id or a model folder [%(default)s]"
    )
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all of it [%(default)s]")
    parser.add_argument("--cap-gib", type=float, default=T4_GIB, help="GPU memory a process may hold [%(default)s]")
    parser.add_argument("--only", nargs="+", choices=list(CHECKS), default=list(CHECKS), metavar="CHECK")
    parser.add_argument("--dry-run", action="store_true", help="sizes that a CPU is done with in seconds")
    parsed = parser.parse_args()
    if not torch.cuda.is_available() and not parsed.dry_run:
        parser.error("no CUDA device is visible; --dry-run makes the same checks in small on the CPU")
    parsed.output_dir.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * parsed.minutes
    day = Day(parsed.model, parsed.output_dir, parsed.dry_run, parsed.cap_gib, end)
    passed = True
    for name in parsed.only:
        found = check(name, day)
        passed &= found["passed"]
        shown = ", ".join(f"{key} {value}" for key, value in found.items() if key not in ("passed", "measured"))
        print(f"{'ok    ' if found['passed'] else 'FAILED'} {name}: {shown}", flush=True)
    return 0 if passed else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--capped"]:
        sys.exit(run_capped(float(sys.argv[2]), sys.argv[3:]))
    sys.exit(main())
