"""Models as users have them: each trains and evaluates, or is refused in words before the output folder is made."""

import json
import shutil

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from policy_gradients.cli import main
from policy_gradients.language.rewards import Completion, check_rates
from policy_gradients.language.rules import parse_rule

SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 2,
}  # fmt: skip
OPT = {"ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 104}


@pytest.fixture
def make(tokenizer, tmp_path):
    def made(family="llama", **changes):
        torch.manual_seed(0)
        config = AutoConfig.for_model(family, vocab_size=len(tokenizer), **{**SIZES, **changes})
        AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
        tokenizer.save_pretrained(tmp_path / "model")
        return tmp_path / "model"

    return made


def train(folder, run, *more):
    return main([
        "train", "--preset", "tiny-grpo", "--model", str(folder), "--output-dir", str(run), "--num-prompts", "2",
        "--num-generations", "2", "--max-new-tokens", "4", "--max-prompt-tokens", "100", "--max-steps", "1",
        "--precision", "no", "--no-progress", "--no-fresh-process", "--rule", "length=5", *more,
    ])  # fmt: skip


def edit(folder, file, **changes):
    settings = {**json.loads((folder / file).read_text()), **changes}
    (folder / file).write_text(json.dumps({key: value for key, value in settings.items() if value is not ...}))


def padding_beyond_the_embeddings(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "<PAD>"})
    tokenizer.save_pretrained(folder)


def end_in_the_config_alone(folder):
    edit(folder, "tokenizer_config.json", eos_token=..., pad_token=...)


WORK = {
    "padding beyond the embeddings": ({}, padding_beyond_the_embeddings, ()),
    "padding beyond the vocabulary": ({}, lambda f: edit(f, "config.json", pad_token_id=99999), ()),
    "end in the config alone": ({}, end_in_the_config_alone, ()),
    "window that the perplexity's texts exceed": ({"family": "mistral", "sliding_window": 110}, None, ()),
    "window that prompts exceed": ({"family": "mistral", "sliding_window": 64}, None, ()),
    "just enough positions": ({"family": "opt", **OPT}, None, ("--frozen-layers", "1")),
    "positions from the padding on": (
        {"family": "roberta", "is_decoder": True, "max_position_embeddings": 105}, None, ()),
}  # fmt: skip


@pytest.mark.parametrize("case", WORK)
def test_these_train_and_evaluate(make, tmp_path, case):
    changes, change, more = WORK[case]
    folder = make(**changes)
    if change:
        change(folder)
    assert train(folder, tmp_path / "run", *more) == 0
    sizes = ["--num-prompts", "2", "--reference-samples", "2", "--perplexity-texts", "8"]
    assert main(["evaluate", str(tmp_path / "run"), *sizes]) == 0


def as_adapter(folder):
    (folder / "adapter_config.json").write_text("{}")


def as_weights(name):
    return lambda folder: (folder / "model.safetensors").rename(folder / name)


def as_run(folder):
    shutil.copytree(folder, folder / "model")
    (folder / "metrics.jsonl").touch()


def template(text):
    return lambda folder: (folder / "chat_template.jinja").write_text(text)


REFUSED = {
    "too few positions": ({"family": "opt", **OPT, "max_position_embeddings": 103}, None, "positions for 103 tokens"),
    "too few from the padding on": (
        {"family": "roberta", "is_decoder": True, "max_position_embeddings": 104}, None, "positions for 103 tokens"),
    "adapter": ({}, as_adapter, "holds an adapter without its model: merge"),
    "pickle": ({}, as_weights("pytorch_model.bin"), "its weights are a pickle"),
    "GGUF": ({}, as_weights("model.gguf"), "holds a GGUF file; give the file itself: "),
    "run": ({}, as_run, "is the folder of a run; give the model in it"),
    "text dropped": ({}, template("{% for m in messages %}{{ m['role'] }}{% endfor %}"), "the user's text is not in"),
    "broken": ({}, template("{% for m in messages %}{{ m"), "it raised TemplateSyntaxError"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_these_are_refused_and_work_once_mended(make, tmp_path, capsys, case):
    changes, change, message = REFUSED[case]
    folder = make(**changes)
    if change:
        change(folder)
    assert train(folder, tmp_path / "run") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert not (tmp_path / "run").exists()


def test_after_a_refusal_the_same_command_works(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = make()
    whole = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no') }}")
    assert train("model", "run") == 2
    (folder / "chat_template.jinja").write_text(whole)
    assert train("model", "run") == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # the run knows the whole path of its model
    sizes = ["--num-prompts", "2", "--reference-samples", "2", "--perplexity-texts", "2"]
    assert main(["evaluate", str(tmp_path / "run"), *sizes]) == 0


def test_shares_know_graphemes():
    found = check_rates(
        parse_rule("graphemes=2&digits%3=0"), [Completion("e\u03013", True), Completion("e\u03013a", True)]
    )
    assert found == {"finished_rate": 1.0, "length_rate": 0.5, "digit_rate": 1.0}
