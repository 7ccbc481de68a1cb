import pytest
import torch

from policy_gradients.estimators.state_values import StateValues

# three episodes of at most three actions over four states; the third ended at once
STATES = torch.tensor([[0, 1, 2], [0, 1, 3], [0, 0, 0]])
MASK = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]])
REWARDS = torch.tensor([1.0, 0.0, 0.5])
RETURNS = REWARDS.unsqueeze(1).expand(3, 3)  # nothing on the way costs anything


def filled(memory=0.5):
    values = StateValues(4, memory)
    values.update(STATES, MASK, RETURNS)
    return values


def test_counts_and_sums_of_a_batch_by_hand():
    values = filled()
    assert values.counts.tolist() == [3, 2, 1, 0]
    assert values.sums.tolist() == [1.5, 1, 1, 0]


def test_estimates_are_means_with_one_pseudo_visit_that_ended_at_once():
    wanted = torch.tensor([(1.5 + 0.1) / 4, (1 + 0.2) / 3, (1 + 0.3) / 2, 0.4])
    torch.testing.assert_close(filled().estimates(torch.tensor([0.1, 0.2, 0.3, 0.4])), wanted)


def test_an_older_batch_counts_less():
    values = filled(memory=0.5)
    values.update(STATES, MASK, torch.zeros(3, 3))
    assert values.counts.tolist() == [4.5, 3, 1.5, 0]
    assert values.sums.tolist() == [0.75, 0.5, 0.5, 0]


def test_means_of_many_episodes_are_the_values_of_the_chain():
    """From 0 to 1 or 2 with equal chance, then the end, which pays 1 after state 1: V(0) = ½, V(1) = 1, V(2) = 0."""
    states, rewards = torch.tensor([[0, 1], [0, 2]]).repeat(500, 1), torch.tensor([1.0, 0]).repeat(500)
    values = StateValues(3, 0.0)
    values.update(states, torch.ones_like(states), rewards.unsqueeze(1).expand(1000, 2))
    torch.testing.assert_close(values.estimates(torch.zeros(3)), torch.tensor([0.5, 1.0, 0.0]), atol=2e-3, rtol=0)


def test_what_a_step_costs_counts_in_the_states_up_to_it():
    values = StateValues(4, 0.5)
    # steps that cost 0.1, 0.2 and 0.3
    values.update(STATES, MASK, RETURNS - torch.tensor([[0.6, 0.5, 0.3], [0, 0, 0], [0, 0, 0]]))
    torch.testing.assert_close(values.sums, torch.tensor([0.9, 0.5, 0.7, 0]))


@pytest.mark.parametrize("arguments", [(0, 0.5), (3, 1.0), (3, -0.1)])
def test_impossible_tables_are_refused(arguments):
    with pytest.raises(ValueError, match="num_states"):
        StateValues(*arguments)


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="do not match"):
        StateValues(4).update(STATES, MASK[:, :2], RETURNS)
    with pytest.raises(ValueError, match="do not match"):
        StateValues(4).update(STATES, MASK, RETURNS[:2])
