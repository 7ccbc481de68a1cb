"""The page of results says what the files say."""

import importlib.util
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import fisher_exact

from policy_gradients.course.methods import DECODED, HEADER, TRAINED, WITHOUT, method_points, method_rows, spread
from policy_gradients.course.stored_studies import stored_study
from policy_gradients.evaluation.statistics import largest_cluster_share, largest_opening_share
from policy_gradients.language.rules import parse_rule
from policy_gradients.studies.analysis import differences, holm, outcome, outcomes
from policy_gradients.studies.runs import read_runs
from policy_gradients.studies.study import load_study
from policy_gradients.training.alarms import ringing
from policy_gradients.training.config import load_config
from policy_gradients.training.metrics import read_metrics
from policy_gradients.training.presets import PRESETS, preset

ROOT = Path(__file__).resolve().parents[2]


def load(name: str):
    specification = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_page_is_what_the_reports_make_of_it():
    tool = load("results")
    page = tool.PAGE.read_text(encoding="utf-8")
    assert tool.renewed(page, tool.blocks(ROOT / "results")) == page, "run python tools/results.py"
    assert {match[2] for match in tool.BLOCK.finditer(page)} == tool.blocks(ROOT / "results").keys()


def test_a_block_that_nobody_writes_is_refused():
    tool = load("results")
    with pytest.raises(ValueError, match="no block is called \\['nobody'\\]"):
        tool.renewed("<!-- nobody: python tools/results.py -->\n<!-- end -->", {"methods": ""})


def test_every_method_has_its_reports():
    rows = method_rows(ROOT / "results")
    assert [row[0] for row in rows] == [entry[1] for entry in (*DECODED, *TRAINED)]
    assert all(len(row) == len(HEADER) for row in rows)


def test_every_method_but_two_is_on_the_map():
    """The untouched reference stands at 0; drawing until it passes is a bound."""
    points = {point["label"]: point for point in method_points(ROOT / "results")}
    assert points.keys() == {entry[1] for entry in (*DECODED[2:], *TRAINED)}
    assert all(low <= point["pass_rate"] <= high for point in points.values() for low, high in [point["interval"]])


def test_a_method_without_reports_has_no_row(tmp_path):
    assert method_rows(tmp_path) == method_points(tmp_path) == []
    side = {"pass_rate": 0.5, "kl_to_reference": -1e-9, "distinct_completions": 3}
    report = {"num_prompts": 4, "rejection": None, **dict.fromkeys(("untouched", "mask", "chances"), side)}
    for name in ("untouched", "mask", "chances"):
        report[name] = {**side, "kl_over_floor": 2.0, "kl_over_floor_interval": [1.9, 2.14]}
    (tmp_path / WITHOUT).parent.mkdir()
    (tmp_path / WITHOUT).write_text(json.dumps(report), encoding="utf-8")
    rows = method_rows(tmp_path)
    assert len(rows) == 3 and rows[1][3:] == ["–", "50%", "3 of 4", "0.0", "2.0 [1.9, 2.1]", "+0.0%"]


def test_a_range_of_equal_numbers_is_one():
    assert spread([0.941, 0.968], ".0%") == "94–97%" and spread([3, 3], "d") == "3"


def report_of(method: str, seed: int = 0) -> dict:
    return json.loads((ROOT / "results" / method / f"seed-{seed}" / "report.json").read_text(encoding="utf-8"))


def tuned_texts(method: str, seed: int = 0) -> list[str]:
    return [row["after"]["text"] for row in report_of(method, seed)["completions"]]


def rates_of(method: str, seed: int = 0) -> list[float]:
    path = ROOT / "results" / method / f"seed-{seed}" / "metrics.jsonl"
    return [row["strict_rate"] for row in read_metrics(path)]


def prose(*parts: str) -> str:
    """A file on one line, without the marks of comments."""
    text = ROOT.joinpath(*parts).read_text(encoding="utf-8").replace("\n# ", " ")
    return " ".join(text.split())


PAGE, LESSON = ("docs", "results.md"), ("notebooks", "scripts", "06_grpo_on_a_t4.py")


def test_how_texts_begin_is_counted_in_the_files():
    page, lesson = prose(*PAGE), prose(*LESSON)
    texts = [tuned_texts("tiny-grpo", seed) for seed in range(3)]
    beginnings = (("In the 18t", "There are "), ("In 20", "As of 20"), ("In 20", "As of 20"))
    counts = [sum(text.startswith(each) for text in texts[seed]) for seed, each in enumerate(beginnings)]
    assert f'of seed 0, {counts[0]} begin with "In the 18t" or "There are "' in page
    assert f'of seed 1, {counts[1]}, and of seed 2, {counts[2]} with "In 20" or "As of 20"' in page
    assert f"{counts[0]} of GRPO's 400 texts begin with" in lesson
    assert f'of another seed\'s {counts[2]} with "In 20" or "As of 20"' in lesson
    clusters = [f"{largest_cluster_share(each):.0%}".removesuffix("%") for each in texts]
    assert f"the largest cluster does, in part ({clusters[0]}, {clusters[1]} and {clusters[2]} %)" in page
    tiny = tuned_texts("tiny")
    commonest = max(sum(text.startswith(other[:10]) for text in tiny) for other in tiny)
    assert commonest == 7 and "seven begin with the same ten characters" in page


