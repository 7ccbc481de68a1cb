"""Tasks of one's own: rewards as TRL calls them, templates over columns, rows apart, and every bad input named."""

import json
import math

import pytest
import torch

from policy_gradients.language.rewards import Completion, RewardError
from policy_gradients.language.rules import parse_rule
from policy_gradients.language.tasks import CheckerTask, RewardTask, TaskPrompts, as_rows, chat_ids

ROWS = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(60)]
SAID = [Completion("it is 1", True), Completion("7", False)]


def right(prompts, completions, answer, **_):
    """As written for TRL's `reward_funcs`."""
    return [float(text.endswith(a)) for text, a in zip(completions, answer, strict=True)]


def make(reward=right, instruction="Solve: {question}", rows=ROWS, **more):
    return RewardTask(rows, instruction, reward, **more)


def test_the_reward_sees_prompts_completions_and_columns():
    seen = {}

    def reward(prompts, completions, answer, question, finished):
        seen.update(prompts=prompts, completions=completions, answer=answer, finished=finished)
        return [1, 0]

    earned, strict = make(reward).judge(ROWS[:2], SAID)
    assert earned == [1.0, 0.0] and strict == [1.0, 0.0]
    assert seen == {
        "prompts": ["Solve: What is 0 + 1?", "Solve: What is 1 + 1?"],
        "completions": ["it is 1", "7"],
        "answer": ["1", "2"],
        "finished": [True, False],
    }


def test_chat_messages_come_and_go_as_messages():
    rows = [{"prompt": [{"role": "user", "content": f"hello {n}"}]} for n in range(30)]
    task = RewardTask(rows, None, lambda prompts, completions, **_: [len(c[0]["content"]) for c in completions])
    assert task.judge(rows[:2], SAID)[0] == [7.0, 1.0]


def test_several_rewards_are_weighed_and_no_opinion_is_left_out():
    task = make([right, lambda completions, **_: [None, 1]], weights=[2, 0.5])
    assert task.judge(ROWS[:2], SAID)[0] == [2.0, 0.5]
    with pytest.raises(RewardError, match="no reward function has an opinion"):
        make(lambda completions, **_: [None, None]).judge(ROWS[:2], SAID)


def test_a_function_of_one_parameter_gets_completions():
    assert make(lambda c: [x.finished for x in c]).judge(ROWS[:2], SAID)[0] == [1.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool])
def test_tensors_of_any_type_are_numbers(dtype):
    assert make(lambda completions, **_: torch.tensor([1, 0], dtype=dtype)).judge(ROWS[:2], SAID)[0] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"a": 1, "b": 2}, "returned dict"),
        ({1.0, 2.0}, "returned set"),
        ("01", "returned str"),
        (3.0, "returned float"),
        ([1.0], "1 rewards for 2"),
        ([1.0, math.nan], "returned nan"),
        ([1.0, math.inf], "returned inf"),
        (["1", "0"], "'1' as a reward"),
        (torch.zeros(2, 2), "as a reward"),
        (None, "returned NoneType"),
    ],
    ids=str,
)
@pytest.mark.parametrize("alone", [True, False])
def test_what_is_no_list_of_numbers_is_refused(answer, message, alone):
    reward = (lambda c: answer) if alone else (lambda completions, **_: answer)
    with pytest.raises(RewardError, match=message):
        make(reward).judge(ROWS[:2], SAID)


def test_a_reward_that_changes_its_inputs_changes_nothing_here():
    rows = [{"question": "q", "answer": ["1"]} for _ in range(2)]

    def greedy(prompts, completions, answer, **_):
        n = len(completions)
        completions.clear(), prompts.clear(), answer[0].append("x"), answer.pop()
        return [1.0] * n

    for _ in range(2):
        assert make(greedy).judge(rows, SAID)[0] == [1.0, 1.0]
    assert rows == [{"question": "q", "answer": ["1"]}] * 2
    said = list(SAID)
    assert make(lambda c: [1.0 for _ in range(len(c)) if c.pop() or True]).judge(ROWS[:2], said)[0] == [1.0, 1.0]
    assert len(said) == 2


