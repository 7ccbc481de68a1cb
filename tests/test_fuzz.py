"""Command lines and files that nobody should give, drawn at random with a seed: each ends in one line, or in a run.

A few of them here; many with FUZZ_COMMANDS=5000 FUZZ_FILES=300 FUZZ_SEED=1 pytest tests/test_fuzz.py.
"""

import json
import os
import random
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from policy_gradients.cli import main
from policy_gradients.training.config import flat_settings
from policy_gradients.training.run_folder import read_metrics

COMMANDS = int(os.environ.get("FUZZ_COMMANDS", 120))
FILES = int(os.environ.get("FUZZ_FILES", 12))
SEED = int(os.environ.get("FUZZ_SEED", 0))
CLOCK = ("seconds", "tokens_per_second", "elapsed")

NUMBERS = ["nan", "inf", "-inf", "-1", "0", "0.5", "1e400", "1e-320", str(10**12), str(10**20), "-0.0", "", "x"
           "٣", "1_0", "0x10", "1e5", "2", "1.0000001", "None", "[1]", "99999999"]  # fmt: skip
TEXTS = ["", " ", "x", "../..", "/", "/dev/null", "/dev/zero", "/dev/full", "/proc/self/mem", "/proc/self/environ", ".",
         "~", "a" * 300, "a/" * 2000, "\n", "\t\x1b[31m", "é\u0301🙂", "\udcff", "--", "-x", "{", "{}", "{excerpt}",
         "{0}", "{excerpt.x}", "%s", "null", "length=64", "length=0", "length=-3", "length=9&&", "length=" + "9" * 30,
         "digits%0=0", "digits%3=5", "length=100000000&digits%3=0", "&", "last-number-prime", "math:sqrt", "math:",
         ":x", "nowhere:f", "os:getcwd", "sys:exit", "json:JSONDecodeError", "x.py:f", "x.py", "tiny", "gpt2",
         "no/such", "https://x", "a:b:c"]  # fmt: skip


@pytest.fixture(autouse=True)
def no_reading_by_others(monkeypatch):
    """That strangers can read the model is tried elsewhere; in a process of its own it takes longer than the run."""
    monkeypatch.setattr("policy_gradients.training.run_folder.check_export", lambda *_: None)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def basis(micro_folder, tmp_path_factory):
    """A finished run of three steps, and the options that it was trained with."""
    place = tmp_path_factory.mktemp("fuzz")
    prompts = place / "prompts.txt"
    prompts.write_text("The river is long.\nA town by the sea.\nIt rained.\n", encoding="utf-8")
    options = {
        "--model": micro_folder, "--num-prompts": 2, "--num-generations": 2, "--max-new-tokens": 4, "--max-steps": 3,
        "--max-prompt-tokens": 128, "--precision": "no", "--save-every": 1, "--prompts-file": prompts,
        "--entropy-weight": 0.1, "--learning-rate": 1e-3,
    }  # fmt: skip
    options = [str(text) for pair in options.items() for text in pair]
    assert main(["train", "--output-dir", str(place / "run"), "--no-progress", *options]) == 0
    return place / "run", options


def one_line(capsys):
    """What a refused command said: one line that begins with error, of at most 300 characters."""
    captured = capsys.readouterr()
    said = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in captured.err and len(said) == 1, captured.err[-3000:]
    assert len(said[0]) <= 300 and captured.err.splitlines()[-1] == said[0], captured.err[-3000:]
    return said[0]


def whole(folder):
    """The rows of a run and its weights, all numbers finite."""
    rows = [{k: v for k, v in row.items() if not k.startswith(CLOCK)} for row in read_metrics(folder / "metrics.jsonl")]
    assert all(abs(row["loss"]) < float("inf") and abs(row["grad_norm"]) < float("inf") for row in rows)
    weights = load_file(folder / "model" / "model.safetensors")
    assert all(weight.isfinite().all() for weight in weights.values())
    return json.dumps(rows), {name: weight.numpy().tobytes() for name, weight in weights.items()}


