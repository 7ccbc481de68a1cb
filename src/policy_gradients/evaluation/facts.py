"""What did the nats cost? Facts that the model knew before and after, as beginnings of sentences with four ends.

python -m policy_gradients.evaluation.facts RUN --output RUN/facts.json [--asked instruction]

Of a trained policy, the divergence says how far it went, and perplexity what that did to plain text on average. A fact
is one token or two in a hundred: neither need see it go.
"""

import argparse
import dataclasses
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from transformers import PreTrainedModel

from policy_gradients.errors import run_module
from policy_gradients.estimators.checks import check_finite, check_whole
from policy_gradients.evaluation.deliver import check_file
from policy_gradients.evaluation.evaluate import load_subject, longest_read, write_report
from policy_gradients.evaluation.statistics import paired_difference, wilson_interval
from policy_gradients.language.decoding import Rollout, pad_left
from policy_gradients.language.models import best_device, load_model
from policy_gradients.language.scoring import CompletionScorer
from policy_gradients.language.tasks import chat_ids
from policy_gradients.language.tokens import leading_ids

Asked = Literal["plain", "instruction"]
INSTRUCTION = "Complete this sentence: {beginning}"


@dataclass(frozen=True)
class Fact:
    """The beginning of a sentence, its right end, and others of the same kind, which are wrong."""

    kind: str
    beginning: str
    right: str
    wrong: tuple[str, ...]

    @property
    def texts(self) -> list[str]:
        """The whole sentence with each end, the right one first, and a full stop: S. is no beginning of Sc."""
        return [f"{self.beginning} {end}." for end in (self.right, *self.wrong)]


