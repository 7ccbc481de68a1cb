"""Step one of serving: the trained policy as files that a server reads, and a check that they are the policy."""

import dataclasses
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

from policy_gradients.deploy.client import Client
from policy_gradients.deploy.gguf_file import DTYPES, write_gguf
from policy_gradients.deploy.needs import DeployError, installed, need
from policy_gradients.deploy.servers import ServerOptions, kind_of, start_server
from policy_gradients.language.export import PROBES, check_export, export_model
from policy_gradients.language.models import load_model
from policy_gradients.training.config import load_config
from policy_gradients.training.run_folder import CONFIG, MODEL

FORMATS = {
    "hf": {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16},
    "gguf": dict.fromkeys(DTYPES),
    "bnb8": {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16},
}
EXAMPLE = "The river is long."  # a prompt to try a server with
EXPORTS, NOTE, GGUF = "export", "export.json", "model.gguf"
# largest difference of a log-prob, in nats, that rounding explains; above it something is wrong. Fewer bits have none:
# what they cost is measured, not forbidden.
TOLERANCES = {("gguf", "f32"): 1e-3, ("gguf", "f16"): 0.2}
TOP = 50  # likeliest tokens whose log-probs are compared


@dataclass(frozen=True)
class Exported:
    """What `export_policy` wrote.

    Attributes:
        path: of the GGUF file or the model folder.
        megabytes: of the weights, in 10⁶ bytes.
        difference: largest of a log-prob from the policy's own, in nats, of likely tokens after some texts; NaN
            if nothing here could read the files back.
        cuts_text_alike: whether a server will cut text into the policy's tokens; prompts of token ids are safe always.
    """

    path: Path
    format: str
    dtype: str
    megabytes: float
    difference: float
    cuts_text_alike: bool


