"""The folder of a run: config, metrics, checkpoints, the final model; what it takes to resume exactly."""

import contextlib
import errno
import json
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from policy_gradients.language.adapters import merge_adapters
from policy_gradients.language.export import PROBES, check_export, export_model
from policy_gradients.language.files import (
    PARTIAL,
    changed_files,
    checksum,
    checksums,
    discard,
    flush,
    fresh,
    put,
    read_text,
    remove,
    require_place,
    write_whole,
)
from policy_gradients.language.limits import ModelError
from policy_gradients.training.checkpoint import (
    Gathered,
    checkpoint_name,
    read_state,
    restore,
    run_fingerprint,
    write_checkpoint,
)
from policy_gradients.training.config import TrainConfig, differences, load_config, save_config
from policy_gradients.training.lock import LOCK, FolderLock
from policy_gradients.training.metrics import append_row, read_metrics, rows_until, write_metrics
from policy_gradients.training.model_card import model_card
from policy_gradients.training.run import Run
from policy_gradients.training.sharding import gathered

logger = logging.getLogger(__name__)

CONFIG, METRICS, MODEL, TASK = "config.json", "metrics.jsonl", "model", "task.json"
CARD, SUMS = "README.md", "checksums.json"
CHECKPOINT = re.compile(r"checkpoint-\d{6,}")
# what this module itself leaves behind when it is killed; whatever else lies in the folder is the user's
OURS = re.compile(
    rf"((removed-)?({CHECKPOINT.pattern}|{MODEL})|{re.escape(CONFIG)}|{re.escape(METRICS)}|{re.escape(TASK)}"
    rf"|{re.escape(LOCK)}-[0-9a-f]+(-gone)?){re.escape(PARTIAL)}"
)
TRIED = 50  # prompts whose tokens the exported model must give again


