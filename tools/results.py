"""The tables of docs/results.md, written from the reports in results/: no number in them is kept by hand.

python tools/results.py         write them anew
"""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from policy_gradients.course.methods import markdown, reports
from policy_gradients.evaluation.statistics import largest_opening_share, largest_shape_share
from policy_gradients.studies.analysis import VERDICT_HEADER, claims, compare, holm, summaries, verdict_rows
from policy_gradients.studies.runs import read_runs
from policy_gradients.studies.study import METRICS, load_study
from policy_gradients.training.presets import PRESETS
from policy_gradients.training.run_folder import read_metrics

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results.md"
BLOCK = re.compile(r"(<!-- (\w+): python tools/results\.py -->\n).*?(<!-- end -->)", re.DOTALL)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *rows])


def seeds(folder: Path) -> str:
    """One row for each seed of a method, and first their reference."""
    found = reports(folder)
    rows = [_row("before", found[0]["reference"], found[0], None)]
    for number, report in enumerate(found):
        steps = len((folder / f"seed-{number}" / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        rows.append(_row(f"seed {number}", report["tuned"], report, steps))
    header = (
        f"{found[0]['num_prompts']} held-out prompts",
        "strict [95 %]",
        "distinct",
        "one shape",
        "one beginning",
        "KL, nats",
    )
    return table([*header, "KL / floor [95 %]", "perplexity", "NLL a token by the reference", "steps"], rows)


def _row(name: str, side: dict[str, Any], report: dict[str, Any], steps: int | None) -> list[str]:
    which = "before" if steps is None else "after"
    texts = [row[which]["text"] for row in report["completions"]]
    over = f"{report['kl_over_floor']:.1f}"
    if not report["reference_pass_rate"]:  # none of its samples passed: the floor is that of the largest p
        over = f"≤ {over}"
    elif "kl_over_floor_interval" in report:
        over += " [{:.1f}, {:.1f}]".format(*report["kl_over_floor_interval"])
    return [
        name,
        *_passes(side),
        f"{largest_shape_share(texts):.0%}",
        f"{largest_opening_share(texts):.0%}",
        f"{abs(side['kl_to_reference']):.1f}",
        "–" if steps is None else over,
        f"{side['heldout_perplexity']:.1f}",
        f"{side['reference_nll_per_token']:.2f}",
        "–" if steps is None else str(steps),
    ]


def chance(folder: Path) -> str:
    """What the reference's chance to pass was estimated as, in a sentence."""
    report = reports(folder)[0]
    low, high = report["reference_pass_rate_interval"]
    return f"The reference passes with p = {report['reference_pass_rate']:.5f} [{low:.5f}, {high:.5f}]."


TUNED = (("tiny", "credit by state"), ("tiny-grpo", "GRPO"))


TRIALS = {
    "price-half": "half the price of a nat",
    "price-double": "twice the price",
    "entropy-target": "an entropy target",
    "entropy-none": "no entropy target",
    "updates-1": "one update a batch",
    "updates-2": "two updates a batch",
}


def tuning(folder: Path) -> str:
    """Both methods, one change at a time from their presets, by the prompts that settings are chosen by."""
    rows = []
    for name, method in TUNED:
        kept = PRESETS[name]["learning_rate"]
        rates = sorted((float(path.name.removeprefix("rate-")), path) for path in (folder / name).glob("rate-*"))
        trials = [("as shipped" if rate == kept else f"a rate of {rate:g}", path) for rate, path in rates]
        trials.sort(key=lambda trial: trial[0] != "as shipped")
        trials += [(said, folder / name / each) for each, said in TRIALS.items() if (folder / name / each).exists()]
        rows += [[method, said, *_trial(path)] for said, path in trials]
    header = ("100 held-out prompts, seed 0", "what differs", "strict [95 %]", "distinct", "KL, nats", "KL / floor")
    return table([*header, "perplexity", "steps"], rows)


def _trial(folder: Path) -> list[str]:
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    tuned = report["tuned"]
    return [
        *_passes(tuned),
        f"{tuned['kl_to_reference']:.1f}",
        f"{report['kl_over_floor']:.1f}" if report["kl_floor"] else "–",
        f"{report['perplexity_increase']:+.1%}",
        f"{len((folder / 'metrics.jsonl').read_text(encoding='utf-8').splitlines())}",
    ]


SERVED = (
    ("smollm2-f32", "llama.cpp, 32 bits"),
    ("smollm2-q8_0", "llama.cpp, 8 bits (Q8_0)"),
    ("smollm2-bnb8", "bitsandbytes, 8 bits, in process"),
)


def served(folder: Path) -> str:
    """SmolLM2's tuned policy as it is served: does it pass, is it the policy, and how fast is it."""
    sizes = json.loads((folder / "bytes.json").read_text(encoding="utf-8"))
    found = {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name, _ in SERVED}
    rows = [["the policy, in process", "–", *_passes(found["smollm2-f32"]["in_process"]), *["–"] * 6]]
    for name, way in SERVED:
        report = found[name]
        times, load = ["–"] * 5, folder / f"{name}-load.json"
        if load.exists():
            levels = json.loads(load.read_text(encoding="utf-8"))["levels"]
            one = {level["prefix"]: level for level in levels if level["concurrency"] == 1}
            both = [one["unshared"], one["shared"]]
            times = [
                " / ".join(f"{level[key][p]:.0f}" for level in both)
                for key, p in (("latency_ms", "p50"), ("latency_ms", "p95"), ("first_token_ms", "p50"))
            ]
            times.append(" / ".join(f"{level['tokens_per_second']:.0f}" for level in both))
            times.append(f"{one['shared']['cache']['share']:.0%}")
        rows.append(
            [
                way,
                f"{sizes[name] / 1e6:.0f}",
                *_passes(report.get("served", report)),
                f"{report['kl']:.2g} ± {report['kl_standard_error']:.1g}",
                *times,
            ]
        )
    header = ("100 held-out prompts", "MB", "strict [95 %]", "distinct", "KL to the policy, nats")
    measured = ("p50, ms: apart / shared", "p95", "first token, p50", "tokens/s", "from the cache, shared")
    return table([*header, *measured], rows)


def second_tool(folder: Path) -> str:
    """The load test beside guidellm, on the same server, in alternation."""
    report = json.loads((folder / "tiny-guidellm.json").read_text(encoding="utf-8"))
    rows = []
    for clients in (1, 4):
        for tool in ("loadtest", "guidellm"):
            runs = [each[tool] for each in report["rounds"] if each["clients"] == clients]
            columns = [", ".join(f"{run[key]['p50']:.0f}" for run in runs) for key in ("latency_ms", "first_token_ms")]
            speed = ", ".join(f"{run['tokens_per_second']:.0f}" for run in runs)
            rows.append([tool, str(clients), f"{runs[0]['prompt_tokens']:.0f}", *columns, speed])
    return table(("three rounds", "clients", "tokens of a prompt", "p50, ms", "first token, p50", "tokens/s"), rows)


def _passes(side: dict[str, Any]) -> list[str]:
    """Strict pass rate with its interval, and the number of distinct completions."""
    low, high = side["pass_rate_interval"]
    return [f"{side['pass_rate']:.0%} [{low:.0%}, {high:.0%}]", f"{side['distinct_completions']}"]


def attainable(folder: Path) -> str:
    """What prompts of different difficulty add to the floor, in a sentence."""
    report = json.loads((folder / "attainable_floor.json").read_text(encoding="utf-8"))
    p, error, rates = report["mean_pass_rate"], report["mean_pass_rate_standard_error"], report["pass_rate_deciles"]
    floors = ", ".join(
        f"{row['attainable']:.2f} where the mean's floor is {row['of_the_mean']:.2f} (q = {row['pass_rate']:.0%})"
        for row in report["floors"]
    )
    return (
        f"By {report['draws']} steered draws for each of the {report['num_prompts']} prompts the reference passes with "
        f"p = {p:.4f} ± {error:.4f} on average; a tenth of the prompts have less than {rates[0]:.2%}, a tenth more "
        f"than {rates[-1]:.2%}. The least that a policy can pay for passing with probability q on average is then, in "
        f"nats: {floors}."
    )


STUDIES = (
    "entropy", "advantages", "groups", "clip", "divergence", "credit", "covariance", "aggregation", "rates",
    "curriculum", "mixed", "full_size",
)  # fmt: skip


def study(name: str, results: Path) -> str:
    """What a study asks, its arms, its differences, and the sentence of each claim."""
    declared = load_study(name)
    runs = read_runs(declared, results / "ablations" / name)
    found = compare(declared, runs)
    arms = table(["arm", "seeds", *(m.replace("_", " ") for m in METRICS)], summaries(declared, runs, list(METRICS)))
    said = "\n".join(f"- {claim.sentence}" for claim in claims(declared, found))
    asked = f"{declared.question.strip()} {declared.decision.strip()}"
    return "\n\n".join([asked, arms, table(VERDICT_HEADER, verdict_rows(found)), said])


NARROWED = (16, 9, 6, 4, 2, 0)  # characters
PAGE_RUNS = {
    "no price, seed 0": "page/seed-0",
    "no price, seed 1": "tuning/page/seed-1",
    "no price, seed 2": "tuning/page/seed-2",
    "0.03 in the loss, entropy steered, a gate that waits": "tuning/page/priced-and-patient",
    "0.1 in the reward, entropy steered to 2": "tuning/page/priced-and-steered",
    "0.08 in the reward, seed 0": "page-priced/seed-0",
    "0.08 in the reward, seed 1": "page-priced/seed-1",
    "0.08 in the reward, seed 2": "page-priced/seed-2",
    "0.08 in the reward, shared by what is alike": "tuning/page/shared",
}


FACTS_OF = {
    "no price, seed 0": "page/seed-0",
    "price in the reward, seed 0": "page-priced/seed-0",
    "price in the reward, seed 1": "page-priced/seed-1",
    "price in the reward, seed 2": "page-priced/seed-2",
}


def narrowing(results: Path) -> str:
    """Of each run of the page's experiment: what was left of variety, and at which KL, as the length narrowed."""
    rows = []
    for name, folder in PAGE_RUNS.items():
        log = read_metrics(results / folder / "metrics.jsonl")
        cells = []
        for width in NARROWED:
            there = next((i for i, row in enumerate(log) if row["tolerance"] <= width), None)
            mean = (
                {key: fmean(row[key] for row in log[there : there + 3]) for key in ("distinct_share", "kl")}
                if there
                else {}
            )
            cells.append(f"{mean['distinct_share']:.0%}, {mean['kl']:.1f}" if mean else "–")
        rows.append([name, str(len(log)), *cells, f"{fmean(row['strict_rate'] for row in log[-3:]):.0%}"])
    header = ["price of a nat", "steps", *(f"± {width}" for width in NARROWED), "strict, last three steps"]
    return table(header, rows)


def facts(results: Path) -> str:
    """Of the policies of the page's experiment: how many facts each knows, asked in two ways; p over all of them."""
    ways = {"as plain text": "facts.json", "by a user": "facts-asked.json"}
    found = {
        (name, way): json.loads((results / folder / file).read_text(encoding="utf-8"))["all"]
        for name, folder in FACTS_OF.items()
        for way, file in ways.items()
    }
    corrected = dict(zip(found, holm([told["paired"]["p_value"] for told in found.values()]), strict=True))
    rows = []
    for name, folder in FACTS_OF.items():
        kl = json.loads((results / folder / "report.json").read_text(encoding="utf-8"))["tuned"]["kl_to_reference"]
        cells = []
        for way in ways:
            told, p = found[name, way], corrected[name, way]
            lost, gained = told["paired"]["lost"], told["paired"]["gained"]
            before, after = (f"{share:.0%}" for share in told["known"])
            cells += [f"{before} → {after}", f"{lost}, {gained}", f"{p:.2g}"]
        rows.append([name, f"{kl:.1f}", *cells])
    header = [cell for way in ways for cell in (f"asked {way}", "lost, gained", "p (Holm)")]
    return table(["policy", "KL, nats", *header], rows)


def blocks(results: Path) -> dict[str, str]:
    """Every block of the page by its name."""
    return {
        "methods": markdown(results),
        "tiny": f"{seeds(results / 'tiny')}\n\n{chance(results / 'tiny')}",
        "tuning": tuning(results / "tuning"),
        "second_tool": second_tool(results / "served"),
        "served": served(results / "served"),
        "attainable": attainable(results / "tiny"),
        "grpo": seeds(results / "tiny-grpo"),
        "grpo_wide": seeds(results / "tiny-grpo-wide"),
        "grpo_falling": seeds(results / "tiny-grpo-falling"),
        "sparse": seeds(results / "tiny-sparse"),
        "smollm2": f"{seeds(results / 'smollm2')}\n\n{chance(results / 'smollm2')}",
        "page": f"{seeds(results / 'page')}\n\n{chance(results / 'page')}",
        "page_priced": f"{seeds(results / 'page-priced')}\n\n{chance(results / 'page-priced')}",
        "narrowing": narrowing(results),
        "facts": facts(results),
        **{name: study(name, results) for name in STUDIES},
        "texts": "\n".join(f"    {text!r}" for text in _texts(results)),
    }


def _texts(results: Path) -> list[str]:
    report = json.loads((results / "tiny" / "without_training.json").read_text(encoding="utf-8"))
    return [*report["mask"]["texts"][:4], *report["chances"]["texts"][:4]]


def renewed(page: str, found: dict[str, str]) -> str:
    """The page with its blocks written anew; ValueError for a block that nobody writes."""
    if unknown := {match[2] for match in BLOCK.finditer(page)} - found.keys():
        raise ValueError(f"no block is called {sorted(unknown)}; known are {', '.join(found)}")
    return BLOCK.sub(lambda match: f"{match[1]}\n{found[match[2]]}\n\n{match[3]}", page)


def main() -> int:
    page = renewed(PAGE.read_text(encoding="utf-8"), blocks(ROOT / "results"))
    PAGE.write_text(page, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
