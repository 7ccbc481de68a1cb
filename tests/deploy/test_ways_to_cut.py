"""The names by which GGUF files tell how text is cut into words: ours against llama.cpp's own tokens."""

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from policy_gradients.deploy.client import Client
from policy_gradients.deploy.gguf_file import write_gguf
from policy_gradients.deploy.servers import ServerOptions, start_server
from policy_gradients.language.gguf_files import way_to_cut
from policy_gradients.language.text import shipped_excerpts

gguf = pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

TEXTS = [
    "In 1937, the river's 2 banks  rose\nby 12345.5 metres (I'd SAY: it's 3).",
    'a1b22c333d4444 \t x\r\n\r\n  y   z\n \n!!! ...--"quoted"',
    "Naïve Ελληνικά, 日本の2つ; नमस्ते ١٢٣ ½³ 'S 'LL don't DON'T",
    "   lead and trail   ",
]


@pytest.fixture(scope="module")
def greedy():
    """A tokenizer whose merges cross every border of words, so that only a cut keeps tokens apart."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"[\s\S]{1,6}"), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1500, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator([*shipped_excerpts("train")[:500], *(TEXTS * 20)], trainer)
    return tokenizer


@pytest.mark.parametrize(
    "name",
    ["gpt-2", "phi-2", "smollm", "starcoder", "command-r", "qwen2", "deepseek-r1-qwen", "llama-bpe", "llama3"],
)
def test_ours_are_llama_cpp_s(greedy, tmp_path, monkeypatch, name):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=greedy.get_vocab_size(), hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=True,
    )  # fmt: skip
    ours = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(greedy.to_str()), eos_token="<|end|>", pad_token="<|end|>"
    )
    monkeypatch.setattr("policy_gradients.deploy.gguf_file.word_cutter", lambda spec: name)
    write_gguf(LlamaForCausalLM(config), ours, tmp_path / "model.gguf")
    ours.backend_tokenizer.pre_tokenizer = way_to_cut(name, tmp_path)
    with start_server(tmp_path / "model.gguf", options=ServerOptions(port=0, threads=1)) as server:
        client = Client(server.url)
        for text in TEXTS:
            assert client.tokenize(text) == ours.encode(text), text


def test_the_texts_tell_the_ways_apart(greedy, tmp_path):
    seen = set()
    for name in ("gpt-2", "smollm", "qwen2", "llama-bpe"):
        tokenizer = Tokenizer.from_str(greedy.to_str())
        tokenizer.pre_tokenizer = way_to_cut(name, tmp_path)
        seen.add(tuple(tuple(tokenizer.encode(text).ids) for text in TEXTS))
    assert len(seen) == 4
