"""The folder of a run: config, metrics, checkpoints, the final model; what it takes to resume exactly."""

import dataclasses
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from policy_gradients.language.adapters import merge_adapters
from policy_gradients.language.export import PROBES, check_export, export_model
from policy_gradients.language.limits import ModelError
from policy_gradients.training.config import (
    TrainConfig,
    config_from_json,
    differences,
    load_config,
    save_config,
    to_json,
)
from policy_gradients.training.model_card import model_card
from policy_gradients.training.run import Run
from policy_gradients.training.sharding import gathered, share_like

logger = logging.getLogger(__name__)

CONFIG, METRICS, MODEL, TASK = "config.json", "metrics.jsonl", "model", "task.json"
CARD = "README.md"
TRIED = 50  # prompts whose tokens the exported model must give again
PARTIAL = ".partial"  # ends the name of what is being written or removed; whoever is killed then leaves it behind


class RunFolder:
    """Reads and writes one run's folder.

    All randomness is a function of (seed, step), so a checkpoint is weights, optimiser, curriculum and the step.
    """

    def __init__(
        self,
        path: Path,
        config: TrainConfig,
        resume: bool,
        identity: dict[str, str] | None = None,
        allow_changed_task: bool = False,
    ):
        """Check, before anything is loaded, that the folder is free, or holds this very run.

        Args:
            identity: of the task (`Task.identity`): a run is resumed with the task that it began with …
            allow_changed_task: … or with another one, which is written down.

        Raises:
            ValueError: it holds another run, or none to resume, or a run of another task.
        """
        self.path, self.config, self.identity = path, config, identity or {}
        self.tasks: list[dict[str, Any]] = [{"from_step": 0, **self.identity}]
        if path.exists() and not path.is_dir():
            raise ValueError(f"output folder {path} is a file")
        if resume:
            found = load_config(path / CONFIG)
            if differing := differences(found, config):
                raise ValueError(
                    f"{path} holds a run with another config ({differing}); resume it with its own settings"
                )
            self.tasks = read_tasks(path / TASK)
            if identity is not None and (changed := changed_since(self.tasks, identity)):
                if not allow_changed_task:
                    raise ValueError(
                        f"{path} was begun with another task: {changed}. Give it back its own, or go on regardless "
                        "with --allow-changed-task, which the folder will tell"
                    )
                logger.warning("the run goes on with another task: %s", changed)
                self.tasks.append({"from_step": None, **self.identity})
        elif path.exists() and any(not child.name.endswith(PARTIAL) for child in path.iterdir()):
            raise ValueError(f"output folder {path} is not empty; choose another, or --resume the run in it")

    def open(self, first_step: int) -> None:
        """Create the folder, or drop the metrics after the checkpoint that the run resumes from."""
        self.path.mkdir(parents=True, exist_ok=True)
        for left_behind in self.path.glob(f"*{PARTIAL}"):
            shutil.rmtree(left_behind) if left_behind.is_dir() else left_behind.unlink()
        save_config(self.config, partial := self.path / (CONFIG + PARTIAL))
        _put(partial, self.path / CONFIG)
        for task in self.tasks:
            task["from_step"] = first_step if task["from_step"] is None else task["from_step"]
        write_atomically(self.path / TASK, (json.dumps(self.tasks, indent=1) + "\n").encode())
        metrics = self.path / METRICS
        kept = read_metrics(metrics)[:first_step] if metrics.exists() else []
        write_atomically(metrics, "".join(json.dumps(row) + "\n" for row in kept).encode())

    def log(self, row: dict[str, float], is_main: bool) -> None:
        """Append one line."""
        if is_main:
            with (self.path / METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def rows_so_far(self) -> list[dict[str, Any]]:
        """What has been logged, by this process or, before a resume, by others."""
        metrics = self.path / METRICS
        return read_metrics(metrics) if metrics.exists() else []

    def save_checkpoint(self, run: Run, step: int) -> None:
        """Write a checkpoint so that it is there whole or not at all; drop all but the last few and the best.

        Raises:
            ValueError: it cannot be written; what was there before stays.
        """
        run.accelerator.wait_for_everyone()
        if not (run.accelerator.is_main_process or run.config.sharded):  # of shares, every process has to give its own
            return
        weights, optimizer = _trained_weights(run.model), _optimizer_state(run.optimizer)
        if not run.accelerator.is_main_process:
            return
        target = self.path / f"checkpoint-{step:06d}"
        try:
            partial = _fresh(target)
            self._write_checkpoint(run, step, partial, weights, optimizer)
            _flush(self.path / METRICS)  # a checkpoint is worth no more than the metrics before it
            _put(partial, target)
        except (OSError, RuntimeError, SafetensorError) as error:  # on a full disk each library raises its own
            shutil.rmtree(target.with_name(target.name + PARTIAL), ignore_errors=True)
            free = shutil.disk_usage(self.path).free / 2**30
            raise ValueError(
                f"{target} could not be written ({error}); {free:.1f} GiB are free there. Make room, then go on with "
                "--resume, from the checkpoint before"
            ) from error
        kept = {*self.checkpoints()[-self.config.keep_checkpoints :], self.best_checkpoint()}
        for old in set(self.checkpoints()) - kept:
            _remove(old)

    def _write_checkpoint(
        self, run: Run, step: int, partial: Path, weights: dict[str, torch.Tensor], optimizer: dict[str, Any]
    ) -> None:
        """Everything that a resumed run needs, into an empty folder."""
        save_file(weights, partial / "model.safetensors")
        torch.save(optimizer, partial / "optimizer.pt")
        if run.credit.critic is not None:
            save_file(_trained_weights(run.credit.critic), partial / "critic.safetensors")
        if learned := run.credit.state():
            save_file(learned, partial / "credit.safetensors")
        scaler = run.accelerator.scaler
        if scaler is not None:
            torch.save(scaler.state_dict(), partial / "scaler.pt")
        state = {
            "step": step,
            "pass_rate": run.pass_rate,
            "curriculum": dataclasses.asdict(run.curriculum) if run.curriculum else None,
            "target_entropy_weight": run.target_entropy_weight,
            "config": to_json(self.config),
        }
        (partial / "state.json").write_text(json.dumps(state))

    def checkpoints(self) -> list[Path]:
        """Whole checkpoints, oldest first."""
        return sorted(path for path in self.path.glob("checkpoint-*") if not path.name.endswith(PARTIAL))

    def best_checkpoint(self) -> Path:
        """That with the highest running mean of the strict pass rate; of equal ones, the last."""
        return max(
            self.checkpoints(), key=lambda path: (json.loads((path / "state.json").read_text())["pass_rate"], path)
        )

    def restore(self, run: Run) -> int:
        """Put the last checkpoint into `run`; returns the number of steps done, 0 without a checkpoint.

        Raises:
            ValueError: the checkpoint is damaged, or another run's.
        """
        if not (checkpoints := self.checkpoints()):
            return 0
        last = checkpoints[-1]
        try:
            state = json.loads((last / "state.json").read_text())
            differing = differences(config_from_json(state["config"]), self.config)
            weights = load_file(last / "model.safetensors")
            optimizer = torch.load(last / "optimizer.pt", weights_only=True, map_location="cpu")
            scaler = run.accelerator.scaler
            if scaler is not None:
                scaler.load_state_dict(torch.load(last / "scaler.pt", weights_only=True))
            if missing := {name for name, _ in run.model.named_parameters()} ^ weights.keys():
                raise ValueError(f"it lacks, or has no use for, the weights {sorted(missing)[:3]}")
            own = {name: share_like(weights[name], weight) for name, weight in run.model.named_parameters()}
            run.model.load_state_dict(own, strict=False)  # tied weights have a second name there
            if run.credit.critic is not None:
                run.credit.critic.load_state_dict(load_file(last / "critic.safetensors"))
            if run.credit.state():
                run.credit.load(load_file(last / "credit.safetensors"))
            run.optimizer.load_state_dict(optimizer)
            for weight, moments in run.optimizer.state.items():
                moments.update({name: share_like(moment, weight) for name, moment in moments.items()})
        except Exception as error:  # safetensors, pickle and json each raise their own kinds
            raise ValueError(
                f"checkpoint {last} is damaged ({type(error).__name__}: {error}); delete it to go back one"
            ) from None
        if differing:
            raise ValueError(f"checkpoint {last} belongs to a run with another config ({differing}); take it out")
        run.pass_rate = state["pass_rate"]
        run.target_entropy_weight = state.get("target_entropy_weight")
        if run.curriculum:
            run.curriculum = dataclasses.replace(run.curriculum, **state["curriculum"])
        return state["step"]

    def save_model(self, run: Run, steps: int, fresh_process: bool = False) -> None:
        """The tuned model as anybody's AutoModelForCausalLM and AutoTokenizer read it, which is tried at once.

        Args:
            fresh_process: try it in a process of its own (`check_export`). A model in shares is not tried.
        """
        run.accelerator.wait_for_everyone()
        sharded = run.config.sharded
        weights = {name: gathered(weight) for name, weight in run.model.state_dict().items()} if sharded else None
        if not run.accelerator.is_main_process:
            return
        merge_adapters(run.model)
        target = self.path / MODEL
        partial = _fresh(target)
        export_model(run.model, run.tokenizer, partial, run.config.temperature, weights)
        name = run.task.name if run.task is not None else "task"
        (partial / CARD).write_text(model_card(run.config, name, steps), encoding="utf-8")
        _put(partial, target)
        if not sharded:
            texts = [run.tokenizer.decode(run.prompts[i]) for i in range(min(TRIED, len(run.prompts)))]
            try:
                check_export(target, run.model, run.tokenizer, [*texts, *PROBES], fresh_process)
            except ModelError as error:  # the weights are written, and stay
                logger.warning("%s", error)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Rows of a metrics file; a last line cut by an interruption is dropped."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def read_tasks(path: Path) -> list[dict[str, Any]]:
    """The tasks that a run was trained on, in order; none of an older version's folder."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def changed_since(tasks: list[dict[str, Any]], identity: dict[str, str]) -> str:
    """In which parts the last task differs from this one, in words; empty if in none, or if it is not known."""
    if not tasks:
        return ""
    before = {name: value for name, value in tasks[-1].items() if name != "from_step"}
    return ", ".join(
        f"{name} was {before.get(name, 'not there')}, now {identity.get(name, 'not there')}"
        for name in {**before, **identity}
        if before.get(name) != identity.get(name)
    )


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that a reader sees the old or the new content, never a part."""
    partial = path.with_name(path.name + PARTIAL)
    partial.write_bytes(content)
    _put(partial, path)


def _fresh(target: Path) -> Path:
    """An empty folder to fill in place of `target`."""
    partial = target.with_name(target.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    return partial


def _put(partial: Path, target: Path) -> None:
    """Give a file or a folder its name once all of it is on the disk."""
    for file in partial.iterdir() if partial.is_dir() else [partial]:
        _flush(file)
    if partial.is_dir():
        _flush(partial)
        _remove(target)
    partial.replace(target)
    _flush(target.parent)


def _remove(folder: Path) -> None:
    """Take its name away first: what has the name of a checkpoint is one, also while it is removed."""
    if folder.exists():
        going = folder.with_name(f"removed-{folder.name}{PARTIAL}")
        shutil.rmtree(going, ignore_errors=True)
        folder.replace(going)
        shutil.rmtree(going)


def _trained_weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    # tied weights share storage, which safetensors refuses: keep each once
    return {name: gathered(p) for name, p in module.named_parameters()}


def _optimizer_state(optimizer: Any) -> dict[str, Any]:
    state = optimizer.state_dict()
    moments = {index: {name: gathered(m) for name, m in kept.items()} for index, kept in state["state"].items()}
    return {**state, "state": moments}


def _flush(path: Path) -> None:
    """Have the disk hold what was written to a file, or which names a folder has."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
