"""The five steps, again and again: rollout, reward, advantage, log-prob, loss and update; under `accelerate`."""

import dataclasses
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from policy_gradients.estimators.advantages import zero_variance_share
from policy_gradients.estimators.losses import token_weights
from policy_gradients.estimators.regularizers import entropy_weight, target_entropy_weight
from policy_gradients.estimators.state_values import StateValues
from policy_gradients.estimators.transition_values import TransitionValues
from policy_gradients.language.adapters import with_adapters
from policy_gradients.language.checker_states import CheckerStates
from policy_gradients.language.models import choose_precision, end_token_ids, freeze_first, frozen_copy, load_model
from policy_gradients.language.prompts import Prompts
from policy_gradients.language.recompute import recompute_blocks
from policy_gradients.language.rewards import (
    RewardFunction,
    call_reward,
    check_rates,
    decode,
    partial_reward,
    passes,
    rule_reward,
)
from policy_gradients.language.rollout import Rollout, generate
from policy_gradients.language.rules import ExactLength, Rule, find_part, parse_rule, with_tolerance
from policy_gradients.language.scoring import CompletionScorer, TokenScores, hidden_states, joined
from policy_gradients.training.alarms import ring_once
from policy_gradients.training.batches import prompt_indices, sampling_uniforms
from policy_gradients.training.config import TrainConfig
from policy_gradients.training.curriculum import ToleranceCurriculum
from policy_gradients.training.objective import batch_advantages, loss_per_token
from policy_gradients.training.plan import expected_seconds, plan
from policy_gradients.training.run_folder import RunFolder
from policy_gradients.training.sharding import average_replicated, clip_shares, parameter_groups, shard_blocks, whole
from policy_gradients.training.signals import end_scored, measure, summarise
from policy_gradients.training.sources import excerpts_of, resolve
from policy_gradients.training.state_credit import (
    MEAN_SQUARE_FLOOR,
    end_rewards,
    learn_state_values,
    learn_transitions,
    make_state_values,
    state_credit,
)
from policy_gradients.training.value_head import make_critic

logger = logging.getLogger(__name__)


class OutOfMemory(ValueError):
    """The smallest piece of work does not fit into memory; the message says what to change."""


@dataclass
class Run:
    """What every step needs: the policy, its frozen reference, the optimiser, the prompts and the rule."""

    config: TrainConfig
    accelerator: Accelerator
    model: PreTrainedModel
    scorer: torch.nn.Module
    reference: PreTrainedModel
    tokenizer: Any
    optimizer: Any
    rule: Rule
    reward_function: RewardFunction | None
    prompts: Sequence[list[int]]
    curriculum: ToleranceCurriculum | None
    critic: torch.nn.Module | None = None
    checker_states: CheckerStates | None = None  # credit by state: the states and what they have come to be worth
    state_values: StateValues | TransitionValues | None = None
    pass_rate: float = 0.0  # running mean of the strict rule, 0 at the start
    mean_square_reward: float = MEAN_SQUARE_FLOOR  # running mean
    target_entropy_weight: float | None = None  # what the controller of schedule `target` has come to
    micro_batch_prompts: int = 0  # the config's, or less once that did not fit into memory


@dataclass
class Batch:
    """What one update learns from: this process's completions, and counts over the global batch."""

    rollout: Rollout
    rewards: Tensor  # (prompts of this process, G)
    advantages: Tensor  # (prompts of this process, G)
    completions: int
    tokens: int
    kl_weight: float
    entropy_weight: float
    end_rewards: Tensor | None = None  # credit by state: what ending in each state of the checker earns, (states,)

    def piece(self, first: int, last: int) -> "Batch":
        """The prompts first … last - 1 of it; the counts stay those of the whole."""
        return dataclasses.replace(
            self,
            rollout=self.rollout.slice_prompts(first, last),
            rewards=self.rewards[first:last],
            advantages=self.advantages[first:last],
        )