def shipped_facts() -> list[Fact]:
    """Capitals, countries of cities, symbols of elements, years, and sums; 367, each with three wrong ends.

    Drawn by `tools/build_facts.py`; sources and licences are in `data/LICENSE-facts.md`.
    """
    lines = (resources.files("policy_gradients.evaluation") / "data" / "facts.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in lines.splitlines()]
    return [Fact(row["kind"], row["beginning"], row["right"], tuple(row["wrong"])) for row in rows]


@torch.no_grad()
def end_log_probs(
    model: PreTrainedModel, tokenizer: Any, facts: Sequence[Fact], batch_size: int = 16, asked: Asked = "plain"
) -> Tensor:
    """log π(end | beginning), summed over the end's tokens, the full stop among them; (facts, ends), the right first.

    Whole sentences are encoded, and what all four have in common counts as their beginning: however a tokenizer cuts at
    the border, the *differences* between ends are those of the four sentences.

    Args:
        asked: `plain`: the sentence is plain text. `instruction`: a user asks to complete its beginning (`INSTRUCTION`,
            in the model's chat template, as in training), and the whole sentence is the answer.

    Raises:
        ValueError: no facts, no wrong ends, different numbers of them, an end whose tokens begin another's, which could
            not be less likely, or another way to ask.
    """
    if asked not in get_args(Asked):
        raise ValueError(f"asked must be one of {', '.join(get_args(Asked))}, got {asked!r}")
    if len({len(fact.wrong) for fact in facts}) != 1 or not facts[0].wrong:
        raise ValueError("facts must be at least one, all with the same number of wrong ends, at least one")
    check_whole("batch_size", batch_size, 1)
    device, scorer, found = next(model.parameters()).device, CompletionScorer(model), []
    for i in range(0, len(facts), batch_size):
        rollout = _as_rollout(facts[i : i + batch_size], tokenizer, device, asked)
        found.append(scorer(rollout).log_probs.sum(1).reshape(-1, rollout.num_generations).float().cpu())
    return torch.cat(found)


def _as_rollout(facts: Sequence[Fact], tokenizer: Any, device: torch.device, asked: Asked) -> Rollout:
    """Each beginning as a prompt, and its ends as the completions: the beginning is read once."""
    beginnings, ends = [], []
    for fact in facts:
        rows = tokenizer(fact.texts, add_special_tokens=False)["input_ids"]
        if any(a == b[: len(a)] for a, b in itertools.permutations(rows, 2)):
            raise ValueError(f"facts: of {fact.beginning!r} the tokens of one end begin those of another")
        shared = min(map(len, rows)) - 1  # an end has a token at least
        while any(row[:shared] != rows[0][:shared] for row in rows):
            shared -= 1
        question = INSTRUCTION.format(beginning=fact.beginning)
        before = leading_ids(tokenizer) if asked == "plain" else chat_ids(tokenizer, question)
        beginnings.append([*before, *rows[0][:shared]])
        ends += [row[shared:] for row in rows]
    width = max(map(len, ends))
    mask = torch.tensor([[1.0] * len(row) + [0.0] * (width - len(row)) for row in ends], device=device)
    ids = torch.tensor([row + [0] * (width - len(row)) for row in ends], device=device)
    prompts = pad_left(beginnings, 0, device)
    return Rollout(*prompts, ids, mask, torch.zeros(len(ends), dtype=torch.bool, device=device), len(facts[0].texts))


def facts_report(facts: Sequence[Fact], before: Tensor, after: Tensor) -> dict[str, Any]:
    """Of each kind and of all: how many are known, with intervals, and how many were lost and gained.

    A fact is known if its right end is likelier than every wrong one: with four ends, a guess is right once in four.

    Args:
        before, after: `end_log_probs` of the two policies.

    Returns:
        By kind: `facts`; `known`, share before and after, with its 95 % Wilson interval; `paired`, the difference
        (`paired_difference`); `log_share`, the mean log of the right end's share of all, in nats.

    Raises:
        ValueError: sides of another shape than (facts, ends), a number that is not finite, or a kind called "all".
    """
    for name, side in (("before", before), ("after", after)):
        if side.shape != before.shape or side.dim() != 2 or len(side) != len(facts) or side.shape[1] < 2:
            raise ValueError(f"{name} must be ({len(facts)} facts, ends), as before; got {tuple(side.shape)}")
        check_finite(name, side)
    if any(fact.kind == "all" for fact in facts):
        raise ValueError("facts: no kind may be called 'all', which is the row of all of them")
    report = {}
    for kind in [*dict.fromkeys(fact.kind for fact in facts), "all"]:
        rows = torch.tensor([kind in (fact.kind, "all") for fact in facts])
        sides = [side[rows] for side in (before, after)]
        known = [(side[:, :1] > side[:, 1:]).all(1).int().tolist() for side in sides]
        count = len(known[0])
        report[kind] = {
            "facts": count,
            "known": [sum(side) / count for side in known],
            "known_intervals": [wilson_interval(sum(side), count) for side in known],
            "paired": dataclasses.asdict(paired_difference(*known)),
            "log_share": [side.log_softmax(1)[:, 0].mean().item() for side in sides],
        }
    return report


def probe_run(directory: str | Path, facts: Sequence[Fact] | None = None, asked: Asked = "plain") -> dict[str, Any]:
    """`facts_report` of a training run: its reference before, its policy after; asked as `end_log_probs` says.

    Raises:
        ValueError: the folder holds no finished run, or a model that cannot be loaded; as `end_log_probs`.
    """
    facts = shipped_facts() if facts is None else facts
    tuned = load_subject(Path(directory))
    model, tokenizer = load_model(tuned.config.model, longest=longest_read(tuned.config))
    before = end_log_probs(model.to(best_device()), tokenizer, facts, asked=asked)
    return facts_report(facts, before, end_log_probs(tuned.model, tuned.tokenizer, facts, asked=asked))


def main() -> None:
    """Write the report as JSON, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="what train wrote")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--asked", choices=get_args(Asked), default="plain", help="as plain text, or by a user [plain]")
    parsed = parser.parse_args()
    check_file(parsed.output)
    report = probe_run(parsed.directory, asked=parsed.asked)
    parsed.output.parent.mkdir(parents=True, exist_ok=True)
    write_report(report, parsed.output)
    for kind, told in report.items():
        before, after = told["known"]
        print(f"{kind:>8}: {before:.0%} → {after:.0%} of {told['facts']}, p = {told['paired']['p_value']:.2g}")


if __name__ == "__main__":
    run_module(main)
