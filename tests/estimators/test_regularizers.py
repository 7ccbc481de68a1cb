import pytest
import torch

from policy_gradients.estimators.regularizers import (
    divergence_to_go,
    entropy_weight,
    group_relative,
    target_entropy_weight,
)

MIXED = torch.tensor([[1.0, 0.0], [0.0, 0.0]])  # within-group variances 1/2 and 0: 1/4 on average


@pytest.mark.parametrize(
    ("schedule", "expected"), [("constant", 0.01), ("inverse_variance", 0.04), ("variance", 0.0025)]
)
def test_both_readings_of_a_weight_that_follows_the_reward_variance(schedule, expected):
    assert entropy_weight(0.01, MIXED, schedule) == pytest.approx(expected)


def test_the_inverse_is_capped_where_nothing_passes_and_where_everything_does():
    for rewards in (torch.zeros(4, 8), torch.ones(4, 8)):
        assert entropy_weight(0.01, rewards, "inverse_variance", cap=5) == pytest.approx(0.05)
        assert entropy_weight(0.01, rewards, "variance") == 0


def test_bad_input():
    with pytest.raises(ValueError, match="base"):
        entropy_weight(-1, MIXED)
    with pytest.raises(ValueError, match="schedule"):
        entropy_weight(1, MIXED, "sometimes")
    with pytest.raises(ValueError, match="G ≥ 2"):
        entropy_weight(1, torch.zeros(3, 1), "variance")
    with pytest.raises(ValueError, match="must not be negative"):
        target_entropy_weight(0.1, 1.0, -1.0, 0.1, 1.0)
    with pytest.raises(ValueError, match=r"cost \(3, 2\) does not divide into groups of 2"):
        group_relative(torch.zeros(3, 2), 2)


def test_divergence_to_go_counts_what_comes_after():
    kl = torch.tensor([[1.0, 2.0, 4.0], [3.0, 5.0, 9.0]], requires_grad=True)
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    to_go = divergence_to_go(kl, mask)
    assert to_go.tolist() == [[6, 4, 0], [5, 0, 0]]
    assert not to_go.requires_grad


@pytest.mark.parametrize(("entropy", "expected"), [(0.5, 0.015), (1.0, 0.01), (1.5, 0.005), (9.0, 0.0), (-200.0, 0.1)])
def test_the_weight_rises_below_the_target_falls_above_it_and_stays_in_bounds(entropy, expected):
    assert target_entropy_weight(0.01, entropy, target=1.0, rate=0.01, cap=0.1) == pytest.approx(expected)


def test_costs_relative_to_the_others_of_the_group():
    cost = torch.tensor([[3.0, 1.0], [1.0, 0.0], [5.0, 2.0], [5.0, 4.0]])
    assert group_relative(cost, 2).tolist() == [[2, 1], [-2, -1], [0, -2], [0, 2]]
    assert group_relative(cost, 4)[0].tolist() == pytest.approx([3 - 11 / 3, 1 - 2])
    assert torch.equal(group_relative(cost, 1), cost)


def test_a_large_divergence_does_not_drown_what_comes_after():
    """1e8 + 1 is 1e8 in float32: the difference of two sums was 0."""
    assert divergence_to_go(torch.tensor([[1e8, 1.0]]), torch.ones(1, 2)).tolist() == [[1, 0]]


def test_divergences_of_long_completions_in_half_precision():
    for half in (torch.float16, torch.bfloat16):
        to_go = divergence_to_go(torch.ones(1, 2049, dtype=half), torch.ones(1, 2049))
        assert to_go.dtype == half and to_go[0, 0].item() == 2048
    cost = torch.full((2, 1), 60_000.0, dtype=torch.float16)  # twice that is no number of float16
    assert group_relative(cost, 2).tolist() == [[0], [0]]
