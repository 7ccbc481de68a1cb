import json

import pytest

from policy_gradients.cli import main


@pytest.fixture
def arguments(micro_folder, tmp_path):
    settings = {
        "--model": micro_folder, "--num-prompts": 2, "--num-generations": 4, "--max-new-tokens": 6, "--max-steps": 2,
        "--max-prompt-tokens": 128, "--precision": "no",
    }  # fmt: skip
    return [
        "train",
        "--output-dir",
        str(tmp_path / "run"),
        "--no-progress",
        "--no-fresh-process",
        *(str(x) for kv in settings.items() for x in kv),
    ]


def test_the_road_end_to_end(arguments, tmp_path, capsys, caplog):
    run = tmp_path / "run"
    assert main([*arguments, "--fresh-process"]) == 0
    assert "exported" not in caplog.text  # the model that was written is the one that was trained
    assert (
        main(["evaluate", str(run), "--num-prompts", "6", "--reference-samples", "12", "--json", str(run / "r.json")])
        == 0
    )
    output = capsys.readouterr().out
    assert "strict pass rate" in output and "before:" in output and "after:" in output
    assert json.loads((run / "r.json").read_text())["num_prompts"] == 6
    assert sorted(p.name for p in run.glob("*.png")) == ["before_after.png", "training.png"]
    assert main(["sample", str(run), "--prompt", "The river", "--n", "2"]) == 0
    assert len(capsys.readouterr().out.strip().splitlines()) == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--preset", "huge"], "unknown preset 'huge'"),
        (["--rule", "rhymes"], "unknown rule 'rhymes'"),
        (["--rule", "length=0"], "at least 1"),
        (["--prompts-file", "nowhere.txt"], "nowhere.txt does not exist"),
        (["--model", "no/such-folder/at-all"], "neither a folder"),
        (["--reward-function", "nowhere:reward"], "cannot be imported"),
        (["--reward-function", "math:no_such"], "math defines no 'no_such'"),
        (["--reward-function", "math:sqrt"], "reward function sqrt raised TypeError"),
        (["--credit", "state", "--reward-function", "math:sqrt"], "credit state asks the checker"),
        (["--reward-function", "math:sqrt", "--rule", "length=9"], "rule has no part in this run"),
        (["--credit", "completion", "--num-generations", "1"], "num_generations must be at least 2"),
        (["--rule", "last-number-prime"], "last-number-prime has no states"),
        (["--resume"], "holds no run"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, tmp_path, capsys, more, message, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main([*arguments, *more]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"  \n\n", b"\xff\xfe\x00\x01", b"text\0more"])
def test_a_prompts_file_that_is_no_text(arguments, tmp_path, capsys, content):
    (tmp_path / "prompts.txt").write_bytes(content)
    assert main([*arguments, "--prompts-file", str(tmp_path / "prompts.txt")]) == 2
    assert "one excerpt a line" in capsys.readouterr().err


def test_prompts_of_ones_own(arguments, tmp_path):
    (tmp_path / "prompts.txt").write_text("The river is long.\nA town by the sea.\n", encoding="utf-8")
    assert main([*arguments, "--prompts-file", str(tmp_path / "prompts.txt")]) == 0


def test_a_finished_run_is_not_overwritten(arguments, tmp_path, capsys):
    assert main(arguments) == 0
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    assert main(arguments) == 2
    assert "not empty" in capsys.readouterr().err
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("command", ["", "train", "evaluate", "sample", "benchmark", "pretrain"])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    assert stop.value.code == 0
    assert "usage" in capsys.readouterr().out
