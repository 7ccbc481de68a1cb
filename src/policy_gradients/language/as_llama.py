"""A Qwen2 model in the words of a Llama, and back: the same function, bit by bit, read by more programs.

transformers 5 loads Qwen2's own tokenizer for every Qwen2 model, with Qwen2's way of cutting words in place of the one
in `tokenizer.json`. Of a Llama it reads what the files say. The two differ in their attention's biases alone: a Llama
that has them has one for the output too, which is zero here.
"""

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

TRAINED_AS = "trained_as"  # in the config of the Llama: what it was, and becomes again when this library loads it
_SHARED = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings",
    "rope_parameters", "rope_theta", "rope_scaling", "bos_token_id", "eos_token_id", "pad_token_id", "use_cache",
    "attention_dropout", "initializer_range",
)  # fmt: skip
_OUTPUT_BIAS = "self_attn.o_proj.bias"


def has_llama(model: PreTrainedModel) -> bool:
    """Whether there is a Llama that computes what this model does: a Qwen2 without sliding windows."""
    return model.config.model_type == "qwen2" and not model.config.use_sliding_window


def llama_of(
    model: PreTrainedModel, weights: dict[str, torch.Tensor]
) -> tuple[LlamaForCausalLM, dict[str, torch.Tensor]]:
    """A Qwen2 model and its weights as the Llama that computes the same."""
    shared = _shared(model)
    config = LlamaConfig(**shared, attention_bias=True, mlp_bias=False)
    config.head_dim = shared["hidden_size"] // shared["num_attention_heads"]
    setattr(config, TRAINED_AS, "qwen2")
    weights = dict(weights)
    for block in range(config.num_hidden_layers):
        weight = weights[f"model.layers.{block}.self_attn.o_proj.weight"]
        weights[f"model.layers.{block}.{_OUTPUT_BIAS}"] = weight.new_zeros(config.hidden_size)
    llama = _made(LlamaForCausalLM, config, weights)
    return llama, llama.state_dict()


def as_trained(model: PreTrainedModel) -> PreTrainedModel:
    """The Qwen2 model that was written as this Llama; any other model as it is.

    Training then moves the weights that it moved before: a Llama would have more of them. One whose output biases were
    trained elsewhere stays a Llama.
    """
    if model.config.model_type != "llama" or getattr(model.config, TRAINED_AS, None) != "qwen2":
        return model
    weights = model.state_dict()
    if any(weights.pop(name).any() for name in [name for name in weights if name.endswith(_OUTPUT_BIAS)]):
        return model
    qwen2 = _made(Qwen2ForCausalLM, Qwen2Config(**_shared(model)), weights)
    qwen2.generation_config = model.generation_config
    return qwen2.train(model.training)


def _shared(model: PreTrainedModel) -> dict[str, Any]:
    kept = model.config.to_dict()
    return {name: kept[name] for name in _SHARED if name in kept}


def _made(kind: Any, config: Any, weights: dict[str, torch.Tensor]) -> Any:
    """A model around weights that exist already, without drawing others first."""
    with torch.device("meta"):
        model = kind(config)
    model.load_state_dict(weights, assign=True)
    model.tie_weights()
    model.model.rotary_emb = type(model.model.rotary_emb)(config)  # a buffer that no file holds
    return model
