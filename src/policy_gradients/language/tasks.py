"""What a policy is trained for: rows, a prompt from each, a reward, and when a completion has passed.

The loop and the evaluation ask a task for these and nothing else. `CheckerTask` is the course's own; `RewardTask` is
for tasks of yours: give it rows, a template and a reward function, or write a class with the same methods.
"""

import hashlib
import inspect
import math
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from policy_gradients.language.dataset import (
    ListDataset,
    Rows,
    check_apart,
    check_columns,
    fingerprint,
    split_rows,
)
from policy_gradients.language.prompts import conversation_ids, message_ids, prompt_ids
from policy_gradients.language.rewards import (
    LARGEST,
    Completion,
    OwnReward,
    RewardError,
    RewardFunction,
    call_own_reward,
    call_reward,
    check_names,
    check_rates,
    partial_reward,
    passes,
    rule_reward,
)
from policy_gradients.language.rules import AllOf, Rule, with_tolerance

Row = Mapping[str, Any]


class Task(Protocol):
    """What training and evaluation ask of a task.

    Attributes:
        name: for reports.
        rows, heldout: training rows, and those of the evaluation.
    """

    name: str
    rows: Sequence[Row]
    heldout: Sequence[Row]

    def prompt(self, tokenizer: Any, row: Row, max_tokens: int) -> list[int]:
        """The prompt's token ids; ValueError if it does not fit."""

    def reward_function(self, tolerance: int) -> RewardFunction:
        """The training reward as a function of completions alone, where it is one."""

    def judge(
        self, rows: Sequence[Row], completions: Sequence[Completion], tolerance: int = 0
    ) -> tuple[list[float], list[float]]:
        """What each completion of a row earns in training, and whether it meets the strict metric: 0 or 1."""

    def rates(self, completions: Sequence[Completion]) -> dict[str, float]:
        """Shares of completions for the log, such as `finished_rate`."""

    def marked(self, row: Row, completion: Completion) -> dict[str, Any]:
        """A completion with what was checked, for people to read."""

    def identity(self) -> dict[str, str]:
        """What must not change between a run and its resumption: names and hashes."""


@dataclass
class CheckerTask:
    """The course's task: excerpts of text, and a deterministic rule of what continues them.

    Attributes:
        partial_credit: train on how near a completion comes to the rule.
        reward: train on this instead; the prompts and the metric stay those of the rule.
    """

    rule: Rule
    rows: Sequence[Row]
    heldout: Sequence[Row]
    partial_credit: bool = True
    reward: RewardFunction | None = None

    @property
    def name(self) -> str:
        return f"rule {self.rule.name}"

    def prompt(self, tokenizer: Any, row: Row, max_tokens: int) -> list[int]:
        """The instruction, and as much of the excerpt as fits."""
        return prompt_ids(tokenizer, self.rule, row["excerpt"], max_tokens)

    def reward_function(self, tolerance: int) -> RewardFunction:
        """0/1 within the tolerance, or how near a completion comes to that."""
        if self.reward is not None:
            return self.reward
        rule = with_tolerance(self.rule, tolerance)
        return partial_reward(rule) if self.partial_credit else rule_reward(rule)

    def judge(
        self, rows: Sequence[Row], completions: Sequence[Completion], tolerance: int = 0
    ) -> tuple[list[float], list[float]]:
        """The reward within the tolerance; the rule as it is."""
        earned = call_reward(self.reward_function(tolerance), completions)
        return earned, [float(passes(self.rule, completion)) for completion in completions]

    def rates(self, completions: Sequence[Completion]) -> dict[str, float]:
        """Those that finished, and that satisfy each half of the rule."""
        return check_rates(self.rule, completions)

    def marked(self, row: Row, completion: Completion) -> dict[str, Any]:
        """Every part of the rule marked."""
        parts = self.rule.parts if isinstance(self.rule, AllOf) else (self.rule,)
        return {
            "text": completion.text,
            "characters": len(completion.text),
            "passed": passes(self.rule, completion),
            "checks": {"finished": completion.finished, **{part.name: part.check(completion.text) for part in parts}},
        }

    def identity(self) -> dict[str, str]:
        """The rule's name, and a hash of the excerpts."""
        reward = {} if self.reward is None else {"reward": source_hash(self.reward)}
        return {"task": self.name, "rows": fingerprint(self.rows), **reward}