def export_policy(
    source: str | Path, format: str = "gguf", dtype: str | None = None, output: str | Path | None = None
) -> Exported:
    """Write the policy of a run (or any model) in a server's format, read it back, and compare.

    Args:
        source: a run's folder, a model folder, or a name that `load_model` knows, such as `tiny` (untuned).
        format: `gguf` (llama.cpp), `hf` (vLLM, transformers), `bnb8` (a folder rounded to 8 bits by bitsandbytes).
        dtype: of the weights: f32, f16, q8_0 or q4_0 (gguf), f32, f16 or bf16 (the others; of what bnb8 leaves as it
            is). None: f32.
        output: an empty or new folder; None: `export/FORMAT-DTYPE` in the source's folder, replaced if it is there.

    Raises:
        DeployError: unknown format or dtype, a folder that holds something else, or files that are not the policy.
        ModelError: the source cannot be loaded, or `check_export` finds a difference.
    """
    dtype = dtype or "f32"
    if format not in FORMATS:
        raise DeployError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    if dtype not in FORMATS[format]:
        raise DeployError(f"dtype of the format {format} must be one of {', '.join(FORMATS[format])}, got {dtype!r}")
    if format == "bnb8":
        with quietly():
            need("bitsandbytes", "rounding to 8 bits")
    weights = model_of(source)
    target = Path(output) if output is not None else exports_of(source) / f"{format}-{dtype}"
    _require_free(target)
    model, tokenizer = load_model(weights)
    temperature = temperature_of(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        with quietly():
            exported = _write(model, tokenizer, partial, format, dtype, temperature)
        note = {"format": format, "dtype": dtype, "temperature": temperature, "of": fingerprint(weights)}
        note |= {"difference": None if exported.difference != exported.difference else exported.difference}
        text = EXAMPLE
        if tokenizer.chat_template:
            chat = [{"role": "user", "content": EXAMPLE}]
            text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        note |= {"example": text, "example_ids": tokenizer.encode(text, add_special_tokens=False)}
        (partial / NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)
        partial.chmod(0o755)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return dataclasses.replace(exported, path=target / exported.path.relative_to(partial))


def _write(
    model: PreTrainedModel, tokenizer: Any, folder: Path, format: str, dtype: str, temperature: float
) -> Exported:
    if format == "gguf":
        cut = write_gguf(model, tokenizer, folder / GGUF, dtype, temperature)
        difference = served_difference(folder / GGUF, model, tokenizer)
        if difference > TOLERANCES.get((format, dtype), float("inf")):
            raise DeployError(f"the GGUF file is another model: its log-probs differ by {difference:.2g} nats")
        return Exported(folder / GGUF, format, dtype, _megabytes(folder), difference, bool(cut))
    half = FORMATS[format][dtype]
    plain = model.to(half)  # the check below compares with the policy as it is rounded here
    if format == "hf":
        export_model(plain, tokenizer, folder, temperature)
        check_export(folder, plain.float(), tokenizer)
        return Exported(folder, format, dtype, _megabytes(folder), 0.0, True)
    difference = _write_bnb8(plain, tokenizer, folder, temperature)
    return Exported(folder, format, dtype, _megabytes(folder), difference, True)


def _write_bnb8(model: PreTrainedModel, tokenizer: Any, folder: Path, temperature: float) -> float:
    with tempfile.TemporaryDirectory() as whole:
        export_model(model, tokenizer, Path(whole), temperature)
        quantized = AutoModelForCausalLM.from_pretrained(
            whole,
            quantization_config=BitsAndBytesConfig(load_in_8bit=True),
            dtype=model.dtype,
            device_map={"": "cuda:0" if torch.cuda.is_available() else "cpu"},
        )
        quantized.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    read, model = load_bnb8(folder), model.float().to(quantized.device)
    differences = []
    for ids in _probe_ids(tokenizer):
        row = torch.tensor([ids], device=model.device)
        with torch.no_grad():
            pair = [m(row).logits[0, -1].double().log_softmax(-1) for m in (model, read)]
        top = pair[0].topk(min(TOP, len(pair[0]))).indices
        differences.append((pair[0] - pair[1])[top].abs().max().item())
    return max(differences)


def load_bnb8(folder: Path) -> PreTrainedModel:
    """The model of a `bnb8` folder.

    `load_model` refuses it, and rightly: bitsandbytes leaves out of its rounding whatever features are large in any
    row of a batch, so that a log-prob depends on what else is in the batch.
    """
    with quietly():
        need("bitsandbytes", "a folder in 8 bits")
        model = AutoModelForCausalLM.from_pretrained(
            folder, device_map={"": "cuda:0" if torch.cuda.is_available() else "cpu"}
        )
    return model.eval()


@contextmanager
def quietly() -> Iterator[None]:
    """Without bars for files that take a second, and without bitsandbytes' warnings, one for each matrix and token, of
    a cast that is meant."""
    loggers = {name: logging.getLogger(name) for name in ("bitsandbytes", "bitsandbytes.autograd._functions")}
    levels, bar = {name: logger.level for name, logger in loggers.items()}, is_progress_bar_enabled()
    for logger in loggers.values():
        logger.setLevel(logging.CRITICAL)
    disable_progress_bar()
    try:
        yield
    finally:
        for name, logger in loggers.items():
            logger.setLevel(levels[name])
        if bar:
            enable_progress_bar()


def _probe_ids(tokenizer: Any) -> list[list[int]]:
    return [tokenizer.encode(text, add_special_tokens=False) for text in PROBES]


def served_difference(file: Path, model: PreTrainedModel, tokenizer: Any) -> float:
    """Largest difference, in nats, of a log-prob of a GGUF file, as llama.cpp computes it, from the model's own.

    Of the likeliest tokens after the probes. NaN where llama.cpp is not installed.
    """
    if not all(map(installed, kind_of("llamacpp").needs)):
        return float("nan")
    differences = [0.0]
    with start_server(file, "llamacpp", ServerOptions(port=0, parallel=1)) as server, Client(server.url) as client:
        for ids in _probe_ids(tokenizer):
            said = _next_token(client, ids)
            if said is None:
                continue
            with torch.no_grad():
                row = torch.tensor([ids], device=model.device)
                own = model(row).logits[0, -1].double().log_softmax(-1)
            differences += [abs(own[token["id"]].item() - token["logprob"]) for token in said["top_logprobs"]]
    return max(differences)


def _next_token(client: Client, ids: list[int]) -> dict[str, Any] | None:
    """The likeliest tokens after a prompt, with log-probs; None where every draw was a piece of a character, of which
    llama.cpp tells nothing."""
    for seed in range(20):
        body = {"prompt": ids, "max_tokens": 1, "logprobs": TOP, "seed": seed}
        told = client.post_or_get("/v1/completions", body)["choices"][0].get("logprobs") or {}
        if told.get("content"):
            return told["content"][0]
    return None


def model_of(source: str | Path) -> str:
    """What `load_model` takes for a run's folder, a model folder, or a model's name.

    Raises:
        DeployError: a run that has no model yet, or a folder that is neither.
    """
    folder = Path(source)
    if not folder.is_dir():
        if folder.suffix or len(folder.parts) > 2:
            raise DeployError(f"{source} is neither a folder nor the name of a model")
        return str(source)
    if (folder / MODEL).is_dir():
        return str(folder / MODEL)
    if (folder / CONFIG).is_file() and any(folder.glob("*.safetensors")):
        return str(folder)
    raise DeployError(f"{source} holds neither a finished run (no {MODEL}/ in it) nor a model")


def temperature_of(source: str | Path) -> float:
    """That a run sampled at; 1 for anything else."""
    folder = Path(source)
    return load_config(folder / CONFIG).temperature if (folder / MODEL).is_dir() else 1.0


def exports_of(source: str | Path) -> Path:
    """Where the exports of a source are kept."""
    folder = Path(source)
    return folder / EXPORTS if folder.is_dir() else Path(EXPORTS, str(source).replace("/", "-"))


def served_path(source: str | Path, server: str, dtype: str | None = None) -> tuple[Path, bool]:
    """What a server reads of a source, exported now unless an export of these very weights is there; whether it is new.

    Args:
        source: as of `export_policy`; or a GGUF file, or an export's folder, which is taken as it is.

    Raises:
        DeployError: it cannot be exported, or is an export of the wrong format.
    """
    wanted, folder = kind_of(server).reads, Path(source)
    if folder.suffix == ".gguf" and folder.is_file():
        folder = folder.parent if (folder.parent / NOTE).is_file() else folder
    if folder.is_file():
        if wanted != "gguf":
            raise DeployError(f"the server {server} reads a model folder, not the GGUF file {source}")
        return folder, False
    if (folder / NOTE).is_file():
        found = read_note(folder)["format"]
        if (found == "gguf") != (wanted == "gguf"):
            raise DeployError(f"{source} is an export in the format {found}; the server {server} reads {wanted}")
        return (folder / GGUF if wanted == "gguf" else folder), False
    dtype = dtype or "f32"
    made = exports_of(source) / f"{wanted}-{dtype}"
    if (made / NOTE).is_file() and read_note(made)["of"] == fingerprint(model_of(source)):
        return (made / GGUF if wanted == "gguf" else made), False
    return export_policy(source, wanted, dtype).path, True


def read_note(folder: Path) -> dict[str, Any]:
    """What an export says of itself.

    Raises:
        DeployError: it is damaged.
    """
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        return {**note, **{key: note[key] for key in ("format", "of", "example", "example_ids")}}
    except (OSError, ValueError, KeyError, TypeError):
        raise DeployError(f"{folder / NOTE} is damaged; export again") from None


def example_prompt(path: Path, url: str, model: str) -> str | list[int]:
    """A prompt to try a server of this export with: text if it cuts that into the policy's tokens, else token ids."""
    folder = path if path.is_dir() else path.parent
    if not (folder / NOTE).is_file():
        return EXAMPLE
    note = read_note(folder)
    with Client(url, model) as client:
        cut = client.tokenize(note["example"])
    return note["example"] if cut in (None, note["example_ids"]) else note["example_ids"]


def fingerprint(model: str) -> list[Any]:
    """Tells the weights of a folder from those of a later training: name, size and time of each file."""
    files = sorted(Path(model).glob("*.safetensors")) if Path(model).is_dir() else []
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files] or [model]


def _require_free(target: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise DeployError(f"{target} is a file, not a folder")
    if any(target.iterdir()) and not (target / NOTE).is_file():
        raise DeployError(f"{target} holds something else than an export; choose an empty or a new folder")


def _megabytes(folder: Path) -> float:
    return sum(f.stat().st_size for f in folder.iterdir() if f.suffix in (".gguf", ".safetensors")) / 1e6
