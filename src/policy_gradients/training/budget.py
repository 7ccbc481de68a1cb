"""What a step of a preset needs of a GPU's memory, part by part, without having one.

A real step, of the real architecture with random weights, runs on the CPU while every tensor is counted: the sizes of
tensors do not depend on the device. What a GPU adds of its own is an allowance, stated as such.
"""

import dataclasses
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, PretrainedConfig, Qwen2Config

from policy_gradients.estimators.advantages import group_advantages
from policy_gradients.language.models import frozen_copy, load_model, num_parameters
from policy_gradients.language.recompute import recompute_blocks
from policy_gradients.language.rollout import generate
from policy_gradients.language.scoring import CompletionScorer
from policy_gradients.training.batch import Batch, Stopwatch
from policy_gradients.training.batches import sampling_uniforms
from policy_gradients.training.config import ByGroup, TrainConfig
from policy_gradients.training.credit.group import GroupCredit
from policy_gradients.training.run import Run
from policy_gradients.training.schedules import kl_weight
from policy_gradients.training.update import update_policy

GIB = 2**30
T4_GIB = 14.6  # of its 16 GB, what CUDA reports as total
# CUDA's context and libraries, and blocks that the allocator holds without using them: judgement, not measured
OVERHEAD_GIB, FRAGMENTATION = 0.6, 0.1

# Qwen2.5-0.5B-Instruct, so that its budget needs no hub: 494,032,768 parameters.
QWEN_HUB_ID = "Qwen/Qwen2.5-0.5B-Instruct"
QWEN = {
    "vocab_size": 151_936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32_768,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-6,
    "architectures": ["Qwen2ForCausalLM"],
}


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of all tensors that are made while it is active, until they are freed; each storage once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.watch(leaf)
        return result

    def watch(self, tensor: Tensor) -> None:
        """Count it from now on."""
        storage = tensor.untyped_storage()
        if (key := storage._cdata) not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._freed, key)

    def _freed(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


@dataclass(frozen=True)
class Budget:
    """Bytes. `held` stays from step to step, `passing` is the most that each phase of a step needs beside it."""

    parameters: int
    held: dict[str, int]
    passing: dict[str, int]
    seconds: float

    @property
    def peak(self) -> int:
        """Most bytes of tensors at once."""
        return sum(self.held.values()) + max(self.passing.values())

    @property
    def on_a_gpu(self) -> float:
        """GiB, with the allowance for what is not tensors."""
        return self.peak / GIB * (1 + FRAGMENTATION) + OVERHEAD_GIB


class PhaseWatch(Stopwatch):
    """A stopwatch that also notes the most bytes at once in each phase."""

    def __init__(self, live: LiveTensors):
        super().__init__(torch.device("cpu"))
        self.live, self.peaks = live, dict.fromkeys(self.seconds, 0)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self.live.peak = self.live.now
        with super().part(name):
            yield
        self.peaks[name] = max(self.peaks[name], self.live.peak)


def architecture(model: str) -> PretrainedConfig:
    """The config of a model; that of Qwen2.5-0.5B-Instruct without asking anyone."""
    return Qwen2Config(**QWEN) if model == QWEN_HUB_ID else load_model(model)[0].config


def measure_budget(config: TrainConfig, architecture: PretrainedConfig) -> Budget:
    """Run one full step of `config` with random weights and tokens, full lengths, on the CPU.

    The precision of a T4 is fp16; bf16 has the same size, and a CPU has it.
    """
    AcceleratorState._reset_state()  # as `new_accelerator`, but on the CPU whatever there is
    accelerator = Accelerator(mixed_precision="no" if config.precision == "no" else "bf16", cpu=True)
    live = LiveTensors()
    watch = PhaseWatch(live)
    with live:
        run = _random_run(config, accelerator, architecture)
        # a step of the smallest size makes the optimiser's state, so that the second one finds everything in place
        _step(run, dataclasses.replace(config, num_prompts=1, max_prompt_tokens=1, max_new_tokens=2), PhaseWatch(live))
        before = live.now
        start = watch.now()
        _step(run, config, watch)
        seconds = watch.now() - start
    parameters = _bytes(run.scorer.parameters())
    trained = [p for p in run.scorer.parameters() if p.requires_grad]
    state = [x for values in run.optimizer.state.values() for x in values.values() if isinstance(x, Tensor)]
    held = {"parameters": parameters, "Adam's two moments": _bytes(state)}
    if not config.lora_rank:
        held["reference"] = _bytes(run.reference.parameters())
    other = before - sum(held.values())
    if other > 0:
        held["buffers and the rest"] = other
    gradients = _bytes(trained)
    passing = {"rollout": watch.peaks["rollout"] - before}
    passing["training pass, its gradients among it"] = max(watch.peaks["log_probs"], watch.peaks["backward"]) - before
    passing["optimizer, the gradients among it"] = watch.peaks["optimizer"] - before
    assert passing["optimizer, the gradients among it"] >= gradients
    return Budget(num_parameters(run.model), held, passing, seconds)


def _random_run(config: TrainConfig, accelerator: Accelerator, architecture: PretrainedConfig) -> Run:
    """As `prepare` puts a run together, without weights to load and without prompts."""
    torch.manual_seed(config.seed)
    model = AutoModelForCausalLM.from_config(architecture, dtype=torch.float32).eval()
    reference = frozen_copy(model)
    if config.gradient_checkpointing:
        recompute_blocks(model)
    # one kernel for many tensors, as is the default on a GPU: it needs room for one more copy of the parameters
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, foreach=True)
    scorer, optimizer = accelerator.prepare(CompletionScorer(model), optimizer)
    return Run(
        config, accelerator, model, scorer, reference, None, optimizer, None, [], GroupCredit(ByGroup()),
        micro_batch_prompts=config.micro_batch_prompts,
    )  # fmt: skip


