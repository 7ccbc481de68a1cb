"""The predictions of the notebooks: each can be asked, and its own answer is right."""

import pytest

from policy_gradients.course.exercises import kept
from policy_gradients.course.predictions import ASKED, ask

FROM_THE_NOTEBOOK = {
    "03: a thousand tokens": {"answer": 2999.0},
    "06: strings made to fool the checker": {"answer": 2.0},
    "06: groups that speak": {"answer": 0.1, "p": 0.006, "G": 16, "p_wide": 0.1, "speak": 0.8},
    "08: the verdict": {"answer": "neither"},
    "08: what to divide by": {"answer": "none of them"},
    "08: once or twice": {"answer": "the first alone"},
    "08: whose credit": {"answer": "critic, model"},
    "08: whose length": {"answer": "none of them"},
    "08: the rare bit": {"answer": "none of them"},
    "08: its own or all": {"answer": "none of them"},
    "08: steps or size": {"answer": "none of them"},
    "08: on the whole job": {"answer": "two updates beat one"},
    "lab: the mystery": {"answer": "one", "options": ["one", "another"], "because": "It looks like one."},
}


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv(kept.VARIABLE, str(tmp_path / "progress.json"))


@pytest.mark.parametrize("name", ASKED)
def test_each_can_be_asked_and_tells_nothing(name, capsys):
    """That the answer is one of the options, a finite number and so on is checked when it is asked."""
    ask(name, **FROM_THE_NOTEBOOK.get(name, {}))
    said = capsys.readouterr().out
    assert said.startswith("? Predict: ") and "{" not in said and "The answer is" not in said
    asked = ASKED[name]
    assert not asked.because or asked.because not in said
    assert not asked.options or len(set(asked.options)) >= 2
    assert "*" not in asked.question + asked.because, "it is shown as plain text"


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("no such", {}, "add it to course/predictions.py"),
        ("lab: the mystery", {}, "the answer is needed once"),
        ("01: half the error", {"answer": 2.0}, "the answer is needed once"),
    ],
)
def test_what_cannot_be_asked_is_refused(name, given, said):
    with pytest.raises(ValueError, match=said):
        ask(name, **given)