def drawn_command(draw, run, options, place):
    """A command that is a healthy one but for one to three things."""
    values = [*TEXTS, str(run), str(run / "config.json"), str(place / "new")]
    command = draw.choice(["train"] * 6 + ["evaluate"] * 3 + ["sample", "sample", "pretrain", "benchmark", "", "x"])
    if command == "train":
        line = ["train", "--output-dir", str(place / "new"), "--no-progress", *options]
        line[line.index("--max-steps") + 1] = "1"
        settings = flat_settings()
        for _ in range(draw.randint(1, 3)):
            kind = draw.random()
            name = draw.choice(sorted(settings))
            # a large but lawful number of steps, or of prompts, is no fault, and would take for ever
            numbers = [n for n in NUMBERS if not (settings[name][0] is int and n in ("99999999", "1_0"))]
            if kind < 0.6:
                line += ["--" + name.replace("_", "-"), draw.choice(numbers if draw.random() < 0.7 else TEXTS)]
            elif kind < 0.8:
                names = ["--output-dir", "--prompts-file", "--dataset", "--task", "--reward-function", "--instruction"]
                line += [draw.choice([*names, "--reward-weight", "--pass-at", "--heldout-dataset", "--preset"])]
                line += [draw.choice(values)]
            else:
                line += [draw.choice(["--resume", "--allow-changed-task", "--no-curriculum", "--sharded", "--x", "y"])]
    elif command == "evaluate":
        line = ["evaluate", str(run), "--num-prompts", "2", "--reference-samples", "2", "--perplexity-texts", "1"]
        for _ in range(draw.randint(1, 2)):
            names = ["--num-prompts", "--seed", "--reference-samples", "--perplexity-texts"]
            line += draw.choice([
                [draw.choice(names), draw.choice([n for n in NUMBERS if n != "99999999"])],
                [draw.choice(["--json", "--rule", "--precision", "--dataset", "--task"]), draw.choice(values)],
            ])  # fmt: skip
        if draw.random() < 0.2:
            line[1] = draw.choice(values)
    elif command == "sample":
        line = ["sample", str(run), "--n", draw.choice(["2", *NUMBERS]), "--prompt", draw.choice(values)]
    elif command == "pretrain":
        line = ["pretrain", "--output-dir", draw.choice(values), "--steps", draw.choice(["0", "-1", "x", "1e9", "nan"])]
        line += draw.choice([[], ["--start-from", draw.choice(values)], ["--seed", draw.choice(["-1", "x", "1e3"])]])
    elif command == "benchmark":
        line = ["benchmark", "--sides", draw.choice(["x", "", "ours,trl"]), "--rounds", draw.choice(NUMBERS)]
        line += draw.choice([[], ["--sweep", draw.choice(TEXTS)], ["--budget", draw.choice(["x", "", "/"])]])
    else:
        line = [command, *draw.choices(values, k=2)]
    if draw.random() < 0.05:
        del line[draw.randrange(len(line))]
    return line


def test_a_command_line_ends_in_one_line_or_in_a_run(basis, tmp_path, capsys, monkeypatch):
    run, options = basis
    healthy = whole(run)
    ends = {0: 0, 2: 0}
    for number in range(COMMANDS):
        place = tmp_path / str(number)
        place.mkdir()
        monkeypatch.chdir(place)
        line = drawn_command(random.Random(f"{SEED} {number}"), run, options, place)
        try:
            status = main(line)
        except SystemExit as stop:
            assert stop.code == 0 and {"-h", "--help"} & {*line}, line
            continue
        try:
            assert status in (0, 2), line
            ends[status] += 1
            if status == 2:
                one_line(capsys)
            elif line[0] == "train" and (place / "new").exists():
                whole(place / "new")
        except BaseException as error:
            raise AssertionError(f"{number}: {line}: {error}") from error
        finally:
            capsys.readouterr()
            shutil.rmtree(place)
    assert whole(run) == healthy  # whatever was asked, what was there is there
    print(ends)
    assert ends[0] and ends[2]


NASTY = [None, -5, 0, 10**30, 0.5, 1e400, "x", "", [], {}, True, [[]], {"kind": "run"}, "é\udcff"]


def edited_json(text, draw):
    """One value of a JSON text, anywhere in it, replaced or removed."""
    content = json.loads(text)
    places = []

    def walk(node):
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(content)
    node, key = draw.choice(places)
    if draw.random() < 0.2:
        del node[key]
    else:
        node[key] = draw.choice([value for value in NASTY if json.dumps(value) != json.dumps(node[key])])
    return json.dumps(content)


