"""How the command line fails: one line for bad input, a traceback with a request for a bug, both with --debug."""

import io
import os
import signal
import subprocess
import sys
from functools import partial

import pytest

from policy_gradients import errors
from policy_gradients.cli import main
from policy_gradients.errors import guarded, one_line
from policy_gradients.training.user_code import load_object, load_task

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no such rule"), "no such rule"),
        (ValueError("two\nlines \x1b[31m of it"), "two lines [31m of it"),
        (ValueError("x" * 1000), "x" * 192 + " … " + "x" * 97),
        (FileNotFoundError(2, "No such file or directory", "there"), "there: No such file or directory"),
        (OSError(28, "No space left on device"), "standard output: No space left on device"),
        (MemoryError(), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"), "out of memory"),
        (ModuleNotFoundError("No module named 'peft'"), "No module named 'peft'"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"), "surrogates not allowed"),
    ],
)
def test_bad_input_is_one_line(error, said, capsys):
    assert guarded(raising(error)) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ") and said in line and line.count("\n") == 1 and len(line) <= 301
    assert guarded(raising(error), debug=True) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown and shown.endswith(line)


@pytest.mark.parametrize("bug", [partial({}.__getitem__, "x"), one_line, partial(divmod, 1, 0), partial(int, [])])
def test_a_bug_is_shown_whole_and_asked_to_be_reported(bug, capsys):
    assert guarded(bug) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown and "please report it" in shown


def test_an_error_in_a_users_own_file_is_theirs_and_names_the_line(tmp_path, capsys):
    (tmp_path / "mine.py").write_text("def f():\n    return {}['x']\n")
    assert guarded(load_object(f"{tmp_path}/mine.py:f", "function")) == 2
    assert f"error: line 2 of {tmp_path}/mine.py raised KeyError: 'x'" in capsys.readouterr().err


def test_stops_have_the_status_of_their_signal(capsys):
    assert guarded(raising(KeyboardInterrupt())) == 130
    assert "interrupted" in capsys.readouterr().err
    assert guarded(lambda: os.kill(os.getpid(), signal.SIGTERM) or 0) == 143
    assert "SIGTERM" in capsys.readouterr().err


def test_a_long_file_name_keeps_its_ends():
    line = one_line(OSError(36, "File name too long", "/folder/" + "a" * 5000 + "/end"))
    assert line.startswith("/folder/aaa") and line.endswith("/end: File name too long") and len(line) <= 300


def test_signs_that_an_encoding_lacks_stay_apart(monkeypatch):
    for encoding, written in (("cp1252", b"+ - beta 3.5 \xe9 \\u6771"), ("ascii", b"+ - beta 3.5 \\xe9 \\u6771")):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
        assert guarded(lambda: print("✓ ✗ β 3.5 é 東", end="") or 0) == 0
        assert raw.getvalue() == written


def test_messages_that_nobody_can_read_end_nothing(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stderr", Gone())
    assert guarded(lambda: print("progress", file=sys.stderr) or 0) == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(("redirection", "said"), [(">/dev/full", "No space left"), (">&-", "output is closed")])
def test_output_that_cannot_be_shown_is_no_success(redirection, said):
    command = f"{sys.executable} -m policy_gradients train --help {redirection}"
    done = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and said in done.stderr and done.stderr.count("\n") == 1


def test_usage_errors_are_one_line_too(capsys):
    for line in ([], ["trian"], ["train"], ["train", "--output-dir", "x", "--seed", "y"], ["sample", "x", "--prompt"]):
        assert main(line) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert main(["sample", "x", "--prompt", "a\udcff"]) == 2
    assert "not text" in capsys.readouterr().err


def test_debug_is_known_to_every_command(capsys):
    assert main(["sample", "nowhere", "--prompt", "x", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err
    assert errors.LONGEST == 300


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("task = 3", "a int is no task, for it has no name"),
        ("class task: pass", "a task is no task, for it has no name"),
        ("def task():\n    return {}['x']", "makes no task (KeyError: 'x', line 2)"),
        ("def task(x): pass", "makes no task (TypeError"),
        ("import sys\ndef task():\n    sys.exit()", "makes no task (sys.exit(None), line 3)"),
    ],
)
def test_a_task_file_that_makes_no_task(tmp_path, content, said):
    (tmp_path / "mine.py").write_text(content + "\n")
    with pytest.raises(ValueError) as caught:
        load_task(f"{tmp_path}/mine.py")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        ("worlds", "cartpole vanilla --updates -3", "iterations must be at least 1, got -3"),
        ("evaluation.facts", "no-such-run --output facts.json", "no-such-run holds no run"),
        ("evaluation.attainable", "--output .", "is a folder; give a file"),
        ("evaluation.without_training", "--output . --num-prompts 0", "is a folder; give a file"),
        ("training.compare_critics", "--output-dir file/runs --seeds 0", "file/runs: Not a directory"),
        ("evaluation.reading", "--output-dir file/runs", "Not a directory"),
    ],
)
def test_a_module_that_is_run_says_in_one_line_what_was_wrong(module, arguments, said, tmp_path):
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", f"policy_gradients.{module}", *arguments.split()]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and said in done.stderr and done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
