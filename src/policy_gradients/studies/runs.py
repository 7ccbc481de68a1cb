"""The runs of a study: each in a process of its own pool, kept in a few kilobytes, gone on with after any stop."""

import json
import logging
import math
import multiprocessing
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch

from policy_gradients.evaluation.evaluate import evaluate_run, without_nan
from policy_gradients.language.files import read_text, write_whole
from policy_gradients.studies.study import Study, require_folders
from policy_gradients.training.config import config_from_json, differences, to_json
from policy_gradients.training.loop import train
from policy_gradients.training.metrics import read_metrics
from policy_gradients.training.run_folder import CONFIG, METRICS

logger = logging.getLogger(__name__)

KEPT = "run.json"
WORKING = "training"
COLUMNS = (
    "strict_rate", "train_reward", "reward_std", "zero_variance_share", "distinct_share", "mean_length", "entropy",
    "entropy_weight", "kl", "kl_weight", "tolerance",
)  # fmt: skip
"""What is kept of each step."""
REPORTED = (
    "pass_rate", "distinct_completions", "largest_shape_share", "entropy", "kl_to_reference", "kl_standard_error",
    "reference_nll_per_token",
)  # fmt: skip
"""What is kept of the tuned policy's evaluation."""


def run_path(folder: Path, arm: str, seed: int) -> Path:
    """Where a run is kept."""
    return folder / arm / f"seed-{seed}" / KEPT


