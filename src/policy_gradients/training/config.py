"""Every number that decides a run, as a tree: what a choice does not use has no place to stand in it.

A run is told by flat settings (`make_config`, `preset`, the command line); they are sorted into the tree here. Where
there is a choice of kinds (credit, divergence, entropy, curriculum, task), each kind holds its own settings alone, so
that contradictory mixes cannot be written, and a setting without a part is refused by name.
"""

import ast
import dataclasses
import functools
import inspect
import itertools
import json
import math
import sys
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from policy_gradients.estimators.advantages import Baseline, Scale
from policy_gradients.estimators.divergences import KlEstimator, KlPlace
from policy_gradients.estimators.losses import Aggregation, ClipPlace, RatioLevel
from policy_gradients.language.files import read_text
from policy_gradients.language.rules import ExactLength, find_part, parse_rule, require_states
from policy_gradients.language.text import PromptSource
from policy_gradients.training.value_head import CriticKind

Values = Literal["returns", "transitions"]
Gate = Literal["length", "reward"]
Precision = Literal["auto", "no", "bf16", "fp16"]
MOST_TOKENS = 10**8  # in one step
MOST_SAMPLED = 10**8  # in one evaluation
FAST = 10_000  # tokens a second that a fast machine samples from a small model


def number(default: float, *, above: float | None = None, least: float | None = None, most: float = math.inf) -> Any:
    """A field of a record with the range of its values: above a bound, or at least it, and at most another."""
    return field(default=default, metadata={"above": above, "least": least, "most": most})


class Checked:
    """A record whose numbers are finite and in range, and whose choices are among the known ones."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for each in dataclasses.fields(self):  # type: ignore[arg-type]
            value, hint = getattr(self, each.name), hints[each.name]
            if typing.get_origin(hint) is Literal and value not in typing.get_args(hint):
                raise ValueError(f"{each.name} must be one of {', '.join(typing.get_args(hint))}, got {value!r}")
            if hint is bool and not isinstance(value, bool):
                raise ValueError(f"{each.name} must be true or false, got {value!r}")
            if hint is str and not isinstance(value, str):
                raise ValueError(f"{each.name} must be text, got {value!r}")
            if hint in (int, float):
                check_number(each.name, value, hint, each.metadata)


def check_number(name: str, value: Any, kind: type, bounds: typing.Mapping[str, Any]) -> None:
    """Raise ValueError unless a value is a finite number of its kind within `bounds`: above, least, most."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole or (kind is float and isinstance(value, float))):
        raise ValueError(f"{name} must be a {'whole ' if kind is int else ''}number, got {value!r}")
    if abs(value) > sys.float_info.max if whole else not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}")
    above, least, most = bounds.get("above"), bounds.get("least"), bounds.get("most", math.inf)
    if above is not None and value <= above:
        raise ValueError(f"{name} must be above {above:g}, got {value}")
    if least is not None and value < least:
        raise ValueError(f"{name} must {'not be negative' if least == 0 else f'be at least {least:g}'}, got {value}")
    if value > most:
        raise ValueError(f"{name} must be at most {most:g}, got {value}")


def require_affordable(name: str, completions: int, tokens: int, most: int = MOST_TOKENS) -> None:
    """Raise ValueError if so many completions of so many tokens are more than any machine would get through."""
    total = completions * tokens
    if total > most:
        raise ValueError(
            f"{name}: {completions:.3g} completions of up to {tokens:.3g} tokens are {total:.3g} tokens: "
            f"{4e-9 * total:.3g} GB for their random numbers alone, and {total / 3600 / FAST:.3g} hours at {FAST} "
            f"tokens a second; {most:.0e} are the most"
        )


