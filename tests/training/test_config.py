import json

import pytest

from policy_gradients.training.config import (
    TrainConfig,
    config_from_json,
    field_help,
    flat_of,
    flat_settings,
    load_config,
    make_config,
    save_config,
    to_json,
    with_settings,
)
from policy_gradients.training.presets import PRESETS, preset


def test_every_preset_is_valid():
    for name in PRESETS:
        assert isinstance(preset(name), TrainConfig)


@pytest.mark.parametrize("name", PRESETS)
def test_a_tree_and_its_flat_settings_are_the_same(name):
    config = preset(name)
    assert make_config(**flat_of(config)) == config
    assert config_from_json(json.loads(json.dumps(to_json(config)))) == config


def test_an_older_flat_file_is_read_without_what_had_no_part_in_it():
    """Such as results/ holds: all 57 settings in one record, with the group's baseline beside credit by state."""
    older = {
        **PRESETS["tiny"],
        "baseline": "mean",
        "scale": "std",
        "gae_lambda": 0.7,
        "clip_low": 0.1,
        "critic": "none",
    }
    assert config_from_json(older) == preset("tiny")


def test_settings_that_lose_their_part_are_dropped():
    config = with_settings(preset("tiny"), credit="completion", updates_per_batch=1)
    assert config == make_config({**PRESETS["tiny"], "credit": "completion", "updates_per_batch": 1})
    assert "state_memory" not in flat_of(config)


def test_round_trip(tmp_path):
    config = preset("tiny", seed=3, rule="length=50&digits%5=2")
    save_config(config, tmp_path / "config.json")
    assert load_config(tmp_path / "config.json") == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "length=0"}, "at least 1"),
        ({"rule": "length=-3"}, "at least 1"),
        ({"rule": "rhymes"}, "unknown rule 'rhymes'.*length=64"),
        ({"num_prompts": 0}, "num_prompts must be above 0"),
        ({"credit": "completion", "num_generations": 1}, "num_generations must be at least 2"),
        ({"kl_weight": -0.1}, "kl_weight must not be negative"),
        ({"precision": "fp8"}, "precision"),
        ({"raise_above": 0.1}, "lower_below"),
        ({"learning_rate": float("nan")}, "learning_rate must be finite"),
        ({"weight_decay": float("inf")}, "weight_decay must be finite"),
        ({"num_generations": 99_999_999}, r"3.2e\+10 tokens: 128 GB"),
        ({"num_generations": 99_999_999, "max_new_tokens": 1}, r"889 hours|22.2 hours"),
        ({"max_new_tokens": 10**20}, "GB for their random numbers alone"),
        ({"rule": "length=100000000&digits%3=0"}, "2e\\+08 states"),
        ({"max_steps": 1.5}, "max_steps must be a whole number"),
        ({"gae_lambda": 0.5}, "gae_lambda has no part in this run: it needs a critic"),
        ({"baseline": "mean"}, "baseline has no part in this run: it needs credit completion"),
        ({"clip_low": 0.1}, "clip_low has no part"),
        ({"entropy_target": 1.0}, "entropy_target has no part.*entropy_schedule target"),
        ({"rule": "digits%3=0", "start_tolerance": 3}, "start_tolerance has no part"),
        ({"dataset": "x.jsonl"}, "needs a reward_function"),
        ({"credit": "state", "rule": "last-number-prime"}, "last-number-prime has no states"),
        ({"rule": "length=3&digits%3=0"}, "start_tolerance must be below the rule's 3 characters"),
        ({"credit": "state", "critic": "head"}, "not both"),
        ({"projection_weight": 1.0, "credit": "completion"}, "projection_weight needs credit state"),
        ({"projection_weight": 1.0, "kl_place": "reward"}, "kl_place has no part.*no projection_weight"),
        ({"projection_weight": 1.0, "kl_weight": 0.0}, "kl_weight must be above 0"),
        ({"state_memory": 1.0}, "state_memory"),
        ({"num_promts": 3}, "unknown settings.*num_promts.*num_prompts"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        preset("tiny", **changes)


def test_unknown_preset():
    with pytest.raises(ValueError, match="unknown preset 'huge'; known are tiny"):
        preset("huge")


@pytest.mark.parametrize("content", ["{", "[]", '{"no_such": 1}'])
def test_unreadable_config(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match="no training config"):
        load_config(tmp_path / "config.json")
    with pytest.raises(ValueError, match="holds no run"):
        load_config(tmp_path / "nowhere" / "config.json")


def test_help_comes_from_the_docstrings():
    assert field_help("num_generations").startswith("G: completions a prompt")
    assert sum(bool(text) for _, _, text in flat_settings().values()) > 50
