"""A GGUF file, the format of llama.cpp, as a model folder: converted once, into the cache."""

import hashlib
import importlib.util
import json
import logging
import re
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from policy_gradients.language.cache import cached
from policy_gradients.language.files import read_text
from policy_gradients.language.limits import ModelError

ORIGIN = "gguf.json"  # beside the converted weights: the file that they are from
WHOLE_TOKENIZER = "tokenizer.huggingface.json"  # the GGUF key for a tokenizer.json, where no name would say it
CHANGES = re.compile("scale|softcap|sliding|alibi|clamp")  # in the name of a setting: what a model computes
NEEDED = "reading a GGUF file needs the package gguf: `pip install gguf`"

# A file names its way of cutting text into words, and no more: these are the ways of the models that brought the names
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")

logger = logging.getLogger(__name__)


def is_gguf(name: str) -> bool:
    """Whether a model's name is that of a GGUF file, there or not."""
    return name.lower().endswith(".gguf") and not Path(name).is_dir()


def gguf_folder(file: Path) -> Path:
    """A model folder made from the file, in the cache: another file, or another version of it, gets its own.

    Raises:
        ModelError: it is not there, no whole GGUF file, no causal language model that transformers reads, or `gguf` is
            not installed.
    """
    if not file.is_file():
        raise ModelError(f"model file {file} is not there")
    stat = file.stat()
    version = hashlib.sha256(f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:12]
    stem = re.sub(r"[^\w.-]", "_", file.stem)[:80]
    return cached(f"gguf-{stem}-{version}", lambda folder: convert_gguf(file, folder))