@dataclass(frozen=True)
class Curriculum(Checked):
    """Train on a widened length first. The reported metric is the strict rule always."""

    kind: ClassVar[str] = "tolerance"
    start_tolerance: int = number(8, least=0, most=10_000)
    """Characters too many or too few that the training reward accepts at first."""
    raise_above: float = number(0.6, least=0, most=1)
    """The tolerance shrinks by a step while more than this share of completions is within it …"""
    lower_below: float = number(0.4, least=0, most=1)
    """… and grows again while less than this share is."""
    curriculum_gate: Gate = "length"
    """That share: of completions of about the length, or, `reward`, the mean training reward; then the tolerance also
    waits after each step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lower_below > self.raise_above:
            raise ValueError(f"need lower_below ≤ raise_above, got {self.lower_below} and {self.raise_above}")


@dataclass(frozen=True)
class RuleTask(Checked):
    """The task of this course: continue an excerpt so that a deterministic 0/1 checker of the text is content."""

    kind: ClassVar[str] = "rule"
    rule: str = "length=64&digits%3=0"
    """The strict 0/1 rule (`parse_rule`); a completion must also end by itself."""
    partial_credit: bool = True
    """Train on how near a completion comes to the rule, instead of all or nothing. The metric is all or nothing."""
    prompts_file: str | None = None
    """One excerpt a line; default: `prompt_source`."""
    prompt_source: PromptSource = "shipped"
    """The text that ships with the package, or openwebtext, streamed; `fallback`: the shipped text, because openwebtext
    was out of reach."""
    num_excerpts: int = number(100_000, above=0, most=10**8)
    """Excerpts of openwebtext to draw, once."""
    curriculum: Curriculum | None = Curriculum()

    def __post_init__(self) -> None:
        super().__post_init__()
        parsed = parse_rule(self.rule)
        if self.curriculum is not None and not find_part(parsed, ExactLength):
            raise ValueError(
                f"a curriculum widens a length, and the rule {self.rule} has none; set curriculum to false"
            )


@dataclass(frozen=True)
class OwnTask(Checked):
    """A task that a user brings: rows with columns, an instruction over them, a reward, and when one has passed."""

    kind: ClassVar[str] = "own"
    task_file: str | None = None
    """FILE.py that defines `task`, an object or a function without arguments that makes it (`language.tasks.Task`)."""
    dataset: str | None = None
    """Rows: a JSON-lines, CSV or Parquet file, a folder that `datasets` saved, or a hub id. Default: the shipped text,
    in the column `excerpt`."""
    heldout_dataset: str | None = None
    """Rows for `evaluate`; default: one in ten of `dataset`, chosen by content, so that equal rows stay together."""
    instruction: str | None = None
    """Template of the prompt over a row's columns, such as 'Solve {question}'. Default: the column `prompt`, text or
    chat messages."""
    reward_functions: tuple[str, ...] = ()
    """FILE.py:NAME or module:name, with TRL's signature: (prompts, completions, **columns) → a number or None each."""
    reward_weights: tuple[float, ...] = ()
    """One for each reward function; default: 1 each."""
    pass_at: float = number(1.0)
    """A completion passes, in reports, if its reward is at least this."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("reward_functions", "reward_weights"):  # JSON has lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.task_file is None and not self.reward_functions:
            raise ValueError("a dataset needs a reward_function, FILE.py:NAME, or a task file that has one")
        if self.task_file is not None and (self.dataset or self.instruction or self.reward_functions):
            raise ValueError("task brings rows, instruction and reward itself; leave dataset, instruction, "
                             "reward_function out")  # fmt: skip
        if self.reward_weights and len(self.reward_weights) != len(self.reward_functions):
            raise ValueError(
                f"reward_weights needs one number for each reward_function: {len(self.reward_weights)} for "
                f"{len(self.reward_functions)}"
            )
        if not all(isinstance(w, int | float) and math.isfinite(w) for w in self.reward_weights):
            raise ValueError(f"reward_weights must be finite numbers, got {self.reward_weights}")


@dataclass(frozen=True)
class Clip(Checked):
    """The same batch several times, with the clipped ratio π/π_old (PPO, arXiv 1707.06347, eq. 7)."""

    kind: ClassVar[str] = "clip"
    updates_per_batch: int = number(2, least=2, most=1000)
    clip_low: float = number(0.2, above=0, most=1)
    clip_high: float = number(0.2, above=0)
    ratio_level: RatioLevel = "token"
    """`sequence`: one clipped ratio a completion (GSPO); needs far narrower clips."""
    clip_place: ClipPlace = "ratio"
    """`ratio`: a token that has gone beyond the clip gets no gradient. `weight`: it keeps its own, times the ratio held
    to the clip (CISPO); made for wide ones, such as clip_low 1 and clip_high 4."""


@dataclass(frozen=True)
class ByGroup(Checked):
    """Every token gets the advantage of its completion, relative to the others of its prompt."""

    kind: ClassVar[str] = "group"
    baseline: Baseline = "leave_one_out"
    """What a reward is compared with: the rest of its group, its whole group, the whole batch, or nothing."""
    scale: Scale = "none"
    """`std`: advantages are divided by the standard deviation of their group; `batch_std`: by that of the batch."""
    sharing: float = number(0.0, least=0, most=1)
    """Above 0, a reward is divided by that power of the number of the step's completions that earned something and are
    like it (`shared_rewards`), before it is compared. What is reported is not."""
    clip_cov: float = number(0.0, least=0, most=1)
    """Above 0, so large a share of a step's tokens gets no gradient from its advantage, nor from what it is charged for
    divergence in the reward: those whose log-prob and advantage are large together, which takes entropy away
    (Clip-Cov; `covariance_bound`)."""
    clip: Clip | None = None


@dataclass(frozen=True)
class ByCritic(Checked):
    """PPO: advantages from a learned value of each state."""

    kind: ClassVar[str] = "critic"
    critic: CriticKind = "head"
    """A `head` on the policy, or a second `model` of the same size."""
    gae_lambda: float = number(1.0, least=0, most=1)
    """λ of the critic's advantages: 1 is return minus value, without bias; less trusts the critic more."""
    value_weight: float = number(0.1, least=0)
    """Weight of the critic's squared error in the loss."""
    clip: Clip | None = None