@dataclass
class Sampled:
    """What a piece of a batch keeps from its first update: scores of the policy that sampled, states of the reference.

    The reference never moves: what it makes of the tokens is computed once.
    """

    scores: TokenScores | None = None
    reference_hidden: tuple[Tensor, Tensor] | None = None


class Stopwatch:
    """Seconds spent in the named parts of a step."""

    def __init__(self, device: torch.device):
        self.device = device
        self.seconds = dict.fromkeys(("rollout", "reward", "log_probs", "backward", "optimizer"), 0.0)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = self.now()
        try:
            yield
        finally:  # what ends in an error took its time too
            self.seconds[name] += self.now() - start

    def now(self) -> float:
        """Seconds, once the device has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def train(
    config: TrainConfig,
    output_dir: str | Path,
    resume: bool = False,
    reward_function: RewardFunction | None = None,
    progress: bool = True,
    on_step: Callable[[dict[str, float]], None] | None = None,
) -> Path:
    """Run the main job; `output_dir` then holds `config.json`, `metrics.jsonl`, `checkpoint-*/` and `model/`.

    Args:
        resume: go on from the last checkpoint of `output_dir`, exactly.
        reward_function: rewards for training instead of the rule's 0/1; the reported metric stays the strict rule.
        progress: show a progress bar.
        on_step: called with each step's row of metrics, for live plots.

    Raises:
        ValueError: a bad config, prompts file or model, or an output folder that holds another run.
        RewardError: the reward function broke its contract.
    """
    config = resolve(credit_for(config, reward_function))
    folder = RunFolder(Path(output_dir), config, resume)
    run = prepare(config, reward_function)
    first_step = folder.restore(run) if resume else 0
    if run.accelerator.is_main_process:
        folder.open(first_step)
    bar = tqdm(
        total=config.max_steps,
        initial=first_step,
        disable=not (progress and run.accelerator.is_main_process),
        unit="step",
        dynamic_ncols=True,
    )
    if progress and first_step < config.max_steps:
        sentence = plan(expected_seconds(run), config, config.max_steps - first_step)
        if run.accelerator.is_main_process:
            bar.write(sentence, file=sys.stderr)
    rows: list[dict[str, float]] = folder.rows_so_far() if run.accelerator.is_main_process else []
    rung: set[str] = set()
    start = time.perf_counter()
    done = first_step
    while done < config.max_steps and run.pass_rate <= config.stop_above:
        step = done
        metrics = train_step(run, step)
        rows.append(metrics)
        for warning in ring_once(rows, rung) if run.accelerator.is_main_process else []:
            logger.warning("step %d: %s", step + 1, warning)
        metrics["elapsed"] = time.perf_counter() - start
        folder.log(metrics, run.accelerator.is_main_process)
        bar.set_postfix_str(_postfix(metrics))
        bar.update()
        if on_step is not None:
            on_step(metrics)
        done += 1
        if done % config.save_every == 0:
            folder.save_checkpoint(run, done)
    if done % config.save_every:
        folder.save_checkpoint(run, done)
    bar.close()
    folder.save_model(run)
    run.accelerator.end_training()
    return folder.path


def prepare(config: TrainConfig, reward_function: RewardFunction | None = None) -> Run:
    """Load everything a run needs and check it, before any work is spent.

    Raises:
        ValueError: see `train`.
    """
    config = credit_for(config, reward_function)
    accelerator = new_accelerator(config.precision)
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
    rule = parse_rule(config.rule)
    excerpts, _ = excerpts_of(config, "train")
    model, tokenizer = load_model(config.model)
    prompts = Prompts(tokenizer, rule, excerpts, config.max_prompt_tokens)
    if config.lora_rank:
        reference, model = model, with_adapters(model, config.lora_rank, config.seed)
    else:
        reference = frozen_copy(model)
    reference.to(accelerator.device)
    freeze_first(model, config.frozen_layers)
    critic = make_critic(config.critic, model)
    if config.gradient_checkpointing:
        recompute_blocks(model)
    if config.sharded:
        for each in (model.to(accelerator.device), reference):
            shard_blocks(each, accelerator.device)
    scorer = CompletionScorer(model, critic=critic)
    optimizer = torch.optim.AdamW(
        parameter_groups(p for p in scorer.parameters() if p.requires_grad),
        lr=config.learning_rate,
        betas=(0.9, config.adam_beta2),
        weight_decay=config.weight_decay,
    )
    # as for evaluation: no DDP around what is in shares
    scorer = accelerator.prepare_model(scorer, evaluation_mode=config.sharded)
    optimizer = accelerator.prepare_optimizer(optimizer)
    curriculum = None
    if config.curriculum and reward_function is None and find_part(rule, ExactLength):
        start = config.start_tolerance
        patient = config.curriculum_gate == "reward"
        curriculum = ToleranceCurriculum(start, start, config.raise_above, config.lower_below, patient=patient)
    run = Run(
        config, accelerator, model, scorer, reference, tokenizer, optimizer, rule, reward_function, prompts, curriculum,
        critic, micro_batch_prompts=config.micro_batch_prompts,
    )  # fmt: skip
    if config.credit == "state":
        run.checker_states = CheckerStates(rule, tokenizer, model.config.vocab_size, end_token_ids(model, tokenizer))
        run.state_values = make_state_values(config, run.checker_states)
    if reward_function is not None:
        _try_reward(run)
    return run


def train_step(run: Run, step: int) -> dict[str, float]:
    """One step: sample, reward, compare within groups, score, update. Returns the row for `metrics.jsonl`."""
    config, accelerator = run.config, run.accelerator
    watch = Stopwatch(accelerator.device)
    with watch.part("rollout"), accelerator.autocast():
        rollout = sample_batch(run, step)
    with watch.part("reward"):
        completions = decode(run.tokenizer, rollout)
        strict = [float(passes(run.rule, completion)) for completion in completions]
        earned = call_reward(_training_reward(run), completions)
        ends = end_scored(rollout, end_token_ids(run.model, run.tokenizer))
        local = torch.tensor([earned, strict, [len(c.text) for c in completions], rollout.mask.sum(1).tolist(), ends])
        rewards, strict_all, characters, tokens, ends = accelerator.gather(local.T.to(accelerator.device)).T.cpu()
        rates = check_rates(run.rule, gather_object(completions))
        texts = gather_object([c.text for c in completions])
    groups = rewards.unflatten(0, (-1, config.num_generations))
    # from the whole batch, whose statistics may be needed; then each process takes its own prompts
    advantages = batch_advantages(groups, config)
    batch = Batch(
        rollout,
        torch.tensor(earned, device=accelerator.device).unflatten(0, (-1, config.num_generations)),
        own_prompts(advantages, accelerator).to(accelerator.device),
        completions=len(rewards),
        tokens=int(tokens.sum()),
        kl_weight=kl_weight(config, run.pass_rate),
        entropy_weight=entropy_weight(config.entropy_weight, groups, config.entropy_schedule, config.entropy_cap)
        if run.target_entropy_weight is None
        else run.target_entropy_weight,
        end_rewards=None if run.checker_states is None else end_rewards(run, _training_reward(run)),
    )
    tolerance = run.curriculum.tolerance if run.curriculum else 0
    rate = learning_rate(config, step)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    by_returns = isinstance(run.state_values, StateValues)
    first = by_returns and not run.state_values.counts.any()
    if first:  # nothing is known of any state yet, and the policy is still the reference
        learn_state_values(run, batch, torch.zeros_like(rollout.mask), rewards)
    update, before = update_policy(run, batch, watch)
    if by_returns and not first:
        learn_state_values(run, batch, before.kl, rewards)
    if isinstance(run.state_values, TransitionValues):
        learn_transitions(run, batch, before.kind_probs)
    run.mean_square_reward = 0.8 * run.mean_square_reward + 0.2 * rewards.square().mean().item()
    run.pass_rate = 0.8 * run.pass_rate + 0.2 * strict_all.mean().item()
    if config.entropy_schedule == "target":
        cap = config.entropy_cap * config.entropy_weight
        run.target_entropy_weight = target_entropy_weight(
            batch.entropy_weight, update["entropy"], config.entropy_target, config.entropy_rate, cap
        )
    if run.curriculum:
        within = ExactLength(find_part(run.rule, ExactLength).characters, tolerance)
        near = [within.check(text) for text in texts]
        share = sum(near) / len(near) if config.curriculum_gate == "length" else rewards.mean().item()
        run.curriculum.update(share)
    seconds = sum(watch.seconds.values())
    return {
        "step": step + 1,
        "strict_rate": strict_all.mean().item(),
        "train_reward": rewards.mean().item(),
        "reward_min": rewards.min().item(),
        "reward_max": rewards.max().item(),
        "reward_std": groups.std(dim=1).mean().item() if config.num_generations > 1 else math.nan,
        "zero_variance_share": zero_variance_share(groups).item(),
        "tolerance": tolerance,
        **rates,
        "end_scored_share": ends.nanmean().item(),
        "mean_length": characters.mean().item(),
        "distinct_share": len(set(texts)) / len(texts),
        **update,
        "kl_weight": batch.kl_weight,
        "entropy_weight": batch.entropy_weight,
        "learning_rate": rate,
        "processes": accelerator.num_processes,
        "micro_batch_prompts": run.micro_batch_prompts,
        "completion_tokens": int(tokens.sum()),
        "tokens_per_second": tokens.sum().item() / seconds,
        "seconds": seconds,
        **{f"seconds_{name}": value for name, value in watch.seconds.items()},
    }


def sample_batch(run: Run, step: int) -> Rollout:
    """This process's share of the step's prompts, with G sampled completions each."""
    config, accelerator = run.config, run.accelerator
    share = config.num_prompts // accelerator.num_processes
    mine = slice(accelerator.process_index * share, (accelerator.process_index + 1) * share)
    chosen = prompt_indices(len(run.prompts), config.num_prompts, step, config.seed)[mine]
    uniforms = sampling_uniforms(config.num_prompts * config.num_generations, config.max_new_tokens, step, config.seed)
    rows = slice(mine.start * config.num_generations, mine.stop * config.num_generations)
    with whole(run.model) if config.sharded else nullcontext():
        return generate(
            run.model,
            [run.prompts[i] for i in chosen],
            config.num_generations,
            uniforms[rows],
            end_token_ids(run.model, run.tokenizer),
            run.tokenizer.pad_token_id,
            config.temperature,
        )


def update_policy(run: Run, batch: Batch, watch: Stopwatch) -> tuple[dict[str, float], TokenScores]:
    """Backward through every micro-batch, one optimiser step per pass over the batch.

    Returns what the step shows, and the scores of the policy before it, without gradient.

    A micro-batch that does not fit into memory is halved, from then on, and its pass over the batch starts again.

    Raises:
        OutOfMemory: not even one prompt with its completions fits.
    """
    config, accelerator = run.config, run.accelerator
    pieces = micro_batches(batch.rollout.num_prompts, run.micro_batch_prompts)
    sampled: dict[int, Sampled] = {}  # what later updates need of the first one, by the first prompt of a piece
    measured: list[dict[str, Tensor]] = []
    norms: list[float] = []  # that of the first update is the policy gradient's: there the ratio is 1
    for update in range(config.updates_per_batch):
        while (rows := _try_pass(run, batch, pieces, sampled, update, watch)) is None:
            run.optimizer.zero_grad()
            clear_device_cache(garbage_collection=True)
            run.micro_batch_prompts = _halved(run, max(last - first for first, last in pieces))
            # each piece in two, so that what is known of it can be cut in two as well
            halves = {piece: micro_batches(piece[1] - piece[0], run.micro_batch_prompts) for piece in pieces}
            pieces = [(first + a, first + b) for (first, _), parts in halves.items() for a, b in parts]
            known = {} if update == 0 else sampled
            sampled = {
                first + a: Sampled(known[first].scores.cut(batch.piece(first + a, first + b).rollout, a))
                for (first, _), parts in halves.items() if first in known for a, b in parts
            }  # fmt: skip
        measured += rows
        with watch.part("optimizer"):
            norms.append(_clip_gradients(run).item())
            if math.isfinite(norms[-1]) or accelerator.scaler is not None:
                run.optimizer.step()  # with fp16's scaler, which skips an overflow itself and then lowers its scale
            else:
                logger.warning("the gradient is not finite: this update is skipped, the weights stay as they were")
            run.optimizer.zero_grad()
    before = joined([sampled[first].scores for first, _ in pieces], batch.rollout.mask.shape[1])
    return {"grad_norm": norms[0], **summarise(measured, batch, accelerator)}, before


def micro_batches(prompts: int, size: int) -> list[tuple[int, int]]:
    """First prompt and the one after the last, of pieces of at most `size` prompts."""
    return [(i, min(i + size, prompts)) for i in range(0, prompts, size)]


def _try_pass(
    run: Run,
    batch: Batch,
    pieces: list[tuple[int, int]],
    sampled: dict[int, Sampled],
    update: int,
    watch: Stopwatch,
) -> list[dict[str, Tensor]] | None:
    """The gradient of the whole batch, summed over the pieces; None if one of them did not fit into memory."""
    measured = []
    try:
        for first, last in pieces:
            # with DDP, gradients are averaged across processes once, after the last micro-batch
            with _maybe_no_sync(run.accelerator, run.scorer, last == batch.rollout.num_prompts):
                measured.append(_backward(run, batch.piece(first, last), sampled, first, update, watch))
    except RuntimeError as error:
        # alone in stopping here, a process would leave the others waiting for its gradients
        if not should_reduce_batch_size(error) or run.accelerator.num_processes > 1:
            raise
        return None
    return measured


def _backward(
    run: Run, piece: Batch, sampled: dict[int, Sampled], first: int, update: int, watch: Stopwatch
) -> dict[str, Tensor]:
    """Add the gradient of one micro-batch; what its scores show."""
    config, accelerator, mask = run.config, run.accelerator, piece.rollout.mask
    with watch.part("log_probs"):
        earlier = sampled.get(first, Sampled())
        reference_hidden = earlier.reference_hidden
        if reference_hidden is None:
            with torch.no_grad(), accelerator.autocast():
                reference_hidden = hidden_states(run.reference, piece.rollout)
        scores = run.scorer(
            piece.rollout, config.temperature, run.reference, config.prompt_kl_weight > 0,
            run.checker_states and state_credit(run, piece), reference_hidden,
        )  # fmt: skip
        old = earlier.scores or scores
        losses = loss_per_token(scores, old, mask, piece, config)
        weights = token_weights(mask, config.aggregation, piece.completions, piece.tokens, config.max_new_tokens)
        loss = (weights * losses.loss).sum()
        if scores.prompt_kl is not None:
            share = config.prompt_kl_weight / (config.num_prompts * config.max_new_tokens)
            loss = loss + share * scores.prompt_kl.sum()
    with watch.part("backward"):
        # DDP averages over processes, the weights already divide by the global batch
        accelerator.backward(loss * accelerator.num_processes)
    sampled[first] = Sampled(old.detach(), reference_hidden if update + 1 < config.updates_per_batch else None)
    return measure(scores, losses, loss, piece.rollout, update, config)


def _clip_gradients(run: Run) -> Tensor:
    """To norm `max_grad_norm`, once every process has those of the global batch; the norm before."""
    parameters, most = list(run.scorer.parameters()), run.config.max_grad_norm
    if not run.config.sharded:
        return run.accelerator.clip_grad_norm_(parameters, most)
    average_replicated(parameters)
    return clip_shares(parameters, most)


def _halved(run: Run, size: int) -> int:
    if size == 1:
        raise OutOfMemory(
            "one prompt with its completions does not fit into memory; lower num_generations or max_new_tokens, or "
            "set gradient_checkpointing or lora_rank"
        )
    logger.warning("out of memory with %d prompts a micro-batch: it goes on with %d", size, size // 2)
    return size // 2


def own_prompts(rows: Tensor, accelerator: Accelerator) -> Tensor:
    """Of one row a prompt of the global batch, those of this process."""
    share = len(rows) // accelerator.num_processes
    return rows[accelerator.process_index * share :][:share]


def kl_weight(config: TrainConfig, pass_rate: float) -> float:
    """β for this step: between `kl_weight` (nothing passes) and `kl_success_weight` (everything does).

    A fixed β is a bad judge while the reward is sparse: then the divergence is the whole objective, and brevity its
    cheapest optimum. Once the rule is met, every nat that does not serve it can be asked back. The fourth power keeps
    the price low until nearly everything passes; should the price then cost passes, it falls again by itself.
    """
    return config.kl_weight + (config.kl_success_weight - config.kl_weight) * pass_rate**4


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up, constant, and a linear fall over the last third of the steps."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    fall = max(0.0, (step + 1) / config.max_steps - 2 / 3) * 3
    return config.learning_rate * warm * (1 - (1 - config.final_learning_rate) * fall)


def _training_reward(run: Run) -> RewardFunction:
    if run.reward_function is not None:
        return run.reward_function
    rule = with_tolerance(run.rule, run.curriculum.tolerance) if run.curriculum else run.rule
    return partial_reward(rule) if run.config.partial_credit else rule_reward(rule)


def new_accelerator(precision: str) -> Accelerator:
    """For the device of this machine; `auto` and the rest as in the config.

    accelerate keeps one state a process, and refuses a second run of another precision beside it. A notebook has many
    runs, one after another.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    AcceleratorState._reset_state()
    chosen = choose_precision(device) if precision == "auto" else precision
    return Accelerator(mixed_precision=chosen, cpu=device.type == "cpu")