class RewardTask:
    """A task of one's own: rows with columns, a template over them, one or more reward functions.

    task = RewardTask(rows, "Solve: {question}", reward)

    Attributes:
        pass_at: a completion passes, in reports, if its reward is at least this, but for the rounding of a sum.

    Raises:
        ValueError: no rows, a template that names no column, or one that is not there, or empty in a row; a column with
            the name of something else that rewards get; held-out rows that are training rows; a reward that is no
            function; a weight or `pass_at` that is no finite number.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        instruction: str | None = None,
        reward: OwnReward | Sequence[OwnReward] = (),
        weights: Sequence[float] = (),
        heldout: Sequence[Row] | None = None,
        pass_at: float = 1.0,
        name: str = "own",
        may_cut: str | None = None,
    ):
        """
        Args:
            rows: with the columns that `instruction` names; a list of dicts, or a `datasets.Dataset`.
            instruction: template of the prompt, as `fill` has it; None: the column `prompt`, text or chat messages.
            reward: as `call_own_reward` has it; of several the weighted sum counts, those without an opinion left out.
            weights: of the reward functions; default: 1 each.
            heldout: rows for the evaluation; default: one row in ten, by a hash of its prompt.
            may_cut: a column of text that is cut where a prompt does not fit; None: such a prompt is refused.
        """
        self.functions = reward_list(reward)
        self.weights = [finite(w, "a weight") for w in weights] or [1.0] * len(self.functions)
        if not self.functions or len(self.weights) != len(self.functions):
            raise ValueError(
                f"{len(self.functions)} reward functions and {len(self.weights)} weights; one each is needed"
            )
        self.instruction, self.pass_at, self.name, self.may_cut = instruction, finite(pass_at, "pass_at"), name, may_cut
        table = as_rows(rows)
        check_names(table.columns, "the dataset")
        columns = template_columns(instruction, table.columns)
        check_columns(table, columns, "the dataset")
        if heldout is None:
            self.rows, self.heldout = split_rows(table, columns)
        else:
            self.rows, self.heldout = table, as_rows(heldout)
            check_names(self.heldout.columns, "the held-out dataset")
            check_columns(self.heldout, columns, "the held-out dataset")
            check_apart(self.rows, self.heldout, columns)
        if not len(self.rows):
            raise ValueError("the dataset has no row for training; give more rows, or held-out rows of their own")
        self.text(self.rows[0])  # a format that does not suit its column shows at once

    def text(self, row: Row) -> Any:
        """The prompt as text, or as chat messages where the row brings its own.

        Raises:
            ValueError: as `fill`.
        """
        if self.instruction is None:
            return row["prompt"]
        return fill(self.instruction, row)

    def prompt(self, tokenizer: Any, row: Row, max_tokens: int) -> list[int]:
        """All of it: a question that is cut is another question. Where a column may be cut, as much of it as fits.

        Raises:
            ValueError: it does not fit, or the tokenizer's template has no place for the text.
        """
        ids = chat_ids(tokenizer, self.text(row))
        if self.may_cut is not None and len(ids) > max_tokens:
            ids = self._cut(tokenizer, row, max_tokens, len(ids) - max_tokens)
        if len(ids) > max_tokens:
            raise ValueError(
                f"a prompt of {len(ids)} tokens does not fit into max_prompt_tokens={max_tokens}: "
                f"{str(self.text(row))[:60]!r}…; raise it, or take the row out"
            )
        return ids

    def _cut(self, tokenizer: Any, row: Row, max_tokens: int, excess: int) -> list[int]:
        """The prompt with its cuttable column shortened by tokens until it fits, or until nothing is left of it."""
        whole = tokenizer.encode(row[self.may_cut], add_special_tokens=False)
        room = len(whole)
        while True:
            room = max(0, room - max(1, excess))
            kept = tokenizer.decode(whole[:room], clean_up_tokenization_spaces=False).rstrip("\ufffd")
            ids = chat_ids(tokenizer, self.text({**row, self.may_cut: kept}))
            excess = len(ids) - max_tokens
            if excess <= 0 or room == 0:
                return ids

    def reward_function(self, tolerance: int) -> RewardFunction:
        """There is none of completions alone: rewards here may depend on the row."""
        raise ValueError(
            "the reward of this task depends on its row; credit that asks about other texts cannot be used"
        )

    def judge(
        self, rows: Sequence[Row], completions: Sequence[Completion], tolerance: int = 0
    ) -> tuple[list[float], list[float]]:
        """The weighted sum of the functions' opinions; strict: whether it reaches `pass_at`."""
        prompts = [self.text(row) for row in rows]
        names = dict.fromkeys(name for row in rows for name in row if name != "prompt")
        columns = {name: [row.get(name) for row in rows] for name in names}
        said = [call_own_reward(function, prompts, completions, columns) for function in self.functions]
        earned = []
        for opinions, completion in zip(zip(*said, strict=True), completions, strict=True):
            known = [w * value for w, value in zip(self.weights, opinions, strict=True) if value is not None]
            if not known:
                raise RewardError(
                    f"no reward function has an opinion (all None) of {completion.text!r}; give 0 instead"
                )
            earned.append(total(known, completion.text))
        least = self.pass_at - 1e-9 * max(1.0, abs(self.pass_at))  # weights such as 0.1 are rounded themselves
        return earned, [float(reward >= least) for reward in earned]

    def rates(self, completions: Sequence[Completion]) -> dict[str, float]:
        """Those that ended by themselves, NaN of none; length and digits are no business of this task."""
        return {"finished_rate": sum(c.finished for c in completions) / len(completions) if completions else math.nan}

    def marked(self, row: Row, completion: Completion) -> dict[str, Any]:
        """With its reward."""
        [reward], [passed] = self.judge([row], [completion])
        checks = {"finished": completion.finished, f"reward {reward:g} ≥ {self.pass_at:g}": bool(passed)}
        return {"text": completion.text, "characters": len(completion.text), "passed": bool(passed), "checks": checks}

    @cached_property
    def _identity(self) -> dict[str, str]:
        hashes = {f"reward {getattr(f, '__name__', type(f).__name__)}": source_hash(f) for f in self.functions}
        return {"task": self.name, "instruction": str(self.instruction), "rows": fingerprint(self.rows), **hashes}

    def identity(self) -> dict[str, str]:
        """The template, hashes of the rows and of each reward function's source."""
        return dict(self._identity)