@dataclass(frozen=True)
class ByState(Checked):
    """What the state of the checker that a token leads to is worth (`StateValues`), summed over all tokens that might
    have been chosen (`expected_value`); for rules that sum a text up in few states. It asks the checker half-way."""

    kind: ClassVar[str] = "state"
    state_values: Values = "returns"
    """What states are worth, as means of sampled returns (`StateValues`), or by policy evaluation from the policy's own
    chances of what comes next (`TransitionValues`). The latter leave out the divergence that is still to be paid; and
    with them rewards are in units of their running root mean square, so that rare ones pull as hard as frequent
    ones."""
    state_memory: float = number(0.8, least=0)
    """How much a batch still counts one step later in the values of the states."""
    updates_per_batch: int = number(1, least=1, most=1000)
    """Updates from one batch. The expected value is exact in the tokens, so a second one has no ratio to correct; the
    prefixes are still those of the policy that sampled, and `max_update_kl` bounds how far it may have moved."""
    max_update_kl: float = number(0.1, above=0)
    """Trust region of later updates: nats a token from the policy that sampled; above it the batch is used up."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.state_memory >= 1:
            raise ValueError(f"state_memory must lie in [0, 1), got {self.state_memory}")


@dataclass(frozen=True)
class KlPenalty(Checked):
    """A price on the divergence from the reference."""

    kind: ClassVar[str] = "penalty"
    kl_weight: float = number(0.03, least=0)
    """β: price of one nat of divergence from the reference, per completion, in units of reward."""
    kl_success_weight: float = number(0.03, least=0)
    """β once the strict metric is met; in between it follows the fourth power of the share that passes (a price that
    depends on accuracy, as in FG-ExPO, arXiv:2605.11403, and RAPO, arXiv:2510.03865)."""
    kl_estimator: KlEstimator = "exact"
    """Of the divergence in the objective: the full sum over the vocabulary, or k1, k2, k3 of the sampled token."""
    kl_place: KlPlace = "reward"
    """As a cost in the reward, as a differentiated term of the loss, or as that times the ratio."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kl_estimator == "exact" and self.kl_place == "weighted_loss":
            raise ValueError("kl_place weighted_loss is for kl_estimator k1, k2, k3: an exact divergence is no sample")


