import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policy_gradients.estimators.advantages import group_advantages, zero_variance_share

REWARDS = torch.tensor([[1.0, 0.0, 0.0, 1.0], [3.0, 3.0, 3.0, 3.0]], dtype=torch.float64)
groups = (
    st.integers(2, 6)
    .flatmap(lambda size: st.lists(st.lists(st.floats(-9, 9), min_size=size, max_size=size), min_size=1, max_size=4))
    .map(lambda rows: torch.tensor(rows, dtype=torch.float64))
)


@pytest.mark.parametrize(
    ("baseline", "scale", "first_row"),
    [
        ("none", "none", [1, 0, 0, 1]),
        ("mean", "none", [0.5, -0.5, -0.5, 0.5]),
        ("leave_one_out", "none", [2 / 3, -2 / 3, -2 / 3, 2 / 3]),
        # the sample standard deviation of 1, 0, 0, 1 is sqrt(1/3)
        ("mean", "std", [0.5 / (3**-0.5 + 1e-4), *[-0.5 / (3**-0.5 + 1e-4)] * 2, 0.5 / (3**-0.5 + 1e-4)]),
    ],
)
def test_literals(baseline, scale, first_row):
    advantages = group_advantages(REWARDS, baseline, scale)
    torch.testing.assert_close(advantages[0], torch.tensor(first_row, dtype=torch.float64))
    if baseline != "none":
        assert advantages[1].tolist() == [0, 0, 0, 0]


@given(groups)
def test_leave_one_out_is_the_mean_baseline_scaled(rewards):
    size = rewards.shape[1]
    expected = group_advantages(rewards, "mean") * size / (size - 1)
    torch.testing.assert_close(group_advantages(rewards, "leave_one_out"), expected)


@given(groups, st.floats(-50, 50))
def test_a_constant_added_to_the_rewards_changes_nothing(rewards, constant):
    for baseline in ("mean", "leave_one_out"):
        moved = group_advantages(rewards + constant, baseline)
        torch.testing.assert_close(moved, group_advantages(rewards, baseline), atol=1e-9, rtol=0)


@given(groups)
def test_permuting_a_group_permutes_its_advantages(rewards):
    order = torch.randperm(rewards.shape[1], generator=torch.Generator().manual_seed(0))
    for scale in ("none", "std"):
        permuted = group_advantages(rewards[:, order], "mean", scale)
        torch.testing.assert_close(permuted, group_advantages(rewards, "mean", scale)[:, order])


def test_no_gradient_flows_through_advantages():
    assert not group_advantages(REWARDS.clone().requires_grad_()).requires_grad


@pytest.mark.parametrize(
    ("rewards", "arguments", "message"),
    [
        (torch.zeros(4), {}, r"shape \(prompts, G\).*\(4,\)"),
        (torch.zeros(0, 4), {}, r"not be empty"),
        (torch.zeros(3, 1), {}, r"at least 2 completions.*\(3, 1\)"),
        (torch.tensor([[0.0, float("nan")]]), {}, "finite"),
        (REWARDS, {"baseline": "median"}, "baseline"),
        (REWARDS, {"scale": "range"}, "scale"),
    ],
)
def test_bad_input(rewards, arguments, message):
    with pytest.raises(ValueError, match=message):
        group_advantages(rewards, **arguments)


def test_zero_variance_share():
    assert zero_variance_share(REWARDS).item() == 0.5
    # all 2^3 outcomes of a group of 3 with p = 1/2: p^3 + (1-p)^3 = 1/4 of them are uniform
    outcomes = torch.tensor([[i >> k & 1 for k in range(3)] for i in range(8)], dtype=torch.float64)
    assert zero_variance_share(outcomes).item() == 0.25