def as_rows(rows: Any) -> Rows:
    """A list of dicts or a `datasets.Dataset` as `Rows`."""
    if isinstance(rows, Rows):
        return rows
    import datasets

    if isinstance(rows, datasets.Dataset):
        return Rows(rows)
    rows = list(rows)
    if not rows:
        raise ValueError("the dataset has no rows")
    return Rows(ListDataset(rows))


def reward_list(reward: Any) -> list[OwnReward]:
    """One reward function, or several, as a list.

    Raises:
        ValueError: one of them is no function.
    """
    functions = list(reward) if isinstance(reward, Iterable) and not callable(reward) else [reward]
    for function in functions:
        if not callable(function):
            raise ValueError(f"a reward must be a function; this is {type(function).__name__}: {str(function)[:60]!r}")
    return functions


def finite(value: Any, what: str) -> float:
    """A setting as a number.

    Raises:
        ValueError: it is none, or NaN, or infinite.
    """
    try:
        number = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{what} must be a finite number; this is {str(value)[:60]}")
    return number


def total(values: Sequence[float], text: str) -> float:
    """The sum, rounded once.

    Raises:
        RewardError: it is not finite.
    """
    try:
        added = math.fsum(values)
    except (OverflowError, ValueError):  # ValueError: of inf and -inf
        added = math.nan
    if not abs(added) <= LARGEST:
        raise RewardError(f"the weighted sum of the rewards for {text!r} is no finite number: {list(values)}")
    return added


