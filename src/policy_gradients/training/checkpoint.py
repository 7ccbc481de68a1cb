"""A checkpoint: weights, optimiser, what credit has learned, and a state that vouches for each of these files.

All randomness of a run is a function of (seed, step), so nothing else is needed to go on exactly.
"""

import dataclasses
import hashlib
import json
import logging
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from policy_gradients.language.files import changed_files, checksums, read_text
from policy_gradients.training.alarms import NotFinite
from policy_gradients.training.config import TrainConfig, config_from_json, differences, to_json
from policy_gradients.training.run import Run
from policy_gradients.training.sharding import gathered, share_like

logger = logging.getLogger(__name__)

STATE, WEIGHTS, OPTIMIZER, SCALER = "state.json", "model.safetensors", "optimizer.pt", "scaler.pt"
CRITIC, CREDIT = "critic.safetensors", "credit.safetensors"


@dataclasses.dataclass
class Gathered:
    """The whole tensors of a run, which may be in shares: every process has to ask for them."""

    weights: dict[str, torch.Tensor]
    optimizer: dict[str, Any]

    @classmethod
    def of(cls, run: Run) -> "Gathered":
        return cls(_trained_weights(run.model), _optimizer_state(run.optimizer))

    def require_finite(self, step: int) -> None:
        """Raise NotFinite if some weight or moment is NaN or infinite."""
        moments = {f"Adam's {k} of weight {i}": m for i, s in self.optimizer["state"].items() for k, m in s.items()}
        if broken := _not_finite({**self.weights, **moments}):
            raise NotFinite(
                f"after step {step} {broken} is not finite: the run has diverged, and goes no further; what is kept is "
                "from before. Start again with a lower learning_rate or weight_decay"
            )


def write_checkpoint(
    run: Run, step: int, folder: Path, tensors: Gathered, identity: Mapping[str, str], metrics: bytes
) -> None:
    """Everything that a resumed run needs, into an empty folder; a copy of the metrics goes with it."""
    save_file(tensors.weights, folder / WEIGHTS)
    torch.save(tensors.optimizer, folder / OPTIMIZER)
    if run.credit.critic is not None:
        save_file(_trained_weights(run.credit.critic), folder / CRITIC)
    if learned := run.credit.state():
        save_file(learned, folder / CREDIT)
    if run.accelerator.scaler is not None:
        torch.save(run.accelerator.scaler.state_dict(), folder / SCALER)
    (folder / "metrics.jsonl").write_bytes(metrics)
    state = {
        "step": step,
        "pass_rate": run.pass_rate,
        "curriculum": dataclasses.asdict(run.curriculum) if run.curriculum else None,
        "target_entropy_weight": run.target_entropy_weight,
        "config": to_json(run.config),
        "task": dict(identity),
        "reference": run_fingerprint(run),
    }
    seal(folder, state)


def seal(folder: Path, state: dict[str, Any]) -> None:
    """Write the state of a checkpoint, with checksums of the files beside it and of itself."""
    files = checksums(file for file in folder.iterdir() if file.name != STATE)
    state = {**state, "files": files}
    (folder / STATE).write_text(json.dumps({**state, "checksum": _own_checksum(state)}, indent=1), encoding="utf-8")


def read_state(folder: Path) -> dict[str, Any]:
    """The state of a checkpoint, which is what was written.

    Raises:
        OSError, ValueError: it is not there, damaged, or edited.
    """
    try:
        state = json.loads(read_text(folder / STATE))
    except RecursionError:
        raise ValueError(f"{STATE} is nested too deeply") from None
    if not isinstance(state, dict):
        raise ValueError(f"{STATE} holds no object")
    known = state.pop("checksum", None)
    if known is None and "files" not in state:
        logger.warning("%s is from an older version: it carries no checksums, and is taken as it is", folder)
    elif known != _own_checksum(state):
        raise ValueError(f"{STATE} is not what was written")
    step, rate, weight = state.get("step"), state.get("pass_rate"), state.get("target_entropy_weight")
    if isinstance(step, bool) or not isinstance(step, int) or folder.name != checkpoint_name(step):
        raise ValueError(f"its step is {step!r}")
    if not _is_number(rate) or not 0 <= rate <= 1:
        raise ValueError(f"its pass_rate is {rate!r}")
    if weight is not None and not (_is_number(weight) and weight >= 0):
        raise ValueError(f"its target_entropy_weight is {weight!r}")
    if not isinstance(state.get("files", {}), dict):
        raise ValueError("its checksums are no object")
    return state


def checkpoint_name(step: int) -> str:
    """The folder of a step's checkpoint."""
    return f"checkpoint-{step:06d}"


