"""Ten classic failures, each one wrong line away from the healthy code: what the break_it lab plants, shows and mends.

A failure names a function of this package, the right line in it and a wrong one. `planted` compiles the function anew
with the wrong line, and it runs so wherever it has been imported to. The line that the lab shows is the line that runs,
and if the healthy code changes, the failure says so instead of doing nothing.
"""

import difflib
import html
import importlib
import inspect
import operator
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from policy_gradients.language.rewards import Completion, RewardFunction


@dataclass(frozen=True)
class Diff:
    """A change of source as text; a last expression in a cell shows it in colour."""

    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        """JupyterLab does not colour a diff; the page's own ink, and a tint that reads on light and dark."""
        tints = {"+": "rgba(0, 158, 115, .25)", "-": "rgba(213, 94, 0, .25)"}
        lines = []
        for line in self.text.splitlines():
            style = f"display:block;background:{tints.get(line[:1], 'transparent')}"
            lines.append(f"<span style='{style}'>{html.escape(line) or ' '}</span>")
        return f"<pre style='color:inherit;background:transparent'>{''.join(lines)}</pre>"

    def _repr_markdown_(self) -> str:
        return f"```diff\n{self.text}\n```"


@dataclass(frozen=True)
class Failure:
    """One wrong line.

    Attributes:
        name: what it is called in the lab.
        where: ``module:function`` or ``module:Class.method`` below `policy_gradients`.
        right, wrong: the line (or the part of one) that is there, and what it is replaced with.
        looks_like: its signature in the curves, in a sentence.
        alarm: the function in `training.alarms` that catches it.
        settings: of `TrainConfig`, which the healthy run needs too, for the line to matter.
        reward: likewise, where the lab's own would not show it.
    """

    name: str
    where: str
    right: str
    wrong: str
    looks_like: str
    alarm: str
    settings: dict[str, Any] = field(default_factory=dict)
    reward: RewardFunction | None = None

    @property
    def diff(self) -> Diff:
        """From the healthy function to the one with the wrong line: what the bug's commit would show."""
        healthy = textwrap.dedent(inspect.getsource(healthy_function(self))).splitlines()
        lines = list(difflib.unified_diff(healthy, broken_source(self).splitlines(), n=2, lineterm=""))[3:]
        module, _, name = self.where.partition(":")
        return Diff("\n".join([f"@@ {module.replace('.', '/')}.py, {name} @@", *lines]))


def brevity(completions: Sequence[Completion]) -> list[float]:
    """A reward for ending soon: only the end token can earn it."""
    return [1 - len(c.text) / 100 for c in completions]


