import copy

import pytest
import torch

from policy_gradients.language.models import frozen_copy
from policy_gradients.language.recompute import recompute_blocks
from policy_gradients.language.rollout import generate
from policy_gradients.language.scoring import CompletionScorer

PROMPTS = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14]]


def scores_and_gradients(model, rollout, reference):
    scores = CompletionScorer(model, chunk_size=7)(rollout, 0.7, reference, with_prompts=True)
    weights = torch.linspace(-1, 1, scores.log_probs.numel()).view_as(scores.log_probs)
    ((weights * (scores.log_probs + 0.3 * scores.entropy + scores.kl)).sum() + scores.prompt_kl.sum()).backward()
    return scores, [p.grad for p in model.parameters()]


@pytest.mark.parametrize("end", [range(20, 60), range(400)])
def test_recomputed_blocks_give_the_same_scores_and_gradients(any_model, end):
    model, reference = copy.deepcopy(any_model), frozen_copy(any_model)
    for parameter in reference.parameters():
        parameter.data *= 1.05
    numbers = torch.rand(12, 9, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rollout = generate(model, PROMPTS, 4, numbers, list(end), pad_id=0)
    plain, plain_gradients = scores_and_gradients(copy.deepcopy(model), rollout, reference)
    recompute_blocks(model)
    assert torch.equal(generate(model, PROMPTS, 4, numbers, list(end), pad_id=0).completion_ids, rollout.completion_ids)
    runs = count_runs(model)
    again, gradients = scores_and_gradients(model, rollout, reference)
    assert runs[0] == 2  # prompts and completions in one pass, twice
    for name in ("log_probs", "entropy", "kl", "prompt_kl"):
        torch.testing.assert_close(getattr(again, name), getattr(plain, name), atol=1e-12, rtol=1e-12)
    for a, b in zip(gradients, plain_gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


def count_runs(model):
    """How often the attention of the first block runs: with recomputation twice as often as without."""
    blocks = next(part for part in model.base_model.children() if isinstance(part, torch.nn.ModuleList))
    attention = next(part for name, part in blocks[0].named_children() if name in ("self_attn", "attn"))
    runs = [0]

    def count(*_):
        runs[0] += 1

    attention.register_forward_hook(count)
    return runs
