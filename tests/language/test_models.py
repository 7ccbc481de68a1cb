import copy
import json
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from policy_gradients.language.models import (
    ModelError,
    choose_precision,
    end_token_ids,
    freeze_first,
    frozen_copy,
    load_model,
    num_parameters,
)


def test_the_shipped_model_loads(recwarn):
    model, tokenizer = load_model("tiny")
    assert not model.training
    assert 1_000_000 < num_parameters(model) < 5_000_000
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert end_token_ids(model, tokenizer) == [0, 2]
    text = "Any text: naïve, 日本, 12³ 😀"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert [tokenizer.decode(token) for token in tokenizer.encode("The river")] == ["Th", "e ", "ri", "ve", "r"]


def test_the_end_of_a_document_ends_a_completion_where_the_config_does_not_say_so():
    """SmolLM2's config names the end of a turn alone, for padding too."""
    model, tokenizer = load_model("tiny")
    tokenizer.pad_token = tokenizer.eos_token
    assert tokenizer.decode(0) == "<|endoftext|>"
    assert end_token_ids(model, tokenizer) == [0, 2]


def test_a_generic_tokenizer_is_loaded_as_its_file_says(micro_folder, tokenizer):
    _, loaded = load_model(str(micro_folder))
    assert loaded.encode("The river is long.\nIt is.") == tokenizer.encode("The river is long.\nIt is.")


def test_frozen_copy_is_apart_and_needs_no_gradient(micro_folder):
    model, _ = load_model(str(micro_folder))
    reference = frozen_copy(model)
    next(model.parameters()).data.zero_()
    assert next(reference.parameters()).abs().sum() > 0
    assert not any(p.requires_grad for p in reference.parameters())


@pytest.fixture
def damaged(micro_folder, tmp_path):
    return shutil.copytree(micro_folder, tmp_path / "model")


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_truncated_weights(damaged):
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ModelError, match=r"cannot be loaded.*is it complete"):
        load_model(str(damaged))


def test_missing_weights(damaged):
    weights = load_file(damaged / "model.safetensors")
    weights.popitem()
    save_file(weights, damaged / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"damaged: \d+ weights are missing"):
        load_model(str(damaged))


def test_weights_in_pickle_are_not_read(damaged):
    (damaged / "model.safetensors").unlink()
    torch.save({}, damaged / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(str(damaged))


def test_not_a_causal_language_model(damaged):
    edit_config(damaged, architectures=["Qwen2ForSequenceClassification"])
    with pytest.raises(ModelError, match="no causal language model"):
        load_model(str(damaged))


def test_a_config_that_contradicts_itself(damaged):
    edit_config(damaged, num_hidden_layers=3)
    with pytest.raises(ModelError, match=r"no readable config\.json"):
        load_model(str(damaged))


@pytest.mark.parametrize("content", ["", "{", '{"a": 1}'])
def test_unreadable_config(damaged, content):
    (damaged / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"no readable config\.json"):
        load_model(str(damaged))


def test_an_unreachable_hub_names_the_offline_alternative(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    start = time.monotonic()
    with pytest.raises(ModelError, match="--preset tiny"):
        load_model("nobody/no-such-model")
    assert time.monotonic() - start < 60  # a bound on hanging, not a timing


def test_precision_by_hardware(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert choose_precision(torch.device("cuda")) == "fp16"  # a T4, whatever is_bf16_supported says
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert choose_precision(torch.device("cuda")) == "bf16"
    monkeypatch.setattr("policy_gradients.language.models.cpu_has_fast_bf16", lambda: False)
    assert choose_precision(torch.device("cpu")) == "no"


def test_frozen_layers_are_the_embeddings_and_the_first_blocks(any_model):
    model = copy.deepcopy(any_model)
    blocks = next(part for part in model.base_model.children() if isinstance(part, torch.nn.ModuleList))
    freeze_first(model, 0)
    assert all(p.requires_grad for p in model.parameters())
    with pytest.raises(ModelError, match="leaves nothing to train"):
        freeze_first(model, len(blocks))
    freeze_first(model, 1)
    frozen = {id(p) for p in model.parameters() if not p.requires_grad}
    expected = [*model.get_input_embeddings().parameters(), *model.get_output_embeddings().parameters()]
    assert frozen == {id(p) for p in [*expected, *blocks[0].parameters()]}
