"""The lab: one and the same run but for a line; healthy runs made once; alarms heard once; a mystery that repeats."""

import pytest

from policy_gradients.course import lab as module
from policy_gradients.course.failures import FAILURES, Failure, brevity
from policy_gradients.course.lab import SETTINGS, Lab, heard, mystery, share_of_e
from policy_gradients.language.rewards import Completion
from policy_gradients.training.config import make_config
from policy_gradients.training.presets import PRESETS

NAMED = {failure.name: failure for failure in FAILURES}


@pytest.fixture
def runs(monkeypatch):
    """Stands for training: notes what each run was made with, and whether a wrong line was planted in its steps."""
    made = []
    right = module.share_of_e.__code__

    def prepare(config, task):
        made.append({"config": config, "task": task, "broken": []})
        return made[-1]

    def step(run, number):
        run["broken"].append(module.share_of_e.__code__ is not right)
        return {"step": number + 1, "grad_norm": 1.0, "zero_variance_share": 0.0}

    monkeypatch.setattr(module, "prepare", prepare)
    monkeypatch.setattr(module, "train_step", step)
    return made


# a line of the lab itself, so that the run above can see it
LINE = Failure("x", "course.lab:share_of_e", "len(c.text)", "len(c.text) ", "", "zero_gradient", {"max_new_tokens": 3})


def test_both_runs_have_the_settings_and_the_reward_of_the_failure_and_one_has_the_line(runs, tmp_path):
    rows = Lab(tmp_path, seed=4).compare(LINE, "grad_norm", steps=2)
    assert [row["step"] for row in rows] == [1, 2]
    healthy, broken = runs
    assert healthy["config"] == broken["config"] and healthy["config"].max_new_tokens == 3
    assert healthy["config"].seed == 4
    assert healthy["broken"] == [False] * 2 and broken["broken"] == [True] * 2
    assert healthy["task"].reward is broken["task"].reward is share_of_e


def test_a_failure_may_bring_a_reward_of_its_own(runs, tmp_path):
    Lab(tmp_path).healthy(1, NAMED["end token masked out"])
    assert runs[0]["task"].reward is brevity


def test_a_healthy_run_is_made_once(runs, tmp_path):
    lab, seen = Lab(tmp_path), []
    first = lab.healthy(3, on_step=seen.append)
    assert lab.healthy(3, on_step=seen.append) is first and seen == first
    assert lab.healthy(3, num_prompts=1) is not first and lab.healthy(2) is not first
    assert len(runs) == 3


def test_nothing_that_decides_a_run_is_left_to_a_preset():
    """What the presets change is either set here, or has no say in steps that are made one by one with a reward."""
    no_say = {"max_steps", "stop_above", "final_learning_rate", "start_tolerance", "entropy_target", "entropy_rate"}
    assert set(PRESETS["tiny"]) - no_say <= set(SETTINGS)
    make_config(**SETTINGS)


def test_the_prompts_differ_in_length(tmp_path):
    lines = Lab(tmp_path).settings["prompts_file"]
    with open(lines, encoding="utf-8") as file:
        lengths = [len(line) for line in file]
    assert len(lengths) == 8 and len(set(lengths)) == 8


def test_an_alarm_is_heard_once_with_its_step():
    rows = [
        {"step": n, "loss": 0.0, "entropy": 1.0, "kl": 0.0, "sampler_mismatch": 0.0, "grad_norm": 0.1} for n in (1, 2)
    ]
    rows = [
        {
            **row,
            "zero_variance_share": 0.0,
            "reward_min": 0.0,
            "reward_max": 1.0,
            "train_reward": 0.5,
            "ratio_at_start": 0.0,
            "clipped_share": 0.0,
            "finished_rate": 1.0,
            "end_scored_share": 1.0,
        }
        for row in rows
    ]
    assert heard(rows) == []
    broken = [rows[0], {**rows[1], "sampler_mismatch": 0.5}, {**rows[1], "step": 3, "sampler_mismatch": 0.5}]
    [said] = heard(broken)
    assert said.startswith("step 2: the trainer's log-probs differ") and said.endswith("[sampler_mismatch]")


def test_the_mystery_repeats_and_needs_no_settings():
    chosen = [mystery(number) for number in range(40)]
    assert chosen == [mystery(number) for number in range(40)]
    assert {failure.name for failure in chosen} == {failure.name for failure in FAILURES if not failure.settings}
    assert mystery(7).name == "no mask under left padding"  # the notebook's experiment is about padding


def test_rewards_of_the_lab():
    texts = [Completion("eel", True), Completion("", False), Completion("x" * 50, True)]
    assert share_of_e(texts) == pytest.approx([2 / 3, 0, 0])
    assert brevity(texts) == pytest.approx([0.97, 1.0, 0.5])
