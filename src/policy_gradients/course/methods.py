"""The same job by every method that was measured: what each is told, how far it comes, and what that costs.

    python -m policy_gradients.course.methods results

prints the table as Markdown, from the reports in that folder.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# folder in results/, the method, what it is told in training, and what it needs at run time
TRAINED = (
    ("tiny-sparse", "GRPO, strict rule from the first step", "one bit a completion", "–"),
    ("tiny-grpo", "GRPO, curriculum and partial credit", "a graded reward a completion", "–"),
    ("tiny-grpo-falling", "the same, more completions and a price that falls", "a graded reward a completion", "–"),
    ("tiny-state-sparse", "credit by state, strict rule", "the checker's automaton", "–"),
    ("tiny", "credit by state, curriculum and partial credit", "the automaton, and a graded reward", "–"),
)
DECODED = (
    ("untouched", "the reference, untouched", "nothing", "–"),
    ("rejection", "draw until it passes", "nothing is trained", "one bit a draw, 1/p draws an answer or more"),
    ("mask", "decoding under a mask", "nothing is trained", "the automaton: what can still be met"),
    ("chances", "decoding by the chances of states", "nothing is trained", "the automaton, and a table of its moves"),
)  # fmt: skip
WITHOUT = Path("tiny", "without_training.json")
HEADER = (
    "method",
    "told in training",
    "needed at run time",
    "seeds",
    "strict",
    "distinct",
    "KL, nats",
    "KL / floor [95 %]",
    "perplexity",
)
WEAK = 0.1  # of policies that pass less often, the floor is next to nothing, and no ratio to it says anything


def reports(folder: Path) -> list[dict[str, Any]]:
    """The evaluations of a method's seeds, in their order."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("seed-*/report.json"))]


def spread(values: Sequence[float], spec: str) -> str:
    """The values' range, "13.4–14.7", or the one value."""
    low, high = f"{min(values):{spec}}", f"{max(values):{spec}}"
    return low if low == high else f"{low.removesuffix('%')}–{high}"


def method_rows(results: Path) -> list[list[str]]:
    """Under `HEADER`, one row for each method that has reports in `results`: first without training, then with it."""
    rows = []
    if (results / WITHOUT).exists():
        report = json.loads((results / WITHOUT).read_text(encoding="utf-8"))
        for name, *words in (way for way in DECODED if report[way[0]]):  # no rejection where nothing passed
            numbers = _numbers([report[name]], [report[name]], report["num_prompts"])
            if name == "rejection":  # of the mean chance to pass; where it differs between prompts, both lie higher
                numbers[2:] = [f"≥ {number}" for number in numbers[2:]]
            rows.append([*words, "–", *numbers, "+0.0%"])
    for name, *words in TRAINED:
        if found := reports(results / name):
            numbers = _numbers([report["tuned"] for report in found], found, found[0]["num_prompts"])
            perplexity = spread([report["perplexity_increase"] for report in found], "+.1%")
            rows.append([*words, str(len(found)), *numbers, perplexity])
    return rows


def method_points(results: Path) -> list[dict[str, Any]]:
    """The same on the map of pass rate against KL (`figures.reward_against_kl`), of trained methods the first seed."""
    sides = {}
    if (results / WITHOUT).exists():
        report = json.loads((results / WITHOUT).read_text(encoding="utf-8"))
        sides = {method: report[name] for name, method, *_ in DECODED if name in ("mask", "chances")}
    for name, method, *_ in TRAINED:
        if found := reports(results / name):
            sides[method] = found[0]["tuned"]
    return [
        {"label": method, "kl": side["kl_to_reference"], "pass_rate": side["pass_rate"]}
        | {"interval": side["pass_rate_interval"], "distinct": side["distinct_completions"]}
        for method, side in sides.items()
    ]


def _numbers(sides: Sequence[dict[str, Any]], prices: Sequence[dict[str, Any]], num_prompts: int) -> list[str]:
    """Strict, distinct, KL, KL / floor; `sides` say how policies do, `prices` how far from their floors they are."""
    rates = [side["pass_rate"] for side in sides]
    weak = max(rates) < WEAK
    distinct = [side["distinct_completions"] for side in sides if "distinct_completions" in side]
    over = "–" if weak else spread([price["kl_over_floor"] for price in prices], ".1f")
    if not weak and (
        ends := [price["kl_over_floor_interval"] for price in prices if price.get("kl_over_floor_interval")]
    ):
        over += f" [{min(low for low, _ in ends):.1f}, {max(high for _, high in ends):.1f}]"
    return [
        spread(rates, ".1%" if weak else ".0%"),
        f"{spread(distinct, 'd')} of {num_prompts}" if distinct else "–",
        spread([abs(side["kl_to_reference"]) for side in sides], ".1f"),
        over,
    ]


def markdown(results: Path) -> str:
    """The table, for a page."""
    lines = [HEADER, ["---"] * len(HEADER), *method_rows(results)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(markdown(Path(sys.argv[1])))
