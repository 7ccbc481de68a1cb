"""Predictions: committed before they are revealed, kept once, folded where there is no kernel."""

import pytest

from policy_gradients.course import predict as module
from policy_gradients.course.exercises import kept, page
from policy_gradients.course.predict import _Question, predict


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv(kept.VARIABLE, str(tmp_path / "progress.json"))


@pytest.fixture
def shown(monkeypatch):
    """Outputs that a notebook would get."""
    outputs = []
    for place in (module, page):
        monkeypatch.setattr(place, "in_notebook", lambda: True)
        monkeypatch.setattr(place, "display", lambda data, raw, metadata=None: outputs.append(data))
    return outputs


def test_nothing_is_revealed_before_a_guess(capsys):
    predict("share", "Which share?", 0.8512, within=0.1)
    text = capsys.readouterr().out
    assert "Which share?" in text and "0.85" not in text and kept.score() == (0, 0)


def test_a_number_is_right_within_its_tolerance_and_only_the_first_counts(capsys):
    predict("share", "Which share?", 0.85, within=0.1, because="Most fail.", guess=0.75)
    text = capsys.readouterr().out
    assert "✓ Predicted: right" in text and "You said 0.75." in text and "The answer is 0.85." in text
    assert "Most fail." in text and "1 of 1 came true" in text
    predict("share", "Which share?", 0.85, within=0.1, guess=0.2)
    assert "first, and 0.2 now" in capsys.readouterr().out and kept.score() == (1, 1)
    predict("other", "Which share?", 0.85, within=0.1, guess=0.74)
    assert "✗ Predicted: not so" in capsys.readouterr().out and kept.score() == (1, 2)


def test_a_choice_and_a_curve(capsys):
    predict("way", "Which way?", "up", options=["down", "up"], guess="down")
    predict("curve", "Draw it.", [0.0, 1.0], at=[0, 10], between=(0, 1), within=0.25, guess=[0.25, 0.75])
    predict("off", "Draw it.", [0.0, 1.0], at=[0, 10], between=(0, 1), within=0.25, guess=[0.25, 0.70])
    assert kept.score() == (1, 3)


def click(form):
    """(fields, told) of a form, after its button was pressed."""
    _, fields, send, told, _ = form.children
    send.click()
    return fields.children, told, send


def test_the_form_commits_and_is_closed_then(monkeypatch):
    widgets = pytest.importorskip("ipywidgets")
    question = _Question("way", "Which way?", "up", ("down", "up"), (), None, 0.0, "")
    form = question.form(widgets)
    _, told, send = click(form)
    assert told.value == "Choose one first." and kept.score() == (0, 0) and not send.disabled
    form.children[1].children[0].value = "up"
    fields, _, send = click(form)
    assert kept.score() == (1, 1) and send.disabled and fields[0].disabled
    number = _Question("share", "Which?", 0.5, (), (), None, 0.01, "").form(widgets)
    number.children[1].children[0].value = "half"
    assert click(number)[1].value == "That is no number yet."
    number.children[1].children[0].value = "0,5"  # as it is written in much of Europe
    click(number)
    assert kept.prediction("share") == {"guess": "0.5", "right": True}
    curve = _Question("curve", "Draw", [0.0, 1.0], (), (0, 1), (0, 1), 0.2, "").form(widgets)
    curve.children[1].children[1].value = 0.9
    click(curve)
    assert kept.prediction("curve")["right"]


def test_what_is_stored_folds_the_answer(shown):
    predict("share", "Is a < b?", 0.8512, within=0.1, because="Since <b>.")
    [data] = shown
    before, inside = data["text/html"].split("<details>")
    assert "Is a &lt; b?" in before and "0.85" not in before and "0.8512. Since &lt;b&gt;." in inside
    assert "0.85" not in data["text/plain"] and "application/vnd.jupyter.widget-view+json" in data
    kept.record_prediction("share", "0.8", True)
    predict("share", "Is a < b?", 0.8512, within=0.1)
    assert "You said 0.8." in shown[-1]["text/plain"], "run again, it shows what was said"


@pytest.mark.parametrize(
    ("answer", "settings", "match"),
    [
        ("left", {"options": ["up", "down"]}, "answer must be one of up, down"),
        (1.0, {"within": float("nan")}, "within must be"),
        (float("inf"), {}, "answer must be a finite number"),
        ([1.0], {"at": [0, 1], "between": (0, 1)}, "must hold 2 finite heights"),
        ([1.0], {"at": [0]}, "a curve needs between"),
        (1.0, {"guess": "x"}, "guess must be a finite number"),
    ],
)
def test_a_careless_question_is_refused(answer, settings, match):
    with pytest.raises(ValueError, match=match):
        predict("name", "Question?", answer, **settings)
