"""The exported folder is the model: for a stranger's AutoModel and AutoTokenizer, in a process of their own."""

import json
from importlib import resources
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from policy_gradients.language.as_llama import as_trained
from policy_gradients.language.export import PROBES, check_export, export_model
from policy_gradients.language.models import ModelError, load_model
from policy_gradients.language.prompts import prompt_ids
from policy_gradients.language.rules import length_and_digits
from policy_gradients.language.text import shipped_excerpts

SHIPPED = Path(str(resources.files("policy_gradients.language"))) / "data" / "tiny"
TUNED = Path(__file__).parents[2] / "results" / "tiny" / "seed-0" / "model"


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny")


@pytest.fixture(scope="module")
def texts(tiny):
    _, tokenizer = tiny
    rule = length_and_digits()
    return [tokenizer.decode(prompt_ids(tokenizer, rule, e, 200)) for e in shipped_excerpts("heldout")[:50]]


def test_the_exported_tiny_encodes_and_computes_as_trained(tiny, texts, tmp_path):
    model, tokenizer = tiny
    export_model(model, tokenizer, tmp_path, temperature=0.8)
    check_export(tmp_path, model, tokenizer, [*texts, *PROBES])
    llama = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert type(llama).__name__ == "LlamaForCausalLM" and type(model).__name__ == "Qwen2ForCausalLM"
    ids = torch.tensor([tokenizer.encode(texts[0])])
    with torch.no_grad():
        assert torch.equal(llama(ids).logits, model(ids).logits)
    sampling = llama.generation_config
    assert (sampling.do_sample, sampling.temperature, sampling.top_p, sampling.top_k) == (True, 0.8, 1.0, 0)
    assert sampling.eos_token_id == [0, 2] and sampling.pad_token_id == 0


def test_what_is_loaded_again_has_the_weights_that_were_trained(tiny, tmp_path):
    """A Llama would have more of them, and training would move those too."""
    model, tokenizer = tiny
    export_model(model, tokenizer, tmp_path)
    again, _ = load_model(str(tmp_path))
    assert type(again) is Qwen2ForCausalLM
    weights = dict(model.named_parameters())
    assert weights.keys() == dict(again.named_parameters()).keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in again.named_parameters())
    assert again.get_output_embeddings().weight is again.get_input_embeddings().weight
    llama = AutoModelForCausalLM.from_pretrained(tmp_path)
    llama.model.layers[1].self_attn.o_proj.bias.data[3] = 0.1  # somebody trained it on as a Llama
    assert as_trained(llama) is llama


@pytest.mark.parametrize("folder", [SHIPPED, TUNED], ids=["shipped", "tuned"])
def test_the_models_of_this_repository_are_read_by_anybody(folder, texts):
    model, tokenizer = load_model(str(folder))
    check_export(folder, model, tokenizer, [*texts, *PROBES], fresh_process=False)
    found = AutoTokenizer.from_pretrained(folder)
    assert sum(found.encode(text) == tokenizer.encode(text) for text in texts) == 50


@pytest.mark.parametrize("changes", [{"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, {}])
@pytest.mark.parametrize("tied", [True, False])
def test_any_qwen2_with_a_generic_tokenizer_is_exported_exactly(tokenizer, tmp_path, changes, tied):
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=1, rms_norm_eps=1e-5, tie_word_embeddings=tied, eos_token_id=tokenizer.eos_token_id,
        max_position_embeddings=20, **changes,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    export_model(model, tokenizer, tmp_path)
    check_export(tmp_path, model, tokenizer, fresh_process=False)
    ids = torch.arange(15).unsqueeze(0)
    with torch.no_grad():
        for again in (AutoModelForCausalLM.from_pretrained(tmp_path).eval(), load_model(str(tmp_path))[0]):
            torch.testing.assert_close(again(ids).logits, model(ids).logits, atol=1e-6, rtol=0)


def test_an_export_that_is_not_the_model_is_found_out(tiny, tmp_path):
    model, tokenizer = tiny
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)  # as a Qwen2, whose tokenizer transformers replaces
    with pytest.raises(ModelError, match=r"encodes 0 of 3 texts as training did; .*as it was trained"):
        check_export(tmp_path, model, tokenizer, fresh_process=False)
    weights = {name: 1.1 * weight for name, weight in model.state_dict().items()}
    export_model(model, tokenizer, tmp_path, state_dict=weights)
    with pytest.raises(ModelError, match="is another model: its log-probs differ"):
        check_export(tmp_path, model, tokenizer, fresh_process=False)
    export_model(model, tokenizer, tmp_path)
    generation = json.loads((tmp_path / "generation_config.json").read_text())
    (tmp_path / "generation_config.json").write_text(json.dumps({**generation, "eos_token_id": 2}))
    with pytest.raises(ModelError, match=r"ends completions at 2, training at \[0, 2\]: set eos_token_id"):
        check_export(tmp_path, model, tokenizer, fresh_process=False)
    (tmp_path / "model.safetensors").unlink()
    for fresh in (True, False):
        with pytest.raises(ModelError, match=r"do not load the exported .*safetensors"):
            check_export(tmp_path, model, tokenizer, fresh_process=fresh)
