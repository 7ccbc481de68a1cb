"""check, hint, solution and progress, as a learner calls them: in a terminal and on a page."""

import json
import re
from html.parser import HTMLParser

import pytest
import torch

from policy_gradients.course import exercises
from policy_gradients.course.exercises import check, hint, kept, page, solution
from policy_gradients.course.exercises.declare import find

ENTRY = find("leave_one_out")
REWARDS = torch.tensor([[1.0, 0.0, 0.0]])


def leave_one_out(rewards):
    return rewards - rewards.mean(1, keepdim=True)


@pytest.fixture
def shown(monkeypatch):
    """Outputs that a notebook would get, as (data, metadata)."""
    outputs = []
    monkeypatch.setattr(page, "in_notebook", lambda: True)
    monkeypatch.setattr(page, "display", lambda data, raw, metadata: outputs.append((data, metadata)))
    return outputs


def test_a_wrong_answer_is_named_and_the_reference_handed_back(capsys):
    usable = check(leave_one_out)
    text = capsys.readouterr().out
    assert text.startswith("✗ Leave one out: incorrect\nYour own reward is in its own baseline")
    assert "rewards = tensor([[1., 0.]])" in text and "goes on with the reference" in text and "0 of " in text
    assert torch.equal(usable(rewards=REWARDS), torch.tensor([[1.0, -0.5, -0.5]]))
    check(usable)
    assert "handed back by an earlier check" in capsys.readouterr().out


def test_a_right_answer_is_handed_back_and_kept_as_solved(capsys):
    assert check(ENTRY.answer) is ENTRY.answer
    assert "■" in (text := capsys.readouterr().out) and "1 of " in text
    check(leave_one_out)  # trying something else afterwards loses nothing
    assert "1 of " in capsys.readouterr().out
    stored = json.loads(kept.path().read_text())
    assert stored == {"leave_one_out": {"solved": True, "checks": 2, "hints": 0, "solution": False}}


def test_check_is_a_decorator_too():
    @check
    def leave_one_out(rewards):
        return ...

    assert torch.equal(leave_one_out(REWARDS), torch.tensor([[1.0, -0.5, -0.5]]))
    assert kept.read() == {}, "nothing was tried"


def test_hints_come_one_by_one_and_by_number(capsys, monkeypatch):
    monkeypatch.setattr(exercises, "_hints_given", {})
    for expected in (*ENTRY.hints, ENTRY.hints[-1]):
        hint("leave_one_out")
        assert expected in capsys.readouterr().out
    hint(leave_one_out, 1)
    assert f"hint 1 of {len(ENTRY.hints)}" in capsys.readouterr().out
    with pytest.raises(ValueError, match="has hints 1 to"):
        hint("leave_one_out", 9)


def test_solution_shows_the_source_of_the_reference(capsys):
    solution("leave_one_out")
    text = capsys.readouterr().out
    assert "estimators.advantages.group_advantages` with baseline='leave_one_out'" in text
    first, second = ENTRY.why.split("\n")
    assert text.index(first) < text.index(second) < text.index("def leave_one_out") < text.index("def group_advantages")
    assert "def group_advantages(" in text and "def leave_one_out(rewards):" in text and "@exercise" not in text
    assert kept.read()["leave_one_out"]["solution"]


def test_the_source_of_the_library_is_folded_on_a_page(shown):
    solution("leave_one_out")
    [(data, _)] = shown
    opened, folded = data["text/html"].split("<details", 1)
    assert "def leave_one_out" in opened and "def group_advantages" in folded and "<summary" in folded


def test_a_check_says_what_the_exercise_is_worth(capsys):
    check(leave_one_out)
    assert "difficulty ★, 5 min, importance ●●● (the core)" in capsys.readouterr().out


def test_progress_lists_every_notebook(capsys):
    check(ENTRY.answer)
    text = repr(exercises.progress())
    assert re.search(r"06_grpo_on_a_t4 +■", text) and re.search(r"07_evaluation +□", text) and "all" in text


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match="the function itself"):
        check(3)


class Balanced(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.styles = [], []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.styles.append(dict(attributes).get("style", ""))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_card_is_html_with_its_text_beside_it_and_facts_for_tools(shown):
    check(leave_one_out)
    [(data, metadata)] = shown
    assert metadata == {"policy_gradients": {"exercise": "leave_one_out", "outcome": "incorrect"}}
    assert data["text/plain"].startswith("✗ Leave one out: incorrect")
    assert "role='status'" in data["text/html"] and "<code>hint(leave_one_out)</code>" in data["text/html"]
    parser = Balanced()
    parser.feed(data["text/html"])
    assert not parser.open


def test_the_card_takes_text_and_ground_from_the_page(shown):
    """Readable in light and dark: no colour of its own but the edge, and no word said by colour alone."""
    check(leave_one_out)
    check(ENTRY.answer)
    for data, _ in shown:
        parser = Balanced()
        parser.feed(data["text/html"])
        for style in parser.styles:
            rest = re.sub(r"border-left:4px solid #\w{6}", "", style)
            assert "#" not in rest and set(re.findall(r"(?:color|background):(\w+)", rest)) <= {
                "inherit",
                "transparent",
            }
    assert "incorrect" in shown[0][0]["text/html"] and "correct" in shown[1][0]["text/html"]


def test_words_in_asterisks_are_stressed_and_products_are_not(shown):
    page.card("✗", "Stress", "The *mean score* of `a*b*c`, not n * x * y or 2*x*y.")
    [(data, _)] = shown
    assert "The <em>mean score</em> of <code>a*b*c</code>, not n * x * y or 2*x*y." in data["text/html"]
    assert "The *mean score* of `a*b*c`" in data["text/plain"]


def test_a_learners_text_cannot_break_the_page(shown):
    def leave_one_out(rewards):
        raise ValueError("<b>&`x`")

    check(leave_one_out)
    assert "&lt;b&gt;&amp;<code>x</code>" in shown[0][0]["text/html"]


@pytest.mark.parametrize("content", ["", "not json", "[1]", '{"leave_one_out": 3}'])
def test_a_damaged_progress_file_is_an_empty_one(content):
    kept.path().parent.mkdir()
    kept.path().write_text(content)
    check(ENTRY.answer)
    assert kept.read()["leave_one_out"]["solved"]
    kept.forget()
    assert kept.read() == {}


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(kept.VARIABLE, str(tmp_path / "file" / "progress.json"))
    assert check(ENTRY.answer) is ENTRY.answer
    assert "correct" in capsys.readouterr().out
