import pytest
import torch

from policy_gradients.estimators.regularizers import divergence_to_go, entropy_weight

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


def test_divergence_to_go_counts_what_comes_after():
    kl = torch.tensor([[1.0, 2.0, 4.0], [3.0, 5.0, 9.0]], requires_grad=True)
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    to_go = divergence_to_go(kl, mask)
    assert to_go.tolist() == [[6, 4, 0], [5, 0, 0]]
    assert not to_go.requires_grad
