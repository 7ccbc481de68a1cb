"""What 8 bits of bitsandbytes do to a policy, in this process: pass rate and exact divergence, without a server."""

from pathlib import Path
from typing import Any

import torch

from policy_gradients.deploy.export import load_bnb8, quietly
from policy_gradients.deploy.needs import DeployError
from policy_gradients.deploy.served import next_logits, subject_of
from policy_gradients.evaluation.evaluate import Subject, judge_texts, sample_completions
from policy_gradients.evaluation.statistics import mean_interval
from policy_gradients.language.rewards import decode
from policy_gradients.training.batches import prompt_indices


@torch.no_grad()
def evaluate_bnb8(folder: Path, policy: str | Path | Subject, num_prompts: int = 100, seed: int = 1) -> dict[str, Any]:
    """One completion of each held-out prompt by the rounded model, and its divergence from the policy on the way.

    The rounded model reads each sequence by itself: which features bitsandbytes leaves out of its rounding depends
    on all rows of a batch, and so would the log-probs.

    Args:
        folder: a `bnb8` export.
        policy: as of `evaluate_server`.

    Returns:
        What a report says of texts, with `kl` and `kl_standard_error`: KL(rounded ‖ policy), exact at each token, in
        nats a completion.

    Raises:
        DeployError: bitsandbytes is missing, or there are fewer held-out rows.
    """
    subject = policy if isinstance(policy, Subject) else subject_of(policy)
    heldout = subject.task.heldout
    if not 1 <= num_prompts <= len(heldout):
        raise DeployError(f"num_prompts must lie in [1, {len(heldout)}], the held-out rows; got {num_prompts}")
    model = load_bnb8(Path(folder)).to(subject.model.device)
    rounded = Subject(model, subject.tokenizer, subject.task, subject.config)
    rows = [heldout[i] for i in prompt_indices(len(heldout), num_prompts, 0, seed)]
    divergences, completions = [], []
    with quietly():
        for rollout in sample_completions(rounded, rows, 1, seed):
            completions += decode(subject.tokenizer, rollout)
            for i in range(len(rollout.mask)):
                prompt = rollout.prompt_ids[i][rollout.prompt_mask[i].bool()].tolist()
                ids = rollout.completion_ids[i][rollout.mask[i].bool()].tolist()
                theirs, own = (
                    (next_logits(m, prompt, ids).double() / subject.config.temperature).log_softmax(-1)
                    for m in (model, subject.model)
                )
                divergences.append((theirs.exp() * (theirs - own)).sum().item())
    kl, error = mean_interval(divergences)
    report, _ = judge_texts(subject.task, rows, completions)
    return {**report, "kl": kl, "kl_standard_error": error, "num_prompts": num_prompts, "seed": seed}
