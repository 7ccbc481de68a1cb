"""What a step costs: this project, TRL's GRPOTrainer and the bare model on the same work, in alternation.

Each measurement has a process of its own, so that its peak memory is its own. A round measures every side once; rounds
alternate, so that a machine whose speed drifts is as unfair to one side as to the other.
"""

import dataclasses
import importlib.util
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from policy_gradients.language.models import choose_precision, load_model, resolve_model
from policy_gradients.language.text import shipped_articles
from policy_gradients.training.config import Checked, check_number, number, require_affordable

PARTS = ("rollout", "reward", "log_probs", "backward", "optimizer")
NO_END = [-1]  # no token ends a completion: every side decodes the full length
MIB = 2**20


@dataclass(frozen=True)
class Work(Checked):
    """One GRPO step, the same for every side: sampling, a reward, an AdamW step on all weights, a reference model."""

    model: str = "tiny"
    """`tiny`, `smollm2`, a model folder, or a hub id."""
    num_prompts: int = number(8, least=1, most=10**5)
    prompt_tokens: int = number(120, least=1, most=10**7)
    num_generations: int = number(8, least=2, most=10**5)
    max_new_tokens: int = number(32, least=1, most=10**6)
    """Length of every completion: none ends earlier."""
    micro_batch_prompts: int = number(8, least=1, most=10**5)
    vocab_size: int = number(0, least=0, most=10**7)
    """Resize the model's vocabulary, to see what it costs. 0: leave it."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""
    precision: str = "auto"
    """Autocast: `auto` (by hardware), `no`, `bf16` or `fp16`."""
    warmup_steps: int = number(1, least=0, most=10**6)
    """Steps before the one that counts."""
    seed: int = number(0, least=0, most=2**31 - 1)

    def __post_init__(self) -> None:
        require_affordable("num_prompts × num_generations", self.num_prompts * self.num_generations,
                           self.max_new_tokens)  # fmt: skip
        super().__post_init__()
        if self.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device must be auto, cpu or cuda, got {self.device!r}")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device cuda was asked for, but this torch sees no GPU")
        if self.precision not in ("auto", "no", "bf16", "fp16"):
            raise ValueError(f"precision must be auto, no, bf16 or fp16, got {self.precision!r}")

    def on_this_machine(self) -> "Work":
        """With model, device and precision decided."""
        device = self.device if self.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        precision = choose_precision(torch.device(device)) if self.precision == "auto" else self.precision
        return dataclasses.replace(self, model=resolve_model(self.model), device=device, precision=precision)


@dataclass(frozen=True)
class Measurement:
    """One step. `seconds` in all, `parts` of it where the side tells them apart, `peak` memory in bytes.

    `cpu_seconds` are the processor's, over all threads: on a machine that others use as well they say more.
    """

    seconds: float
    parts: dict[str, float]
    peak: int
    cpu_seconds: float = 0.0


def prompts_of(work: Work, tokenizer: Any) -> list[str]:
    """Texts that every side encodes to exactly `prompt_tokens` tokens.

    Raises:
        ValueError: the shipped text has too few words for that.
    """
    text = " ".join(article["text"] for article in shipped_articles("train"))
    wanted = work.num_prompts * work.prompt_tokens
    # tokens are longer than a character nearly everywhere: such text is too short, and need not be encoded to see it
    ids = [] if wanted > len(text) else tokenizer.encode(text[: 40 * wanted], add_special_tokens=False)
    texts: list[str] = []
    for start in range(0, len(ids) - work.prompt_tokens, work.prompt_tokens):
        piece = tokenizer.decode(ids[start : start + work.prompt_tokens], clean_up_tokenization_spaces=False)
        if len(tokenizer.encode(piece, add_special_tokens=False)) == work.prompt_tokens:  # else it was cut in a word
            texts.append(piece)
        if len(texts) == work.num_prompts:
            return texts
    raise ValueError(f"the shipped text gives no {work.num_prompts} prompts of {work.prompt_tokens} tokens")


def length_rewards(texts: Sequence[str]) -> list[float]:
    """A reward that is cheap and differs within a group: what a checker says is not what is measured here."""
    return [len(text) / 100 for text in texts]


def measure_ours(work: Work) -> Measurement:
    """The functions that `train_step` is made of, on rollouts of a fixed length."""
    from policy_gradients.estimators.advantages import group_advantages
    from policy_gradients.language.rewards import decode
    from policy_gradients.language.rollout import generate
    from policy_gradients.training.batch import Batch, Stopwatch
    from policy_gradients.training.batches import sampling_uniforms
    from policy_gradients.training.config import make_config
    from policy_gradients.training.setup import prepare
    from policy_gradients.training.update import update_policy

    config = make_config(
        model=work.model, num_prompts=work.num_prompts, num_generations=work.num_generations,
        max_new_tokens=work.max_new_tokens, micro_batch_prompts=work.micro_batch_prompts, seed=work.seed,
        precision=work.precision, learning_rate=1e-6,
    )  # fmt: skip
    run = prepare(config)
    prompts = [run.tokenizer.encode(text, add_special_tokens=False) for text in prompts_of(work, run.tokenizer)]
    for model in (run.model, run.reference):
        _resize(model, work.vocab_size)
    rows = work.num_prompts * work.num_generations
    for step in range(work.warmup_steps + 1):
        watch = Stopwatch(run.accelerator.device)
        start, cpu_start = watch.now(), time.process_time()
        with watch.part("rollout"), run.accelerator.autocast():
            uniforms = sampling_uniforms(rows, work.max_new_tokens, step, work.seed)
            pad = run.tokenizer.pad_token_id
            rollout = generate(run.model, prompts, work.num_generations, uniforms, NO_END, pad)
        with watch.part("reward"):
            earned = length_rewards([completion.text for completion in decode(run.tokenizer, rollout)])
            groups = torch.tensor(earned, device=run.accelerator.device).unflatten(0, (-1, work.num_generations))
        tokens = int(rollout.mask.sum())
        update_policy(run, Batch(rollout, groups, group_advantages(groups), rows, tokens, 0.04, 0.0), watch)
        seconds, cpu_seconds = watch.now() - start, time.process_time() - cpu_start
    return Measurement(seconds, watch.seconds, peak_memory(work.device), cpu_seconds)


def measure_floor(work: Work) -> Measurement:
    """Forward and backward of the same tokens through the bare model: each prompt once, each completion once.

    No sampling, no reference, no optimiser, no attention from a completion to its prompt: less cannot be done.
    """
    from policy_gradients.training.batch import Stopwatch

    model, _ = load_model(work.model)
    model = _resize(model.to(work.device), work.vocab_size)
    generator = torch.Generator().manual_seed(work.seed)
    shapes = [(work.num_prompts, work.prompt_tokens), (work.num_prompts * work.num_generations, work.max_new_tokens)]
    prompts, completions = (
        torch.randint(model.config.vocab_size, shape, generator=generator).to(work.device) for shape in shapes
    )
    watch = Stopwatch(torch.device(work.device))
    for _ in range(work.warmup_steps + 1):
        model.zero_grad()
        start, cpu_start = watch.now(), time.process_time()
        size = work.micro_batch_prompts
        for first in range(0, work.num_prompts, size):
            rows = slice(first * work.num_generations, (first + size) * work.num_generations)
            with torch.autocast(work.device, _DTYPES[work.precision], enabled=work.precision != "no"):
                loss = _bare_loss(model, prompts[first : first + size], completions[rows])
            loss.backward()
        seconds, cpu_seconds = watch.now() - start, time.process_time() - cpu_start
    return Measurement(seconds, {}, peak_memory(work.device), cpu_seconds)


def _bare_loss(model: PreTrainedModel, prompts: Tensor, completions: Tensor) -> Tensor:
    logits = model(completions, use_cache=False).logits
    hidden = model.base_model(prompts, use_cache=False).last_hidden_state
    # the prompts' hidden states have to be used, or their backward pass would be left out
    return cross_entropy(logits.flatten(0, 1).float(), completions.flatten()) + hidden.float().mean()


_DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def measure_trl(work: Work) -> Measurement:
    """One step of `trl.GRPOTrainer` in its own default way, on the same texts, lengths and group size."""
    import tempfile

    import datasets
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    model, tokenizer = load_model(work.model)
    model = _resize(model, work.vocab_size)
    times: dict[str, float] = {}

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            times["begin"], times["cpu begin"] = _synchronised_time(work.device), time.process_time()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            times["end"], times["cpu end"] = _synchronised_time(work.device), time.process_time()

    rows = work.num_prompts * work.num_generations
    with tempfile.TemporaryDirectory() as folder:
        settings = GRPOConfig(
            output_dir=folder, per_device_train_batch_size=rows, gradient_accumulation_steps=1,
            num_generations=work.num_generations, max_completion_length=work.max_new_tokens,
            generation_kwargs={"min_new_tokens": work.max_new_tokens}, beta=0.04, learning_rate=1e-6,
            max_steps=work.warmup_steps + 1, bf16=work.precision == "bf16", fp16=work.precision == "fp16",
            use_cpu=work.device == "cpu", gradient_checkpointing=False, save_strategy="no", report_to="none",
            logging_steps=10**6, disable_tqdm=True, seed=work.seed,
        )  # fmt: skip
        trainer = GRPOTrainer(
            model=model,
            processing_class=tokenizer,
            reward_funcs=lambda completions, **_: length_rewards(completions),
            args=settings,
            train_dataset=datasets.Dataset.from_dict({"prompt": prompts_of(work, tokenizer)}),
            callbacks=[Clock()],
        )
        trainer.train()
    seconds, cpu_seconds = times["end"] - times["begin"], times["cpu end"] - times["cpu begin"]
    return Measurement(seconds, {}, peak_memory(work.device), cpu_seconds)


SIDES: dict[str, Callable[[Work], Measurement]] = {"ours": measure_ours, "floor": measure_floor, "trl": measure_trl}


def trl_is_installed() -> bool:
    """Whether the comparison with TRL can be made."""
    return importlib.util.find_spec("trl") is not None


def benchmark(
    work: Work,
    sides: Sequence[str],
    rounds: int,
    measure: Callable[[str, Work], Measurement] | None = None,
    progress: Callable[[str], None] = lambda message: None,
    keep: Callable[[dict[str, list[Measurement]]], None] = lambda found: None,
) -> dict[str, list[Measurement]]:
    """`rounds` measurements of each side, in alternation: the order turns round with every round.

    Args:
        measure: how to measure a side; by default `in_a_process`.
        keep: given everything found so far after each measurement, so that a cut loses only the one under way.

    Raises:
        ValueError: no rounds, or a side that does not exist.
        RuntimeError: a measurement failed; the message is its own.
    """
    check_number("rounds", rounds, int, {"least": 1, "most": 10_000})
    if unknown := set(sides) - set(SIDES):
        raise ValueError(f"unknown sides {sorted(unknown)}; known are {', '.join(SIDES)}")
    found: dict[str, list[Measurement]] = {side: [] for side in sides}
    for turn in range(rounds):
        for side in sides if turn % 2 == 0 else reversed(sides):
            progress(f"round {turn + 1} of {rounds}: {side}")
            found[side].append((measure or in_a_process)(side, work))
            keep(found)
    return found


def in_a_process(side: str, work: Work) -> Measurement:
    """Measure one side in a new process, which ends with it."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure_and_send, args=(side, work, torch.get_num_threads(), sender))
    process.start()
    sender.close()  # so that a process which dies ends the wait
    try:
        answer = receiver.recv()
    except EOFError:
        answer = None
    process.join()
    if not isinstance(answer, Measurement):
        reason = answer or f"its process ended with exit code {process.exitcode}; out of memory?"
        raise RuntimeError(f"measuring {side} failed: {reason}")
    return answer