@dataclass(frozen=True)
class KlProjection(Checked):
    """The divergence from a target, π_ref exp(Q/β) (`soft_target`), instead of that from the reference: KL(target ‖
    policy), which keeps all that is good alive. Needs the values of states."""

    kind: ClassVar[str] = "projection"
    kl_weight: float = number(0.03, above=0)
    """β: the temperature of the target, and the price of the divergence from it."""
    kl_success_weight: float = number(0.03, above=0)
    """β once the strict metric is met; in between it follows the fourth power of the share that passes."""
    projection_weight: float = number(1.0, above=0)
    """So many times over."""


@dataclass(frozen=True)
class ConstantEntropy(Checked):
    """One price for a nat of entropy."""

    kind: ClassVar[str] = "constant"
    entropy_weight: float = number(0.01, above=0)
    """Bonus for one nat of entropy, per token, in units of the loss."""


@dataclass(frozen=True)
class ScheduledEntropy(Checked):
    """A price that follows the variance of the rewards."""

    kind: ClassVar[str] = "scheduled"
    entropy_schedule: Literal["inverse_variance", "variance"]
    entropy_weight: float = number(0.01, above=0)
    """Bonus for one nat of entropy, per token, in units of the loss."""
    entropy_cap: float = number(10.0, above=0)
    """A dynamic entropy weight is at most this many times `entropy_weight`."""


@dataclass(frozen=True)
class TargetEntropy(Checked):
    """A price that is steered so that the policy keeps an entropy."""

    kind: ClassVar[str] = "target"
    entropy_weight: float = number(0.01, above=0)
    """What the weight starts from."""
    entropy_cap: float = number(10.0, above=0)
    """The weight is at most this many times `entropy_weight`."""
    entropy_target: float = number(1.0, least=0)
    """Nats a token that the weight is steered to keep."""
    entropy_rate: float = number(0.001, least=0)
    """How much the weight moves in a step for one nat away from the target."""


