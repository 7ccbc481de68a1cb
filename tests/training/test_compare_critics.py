"""PPO beside GRPO: all methods meet the same work, what is held is counted exactly, and a cut comparison goes on."""

import json

import pytest

from policy_gradients.language.rewards import Completion
from policy_gradients.training import compare_critics as module
from policy_gradients.training.compare_critics import (
    METHODS,
    compare,
    config_of,
    holds_a_digit,
    main,
    measured_run,
    read_memory,
    read_runs,
)
from policy_gradients.training.config import flat_of


@pytest.fixture
def small(micro_folder):
    return {
        "model": str(micro_folder), "num_prompts": 2, "num_generations": 2, "max_new_tokens": 4, "precision": "no",
        "max_prompt_tokens": 200, "max_steps": 2,
    }  # fmt: skip


def test_methods_differ_in_their_baseline_alone():
    configs = {method: flat_of(config_of(method, 3)) for method in METHODS}
    groups_alone = {"sharing", "clip_cov"}
    own = groups_alone | {key for settings in METHODS.values() for key in settings}
    rest = [{k: v for k, v in config.items() if k not in own} for config in configs.values()]
    assert all(config == rest[0] for config in rest) and rest[0]["seed"] == 3
    assert not any(configs["grpo"][key] for key in groups_alone)
    assert all(configs[method][k] == v for method, settings in METHODS.items() for k, v in settings.items())
    with pytest.raises(ValueError, match="unknown method 'ppo'"):
        config_of("ppo", 0)


def test_the_reward_is_one_for_an_ascii_digit():
    texts = ["in 1965", "in m³", "", "9"]
    assert holds_a_digit([Completion(text, finished=False) for text in texts]) == [1.0, 0.0, 0.0, 1.0]


def test_the_first_rollout_is_the_same_and_what_is_held_is_exact(small):
    runs = {method: measured_run(config_of(method, 0, **small)) for method in ("grpo", "ppo-head", "ppo-model")}
    first = [(rows[0]["completion_tokens"], rows[0]["mean_length"]) for rows, _ in runs.values()]
    assert len(set(first)) == 1
    for rows, held in runs.values():
        assert len(rows) == 2 and all(row["cpu_seconds"] > 0 for row in rows)
        trained = held["policy"] + held["critic"]
        assert held["reference"] == held["policy"] and held["gradients"] == trained
        # two moments, and a step counter of 4 bytes a tensor
        assert 2 * trained < held["optimizer"] < 2 * trained + 4 * 200
    width = 32
    critics = [held["critic"] for _, held in runs.values()]
    assert critics[:2] == [0, 4 * (width + 1)] and critics[2] > runs["grpo"][1]["policy"] / 2


def test_a_run_that_is_there_is_not_done_again(tmp_path, monkeypatch, capsys):
    done = []

    def pretend(config, path, threads):
        done.append((getattr(config.credit, "critic", "none"), config.seed, threads))
        path.mkdir(parents=True)
        (path / "metrics.jsonl").write_text(json.dumps({"step": 1, "seed": config.seed}) + "\n")
        if config.seed != 2:  # this one was cut
            (path / "memory.json").write_text(json.dumps({"policy": 7}))

    monkeypatch.setattr(module, "_in_a_process", pretend)
    compare(tmp_path, ["ppo-head"], [1])
    main(["--output-dir", str(tmp_path), "--methods", "grpo", "ppo-head", "--seeds", "1", "2", "--threads", "2"])
    assert done == [("head", 1, 1), ("none", 1, 2), ("none", 2, 2), ("head", 2, 2)]
    assert "… grpo, seed 2" in capsys.readouterr().out
    runs = read_runs(tmp_path)
    assert list(runs) == ["grpo", "ppo-head"]
    assert [[row["seed"] for row in rows] for rows in runs["grpo"]] == [[1]]
    assert read_memory(tmp_path) == {"grpo": {"policy": 7}, "ppo-head": {"policy": 7}}
    assert read_runs(tmp_path / "nothing") == {}


@pytest.mark.slow
def test_each_run_has_a_process_of_its_own(small, tmp_path):
    [path] = compare(tmp_path, ["ppo-head"], [0], **small)["ppo-head"]
    [rows] = read_runs(tmp_path)["ppo-head"]
    assert [row["step"] for row in rows] == [1, 2] and "value_error" in rows[0]
    assert json.loads((path / "config.json").read_text())["credit"]["critic"] == "head"
    assert read_memory(tmp_path)["ppo-head"]["peak"] > 0
    with pytest.raises(RuntimeError, match="exit code 1"):
        compare(tmp_path, ["grpo"], [0], **{**small, "max_prompt_tokens": 2})
