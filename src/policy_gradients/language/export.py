"""A model folder that anybody's `AutoModelForCausalLM` and `AutoTokenizer` read as the model that was trained."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from policy_gradients.language import as_anybody
from policy_gradients.language.as_llama import has_llama, llama_of
from policy_gradients.language.limits import ModelError, position_limit
from policy_gradients.language.models import end_token_ids, quiet_loading

PROBES = (
    "The river is long.\nIt is 1,917 km – naïve?",
    "<|im_start|>user\nContinue this text. It's 12³ m²: 東京 😀<|im_end|>\n",
    "  two  spaces, a\ttab and don't",
)
TOLERANCE = 1e-3  # nats, of any next token; a GPU's products may be rounded more
GPU_TOLERANCE = 0.05
OWN_READER = "evaluate, sample and policy_gradients' load_model read it as it was trained"


def export_model(
    model: PreTrainedModel,
    tokenizer: Any,
    folder: Path,
    temperature: float = 1.0,
    state_dict: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write weights, tokenizer and a generation config that samples as in training, into an existing folder.

    A Qwen2 model with a generic tokenizer is written as a Llama, for which AutoTokenizer reads the tokenizer's own
    files (`as_llama`).

    Args:
        temperature: that completions were sampled at.
        state_dict: weights in place of the model's own, which may be in shares.
    """
    weights = model.state_dict() if state_dict is None else state_dict
    generation = _sampling(model, tokenizer, temperature)
    if has_llama(model) and _is_generic(tokenizer):
        model, weights = llama_of(model, weights)
    kept, model.generation_config = model.generation_config, generation
    try:
        with quiet_loading():
            model.save_pretrained(folder, state_dict=weights)
    finally:
        model.generation_config = kept
    tokenizer.save_pretrained(folder)


def check_export(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: Any,
    texts: Sequence[str] = PROBES,
    fresh_process: bool = True,
) -> None:
    """Load a folder as anybody would, and compare its tokens, log-probs and ends with those of the model at hand.

    Args:
        texts: whose tokens are compared; of the first three and of `PROBES` the log-probs behind them too.
        fresh_process: in a process that knows nothing of this one, which takes some seconds to start.

    Raises:
        ModelError: it does not load, or is not the same; the message says in what, and what to do.
    """
    texts = [text for text in texts if text]
    wanted = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    probes = [*wanted[:3], *(tokenizer.encode(text, add_special_tokens=False) for text in PROBES)]
    probes = [ids[: position_limit(model)] for ids in probes if ids]
    task = {"texts": texts, "probes": probes, "dtype": str(model.dtype).removeprefix("torch.")}
    found = _read_apart(folder, task) if fresh_process else _read_here(folder, task)
    same = sum(a == b for a, b in zip(found["ids"], wanted, strict=True))
    if same < len(texts):
        raise ModelError(
            f"AutoTokenizer of the exported {folder} encodes {same} of {len(texts)} texts as training did; "
            f"{OWN_READER}, other programs need its tokenizer.json as it is (PreTrainedTokenizerFast.from_pretrained)"
        )
    tolerance = TOLERANCE if next(model.parameters()).device.type == "cpu" else GPU_TOLERANCE
    for ids, last in zip(probes, found["last"], strict=True):
        own = torch.tensor(as_anybody.last_log_probs(model, ids), dtype=torch.double)
        off = (own - torch.tensor(last, dtype=torch.double)).nan_to_num(neginf=-1e9).abs().max().item()
        if not off <= tolerance:
            raise ModelError(
                f"the exported {folder} is another model: its log-probs differ by {off:.2g} nats; do not use it, "
                "export the last checkpoint again (train --resume)"
            )
    ends = found["sampling"]["eos_token_id"]
    if (ends if isinstance(ends, list) else [ends]) != (own_ends := end_token_ids(model, tokenizer)):
        raise ModelError(
            f"the exported {folder} ends completions at {ends}, training at {own_ends}: set eos_token_id in its "
            "generation_config.json"
        )


def _read_apart(folder: Path, task: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, str(Path(as_anybody.__file__)), str(Path(folder).absolute())]
    done = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        raise ModelError(_not_loaded(folder, reason[-1] if reason else f"exit code {done.returncode}"))
    return json.loads(done.stdout.strip().splitlines()[-1])


def _read_here(folder: Path, task: dict[str, Any]) -> dict[str, Any]:
    try:
        with quiet_loading():
            return as_anybody.read(str(folder), **task)
    except Exception as error:  # safetensors, tokenizers and transformers each raise their own kinds
        raise ModelError(_not_loaded(folder, f"{type(error).__name__}: {error}"[:300])) from None


def _not_loaded(folder: Path, reason: str) -> str:
    return f"AutoModelForCausalLM and AutoTokenizer do not load the exported {folder} ({reason})"


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
