"""A model folder that anybody's `AutoModelForCausalLM` and `AutoTokenizer` read as the model that was trained."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from policy_gradients.language.limits import ModelError
from policy_gradients.language.models import end_token_ids

PROBES = (
    "The river is long.\nIt is 1,917 km – naïve?",
    "<|im_start|>user\nContinue this text. It's 12³ m²: 東京 😀<|im_end|>\n",
    "  two  spaces, a\ttab and don't",
)
# alone in its process, without anything of this package: what a stranger does with the folder
_READ = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, texts = sys.argv[1], json.load(sys.stdin)
tokenizer = AutoTokenizer.from_pretrained(folder)
ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
with torch.no_grad():
    last = [model(torch.tensor([row])).logits[0, -1].double().log_softmax(-1).tolist() for row in ids]
keys = ("do_sample", "temperature", "top_p", "top_k", "eos_token_id", "pad_token_id")
generation = {key: getattr(model.generation_config, key) for key in keys}
print("\\n" + json.dumps({"ids": ids, "last": last, "generation": generation}))
"""


def export_model(
    model: PreTrainedModel,
    tokenizer: Any,
    folder: Path,
    temperature: float = 1.0,
    state_dict: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write weights, tokenizer and a generation config that samples as in training, into an existing folder.

    transformers 5 loads Qwen2's own tokenizer for every Qwen2 model, with Qwen2's way of cutting words in place of the
    one in `tokenizer.json`. So a Qwen2 model with a generic tokenizer is written as the Llama that it is: with biases
    in its attention, of which the output's is zero.

    Args:
        temperature: that completions were sampled at.
        state_dict: weights in place of the model's own, which may be in shares.
    """
    weights = model.state_dict() if state_dict is None else state_dict
    generation = _sampling(model, tokenizer, temperature)
    if model.config.model_type == "qwen2" and _is_generic(tokenizer) and not model.config.use_sliding_window:
        model, weights = _as_llama(model, weights)
    kept, model.generation_config = model.generation_config, generation
    try:
        model.save_pretrained(folder, state_dict=weights)
    finally:
        model.generation_config = kept
    tokenizer.save_pretrained(folder)


def check_export(folder: Path, model: PreTrainedModel, tokenizer: Any, texts: Sequence[str] = PROBES) -> None:
    """Load a folder in a fresh process, as anybody would, and compare its tokens and log-probs with the model at hand.

    Raises:
        ModelError: it does not load, or is not the same; the message says in what.
    """
    texts = [text for text in texts if text]
    command = [sys.executable, "-c", _READ, str(Path(folder).absolute())]
    done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        raise ModelError(f"the exported {folder} does not load ({reason[-1] if reason else done.returncode})")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    wanted = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    same = sum(a == b for a, b in zip(found["ids"], wanted, strict=True))
    if same < len(texts):
        raise ModelError(f"AutoTokenizer of the exported {folder} encodes {same} of {len(texts)} texts as training did")
    device = next(model.parameters()).device
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        for ids, last in zip(wanted, found["last"], strict=True):
            own = model(torch.tensor([ids], device=device)).logits[0, -1].double().log_softmax(-1).cpu()
            off = (own - torch.tensor(last, dtype=torch.double)).abs().max().item()
            if not off <= 1e-3:
                raise ModelError(f"the exported {folder} is another model: its log-probs differ by {off:.2g} nats")
    ends = found["generation"]["eos_token_id"]
    if (ends if isinstance(ends, list) else [ends]) != end_token_ids(model, tokenizer):
        raise ModelError(
            f"the exported {folder} ends completions at {ends}, training at {end_token_ids(model, tokenizer)}"
        )


def _sampling(model: PreTrainedModel, tokenizer: Any, temperature: float) -> GenerationConfig:
    return GenerationConfig(
        do_sample=True,
        temperature=temperature,
        top_p=1.0,
        top_k=0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=end_token_ids(model, tokenizer),
        pad_token_id=tokenizer.pad_token_id,
    )


def _is_generic(tokenizer: Any) -> bool:
    return type(tokenizer).__name__ in ("TokenizersBackend", "PreTrainedTokenizerFast")


def _as_llama(
    model: PreTrainedModel, weights: dict[str, torch.Tensor]
) -> tuple[PreTrainedModel, dict[str, torch.Tensor]]:
    """A Qwen2 model and its weights as the Llama that computes the same."""
    kept = model.config.to_dict()
    names = (
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings",
        "rope_parameters", "rope_theta", "rope_scaling", "bos_token_id", "eos_token_id", "pad_token_id", "use_cache",
    )  # fmt: skip
    config = LlamaConfig(**{name: kept[name] for name in names if name in kept}, attention_bias=True, mlp_bias=False)
    config.head_dim = kept["hidden_size"] // kept["num_attention_heads"]
    with torch.device("meta"):
        llama = LlamaForCausalLM(config)
    llama = llama.to(model.dtype)
    weights = dict(weights)
    for block in range(config.num_hidden_layers):
        weight = weights[f"model.layers.{block}.self_attn.o_proj.weight"]
        weights[f"model.layers.{block}.self_attn.o_proj.bias"] = weight.new_zeros(config.hidden_size)
    llama.load_state_dict(weights, assign=True)
    llama.tie_weights()
    return llama, llama.state_dict()
