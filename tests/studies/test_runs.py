"""The runs of a study: done once, kept whole, gone on with after a stop, and refused where they are not its own."""

import json
import math

import pytest

from policy_gradients.studies import runs as module
from policy_gradients.studies.runs import KEPT, WORKING, read_runs, run_one, run_path, run_study
from policy_gradients.studies.study import Hypothesis, Study
from policy_gradients.training.config import config_from_json
from policy_gradients.training.loop import train
from policy_gradients.training.stops import Interrupted

ARMS = {"without": {}, "with": {"entropy_weight": 0.01}}
SETTINGS = {
    "rule": "digits%3=0", "num_prompts": 2, "num_generations": 2, "micro_batch_prompts": 2, "max_prompt_tokens": 64,
    "max_new_tokens": 4, "max_steps": 2, "precision": "no", "entropy_schedule": "constant", "entropy_weight": 0.0,
}  # fmt: skip
STUDY = Study(
    "micro", "Does it?", "Only if.", "tiny-sparse", ARMS, (Hypothesis("with", "without", "mean_strict_rate", 0.03),),
    SETTINGS, seeds=(0, 1), num_prompts=2, reference_samples=4, perplexity_texts=1,
)  # fmt: skip
ALL = [(arm, seed) for arm in ARMS for seed in (0, 1)]


@pytest.fixture
def made(tmp_path, write_runs):
    """A folder that holds all runs of the study, which nobody did."""
    write_runs(STUDY, tmp_path / "study", {each: [0.0, 0.5] for each in ALL})
    return tmp_path / "study"


@pytest.mark.slow
def test_a_study_is_run_once_and_gone_on_with(tmp_path):
    folder, seen = tmp_path / "study", []
    run_study(STUDY, folder, jobs=2, on_run=lambda *counts: seen.append(counts))
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    found = read_runs(STUDY, folder)
    assert {arm: list(of_arm) for arm, of_arm in found.items()} == {"without": [0, 1], "with": [0, 1]}
    for arm, seed in ALL:
        run = found[arm][seed]
        assert config_from_json(run["config"]) == STUDY.config(arm, seed)
        assert all(len(curve) == 2 for curve in run["curves"].values()) and run["seconds"] > 0
        assert not run_path(folder, arm, seed).with_name(WORKING).exists()
        assert run_path(folder, arm, seed).stat().st_size < 10_000
        assert run["report"]["num_prompts"] == 2 and len(run["completions"]) == 2
    # the first batch of a seed is every arm's; seeds differ
    first = {(arm, seed): found[arm][seed]["curves"]["mean_length"][0] for arm, seed in ALL}
    assert first["with", 0] == first["without", 0] != first["with", 1] == first["without", 1]

    # what is missing is done again, with the same numbers; the rest is not touched
    again = run_path(folder, "with", 1)
    again.unlink()
    before = {each: run_path(folder, *each).stat().st_mtime_ns for each in ALL if each != ("with", 1)}
    seen.clear()
    run_study(STUDY, folder, resume=True, on_run=lambda *counts: seen.append(counts))
    assert seen == [(3, 4), (4, 4)]
    redone = json.loads(again.read_text(encoding="utf-8"))
    assert {**redone, "seconds": 0} == {**found["with"][1], "seconds": 0}
    assert before == {each: run_path(folder, *each).stat().st_mtime_ns for each in before}


@pytest.mark.slow
def test_a_run_that_was_cut_goes_on_where_it_was(tmp_path):
    whole, cut = (tmp_path / name / "with" / "seed-0" / KEPT for name in ("whole", "cut"))
    for path in (whole, cut):
        path.parent.mkdir(parents=True)
    run_one(STUDY, "with", 0, whole)

    def stop(row):
        if row["step"] == 1:
            import signal

            signal.raise_signal(signal.SIGINT)

    working = cut.with_name(WORKING)
    with pytest.raises(Interrupted):
        train(STUDY.config("with", 0), working, progress=False, on_step=stop)
    run_one(STUDY, "with", 0, cut)
    one, other = (json.loads(path.read_text(encoding="utf-8")) for path in (whole, cut))
    assert {**one, "seconds": 0} == {**other, "seconds": 0} and not working.exists()


@pytest.mark.slow
def test_a_working_folder_without_a_config_is_begun_anew(tmp_path):
    path = tmp_path / "with" / "seed-0" / KEPT
    path.with_name(WORKING).mkdir(parents=True)
    run_one(STUDY, "with", 0, path)
    assert read_runs(STUDY, tmp_path)["with"][0]["report"]["num_prompts"] == 2


