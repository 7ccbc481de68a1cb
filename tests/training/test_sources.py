import json

import pytest

from policy_gradients.evaluation.evaluate import evaluate_run
from policy_gradients.language import openwebtext, smollm2
from policy_gradients.language.text import shipped_excerpts
from policy_gradients.training.config import load_config
from policy_gradients.training.loop import train
from policy_gradients.training.presets import preset
from policy_gradients.training.setup import prepare
from policy_gradients.training.sources import excerpts_of, resolve

TEXTS = [f"Text number {n} tells of a river, of its bridges, and of the people who live beside it." for n in range(400)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POLICY_GRADIENTS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(smollm2, "packaged_gguf", lambda: None)


@pytest.fixture
def web(monkeypatch):
    """A hub in reach."""
    monkeypatch.setattr(openwebtext, "open_stream", lambda seed, files: iter([{"text": text} for text in TEXTS]))


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def config(micro_folder):
    return preset(
        "smollm2", model=str(micro_folder), max_prompt_tokens=128, num_prompts=2, num_generations=2, max_new_tokens=3,
        max_steps=1, num_excerpts=100, precision="no",
    )  # fmt: skip


def test_a_config_keeps_what_the_machine_decided(web):
    resolved = resolve(preset("smollm2", num_excerpts=100))
    assert (resolved.model, resolved.task.prompt_source) == (smollm2.HUB_ID, "openwebtext")
    assert resolve(resolved) == resolved


def test_prompts_of_a_run_and_of_its_evaluation_are_apart(web, config):
    train_texts, heldout = (set(excerpts_of(config.task, split, config.seed)[0]) for split in ("train", "heldout"))
    assert len(train_texts) == 100 and heldout and not train_texts & heldout
    run = prepare(config)
    assert len(run.prompts) == 100 and "Text number" in run.tokenizer.decode(run.prompts[7])


def test_the_fallback_is_in_the_config_the_log_and_the_report(offline, config, tmp_path, caplog):
    folder = train(config, tmp_path / "run", progress=False)
    assert "openwebtext is out of reach" in caplog.text
    assert load_config(folder / "config.json").task.prompt_source == "fallback"
    report = evaluate_run(folder, num_prompts=2, reference_samples=2)
    assert "in place of openwebtext" in report["prompts"]
    assert {row["excerpt"] for row in report["completions"]} <= set(shipped_excerpts("heldout"))
    train(config, folder, resume=True, progress=False)  # still offline: the same run


def test_a_run_begun_offline_does_not_go_on_with_other_text(offline, config, tmp_path, monkeypatch, request):
    folder = train(config, tmp_path / "run", progress=False)
    request.getfixturevalue("web")
    with pytest.raises(ValueError, match="prompt_source is 'fallback', not 'openwebtext'"):
        train(config, folder, resume=True, progress=False)


def test_a_report_says_where_its_prompts_came_from(web, config, tmp_path):
    folder = train(config, tmp_path / "run", progress=False)
    assert json.loads((folder / "config.json").read_text())["task"]["prompt_source"] == "openwebtext"
    report = evaluate_run(folder, num_prompts=2, reference_samples=2)
    assert report["prompts"].startswith("openwebtext")
    assert all(row["excerpt"] in TEXTS for row in report["completions"])
