"""From a config to what a run really uses: which model, which text, and the task that is made of it."""

import dataclasses
from pathlib import Path
from typing import Any

from policy_gradients.language.dataset import read_rows
from policy_gradients.language.models import resolve_model
from policy_gradients.language.openwebtext import SOURCE_SENTENCES, find_excerpts
from policy_gradients.language.rewards import RewardFunction
from policy_gradients.language.rules import parse_rule
from policy_gradients.language.tasks import CheckerTask, RewardTask, Task
from policy_gradients.language.text import PromptSource, Split, read_excerpts, shipped_excerpts
from policy_gradients.training.config import OwnTask, RuleTask, TrainConfig
from policy_gradients.training.user_code import load_object, load_task, portable


def resolve(config: TrainConfig) -> TrainConfig:
    """The config with the model, the source of prompts and the user's files as this machine can provide them.

    A resumed run and its evaluation then ask for the same weights and the same text, or say that they cannot.
    """
    task: RuleTask | OwnTask = config.task
    if isinstance(task, RuleTask):
        source = task.prompt_source if task.prompts_file else excerpts_of(task, "train", config.seed)[1]
        task = dataclasses.replace(task, prompt_source=source)
    else:
        task = dataclasses.replace(
            task,
            task_file=task.task_file and portable(task.task_file),
            reward_functions=tuple(portable(spec) for spec in task.reward_functions),
            **{name: _absolute(getattr(task, name)) for name in ("dataset", "heldout_dataset")},
        )
    return dataclasses.replace(config, model=resolve_model(config.model), task=task)


def make_task(config: TrainConfig) -> Task:
    """The task of a config, with its rows.

    Raises:
        ValueError, FileNotFoundError: a file, a column or a function is missing or broken.
    """
    settings = config.task
    if isinstance(settings, RuleTask):
        train, heldout = (
            [{"excerpt": text} for text in excerpts_of(settings, split, config.seed)[0]]
            for split in ("train", "heldout")
        )
        return CheckerTask(parse_rule(settings.rule), train, heldout, settings.partial_credit)
    if settings.task_file is not None:
        return load_task(settings.task_file)
    functions = [load_object(spec, "reward function") for spec in settings.reward_functions]
    for spec, function in zip(settings.reward_functions, functions, strict=True):
        if not callable(function):
            raise ValueError(f"reward function {spec!r} is no function but {type(function).__name__}")
    if settings.dataset is None:
        rows: Any = [{"excerpt": text} for text in shipped_excerpts("train")]
        heldout: Any = [{"excerpt": text} for text in shipped_excerpts("heldout")]
    else:
        rows = read_rows(settings.dataset)
        heldout = read_rows(settings.heldout_dataset) if settings.heldout_dataset else None
    instruction = settings.instruction
    if settings.dataset is None and instruction is None:
        instruction = "Continue this text.\n{excerpt}"
    name = f"reward {', '.join(spec.rpartition(':')[2] for spec in settings.reward_functions)}"
    return RewardTask(rows, instruction, functions, settings.reward_weights, heldout, settings.pass_at, name,
                      may_cut=None if settings.dataset else "excerpt")  # fmt: skip


def task_with_reward(config: TrainConfig, reward: RewardFunction) -> CheckerTask:
    """The prompts and the metric of a config's rule, with another reward to train on."""
    task = make_task(config)
    if not isinstance(task, CheckerTask):
        raise ValueError(f"the task {task.name} has a reward of its own")
    return dataclasses.replace(task, reward=reward)


def excerpts_of(task: RuleTask, split: Split, seed: int) -> tuple[list[str], PromptSource]:
    """The excerpts of one split and where they came from; a file of the user's own is all for training.

    Raises:
        FileNotFoundError, ValueError: the prompts file is missing or holds no text.
    """
    if task.prompts_file is None:
        return find_excerpts(task.prompt_source, split, task.num_excerpts, seed)
    return (read_excerpts(task.prompts_file) if split == "train" else shipped_excerpts(split)), "shipped"


def source_sentence(config: TrainConfig) -> str:
    """For reports: where prompts came from."""
    if isinstance(config.task, RuleTask):
        return SOURCE_SENTENCES["shipped" if config.task.prompts_file else config.task.prompt_source]
    return config.task.task_file or config.task.dataset or SOURCE_SENTENCES["shipped"]


def _absolute(place: str | None) -> str | None:
    return str(Path(place).resolve()) if place and Path(place).exists() else place