def restore(run: Run, folder: Path, config: TrainConfig, identity: Mapping[str, str] | None) -> int:
    """Put a checkpoint into `run`; returns the number of steps done.

    Args:
        identity: of the task; None: it may be another than that of the checkpoint.

    Raises:
        ValueError: the checkpoint is damaged, changed, or another run's.
    """
    try:
        state = read_state(folder)
        differing = differences(config_from_json(state["config"]), config)
        if not differing:
            if changed := changed_files(folder, state.get("files", {})):
                raise ValueError(f"{', '.join(changed)} is not what was written")
            _load(run, folder)
            run.pass_rate = state["pass_rate"]
            run.target_entropy_weight = state.get("target_entropy_weight")
            if run.curriculum:
                run.curriculum = dataclasses.replace(run.curriculum, **state["curriculum"])
    except Exception as error:  # safetensors, pickle and json each raise their own kinds
        raise ValueError(
            f"checkpoint {folder} is damaged ({type(error).__name__}: {error}); delete it to go back one"
        ) from None
    if differing:
        raise ValueError(f"checkpoint {folder} belongs to a run with another config ({differing}); take it out")
    if identity is not None and state.get("task", identity) != identity:
        raise ValueError(f"checkpoint {folder} is of another task: it was {state['task']}, now {dict(identity)}")
    if (before := state.get("reference")) is not None and before != (now := run_fingerprint(run)):
        other = ", ".join(name for name in now if now[name] != before.get(name))
        raise ValueError(
            f"the {other} of {config.model} is another one than this run began with; give it back what it had"
        )
    return state["step"]


def run_fingerprint(run: Run) -> dict[str, str]:
    """Checksums of what a run is measured against, and reads with: the reference's weights, the tokenizer."""
    if run.fingerprint is None:
        value = 0
        for _, weight in sorted(run.reference.named_parameters()):
            whole = gathered(weight).flatten()
            value = zlib.crc32(whole.view(torch.uint8).numpy(), value)
        backend = getattr(run.tokenizer, "backend_tokenizer", None)
        words = backend.to_str() if backend is not None else json.dumps(run.tokenizer.get_vocab(), sort_keys=True)
        words += str(run.tokenizer.chat_template)
        told = hashlib.sha256(words.encode("utf-8", "replace")).hexdigest()[:16]
        run.fingerprint = {"reference weights": f"{value:08x}", "tokenizer": told}
    return run.fingerprint


def _load(run: Run, folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    optimizer = torch.load(folder / OPTIMIZER, weights_only=True, map_location="cpu")
    if run.accelerator.scaler is not None:
        run.accelerator.scaler.load_state_dict(torch.load(folder / SCALER, weights_only=True))
    _require_like(weights, dict(run.model.named_parameters()), "the weights")
    own = {name: share_like(weights[name], weight) for name, weight in run.model.named_parameters()}
    run.model.load_state_dict(own, strict=False)  # tied weights have a second name there
    if run.credit.critic is not None:
        critic = load_file(folder / CRITIC)
        _require_like(critic, dict(run.credit.critic.named_parameters()), "the critic's weights")
        run.credit.critic.load_state_dict(critic)
    if known := run.credit.state():
        learned = load_file(folder / CREDIT)
        _require_like(learned, known, "what credit has learned")
        run.credit.load(learned)
    _require_moments(optimizer, run.optimizer)
    run.optimizer.load_state_dict(optimizer)
    for weight, moments in run.optimizer.state.items():
        moments.update({name: share_like(moment, weight) for name, moment in moments.items()})


def _require_like(found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], what: str) -> None:
    """Raise ValueError unless both have the same names, shapes and types, and what was found is finite."""
    if odd := sorted(found.keys() ^ wanted.keys()):
        raise ValueError(f"it lacks, or has no use for, {what} {odd[:3]}")
    for name, value in found.items():
        if value.dtype != wanted[name].dtype or value.shape != wanted[name].shape:
            raise ValueError(
                f"{name} is {value.dtype} of shape {list(value.shape)}, not {wanted[name].dtype} of "
                f"{list(wanted[name].shape)}"
            )
    if broken := _not_finite(found):
        raise ValueError(f"{broken} is not finite")


def _require_moments(found: Any, optimizer: Any) -> None:
    """Raise ValueError unless Adam's state is one, for these weights, with these settings."""
    groups, own = found["param_groups"], optimizer.state_dict()["param_groups"]
    for a, b in zip(groups, own, strict=True):
        for name in ("params", "betas", "eps", "weight_decay"):
            if (tuple(a[name]) if name == "betas" else a[name]) != (tuple(b[name]) if name == "betas" else b[name]):
                raise ValueError(f"the optimiser's {name} is {a[name]}, not {b[name]}")
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for index, moments in found["state"].items():
        for name, value in moments.items():
            if name != "step" and value.shape != weights[index].shape:
                raise ValueError(f"Adam's {name} of weight {index} has shape {list(value.shape)}")
        if broken := _not_finite({f"Adam's {name} of weight {index}": value for name, value in moments.items()}):
            raise ValueError(f"{broken} is not finite")


def _not_finite(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """The name of one that holds NaN or infinity; the extremes of a tensor show both in one pass."""
    for name, value in tensors.items():
        if value.is_floating_point() and value.numel():
            low, high = torch.aminmax(value.detach())
            if not (math.isfinite(low.item()) and math.isfinite(high.item())):
                return name
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _own_checksum(state: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(state, sort_keys=True).encode()):08x}"


def _trained_weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    # tied weights share storage, which safetensors refuses: keep each once
    return {name: gathered(p) for name, p in module.named_parameters()}


def _optimizer_state(optimizer: Any) -> dict[str, Any]:
    state = optimizer.state_dict()
    moments = {index: {name: gathered(m) for name, m in kept.items()} for index, kept in state["state"].items()}
    return {**state, "state": moments}
