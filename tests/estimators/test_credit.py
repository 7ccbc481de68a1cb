import pytest
import torch
from torch.testing import assert_close

from policy_gradients.estimators.credit import redistribute, shape_rewards, with_terminal_reward
from policy_gradients.estimators.returns import discounted_returns, discounts

GENERATOR = torch.Generator().manual_seed(0)
REWARDS, POTENTIALS = torch.randn(2, 5, 4, dtype=torch.float64, generator=GENERATOR)
MASK = (torch.arange(4) < torch.tensor([[4], [1], [2], [3], [4]])).double()


@pytest.mark.parametrize("gamma", [0.0, 0.7, 1.0])
def test_shaping_takes_the_potential_off_every_return_and_nothing_else(gamma):
    shaped = shape_rewards(REWARDS, POTENTIALS, gamma, MASK)
    plain = discounted_returns(REWARDS, gamma, MASK)
    assert_close(discounted_returns(shaped, gamma, MASK), plain - POTENTIALS * MASK)


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_redistributed_rewards_have_the_same_discounted_sum(gamma):
    returns, shares = REWARDS[:, 0], POTENTIALS.abs()
    spread = redistribute(returns, shares, gamma, MASK)
    assert_close((spread * discounts(4, gamma)).sum(1), returns)
    assert (spread[MASK == 0] == 0).all()
    assert_close(redistribute(returns, 3 * shares, gamma, MASK), spread)


def test_terminal_reward_stands_on_the_last_real_step():
    placed = with_terminal_reward(torch.tensor([2.0, 3.0]), torch.tensor([[1, 1, 1], [1, 0, 0]]))
    assert placed.tolist() == [[0, 0, 2], [3, 0, 0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shape_rewards(REWARDS, POTENTIALS[:2]), r"potentials \(2, 4\).*rewards \(5, 4\)"),
        (lambda: shape_rewards(REWARDS, POTENTIALS, 1.5), "gamma"),
        (lambda: redistribute(REWARDS[:, 0], 0 * MASK, 1.0), r"shares \(5, 4\)"),
        (lambda: redistribute(REWARDS[:, 0], -MASK, 1.0), "negative"),
        (lambda: redistribute(REWARDS[:, 0], MASK, 0.0), "gamma"),
        (lambda: redistribute(REWARDS[:2, 0], MASK), r"returns \(2,\) and shares \(5, 4\)"),
        (lambda: with_terminal_reward(REWARDS[:2, 0], MASK), r"returns \(2,\).*mask \(5, 4\)"),
        (lambda: with_terminal_reward(REWARDS[:, 0], 0 * MASK), "no first step"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_padding_is_zero_where_the_discount_is_long_gone(dtype):
    """0.9^1200 is 0 in float32: 0 / 0 stood on padding."""
    mask = (torch.arange(1200) < 10).to(dtype).unsqueeze(0)
    returns = torch.ones(1, dtype=dtype, requires_grad=True)
    found = redistribute(returns, torch.ones(1, 1200, dtype=dtype), 0.9, mask)
    assert found.dtype == dtype and (found[0, 10:] == 0).all()
    right = 0.1 / 0.9 ** torch.arange(10, dtype=torch.float64)
    assert_close(found[0, :10].double(), right, atol=0, rtol=2 * torch.finfo(dtype).eps)
    found.float().sum().backward()
    assert returns.grad.item() == pytest.approx(right.sum().item(), rel=1e-3)


@pytest.mark.parametrize(("dtype", "time"), [(torch.float16, 200), (torch.float32, 1200)])
def test_rewards_that_no_number_can_hold_are_refused(dtype, time):
    with pytest.raises(ValueError, match=rf"gamma=0.9 is too small for shares \(1, {time}\)"):
        redistribute(torch.ones(1, dtype=dtype), torch.ones(1, time, dtype=dtype), 0.9)
