"""What a run is made of while it runs: the policy, its reference, the task, and what it carries from step to step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from policy_gradients.language.tasks import Task
from policy_gradients.training.config import TrainConfig
from policy_gradients.training.credit import Credit
from policy_gradients.training.curriculum import ToleranceCurriculum


@dataclass
class Run:
    """What every step needs, and what it carries over to the next.

    Attributes:
        scorer: the policy and, where there is one, its critic, as one module: what is trained.
        credit: who is paid for what; it keeps what it learns.
        prompts: token ids by row of the task.
        pass_rate: running mean of the strict metric, 0 at the start.
        target_entropy_weight: what the controller of schedule `target` has come to.
        micro_batch_prompts: the config's, or less once that did not fit into memory.
        fingerprint: of reference and tokenizer, once it is known (`checkpoint.run_fingerprint`).
    """

    config: TrainConfig
    accelerator: Accelerator
    model: PreTrainedModel
    scorer: torch.nn.Module
    reference: PreTrainedModel
    tokenizer: Any
    optimizer: Any
    task: Task | None
    prompts: Sequence[list[int]]
    credit: Credit
    curriculum: ToleranceCurriculum | None = None
    pass_rate: float = 0.0
    target_entropy_weight: float | None = None
    micro_batch_prompts: int = 0
    fingerprint: dict[str, str] | None = None