@dataclass(frozen=True)
class TrainConfig(Checked):
    """A run. Two runs with equal configs on one machine give equal metrics and weights."""

    kind: ClassVar[str] = "run"
    model: str = "tiny"
    """`tiny`, `smollm2`, a model folder, a GGUF file, or a hub id."""
    seed: int = number(0, least=0, most=2**31 - 1)
    """Decides every random draw: the order of the prompts and every sampled token."""

    num_prompts: int = number(16, above=0, most=100_000)
    """Prompts a step, over all processes."""
    num_generations: int = number(8, least=1, most=100_000)
    """G: completions a prompt, the group that advantages are relative to."""
    max_prompt_tokens: int = number(112, above=0, most=10**6)
    """Instruction and excerpt together; the excerpt is cut to fit. A row of a user's own task must fit as it is."""
    max_new_tokens: int = number(48, above=0, most=10**6)
    """Longest completion; one that has not ended by then fails."""
    temperature: float = number(1.0, above=0)
    """Of sampling, and of the log-probs in the loss."""
    max_steps: int = number(100, above=0, most=10**7)
    stop_above: float = number(1.0, least=0, most=1)
    """End the run once the running mean of the strict pass rate is above this; 1: never. More steps buy collapse."""

    frozen_layers: int = number(0, least=0, most=10_000)
    """Keep the embeddings and so many of the first blocks as they are: less drift, less to compute. 0: train all."""
    learning_rate: float = number(8e-4, above=0, most=10)
    weight_decay: float = number(0.01, least=0, most=100)
    adam_beta2: float = number(0.95, least=0, most=0.999999)
    max_grad_norm: float = number(1.0, above=0)
    warmup_steps: int = number(5, least=0)
    """The learning rate rises linearly over these steps, then stays."""
    final_learning_rate: float = number(1.0, least=0)
    """Learning rate at the last step, as a share of the full one; it falls over the last third of the steps."""

    micro_batch_prompts: int = number(16, above=0)
    """Prompts whose completions go through the backward pass at once, on each process; gradients accumulate exactly."""
    precision: Precision = "auto"
    """`auto` (by hardware), `no`, `bf16` or `fp16`: autocast of the training pass; master weights stay fp32."""
    gradient_checkpointing: bool = False
    """Compute each block again in the backward pass instead of keeping what it made: slower, with less memory."""
    lora_rank: int = number(0, least=0, most=100_000)
    """Train only low-rank adapters of this rank beside every linear layer (needs peft). 0: train all weights."""
    sharded: bool = False
    """Each of several processes keeps a share of every block's weights, gradients and Adam moments (FSDP2), for larger
    models. Without it each has them all (DDP)."""

    aggregation: Aggregation = "constant"
    """Mean over all tokens, over each completion's tokens first, or sum over tokens through a constant."""
    prompt_kl_weight: float = number(0.0, least=0)
    """Price of one nat of divergence on the prompt's own tokens, per prompt: the policy stays a model of plain text."""

    save_every: int = number(25, above=0)
    """Steps between checkpoints."""
    keep_checkpoints: int = number(2, above=0)

    task: RuleTask | OwnTask = RuleTask()
    credit: ByGroup | ByCritic | ByState = ByGroup()
    divergence: KlPenalty | KlProjection | None = KlPenalty()
    entropy: ConstantEntropy | ScheduledEntropy | TargetEntropy | None = None

    def __post_init__(self) -> None:
        work = (self.num_prompts, self.num_generations, self.max_new_tokens)
        if all(isinstance(each, int) and each > 0 for each in work):  # what is too large is told with what it costs
            require_affordable("num_prompts × num_generations", work[0] * work[1], work[2])
        super().__post_init__()
        if self.num_generations < 2 and self.needs_groups:
            raise ValueError(
                f"num_generations must be at least 2, a group to compare within, got {self.num_generations}"
            )
        if isinstance(self.credit, ByState):
            if not isinstance(self.task, RuleTask):
                raise ValueError(
                    "credit state asks the checker of a rule about texts that were never written, and a reward "
                    "function has no such states; set credit to completion"
                )
            require_states(parse_rule(self.task.rule))
            length, curriculum = find_part(parse_rule(self.task.rule), ExactLength), self.task.curriculum
            if length is not None and curriculum is not None and curriculum.start_tolerance >= length.characters:
                raise ValueError(
                    f"start_tolerance must be below the rule's {length.characters} characters with credit state, whose "
                    f"table knows no longer text than twice that, got {curriculum.start_tolerance}"
                )
        elif isinstance(self.divergence, KlProjection):
            raise ValueError("projection_weight needs credit state: its target is made from the values of states")
        if self.sharded and (self.lora_rank or self.precision == "fp16"):
            raise ValueError("sharded goes without lora_rank, and with precision bf16 or no: adapters need no shares")

    @property
    def needs_groups(self) -> bool:
        """Whether advantages compare completions of one prompt."""
        credit = self.credit
        return isinstance(credit, ByGroup) and (credit.baseline in ("mean", "leave_one_out") or credit.scale == "std")

    @property
    def updates_per_batch(self) -> int:
        """How often the optimiser steps with one batch."""
        if isinstance(self.credit, ByState):
            return self.credit.updates_per_batch
        return self.credit.clip.updates_per_batch if self.credit.clip else 1

    @property
    def curriculum(self) -> Curriculum | None:
        """That of a rule; a user's own task has none."""
        return self.task.curriculum if isinstance(self.task, RuleTask) else None