def template_columns(instruction: str | None, columns: Sequence[str]) -> list[str]:
    """The columns that a template names; `prompt` without a template.

    Raises:
        ValueError: it is no template, or names none, or one that is not there.
    """
    if instruction is None:
        if "prompt" not in columns:
            raise ValueError(
                f"without an instruction the dataset needs a column 'prompt'; its columns are {', '.join(columns)}. "
                f"Give an instruction such as '{{{columns[0]}}}'"
            )
        return ["prompt"]
    try:
        fields = _fields(instruction)
    except ValueError as error:
        raise ValueError(f"instruction {instruction!r} is no template ({error}); write {{{{ for a brace") from None
    for name in fields:
        if not name.isidentifier() and name not in columns:
            raise ValueError(f"instruction: {{{name}}} is no column's name; its columns are {', '.join(columns)}")
        if name not in columns:
            raise ValueError(f"instruction names {{{name}}}, and the columns are {', '.join(columns)}")
    if not fields:
        raise ValueError(
            f"instruction {instruction!r} names no column, so every prompt would be the same; write one in braces, "
            f"such as {{{columns[0]}}}"
        )
    return list(dict.fromkeys(fields))


def _fields(template: str, depth: int = 2) -> list[str]:
    """The names in braces, those within a format such as {number:{width}} too; as deep as `str.format` goes."""
    if not depth and "{" in template:
        raise ValueError("braces in braces in braces")
    found = []
    for _, name, spec, _ in string.Formatter().parse(template):
        if name is not None:
            found += [name, *_fields(spec or "", depth - 1)]
    return found


def fill(template: str, row: Row) -> str:
    """A template with a row's values in it: as `str.format`, but what is in braces is a column's name as it stands.

    No {name.attribute} and no {name[0]}: a column may be called so.

    Raises:
        ValueError: the row lacks a column, or its value cannot be written in the format that the template asks for.
    """
    made = []
    for literal, name, spec, conversion in string.Formatter().parse(template):
        made.append(literal)
        if name is not None:
            if name not in row:
                raise ValueError(f"the template {template!r} names {{{name}}}, which this row lacks")
            shape = fill(spec or "", row)
            try:
                made.append(format(string.Formatter().convert_field(row[name], conversion), shape))
            except Exception as error:  # whatever a value's own __format__ raises
                raise ValueError(
                    f"the template {template!r} cannot write the column {name!r} as it asks to "
                    f"({type(error).__name__}: {error})"
                ) from None
    return "".join(made)


def chat_ids(tokenizer: Any, said: Any) -> list[int]:
    """Token ids of a user's text, or of chat messages, as the model expects to be asked.

    Raises:
        ValueError: no text and no messages, or as `message_ids` and `conversation_ids`.
    """
    messages = [{"role": "user", "content": said}] if isinstance(said, str) else said
    well_formed = (
        isinstance(messages, Sequence)
        and messages
        and all(
            isinstance(m, Mapping) and isinstance(m.get("content"), str) and isinstance(m.get("role"), str)
            for m in messages
        )
    )
    if not well_formed:
        raise ValueError(f"a prompt is text, or chat messages with role and content; this is {str(said)[:80]!r}")
    if tokenizer.chat_template is None:  # a base model: plain text, answered by continuing
        return message_ids(tokenizer, "\n".join(m["content"] for m in messages))
    if isinstance(said, str):
        return message_ids(tokenizer, said)
    return conversation_ids(tokenizer, messages)


def source_hash(function: Any) -> str:
    """Of the file that a function is written in, or of its own text; by name where there is no source."""
    try:
        text = inspect.getsource(inspect.getmodule(function) or function)
    except (OSError, TypeError):
        try:
            text = inspect.getsource(function)
        except (OSError, TypeError):
            text = repr(getattr(function, "__qualname__", type(function)))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


class TaskPrompts(Sequence[list[int]]):
    """The prompts of a task's rows, each made when it is asked for.

    Raises:
        ValueError: there are no rows, or the first one's prompt does not fit.
    """

    def __init__(self, tokenizer: Any, task: Task, max_tokens: int):
        if not len(task.rows):
            raise ValueError("there are no rows to make prompts from")
        self.tokenizer, self.task, self.max_tokens = tokenizer, task, max_tokens
        task.prompt(tokenizer, task.rows[0], max_tokens)  # an instruction that does not fit shows at once

    def __len__(self) -> int:
        return len(self.task.rows)

    def __getitem__(self, index: int) -> list[int]:
        return self.task.prompt(self.tokenizer, self.task.rows[index], self.max_tokens)
