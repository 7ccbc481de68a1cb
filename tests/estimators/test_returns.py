import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from policy_gradients.estimators.returns import (
    discounted_returns,
    discounts,
    generalized_advantages,
    lambda_returns,
    n_step_returns,
    reverse_cumsum,
    td_errors,
)


def tensor(rows):
    return torch.tensor(rows, dtype=torch.float64)


@st.composite
def episodes(draw):
    """rewards, values, mask and bootstrap of a few padded episodes; what stands on padding is noise."""
    count, time = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**30)))
    rewards, values = torch.randn(2, count, time, dtype=torch.float64, generator=rng)
    lengths = torch.randint(1, time + 1, (count, 1), generator=rng)
    mask = (torch.arange(time) < lengths).double()
    return rewards, values, mask, torch.randn(count, dtype=torch.float64, generator=rng)


unit = st.floats(0, 1)


def test_a_terminal_reward_is_credited_to_every_step():
    rewards = tensor([[0, 0, 0, 2]])
    assert discounted_returns(rewards).tolist() == [[2, 2, 2, 2]]
    assert discounted_returns(rewards, 0.5).tolist() == [[0.25, 0.5, 1, 2]]
    # with its γ^t, every step's weight is the same
    assert (discounts(4, 0.5) * discounted_returns(rewards, 0.5)).tolist() == [[0.25] * 4]


@given(episodes(), unit)
@settings(deadline=None)
def test_returns_follow_their_definition(batch, gamma):
    rewards, _, mask, bootstrap = batch
    got = discounted_returns(rewards, gamma, mask, bootstrap)
    for i, length in enumerate(mask.sum(1).int().tolist()):
        for t in range(length):
            tail = sum(gamma ** (k - t) * rewards[i, k] for k in range(t, length))
            assert_close(got[i, t], tail + gamma ** (length - t) * bootstrap[i])
        assert (got[i, length:] == 0).all()


@given(episodes(), unit, unit)
@settings(deadline=None)
def test_gae_follows_its_definition_and_ignores_padding(batch, gamma, lam):
    rewards, values, mask, bootstrap = batch
    got = generalized_advantages(rewards, values, gamma, lam, mask, bootstrap)
    for i, length in enumerate(mask.sum(1).int().tolist()):
        after = [*values[i, 1:length], bootstrap[i]]
        delta = [rewards[i, t] + gamma * after[t] - values[i, t] for t in range(length)]
        for t in range(length):
            assert_close(got[i, t], sum((gamma * lam) ** (k - t) * delta[k] for k in range(t, length)))
        assert (got[i, length:] == 0).all()


@given(episodes(), unit)
@settings(deadline=None)
def test_the_two_ends_of_gae_and_of_n_step_returns(batch, gamma):
    rewards, values, mask, bootstrap = batch
    arguments = (gamma, mask, bootstrap)
    monte_carlo = discounted_returns(rewards, *arguments)
    errors = td_errors(rewards, values, *arguments)
    assert_close(generalized_advantages(rewards, values, gamma, 1.0, mask, bootstrap), monte_carlo - values * mask)
    assert_close(generalized_advantages(rewards, values, gamma, 0.0, mask, bootstrap), errors)
    assert_close(n_step_returns(rewards, values, 1, *arguments), errors + values * mask)
    assert_close(n_step_returns(rewards, values, 99, *arguments), monte_carlo)


def test_two_step_return_literal():
    got = n_step_returns(tensor([[1, 2, 4, 8]]), tensor([[10, 20, 30, 40]]), 2, 0.5)
    # r_t + γ r_{t+1} + γ² V(s_{t+2}), with V = 0 after the end
    assert got.tolist() == [[1 + 1 + 7.5, 2 + 2 + 10, 4 + 4, 8]]


@given(episodes(), unit, st.integers(1, 3))
@settings(deadline=None)
def test_more_padding_other_order_and_leading_dimensions_change_nothing(batch, gamma, extra):
    rewards, values, mask, bootstrap = batch
    got = generalized_advantages(rewards, values, gamma, 0.9, mask, bootstrap)
    junk = torch.full((len(rewards), extra), 7.0, dtype=torch.float64)
    longer = [torch.cat([x, y], dim=1) for x, y in ((rewards, junk), (values, junk), (mask, 0 * junk))]
    wider = generalized_advantages(longer[0], longer[1], gamma, 0.9, longer[2], bootstrap)
    assert_close(wider, torch.nn.functional.pad(got, (0, extra)))
    order = torch.arange(len(rewards) - 1, -1, -1)
    turned = generalized_advantages(rewards[order], values[order], gamma, 0.9, mask[order], bootstrap[order])
    assert_close(turned, got[order])
    stacked = [torch.stack([x, 2 * x]) for x in (rewards, values)]
    both = generalized_advantages(*stacked, gamma, 0.9, torch.stack([mask, mask]), torch.stack([bootstrap] * 2))
    assert_close(both[0], got)


