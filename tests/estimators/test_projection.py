import pytest
import torch

from policy_gradients.estimators.projection import projection_divergence, soft_target

LOG_REF = torch.tensor([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]], dtype=torch.float64).log()
Q = torch.tensor([[0.0, 1.0, 0.3], [0.2, 0.2, 0.2]], dtype=torch.float64)


def objective(log_pi, temperature):
    return (log_pi.exp() * (Q - temperature * (log_pi - LOG_REF))).sum(-1)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_the_target_is_the_best_policy_under_its_price_of_divergence(temperature):
    log_q = soft_target(LOG_REF, Q, temperature)
    torch.testing.assert_close(log_q.exp().sum(-1), torch.ones(2, dtype=torch.float64))
    best = objective(log_q, temperature)
    # the optimum has a closed form: η log Σ π_ref exp(Q/η)
    torch.testing.assert_close(best, temperature * (LOG_REF + Q / temperature).logsumexp(-1))
    others = torch.randn(500, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log_softmax(-1)
    assert (objective(others, temperature) <= best).all()


def test_where_all_actions_are_worth_the_same_the_target_is_the_reference():
    torch.testing.assert_close(soft_target(LOG_REF, Q, 0.1)[1], LOG_REF[1])


def test_the_gradient_is_the_difference_of_the_two_policies():
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    log_q = soft_target(LOG_REF, Q, 0.3)
    divergence = projection_divergence(logits.log_softmax(-1), log_q)
    assert (divergence > 0).all()
    [gradient] = torch.autograd.grad(divergence.sum(), [logits])
    torch.testing.assert_close(gradient, (logits.softmax(-1) - log_q.exp()).detach())


def test_it_is_zero_at_the_target():
    log_q = soft_target(LOG_REF, Q, 0.3)
    torch.testing.assert_close(projection_divergence(log_q, log_q), torch.zeros(2, dtype=torch.float64))


def test_an_answer_that_is_all_but_given_up_is_still_pulled():
    """What the policy gradient has for it is its chance times its advantage."""
    logits = torch.tensor([12.0, 0.0], dtype=torch.float64, requires_grad=True)  # both are worth the same
    log_ref, q = torch.tensor([0.5, 0.5], dtype=torch.float64).log(), torch.ones(2, dtype=torch.float64)
    divergence = projection_divergence(logits.log_softmax(-1), soft_target(log_ref, q, 0.1))
    [pulled] = torch.autograd.grad(divergence, [logits])
    assert pulled[1] < -0.49
    log_pi = logits.log_softmax(-1)
    [reverse] = torch.autograd.grad((log_pi.exp() * (log_pi - log_ref)).sum(), [logits])
    assert abs(reverse[1]) < 1e-4


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="differ"):
        soft_target(LOG_REF, Q[:, :2], 1.0)
    with pytest.raises(ValueError, match="above 0"):
        soft_target(LOG_REF, Q, 0.0)


def test_what_the_policy_alone_rules_out_is_infinite_however_rare():
    log_target = torch.tensor([0.0, -200.0])
    assert projection_divergence(torch.tensor([0.0, -torch.inf]), log_target).item() == torch.inf


@pytest.mark.parametrize("temperature", [1e-39, 1e-50, 1e-320])
def test_next_to_no_temperature_takes_the_best_action(temperature):
    """1 / 1e-39 is inf in float32, and inf - inf was NaN."""
    log_ref = torch.tensor([0.5, 0.25, 0.25, 0.0]).log()
    found = soft_target(log_ref[[0, 1, 3]], torch.tensor([1.0, 0.0, 2.0]), temperature)
    assert found.tolist() == [0, -torch.inf, -torch.inf]
    found = soft_target(log_ref, torch.tensor([-3.0, 7.0, 7.0, 9.0]), temperature)  # a tie, and the last is ruled out
    torch.testing.assert_close(found.exp(), torch.tensor([0.0, 0.5, 0.5, 0.0]))


def test_values_of_actions_that_are_ruled_out_do_not_count_and_all_others_must_be_finite():
    log_ref = torch.tensor([0.5, 0.5, 0.0]).log()
    found = soft_target(log_ref, torch.tensor([1.0, 2.0, torch.nan]), 1.0)
    torch.testing.assert_close(found[:2], torch.tensor([1.0, 2.0]).log_softmax(-1))
    with pytest.raises(ValueError, match=r"action_values .* must be finite"):
        soft_target(log_ref, torch.tensor([1.0, torch.nan, 2.0]), 1.0)
    with pytest.raises(ValueError, match="every action is ruled out"):
        soft_target(torch.full((3,), -torch.inf), torch.ones(3), 1.0)


@pytest.mark.parametrize("temperature", [1.0, 1e-6, 1e-8, 1e-30])
def test_equal_values_leave_the_reference_at_any_temperature(temperature):
    log_ref = torch.tensor([0.9, 0.1]).log()
    for best in (1.0, 1e8):
        torch.testing.assert_close(soft_target(log_ref, torch.full((2,), best), temperature), log_ref)
    half = soft_target(log_ref.bfloat16(), torch.ones(2, dtype=torch.bfloat16), temperature)
    assert half.dtype == torch.bfloat16 and half.float().exp().tolist() == pytest.approx([0.9, 0.1], abs=4e-3)