def test_the_sparse_run_is_likelier_than_the_references_texts():
    likelihoods = [report_of("tiny-sparse", seed)["tuned"]["reference_nll_per_token"] for seed in range(3)]
    own = report_of("tiny-sparse")["reference"]["reference_nll_per_token"]
    assert f"{min(likelihoods):.2f} to {max(likelihoods):.2f} nats a token, where its own have {own:.2f}" in prose(
        *PAGE
    )


def test_the_sparse_run_waits_and_jumps_as_the_prose_says():
    starts = []
    for seed in range(3):
        rates = rates_of("tiny-sparse", seed)
        means = [sum(rates[i : i + 5]) / 5 for i in range(len(rates) - 4)]
        starts.append(next(step for step, mean in enumerate(means) if mean > 0.1))
        waiting = rates[: starts[-1]]
        assert sum(waiting) / len(waiting) < 0.01 and max(waiting) < 0.05  # "fewer than one in a hundred passes"
        assert max(means[: starts[-1] + 30]) > 0.8  # "within thirty steps more than eight in ten"
    early, later, last = sorted(starts)
    assert f"{early}, {later} and {last} steps of 128 completions (three seeds" in prose(*PAGE)
    assert last == starts[0] and f"Two more seeds waited {early} and {later} steps" in prose(*LESSON)
    told = (report_of("tiny-sparse", seed)["tuned"]["distinct_completions"] for seed in (1, 2))
    distinct = [texts for _, texts in sorted(zip(starts[1:], told, strict=True))]  # who waited less is named first
    assert f"({distinct[0]} and {distinct[1]} different texts for 400 prompts)" in prose(*LESSON)


def test_the_same_rule_by_state_is_learnt_within_eighty_steps():
    slow = 0
    for seed in range(3):
        rates = rates_of("tiny-state-sparse", seed)
        assert sum(rates[:20]) / 20 < 0.03 and sum(rates[70:80]) / 10 > 0.8  # "the first twenty show nothing"
        slow += sum(rates[:50]) / 50 < 0.03
    assert slow == 1  # "and of one seed the first fifty"
    passed = [100 * report_of("tiny-state-sparse", seed)["tuned"]["pass_rate"] for seed in range(3)]
    assert f"{min(passed):.0f} to {max(passed):.0f} %, where 94 % did" in prose(*PAGE)


def test_what_grpo_pays_beside_credit_by_state():
    """ "One and a half times the nats", "two thirds of the nats", "nearly twice the rise in perplexity"."""
    nats, rise = {}, {}
    for method in ("tiny", "tiny-grpo"):
        found = [report_of(method, seed) for seed in range(3)]
        nats[method] = [each["tuned"]["kl_to_reference"] for each in found]
        rise[method] = [
            each["tuned"]["heldout_perplexity"] / each["reference"]["heldout_perplexity"] - 1 for each in found
        ]
    assert 1.4 < min(nats["tiny-grpo"]) / max(nats["tiny"]) < sum(nats["tiny-grpo"]) / sum(nats["tiny"]) < 1.6
    assert 1.6 < sum(rise["tiny-grpo"]) / sum(rise["tiny"]) < 2


def test_what_grpo_pays_with_more_completions_and_a_higher_price():
    def at_three_quarters(folder: Path) -> tuple[int, float]:
        """Completions until the mean strict rate of five steps is there, and their KL."""
        rows, config = read_metrics(folder / "metrics.jsonl"), load_config(folder / "config.json")
        for end in range(5, len(rows) + 1):
            if sum(row["strict_rate"] for row in rows[end - 5 : end]) >= 5 * 0.75:
                kl = sum(row["kl"] for row in rows[end - 5 : end]) / 5
                return end * config.num_prompts * config.num_generations, kl
        raise AssertionError(f"{folder} does not come to three quarters")

    page = prose(*PAGE)
    wide = [at_three_quarters(ROOT / "results" / "tiny-grpo-wide" / f"seed-{seed}") for seed in range(2)]
    usual = [at_three_quarters(ROOT / "results" / "tiny-grpo" / f"seed-{seed}") for seed in range(3)]
    state = at_three_quarters(ROOT / "results" / "tiny" / "seed-0")
    assert "it has paid {:.1f} and {:.1f} nats".format(*(kl for _, kl in wide)) in page
    paid = [kl for _, kl in usual]
    assert f"had paid {min(paid):.1f} to {max(paid):.1f}, and credit by state (seed 0) {state[1]:.1f}." in page
    took = [count for count, _ in usual]
    said = f"took {min(took):,} to {max(took):,}, and credit by state {state[0]:,}."
    assert "{:,} and {:,} until there".format(*(count for count, _ in wide)) in page and said in page
    reports = [report_of("tiny-grpo-wide", seed) for seed in range(2)]
    rates = [f"{each['tuned']['pass_rate']:.0%}".removesuffix("%") for each in reports]
    ratios = [f"{each['kl_over_floor']:.1f}" for each in reports]
    assert f"it passes {rates[0]} and {rates[1]} % of the new prompts, at {ratios[0]} and {ratios[1]} times" in page
    for seed in range(2):
        config = load_config(ROOT / "results" / "tiny-grpo-wide" / f"seed-{seed}" / "config.json")
        more = {"num_prompts": 16, "kl_weight": 0.12, "kl_success_weight": 0.12, "learning_rate": 3e-4}
        assert config == preset("tiny-grpo", seed=seed, stop_above=0.95, **more)
        rows = read_metrics(ROOT / "results" / "tiny-grpo-wide" / f"seed-{seed}" / "metrics.jsonl")[20:]
        assert 90 < next(row["step"] for row in rows if row["entropy_weight"] > 0) < 100
    assert "(the bonus comes up after step 90, as entropy falls below 1.3" in page


