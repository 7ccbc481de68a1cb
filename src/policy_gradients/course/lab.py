"""The break_it lab: a healthy run, the same run with a wrong line in it, and what the alarms say."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from policy_gradients.course.failures import FAILURES, Failure, planted
from policy_gradients.course.signature import Signature
from policy_gradients.language.rewards import Completion, RewardFunction
from policy_gradients.language.text import shipped_excerpts
from policy_gradients.training import alarms
from policy_gradients.training.config import TrainConfig, make_config
from policy_gradients.training.loop import train_step
from policy_gradients.training.run import Run
from policy_gradients.training.setup import prepare
from policy_gradients.training.sources import task_with_reward

Rows = list[dict[str, Any]]
OnStep = Callable[[dict[str, Any]], None]

# Few and short completions in float32: a run takes seconds, and repeats to the digit. Nothing is left to a preset.
SETTINGS: dict[str, Any] = {
    "model": "tiny",
    "rule": "length=64&digits%3=0",
    "num_prompts": 4,
    "num_generations": 8,
    "max_prompt_tokens": 112,
    "max_new_tokens": 10,
    "micro_batch_prompts": 4,
    "precision": "no",
    "learning_rate": 1e-3,
    "warmup_steps": 1,
    "baseline": "leave_one_out",
    "scale": "none",
    "aggregation": "constant",
    "credit": "completion",
    "updates_per_batch": 1,
    "kl_place": "reward",
    "kl_weight": 0.01,
    "kl_success_weight": 0.01,
    "prompt_kl_weight": 0.0,
    "entropy_weight": 0.0,
    "curriculum": False,
}


def share_of_e(completions: Sequence[Completion]) -> list[float]:
    """The share of e's among the characters: a reward that every completion has some of, and that a run of a few steps
    can raise. Its best text is one letter, and a policy without an entropy bonus gets near it within some ten."""
    return [c.text.count("e") / max(1, len(c.text)) for c in completions]


def write_prompts(folder: str | Path) -> str:
    """A prompts file of eight excerpts, each cut at another length: under left padding their prompts begin apart."""
    path = Path(folder, "prompts.txt")
    lines = [text[: 90 - 10 * i] for i, text in enumerate(shipped_excerpts("train")[:8])]
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def _nothing(row: dict[str, Any]) -> None:
    pass


def _steps_of(run: Run, steps: int, on_step: OnStep) -> Rows:
    rows: Rows = []
    for step in range(steps):
        rows.append(train_step(run, step))
        on_step(rows[-1])
    return rows


class Lab:
    """Runs on the same prompts, with the same random numbers and settings; healthy ones are kept, to be compared with.

    lab = Lab(folder)
    broken = lab.compare(FAILURES[0], "loss", "grad_norm", steps=8)
    """

    def __init__(self, folder: str | Path, **settings: Any):
        """
        Args:
            folder: an existing one, for the file of prompts.
            settings: of `TrainConfig`, for all runs, over `SETTINGS`, such as another seed.
        """
        self.settings = {**SETTINGS, "prompts_file": write_prompts(folder), **settings}
        self._healthy: dict[str, Rows] = {}

    def config(self, **settings: Any) -> TrainConfig:
        return make_config(self.settings, **settings)

    def prepare(self, reward: RewardFunction, **settings: Any) -> Run:
        """A run of the rule's prompts and metric that is trained on another reward."""
        config = self.config(**settings)
        return prepare(config, task_with_reward(config, reward))

    def healthy(self, steps: int, failure: Failure | None = None, on_step: OnStep = _nothing, **settings: Any) -> Rows:
        """The metrics of a run as it should be, with what the failure's line needs to matter, and without the line.

        One that was made before is not made again, and `on_step` not called.
        """
        reward, settings = self._needs(failure, settings)
        key = repr((steps, reward, sorted(settings.items())))
        if key not in self._healthy:
            self._healthy[key] = _steps_of(self.prepare(reward, **settings), steps, on_step)
        return self._healthy[key]

    def broken(self, failure: Failure, steps: int, on_step: OnStep = _nothing, **settings: Any) -> Rows:
        """The metrics of the same run with the wrong line in it."""
        reward, settings = self._needs(failure, settings)
        run = self.prepare(reward, **settings)  # healthy: a sampler that disagrees with the trainer is refused at load
        with planted(failure):
            return _steps_of(run, steps, on_step)

    def compare(self, failure: Failure, *keys: str, steps: int, **settings: Any) -> Rows:
        """Both runs, their curves of the metrics `keys` on the page; the broken one's rows."""
        with Signature(*keys, total=steps, alarm=getattr(alarms, failure.alarm)) as live:
            live.healthy = self.healthy(steps, failure, live.log_healthy, **settings)
            return self.broken(failure, steps, lambda row: live.log(**row), **settings)

    def _needs(self, failure: Failure | None, settings: dict[str, Any]) -> tuple[RewardFunction, dict[str, Any]]:
        if failure is None:
            return share_of_e, settings
        return failure.reward or share_of_e, {**failure.settings, **settings}


def heard(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What a run's user reads: each alarm once, at the step at which it first rings."""
    rung: set[str] = set()
    return [f"step {i}: {said}" for i in range(1, len(rows) + 1) for said in alarms.ring_once(rows[:i], rung)]


def mystery(number: int) -> Failure:
    """One of the failures that show under the lab's own settings: the same one for the same number, in no order."""
    return random.Random(number).choice([failure for failure in FAILURES if not failure.settings])
