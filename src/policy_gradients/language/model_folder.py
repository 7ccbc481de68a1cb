"""What a model folder must not hold: looked at before anything in it is loaded or built."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from policy_gradients.language.files import read_text
from policy_gradients.language.limits import ModelError

MOST_LAYERS = 2000
SLACK = 16  # a config may promise so many weights for each byte of them: 4 bits each, and room for what is shared


def require_model_folder(folder: Path) -> None:
    """Raise ModelError for a folder that holds something else than a model, weights that are never read, or a config
    that asks for far more than its weights."""
    if not folder.is_dir():
        return
    if (folder / "metrics.jsonl").is_file() and (folder / "model").is_dir():
        raise ModelError(f"model folder {folder} is the folder of a run; give the model in it, {folder / 'model'}")
    if (folder / "adapter_config.json").is_file() or any(folder.glob("adapter_model.*")):
        raise ModelError(
            f"model folder {folder} holds an adapter without its model: merge them (peft: "
            "AutoPeftModelForCausalLM.from_pretrained(FOLDER).merge_and_unload().save_pretrained(NEW)) "
            "and give the new folder"
        )
    if not any(folder.glob("*.safetensors")):
        _require_no_others(folder)
    for index in sorted(folder.glob("*.safetensors.index.json")):
        _require_safetensors(index)
    if (folder / "config.json").is_file():
        _require_size(folder)


def _require_no_others(folder: Path) -> None:
    """Raise ModelError, with the way out, where the weights are of a kind that is never read."""
    if any(folder.glob("pytorch_model*.bin*")):
        raise ModelError(
            f"model folder {folder} cannot be loaded: its weights are a pickle (.bin), which may run code and is not "
            "read; AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW) makes safetensors of it"
        )
    if files := sorted(folder.glob("*.gguf")):
        raise ModelError(f"model folder {folder} holds a GGUF file; give the file itself: {files[0]}")
    kinds = ("*.pth", "*.pt", "*.bin", "*.h5")
    if others := sorted(path.name for kind in kinds for path in folder.glob(kind)):
        raise ModelError(
            f"model folder {folder} cannot be loaded: it holds {others[0]}, and safetensors alone are read; write it "
            "again with save_pretrained of transformers"
        )


def _require_safetensors(index: Path) -> None:
    """Raise ModelError unless an index names files of safetensors beside it, and nothing else."""
    named = _json(index).get("weight_map")
    if not isinstance(named, dict):
        raise ModelError(f"{index} names no files of weights")
    for name in named.values():
        if not isinstance(name, str) or not name.endswith(".safetensors") or Path(name).name != name:
            raise ModelError(f"{index} names {name!r}, which is no safetensors file in its folder, and is not read")
        if not (index.parent / name).is_file():
            raise ModelError(f"{index} names {name}, which is not there; is the folder complete?")


def _require_size(folder: Path) -> None:
    """Raise ModelError if the config's architecture is far larger than the weights: to build it could take for ever."""
    held = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    for part in _parts(_json(folder / "config.json")):
        layers, width, inner, words, positions = (
            max((part[name] for name in names if _is_count(part.get(name))), default=0)
            for names in (
                ("num_hidden_layers", "n_layer", "num_layers"), ("hidden_size", "n_embd", "d_model"),
                ("intermediate_size", "n_inner"), ("vocab_size",), ("n_positions",),
            )
        )  # fmt: skip
        weights = layers * width * (width + inner) + (words + positions) * width
        if layers > MOST_LAYERS or (held and weights > SLACK * held):
            raise ModelError(
                f"model folder {folder}: its config.json asks for {layers} layers and {weights:.2g} weights or more "
                f"({4e-9 * weights:.2g} GB), and its files hold {held:.2g} bytes; put its own config back"
            )


def _parts(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A config, and those inside it, as of a model that also sees."""
    yield config
    for value in config.values():
        if isinstance(value, dict):
            yield value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_text(file))
    except (OSError, ValueError, RecursionError) as error:
        kind = "no readable config.json" if file.name == "config.json" else f"no readable {file.name}"
        raise ModelError(f"model folder {file.parent}: {kind} ({type(error).__name__}: {error})") from None
    if not isinstance(found, dict):
        raise ModelError(f"model folder {file.parent}: no readable {file.name} (it holds no object)")
    return found