def damage(file, draw):
    """Something done to a file that training wrote; its name, for messages."""
    content = file.read_bytes()
    kinds = ["flipped", "cut", "empty", "noise", "gone", "a folder", "a device", "a dangling link", "appended"]
    if file.suffix in (".json", ".jsonl"):
        kinds += ["edited"] * 6 + ["deep", "a BOM", "not UTF-8"]
    if file.suffix == ".jsonl":
        kinds += ["a line less", "a line twice", "a line swapped"]
    if file.suffix == ".safetensors":
        kinds += ["NaN", "int8", "another shape", "one less"] * 2
    if file.suffix == ".pt":
        kinds += ["emptied", "NaN moments"] * 2
    kind = draw.choice(kinds)
    file.unlink()
    if kind == "flipped":
        place = draw.randrange(len(content))
        content = content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]
    elif kind == "cut":
        content = content[: draw.randrange(len(content))]
    elif kind == "empty":
        content = b""
    elif kind == "noise":
        content = draw.randbytes(1000)
    elif kind == "appended":
        content += draw.randbytes(10)
    elif kind == "edited":
        lines = content.decode().splitlines() if file.suffix == ".jsonl" else [content.decode()]
        place = draw.randrange(len(lines))
        lines[place] = edited_json(lines[place], draw)
        content = "\n".join(lines).encode("utf-8", "surrogatepass")
    elif kind == "deep":
        content = b"[" * 100_000
    elif kind == "a BOM":
        content = b"\xef\xbb\xbf" + content
    elif kind == "not UTF-8":
        content = content.decode().encode("utf-16")
    elif kind.startswith("a line"):
        lines = content.splitlines(keepends=True)
        place = draw.randrange(len(lines))
        content = b"".join({"a line less": lines[:place] + lines[place + 1 :], "a line twice": [*lines, lines[place]],
                            "a line swapped": lines[::-1]}[kind])  # fmt: skip
    elif kind in ("NaN", "int8", "another shape", "one less"):
        weights = {name: weight.clone() for name, weight in _tensors(content).items()}
        name = draw.choice(sorted(weights))
        if kind == "NaN":
            weights[name].view(-1)[0] = torch.nan
        elif kind == "int8":
            weights[name] = weights[name].to(torch.int8)
        elif kind == "another shape":
            weights[name] = torch.cat([weights[name].view(-1), torch.zeros(1)])
        else:
            del weights[name]
        save_file(weights, file)
        return kind
    elif kind in ("emptied", "NaN moments"):
        file.write_bytes(content)
        state = torch.load(file, weights_only=True)
        if kind == "emptied":
            state["state"] = {}
        else:
            state["state"][0]["exp_avg"].fill_(torch.nan)
        torch.save(state, file)
        return kind
    if kind == "a folder":
        file.mkdir()
    elif kind == "a device":
        file.symlink_to("/dev/zero")
    elif kind == "a dangling link":
        file.symlink_to(file.parent / "nowhere")
    elif kind != "gone":
        file.write_bytes(content)
    return kind


def _tensors(content):
    from safetensors.torch import load

    return load(content)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs devices")
def test_a_damaged_file_is_refused_in_one_line_or_changes_nothing(basis, tmp_path, capsys):
    """Resumed from its last checkpoint but one, so that a step is left to do; then evaluated and sampled."""
    run, options = basis
    cut = tmp_path / "cut"
    shutil.copytree(run, cut)
    shutil.rmtree(cut / "checkpoint-000003")
    healthy = whole(run)
    refused = 0
    for number in range(FILES):
        draw = random.Random(f"{SEED} {number}")
        what = draw.choice(["train", "train", "train", "evaluate", "sample"])
        folder = tmp_path / "damaged"
        shutil.copytree(cut if what == "train" else run, folder)
        names = ["config.json", "metrics.jsonl", "task.json"] + ["checkpoint-000002"] * 6 if what == "train" else [
            "config.json", "task.json", "model", "model", "model"]  # fmt: skip
        file = folder / draw.choice(names)
        if file.is_dir():
            file = draw.choice(sorted(each for each in file.iterdir() if each.name not in ("README.md",)))
        kind = damage(file, draw)
        try:
            if what == "train":
                status = main(["train", "--output-dir", str(folder), "--no-progress", "--resume", *options])
            elif what == "evaluate":
                status = main(["evaluate", str(folder), "--num-prompts", "2", "--reference-samples", "2",
                               "--perplexity-texts", "1"])  # fmt: skip
            else:
                status = main(["sample", str(folder), "--prompt", "The river", "--n", "1"])
            assert status in (0, 2)
            if status == 2:
                refused += 1
                one_line(capsys)
            else:
                assert whole(folder) == healthy
                same = file.is_file() and file.read_bytes() == (run / file.relative_to(folder)).read_bytes()
                harmless = file.name in ("checksums.json", "task.json") or file.parent.name == "checkpoint-000002"
                assert what == "train" or same or harmless, "read without a word"
        except BaseException as error:
            raise AssertionError(f"{number}: {what}, {file.relative_to(folder)} {kind}: {error}") from error
        finally:
            capsys.readouterr()
            shutil.rmtree(folder)
    print("refused", refused, "of", FILES)
    assert refused > FILES / 2
