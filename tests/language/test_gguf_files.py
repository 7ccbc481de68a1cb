"""Any GGUF file as a model: small ones written here, against the models that they were made from."""

import json
import os

import pytest
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import LlamaConfig, LlamaForCausalLM

from policy_gradients.__main__ import main
from policy_gradients.deploy.gguf_file import word_cutter
from policy_gradients.deploy.gguf_file import write_gguf as export_gguf
from policy_gradients.language import gguf_files
from policy_gradients.language.gguf_files import gguf_folder, way_to_cut
from policy_gradients.language.models import ModelError, end_token_ids, load_model, origin_of_weights
from policy_gradients.training.run_folder import read_metrics

gguf = pytest.importorskip("gguf")
TEMPLATE = "{% for message in messages %}<|im_start|>{{ message['content'] }}<|im_end|>{% endfor %}"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TOKENS = [*SPECIAL, *sorted(ByteLevel.alphabet()), "ĠĠ", "he"]


@pytest.fixture
def llama():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(TOKENS), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POLICY_GRADIENTS_CACHE", str(tmp_path / "cache"))


def write_gguf(model, file, *, cut="smollm", more=lambda writer: None):
    """As llama.cpp's converter writes a llama: rows of queries and keys in its own order, see `permuted`."""
    writer, config = gguf.GGUFWriter(file, "llama"), model.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    if cut:
        writer.add_tokenizer_pre(cut)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in TOKENS])
    writer.add_token_merges(["Ġ Ġ", "h e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    more(writer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in model.named_parameters():
        stem = name.removesuffix(".weight")
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(stem.split(".")[-1])
        writer.add_tensor(
            f"{names.get_name(stem)}.weight", (permuted(weight, heads) if heads else weight).detach().numpy()
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def permuted(weight, heads):
    rows, columns = weight.shape
    return weight.view(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns).contiguous()


def test_a_file_is_the_same_model_with_its_tokenizer(llama, tmp_path, caplog):
    file = tmp_path / "My Model.GGUF"
    write_gguf(llama, file)
    model, tokenizer = load_model(str(file))
    assert "converting My Model.GGUF, once" in caplog.text
    ids = torch.tensor([[5, 9, 70, 12, 33]])
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, llama(ids).logits, atol=1e-5, rtol=1e-5)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert "quantization_config" not in json.loads((gguf_folder(file) / "config.json").read_text())
    assert tokenizer.eos_token == tokenizer.pad_token == "<|im_end|>"
    assert tokenizer.apply_chat_template([{"role": "user", "content": "he"}], tokenize=False) == (
        "<|im_start|>he<|im_end|>"
    )
    # a digit is cut off before words are: the spaces before it stay together
    assert tokenizer.tokenize("he  7") == ["he", "ĠĠ", "7"]
    text = "Naïve  日本 12³<|im_end|>"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert origin_of_weights(str(file)) == "My Model.GGUF (F32)"


def test_both_ends_that_a_file_names_end_a_completion(llama, tmp_path):
    write_gguf(llama, tmp_path / "model.gguf", more=lambda writer: writer.add_eot_token_id(7))
    assert end_token_ids(*load_model(str(tmp_path / "model.gguf"))) == [0, 2, 7]  # <|endoftext|> by its name, too


def test_a_folder_may_be_named_like_a_file(llama, tmp_path):
    with pytest.raises(ModelError, match=r"model folder .*x\.gguf: no readable config\.json"):
        (tmp_path / "x.gguf").mkdir()
        load_model(str(tmp_path / "x.gguf"))


def test_it_is_converted_once_and_again_when_it_has_changed(llama, tmp_path):
    file = tmp_path / "model.gguf"
    write_gguf(llama, file)
    first = gguf_folder(file)
    assert gguf_folder(file) == first
    os.utime(file, (1, 1))
    assert gguf_folder(file) != first


@pytest.mark.parametrize("dtype", ["f32", "q8_0"])
def test_what_this_package_exports_comes_back(tmp_path, dtype):
    model, tokenizer = load_model("tiny")
    export_gguf(model, tokenizer, tmp_path / "model.gguf", dtype)
    back, its_tokenizer = load_model(str(tmp_path / "model.gguf"))
    text = "In 1937, the river's 2 banks  rose\nby 12.5 metres; naïve 日本."
    assert its_tokenizer.encode(text) == tokenizer.encode(text)
    ids = torch.tensor([tokenizer.encode(text)])
    with torch.no_grad():
        gap = (back(ids).logits - model(ids).logits).abs().max()
    assert gap < 1e-4 if dtype == "f32" else 1e-3 < gap < 1
    assert origin_of_weights(str(tmp_path / "model.gguf")) == f"model.gguf ({'F32' if dtype == 'f32' else 'Q8_0, F32'})"


def test_a_run_starts_from_a_file_and_is_evaluated_from_elsewhere(llama, tmp_path, monkeypatch, capsys):
    write_gguf(llama, tmp_path / "model.gguf")
    monkeypatch.chdir(tmp_path)
    work = ["--num-prompts", "2", "--num-generations", "2", "--max-new-tokens", "4", "--max-prompt-tokens", "60"]
    rule = ["--rule", "length=4", "--no-curriculum", "--prompt-source", "shipped"]
    preset = ["--preset", "tiny-grpo", "--max-steps", "1"]
    assert main(["train", *preset, *work, *rule, "--model", "model.gguf", "--output-dir", "run"]) == 0
    assert len(read_metrics(tmp_path / "run" / "metrics.jsonl")) == 1
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    few = ["--num-prompts", "2", "--reference-samples", "2", "--perplexity-texts", "1"]
    assert main(["evaluate", "../run", *few, "--json", "report.json"]) == 0
    assert "weights of the reference from model.gguf (F32)" in capsys.readouterr().out
    assert json.loads((tmp_path / "elsewhere" / "report.json").read_text())["weights_from"] == "model.gguf (F32)"


def truncated(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


REFUSED = {
    "not there": (lambda file: file.unlink(), "is not there"),
    "another format": (lambda file: file.write_bytes(b"PK\x03\x04" + bytes(100)), "is no GGUF file"),
    "empty": (lambda file: file.write_bytes(b""), "is no GGUF file"),
    "the word alone": (lambda file: file.write_bytes(b"GGUF"), "is it whole"),
    "half of it": (truncated, "is it whole"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_damaged_files_are_refused_in_one_line(llama, tmp_path, capsys, case):
    change, message = REFUSED[case]
    write_gguf(llama, tmp_path / "model.gguf")
    change(tmp_path / "model.gguf")
    assert main(["train", "--model", str(tmp_path / "model.gguf"), "--output-dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and message in error and "model.gguf" in error
    assert not (tmp_path / "run").exists() and not list((tmp_path / "cache").glob("*"))


def scaled(writer):
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("m.gguf", {"cut": "exaone4"}, "cuts text into words as 'exaone4', which is not known here"),
        ("m.gguf", {"cut": ""}, "cuts text into words as 'it does not say'"),
        (
            "m.gguf",
            {"more": lambda w: w.add_rope_scaling_type(gguf.RopeScalingType.YARN)},
            "has scaled rotary positions, which transformers",
        ),
        ("m.gguf", {"more": lambda w: w.add_logit_scale(0.5)}, "has logit_scale=0.5, which transformers does not read"),
        ("m.gguf", {"more": lambda w: w.add_type("mmproj")}, "no model of its own, but the kind 'mmproj'"),
        ("m-00001-of-00003.gguf", {}, "one of 3 pieces; join them first"),
    ],
    ids=["cut", "no cut", "positions", "scale", "projector", "piece"],
)
def test_what_would_be_read_wrongly_is_refused(llama, tmp_path, name, options, message):
    write_gguf(llama, tmp_path / name, **options)
    with pytest.raises(ModelError, match=message):
        load_model(str(tmp_path / name))


def test_other_architectures_and_files_without_a_tokenizer_are_refused(tmp_path):
    def bare(architecture, with_tokenizer):
        writer = gguf.GGUFWriter(tmp_path / "m.gguf", architecture)
        if with_tokenizer:
            writer.add_tokenizer_model("gpt2")
        writer.add_tensor("token_embd.weight", torch.zeros(4, 4).numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with pytest.raises(ModelError) as caught:
            load_model(str(tmp_path / "m.gguf"))
        return str(caught.value)

    assert "holds no tokenizer" in bare("llama", False)
    assert "an architecture (rwkv6) that transformers reads from GGUF" in bare("rwkv6", True)


@pytest.mark.parametrize("name", ["gpt-2", "smollm", "qwen2"])
def test_ways_to_cut_are_those_that_are_written(tmp_path, name):
    state = json.loads(way_to_cut(name, tmp_path).__getstate__())
    assert word_cutter(state) == name


def test_an_error_without_a_word_is_told_in_one_line(llama, tmp_path, monkeypatch):
    def wordless(*args, **kwargs):
        raise RuntimeError

    write_gguf(llama, tmp_path / "model.gguf")
    monkeypatch.setattr(gguf_files.AutoModelForCausalLM, "from_pretrained", wordless)
    with pytest.raises(ModelError, match=r"cannot be read \(RuntimeError: \); is it whole"):
        load_model(str(tmp_path / "model.gguf"))