def origin(folder: str | Path) -> str | None:
    """What a converted folder's weights are from, such as "SmolLM2.Q4_1.gguf (Q4_1, F32)"; None if it is no such."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(read_text(Path(folder) / ORIGIN))
        return f"{found['file']} ({', '.join(found['kinds'])})"
    return None


def convert_gguf(file: Path, folder: Path) -> None:
    """Write a model folder (float32 safetensors, tokenizer, chat template) from a GGUF file.

    Weights of few bits are a scale times whole numbers, block by block; what they decode to is what training starts
    from. A head that is the embeddings stays that.

    Raises:
        ModelError: as `gguf_folder`.
    """
    told = _described(file)
    logger.warning("converting %s, once, into %s", file.name, folder.parent)
    source = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        quantised, report = AutoModelForCausalLM.from_pretrained(
            **source, dtype=torch.float32, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(**source)
    except Exception as error:  # gguf, struct, numpy and transformers each raise their own kinds, some without a word
        [said] = str(error).strip().splitlines()[:1] or [""]
        raise ModelError(
            f"{file} cannot be read ({type(error).__name__}: {said[:200]}); is it whole, "
            f"and an architecture ({told['architecture']}) that transformers reads from GGUF?"
        ) from None
    if missing := sorted(report["missing_keys"]):
        raise ModelError(f"{file} is damaged: {len(missing)} weights are missing, such as {missing[0]}")
    config = quantised.config
    _require_all_read(file, told, config)
    with suppress(AttributeError):
        del config.quantization_config  # the weights are whole numbers no longer, and may be saved
    config.architectures = [type(quantised).__name__]
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantised.state_dict())
    model.generation_config = quantised.generation_config
    if told["ends"]:
        model.generation_config.eos_token_id = told["ends"]
    model.save_pretrained(folder)
    if told["whole_tokenizer"]:
        specials = {name: tokenizer.special_tokens_map.get(name) for name in ("bos_token", "eos_token", "pad_token")}
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(told["whole_tokenizer"]),
            chat_template=tokenizer.chat_template,
            **{name: token for name, token in specials.items() if token is not None},
        )
    elif told["tokenizer"] == "gpt2":
        tokenizer.backend_tokenizer.pre_tokenizer = way_to_cut(told["cut"], file)
    tokenizer.save_pretrained(folder)
    (folder / ORIGIN).write_text(json.dumps({"file": file.name, "kinds": told["kinds"]}) + "\n", encoding="utf-8")


def way_to_cut(name: str, file: Path) -> Any:
    """How text is cut into words before a byte-level tokenizer merges bytes, by llama.cpp's name for it.

    Raises:
        ModelError: the name of a way that is not known here: other words, other tokens.
    """
    if name in ("gpt-2", "phi-2"):
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if name in ("smollm", "starcoder", "command-r"):  # every digit is cut off before words are cut
        return pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    patterns = {"qwen2": _QWEN2, "deepseek-r1-qwen": _QWEN2, "llama-bpe": _LLAMA3, "llama3": _LLAMA3}
    if name not in patterns:
        raise ModelError(
            f"{file} cuts text into words as {name or 'it does not say'!r}, which is not known here "
            f"({', '.join(['gpt-2', 'smollm', *patterns])} are); take the model's own folder, with safetensors"
        )
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(patterns[name]), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _described(file: Path) -> dict[str, Any]:
    """What a file says of itself, so that what cannot be read is refused in words before anything is built."""
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(NEEDED)
    import gguf

    if pieces := re.search(r"-\d{5}-of-(\d{5})\.gguf$", file.name, re.IGNORECASE):
        raise ModelError(f"{file} is one of {int(pieces[1])} pieces; join them first (llama-gguf-split --merge)")
    try:
        with file.open("rb") as opened:
            if opened.read(4) != b"GGUF":
                raise ModelError(f"{file} is no GGUF file: it does not begin with that word")
        reader = gguf.GGUFReader(str(file))
        text = {name: _text(reader, name) for name in (
            "general.architecture", "general.type", "tokenizer.ggml.model", "tokenizer.ggml.pre",
        )}  # fmt: skip
    except ModelError:
        raise
    except Exception as error:  # of a damaged file: struct, numpy, mmap and gguf each raise their own kinds
        raise ModelError(f"{file} cannot be read ({type(error).__name__}: {error}); is it whole?") from None
    architecture = text["general.architecture"] or "unnamed"
    if text["general.type"] not in ("", "model"):
        raise ModelError(f"{file} holds no model of its own, but the kind {text['general.type']!r}")
    if not text["tokenizer.ggml.model"] or text["tokenizer.ggml.model"] == "no_vocab":
        raise ModelError(f"{file} holds no tokenizer, so nothing could be written with it")
    counts: Counter[str] = Counter()
    for tensor in reader.tensors:
        counts[tensor.tensor_type.name] += int(tensor.n_elements)
    return {
        "architecture": architecture,
        "tokenizer": text["tokenizer.ggml.model"],
        "cut": text["tokenizer.ggml.pre"],
        "whole_tokenizer": _text(reader, WHOLE_TOKENIZER),
        "ends": [
            int(field.parts[field.data[0]][0])  # of the document or the turn, and of the turn where they are two
            for end in ("eos", "eot")
            if (field := reader.get_field(f"tokenizer.ggml.{end}_token_id")) is not None
        ],
        "kinds": [kind for kind, _ in counts.most_common()],
        "unread": _unread(reader, architecture),
        "scaled_positions": _text(reader, f"{architecture}.rope.scaling.type") not in ("", "none")
        or any(tensor.name.startswith("rope_freqs") for tensor in reader.tensors),
    }


def _unread(reader: Any, architecture: str) -> dict[str, Any]:
    """Settings in the file that change what its model computes, and that transformers does not read."""
    try:
        from transformers.integrations.ggml import GGUF_CONFIG_MAPPING
    except ImportError:  # another version of transformers keeps it elsewhere
        return {}
    read = GGUF_CONFIG_MAPPING.get(architecture, {})
    own = (name.removeprefix(f"{architecture}.") for name in reader.fields if name.startswith(f"{architecture}."))
    changing = (name for name in own if name not in read and CHANGES.search(name) and "rope" not in name)
    fields = {name: reader.get_field(f"{architecture}.{name}") for name in changing}
    return {name: field.parts[field.data[0]].tolist()[0] for name, field in fields.items()}


def _text(reader: Any, name: str) -> str:
    field = reader.get_field(name)
    return bytes(field.parts[field.data[0]]).decode("utf-8", "replace") if field is not None and field.data else ""


def _require_all_read(file: Path, told: dict[str, Any], config: Any) -> None:
    """Raise ModelError where the file says of what its model computes something else than the config that was read."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    unread = [
        f"{name}={value}"
        for name, value in told["unread"].items()
        if getattr(config, name.split(".")[-1], None) != value
    ]
    if told["scaled_positions"] and rope.get("rope_type", rope.get("type", "default")) == "default":
        unread.append("scaled rotary positions")
    if unread:
        raise ModelError(
            f"{file} has {', '.join(unread)}, which transformers does not read from GGUF; take the model's own folder, "
            "with safetensors"
        )
