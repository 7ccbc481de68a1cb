"""What a stranger writes: a task and a credit of their own, each one short file, as CONTRIBUTING.md shows them."""

import importlib.util
import json
from pathlib import Path

import pytest

from policy_gradients.cli import main
from policy_gradients.training.config import with_settings
from policy_gradients.training.loop import train
from policy_gradients.training.presets import preset
from policy_gradients.training.run_folder import read_metrics

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


@pytest.fixture
def options(micro_folder, tmp_path):
    return [
        "train", "--preset", "tiny", "--model", str(micro_folder), "--output-dir", str(tmp_path / "run"),
        "--num-prompts", "2", "--num-generations", "2", "--max-new-tokens", "4", "--max-prompt-tokens", "100",
        "--max-steps", "2", "--precision", "no", "--no-progress", "--no-fresh-process",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["chain_sum.py", "several_lengths.py", "sign_credit.py"])
def test_an_example_is_short_and_shown(name):
    assert len((EXAMPLES / name).read_text(encoding="utf-8").splitlines()) <= 60
    assert f"examples/{name}" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_a_task_file_trains_evaluates_and_is_known_again(options, tmp_path, capsys):
    pytest.importorskip("reasoning_gym")
    run = str(tmp_path / "run")
    assert main([*options, "--task", str(EXAMPLES / "chain_sum.py")]) == 0
    assert "the settings of tiny-grpo" in capsys.readouterr().err
    assert main(["evaluate", run, "--num-prompts", "4", "--reference-samples", "4", "--perplexity-texts", "2"]) == 0
    shown = capsys.readouterr().out
    assert "sums of two digits, 4 held-out prompts" in shown and "length rate" not in shown
    assert "held-out perplexity" in shown
    card = (tmp_path / "run" / "model" / "README.md").read_text(encoding="utf-8")
    assert "sums of two digits" in card and "On 4 held-out prompts" in card and "| `seed` | 0 |" in card
    assert main(["sample", run, "--prompt", "3 + 4 =", "--n", "2"]) == 0


def test_a_file_with_answers_and_a_reward_of_ones_own(options, tmp_path, capsys):
    rows = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(40)]
    data, code = tmp_path / "rows.jsonl", tmp_path / "rw.py"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    code.write_text(
        "def right(completions, answer, **_):\n    return [float(a in c) for c, a in zip(completions, answer)]\n"
    )
    own = ["--dataset", str(data), "--instruction", "Solve: {question}", "--reward-function", f"{code}:right"]
    assert main([*options, *own]) == 0
    run = tmp_path / "run"
    # another reward is another run
    (run / "model").rename(tmp_path / "kept")
    code.write_text(code.read_text() + "# edited\n")
    assert main([*options, *own, "--resume"]) == 2
    assert "was begun with another task: reward right was" in capsys.readouterr().err
    assert main([*options, *own, "--resume", "--allow-changed-task"]) == 0
    assert len(json.loads((run / "task.json").read_text())) == 2
    # and so are other rows
    data.write_text(data.read_text() + json.dumps({"question": "What?", "answer": "x"}) + "\n", encoding="utf-8")
    assert main([*options, *own, "--resume"]) == 2
    assert "rows was" in capsys.readouterr().err
    assert (
        main(["evaluate", str(run), "--num-prompts", "2", "--reference-samples", "2", "--perplexity-texts", "2"]) == 0
    )


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (["--dataset", "rows.jsonl"], "a dataset needs a reward_function"),
        (["--dataset", "nowhere.jsonl", "--reward-function", "rw.py:f"], "dataset nowhere.jsonl does not exist"),
        (["--dataset", "rows.jsonl", "--reward-function", "rw.py:f"], "without an instruction the dataset needs"),
        (["--dataset", "rows.jsonl", "--instruction", "{x}", "--reward-function", "rw.py:f"], "instruction names {x}"),
        (["--task", "nowhere.py"], "nowhere.py is no file"),
        (["--task", "rw.py"], "defines no 'task'"),
        (["--task", "rw.py", "--dataset", "rows.jsonl"], "leave dataset, instruction"),
        (["--instruction", "{q}"], "instruction has no part in this run"),
        (["--reward-function", "rw.py:f", "--reward-weight", "1", "--reward-weight", "2"], "one number for each"),
        (["--reward-function", "rw.py:g"], "is no function but int"),
        (["--reward-function", "rw.py:f"], "raised ZeroDivisionError"),
    ],
    ids=str,
)
def test_bad_tasks_are_one_line_before_any_work(options, tmp_path, monkeypatch, capsys, own, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"q": "a"}\n{"q": "b"}\n{"q": "c"}\n')
    (tmp_path / "rw.py").write_text("def f(completions, **_):\n    return [1 / 0 for c in completions]\n\n\ng = 3\n")
    assert main([*options, *own]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not (tmp_path / "run").exists()


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    return example


def test_several_lengths_are_asked_for_and_each_prompt_is_judged_by_its_own(options, tmp_path, capsys):
    lengths = loaded("several_lengths")
    task = lengths.task()
    assert {row["length"] for row in task.rows} == set(lengths.TRAINED)
    assert {row["length"] for row in task.heldout} == {*lengths.TRAINED, *lengths.UNSEEN}
    assert "exactly 40 characters" in task.text({"excerpt": "x", "length": 40})
    texts = ["a" * 31 + "3", "a" * 39 + "3", "a" * 32, "a" * 31 + "3"]
    earned = lengths.near([], texts, length=[32, 32, 32, 32], finished=[True, True, True, False])
    assert earned[0] == 1 > earned[1] > 0.5 > earned[2] > 0 == earned[3]
    assert lengths.near([], texts[:2], length=[40, 40], finished=[True, True])[1] == 1
    run, report = tmp_path / "run", tmp_path / "report.json"
    assert main([*options, "--task", str(EXAMPLES / "several_lengths.py")]) == 0
    evaluate = ["evaluate", str(run), "--num-prompts", "44", "--reference-samples", "2", "--perplexity-texts", "2"]
    assert main([*evaluate, "--json", str(report)]) == 0
    lines = list(lengths.told(json.loads(report.read_text())))
    assert [int(line.split()[0]) for line in lines] == sorted({*lengths.TRAINED, *lengths.UNSEEN})


def test_a_credit_of_ones_own_is_one_object(micro_folder, tmp_path):
    example = loaded("sign_credit")
    config = with_settings(
        preset("tiny-grpo"), model=str(micro_folder), num_prompts=2, num_generations=4, max_new_tokens=6,
        max_prompt_tokens=128, max_steps=2, precision="no",
    )  # fmt: skip
    folder = train(
        config, tmp_path / "run", make_credit=example.make, progress=False,
        reward_function=lambda c: [float(len(x.text)) for x in c],
    )  # fmt: skip
    assert all(row["grad_norm"] > 0 for row in read_metrics(folder / "metrics.jsonl"))
