import pytest
import torch

from policy_gradients.estimators.transition_values import TransitionValues

# three states, two kinds of action: kind 0 stays, kind 1 goes on, up to the last state
AFTER = torch.tensor([[0, 1], [1, 2], [2, 2]])
ENDED = torch.tensor([0.0, 0.0, 1.0])


def test_values_are_those_of_the_chain_by_hand():
    """From 0 on with chance 0.5, from 1 with 0.2, and each state ends with the rest: V = 0.5 · 0.2 · 1 at the start."""
    values = TransitionValues(AFTER, horizon=3, memory=0.0)
    states = torch.arange(3).repeat_interleave(100_000)  # so that the pseudo-visits do not matter
    chances = torch.tensor([[0.0, 0.5, 0.5], [0.0, 0.2, 0.8], [0.0, 0.0, 1.0]])
    values.update(states, chances[states])
    torch.testing.assert_close(values.estimates(ENDED), torch.tensor([0.1, 0.2, 1.0]), atol=1e-4, rtol=1e-3)


def test_who_has_not_ended_by_the_horizon_earns_nothing():
    """A state that is left with chance ½ a step, for the end: 1 - ½^horizon."""
    for horizon in (1, 2, 5):
        values = TransitionValues(torch.zeros(1, 1, dtype=torch.long), horizon, 0.0)
        values.update(torch.zeros(10_000, dtype=torch.long), torch.tensor([[0.5, 0.5]]).expand(10_000, 2))
        torch.testing.assert_close(values.estimates(torch.ones(1)), torch.tensor([1 - 0.5**horizon]), atol=1e-3, rtol=0)


def test_a_state_that_nobody_has_seen_is_worth_ending_in_it():
    values = TransitionValues(AFTER, 3)
    assert values.estimates(torch.tensor([0.1, 0.2, 0.7])).tolist() == pytest.approx([0.1, 0.2, 0.7])


def test_an_older_batch_counts_less():
    values = TransitionValues(AFTER, 3, memory=0.5)
    row = torch.tensor([[0.25, 0.25, 0.5]])
    values.update(torch.tensor([1]), row)
    values.update(torch.tensor([2]), row)
    assert values.counts.tolist() == [0, 0.5, 1]
    torch.testing.assert_close(values.sums[1:], torch.cat([row / 2, row]))


def test_values_are_those_of_a_chain_that_the_oracle_solves():
    """A random chain of five states with one end, against the linear equations V = P V + end · R."""
    generator = torch.Generator().manual_seed(0)
    after = torch.randint(5, (5, 3), generator=generator)
    chances, ended = torch.rand(5, 4, generator=generator).softmax(-1), torch.rand(5, generator=generator)
    values = TransitionValues(after, horizon=400, memory=0.0)
    states = torch.arange(5).repeat_interleave(50_000)
    values.update(states, chances[states])
    moves = torch.zeros(5, 5).scatter_add_(1, after, chances[:, :-1])
    exact = torch.linalg.solve(torch.eye(5) - moves, chances[:, -1] * ended)
    torch.testing.assert_close(values.estimates(ended), exact, atol=1e-3, rtol=0)


@pytest.mark.parametrize("arguments", [(0, 0.5), (3, 1.0), (3, -0.1)])
def test_impossible_tables_are_refused(arguments):
    with pytest.raises(ValueError, match="horizon"):
        TransitionValues(AFTER, *arguments)


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="need kind_probs"):
        TransitionValues(AFTER, 3).update(torch.tensor([0, 1]), torch.ones(2, 2))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_states_of_any_whole_number_type(dtype):
    values, plain = TransitionValues(AFTER.to(dtype), 3), TransitionValues(AFTER, 3)
    chances = torch.tensor([[0.25, 0.25, 0.5], [0.0, 0.0, 1.0]])
    values.update(torch.tensor([1, 2], dtype=dtype), chances)
    plain.update(torch.tensor([1, 2]), chances)
    assert torch.equal(values.sums, plain.sums) and torch.equal(values.counts, plain.counts)
    assert torch.equal(values.estimates(ENDED), plain.estimates(ENDED))


def test_a_refused_update_changes_nothing():
    values = TransitionValues(AFTER, 3, memory=0.5)
    values.update(torch.tensor([1]), torch.tensor([[0.25, 0.25, 0.5]]))
    with pytest.raises(ValueError, match=r"rows must sum to 1, got \[0.75\]"):
        values.update(torch.tensor([1, 2]), torch.tensor([[0.25, 0.25, 0.5], [0.25, 0.25, 0.25]]))
    assert values.counts.tolist() == [0, 1, 0]
    values.update(torch.tensor([1]), torch.tensor([[0.25, 0.25, 0.503]]))  # what half precision leaves of 1
    assert values.counts.tolist() == [0, 1.5, 0]
