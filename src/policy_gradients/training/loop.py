"""The five steps, again and again: rollout, reward, advantage, log-prob, loss and update."""

import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from tqdm import tqdm

from policy_gradients.estimators.advantages import zero_variance_share
from policy_gradients.estimators.sharing import shared_rewards
from policy_gradients.language.likeness import likeness
from policy_gradients.language.models import end_token_ids
from policy_gradients.language.rewards import Completion, OwnReward, RewardError, decode
from policy_gradients.language.tasks import RewardTask, Task
from policy_gradients.language.text import shipped_excerpts
from policy_gradients.training.alarms import require_finite, ring_once
from policy_gradients.training.batch import Batch, Rewarded, Sample, Stopwatch
from policy_gradients.training.config import ByGroup, TrainConfig
from policy_gradients.training.credit import MakeCredit, make_credit
from policy_gradients.training.distribution import gather_columns, leave, own_rows
from policy_gradients.training.plan import expected_seconds, plan
from policy_gradients.training.run import Run
from policy_gradients.training.run_folder import MODEL, RunFolder
from policy_gradients.training.schedules import advance, bonus, kl_weight, learning_rate
from policy_gradients.training.setup import prepare, sample_batch
from policy_gradients.training.signals import end_scored
from policy_gradients.training.sources import make_task, resolve
from policy_gradients.training.stops import Interrupted, Stops
from policy_gradients.training.update import update_policy

logger = logging.getLogger(__name__)


def train_step(run: Run, step: int) -> dict[str, float]:
    """One step of training; the row for `metrics.jsonl`."""
    config, watch = run.config, Stopwatch(run.accelerator.device)
    # 1 rollout: G completions of each prompt, by the policy as it is
    with watch.part("rollout"), run.accelerator.autocast():
        sample = sample_batch(run, step)
    # 2 reward: what the task says of each
    with watch.part("reward"):
        rewarded = reward_batch(run, sample)
        # 3 advantage: from the whole batch, whose statistics may be needed; then each process takes its own prompts
        advantages = run.credit.assign(rewarded.compared, partial(training_reward, run))
    batch = Batch(
        sample.rollout, rewarded.own, own_prompts(advantages, run.accelerator), len(rewarded.strict), rewarded.tokens,
        kl_weight(config, run.pass_rate), bonus(run, rewarded.groups),
    )  # fmt: skip
    # 4 log-prob, 5 loss and update: in pieces that fit into memory, once or several times
    rate = set_learning_rate(run, step)
    gather = partial(gather_columns, run.accelerator, config.max_new_tokens)
    run.credit.before_update(batch, rewarded.groups.flatten(), gather)
    update, before = update_policy(run, batch, watch)
    run.credit.learn(batch, before, rewarded.groups.flatten(), gather)
    row = {**describe(run, step, batch, rewarded, watch), **update, "learning_rate": rate}
    advance(run, batch, rewarded, update["entropy"])
    return row


def reward_batch(run: Run, sample: Sample) -> Rewarded:
    """Ask the task about this process's completions, and put together what all processes heard."""
    accelerator, rollout = run.accelerator, sample.rollout
    completions = decode(run.tokenizer, rollout)
    earned, strict = run.task.judge(sample.rows, completions, tolerance(run))
    ends = end_scored(rollout, end_token_ids(run.model, run.tokenizer))
    local = torch.tensor([earned, strict, [len(c.text) for c in completions], rollout.mask.sum(1).tolist(), ends])
    rewards, strict_all, characters, tokens, ends = accelerator.gather(local.T.to(accelerator.device)).T.cpu()
    texts = gather_object([c.text for c in completions])
    groups = rewards.unflatten(0, (-1, rollout.num_generations))
    return Rewarded(
        own=torch.tensor(earned, device=accelerator.device).unflatten(0, (-1, rollout.num_generations)),
        groups=groups,
        compared=compared_rewards(run, groups, texts),
        strict=strict_all,
        texts=texts,
        tokens=int(tokens.sum()),
        shown={
            **run.task.rates(gather_object(completions)),
            "end_scored_share": ends.nanmean().item(),
            "mean_length": characters.mean().item(),
            "distinct_share": len(set(texts)) / len(texts),
        },
    )


def compared_rewards(run: Run, groups: Tensor, texts: list[str]) -> Tensor:
    """What advantages are made of, (prompts of the global batch, G): rewards, shared by what is alike if asked for."""
    credit = run.config.credit
    if isinstance(credit, ByGroup) and credit.sharing:
        return shared_rewards(groups, likeness(texts), credit.sharing)
    return groups


def training_reward(run: Run, completions: Sequence[Completion]) -> Sequence[float]:
    """The reward of this step, of completions that nobody need have written."""
    return run.task.reward_function(tolerance(run))(completions)


def tolerance(run: Run) -> int:
    """That of the curriculum at this step."""
    return run.curriculum.tolerance if run.curriculum else 0


def own_prompts(rows: Tensor | None, accelerator: Accelerator) -> Tensor | None:
    """Of one row a prompt of the global batch, those of this process, on its device."""
    return None if rows is None else rows[own_rows(len(rows), accelerator)].to(accelerator.device)


def set_learning_rate(run: Run, step: int) -> float:
    """Tell the optimiser the learning rate of this step."""
    rate = learning_rate(run.config, step)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    return rate