def test_what_grpo_pays_where_its_price_falls_with_success():
    page, lesson = prose(*PAGE), prose(*LESSON)
    names = ("tiny-grpo-falling", "tiny-grpo", "tiny")
    tuned = {name: [report_of(name, seed)["tuned"] for seed in range(3)] for name in names}
    rates = [f"{100 * each['pass_rate']:.0f}" for each in tuned[names[0]]]
    assert (
        f"{rates[0]}, {rates[1]} and {rates[2]} % of new prompts" in page
        and f"{min(rates)} to {max(rates)} %" in lesson
    )
    low, high = (
        [f"{end(each['kl_to_reference'] for each in tuned[name]):.1f}" for name in names] for end in (min, max)
    )
    assert f"for {low[0]} to {high[0]} nats, where credit by state pays {low[2]} to {high[2]} for 96 %" in page
    assert f"and `tiny-grpo` {low[1]} to {high[1]} for 92 to 94 %" in page
    means = [sum(each["kl_to_reference"] for each in tuned[name]) / 3 for name in names]
    assert 1.35 < means[0] / means[2] < 1.45 and "for two fifths more nats than credit by state pays" in lesson
    over = [report_of(names[0], seed)["kl_over_floor"] for seed in range(3)]
    assert f"to {min(rates)} to {max(rates)} % at {min(over):.1f} to {max(over):.1f} times the floor" in page
    drawn = {name: [] for name in names}
    for name in names:
        for seed in range(3):
            folder = ROOT / "results" / name / f"seed-{seed}"
            config, steps = load_config(folder / "config.json"), len(read_metrics(folder / "metrics.jsonl"))
            drawn[name].append(steps * config.num_prompts * config.num_generations)
    said = "{:,} to {:,}, where `tiny-grpo` took {:,} to {:,} and credit by state {:,}".format(
        *(end(drawn[name]) for name in names[:2] for end in (min, max)), drawn["tiny"][0]
    )
    assert said in page
    alike = [largest_opening_share(tuned_texts(name, seed)) for name in names for seed in range(3)]
    ends = [f"{100 * end(alike[i : i + 3]):.0f}" for i in (0, 3, 6) for end in (min, max)]
    assert (
        "{} to {} % have the commonest first ten characters, where {} to {} % do there, and {} to {} %".format(*ends)
        in page
    )
    for seed in range(3):
        config = load_config(ROOT / "results" / names[0] / f"seed-{seed}" / "config.json")
        more = {"num_prompts": 16, "kl_weight": 0.12, "kl_success_weight": 0.04, "learning_rate": 3e-4}
        assert config == preset("tiny-grpo", seed=seed, stop_above=0.96, entropy_target=1.1, max_steps=240, **more)


def test_the_shipped_rates_are_the_lowest_that_pass():
    """As docs/results.md says of the search: 94 % of the prompts that settings are chosen by."""
    for method in ("tiny", "tiny-grpo"):
        passed = {}
        for path in (ROOT / "results" / "tuning" / method).glob("rate-*/report.json"):
            rate = json.loads(path.with_name("config.json").read_text(encoding="utf-8"))["learning_rate"]
            assert rate == float(path.parent.name.removeprefix("rate-"))
            passed[rate] = json.loads(path.read_text(encoding="utf-8"))["tuned"]["pass_rate"]
        assert len(passed) >= 3
        assert PRESETS[method]["learning_rate"] == min(rate for rate, share in passed.items() if share >= 0.94)


def test_the_search_of_both_methods_came_out_as_the_prose_says():
    page = prose(*PAGE)
    trials = {
        method: {
            path.parent.name: json.loads(path.read_text(encoding="utf-8"))
            for path in sorted((ROOT / "results" / "tuning" / method).glob("*/report.json"))
        }
        for method in ("tiny", "tiny-grpo")
    }
    paid = {
        method: [report["kl_over_floor"] for report in found.values() if report["tuned"]["pass_rate"] > 0]
        for method, found in trials.items()
    }
    said = "{:.1f} to {:.1f} times the floor".format(min(paid["tiny-grpo"]), max(paid["tiny-grpo"]))
    assert f"{said}, where credit by state pays {min(paid['tiny']):.1f} to {max(paid['tiny']):.1f}" in page
    shipped, half, double = (
        [trials[method][name]["tuned"] for method in trials] for name in ("rate-4e-4", "price-half", "price-double")
    )
    assert "({:.0f} and {:.0f} % are left)".format(*(100 * each["pass_rate"] for each in double)) in page
    more = [100 * (new["pass_rate"] - old["pass_rate"]) for new, old in zip(half, shipped, strict=True)]
    assert [round(points) for points in more] == [5, 2] and "five and two points more" in page
    nats = [100 * (new["kl_to_reference"] / old["kl_to_reference"] - 1) for new, old in zip(half, shipped, strict=True)]
    assert "cost {:.0f} and {:.0f} % more nats".format(*nats) in page
    none, twice = (trials["tiny-grpo"][name]["tuned"] for name in ("entropy-none", "updates-2"))
    clusters = [f"{100 * each['largest_cluster_share']:.0f} %" for each in (none, shipped[1], twice)]
    assert f"{clusters[0]} of its texts share five words in a row, where {clusters[1]} do with it" in page
    assert f"{clusters[2]} of the texts share five words in a row" in page
    less = shipped[1]["kl_to_reference"] - none["kl_to_reference"]
    further = twice["kl_to_reference"] - shipped[1]["kl_to_reference"]
    assert f"pays {less:.0f} nats less" in page and f"they cost GRPO {further:.0f}, and" in page


