"""The page of results says what the files say."""

import importlib.util
import json
from pathlib import Path

import pytest

from policy_gradients.course.methods import DECODED, HEADER, TRAINED, WITHOUT, method_points, method_rows, spread
from policy_gradients.evaluation.statistics import largest_cluster_share
from policy_gradients.training.metrics import read_metrics

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


def tuned_texts(method: str) -> list[str]:
    report = json.loads((ROOT / "results" / method / "seed-0" / "report.json").read_text(encoding="utf-8"))
    return [row["after"]["text"] for row in report["completions"]]


def test_numbers_that_prose_repeats_are_those_of_the_files():
    """In docs/results.md and notebook 06, beside the tables, which are written from the files."""
    page = " ".join((ROOT / "docs" / "results.md").read_text(encoding="utf-8").split())
    lesson = (ROOT / "notebooks" / "scripts" / "06_grpo_on_a_t4.py").read_text(encoding="utf-8")
    grpo, tiny = tuned_texts("tiny-grpo"), tuned_texts("tiny")
    begins = sum(text.startswith("In the 21s") for text in grpo)
    assert f'{begins} of them begin with "In the 21s"' in page and str(begins) in lesson
    assert f'{sum(text.startswith("In the 21st cen") for text in grpo)} with "In the 21st cen"' in page
    assert f"the largest cluster does, in part ({largest_cluster_share(grpo):.0%})".replace("%", " %") in page
    commonest = max(sum(text.startswith(other[:10]) for text in tiny) for other in tiny)
    assert commonest == 8 and "eight begin with the same ten characters" in page
    sparse = json.loads((ROOT / "results" / "tiny-sparse" / "seed-0" / "report.json").read_text(encoding="utf-8"))
    nll = [sparse[side]["reference_nll_per_token"] for side in ("tuned", "reference")]
    assert f"{nll[0]:.2f} nats a token, where its own have {nll[1]:.2f}" in page


def test_the_sparse_run_waits_and_jumps_as_the_prose_says():
    rates = {
        method: [row["strict_rate"] for row in read_metrics(ROOT / "results" / method / "seed-0" / "metrics.jsonl")]
        for method in ("tiny-sparse", "tiny-state-sparse")
    }
    waiting = rates["tiny-sparse"][:146]
    assert 0.005 < sum(waiting) / len(waiting) < 0.015  # "nearly 150 steps", "about one in a hundred passes"
    assert max(waiting) < 0.1 and sum(rates["tiny-sparse"][162:167]) / 5 > 0.85  # "within twenty steps"
    first, later = rates["tiny-state-sparse"][:20], rates["tiny-state-sparse"][50:60]
    assert sum(first) / 20 < 0.02 and sum(later) / 10 > 0.8  # "the first twenty show nothing", "within sixty"