def describe(run: Run, step: int, batch: Batch, rewarded: Rewarded, watch: Stopwatch) -> dict[str, float]:
    """What the step's row of metrics says besides the update itself."""
    rewards, seconds = rewarded.groups, sum(watch.seconds.values())
    return {
        "step": step + 1,
        "strict_rate": rewarded.strict.mean().item(),
        "train_reward": rewards.flatten().mean().item(),
        "reward_min": rewards.min().item(),
        "reward_max": rewards.max().item(),
        "reward_std": rewards.std(dim=1).mean().item() if rewards.shape[1] > 1 else math.nan,
        "zero_variance_share": zero_variance_share(rewarded.compared).item(),
        "tolerance": tolerance(run),
        **rewarded.shown,
        "kl_weight": batch.kl_weight,
        "entropy_weight": batch.entropy_weight,
        "processes": run.accelerator.num_processes,
        "precision_bits": 32 if run.accelerator.mixed_precision == "no" else 16,
        "micro_batch_prompts": run.micro_batch_prompts,
        "completion_tokens": rewarded.tokens,
        "tokens_per_second": rewarded.tokens / seconds,
        "seconds": seconds,
        **{f"seconds_{name}": value for name, value in watch.seconds.items()},
    }


def train(
    config: TrainConfig,
    output_dir: str | Path,
    resume: bool = False,
    reward_function: OwnReward | None = None,
    progress: bool = True,
    on_step: Callable[[dict[str, float]], None] | None = None,
    task: Task | None = None,
    allow_changed_task: bool = False,
    make_credit: MakeCredit = make_credit,
    fresh_process: bool = False,
) -> Path:
    """Run the main job; `output_dir` then holds `config.json`, `metrics.jsonl`, `checkpoint-*/` and `model/`.

    Args:
        resume: go on from the last checkpoint of `output_dir`, exactly.
        reward_function: shorthand for a task: continue the shipped excerpts, and earn what this says.
        progress: show a progress bar.
        on_step: called with each step's row of metrics, for live plots and other logs.
        task: instead of the config's, made in Python.
        make_credit: instead of the config's credit, one of your own: (config, model, tokenizer) → `Credit`.
        allow_changed_task: resume although the task's rows, template or reward are not those it began with; logged.
        fresh_process: try the model that was written in a process of its own, not in this one; some seconds more.

    Raises:
        ValueError: a bad config, dataset or model, an output folder that holds another run, or another task.
        NotFinite: the run has diverged; the last good checkpoint stays.
        RewardError: the reward function broke its contract; the step before is in a checkpoint.
        Interrupted: by Ctrl-C or a signal to end; the step that it came in is in a checkpoint.
    """
    config = resolve(config)
    if reward_function is not None:
        task = excerpt_task(reward_function)
    task = task or make_task(config)
    folder = RunFolder(Path(output_dir), config, resume, task.identity(), allow_changed_task)
    run = prepare(config, task, make_credit)
    with folder.held(run):
        first_step = folder.restore(run) if resume else 0
        if run.accelerator.is_main_process:
            folder.open(first_step)
        with Stops(run.accelerator) as stops:
            done = _go_on(run, folder, first_step, stops, progress, on_step)
            if done > first_step or not (folder.path / MODEL).is_dir():  # else it is there, with its card
                folder.save_model(run, done, fresh_process)
        run.accelerator.wait_for_everyone()
    leave(run.accelerator)
    return folder.path


def _go_on(
    run: Run,
    folder: RunFolder,
    first_step: int,
    stops: Stops,
    progress: bool,
    on_step: Callable[[dict[str, float]], None] | None,
) -> int:
    """Train to the end, with checkpoints on the way and at the end; returns the number of steps done.

    Raises:
        NotFinite, Interrupted, RewardError: what came before is in a checkpoint.
    """
    config, main = run.config, run.accelerator.is_main_process
    bar = tqdm(
        total=config.max_steps, initial=first_step, disable=not (progress and main), unit="step", dynamic_ncols=True
    )
    if progress and first_step < config.max_steps:
        sentence = plan(expected_seconds(run), config, config.max_steps - first_step)
        if main:
            bar.write(sentence, file=sys.stderr)
    rows = folder.rows_so_far() if main else []
    rung: set[str] = set() if config.needs_groups else {"uniform_groups"}  # nobody is compared within one
    before = rows[-1].get("elapsed", 0.0) if rows else 0.0
    start, done, kept = time.perf_counter(), first_step, first_step
    while done < config.max_steps and run.pass_rate <= config.stop_above:
        try:
            metrics = train_step(run, done)
        except RewardError:
            if done > kept and run.accelerator.num_processes == 1:  # nothing of the step has been learnt yet
                folder.save_checkpoint(run, done)
            raise
        rows.append(metrics)
        for warning in ring_once(rows, rung) if main else []:
            logger.warning("step %d: %s", done + 1, warning)
        metrics["elapsed"] = before + time.perf_counter() - start
        folder.log(metrics, main)
        require_finite(rows, config.learning_rate, run.accelerator.scaler is not None)
        bar.set_postfix_str(_postfix(metrics))
        bar.update()
        if on_step is not None:
            on_step(metrics)
        done += 1
        number = stops.asked()
        if done % config.save_every == 0 or number:
            folder.save_checkpoint(run, done)
            kept = done
        if number:
            run.accelerator.wait_for_everyone()  # who leaves first has the others ended
            bar.close()
            raise Interrupted(number, f"stopped after step {done}, which is in a checkpoint; go on with --resume")
    if done > kept:
        folder.save_checkpoint(run, done)
    bar.close()
    return done


def excerpt_task(reward_function: OwnReward) -> RewardTask:
    """Continue the shipped excerpts, and earn what a function says."""
    train_rows, heldout = ([{"excerpt": text} for text in shipped_excerpts(split)] for split in ("train", "heldout"))
    name = f"reward {getattr(reward_function, '__name__', type(reward_function).__name__)}"
    return RewardTask(train_rows, "Continue this text.\n{excerpt}", reward_function, heldout=heldout, name=name,
                      may_cut="excerpt")  # fmt: skip


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