def test_several_lengths_in_the_prompts_came_to_one():
    folder = ROOT / "results" / "several-lengths"
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    config = load_config(folder / "config.json")
    assert config == preset("tiny-grpo", task_file="examples/several_lengths.py", max_new_tokens=44)
    assert len(read_metrics(folder / "metrics.jsonl")) == 200
    by_length = {}
    for row in report["completions"]:
        by_length.setdefault(row["length"], []).append(row["after"]["characters"])
    means = [sum(each) / len(each) for each in by_length.values()]
    assert len(means) == 11 and min(means) > 55 and max(means) < 58
    page, lesson = prose(*PAGE), prose("notebooks", "scripts", "07_evaluation.py")
    rewards = [report[side]["mean_reward"] for side in ("reference", "tuned")]
    assert "The mean reward rose from {:.2f} to {:.2f} all the while".format(*rewards) in lesson
    kl = report["tuned"]["kl_to_reference"]
    assert f"that is what was learnt, for {kl:.0f} nats" in lesson
    assert f"between {min(means):.0f} and {max(means):.0f} characters" in page
    assert f"{report['tuned']['pass_rate']:.0%}".replace("%", " % of the 440 prompts are met") in page


def test_the_attainable_floor_is_what_the_prose_says():
    report = json.loads((ROOT / "results" / "tiny" / "attainable_floor.json").read_text(encoding="utf-8"))
    more = {row["pass_rate"]: row["attainable"] - row["of_the_mean"] for row in report["floors"]}
    assert f"the least price of 95 % is {more[0.95]:.2f} nats higher" in prose(*LESSON)
    assert 0.25 <= more[0.9] < more[1.0] < 0.35 and "a quarter of a nat or a little more" in prose(*PAGE)


def test_smollm2s_failures_are_those_that_the_prose_counts():
    failures = [
        row["after"]["text"]
        for seed in range(2)
        for row in report_of("smollm2", seed)["completions"]
        if not row["after"]["passed"]
    ]
    rule = parse_rule("length=10&digits%3=0")
    parts = [text for text in failures if "\ufffd" in text]
    right = sum(rule.check(text.rstrip("\ufffd")) for text in parts)
    page = f'{len(parts)} of the {len(failures)} failures hold a "\ufffd", and {right} of them are a right text'
    assert page in prose(*PAGE)
    lesson = f"{len(parts)} of the {len(failures)} failures of two seeds hold one, and {right} are a right text"
    assert lesson in prose(*LESSON)


def test_a_narrow_bound_on_updates_delays_smollm2_as_the_prose_says():
    def reached(path: Path) -> int:
        return next(row["step"] for row in read_metrics(path) if row["tolerance"] == 0)

    narrow = ROOT / "results" / "tuning" / "smollm2" / "max-update-kl-0.1" / "metrics.jsonl"
    assert sum(row["updates"] == 2 for row in read_metrics(narrow)[:30]) == 10  # "only ten of the first thirty"
    steps = [reached(ROOT / "results" / "smollm2" / f"seed-{seed}" / "metrics.jsonl") for seed in range(2)]
    said = f"reached at step {reached(narrow)}, not at {steps[0]} and {steps[1]}"
    assert said in prose("docs", "choices.md")


def test_the_pages_own_experiment_is_what_the_prose_says():
    report, texts = report_of("page", 0), Counter(tuned_texts("page", 0))
    rows = read_metrics(ROOT / "results" / "page" / "seed-0" / "metrics.jsonl")
    config = load_config(ROOT / "results" / "page" / "seed-0" / "config.json")
    assert config == preset("page", prompt_source="shipped", model=config.model)
    page, lesson = prose(*PAGE), prose(*LESSON)
    [(said, often)] = texts.most_common(1)
    assert report["reference_pass_rate"] == 0 and len(said) == 64
    strict = f"{report['tuned']['pass_rate']:.0%}".replace("%", " %")
    minutes = rows[-1]["elapsed"] / 60
    assert (
        f"from none of 1,200 samples to {strict} of new prompts, in {len(rows)} steps and {minutes:.0f} minutes" in page
    )
    assert f"from none of 1,200 samples to {strict} of new prompts, in {len(rows)} steps" in lesson
    assert f'"{said}" is the answer to {often} of the 400 prompts' in page and len(texts) == 5
    assert f"{report['perplexity_increase']:.1%}".replace("%", " %") in page
    nll = [report[side]["reference_nll_per_token"] for side in ("tuned", "reference")]
    assert "({:.2f} nats a token, where its own have {:.2f})".format(*nll) in page
    early, late = rows[23], rows[34]
    assert early["tolerance"] == 9 and early["digit_rate"] > 0.97 and late["tolerance"] == 0
    assert f"{early['distinct_share']:.0%}".replace("%", " %") + " of the texts are distinct, within 9" in page
    assert (
        f"{late['strict_rate']:.0%} of the texts pass, and {late['distinct_share']:.0%} are".replace("%", " %") in page
    )
    rung = next(i for i in range(len(rows)) if "entropy_collapse" in ringing(rows[: i + 1]))
    assert f"its alarm rings from step {rung + 1} on" in page
    said = f"from step {rung + 1} on, while {rows[rung]['distinct_share']:.0%} of the texts".replace("%", " %")
    assert f"that of the entropy, {said} were still distinct" in lesson
    readme = prose("README.md")
    assert f"from 0 to {strict} in {minutes:.0f} minutes of one core" in readme