def test_a_reward_that_fails_is_named_with_its_line():
    def broken(completions, **_):
        return [1 / 0 for _ in completions]

    with pytest.raises(RewardError, match=r"broken raised ZeroDivisionError.*line \d+ of .*test_tasks.py"):
        make(broken).judge(ROWS[:2], SAID)
    with pytest.raises(RewardError, match=r"called sys.exit\(0\)"):
        make(lambda completions, **_: exit(0)).judge(ROWS[:2], SAID)
    with pytest.raises(RewardError, match="wants 'solution', which is no column"):
        make(lambda completions, solution: [1.0, 1.0]).judge(ROWS[:2], SAID)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"instruction": "Solve {problem}"}, "names {problem}, and the columns are question, answer"),
        ({"instruction": "Solve it"}, "names no column, so every prompt would be the same"),
        ({"instruction": "{question.__class__}"}, "is no column's name"),
        ({"instruction": "{question"}, "is no template"),
        ({"instruction": None}, "needs a column 'prompt'"),
        ({"rows": []}, "no rows"),
        ({"rows": [*ROWS, {"question": " ", "answer": "1"}]}, "row 61 has nothing in the column 'question'"),
        ({"rows": [*ROWS, {"answer": "1"}]}, "row 61 has nothing in the column 'question'"),
        ({"heldout": ROWS[5:7]}, "2 of 2 held-out rows are training rows"),
        ({"reward": []}, "0 reward functions"),
        ({"weights": [1.0, 2.0]}, "1 reward functions and 2 weights"),
        ({"weights": [math.nan]}, "a weight must be a finite number; this is nan"),
        ({"weights": [10**400]}, "a weight must be a finite number"),
        ({"weights": ["1"]}, "a weight must be a finite number; this is 1"),
        ({"pass_at": math.nan}, "pass_at must be a finite number; this is nan"),
        ({"pass_at": None}, "pass_at must be a finite number; this is None"),
        ({"reward": [print, 2]}, "a reward must be a function; this is int: '2'"),
        ({"reward": None}, "a reward must be a function; this is NoneType"),
        ({"rows": [{0: "a"}]}, "names of columns must be text; 0 is int"),
        ({"instruction": "{question:{zz}}"}, "names {zz}, and the columns are"),
        ({"instruction": "{question:{answer:{answer}}}"}, "is no template"),
        ({"instruction": "{question:d}"}, "'{question:d}' cannot write the column 'question' .*format code 'd'"),
        ({"instruction": "{question!x}"}, "cannot write the column 'question' as it asks to"),
        ({"rows": [{**row, "finished": 1} for row in ROWS]}, "the dataset has a column 'finished', and rewards get"),
        ({"rows": [{**row, "prompts": 1} for row in ROWS]}, "the dataset has a column 'prompts'"),
        (
            {"heldout": [{"question": "x", "completions": "y"}]},
            "the held-out dataset has a column 'completions'",
        ),
    ],
    ids=str,
)
def test_bad_tasks(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_equal_prompts_are_in_the_same_part():
    rows = [{"question": f"q{n % 40}", "answer": str(n)} for n in range(400)]
    task = make(rows=rows)
    parts = [{row["question"] for row in part} for part in (task.rows, task.heldout)]
    assert len(task.rows) + len(task.heldout) == 400 and all(parts) and not parts[0] & parts[1]


def test_prompts_hold_the_text_and_are_never_cut(tokenizer):
    task = make()
    ids = task.prompt(tokenizer, ROWS[3], 200)
    assert "Solve: What is 3 + 1?" in tokenizer.decode(ids)
    with pytest.raises(ValueError, match=r"does not fit into max_prompt_tokens=5.*raise it"):
        TaskPrompts(tokenizer, task, 5)
    shortened = make(rows=[{"question": "word " * 300}], heldout=[{"question": "x"}], may_cut="question")
    assert 100 < len(shortened.prompt(tokenizer, {"question": "word " * 300}, 120)) <= 120


def test_a_chat_template_that_drops_the_text_is_refused(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", "{{ 'Say something.' }}")
    with pytest.raises(ValueError, match="makes no prompt of a user's message"):
        chat_ids(tokenizer, "What is 1 + 1?")
    for wrong in (7, [], [{"role": "user"}], ["text"]):
        with pytest.raises(ValueError, match="a prompt is text, or chat messages"):
            chat_ids(tokenizer, wrong)


def test_the_identity_knows_rows_template_and_reward():
    base = make().identity()
    assert make().identity() == base
    assert make(rows=ROWS[1:]).identity() != base
    assert make(instruction="{question}").identity() != base
    assert make(lambda completions, **_: [1.0]).identity() != base
    json.dumps(base)


def test_the_checker_is_one_task():
    task = CheckerTask(parse_rule("digits%3=0"), [{"excerpt": "a"}], [{"excerpt": "b"}])
    assert task.judge([{}] * 2, [Completion("a 9", True), Completion("9", False)]) == ([1.0, 0.0], [1.0, 0.0])
    assert task.marked({}, Completion("9", True))["passed"]


@pytest.mark.parametrize("turned", [False, True])
def test_a_row_may_lack_a_column_wherever_it_stands(turned):
    rows = [{"q": "a"}, {"q": "b", "answer": "x"}]
    rows = rows[::-1] if turned else rows

    def f(completions, answer=None, **_):
        return [float(a == "x") for a in answer or [None] * len(completions)]

    task = RewardTask(rows, "{q}", f, heldout=[{"q": "c"}])
    expected = [float("answer" in row) for row in rows]
    assert task.judge(rows, SAID)[0] == expected
    assert task.judge([task.rows[0], task.rows[1]], SAID)[0] == expected
    assert {row["q"]: row["answer"] for row in task.rows} == {"a": None, "b": "x"}


def test_a_perfect_completion_passes_whatever_its_weights():
    ones = [lambda completions, **_: [1, 1]] * 3
    earned, strict = make(ones, weights=[0.7, 0.2, 0.1]).judge(ROWS[:2], SAID)
    assert earned == [1.0, 1.0] and strict == [1.0, 1.0]
    thirds = make(ones, weights=[1 / 3] * 3, pass_at=1 + 1e-12)
    assert thirds.judge(ROWS[:2], SAID)[1] == [1.0, 1.0]
    assert make(ones, weights=[0.7, 0.2, 0.1], pass_at=1 + 1e-6).judge(ROWS[:2], SAID)[1] == [0.0, 0.0]
    assert make(lambda c: [-1e6, -1e6 - 1], pass_at=-1e6).judge(ROWS[:2], SAID)[1] == [1.0, 0.0]
    for huge in ([1e308, 1e308], [1e308, -1e308], [5.0, 1.0]):  # infinite, no number, and beyond float32
        with pytest.raises(RewardError, match="is no finite number"):
            make([lambda completions, **_: [1e38, 1e38]] * 2, weights=huge).judge(ROWS[:2], SAID)


@pytest.mark.parametrize(
    ("row", "instruction", "expected"),
    [
        ({"a": "hello", "a[0]": "first"}, "{a[0]}", "first"),
        ({"a": "hello", "a.upper": "dotted"}, "{a.upper}", "dotted"),
        ({"a.b": "alone"}, "{a.b}", "alone"),
        ({"0": "zero", "1": "one"}, "{1} {0}", "one zero"),
        ({"two words": "yes"}, "{two words}", "yes"),
        ({"a": 5, "width": 4}, "{a:>{width}}|{{a}}", "   5|{a}"),
        ({"a": "x"}, "{a!r}", "'x'"),
    ],
    ids=str,
)
def test_braces_hold_the_exact_name_of_a_column(row, instruction, expected):
    task = RewardTask([row], instruction, right, heldout=[dict.fromkeys(row, 9)])
    assert task.text(row) == expected


def test_a_later_row_that_a_format_does_not_suit_is_named():
    task = RewardTask([{"n": 1}, {"n": "one"}], "{n:d}", right, heldout=[{"n": 2}])
    with pytest.raises(ValueError, match=r"the template '\{n:d\}' cannot write the column 'n'"):
        task.text(task.rows[1])
    with pytest.raises(ValueError, match=r"names \{n\}, which this row lacks"):
        task.text({"m": 1})


def test_a_prompt_column_is_withheld_and_the_message_says_so():
    def wants(completions, prompt):
        return [1.0] * len(completions)

    rows = [{"prompt": row["question"]} for row in ROWS]
    with pytest.raises(RewardError, match="wants 'prompt', which is not given as a column; what was asked is in 'pro"):
        RewardTask(rows, None, wants).judge(rows[:2], SAID)


def test_rows_of_a_list_are_read_by_index_and_by_slice():
    rows = as_rows([{"a": 1}, {"b": 2}, {"a": 3, "b": 4}])
    assert rows.columns == ["a", "b"]
    assert rows[1] == {"a": None, "b": 2}
    assert rows[1:] == {"a": [None, 3], "b": [2, 4]}


def test_rates_of_no_completions_are_not_a_number():
    assert math.isnan(make().rates([])["finished_rate"])