RECORDS: tuple[type, ...] = (
    TrainConfig, RuleTask, OwnTask, Curriculum, ByGroup, ByCritic, ByState, Clip, KlPenalty, KlProjection,
    ConstantEntropy, ScheduledEntropy, TargetEntropy,
)  # fmt: skip
_BRANCHES = ("task", "credit", "divergence", "entropy", "curriculum", "clip")

# flat settings that decide which record stands in a branch; they have a part in every run
_SELECTORS: dict[str, Any] = {
    "credit": "completion",
    "critic": "none",
    "updates_per_batch": 1,
    "kl_weight": KlPenalty.kl_weight,
    "kl_success_weight": KlPenalty.kl_success_weight,
    "projection_weight": 0.0,
    "entropy_weight": 0.0,
    "entropy_schedule": "constant",
    "curriculum": True,
}
_CHOICES: dict[str, Any] = {
    "credit": Literal["completion", "state"],
    "critic": Literal["none", "head", "model"],
    "entropy_schedule": Literal["constant", "inverse_variance", "variance", "target"],
    "curriculum": bool,
}
_SELECTOR_HELP = {
    "credit": "`completion`: every token gets the advantage of its completion. `state`: what the state of the checker "
    "that it leads to is worth, summed over all tokens that might have been chosen; it asks the checker half-way",
    "critic": "PPO: advantages from a learned value instead of groups; by a `head` on the policy, or a second `model`",
    "updates_per_batch": "1: plain policy gradient. More: the same batch again; with the clipped ratio, or, with "
    "credit state, within max_update_kl",
    "projection_weight": "credit state: above 0, so many times the divergence from the target π_ref exp(Q/β), instead "
    "of that from the reference",
    "entropy_schedule": "of the entropy weight: constant, with the variance of rewards or its inverse, or steered to a "
    "target",
    "curriculum": "train on a widened length first; the reported metric is the strict rule always",
}


def flat_settings() -> dict[str, tuple[Any, Any, str]]:
    """Every setting by its flat name: its type, its default, and what it is for."""
    found: dict[str, tuple[Any, Any, str]] = {}
    for record in RECORDS:
        hints = typing.get_type_hints(record)
        for each in dataclasses.fields(record):
            if each.name in _BRANCHES or each.name in found:
                continue
            default = _SELECTORS.get(each.name, each.default)
            hint = _CHOICES.get(each.name, hints[each.name])
            found[each.name] = (hint, default, _SELECTOR_HELP.get(each.name) or field_help(each.name, record))
    for name in ("credit", "curriculum"):
        found[name] = (_CHOICES[name], _SELECTORS[name], _SELECTOR_HELP[name])
    return found


def make_config(base: dict[str, Any] | None = None, **settings: Any) -> TrainConfig:
    """The tree of flat settings.

    Args:
        base: settings that give way: those without a part in the run are dropped (a preset's, an older file's).
        settings: those asked for; one without a part in the run is refused.

    Raises:
        ValueError: an unknown setting, one out of range, a contradiction, or a setting without a part.
    """
    known = flat_settings()
    if unknown := (settings.keys() | (base or {}).keys()) - known.keys():
        raise ValueError(f"unknown settings {sorted(unknown)}; known are {', '.join(sorted(known))}")
    flat = {**_SELECTORS, **(base or {}), **settings}
    for name, hint in _CHOICES.items():
        if typing.get_origin(hint) is Literal and flat[name] not in typing.get_args(hint):
            raise ValueError(f"{name} must be one of {', '.join(typing.get_args(hint))}, got {flat[name]!r}")
        if hint is bool and not isinstance(flat[name], bool):
            raise ValueError(f"{name} must be true or false, got {flat[name]!r}")
    for name in ("kl_weight", "kl_success_weight", "projection_weight", "entropy_weight"):
        check_number(name, flat[name], float, {"least": 0})
    check_number("updates_per_batch", flat["updates_per_batch"], int, {"least": 1})
    used: set[str] = set(_SELECTORS)

    def record(kind: type, **branches: Any) -> Any:
        names = {each.name for each in dataclasses.fields(kind)} - set(_BRANCHES)  # type: ignore[arg-type]
        used.update(names)
        return kind(**{name: flat[name] for name in names if name in flat}, **branches)

    config = record(
        TrainConfig,
        task=_task(flat, settings, record),
        credit=_credit(flat, settings, record),
        divergence=_divergence(flat, record),
        entropy=_entropy(flat, record),
    )
    for name in settings:
        if name not in used:
            raise ValueError(f"{name} has no part in this run: {_owner(name)}")
    return config