def test_the_pages_other_runs_ended_as_the_prose_says():
    first, second, priced = (
        read_metrics(ROOT / "results" / "tuning" / "page" / name / "metrics.jsonl")
        for name in ("seed-1", "seed-2", "priced-and-patient")
    )
    assert f"cut at steps {len(first)} and {len(second)}" in prose(*PAGE) and len(priced) == 32
    for rows, wide, length in ((first, 2, 62), (second, 1, 65)):
        for row in rows[-4:]:
            assert (row["train_reward"] > 0.85) if row["tolerance"] == wide else (row["train_reward"] < 0.05)
            assert abs(row["mean_length"] - length) < 2 and row["distinct_share"] < 0.2
    last = priced[-1]
    assert last["tolerance"] == 8 and max(row["kl"] for row in priced[25:]) < 14
    assert f"{last['distinct_share']:.0%} were distinct, and {last['strict_rate']:.0%} passed".replace(
        "%", " %"
    ) in prose(*PAGE)
    assert f"{last['distinct_share']:.0%} of its texts were distinct".replace("%", " %") in prose(*LESSON)


def test_the_pages_experiment_with_a_price_is_what_the_prose_says():
    folder = ROOT / "results" / "page-priced"
    logs = [read_metrics(folder / f"seed-{seed}" / "metrics.jsonl") for seed in (0, 1, 2)]
    page, lesson = prose(*PAGE), prose(*LESSON)
    price = {"kl_place": "reward", "kl_weight": 0.08, "kl_success_weight": 0.08, "learning_rate": 1.5e-5}
    for seed in (0, 1, 2):
        config = load_config(folder / f"seed-{seed}" / "config.json")
        assert config == preset("page", prompt_source="shipped", model=config.model, seed=seed, max_steps=160, **price)
    assert f"Fisher's exact test has p = {fisher_exact([[3, 0], [1, 2]]).pvalue:.1f}" in page
    assert "in {}, {} and {} steps, where one of three did".format(*map(len, logs)) in page
    texts = Counter(tuned_texts("page-priced", 0))
    [(said, often)] = texts.most_common(1)
    rate = report_of("page-priced", 0)["tuned"]["pass_rate"]
    assert f"Seed 0 passes {rate:.0%}".replace("%", " %") in page and len(texts) == 7
    assert f'{often} are "{said}"' in page
    [(said, often), *others] = Counter(tuned_texts("page-priced", 1)).most_common()
    assert f'Seed 1 has three: {often} are "{said}"' in page and len(others) == 2
    [(said, often), *others] = Counter(tuned_texts("page-priced", 2)).most_common()
    assert f'Of seed 2\'s fourteen, {often} are "{said}"' in page and len(others) == 13
    paid, distinct = zip(*[narrowed(rows, 6) for rows in logs], strict=True)
    assert "they have paid {:.1f}, {:.1f} and {:.1f} nats".format(*paid) in page
    assert (
        "{:.0f}, {:.0f} and {:.0f} % of the texts are distinct (without".format(*(100 * each for each in distinct))
        in page
    )
    names = ("page/seed-0", "tuning/page/seed-1", "tuning/page/seed-2")
    others = [narrowed(read_metrics(ROOT / "results" / name / "metrics.jsonl"), 6) for name in names]
    assert "without a price it was {:.1f} to {:.1f}".format(*(f([kl for kl, _ in others]) for f in (min, max))) in page
    assert "(without a price {:.0f}, {:.0f} and {:.0f} %)".format(*(100 * each for _, each in others)) in page
    half, end = logs[1][53], logs[1][59]
    assert half["step"] == 54 and "at step 54, 52 % of seed 1" in page and "48 % of its texts are distinct" in page
    assert (round(half["strict_rate"], 2), round(half["distinct_share"], 2)) == (0.52, 0.48)
    assert end["distinct_share"] * 64 == 1 and "six steps later" in page and "six steps later" in lesson
    assert [round(rows[-1]["kl"]) for rows in logs] == [20, 17, 16] and "at 16 to 20 nats" in lesson
    steered = read_metrics(ROOT / "results" / "tuning" / "page" / "priced-and-steered" / "metrics.jsonl")
    assert len(steered) == 40 and f"at {steered[-1]['kl']:.1f} nats" in page


def test_the_pages_experiment_with_shared_rewards_is_what_the_prose_says():
    folder, page = ROOT / "results" / "tuning" / "page" / "shared", prose(*PAGE)
    rows, config = read_metrics(folder / "metrics.jsonl"), load_config(folder / "config.json")
    price = {"kl_place": "reward", "kl_weight": 0.08, "kl_success_weight": 0.08, "learning_rate": 1.5e-5}
    shared = {"sharing": 1.0, "scale": "batch_std", "max_steps": 160}
    assert config == preset("page", prompt_source="shipped", model=config.model, **price, **shared)
    assert f"It was cut at step {len(rows)}." in page and min(row["tolerance"] for row in rows) == 12
    reached = [
        next(row["step"] for row in log if row["tolerance"] <= 12)
        for log in (
            read_metrics(ROOT / "results" / "page-priced" / f"seed-{seed}" / "metrics.jsonl") for seed in range(3)
        )
    ]
    own = next(row["step"] for row in rows if row["tolerance"] == 12)
    said = f"at step {own}, where the others were at steps {min(reached)} to {max(reached)}"
    assert said in page
    last = {key: sum(row[key] for row in rows[-10:]) / 10 for key in ("distinct_share", "kl", "entropy")}
    said = f"{last['distinct_share']:.1%} of the texts are distinct, at {last['kl']:.1f} nats and {last['entropy']:.1f}"
    assert said.replace("%", " %") in page


