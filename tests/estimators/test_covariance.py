import math

import pytest
import torch

from policy_gradients.estimators.covariance import covariance_bound, log_prob_covariances, token_means

LOG_PROBS = torch.tensor([[-1.0, -3.0], [-2.0, math.nan]], dtype=torch.float64)
ADVANTAGES = torch.tensor([1.0, -2.0], dtype=torch.float64)
MASK = torch.tensor([[1, 1], [1, 0]])


def test_by_hand():
    """Means over the three tokens: -2 of the log-probs, 0 of the advantages (one a completion)."""
    found = log_prob_covariances(LOG_PROBS, ADVANTAGES, MASK)
    assert found.tolist() == [[1.0, -1.0], [0.0, 0.0]]
    assert token_means(LOG_PROBS.nan_to_num(), ADVANTAGES[:, None].expand(2, 2), MASK) == (-2.0, 0.0)
    with_others = log_prob_covariances(LOG_PROBS, ADVANTAGES, MASK, means=(-1.0, 1.0))
    assert with_others.tolist() == [[0.0, 0.0], [3.0, 0.0]]


def test_entropy_falls_with_the_covariance():
    """Along logits + η A, dH/dη = -Cov(log π, A): by differentiation, of a random softmax of six actions."""
    draw = torch.Generator().manual_seed(0)
    logits, advantages = torch.randn(2, 6, generator=draw, dtype=torch.float64)
    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    log_pi = (logits + step * advantages).log_softmax(-1)
    (slope,) = torch.autograd.grad(-(log_pi.exp() * log_pi).sum(), step)
    log_pi, pi = log_pi.detach(), log_pi.detach().exp()
    means = ((pi * log_pi).sum().item(), (pi * advantages).sum().item())
    terms = log_prob_covariances(log_pi[None], advantages[None], torch.ones(1, 6), means)
    assert slope.item() == pytest.approx(-(pi * terms).sum().item(), abs=1e-14)


@pytest.mark.parametrize(
    ("share", "bound"), [(0.0, math.inf), (0.33, math.inf), (0.34, 5.0), (0.7, 2.0), (1.0, torch.finfo().tiny)]
)
def test_the_largest_share_is_above_the_bound_and_above_0(share, bound):
    covariances = torch.tensor([[2.0, -1.0], [5.0, 9.0]])
    assert covariance_bound(covariances, torch.tensor([[1, 1], [1, 0]]), share) == pytest.approx(bound)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: log_prob_covariances(LOG_PROBS, ADVANTAGES, torch.ones(2, 2)), "log_probs .* must be finite"),
        (lambda: log_prob_covariances(LOG_PROBS, torch.zeros(2, 3), MASK), "advantages must be one a completion"),
        (lambda: log_prob_covariances(LOG_PROBS, torch.zeros(3), MASK), "advantages must be one a completion"),
        (lambda: log_prob_covariances(LOG_PROBS, ADVANTAGES, torch.zeros(2, 2)), "no token to take means of"),
        (lambda: covariance_bound(torch.zeros(2, 2), MASK, 1.5), r"share must lie in \[0, 1\]"),
    ],
)
def test_wrong_input(call, said):
    with pytest.raises(ValueError, match=said):
        call()


@pytest.mark.parametrize(("share", "count"), [(0.29, 29), (0.57, 57), (0.5, 50), (0.295, 29)])
def test_a_share_that_is_a_whole_number_of_tokens_is_that_number(share, count):
    assert covariance_bound(torch.arange(1.0, 101), torch.ones(100), share) == 101 - count
