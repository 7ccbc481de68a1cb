"""Step 2: from completions to rewards; the strict 0/1 rule, and any function of the texts that a user brings."""

import copy
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from policy_gradients.language.rollout import Rollout
from policy_gradients.language.rules import DigitSum, ExactGraphemes, ExactLength, Rule, find_part, partial_credit

LARGEST = float(torch.finfo(torch.float32).max)  # rewards are compared in float32


@dataclass(frozen=True)
class Completion:
    """What a checker may see: the decoded text (special tokens removed, nothing stripped), and whether it ended."""

    text: str
    finished: bool


RewardFunction = Callable[[Sequence[Completion]], Sequence[float]]


class RewardError(ValueError):
    """A reward function broke its contract; the message says how."""


def decode(tokenizer: Any, rollout: Rollout) -> list[Completion]:
    """The completions of a rollout as text."""
    lengths = rollout.mask.sum(1).long().tolist()
    rows = [ids[:n] for ids, n in zip(rollout.completion_ids.tolist(), lengths, strict=True)]
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [Completion(text, ended) for text, ended in zip(texts, rollout.finished.tolist(), strict=True)]


def passes(rule: Rule, completion: Completion) -> bool:
    """A completion passes if it ended by itself and its text satisfies the rule."""
    return completion.finished and rule.check(completion.text)


def rule_reward(rule: Rule) -> RewardFunction:
    """1 for a completion that passes, else 0."""

    def reward(completions: Sequence[Completion]) -> list[float]:
        return [float(passes(rule, completion)) for completion in completions]

    return reward


def partial_reward(rule: Rule) -> RewardFunction:
    """How near each completion comes to the rule (`partial_credit`), if it ended by itself; else 0.

    A conjunction that hardly ever holds teaches nothing; its parts, one by one and by degrees, do.
    """

    def reward(completions: Sequence[Completion]) -> list[float]:
        return [c.finished * partial_credit(rule, c.text) for c in completions]

    return reward


def call_reward(function: RewardFunction, completions: Sequence[Completion]) -> list[float]:
    """Call a reward function of completions and hold it to its contract: one finite number each.

    Raises:
        RewardError: it raised, or returned a wrong count, no numbers, NaN or infinity.
    """
    answer = _called(function, list(completions))
    rewards = _numbers(function, answer, [completion.text for completion in completions])
    if None in rewards:
        raise RewardError(f"reward function {_name(function)} returned None; only one of several may have no opinion")
    return rewards


OwnReward = Callable[..., Sequence[float | None]]
"""TRL's signature, (prompts, completions, **columns of the dataset); or a `RewardFunction`, of completions alone."""

NOT_COLUMNS = ("prompts", "completions", "finished")  # what rewards get beside the columns


def check_names(columns: Sequence[str], where: str) -> None:
    """Raise ValueError if a column has the name of something else that rewards get, and would be hidden by it."""
    if taken := [name for name in columns if name in NOT_COLUMNS]:
        raise ValueError(
            f"{where} has a column {taken[0]!r}, and rewards get something else by that name; give the column another"
        )


def call_own_reward(
    function: OwnReward, prompts: Sequence[Any], completions: Sequence[Completion], columns: Mapping[str, list[Any]]
) -> list[float | None]:
    """Call a user's reward function, as `trl.GRPOTrainer` calls one of its `reward_funcs`; None is no opinion.

    It gets copies of all it may read, so that one which changes its arguments changes nothing here, and of the columns
    those that it has a parameter for. A function of one parameter gets the completions, as `Completion`.

    Args:
        prompts: text, or the chat messages of each prompt; completions are then messages, too.
        columns: of the dataset, one value a completion.

    Raises:
        RewardError: it raised, or returned a wrong count, or anything but finite numbers and None.
    """
    texts = [completion.text for completion in completions]
    if of_completions_alone(function):
        return _numbers(function, _called(function, list(completions)), texts)
    chat = bool(prompts) and not isinstance(prompts[0], str)
    said = [[{"role": "assistant", "content": text}] for text in texts] if chat else texts
    given = {**columns, "prompts": prompts, "completions": said, "finished": [c.finished for c in completions]}
    parameters = inspect.signature(function).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        wanted = [p.name for p in parameters]
        missing = [p.name for p in parameters if p.default is p.empty and p.name not in given]
        if missing and missing[0] == "prompt":
            raise RewardError(
                f"reward function {_name(function)} wants 'prompt', which is not given as a column; what was asked is "
                "in 'prompts'"
            )
        if missing:
            raise RewardError(
                f"reward function {_name(function)} wants {missing[0]!r}, which is no column of the dataset; there are "
                f"{', '.join(sorted(given))}"
            )
        given = {name: value for name, value in given.items() if name in wanted}
    return _numbers(function, _called(function, **copy.deepcopy(given)), texts)