def credit_for(config: TrainConfig, reward_function: RewardFunction | None) -> TrainConfig:
    """The config, with credit for whole completions where the checker's states would know nothing of the reward."""
    if reward_function is None or config.credit == "completion":
        return config
    logger.warning("the checker's states say nothing of a reward function: credit goes to whole completions instead")
    return dataclasses.replace(config, credit="completion", projection_weight=0.0)


def _maybe_no_sync(accelerator: Accelerator, module: torch.nn.Module, sync: bool) -> Any:
    return nullcontext() if sync else accelerator.no_sync(module)


def _try_reward(run: Run) -> None:
    """Call a user's reward function on samples of the untrained policy: it fails, or warns, before any training."""
    completions = decode(run.tokenizer, sample_batch(run, 0))
    rewards = call_reward(run.reward_function, completions)
    if len(set(rewards)) == 1:
        logger.warning(
            "the reward function gave %s to all %d completions of a first batch: a constant reward has no gradient",
            rewards[0],
            len(rewards),
        )


def _postfix(metrics: dict[str, float]) -> str:
    shown: Sequence[tuple[str, str]] = (
        ("strict", f"{metrics['strict_rate']:.0%}"),
        ("reward", f"{metrics['train_reward']:.2f}"),
        ("±", f"{metrics['tolerance']}"),
        ("H", f"{metrics['entropy']:.2f}"),
        ("KL", f"{metrics['kl']:.1f}"),
        ("tok/s", f"{metrics['tokens_per_second']:.0f}"),
    )
    return " ".join(f"{name} {value}" for name, value in shown)
