import pytest
import torch
from torch.testing import assert_close

from policy_gradients.estimators.baselines import (
    leave_one_out,
    mean_of_peers,
    optimal_baseline,
    running_mean,
    value_loss,
)


def test_leave_one_out_is_the_mean_of_the_others():
    values = torch.tensor([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]], dtype=torch.float64)
    assert leave_one_out(values).tolist() == [[4, 3.5, 1.5], [1.5, 1.5, 0]]
    assert_close(leave_one_out(values.T, dim=0), leave_one_out(values).T)


def test_running_mean_moves_towards_the_batch():
    assert running_mean(1.0, torch.tensor([2.0, 4.0]), 0.25).item() == 1.5
    assert running_mean(torch.zeros(2), torch.tensor([[1.0, 3.0], [5.0, 5.0]]), 1.0).tolist() == [2, 5]


def test_the_optimal_baseline_minimises_the_variance_of_each_component():
    generator = torch.Generator().manual_seed(0)
    scores, returns = torch.randn(40, 3, dtype=torch.float64, generator=generator), torch.arange(40).double()
    probabilities = torch.rand(40, dtype=torch.float64, generator=generator)
    probabilities /= probabilities.sum()
    # the second moment is what a constant can change: the mean of ψ·b is zero for true scores
    best = optimal_baseline(scores, returns, probabilities)

    def second_moment(b):
        return torch.einsum("n,np->p", probabilities, (scores * (returns[:, None] - b)).square())

    for move in (-0.01, 0.01):
        assert (second_moment(best) < second_moment(best + move)).all()
    equal = optimal_baseline(scores, returns)
    assert_close(equal, optimal_baseline(scores, returns, torch.full((40,), 1 / 40, dtype=torch.float64)))
    assert optimal_baseline(torch.zeros(2, 1), torch.ones(2)).tolist() == [0]


def test_value_loss_counts_real_steps_alone():
    values = torch.tensor([[1.0, 9.0]], dtype=torch.float64, requires_grad=True)
    returns = torch.tensor([[3.0, 0.0]], dtype=torch.float64, requires_grad=True)
    loss = value_loss(values, returns, torch.tensor([[1, 0]]))
    loss.backward()
    assert loss.item() == 2
    assert values.grad.tolist() == [[-2, 0]]
    assert returns.grad is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: leave_one_out(torch.zeros(3, 1)), r"values \(3, 1\).*at least 2"),
        (lambda: leave_one_out(torch.tensor([0.0, torch.inf])), "finite"),
        (lambda: running_mean(0.0, torch.zeros(0)), "rewards must not be empty"),
        (lambda: running_mean(0.0, torch.zeros(2), 1.5), "rate"),
        (lambda: optimal_baseline(torch.zeros(3, 2), torch.zeros(2)), r"scores \(3, 2\).*\(2,\)"),
        (lambda: optimal_baseline(torch.zeros(2, 2), torch.zeros(2), torch.zeros(3)), r"probabilities \(3,\)"),
        (lambda: value_loss(torch.zeros(2, 3), torch.zeros(2, 2)), r"values \(2, 3\).*returns \(2, 2\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_peers_are_compared_and_who_has_none_meets_all():
    values, of = torch.tensor([1.0, 2.0, 6.0, 11.0]), torch.tensor([0, 0, 0, 1])
    same = of.unsqueeze(0) == of.unsqueeze(1)
    assert mean_of_peers(values, same).tolist() == [4, 3.5, 1.5, 3]
    assert_close(mean_of_peers(values, torch.ones(4, 4, dtype=torch.bool)), leave_one_out(values))
    both = torch.stack([values, values.flip(0)])
    each = torch.stack([same, same.flip(0, 1)])
    assert_close(mean_of_peers(both, each)[1], mean_of_peers(values, same).flip(0))
    assert_close(mean_of_peers(both, same)[0], mean_of_peers(values, same))
    one_way = torch.zeros(4, 4, dtype=torch.bool)
    one_way[0, 3] = True  # row i: with whom i is compared
    assert mean_of_peers(values, one_way)[0] == 11 and mean_of_peers(values, one_way)[3] == 3
    assert mean_of_peers(torch.tensor([1, 0]), torch.zeros(2, 2, dtype=torch.bool)).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("values", "peers", "said"),
    [
        (torch.zeros(1), torch.zeros(1, 1, dtype=torch.bool), "at least 2"),
        (torch.zeros(3), torch.zeros(3, 3), "truth values"),
        (torch.zeros(3), torch.zeros(2, 2, dtype=torch.bool), r"shape \(3, 3\)"),
        (torch.zeros(2, 3), torch.zeros(4, 3, 3, dtype=torch.bool), "leading dimensions"),
        (torch.tensor([0.0, torch.nan]), torch.zeros(2, 2, dtype=torch.bool), "finite"),
    ],
)
def test_peers_that_do_not_fit_are_refused(values, peers, said):
    with pytest.raises(ValueError, match=said):
        mean_of_peers(values, peers)


def test_half_precision_does_not_overflow_on_the_way():
    """300² and 100 · 1000 do, in float16, though the answers are small."""
    assert optimal_baseline(torch.full((5, 1), 300.0).half(), torch.ones(5).half()).tolist() == [1]
    values = 1000 + torch.arange(100.0)
    others = leave_one_out(values.half())
    assert others.dtype == torch.float16
    assert_close(others.float(), leave_one_out(values), atol=0.5, rtol=0)


def test_a_number_as_the_baseline_has_the_precision_of_the_rewards():
    assert running_mean(0.1, torch.ones(3, dtype=torch.float64), 0.0).item() == 0.1
    found = running_mean(0.1, torch.ones(3, dtype=torch.bfloat16), 0.0)
    assert found.dtype == torch.float32 and found.item() == pytest.approx(0.1, rel=1e-6)