def of_completions_alone(function: OwnReward) -> bool:
    """Whether a reward function has one parameter, the completions, instead of TRL's many."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # built in: it has no signature to read
        return True
    return len(parameters) == 1 and parameters[0].kind in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )


def _called(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    try:
        return function(*arguments, **named)
    except (Exception, SystemExit) as error:
        raise _failure(function, error) from error


def _failure(function: Callable[..., Any], error: BaseException) -> RewardError:
    """What a function raised, in a line."""
    if isinstance(error, SystemExit):  # the exit of a script is no exit of the training
        return RewardError(f"reward function {_name(function)} called sys.exit({error.code})")
    where = _line_of(function, error)
    return RewardError(f"reward function {_name(function)} raised {type(error).__name__}: {error}{where}")


def _line_of(function: Callable[..., Any], error: BaseException) -> str:
    """The last line of the user's own file that the error passed through."""
    code = getattr(function, "__code__", None)
    trace, found = error.__traceback__, ""
    while trace is not None:
        if code is not None and trace.tb_frame.f_code.co_filename == code.co_filename:
            found = f" (line {trace.tb_lineno} of {code.co_filename})"
        trace = trace.tb_next
    return found


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _numbers(function: Any, answer: Any, texts: Sequence[str]) -> list[float | None]:
    """A function's answer as numbers, whatever holds them: a list, a tuple, an array, a tensor of any type."""
    name = _name(function)
    rewards = [_number(name, value) for value in _listed(function, answer)]
    if len(rewards) != len(texts):
        raise RewardError(f"reward function {name} returned {len(rewards)} rewards for {len(texts)} completions")
    for reward, text in zip(rewards, texts, strict=True):
        if reward is not None and not abs(reward) <= LARGEST:
            raise RewardError(f"reward function {name} returned {reward} for {text!r}")
    return rewards


def _listed(function: Any, answer: Any) -> list[Any]:
    """An answer's values; a generator runs only now, and may raise only now."""
    wrong = str | bytes | bytearray | memoryview | Mapping | set | frozenset
    try:
        if hasattr(answer, "tolist") and not isinstance(answer, wrong):
            answer = answer.tolist()
        if not isinstance(answer, wrong) and hasattr(answer, "__iter__"):
            return list(answer)
    except (Exception, SystemExit) as error:
        raise _failure(function, error) from error
    raise RewardError(
        f"reward function {_name(function)} returned {type(answer).__name__}, not a list with one number a completion"
    )


def _number(name: str, value: Any) -> float | None:
    """A number, or what holds one, such as a tensor of one element."""
    try:
        held = value.item() if hasattr(value, "item") else value
        if held is None:
            return None
        if not isinstance(held, str | bytes) and hasattr(held, "__float__"):
            return float(held)
    except Exception:  # too large, of several elements, without any, a NaN that signals: each raises its own kind
        pass
    raise RewardError(f"reward function {name} returned {_shown(value)} as a reward; a number, or None, is wanted")


def _shown(value: Any) -> str:
    try:
        return repr(value)[:80]
    except Exception:  # an integer of too many digits has no text
        return type(value).__name__


def check_rates(rule: Rule, completions: Sequence[Completion]) -> dict[str, float]:
    """Shares of completions that finished, and that satisfy each half of the rule.

    NaN for a half that the rule lacks, and where there are no completions.
    """

    def share(flags: list[bool]) -> float:
        return sum(flags) / len(flags) if flags else math.nan

    length, digits = find_part(rule, ExactLength) or find_part(rule, ExactGraphemes), find_part(rule, DigitSum)
    return {
        "finished_rate": share([c.finished for c in completions]),
        "length_rate": share([length.check(c.text) for c in completions]) if length else math.nan,
        "digit_rate": share([digits.check(c.text) for c in completions]) if digits else math.nan,
    }
