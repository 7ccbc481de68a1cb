import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policy_gradients.estimators.advantages import group_advantages, group_advantages_by_id, zero_variance_share

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
        # the batch 1, 0, 0, 1, 3, 3, 3, 3 has mean 7/4 and squared deviations 13.5 in all; within groups they are 1
        ("batch_mean", "none", [-0.75, -1.75, -1.75, -0.75]),
        ("batch_mean", "batch_std", [x / ((13.5 / 7) ** 0.5 + 1e-4) for x in (-0.75, -1.75, -1.75, -0.75)]),
        ("mean", "batch_std", [x / (7**-0.5 + 1e-4) for x in (0.5, -0.5, -0.5, 0.5)]),
    ],
)
def test_literals(baseline, scale, first_row):
    advantages = group_advantages(REWARDS, baseline, scale)
    torch.testing.assert_close(advantages[0], torch.tensor(first_row, dtype=torch.float64))
    if baseline in ("mean", "leave_one_out"):
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
        (torch.zeros(3, 1), {}, r"a group needs at least 2 completions.*\(3, 1\)"),
        (torch.zeros(3, 1), {"baseline": "none", "scale": "std"}, r"a group needs at least 2"),
        (torch.zeros(1, 1), {"baseline": "batch_mean"}, r"a batch needs at least 2"),
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


def test_a_batch_of_single_completions():
    """Sixteen prompts, one completion each: there are no groups, but a batch there is."""
    rewards = torch.arange(16.0).unsqueeze(1)
    advantages = group_advantages(rewards, "batch_mean", "batch_std", epsilon=0)
    assert advantages.mean().item() == pytest.approx(0, abs=1e-6) and advantages.std().item() == pytest.approx(1)


def test_which_standard_deviation():
    """Of 1, 0, 0, 1: 1/2 if divided by n, the square root of 1/3 if divided by n - 1."""
    population, sample = (
        group_advantages(REWARDS, "mean", "std", 0.0, correction)[0, 0].item() for correction in (0, 1)
    )
    assert population == pytest.approx(1.0) and sample == pytest.approx(0.5 * math.sqrt(3))


def expected_gradient(probabilities, group_size, baseline, scale="none"):
    """E over *all* G-tuples of outcomes, for each prompt, of mean_i A_i ∂log π(a_i)/∂logit: two actions, 0/1 reward.

    `probabilities` are the prompts' pass probabilities; the score of passing is 1 - p, of failing -p.
    """
    total = torch.zeros(len(probabilities), dtype=torch.float64)
    count = group_size * len(probabilities)
    for outcome in itertools.product([1.0, 0.0], repeat=count):
        rewards = torch.tensor(outcome, dtype=torch.float64).view(len(probabilities), group_size)
        p = torch.tensor(probabilities, dtype=torch.float64).unsqueeze(1)
        weight = torch.where(rewards == 1, p, 1 - p).prod()
        advantages = group_advantages(rewards, baseline, scale, epsilon=1e-12)
        total += weight * (advantages * (rewards - p)).mean(1)
    return total


@pytest.mark.parametrize("group_size", [2, 4])
@pytest.mark.parametrize("baseline", ["none", "leave_one_out", "mean", "batch_mean"])
def test_bias_of_each_baseline_over_all_groups(group_size, baseline):
    """A prompt's exact gradient is p (1 - p). A mean that holds the own reward scales it, by 1 - 1 over its size."""
    probabilities = [0.3, 0.8]
    exact = torch.tensor([p * (1 - p) for p in probabilities], dtype=torch.float64)
    shrink = {"mean": 1 - 1 / group_size, "batch_mean": 1 - 1 / (2 * group_size)}.get(baseline, 1.0)
    found = expected_gradient(probabilities, group_size, baseline)
    torch.testing.assert_close(found, shrink * exact, atol=1e-12, rtol=0)


def weight_of_a_prompt(p, group_size):
    """E[mean_i A_i ∂log π(a_i)/∂logit] / p (1 - p) with group mean and std, over the number of passes in the group."""
    total = 0.0
    for passes in range(group_size + 1):
        rewards = (torch.arange(group_size) < passes).double().unsqueeze(0)
        gradient = (group_advantages(rewards, "mean", "std", epsilon=1e-12) * (rewards - p)).mean().item()
        total += math.comb(group_size, passes) * p**passes * (1 - p) ** (group_size - passes) * gradient
    return total / (p * (1 - p))


def test_a_groups_standard_deviation_gives_each_prompt_its_own_weight():
    """In large groups 1/sqrt(p (1 - p)), more for hard and for easy prompts; in pairs it is one constant for all."""
    pairs, large = ({p: weight_of_a_prompt(p, size) for p in (0.1, 0.5, 0.95)} for size in (2, 256))
    assert pairs[0.1] == pytest.approx(pairs[0.5]) == pytest.approx(pairs[0.95])
    for p, weight in large.items():
        assert weight == pytest.approx((p * (1 - p)) ** -0.5, rel=0.02)


def test_a_batchs_standard_deviation_is_one_weight_for_all_prompts():
    rewards = torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]])
    ratio = group_advantages(rewards, "mean", "batch_std") / group_advantages(rewards, "mean")
    torch.testing.assert_close(ratio, ratio[0, 0].expand(2, 4))


@pytest.mark.parametrize("baseline", ["mean", "leave_one_out", "batch_mean"])
def test_rewards_whose_sum_overflows_are_refused(baseline):
    """Their mean was infinite, and with it every advantage."""
    rewards = torch.tensor([[3e38, 1e38, 3e38, 2e38]])
    with pytest.raises(ValueError, match=r"rewards \(1, 4\) up to 3e\+38 overflow torch.float32"):
        group_advantages(rewards, baseline)
    with pytest.raises(ValueError, match="overflow"):
        group_advantages_by_id(rewards[0], torch.zeros(4, dtype=torch.long), baseline)
    assert group_advantages(rewards.double(), baseline).isfinite().all()