REWARDS = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rewards": torch.zeros(0, 3)}, r"rewards must not be empty.*\(0, 3\)"),
        ({"rewards": torch.tensor([[0.0, float("nan")]])}, r"rewards \(1, 2\) must be finite"),
        ({"gamma": 1.01}, r"gamma must lie in \[0, 1\], got 1.01"),
        ({"gamma": -0.1}, "gamma"),
        ({"mask": torch.ones(2, 2)}, r"mask \(2, 2\).*rewards \(2, 3\)"),
        ({"mask": torch.tensor([[1, 1, 1], [0, 0, 0]])}, r"mask \(2, 3\): 1 episodes have no first step"),
        ({"mask": torch.tensor([[1, 1, 1], [1, 0, 1]])}, "padding must stand at the end"),
        ({"mask": torch.full((2, 3), 0.5)}, "zeros and ones"),
        ({"bootstrap": torch.zeros(3)}, r"bootstrap \(3,\).*\(2, 3\)"),
    ],
)
def test_bad_input(arguments, message):
    arguments = {"rewards": REWARDS, **arguments}
    with pytest.raises(ValueError, match=message):
        discounted_returns(**arguments)
    with pytest.raises(ValueError, match=message):
        generalized_advantages(values=arguments["rewards"], **arguments)


def test_bad_values_lambda_and_n():
    with pytest.raises(ValueError, match=r"values \(2, 2\).*rewards \(2, 3\)"):
        td_errors(REWARDS, torch.zeros(2, 2))
    with pytest.raises(ValueError, match="lam must lie"):
        generalized_advantages(REWARDS, REWARDS, lam=2.0)
    with pytest.raises(ValueError, match="n must be at least 1"):
        n_step_returns(REWARDS, REWARDS, 0)


HALVES = [(torch.float16, 1e-3), (torch.bfloat16, 8e-3)]  # and what rounding the answer once may cost


@pytest.mark.parametrize(("half", "rounding"), HALVES)
def test_long_episodes_in_half_precision(half, rounding):
    """Summed in bfloat16 5,000 ones are 256."""
    ones = torch.ones(1, 5000, dtype=half)
    to_go, gae = (1 - 0.9999**5000) / (1 - 0.9999), (1 - 0.999**5000) / (1 - 0.999)
    for found, right in (
        (discounted_returns(ones, 0.9999), to_go),
        (reverse_cumsum(ones, 0.9999), to_go),
        (generalized_advantages(ones, 0 * ones, 1.0, 0.999), gae),
        (lambda_returns(ones, 0 * ones, 1.0, 0.999), gae),
        (n_step_returns(ones, 0 * ones, 3000), 3000),
        (discounted_returns(ones, 0.9999, gaps=True, mask=ones), to_go),
    ):
        assert found.dtype == half and found[0, 0].item() == pytest.approx(right, rel=rounding)


def test_a_mask_says_nothing_of_how_exact_the_answer_is():
    rewards, mask = torch.ones(1, 4), torch.ones(1, 4)
    assert discounted_returns(rewards.half(), 0.9, mask).dtype == torch.float16
    assert discounted_returns(rewards, 0.9, mask.half()).dtype == torch.float32
    assert td_errors(rewards.half(), rewards).dtype == torch.float32  # the wider of the two
    assert td_errors(rewards=rewards.half(), values=rewards.half()).dtype == torch.float16


def test_discounts_that_are_not_finite_and_times_that_are_not_whole_are_refused():
    for bad in (torch.nan, torch.inf):
        with pytest.raises(ValueError, match=r"discount \(3,\) must be finite"):
            reverse_cumsum(torch.ones(3), torch.tensor([1.0, bad, 1.0]))
    with pytest.raises(ValueError, match="time must be at least 0 and whole, got 2"):
        discounts(2.5, 0.9)
    assert n_step_returns(torch.ones(1, 3), torch.zeros(1, 3), 2.0).tolist() == [[2, 2, 1]]