def narrowed(rows: list[dict], width: int) -> tuple[float, float]:
    """KL and share of distinct texts, mean of the first three steps at which that tolerance was in force."""
    first = next(i for i, row in enumerate(rows) if row["tolerance"] <= width)
    there = rows[first : first + 3]
    return tuple(sum(row[key] for row in there) / len(there) for key in ("kl", "distinct_share"))


def test_the_facts_are_what_the_prose_says():
    folders = [Path("page", "seed-0"), *(Path("page-priced", f"seed-{seed}") for seed in range(3))]

    def told(folder: Path, file: str) -> dict:
        return json.loads((ROOT / "results" / folder / file).read_text(encoding="utf-8"))["all"]

    plain, asked = ([told(folder, file) for folder in folders] for file in ("facts.json", "facts-asked.json"))
    p_values = holm([each["paired"]["p_value"] for each in (*plain, *asked)])
    assert [p < 0.05 for p in p_values] == [False, False, True, False, False, False, False, False]
    pairs = [(each["paired"]["lost"], each["paired"]["gained"]) for each in plain]
    assert pairs[2] == (10, 0) and "seed 1 lost ten facts of 367 and gained none" in prose(*PAGE)
    assert pairs[0] == (6, 1) and "lost six and gained one" in prose(*PAGE)
    assert all(lost > gained for lost, gained in pairs)
    changed = [each["paired"]["lost"] + each["paired"]["gained"] for each in asked]
    assert f"{min(changed)} to {max(changed)} answers changed sides" in prose(*PAGE)


def test_how_many_runs_never_reach_a_half_is_what_notebook_08_says():
    study = load_study("entropy")
    runs = read_runs(study, ROOT / "results" / "ablations" / "entropy")
    never = [sum(outcome(run, "steps_to_half") > 30 for run in of_arm.values()) for of_arm in runs.values()]
    assert (min(never), max(never)) == (1, 5)
    assert "one to five of an arm's ten runs never get there" in prose("notebooks", "scripts", "08_ablations.py")


def test_what_the_studies_of_groups_and_divergence_say_is_what_the_prose_says():
    groups, divergence = (stored_study(name, ROOT / "results") for name in ("groups", "divergence"))
    told = [prose("notebooks", "scripts", "08_ablations.py"), prose("docs", "results.md")]

    def mean(study, arm: str, metric: str) -> float:
        return float(np.mean(list(outcomes(study.runs, arm, metric).values())))

    means = [100 * mean(groups, arm, "mean_strict_rate") for arm in groups.study.arms]
    by_rate = [each for each in groups.comparisons if each.hypothesis.metric == "mean_strict_rate"]
    needed = [each.needed for each in by_rate]
    assert all(each.interval[0] < -0.08 and each.interval[1] > 0.06 for each in by_rate)
    few = sorted(run["report"]["distinct_completions"] for run in groups.runs["8 prompts of 4"].values())[:3]
    assert few[:2] == [1, 13] and few[2] > 50
    kl = {arm: mean(divergence, arm, "kl") for arm in divergence.study.arms}
    rates = {arm: 100 * mean(divergence, arm, "mean_strict_rate") for arm in divergence.study.arms}
    found = {(e.hypothesis.arm, e.hypothesis.against, e.hypothesis.metric): e for e in divergence.comparisons}
    noise = found["loss, k1", "none", "kl"]
    saved = [kl["none"] - kl[arm] for arm in ("reward, exact", "reward, k1", "loss, exact", "loss, k3")]
    assert [found["reward, exact", "loss, exact", "kl"].verdict, noise.verdict] == ["holds", "undecided"]
    assert found["loss, exact", "loss, exact, a third", "kl"].verdict == "holds"
    assert rates["reward, exact"] < rates["loss, exact"] < rates["loss, exact, a third"]
    for page in told:
        assert f"means lie between {min(means):.0f} and {max(means):.0f} %" in page
        assert f"{min(needed)} to {max(needed)} seeds an arm" in page
        assert "(1 and 13 of 60)" in page
        assert f"{kl['none']:.0f} nats without it, {kl['loss, exact']:.0f} in the loss" in page
        assert f"falls from {rates['none']:.0f} to {rates['reward, exact']:.0f} %" in page
        assert f"ends {noise.difference:.0f} nats nearer" in page
        assert f"from {-noise.interval[0]:.0f} farther to {noise.interval[1]:.0f} nearer" in page
        assert f"saves {min(saved):.0f} and more" in page
        assert f"leaves {found['reward, exact', 'loss, exact', 'kl'].difference:.0f} nats less" in page
        assert f"leaves {found['loss, exact', 'loss, exact, a third', 'kl'].difference:.0f} nats more" in page