def _task(flat: dict[str, Any], asked: dict[str, Any], record: Any) -> RuleTask | OwnTask:
    if any(flat.get(name) for name in ("task_file", "dataset", "reward_functions")):
        return record(OwnTask)
    with_length = find_part(parse_rule(flat.get("rule", RuleTask.rule)), ExactLength)
    if flat["curriculum"] and (with_length or asked.get("curriculum")):
        return record(RuleTask, curriculum=record(Curriculum))
    return record(RuleTask, curriculum=None)


def _credit(flat: dict[str, Any], asked: dict[str, Any], record: Any) -> ByGroup | ByCritic | ByState:
    if flat["credit"] == "state":
        if flat["critic"] != "none":
            raise ValueError("credit state has a value of every state already; choose it or a critic, not both")
        return record(ByState)
    clip = record(Clip) if flat["updates_per_batch"] > 1 else None
    return record(ByGroup if flat["critic"] == "none" else ByCritic, clip=clip)


def _divergence(flat: dict[str, Any], record: Any) -> KlPenalty | KlProjection | None:
    if flat["projection_weight"]:
        return record(KlProjection)
    return record(KlPenalty) if flat["kl_weight"] or flat["kl_success_weight"] else None


def _entropy(flat: dict[str, Any], record: Any) -> ConstantEntropy | ScheduledEntropy | TargetEntropy | None:
    if flat["entropy_schedule"] == "target" and not flat["entropy_weight"]:
        raise ValueError("entropy_schedule target needs an entropy_weight above 0 to start from")
    if not flat["entropy_weight"]:
        return None
    kinds = {"constant": ConstantEntropy, "target": TargetEntropy}
    return record(kinds.get(flat["entropy_schedule"], ScheduledEntropy))


_NEEDS = {
    RuleTask: "a rule as the task (no dataset, task file or reward function)",
    OwnTask: "a task of your own (a dataset with a reward function, or a task file)",
    Curriculum: "a curriculum, and a rule with a length",
    ByGroup: "credit completion without a critic",
    ByCritic: "a critic (head or model)",
    ByState: "credit state",
    Clip: "updates_per_batch above 1, and no credit state",
    KlPenalty: "kl_weight or kl_success_weight above 0, and no projection_weight",
    KlProjection: "projection_weight above 0",
    ConstantEntropy: "an entropy_weight above 0",
    ScheduledEntropy: "an entropy_weight above 0 and entropy_schedule variance or inverse_variance",
    TargetEntropy: "an entropy_weight above 0 and entropy_schedule target",
}


def _owner(name: str) -> str:
    needs = [text for record, text in _NEEDS.items() if name in {each.name for each in dataclasses.fields(record)}]
    return f"it needs {', or '.join(needs)}"


def flat_of(config: TrainConfig) -> dict[str, Any]:
    """The flat settings of a config: those with a part in it, and those that choose the parts.

    `make_config(**flat_of(config)) == config`.
    """
    flat = dict(_SELECTORS)

    def walk(record: Any) -> None:
        for each in dataclasses.fields(record):
            value = getattr(record, each.name)
            if dataclasses.is_dataclass(value):
                walk(value)
            elif each.name not in _BRANCHES:
                flat[each.name] = value

    walk(config)
    flat["credit"] = "state" if isinstance(config.credit, ByState) else "completion"
    flat["curriculum"] = config.curriculum is not None
    if config.divergence is None:
        flat["kl_weight"] = flat["kl_success_weight"] = 0.0
    if isinstance(config.entropy, TargetEntropy):
        flat["entropy_schedule"] = "target"
    return flat


