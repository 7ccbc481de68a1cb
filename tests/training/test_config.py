import dataclasses

import pytest

from policy_gradients.training.config import TrainConfig, field_help, load_config, save_config
from policy_gradients.training.presets import PRESETS, preset


def test_every_preset_is_valid():
    for name in PRESETS:
        assert isinstance(preset(name), TrainConfig)


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
        ({"credit": "state", "rule": "last-number-prime"}, "last-number-prime has no states"),
        ({"credit": "state", "critic": "head"}, "not both"),
        ({"projection_weight": 1.0, "credit": "completion"}, "projection_weight needs credit state"),
        ({"projection_weight": 1.0, "kl_place": "reward"}, "projection_weight needs credit state"),
        ({"projection_weight": 1.0, "kl_weight": 0.0}, "projection_weight needs credit state"),
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
    documented = [field.name for field in dataclasses.fields(TrainConfig) if field_help(field.name)]
    assert len(documented) > 20
