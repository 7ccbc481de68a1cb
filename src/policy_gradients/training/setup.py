"""Everything that a run needs, loaded and checked before any work is spent."""

import logging
from contextlib import nullcontext

import torch

from policy_gradients.language.adapters import with_adapters
from policy_gradients.language.agreement import check_agreement
from policy_gradients.language.checker_states import require_reachable
from policy_gradients.language.limits import require_room
from policy_gradients.language.models import (
    end_token_ids,
    freeze_first,
    frozen_copy,
    load_model,
    vocabulary_size,
)
from policy_gradients.language.recompute import recompute_blocks
from policy_gradients.language.rewards import decode
from policy_gradients.language.rollout import generate
from policy_gradients.language.scoring import CompletionScorer
from policy_gradients.language.tasks import CheckerTask, Task, TaskPrompts
from policy_gradients.training.batch import Sample
from policy_gradients.training.batches import prompt_indices, sampling_uniforms
from policy_gradients.training.config import ByState, TrainConfig
from policy_gradients.training.credit import MakeCredit, make_credit
from policy_gradients.training.distribution import check_processes, new_accelerator, own_rows
from policy_gradients.training.run import Run
from policy_gradients.training.schedules import make_curriculum
from policy_gradients.training.sharding import parameter_groups, shard_blocks, whole
from policy_gradients.training.sources import make_task

logger = logging.getLogger(__name__)


def prepare(config: TrainConfig, task: Task | None = None, make_credit: MakeCredit = make_credit) -> Run:
    """Load the parts, and try the task on samples of the untrained policy.

    Args:
        task, make_credit: instead of the config's.

    Raises:
        ValueError: a bad config, dataset, reward or model.
    """
    accelerator = new_accelerator(config.precision)
    check_processes(config, accelerator)
    task = task or make_task(config)
    if isinstance(config.credit, ByState) and not (isinstance(task, CheckerTask) and task.reward is None):
        raise ValueError(
            "credit state asks the rule's checker about texts that were never written; with a reward of your own set "
            "credit to completion"
        )
    model, tokenizer = load_model(config.model)
    require_room(model, config.max_prompt_tokens, config.max_new_tokens)
    check_agreement(model, longest=config.max_prompt_tokens + config.max_new_tokens)
    if isinstance(task, CheckerTask) and task.reward is None:
        try:
            require_reachable(task.rule, tokenizer, vocabulary_size(model), config.max_new_tokens)
        except ValueError as error:  # said, not refused: its curriculum, or its credit, may be what is looked at
            logger.warning("%s", error)
    prompts = TaskPrompts(tokenizer, task, config.max_prompt_tokens)
    if config.lora_rank:
        reference, model = model, with_adapters(model, config.lora_rank, config.seed)
    else:
        reference = frozen_copy(model)
    reference.to(accelerator.device)
    freeze_first(model, config.frozen_layers)
    credit = make_credit(config, model, tokenizer)
    if config.gradient_checkpointing:
        recompute_blocks(model)
    if config.sharded:
        for each in (model.to(accelerator.device), reference):
            shard_blocks(each, accelerator.device)
    scorer = CompletionScorer(model, critic=credit.critic)
    optimizer = torch.optim.AdamW(
        parameter_groups(p for p in scorer.parameters() if p.requires_grad),
        lr=config.learning_rate,
        betas=(0.9, config.adam_beta2),
        weight_decay=config.weight_decay,
    )
    # as for evaluation: no DDP around what is in shares
    scorer = accelerator.prepare_model(scorer, evaluation_mode=config.sharded)
    optimizer = accelerator.prepare_optimizer(optimizer)
    run = Run(
        config, accelerator, model, scorer, reference, tokenizer, optimizer, task, prompts, credit,
        make_curriculum(config), micro_batch_prompts=config.micro_batch_prompts,
    )  # fmt: skip
    if not (isinstance(task, CheckerTask) and task.reward is None):
        try_task(run)
    return run


def sample_batch(run: Run, step: int) -> Sample:
    """Step 1: this process's share of the step's prompts, with G sampled completions each."""
    config = run.config
    mine = own_rows(config.num_prompts, run.accelerator)
    chosen = prompt_indices(len(run.prompts), config.num_prompts, step, config.seed)[mine]
    uniforms = sampling_uniforms(config.num_prompts * config.num_generations, config.max_new_tokens, step, config.seed)
    rows = slice(mine.start * config.num_generations, mine.stop * config.num_generations)
    with whole(run.model) if config.sharded else nullcontext():
        rollout = generate(
            run.model,
            [run.prompts[i] for i in chosen],
            config.num_generations,
            uniforms[rows],
            end_token_ids(run.model, run.tokenizer),
            run.tokenizer.pad_token_id,
            config.temperature,
        )
    return Sample(rollout, [run.task.rows[i] for i in chosen for _ in range(config.num_generations)])


def try_task(run: Run) -> None:
    """Make every prompt that the run will meet, and judge a first batch: it fails, or warns, before any training."""
    config = run.config
    if not len(run.task.heldout):
        logger.warning(
            "the task has no held-out rows, and a model is evaluated on those: bring some (heldout_dataset), or more "
            "rows, of which one in ten is set apart"
        )
    steps = min(config.max_steps, -(-len(run.prompts) // config.num_prompts))
    for step in range(steps):
        for index in prompt_indices(len(run.prompts), config.num_prompts, step, config.seed):
            run.prompts[index]
    sample = sample_batch(run, 0)
    rewards, strict = run.task.judge(sample.rows, decode(run.tokenizer, sample.rollout))
    if len(set(rewards)) == 1:
        logger.warning(
            "the reward was %s for all %d completions of a first batch: a constant reward has no gradient",
            rewards[0],
            len(rewards),
        )
    if all(strict):
        logger.warning(
            "all of a first batch pass already: is pass_at=%s what you mean?", getattr(run.task, "pass_at", 1)
        )