class RunFolder:
    """Reads and writes one run's folder."""

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
            OSError, ValueError: it holds another run, or none to resume, or a run of another task; another process
                writes to it; it cannot be written to.
        """
        self.path, self.config, self.resume, self.identity = path, config, resume, identity or {}
        self.tasks: list[dict[str, Any]] = [{"from_step": 0, **self.identity}]
        self.task_may_differ = allow_changed_task or identity is None
        self.lock = FolderLock(path)
        if path.exists() and not path.is_dir():
            raise ValueError(f"output folder {path} is a file")
        require_place(path)
        if path.exists():
            self.lock.refuse_if_held()
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
            self._require_checkpoint()
        else:
            self._require_empty()

    def _require_empty(self) -> None:
        there = self.path.iterdir() if self.path.exists() else ()
        if any(child.name != LOCK and not OURS.fullmatch(child.name) for child in there):
            raise ValueError(f"output folder {self.path} is not empty; choose another, or --resume the run in it")

    def _require_checkpoint(self) -> None:
        """Raise ValueError if the run has been further than it could be taken up again."""
        if self.checkpoints():
            return
        metrics = self.path / METRICS
        steps = max((row["step"] for row in read_metrics(metrics)), default=0) if metrics.exists() else 0
        if (self.path / MODEL).exists() or steps > self.config.save_every:
            raise ValueError(
                f"{self.path} holds {'a trained model' if (self.path / MODEL).exists() else f'{steps} steps'}, and no "
                "checkpoint to go on from: they have been removed. Put the last one back, or train in another folder"
            )

    @contextlib.contextmanager
    def held(self, run: Run) -> Iterator[None]:
        """While it is entered, nobody else writes here.

        Raises:
            InUse: somebody does.
        """
        if not run.accelerator.is_main_process:
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with self.lock:
            if not self.resume:
                self._require_empty()  # still: another process may have been faster
            yield

    def open(self, first_step: int) -> None:
        """Write down what the run is; drop the metrics after the checkpoint that it resumes from.

        Raises:
            ValueError: metrics of earlier steps are missing or broken.
        """
        copy = self.path / checkpoint_name(first_step) / METRICS
        try:
            kept = rows_until(self.path / METRICS, first_step, copy)
        except ValueError as error:
            raise ValueError(f"{error}; a copy is in {copy}: put it in its place, then --resume") from None
        self.path.mkdir(parents=True, exist_ok=True)
        for child in self.path.iterdir():
            if OURS.fullmatch(child.name):
                discard(child)
        if not self.resume:
            partial = self.path / (CONFIG + PARTIAL)
            save_config(self.config, partial)
            put(partial, self.path / CONFIG)
        for task in self.tasks:
            task["from_step"] = first_step if task["from_step"] is None else task["from_step"]
        write_whole(self.path / TASK, (json.dumps(self.tasks, indent=1) + "\n").encode())
        write_metrics(self.path / METRICS, kept)

    def log(self, row: dict[str, float], is_main: bool) -> None:
        """Append one line."""
        if is_main:
            append_row(self.path / METRICS, row)

    def rows_so_far(self) -> list[dict[str, Any]]:
        """What has been logged, by this process or, before a resume, by others."""
        metrics = self.path / METRICS
        return read_metrics(metrics) if metrics.exists() else []

    def save_checkpoint(self, run: Run, step: int) -> None:
        """Write a checkpoint so that it is there whole or not at all; drop all but the last few and the best.

        Raises:
            NotFinite: the weights are no numbers any more; what was there before stays.
            ValueError: it cannot be written; what was there before stays.
        """
        run.accelerator.wait_for_everyone()
        if not (run.accelerator.is_main_process or run.config.sharded):  # of shares, every process has to give its own
            return
        tensors = Gathered.of(run)
        run_fingerprint(run)
        if not run.accelerator.is_main_process:
            return
        tensors.require_finite(step)
        metrics = self.path / METRICS
        with self._written(self.path / checkpoint_name(step)) as partial:
            flush(metrics)  # a checkpoint is worth no more than the metrics before it
            write_checkpoint(run, step, partial, tensors, self.identity, metrics.read_bytes())
        kept = {*self.checkpoints()[-self.config.keep_checkpoints :], self.best_checkpoint()}
        for old in set(self.checkpoints()) - kept:
            remove(old)

    @contextlib.contextmanager
    def _written(self, target: Path) -> Iterator[Path]:
        """A folder to fill, which then takes the place of `target`.

        Raises:
            ValueError: it cannot be written; what was there before stays.
        """
        if self.path.exists() and not self.lock.is_mine():
            raise ValueError(f"{self.path} has been taken over by another process; this one writes nothing more there")
        try:
            partial = fresh(target)
            yield partial
            put(partial, target)
        except (OSError, RuntimeError, SafetensorError) as error:  # on a full disk each library raises its own
            with contextlib.suppress(OSError):
                discard(target.with_name(target.name + PARTIAL))
            full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
            free = shutil.disk_usage(self.path).free / 2**30
            what = f"{free:.1f} GiB are free there. Make room" if full else "Mend that"
            raise ValueError(
                f"{target} could not be written ({error}). {what}, then go on with --resume, from the checkpoint before"
            ) from error

    def checkpoints(self) -> list[Path]:
        """Whole checkpoints, oldest first; what has another name is none."""
        found = [path for path in self.path.glob("checkpoint-*") if CHECKPOINT.fullmatch(path.name) and path.is_dir()]
        return sorted(found, key=lambda path: (len(path.name), path.name))

    def best_checkpoint(self) -> Path | None:
        """That with the highest running mean of the strict pass rate; of equal ones, the last; damaged ones never."""
        rates = {}
        for path in self.checkpoints():
            with contextlib.suppress(OSError, ValueError):
                rates[path] = read_state(path)["pass_rate"]
        return max(rates, key=lambda path: (rates[path], path), default=None)

    def restore(self, run: Run) -> int:
        """Put the last checkpoint into `run`; returns the number of steps done, 0 without a checkpoint.

        Raises:
            ValueError: the checkpoint is damaged, or another run's.
        """
        if not (checkpoints := self.checkpoints()):
            return 0
        return restore(run, checkpoints[-1], self.config, None if self.task_may_differ else self.identity)

    def save_model(self, run: Run, steps: int, fresh_process: bool = False) -> None:
        """The tuned model as anybody's AutoModelForCausalLM and AutoTokenizer read it, which is tried at once.

        Args:
            fresh_process: try it in a process of its own (`check_export`). A model in shares is not tried.

        Raises:
            NotFinite: the weights are no numbers any more.
            ValueError: it cannot be written; the last checkpoint stays.
        """
        run.accelerator.wait_for_everyone()
        sharded = run.config.sharded
        weights = {name: gathered(weight) for name, weight in run.model.state_dict().items()} if sharded else None
        if not run.accelerator.is_main_process:
            return
        merge_adapters(run.model)
        with self._written(self.path / MODEL) as partial:
            export_model(run.model, run.tokenizer, partial, run.config.temperature, weights)
            name = run.task.name if run.task is not None else "task"
            (partial / CARD).write_text(model_card(run.config, name, steps), encoding="utf-8")
            self._seal_model(partial)
        if not sharded:
            texts = [run.tokenizer.decode(run.prompts[i]) for i in range(min(TRIED, len(run.prompts)))]
            try:
                check_export(self.path / MODEL, run.model, run.tokenizer, [*texts, *PROBES], fresh_process)
            except ModelError as error:  # the weights are written, and stay
                logger.warning("%s", error)

    def _seal_model(self, folder: Path) -> None:
        """Write down what the model's files are, and the config that made them; the card may be rewritten."""
        files = checksums(file for file in folder.iterdir() if file.name != CARD and file.is_file())
        sums = {"files": files, CONFIG: checksum(self.path / CONFIG)}
        (folder / SUMS).write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")


def require_unchanged_model(folder: Path) -> None:
    """Raise ValueError if the model of a run, or the config beside it, is not what training wrote.

    An older version wrote no checksums: there, nothing is known.
    """
    place = folder / MODEL / SUMS
    if not place.is_file():
        return
    try:
        sums = json.loads(read_text(place))
        files, config = dict(sums["files"]), str(sums[CONFIG])
        changed = changed_files(folder / MODEL, files)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{place} is damaged ({type(error).__name__}: {error})") from None
    if changed:
        raise ValueError(
            f"model folder {folder / MODEL}: {', '.join(changed)} is not what training wrote. `train --resume` writes "
            f"it again once {MODEL}/ is moved away; or, if you changed it yourself, remove {SUMS} there"
        )
    if checksum(folder / CONFIG) != config:
        raise ValueError(f"{folder / CONFIG} is not the one that {MODEL}/ was trained with; put that one back")


def read_tasks(path: Path) -> list[dict[str, Any]]:
    """The tasks that a run was trained on, in order; none of an older version's folder.

    Raises:
        ValueError: the file is damaged.
    """
    if not path.exists():
        return []
    try:
        tasks = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); put it back from a copy") from None
    if not isinstance(tasks, list) or not all(isinstance(task, dict) and "from_step" in task for task in tasks):
        raise ValueError(f"{path} is damaged (no list of tasks); put it back from a copy")
    return tasks


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
