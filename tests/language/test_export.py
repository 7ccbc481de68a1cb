"""The exported folder is the model: for a stranger's AutoModel and AutoTokenizer, in a process of their own."""

import pytest
import torch

from policy_gradients.language.export import PROBES, check_export, export_model
from policy_gradients.language.models import ModelError, load_model
from policy_gradients.language.prompts import prompt_ids
from policy_gradients.language.rules import length_and_digits
from policy_gradients.language.text import shipped_excerpts


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny")


def test_the_exported_tiny_encodes_and_computes_as_trained(tiny, tmp_path):
    model, tokenizer = tiny
    rule = length_and_digits()
    texts = [tokenizer.decode(prompt_ids(tokenizer, rule, e, 200)) for e in shipped_excerpts("heldout")[:50]]
    export_model(model, tokenizer, tmp_path, temperature=0.8)
    check_export(tmp_path, model, tokenizer, [*texts, *PROBES])
    again, _ = load_model(str(tmp_path))
    ids = torch.tensor([tokenizer.encode(texts[0])])
    with torch.no_grad():
        assert torch.equal(again(ids).logits, model(ids).logits)
    assert type(again).__name__ == "LlamaForCausalLM" and type(model).__name__ == "Qwen2ForCausalLM"
    sampling = again.generation_config
    assert (sampling.do_sample, sampling.temperature, sampling.top_p, sampling.top_k) == (True, 0.8, 1.0, 0)
    assert sampling.eos_token_id == [0, 2] and sampling.pad_token_id == 0


def test_an_export_that_is_not_the_model_is_found_out(tiny, tmp_path):
    model, tokenizer = tiny
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)  # as a Qwen2, whose tokenizer transformers replaces
    with pytest.raises(ModelError, match="encodes 0 of 3 texts as training did"):
        check_export(tmp_path, model, tokenizer)
    weights = {name: 1.1 * weight for name, weight in model.state_dict().items()}
    export_model(model, tokenizer, tmp_path, state_dict=weights)
    with pytest.raises(ModelError, match="is another model: its log-probs differ"):
        check_export(tmp_path, model, tokenizer)
