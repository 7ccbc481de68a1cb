"""The tool that breaks answers: what it makes is broken, and two exercises catch all of it (the tool tries all)."""

import importlib.util
import sys
from pathlib import Path

import pytest

from policy_gradients.course.exercises.declare import find
from policy_gradients.course.exercises.grade import grade

spec = importlib.util.spec_from_file_location(
    "mutate_exercises", Path(__file__).parents[3] / "tools" / "mutate_exercises.py"
)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


def test_every_change_is_one_and_no_two_are_alike():
    source = "def f(x, y):\n    return (x.mean(1) - y.detach()) * 2.0 if x.sum() > 0 else -y"
    made = list(tool.mutants(source))
    assert len(made) == len(set(made)) and source not in made
    for part in ("x.sum(1) - y", "x.mean(2)", "x.mean(1) + y", "- y) * 2.0", "* 3.0", "> 0 else y", "x.sum() >= 0"):
        assert any(part in text for text in made), part


@pytest.mark.parametrize("name", ["token_loss", "masked_mean"])
def test_all_mistakes_are_caught(name, monkeypatch):
    monkeypatch.setattr(sys.modules[grade.__module__], "SECONDS", 1.0)
    made, same, survivors = tool.try_on(find(name))
    assert made - same > 20 and survivors == []