def run_study(
    study: Study,
    folder: Path,
    seeds: Sequence[int] | None = None,
    jobs: int = 1,
    resume: bool = False,
    on_run: Callable[[int, int], None] = lambda done, of: None,
) -> None:
    """Do the runs of a study that `folder` lacks, seed by seed, so that a part of it can be compared already.

    Args:
        seeds: others than the study's.
        jobs: runs at a time, on one thread each.
        resume: go on with what the folder holds; else it must hold no run.
        on_run: called with the number of runs that are kept, and of all, at the start and after each.

    Raises:
        ValueError: the folder holds runs, and it is not to be gone on with; or they have other settings; jobs below 1;
            a file is in the folder's place, or an arm's name cannot be that of a folder.
        RuntimeError: a process of the pool was ended from outside.
        Exception: what the first run to fail raised. Runs that were finished are kept in any case.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    require_folders(study)
    _require_no_file(folder)
    wanted = [(arm, seed) for seed in (study.seeds if seeds is None else seeds) for arm in study.arms]
    if not resume and any(folder.glob(f"*/seed-*/{KEPT}")):
        raise ValueError(f"{folder} holds runs already; go on with --resume, or choose another --output-dir")
    missing = [each for each in wanted if not _kept(study, folder, *each)]
    done = len(wanted) - len(missing)
    on_run(done, len(wanted))
    if not missing:
        return
    for path in (run_path(folder, *each) for each in missing):
        path.parent.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, len(missing)), context, initializer=_one_thread)
    try:
        futures = [pool.submit(_run_or_leave, study, arm, seed, run_path(folder, arm, seed)) for arm, seed in missing]
        for future in _as_they_end(futures):
            future.result()
            done += 1
            on_run(done, len(wanted))
    except BrokenProcessPool:
        raise RuntimeError("a run was ended from outside (memory?); what was finished is kept: --resume") from None
    finally:
        processes = list((pool._processes or {}).values())  # there is no public way to end those at work
        pool.shutdown(wait=False, cancel_futures=True)
        if done < len(wanted):
            for process in processes:
                process.terminate()  # it keeps its step first
        for process in processes:
            process.join()


def _run_or_leave(study: Study, arm: str, seed: int, path: Path) -> None:
    """`run_one` in a process of the pool, which would take a signal for a failed run and begin the next one."""
    try:
        run_one(study, arm, seed, path)
    except KeyboardInterrupt:  # its step is kept
        os._exit(128 + signal.SIGINT)


def run_one(study: Study, arm: str, seed: int, path: Path) -> None:
    """Train and evaluate one run, and keep what the analysis needs of it; a run that was cut goes on."""
    working = path.with_name(WORKING)
    # a folder without a config was left before its first step
    train(study.config(arm, seed), working, resume=(working / CONFIG).exists(), progress=False)
    report = evaluate_run(working, seed=1000 + seed, **study.evaluation)
    kept = without_nan(summary(study, arm, seed, read_metrics(working / METRICS), report))
    lines = (f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in kept.items())
    write_whole(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())
    shutil.rmtree(working)


def summary(
    study: Study, arm: str, seed: int, rows: Sequence[Mapping[str, Any]], report: Mapping[str, Any]
) -> dict[str, Any]:
    """What is kept of a run: its settings, the curves of its training, the end of its evaluation."""
    shown = report["completions"][:5]
    return {
        "config": to_json(study.config(arm, seed)),
        "evaluation": study.evaluation,
        "curves": {name: [_short(row[name]) for row in rows] for name in COLUMNS if name in rows[0]},
        "report": {
            **{name: _short(report["tuned"][name]) for name in REPORTED},
            "perplexity_increase": _short(report["perplexity_increase"]),
            "reference_pass_rate": report["reference_pass_rate"],
            "num_prompts": report["num_prompts"],
        },
        "completions": [row["after"]["text"] for row in shown],
        "seconds": round(sum(row["seconds"] for row in rows), 1),
    }


def read_runs(study: Study, folder: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """Arm → seed → what was kept; only what is there.

    Raises:
        ValueError: a file is damaged, lies in a folder that is not named after a seed, or its run had other settings
            than the study has now; `folder` is a file.
    """
    _require_no_file(folder)
    found: dict[str, dict[int, dict[str, Any]]] = {arm: {} for arm in study.arms}
    for arm in study.arms:
        names = [path.parent.name for path in (folder / arm).glob(f"*/{KEPT}")]
        if stray := [name for name in names if not re.fullmatch(r"seed-(0|[1-9][0-9]{0,9})", name)]:
            raise ValueError(f"{folder / arm / stray[0]} holds no run of a study: it would be called seed-0, seed-1, …")
        seeds = sorted(int(name.removeprefix("seed-")) for name in names)
        found[arm] = {seed: _kept(study, folder, arm, seed) for seed in seeds}
    return found


def _require_no_file(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; runs are kept in a folder")


def _kept(study: Study, folder: Path, arm: str, seed: int) -> dict[str, Any]:
    """What is kept of a run; empty if nothing is."""
    path = run_path(folder, arm, seed)
    if not path.exists():
        return {}
    try:
        run = json.loads(read_text(path, 10**7))
        config, evaluation = config_from_json(run["config"]), run["evaluation"]
        _require_numbers(run)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no run of a study: {error!r}") from None
    if said := differences(config, study.config(arm, seed)):
        raise ValueError(f"{path} was run with other settings: {said}; choose another --output-dir")
    if evaluation != study.evaluation:
        raise ValueError(
            f"{path} was evaluated with other settings: {evaluation}, not {study.evaluation}; "
            "choose another --output-dir"
        )
    return run


def _require_numbers(run: Mapping[str, Any]) -> None:
    """What the analysis takes means of; KeyError, TypeError or ValueError if it is not there."""
    lengths = set()
    for name in ("strict_rate", "reward_std", "entropy"):
        lengths.add(len(run["curves"][name]))
        if not all(math.isfinite(value) for value in run["curves"][name]):
            raise ValueError(f"{name} holds a number that is not finite")
    if len(lengths) > 1 or 0 in lengths:
        raise ValueError(f"its curves have {sorted(lengths)} steps")
    for name in ("pass_rate", "distinct_completions", "kl_to_reference", "perplexity_increase", "num_prompts"):
        if not math.isfinite(run["report"][name]):
            raise ValueError(f"{name} is {run['report'][name]!r}")


def _as_they_end(futures: Sequence[Future]) -> Iterator[Future]:
    left = set(futures)
    while left:
        ended, left = wait(left, timeout=1, return_when="FIRST_COMPLETED")  # a timeout, so that signals are heard
        yield from ended


def _one_thread() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    logging.getLogger("policy_gradients").setLevel(logging.ERROR)  # alarms of arms that are meant to go wrong


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value  # more than any figure shows