FAILURES = (
    Failure(
        "zero loss, zero gradient",
        "estimators.losses:clipped_loss",
        "ratio = torch.exp(log_probs - old_log_probs.detach())",
        "ratio = torch.exp(log_probs - old_log_probs).detach()",
        "The loss starts at 0, as it should: the ratio is 1 and advantages are centred. But one bracket too far right, "
        "the detach takes the whole gradient with it: only the curve of its norm tells the two apart.",
        "zero_gradient",
        {"updates_per_batch": 2, "entropy_weight": 0.0, "prompt_kl_weight": 0.0},
    ),
    Failure(
        "uniform groups",
        "training.loop:reward_batch",
        "earned, strict = run.task.judge(sample.rows, completions, tolerance(run))",
        "first, strict = run.task.judge(sample.rows, completions, tolerance(run))\n"
        "    size = rollout.num_generations\n"
        "    earned = [reward for reward in first[::size] for _ in range(size)]",
        "Rewards vary over the batch and look healthy, the share of uniform groups is 1, and nothing is ever learnt: "
        "each prompt was scored once, for all of its group.",
        "uniform_groups",
    ),
    Failure(
        "sampled at one temperature, scored at another",
        "training.setup:sample_batch",
        "        config.temperature,",
        "        0.7 * config.temperature,",
        "Training rewards are better than the policy's own, and the ratio corrects for a policy that nobody sampled.",
        "sampler_mismatch",
    ),
    Failure(
        "no mask under left padding",
        "language.packed:read_rollout",
        "prompt_mask, lengths = prompt_mask.bool(), prompt_mask.sum(1)",
        "prompt_mask, lengths = (o := torch.ones_like(prompt_mask)).bool(), o.sum(1)",
        "Everything runs. Behind short prompts padding is read as text, and positions are counted from it; policy and "
        "reference are wrong alike, so the divergence shows nothing.",
        "sampler_mismatch",
    ),
    Failure(
        "k3 the wrong way round",
        "estimators.divergences:k3",
        "log_ratio = -_checked(log_probs, ref_log_probs)",
        "log_ratio = _checked(log_probs, ref_log_probs)",
        "Near the reference it is the same curve. Then single tokens that have become likely cost e to the log-ratio, "
        "and the divergence in the logs leaves the true one far below.",
        "kl_estimate_off",
        {"kl_estimator": "k3", "kl_place": "loss"},
    ),
    Failure(
        "minus log π as entropy",
        "training.objective:loss_per_token",
        "- piece.entropy_weight * scores.entropy",
        "- piece.entropy_weight * -scores.log_probs",
        "The bonus has the right value, and a gradient of zero on average: entropy collapses as if there were none.",
        "entropy_collapse",
        {
            "num_generations": 16,
            "max_new_tokens": 6,
            "learning_rate": 1e-3,
            "entropy_weight": 0.015,
            "kl_weight": 0.0,
            "kl_success_weight": 0.0,
        },
    ),
    Failure(
        "advantage not detached",
        "training.credit.critic:CriticCredit.losses",
        "losses = surrogate(scores, old, advantages, mask, settings.clip)",
        "losses = TokenLosses(-(returns - scores.values) * scores.log_probs, advantages, old.log_probs)",
        "The policy's loss falls fast, through the critic: V rises far above every reward, and then all advantages are "
        "negative.",
        "critic_diverges",
        {"critic": "head", "kl_weight": 0.0, "kl_success_weight": 0.0},
    ),
    Failure(
        "end token masked out",
        "language.decoding:completion_mask",
        "return (is_end.cumsum(1) - is_end.long() == 0).float()",
        "return ((is_end.cumsum(1) == 0) | (torch.arange(is_end.shape[1], device=is_end.device) == 0)).float()",
        "The length follows late, and by the words alone: the one action that decides it, to end, has no gradient.",
        "end_unscored",
        {"max_new_tokens": 40, "kl_weight": 0.0, "kl_success_weight": 0.0},
        brevity,
    ),
    Failure(
        "overflow in fp16",
        "language.chunked:_log_softmax",
        "return logits.sub_(logits.logsumexp(1, keepdim=True))",
        "return (logits.half() - logits.half().exp().sum(1, keepdim=True).log()).float()",
        "NaN from the first step on: exp of a logit above 11 is more than 65,504, the largest number that fp16 has.",
        "not_finite",
    ),
    Failure(
        "constant reward",
        "language.rewards:call_reward",
        "answer = _called(function, list(completions))",
        "answer = [bool(function) for _ in completions]",
        "The reward is perfect, from the first step on. The function was looked at, not called.",
        "constant_reward",
    ),
)


@contextmanager
def planted(failure: Failure) -> Iterator[None]:
    """Within this context the package runs with the wrong line, then with the right one again.

    Raises:
        ValueError: the healthy function no longer holds the right line, exactly once.
    """
    function = healthy_function(failure)
    healthy = function.__code__
    function.__code__ = _compiled(function, broken_source(failure))
    try:
        yield
    finally:
        function.__code__ = healthy


def healthy_function(failure: Failure) -> Callable[..., Any]:
    """The function that the failure is planted in, decorators taken off."""
    module, _, name = failure.where.partition(":")
    return inspect.unwrap(operator.attrgetter(name)(importlib.import_module(f"policy_gradients.{module}")))


def broken_source(failure: Failure) -> str:
    """The whole function with the wrong line in it.

    Raises:
        ValueError: as `planted`.
    """
    source = inspect.getsource(healthy_function(failure))
    if (count := source.count(failure.right)) != 1:
        raise ValueError(f"{failure.where} holds the right line of {failure.name!r} {count} times, not once")
    return textwrap.dedent(source.replace(failure.right, failure.wrong))


def _compiled(function: Callable[..., Any], source: str) -> CodeType:
    module = compile(source, f"<planted in {function.__qualname__}>", "exec", dont_inherit=True)
    return next(c for c in module.co_consts if isinstance(c, CodeType) and c.co_name == function.__name__)
