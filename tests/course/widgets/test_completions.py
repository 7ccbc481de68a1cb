import pytest

from policy_gradients.course.widgets.completions import completion_browser
from policy_gradients.language.rewards import Completion
from policy_gradients.language.rules import parse_rule
from policy_gradients.language.tasks import CheckerTask

RULE = parse_rule("length=5&digits%3=0")
TASK = CheckerTask(RULE, [], [])
GOOD, SHORT, CUT = (TASK.marked({}, Completion(*c)) for c in [("a 12 ", True), ("<b>&3", False), ("9", True)])


def test_every_check_is_marked_in_text_and_on_the_page():
    card = completion_browser([GOOD, SHORT, CUT]).set(number=3).figure
    assert repr(card) == (
        'Completion 3 of 3\n  "9" (characters: 1)\n    ✗ does not pass, ✓ finished, ✗ length=5, ✓ digits%3=0'
    )
    html = card._repr_html_()
    for check in ("✗ does not pass", "✓ finished", "✗ length=5", "✓ digits%3=0"):
        assert check in html


def test_text_is_shown_as_it_is_and_cannot_break_the_page():
    html = completion_browser([GOOD, SHORT]).set(number=2).figure._repr_html_()
    assert "&lt;b&gt;&amp;" in html and "<b>" not in html
    assert "background:transparent" in html and "color:inherit" in html, "readable on a dark page"


def test_the_menu_leaves_those_that_pass_or_fail():
    browser = completion_browser([GOOD, SHORT, CUT], kind="those that fail")
    assert repr(browser.figure).startswith("Completion 1 of 2, those that fail") and "<b>&3" in repr(browser)
    assert '"9"' in repr(browser.set(number=3)) and "2 of 2" in repr(browser), "the end of the slider is the last one"
    assert '"a 12 "' in repr(browser.set(kind="those that pass"))
    assert "None of 1 completions are those that fail" in repr(completion_browser([GOOD], kind="those that fail"))


def test_a_reports_entries_show_before_and_after_and_pass_by_what_came_after():
    entry = {"excerpt": "Once <upon", "before": SHORT, "after": GOOD}
    browser = completion_browser([entry], kind="those that pass")
    text, html = repr(browser), browser.figure._repr_html_()
    assert text.index("before") < text.index("after") and 'prompt: "Once <upon"' in text
    assert "Once &lt;upon" in html


def test_nothing_to_show_is_refused():
    with pytest.raises(ValueError, match="empty"):
        completion_browser([])