def _measure_and_send(side: str, work: Work, threads: int, sender: Any) -> None:
    torch.set_num_threads(threads)
    if work.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        sender.send(SIDES[side](work))
    except Exception as error:  # whatever happened there is told here
        sender.send(f"{type(error).__name__}: {error}")
        raise


def peak_memory(device: str) -> int:
    """Most bytes held so far: by tensors on a GPU, by this whole process on a CPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def table(work: Work, found: dict[str, list[Measurement]]) -> str:
    """Seconds, parts, tokens a second, memory and ratios, each as median (min–max) over the rounds."""
    tokens = work.num_prompts * work.num_generations * work.max_new_tokens
    lines = [
        f"{work.model} on {work.device}, precision {work.precision}, {torch.get_num_threads()} threads: "
        f"{work.num_prompts} prompts × {work.prompt_tokens} tokens × {work.num_generations} completions × "
        f"{work.max_new_tokens} tokens",
        f"{'':22}{'seconds a step':>26}{'of the processor':>26}{'completion tokens/s':>26}{'peak memory, MiB':>26}",
    ]
    for side, measured in found.items():
        columns = (
            [m.seconds for m in measured],
            [m.cpu_seconds for m in measured],
            [tokens / m.seconds for m in measured],
            [m.peak / MIB for m in measured],
        )
        lines.append(f"{side:22}" + "".join(f"{spread(values):>26}" for values in columns))
        for part in PARTS if measured[0].parts else ():
            lines.append(f"  {part:20}{spread([m.parts[part] for m in measured]):>26}")
    for name, (over, under, value) in RATIOS.items():
        if over in found and under in found:
            pairs = [value(a) / value(b) for a, b in zip(found[over], found[under], strict=True) if value(b)]
            lines += [f"{name:48}{spread(pairs):>26}"] if pairs else []
    return "\n".join(lines)


RATIOS: dict[str, tuple[str, str, Callable[[Measurement], float]]] = {
    "time, TRL / ours": ("trl", "ours", lambda m: m.seconds),
    "processor time, TRL / ours": ("trl", "ours", lambda m: m.cpu_seconds),
    "peak memory, TRL / ours": ("trl", "ours", lambda m: m.peak),
    "time, ours / floor": ("ours", "floor", lambda m: m.seconds),
    "processor time, ours / floor": ("ours", "floor", lambda m: m.cpu_seconds),
    "log-probs and backward alone, ours / floor": (
        "ours", "floor", lambda m: m.parts["log_probs"] + m.parts["backward"] if m.parts else m.seconds,
    ),
}  # fmt: skip


def spread(values: Sequence[float]) -> str:
    """Median (min–max), to three digits."""
    shown = [f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}" for value in
             (statistics.median(values), min(values), max(values))]  # fmt: skip
    return shown[0] if len(values) == 1 else f"{shown[0]} ({shown[1]}–{shown[2]})"


def _resize(model: PreTrainedModel, vocab_size: int) -> PreTrainedModel:
    if vocab_size:
        if vocab_size < model.config.vocab_size:
            raise ValueError(f"vocab_size must be at least the model's own {model.config.vocab_size}, got {vocab_size}")
        model.resize_token_embeddings(vocab_size, mean_resizing=False)
    return model


def _synchronised_time(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
