import pytest
import torch
from torch.testing import assert_close

from policy_gradients.estimators.gpomdp import eligibility_traces, gpomdp
from policy_gradients.estimators.returns import discounted_returns

GENERATOR = torch.Generator().manual_seed(0)
SCORES = torch.randn(2, 7, 3, dtype=torch.float64, generator=GENERATOR)
REWARDS = torch.randn(2, 7, dtype=torch.float64, generator=GENERATOR)


def test_trace_literal():
    scores = torch.tensor([[1.0], [10.0], [100.0]])
    assert eligibility_traces(scores, 0.5).flatten().tolist() == [1, 10.5, 105.25]


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.99, 1.0])
def test_traces_looking_back_are_returns_looking_forward(beta):
    forward = torch.einsum("btp,bt->bp", SCORES, discounted_returns(REWARDS, beta)) / 7
    assert_close(gpomdp(SCORES, REWARDS, beta), forward)


def test_the_recursion_of_the_paper_gives_the_same():
    """z ← βz + ∇log π, Δ ← Δ + (r z - Δ)/(t + 1), which needs no more memory than z and Δ."""
    trace, estimate = torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, 3, dtype=torch.float64)
    for t in range(7):
        trace = 0.9 * trace + SCORES[:, t]
        estimate = estimate + (REWARDS[:, t, None] * trace - estimate) / (t + 1)
    assert_close(gpomdp(SCORES, REWARDS, 0.9), estimate)


@pytest.mark.parametrize(
    ("scores", "rewards", "beta", "message"),
    [
        (SCORES, REWARDS, 1.1, "beta"),
        (SCORES, REWARDS[:, :5], 0.9, r"scores \(2, 7, 3\).*rewards \(2, 5\)"),
        (SCORES, REWARDS * torch.inf, 0.9, r"rewards \(2, 7\) must be finite"),
        (SCORES * torch.nan, REWARDS, 0.9, "scores .* finite"),
        (SCORES[:, :0], REWARDS[:, :0], 0.9, "empty"),
    ],
)
def test_bad_input(scores, rewards, beta, message):
    with pytest.raises(ValueError, match=message):
        gpomdp(scores, rewards, beta)


@pytest.mark.parametrize(("half", "rounding"), [(torch.float16, 1e-3), (torch.bfloat16, 8e-3)])
def test_a_long_path_in_half_precision(half, rounding):
    """Traces of ones: Σ_t (1 - β^t) / (1 - β) / T, which bfloat16 stopped at 249, and float16 made infinite."""
    beta, time = 0.9999, 5000
    found = gpomdp(torch.ones(time, 1, dtype=half), torch.ones(time, dtype=half), beta)
    right = (time - beta * (1 - beta**time) / (1 - beta)) / (1 - beta) / time
    assert right == pytest.approx(2131.1, abs=0.1)
    assert found.dtype == half and found.item() == pytest.approx(right, rel=rounding)