def _step(run: Run, config: TrainConfig, watch: PhaseWatch) -> None:
    run.config = config
    generator = torch.Generator().manual_seed(config.seed)
    shape = (config.num_prompts, config.max_prompt_tokens)
    prompts = torch.randint(run.model.config.vocab_size, shape, generator=generator).tolist()
    rows = config.num_prompts * config.num_generations
    with watch.part("rollout"), run.accelerator.autocast():
        uniforms = sampling_uniforms(rows, config.max_new_tokens, 0, config.seed)
        rollout = generate(run.model, prompts, config.num_generations, uniforms, [-1], 0, config.temperature)
    rewards = torch.rand(config.num_prompts, config.num_generations, generator=generator)
    tokens = int(rollout.mask.sum())
    batch = Batch(rollout, rewards, group_advantages(rewards), rows, tokens, kl_weight(config, 0.0), 0.0)
    update_policy(run, batch, watch)


def _bytes(tensors: Any) -> int:
    """Of distinct storages."""
    return sum({x.untyped_storage()._cdata: x.untyped_storage().nbytes() for x in tensors}.values())


def budget_table(budget: Budget, config: TrainConfig) -> str:
    """All parts in GiB, and what they come to on a T4."""
    rows = [(f"held: {name}", size) for name, size in budget.held.items()]
    rows += [(f"beside it: {name}", size) for name, size in budget.passing.items()]
    rows.append(("tensors, at their most", budget.peak))
    lines = [
        f"{budget.parameters:,} parameters with random weights, {config.num_prompts} prompts × "
        f"{config.max_prompt_tokens} tokens × {config.num_generations} completions × {config.max_new_tokens} tokens, "
        f"{config.micro_batch_prompts} prompts at once"
        + (", blocks computed again" if config.gradient_checkpointing else ""),
        *(f"{name:50}{size / GIB:8.2f} GiB" for name, size in rows),
        f"{f'with {FRAGMENTATION:.0%} and {OVERHEAD_GIB} GiB for what CUDA adds':50}{budget.on_a_gpu:8.2f} GiB "
        f"of a T4's {T4_GIB}",
    ]
    return "\n".join(lines)