def test_what_the_study_of_credit_says_is_what_the_prose_says():
    credit = stored_study("credit", ROOT / "results")
    rates = {arm: outcomes(credit.runs, arm, "mean_strict_rate").values() for arm in credit.study.arms}
    few = [run["report"]["distinct_completions"] <= 2 for run in credit.runs["states"].values()]
    assert sum(few) == 9 and all(r["report"]["distinct_completions"] == 60 for r in credit.runs["completion"].values())
    assert credit.arms_that_win("completion") == "critic, model" and credit.arms_that_win("states", "distinct_share")
    assert min(run["report"]["perplexity_increase"] for run in credit.runs["states"].values()) > 10
    own = load_config(ROOT / "results" / "tiny" / "seed-0" / "config.json")
    assert 2 * own.learning_rate == credit.study.config("states", 0).learning_rate
    for page in (prose("notebooks", "scripts", "08_ablations.py"), prose("docs", "results.md")):
        critic, completion = (100 * np.mean(list(rates[arm])) for arm in ("critic, model", "completion"))
        assert f"{critic:.0f} against {completion:.0f} % over the training, found at 5 %" in page
        assert "in nine of ten runs one or two of sixty texts are left" in page


def test_what_the_study_of_the_clip_says_is_what_the_prose_says():
    clip = stored_study("clip", ROOT / "results")
    found = {(each.hypothesis.arm, each.hypothesis.against): each for each in clip.comparisons}
    again = found["twice, PPO", "once, twice the rate"]
    assert [found["twice, PPO", "once"].verdict, again.verdict] == ["holds", "undecided"]
    assert found["twice, CISPO", "twice, PPO"].verdict == "the reverse holds"
    assert [each.verdict for each in clip.comparisons].count("undecided") == 4

    def mean(arm: str, metric: str) -> str:
        return f"{(100 if metric != 'kl' else 1) * np.mean(list(outcomes(clip.runs, arm, metric).values())):.0f}"

    rate = {arm: mean(arm, "mean_strict_rate") for arm in clip.study.arms}
    kl = {arm: mean(arm, "kl") for arm in clip.study.arms}
    low, high = (f"{abs(100 * end):.0f}" for end in again.interval)
    for page in (prose("notebooks", "scripts", "08_ablations.py"), prose("docs", "results.md")):
        assert f"{rate['twice, PPO']} against {rate['once']} % over the training" in page
        assert f"not shown to: {rate['once, twice the rate']} %" in page
        assert f"from {low} points below to {high} above" in page
        assert f"{rate['twice, CISPO']} against {rate['twice, PPO']} %, the reverse" in page
        assert f"{kl['once, twice the rate']} nats from the reference, two clipped ones {kl['twice, PPO']}" in page
        assert f"went {kl['twice, CISPO']} nats far" in page


def test_what_the_study_of_covariances_says_is_what_the_prose_says():
    study = stored_study("covariance", ROOT / "results")
    found = {(e.hypothesis.arm, e.hypothesis.against, e.hypothesis.metric): e for e in study.comparisons}
    rate, entropy = "mean_strict_rate", "last_entropy"
    assert study.arms_that_win("off", entropy) == "clip-cov 0.05"
    assert [each.verdict for each in study.comparisons].count("undecided") == 4
    shares = [100 * found[f"clip-cov {share}", "off", rate].difference for share in ("0.05", "0.01")]
    means = {arm: np.mean(list(outcomes(study.runs, arm, entropy).values())) for arm in study.study.arms}
    first = np.mean([run["curves"]["entropy"][0] for run in study.runs["off"].values()])
    shared = stored_study("entropy", ROOT / "results")
    assert all(study.runs[arm] == shared.runs[arm] for arm in ("off", "constant 0.003"))
    for page in (prose("notebooks", "scripts", "08_ablations.py"), prose("docs", "results.md")):
        assert (
            f"ends at {means['clip-cov 0.05']:.2f} nats a token, and without any control at {means['off']:.2f}" in page
        )
        assert f"Before training it was {first:.2f}" in page
        assert f"5 % costs {-shares[0]:.0f} points" in page and f"1 % earns {shares[1]:.0f}" in page


def test_what_the_study_of_aggregation_says_is_what_the_prose_says():
    study = stored_study("aggregation", ROOT / "results")
    assert {each.verdict for each in study.comparisons} == {"undecided"}
    found = {(e.hypothesis.arm, e.hypothesis.metric): e for e in study.comparisons}
    shorter = [found[arm, "mean_length"] for arm in ("sequence", "sequence, std")]
    assert all(0 < each.interval[0] < 2 for each in shorter) and len(study.comparisons) == 6
    texts = {arm: [run["report"]["distinct_completions"] for run in runs.values()] for arm, runs in study.runs.items()}
    few = [number for arm, each in texts.items() if arm.startswith("sequence") for number in each if number <= 5]
    least = min(min(each) for arm, each in texts.items() if not arm.startswith("sequence"))
    assert (len(few), min(few), max(few)) == (6, 1, 5)
    lengths = [x for arm in ("sequence", "sequence, std") for x in outcomes(study.runs, arm, "mean_length").values()]
    assert [13 < length < 17 for length in lengths].count(True) == 3
    assert study.runs["constant, std"] == stored_study("advantages", ROOT / "results").runs["GRPO"]
    for page in (prose("notebooks", "scripts", "08_ablations.py"), prose("docs", "results.md")):
        assert f"{shorter[0].difference:.0f} and {shorter[1].difference:.0f} characters shorter" in page
        assert f"none ends with fewer than {least}" in page


