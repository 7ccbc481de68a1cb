"""Six lengths in the prompts of one run, and five others to test it with: does a policy read the number in its prompt?

policy-gradients train --preset tiny --task examples/several_lengths.py --max-new-tokens 44 --output-dir runs/lengths
policy-gradients evaluate runs/lengths --num-prompts 440 --json runs/lengths/report.json
python examples/several_lengths.py runs/lengths/report.json
"""

import json
import sys
from pathlib import Path
from statistics import fmean, stdev

from policy_gradients.language.prompts import instruction
from policy_gradients.language.rules import parse_rule, partial_credit, with_tolerance
from policy_gradients.language.tasks import RewardTask
from policy_gradients.language.text import shipped_excerpts

TRAINED, UNSEEN = (32, 40, 48, 56, 64, 72), (36, 44, 52, 60, 68)
WIDE = 40  # characters that a text may be off and still earn something for its length: 64 is 32 away from 32


def rule(length):
    """So many characters, and digits whose sum is divisible by 3."""
    return parse_rule(f"length={length}&digits%3=0")


def near(prompts, completions, length, finished, **_):
    """How near each completion comes to its own prompt's rule; 1 where it passes, and only there."""
    return [
        ends * partial_credit(with_tolerance(rule(n), WIDE), text)
        for n, text, ends in zip(length, completions, finished, strict=True)
    ]


def rows(part, lengths):
    return [
        {"excerpt": excerpt, "length": lengths[i % len(lengths)]} for i, excerpt in enumerate(shipped_excerpts(part))
    ]


def task():
    sentence = instruction(rule(64)).replace("64", "{length}")
    train, heldout = rows("train", TRAINED), rows("heldout", TRAINED + UNSEEN)
    return RewardTask(
        train, f"{sentence}\n{{excerpt}}", near, heldout=heldout, may_cut="excerpt", name="several lengths"
    )


def told(report):
    """By the length asked for: characters written before and after, their spread, and how many pass."""
    for asked in sorted(TRAINED + UNSEEN):
        sides = [[row[side] for row in report["completions"] if row["length"] == asked] for side in ("before", "after")]
        before, after = ([each["characters"] for each in side] for side in sides)
        passed = fmean(each["passed"] for each in sides[1])
        kind = "trained" if asked in TRAINED else "unseen"
        yield f"{asked} {kind:7}  {fmean(before):5.1f}  {fmean(after):5.1f} ± {stdev(after):4.1f}  {passed:4.0%}"


if __name__ == "__main__":
    print("asked        before  after         pass", *told(json.loads(Path(sys.argv[1]).read_text())), sep="\n")
