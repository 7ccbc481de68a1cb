"""The page of results says what the files say."""

import importlib.util
import json
from pathlib import Path

import pytest

from policy_gradients.course.methods import DECODED, HEADER, TRAINED, WITHOUT, method_rows, spread

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


def test_a_method_without_reports_has_no_row(tmp_path):
    assert method_rows(tmp_path) == []
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
