"""Several processes, or one: the accelerator, each process's own part, gradients that meet."""

import time
from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from policy_gradients.language.models import choose_precision
from policy_gradients.language.scoring import pad_time
from policy_gradients.training.config import Precision, TrainConfig
from policy_gradients.training.sharding import average_replicated, clip_shares


def new_accelerator(precision: Precision) -> Accelerator:
    """For the device of this machine; `auto` and the rest as in the config.

    accelerate keeps one state a process, and refuses a second run of another precision beside it. A notebook has many
    runs, one after another.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    AcceleratorState._reset_state()
    chosen = choose_precision(device) if precision == "auto" else precision
    return Accelerator(mixed_precision=chosen, cpu=device.type == "cpu")


def check_processes(config: TrainConfig, accelerator: Accelerator) -> None:
    """Raise ValueError where the config and the processes do not go together."""
    if config.num_prompts % accelerator.num_processes:
        raise ValueError(
            f"num_prompts={config.num_prompts} does not divide among {accelerator.num_processes} processes"
        )
    if config.sharded and accelerator.mixed_precision == "fp16":  # what `auto` comes to on an older GPU
        raise ValueError("sharded goes with precision bf16 or no: fp16's gradient scaler does not know of shares")
    if config.sharded and accelerator.num_processes == 1:
        raise ValueError(
            "sharded needs several processes: torchrun --standalone --nproc_per_node N -m policy_gradients …"
        )


def leave(accelerator: Accelerator) -> None:
    """Take the group of processes down, after the last barrier.

    A thread of gloo frees that barrier's tensors, for which it needs the GIL. Where the group is freed first, by a
    Python that holds the GIL and waits for the thread, both wait for ever (seen once, with torch 2.13).
    """
    if accelerator.num_processes > 1:
        time.sleep(0.5)
    accelerator.end_training()


def own_rows(count: int, accelerator: Accelerator) -> slice:
    """Of so many rows of the global batch, those of this process."""
    part = count // accelerator.num_processes
    return slice(accelerator.process_index * part, (accelerator.process_index + 1) * part)


def gather_columns(accelerator: Accelerator, width: int, column: Tensor) -> Tensor:
    """(completions of this process, time, …) → those of the global batch, at one width, on the CPU."""
    return accelerator.gather(pad_time(column, width)).cpu()


def synchronised(accelerator: Accelerator, module: torch.nn.Module, now: bool) -> AbstractContextManager[None]:
    """With DDP, gradients are averaged across processes once, after the last micro-batch."""
    return nullcontext() if now else accelerator.no_sync(module)


def clip_gradients(accelerator: Accelerator, scorer: torch.nn.Module, config: TrainConfig) -> Tensor:
    """To norm `max_grad_norm`, once every process has those of the global batch; the norm before."""
    parameters = list(scorer.parameters())
    if not config.sharded:
        return accelerator.clip_grad_norm_(parameters, config.max_grad_norm)
    average_replicated(parameters)
    return clip_shares(parameters, config.max_grad_norm)