def with_settings(config: TrainConfig, **settings: Any) -> TrainConfig:
    """The config with some flat settings replaced; those that have no part in it any more are dropped.

    Raises:
        ValueError: as `make_config`.
    """
    return make_config(flat_of(config), **settings)


def to_json(record: Any) -> Any:
    """As plain dicts, each with its `kind`, for JSON."""
    if not dataclasses.is_dataclass(record):
        return list(record) if isinstance(record, tuple) else record
    return {
        "kind": record.kind,  # type: ignore[attr-defined]
        **{each.name: to_json(getattr(record, each.name)) for each in dataclasses.fields(record)},
    }


def save_config(config: TrainConfig, path: Path) -> None:
    """As readable JSON."""
    path.write_text(json.dumps(to_json(config), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def config_from_json(found: Any) -> TrainConfig:
    """What `to_json` made; or the flat settings of an older version, of which those without a part are dropped.

    Raises:
        ValueError: it is neither, or a value is out of range.
    """
    if not isinstance(found, dict):
        raise ValueError(f"a config is a JSON object, this is {type(found).__name__}")
    if "kind" not in found:
        return make_config(base=found)
    try:
        config = _from_json(found, "the config")
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(config, TrainConfig):
        raise ValueError(f"its kind is {found['kind']!r}, not 'run'")
    return config


def _from_json(found: Any, where: str) -> Any:
    if not isinstance(found, dict):
        return found
    kinds = {record.kind: record for record in RECORDS}  # type: ignore[attr-defined]
    record = kinds.get(found.get("kind"))  # type: ignore[arg-type]
    if record is None:
        raise ValueError(f"{where} has the unknown kind {found.get('kind')!r}")
    built = record(**{name: _from_json(value, name) for name, value in found.items() if name != "kind"})
    hints = typing.get_type_hints(record)
    for name in _BRANCHES:
        allowed = typing.get_args(hints.get(name)) or (hints.get(name),)
        if name in hints and not isinstance(getattr(built, name), tuple(a for a in allowed if isinstance(a, type))):
            raise ValueError(f"{name} is no {' or '.join(getattr(a, 'kind', 'null') for a in allowed)}")
    return built


def load_config(path: Path) -> TrainConfig:
    """Read what `save_config` wrote, in this version or, flat, in an older one.

    Raises:
        ValueError: not there, not JSON, or not a config.
    """
    try:
        return config_from_json(json.loads(read_text(path, largest=10**6)))
    except FileNotFoundError:
        raise ValueError(f"{path.parent} holds no run: {path.name} is missing") from None
    except (OSError, RecursionError, ValueError) as error:
        raise ValueError(f"{path} is no training config: {error}") from None


def differences(found: TrainConfig, wanted: TrainConfig) -> str:
    """The settings in which two configs differ, in words; empty if none."""
    a, b = flat_of(found), flat_of(wanted)
    names = [name for name in {**a, **b} if a.get(name) != b.get(name)]
    return ", ".join(f"{name} is {a.get(name)!r}, not {b.get(name)!r}" for name in names)


def field_help(name: str, record: type = TrainConfig) -> str:
    """The docstring under a field of a record of settings, for --help; empty where the name says it all."""
    return _field_docstrings(record).get(name, "")


@functools.cache
def _field_docstrings(record: type) -> dict[str, str]:
    body = ast.parse(inspect.getsource(record)).body[0].body  # type: ignore[attr-defined]
    found = {}
    for each, text in itertools.pairwise(body):
        if isinstance(each, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[each.target.id] = text.value.value  # type: ignore[union-attr]
    return found