def test_what_the_study_of_the_curriculum_says_is_what_the_prose_says():
    study = stored_study("curriculum", ROOT / "results")
    assert {each.verdict for each in study.comparisons} == {"undecided"} and len(study.comparisons) == 6
    rates = {arm: [*outcomes(study.runs, arm, "mean_strict_rate").values()] for arm in study.study.arms}
    bit, *helps = (f"{100 * np.mean(each):.0f}" for each in rates.values())
    texts = {arm: [run["report"]["distinct_completions"] for run in runs.values()] for arm, runs in study.runs.items()}
    assert sum(number <= 15 for number in texts["the strict bit"]) == 5
    assert set(texts["parts"] + texts["both"]) == {60}
    low, high = (100 * end(rates["the strict bit"]) for end in (min, max))
    for page in (prose("notebooks", "scripts", "08_ablations.py"), prose("docs", "results.md")):
        assert f"{helps[0]}, {helps[1]} and {helps[2]} against {bit} % over the training" in page
        assert f"its runs have from {low:.0f} to {high:.0f} %" in page
        assert "five of its ten runs end with 15 of sixty texts or fewer" in page


def test_what_the_study_of_rates_says_is_what_the_prose_says():
    study = stored_study("rates", ROOT / "results")
    found = {(each.hypothesis.arm, each.hypothesis.against): each for each in study.comparisons}
    four, eight = (f"{prompts} prompts, 0.0008" for prompts in (4, 8))
    decided = {pair: each.verdict for pair, each in found.items() if each.verdict != "undecided"}
    assert decided == {(eight, "8 prompts, 0.0004"): "holds", (eight, four): "the reverse holds"} and len(found) == 7

    def mean(arm: str, metric: str = "pass_rate") -> float:
        return 100 * float(np.mean(list(outcomes(study.runs, arm, metric).values())))

    curves = [
        np.mean([run["curves"]["strict_rate"][:15] for run in study.runs[arm].values()], axis=0)
        for arm in ("4 prompts, 0.0016", "8 prompts, 0.0016", four, eight, "4 prompts, 0.0004", "8 prompts, 0.0004")
    ]
    apart = [np.abs(curves[i] - curves[i + 1]).max() for i in (2, 4)]
    assert max([*apart, np.abs(curves[0] - curves[1])[:8].max()]) < 0.07  # "at most seven points apart"
    kl = [mean(f"{prompts} prompts, 0.0016", "kl") / 100 for prompts in (8, 4)]
    assert 4.4 < 1 + mean("8 prompts, 0.0016", "perplexity_increase") / 100 < 5
    assert study.runs[four] == stored_study("advantages", ROOT / "results").runs["GRPO"]
    for page in (prose("notebooks", "scripts", "08_ablations.py"), prose("docs", "results.md")):
        assert f"fifteen steps pass {mean(eight):.0f} % at the end, and four for thirty {mean(four):.0f} %" in page
        late = found["8 prompts, 0.0016", four].difference
        assert f"come to {mean('8 prompts, 0.0016'):.0f} %, still {-100 * late:.0f} points behind" in page
        assert f"the eight gain {100 * found[eight, '8 prompts, 0.0004'].difference:.0f} points, found" in page
        assert f"end {kl[0]:.0f} and {kl[1]:.0f} nats from the reference" in page


def test_what_the_study_of_mixed_prompts_says_is_what_the_prose_says():
    study = stored_study("mixed", ROOT / "results")
    found = {(each.hypothesis.arm, each.hypothesis.against): each for each in study.comparisons}
    same = found["own group, its spread", "batch, its spread"]
    settled = {pair: each.verdict for pair, each in found.items() if each.verdict != "undecided"}
    assert settled == {("own group, its spread", "batch, its spread"): "no difference that matters"} and len(found) == 5
    ahead, behind = found["own group", "batch"], found["own group, its spread", "own group"]
    assert ahead.interval[0] > 0 > behind.interval[1]
    low, high = (100 * end for end in same.interval)
    for page in (prose("notebooks", "scripts", "08_ablations.py"), prose("docs", "results.md")):
        assert f"differ by {100 * abs(same.difference):.1f} points" in page
        assert f"from {-low:.0f} below to {high:.0f} above" in page
        assert f"ahead of the batch by {100 * ahead.difference:.0f} points" in page
        assert f"of itself with a spread by {-100 * behind.difference:.0f}:" in page


def test_the_whole_job_said_what_the_prose_says():
    study = load_study("full_size")
    runs = read_runs(study, ROOT / "results" / "ablations" / "full_size")
    points = [100 * differences(runs, each) for each in study.hypotheses]
    assert all(len(each) == 3 for each in points) and len(study.seeds) == 8
    one, rate, cispo, cheaper, price, cost = [[f"{abs(x):.0f}" for x in each] for each in points]
    cheaper, price = ([f"{x / 100:.0f}" for x in points[i]] for i in (3, 4))
    signs = [[x > 0 for x in each] for each in points]
    assert signs == [
        [True] * 3,
        [True, False, False],
        [False, True, True],
        [True] * 3,
        [True] * 3,
        [True, False, False],
    ]
    for page in (prose("notebooks", "scripts", "08_ablations.py"), prose("docs", "results.md")):
        assert "by {}, {} and {} points".format(*one) in page and "three of the eight seeds" in prose(
            "docs", "results.md"
        )
        assert "{1} and {2} fewer".format(*rate) in page and f"{rate[0]} points more" in page
        assert "{}, {} and {} nats".format(*price) in page
        assert "without it {} points more, then {} and {} fewer".format(*cost) in page
        assert f"{cispo[0]} points" in page and f"{cispo[1]} and {cispo[2]}" in page
    assert "by {}, {} and {} of 26 to 28 nats".format(*cheaper) in prose("notebooks", "scripts", "08_ablations.py")
