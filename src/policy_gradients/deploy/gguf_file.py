"""A model as one GGUF file, the format of llama.cpp: weights, tokenizer, chat template, and how to sample."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from policy_gradients.deploy.needs import DeployError, need
from policy_gradients.language.gguf_files import WHOLE_TOKENIZER
from policy_gradients.language.limits import position_limit
from policy_gradients.language.models import end_token_ids, vocabulary_size

DTYPES = ("f32", "f16", "q8_0", "q4_0")
BLOCK = 32  # weights that share a scale in q8_0 and q4_0
ARCHITECTURES = ("llama", "qwen2")


def write_gguf(model: PreTrainedModel, tokenizer: Any, file: Path, dtype: str = "f32", temperature: float = 1.0) -> str:
    """Write a Llama or Qwen2 model as a GGUF file.

    Matrices get `dtype`; vectors (norms, biases), and matrices whose rows do not divide into blocks, stay float32.

    Args:
        temperature: of training. The file names it, with top_p = 1, top_k = 0 and min_p = 0: a llama.cpp server takes
            its own 0.8, 0.95, 40 and 0.05 where neither the file nor the request says otherwise.

    Returns:
        The name of the way to cut text into words that the file gives llama.cpp; "" if it knows none like this
        tokenizer's, so that only prompts of token ids arrive as they were meant.

    Raises:
        DeployError: another architecture, or a variant of these that the file could not describe.
    """
    gguf = need("gguf", "writing a GGUF file")
    if dtype not in DTYPES:
        raise DeployError(f"dtype of a GGUF file must be one of {', '.join(DTYPES)}, got {dtype!r}")
    config = model.config
    _require_plain(config)
    writer = gguf.GGUFWriter(str(file), config.model_type)
    _write_shape(writer, model)
    cut = _write_tokenizer(gguf, writer, model, tokenizer)
    writer.add_sampling_temp(temperature)
    writer.add_sampling_top_p(1.0)
    writer.add_sampling_top_k(0)
    writer.add_sampling_min_p(0.0)
    _write_weights(gguf, writer, model, dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return cut


def _require_plain(config: Any) -> None:
    kind = config.model_type
    if kind not in ARCHITECTURES:
        raise DeployError(
            f"a {kind} model is not written as GGUF here, only {' and '.join(ARCHITECTURES)}; export it with "
            "--format hf and serve it with --server vllm or transformers"
        )
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    if rope.get("rope_type", "default") != "default":
        raise DeployError(f"rotary positions of type {rope['rope_type']!r} are not written as GGUF here")
    if getattr(config, "use_sliding_window", False):
        raise DeployError("a sliding window of attention is not written as GGUF here")


def _write_shape(writer: Any, model: PreTrainedModel) -> None:
    config = model.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rope = getattr(config, "rope_parameters", None) or {}
    writer.add_context_length(position_limit(model))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(float(rope.get("rope_theta") or getattr(config, "rope_theta", 10000.0)))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(vocabulary_size(model))


def _write_tokenizer(gguf: Any, writer: Any, model: PreTrainedModel, tokenizer: Any) -> str:
    spec = json.loads(tokenizer.backend_tokenizer.to_str()) if hasattr(tokenizer, "backend_tokenizer") else {}
    if spec.get("model", {}).get("type") != "BPE":
        raise DeployError("only a byte-level BPE tokenizer is written as GGUF here; export with --format hf")
    names = {i: name for name, i in tokenizer.get_vocab().items()}
    added = {token["id"]: token["special"] for token in spec["added_tokens"]}
    tokens, types = [], []
    for i in range(vocabulary_size(model)):
        tokens.append(names.get(i, f"<unused {i}>"))  # a head may have more rows than the tokenizer has tokens
        kind = "UNUSED" if i not in names else "NORMAL" if i not in added else "CONTROL" if added[i] else "USER_DEFINED"
        types.append(gguf.TokenType[kind])
    cut = word_cutter(spec["pre_tokenizer"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(cut or "gpt-2")
    if not cut:  # llama.cpp does not read it, `load_model` does
        writer.add_string(WHOLE_TOKENIZER, tokenizer.backend_tokenizer.to_str())
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in spec["model"]["merges"]])
    ends = end_token_ids(model, tokenizer)
    main = tokenizer.eos_token_id if tokenizer.eos_token_id in ends else ends[0]
    writer.add_eos_token_id(main)
    if others := [i for i in ends if i != main]:
        writer.add_eot_token_id(others[0])
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(False)  # the chat template writes whatever a prompt begins with
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)
    return cut


def word_cutter(pre_tokenizer: dict[str, Any] | None) -> str:
    """llama.cpp's name for a tokenizer's way of cutting words, "" if it has none: it knows a list of them, and no
    other."""
    parts = (pre_tokenizer or {}).get("pretokenizers") or [pre_tokenizer or {}]
    kinds = [part.get("type") for part in parts]
    if kinds == ["ByteLevel"] and parts[0].get("use_regex", True):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and parts[0]["individual_digits"] and parts[1].get("use_regex", True):
        return "smollm"
    pattern = parts[0].get("pattern", {}).get("Regex", "") if kinds == ["Split", "ByteLevel"] else ""
    if pattern.startswith("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"):
        return "qwen2"
    return ""


def _write_weights(gguf: Any, writer: Any, model: PreTrainedModel, dtype: str) -> None:
    config = model.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[config.model_type.upper()], config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue  # llama.cpp takes the embeddings where there is no head
        module, _, kind = name.rpartition(".")
        known = names.get_name(module)
        if known is None:
            raise DeployError(f"the weight {name} has no place in a GGUF file of a {config.model_type} model")
        weight = tensor.detach().to("cpu", torch.float32).numpy()
        if config.model_type == "llama" and (part := module.rpartition(".")[2]) in heads:
            weight = _interleaved(weight, heads[part])
        array, stored = _stored(gguf, weight, dtype)
        writer.add_tensor(f"{known}.{kind}", array, raw_dtype=stored)
    kinds = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0", "q4_0": "MOSTLY_Q4_0"}
    writer.add_file_type(gguf.LlamaFileType[kinds[dtype]])


def _interleaved(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows in the order of llama.cpp's rotary positions for a Llama: pairs side by side, not half a head apart."""
    half = weight.shape[0] // heads // 2
    return np.ascontiguousarray(weight.reshape(heads, 2, half, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape))


def _stored(gguf: Any, weight: NDArray[np.float32], dtype: str) -> tuple[NDArray[Any], Any]:
    if weight.ndim < 2 or dtype == "f32":
        return weight, None
    if dtype == "f16":
        return weight.astype(np.float16), None
    if weight.shape[-1] % BLOCK:
        return weight, None
    kind = gguf.GGMLQuantizationType[dtype.upper()]
    return gguf.quants.quantize(weight, kind), kind
