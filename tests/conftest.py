import json
import os

# For the processes that tests start, too: where several workers share the cores, two threads each wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from policy_gradients.evaluation.evaluate import without_nan
from policy_gradients.language.files import write_whole
from policy_gradients.language.text import shipped_articles
from policy_gradients.studies.runs import run_path, summary
from policy_gradients.training.pretrain import train_tokenizer

torch.set_num_threads(1)  # micro models are faster on one, and runs repeat bit by bit


def micro_model(architecture: str, vocab_size: int, eos_token_id: int, pad_token_id: int):
    """A few thousand random parameters in the real architecture, in float64 for exact tests."""
    torch.manual_seed(0)
    shared = {
        "vocab_size": vocab_size,
        "eos_token_id": eos_token_id,
        "pad_token_id": pad_token_id,
        "bos_token_id": None,
    }
    if architecture == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=128, **shared))
    else:
        config, kind = {"qwen2": (Qwen2Config, Qwen2ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}[
            architecture
        ]
        model = kind(
            config(
                hidden_size=32,
                num_hidden_layers=2,
                intermediate_size=48,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=512,
                tie_word_embeddings=architecture == "qwen2",
                **shared,
            )
        )
    for parameter in model.parameters():  # larger than the usual initialisation: distributions that are not uniform
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.double().eval()


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer([article["text"] for article in shipped_articles("heldout")][:100], vocab_size=400)


@pytest.fixture(scope="session", params=["qwen2", "llama", "gpt2"])
def any_model(request, tokenizer):
    return micro_model(request.param, len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id)


@pytest.fixture(scope="session")
def micro_folder(tokenizer, tmp_path_factory):
    """A model folder as `from_pretrained` reads it: Qwen2 with random weights."""
    folder = tmp_path_factory.mktemp("micro")
    micro_model("qwen2", len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id).float().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def made_run(study, arm: str, seed: int, rates: list[float]) -> dict:
    """What is kept of a run that nobody did, with these strict rates; the rest follows from them."""
    rows = [
        {
            "strict_rate": rate, "train_reward": rate, "reward_std": (rate * (1 - rate)) ** 0.5, "entropy": 2 - rate,
            "entropy_weight": 0.01, "zero_variance_share": 0.5, "distinct_share": 1.0, "mean_length": 30.0,
            "kl": 5 * rate, "kl_weight": 0.0, "tolerance": 0, "seconds": 0.5,
        }
        for rate in rates
    ]  # fmt: skip
    tuned = {
        "pass_rate": rates[-1], "distinct_completions": 90, "largest_shape_share": 0.1, "entropy": 2 - rates[-1],
        "kl_to_reference": 5 * rates[-1], "kl_standard_error": 0.1, "reference_nll_per_token": 1.9,
    }  # fmt: skip
    report = {"tuned": tuned, "perplexity_increase": 0.1, "reference_pass_rate": 0.1, "num_prompts": study.num_prompts,
              "completions": [{"after": {"text": f"Made up, {seed}."}}]}  # fmt: skip
    return without_nan(summary(study, arm, seed, rows, report))


@pytest.fixture
def make_run():
    return made_run


@pytest.fixture
def write_runs():
    """(study, folder, {(arm, seed): strict rates}): a folder of runs that nobody did."""

    def write(study, folder, rates):
        for (arm, seed), of_run in rates.items():
            path = run_path(folder, arm, seed)
            path.parent.mkdir(parents=True)
            write_whole(path, json.dumps(made_run(study, arm, seed, of_run)).encode())

    return write
