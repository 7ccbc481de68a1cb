import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from policy_gradients.estimators.importance import effective_sample_size, importance_weights, self_normalized

OLD = torch.tensor([[0.5, 0.5, 0.25], [0.5, 0.2, 0.1]], dtype=torch.float64).log()
NEW = torch.tensor([[0.25, 1.0, 0.5], [0.75, 0.4, 0.9]], dtype=torch.float64).log()
MASK = torch.tensor([[1, 1, 1], [1, 1, 0]])


@pytest.mark.parametrize(
    ("per", "expected"),
    [
        ("step", [[0.5, 2, 2], [1.5, 2, 0]]),
        ("prefix", [[0.5, 1, 2], [1.5, 3, 0]]),
        ("trajectory", [2, 3]),
    ],
)
def test_literals(per, expected):
    weights = importance_weights(NEW, OLD, MASK, per)
    assert_close(weights, torch.tensor(expected, dtype=torch.float64))
    assert_close(importance_weights(NEW, OLD, MASK, per, clip=1.2), weights.clamp(max=1.2))
    assert (importance_weights(OLD, OLD, MASK, per) == (MASK if per != "trajectory" else 1)).all()


def test_the_gradient_at_the_old_policy_is_the_score():
    """∇w = w ∇log π, and w = 1 there: the surrogate of PPO and the policy gradient agree at the first update."""
    new, old = OLD.clone().requires_grad_(), OLD.clone().requires_grad_()
    (importance_weights(new, old, MASK) * torch.tensor([2.0, -1.0])).sum().backward()
    assert new.grad.tolist() == [[2, 2, 2], [-1, -1, 0]]
    assert old.grad is None
    assert torch.autograd.gradcheck(lambda x: importance_weights(x, OLD, MASK, "prefix"), NEW.clone().requires_grad_())


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=9), st.floats(1e-3, 1e3))
@settings(deadline=None)
def test_effective_sample_size_lies_between_one_and_n_and_has_no_scale(weights, scale):
    weights = torch.tensor(weights, dtype=torch.float64)
    size = effective_sample_size(weights)
    assert 1 - 1e-9 <= size <= len(weights) + 1e-9
    assert_close(effective_sample_size(scale * weights), size)
    assert_close(effective_sample_size(weights.flip(0)), size)
    assert_close(self_normalized(scale * weights).mean(), torch.tensor(1.0, dtype=torch.float64))


def test_effective_sample_size_literals():
    assert effective_sample_size(torch.ones(2, 5)).tolist() == [5, 5]
    assert effective_sample_size(torch.tensor([0.0, 3.0, 0.0])).item() == 1
    assert effective_sample_size(torch.tensor([3.0, 1.0])).item() == pytest.approx(16 / 10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: importance_weights(NEW, OLD[:, :2]), r"old_log_probs \(2, 2\).*log_probs \(2, 3\)"),
        (lambda: importance_weights(NEW, OLD, 0 * MASK), "no first step"),
        (lambda: importance_weights(NEW - torch.inf, OLD), r"log_probs \(2, 3\) must be finite"),
        (lambda: importance_weights(NEW, OLD, per="token"), "per must be"),
        (lambda: importance_weights(NEW, OLD, clip=0.0), "clip"),
        (lambda: effective_sample_size(torch.zeros(3)), r"weights \(3,\).*all zero"),
        (lambda: self_normalized(torch.tensor([1.0, -1.0])), "negative"),
        (lambda: self_normalized(torch.zeros(0)), "empty"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("per", ["trajectory", "prefix", "step"])
def test_a_weight_that_overflows_is_clipped_without_gradient(per):
    """exp(99) is inf in float32: 0 · inf made NaN of its gradient."""
    log_probs = torch.tensor([[-1.0, -1.0]], requires_grad=True)
    weights = importance_weights(log_probs, torch.tensor([[-100.0, -1.5]]), per=per, clip=2.0)
    one = pytest.approx(1.6487, abs=1e-4)
    assert weights.tolist() == {"trajectory": [2], "prefix": [[2, 2]], "step": [[2, one]]}[per]
    weights.sum().backward()
    assert log_probs.grad.tolist() == [[0, one if per == "step" else 0]]


@pytest.mark.parametrize(("clip", "first"), [(None, torch.inf), (2.0, 2.0)])
def test_padding_behind_a_weight_that_overflows_is_zero(clip, first):
    mask = torch.tensor([[1, 0], [1, 1]])
    log_probs = torch.tensor([[-1.0, -1.0], [0.0, 0.0]], requires_grad=True)
    weights = importance_weights(log_probs, torch.tensor([[-100.0, -1.0], [0.0, 0.0]]), mask, "prefix", clip)
    assert weights.tolist() == [[first, 0], [1, 1]]
    weights.sum().backward()
    assert log_probs.grad.tolist() == [[torch.inf if clip is None else 0, 0], [2, 1]]


@pytest.mark.parametrize(
    ("weights", "shares", "size"),
    [([2e38, 2e38, 1e38], [1.2, 1.2, 0.6], 25 / 9), ([1e-45, 0, 0, 0], [4, 0, 0, 0], 1), ([1e-44, 0], [2, 0], 1)],
)
def test_weights_at_the_ends_of_float32(weights, shares, size):
    """Sums of them overflow, and means of them vanish."""
    weights = torch.tensor(weights)
    assert_close(self_normalized(weights), torch.tensor(shares, dtype=torch.float32))
    assert effective_sample_size(weights).item() == pytest.approx(size)


def test_the_gradient_of_self_normalized_weights():
    weights = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(self_normalized, weights)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_one_weight_of_many_in_half_precision(half):
    """300² overflows in float16."""
    weights = torch.zeros(300, dtype=half)
    weights[7] = 1
    assert effective_sample_size(weights).item() == 1