def test_nothing_is_run_that_is_there(made, monkeypatch):
    monkeypatch.setattr(module, "ProcessPoolExecutor", None)
    seen = []
    run_study(STUDY, made, resume=True, on_run=lambda *counts: seen.append(counts))
    run_study(STUDY, made, seeds=[1], resume=True, on_run=lambda *counts: seen.append(counts))
    assert seen == [(4, 4), (2, 2)]
    with pytest.raises(ValueError, match="holds runs already; go on with --resume"):
        run_study(STUDY, made)


@pytest.mark.parametrize("jobs", [0, -1])
def test_a_study_needs_a_job(tmp_path, jobs):
    with pytest.raises(ValueError, match="jobs must be at least 1"):
        run_study(STUDY, tmp_path, jobs=jobs)


def test_runs_of_other_settings_are_refused(made):
    other = Study(**{**vars(STUDY), "settings": {**SETTINGS, "max_steps": 3}})
    for refused in (lambda: read_runs(other, made), lambda: run_study(other, made, resume=True)):
        with pytest.raises(ValueError, match="was run with other settings: max_steps"):
            refused()


def test_runs_that_were_evaluated_in_another_way_are_refused(made):
    other = Study(**{**vars(STUDY), "reference_samples": 5})
    for refused in (lambda: read_runs(other, made), lambda: run_study(other, made, resume=True)):
        with pytest.raises(ValueError, match=r"was evaluated with other settings: .*'reference_samples': 4"):
            refused()


def test_an_empty_folder_has_no_runs(tmp_path):
    assert read_runs(STUDY, tmp_path / "nowhere") == {"without": {}, "with": {}}


@pytest.mark.parametrize(
    "change",
    [
        lambda run: b"{",
        lambda run: b"\xff\xfe",
        lambda run: b"[]",
        lambda run: b"null",
        lambda run: {},
        lambda run: {**run, "config": {}},
        lambda run: {**run, "curves": None},
        lambda run: {**run, "curves": {**run["curves"], "strict_rate": []}},
        lambda run: {**run, "curves": {**run["curves"], "entropy": [1.0]}},
        lambda run: {**run, "curves": {**run["curves"], "entropy": [1.0, None]}},
        lambda run: {**run, "report": {**run["report"], "pass_rate": "high"}},
        lambda run: {**run, "report": {**run["report"], "kl_to_reference": math.inf}},
        lambda run: {key: value for key, value in run.items() if key != "report"},
    ],
)
def test_a_damaged_run_is_refused_in_one_line(made, change):
    path = run_path(made, "with", 1)
    changed = change(json.loads(path.read_text(encoding="utf-8")))
    path.write_bytes(changed if isinstance(changed, bytes) else json.dumps(changed).encode())
    with pytest.raises(ValueError, match=r"run\.json (is no run of a study: |was run with other settings: )") as error:
        read_runs(STUDY, made)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["seed-x", "seed-01", "copy of seed-1", "seed--1"])
def test_a_folder_that_is_no_seed_is_refused(made, name):
    (made / "with" / "seed-1").rename(made / "with" / name)
    with pytest.raises(ValueError, match="it would be called seed-0, seed-1"):
        read_runs(STUDY, made)


def test_seeds_come_in_the_order_of_numbers(tmp_path, write_runs):
    write_runs(STUDY, tmp_path, {("with", seed): [0.1, 0.2] for seed in (10, 2, 1)})
    assert list(read_runs(STUDY, tmp_path)["with"]) == [1, 2, 10]


def test_a_file_in_the_place_of_the_folder_is_said_to_be_one_before_anything_is_done(tmp_path):
    file, seen = tmp_path / "runs", []
    file.write_text("mine")
    for refused in (
        lambda: run_study(STUDY, file, on_run=lambda *counts: seen.append(counts)),
        lambda: read_runs(STUDY, file),
    ):
        with pytest.raises(ValueError, match="runs is a file; runs are kept in a folder"):
            refused()
    assert not seen and file.read_text() == "mine"


def test_an_arm_that_cannot_be_a_folder_is_refused_before_there_are_others(tmp_path):
    other = Study(**{**vars(STUDY), "arms": {**ARMS, "x" * 300: {"max_steps": 3}}})
    with pytest.raises(ValueError, match="cannot be one: it has more than 255 bytes"):
        run_study(other, tmp_path / "study")
    assert not (tmp_path / "study").exists()
