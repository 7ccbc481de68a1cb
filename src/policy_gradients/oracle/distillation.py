"""On-policy distillation: the student writes, and each of its tokens is paid by the teacher's probability of it.

-KL(π ‖ π_T) = E_π[Σ_t (log π_T - log π)(a_t)] is an expected return, and its gradient a policy gradient: that the
reward itself depends on θ adds E[ψ] = 0.
"""

import torch
from torch import Tensor

from policy_gradients.oracle.completions import Completions


def teacher_returns(log_probs: Tensor, teacher_log_probs: Tensor, mask: Tensor) -> Tensor:
    """What each token is credited with: Σ_{k ≥ t} (log π_T - log π)(a_k), (..., time); 0 on padding, no gradient.

    Typical mistakes: a token's own term alone, which leaves out where it leads; the sign, which flees the teacher.

    Args:
        log_probs, teacher_log_probs: of the tokens that the student wrote, (..., time).
        mask: 1 on tokens and 0 on padding, (..., time).

    Raises:
        ValueError: shapes that differ.
    """
    if not log_probs.shape == teacher_log_probs.shape == mask.shape:
        shapes = [tuple(x.shape) for x in (log_probs, teacher_log_probs, mask)]
        raise ValueError(f"log_probs, teacher_log_probs and mask must have one shape, got {shapes}")
    reward = torch.where(mask > 0, teacher_log_probs - log_probs, 0.0).detach()
    return reward.flip(-1).cumsum(-1).flip(-1) * mask


def score_moments(world: Completions, table: Tensor, credit: Tensor) -> tuple[Tensor, float]:
    """Mean (states, tokens) and variance of the gradient Σ_t credit_t ∇log π(a_t | s_t) of one sampled completion.

    By the logits of a tabular policy, where ∇log π(a|s) = e_a - π(s) in the row of s. No prefix comes twice in a
    completion, so the squared length of a sample is Σ_t credit_t² ‖e_a - π(s)‖². The variance is the trace of the
    covariance.

    Args:
        table: log π, (states, tokens).
        credit: of each token of each completion, (completions, time).
    """
    pi, chance = table.exp(), world.log_probs(table).exp()
    scores = torch.nn.functional.one_hot(world.actions, world.shape[1]) - pi[world.states]
    # what the policy never writes has no say, however far its teacher is from it
    credit = torch.where(chance.unsqueeze(-1) > 0, credit, 0.0) * world.mask
    weighted = (chance.unsqueeze(-1) * credit).unsqueeze(-1) * scores
    mean = torch.zeros(world.shape, dtype=torch.float64).index_add(
        0, world.states.flatten(), weighted.flatten(end_dim=1)
    )
    square = (chance.unsqueeze(-1) * credit.square() * scores.square().sum(-1)).sum()
    return mean, (square - mean.square().sum()).item()
