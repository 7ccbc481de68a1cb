import math

import pytest
import torch

from policy_gradients.estimators.log_probs import (
    entropy,
    expected_value,
    gaussian_kl,
    gaussian_log_probs_and_entropy,
    kl_divergence,
    log_probs_and_entropy,
)

LOGITS = torch.tensor([[0.3, -1.2, 2.0], [0.0, 0.0, 0.0]], dtype=torch.float64)


def test_against_a_hand_computed_distribution():
    logits = torch.tensor([math.log(0.5), math.log(0.25), math.log(0.25)], dtype=torch.float64).expand(3, 3)
    log_probs, entropies = log_probs_and_entropy(logits, torch.tensor([0, 1, 2]))
    torch.testing.assert_close(log_probs.exp(), torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64))
    torch.testing.assert_close(entropies, torch.full((3,), 1.5 * math.log(2), dtype=torch.float64))


def test_gradients():
    logits = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: log_probs_and_entropy(x, torch.tensor([2, 0])), logits)
    reference = LOGITS.flip(1).log_softmax(-1)
    assert torch.autograd.gradcheck(lambda x: kl_divergence(x.log_softmax(-1), reference), logits)


def test_minus_log_prob_of_the_sample_has_the_value_of_the_entropy_and_none_of_its_gradient():
    logits = LOGITS[0].clone().requires_grad_()
    probabilities = logits.softmax(-1).detach()
    log_probs, entropies = log_probs_and_entropy(logits.expand(3, 3), torch.arange(3))
    expected = (probabilities * -log_probs).sum()
    torch.testing.assert_close(expected, entropies[0])
    [sampled] = torch.autograd.grad(expected, logits, retain_graph=True)
    [exact] = torch.autograd.grad(entropies[0], logits)
    torch.testing.assert_close(sampled, torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)
    assert exact.norm() > 0.1


def test_kl_is_zero_only_for_equal_distributions_and_not_symmetric():
    p, q = torch.tensor([0.5, 0.5]).double().log(), torch.tensor([0.9, 0.1]).double().log()
    assert kl_divergence(p, p).item() == 0
    assert kl_divergence(p, q).item() == pytest.approx(0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1))
    assert kl_divergence(p, q).item() != pytest.approx(kl_divergence(q, p).item(), rel=0.1)


def test_impossible_actions_count_nothing():
    log_pi = torch.tensor([0.0, -math.inf])
    assert entropy(log_pi).item() == 0
    assert kl_divergence(log_pi, torch.tensor([math.log(0.5), math.log(0.5)])).item() == pytest.approx(math.log(2))


def test_half_precision_is_widened():
    log_probs, entropies = log_probs_and_entropy(LOGITS.bfloat16(), torch.tensor([0, 1]))
    assert log_probs.dtype == entropies.dtype == torch.float32


def test_shapes_that_do_not_match():
    with pytest.raises(ValueError, match=r"logits \(2, 3\) and actions \(3,\)"):
        log_probs_and_entropy(LOGITS, torch.tensor([0, 1, 2]))


def test_expected_value_and_its_gradient_by_hand():
    """π = (¼, ¾), Q = (1, 0): Σ π Q = ¼, and its gradient to the logits is π_a (Q_a - ¼)."""
    logits = torch.tensor([0.0, math.log(3)], dtype=torch.float64, requires_grad=True)
    value = expected_value(logits.log_softmax(-1), torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert value.item() == pytest.approx(0.25)
    value.backward()
    torch.testing.assert_close(logits.grad, torch.tensor([0.25 * 0.75, -0.75 * 0.25], dtype=torch.float64))


def test_expected_value_is_fixed_in_q_and_has_no_gradient_where_all_actions_are_worth_the_same():
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    q = torch.full((3, 5), 7.0, requires_grad=True)
    value = expected_value(logits.log_softmax(-1), q)
    torch.testing.assert_close(value.detach(), torch.full((3,), 7.0))
    value.sum().backward()
    assert q.grad is None
    torch.testing.assert_close(logits.grad, torch.zeros(3, 5), atol=1e-6, rtol=0)


def test_expected_value_of_other_shapes_is_refused():
    with pytest.raises(ValueError, match="differ"):
        expected_value(torch.zeros(2, 3), torch.zeros(3))


def test_what_the_reference_alone_rules_out_is_infinite_however_rare():
    """exp(-200) is 0 in float32, and 0 · inf was NaN; the other rows are as they were."""
    log_pi = torch.tensor([[0.0, -200.0], [0.0, -math.inf], [0.0, -200.0]], requires_grad=True)
    log_ref = torch.tensor([[0.0, -math.inf], [0.0, -math.inf], [0.0, -1.0]])
    divergence = kl_divergence(log_pi, log_ref)
    assert divergence.tolist() == [math.inf, 0, 0]
    divergence.sum().backward()
    assert log_pi.grad.isfinite().all()
    assert kl_divergence(log_ref, log_pi)[2].item() == pytest.approx(math.exp(-1) * 199)


EYE, ORIGIN = torch.eye(2), torch.zeros(2)


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        ({"scale_tril": torch.tensor([[1.0, 5.0], [0.5, 2.0]])}, "scale_tril .* must be lower triangular"),
        ({"scale_tril": torch.tensor([[1.0, 0.0], [math.nan, 2.0]])}, "scale_tril .* must be finite"),
        ({"mean": torch.tensor([math.nan, 0.0])}, "mean .* must be finite"),
    ],
)
def test_gaussians_that_are_none_are_refused(spoilt, message):
    """KL(N ‖ N) of such a factor with itself was 12.03: half of the functions that use it read its upper part."""
    good = {"mean": ORIGIN, "scale_tril": EYE}
    with pytest.raises(ValueError, match=message):
        gaussian_kl(**{**good, **spoilt}, ref_mean=ORIGIN, ref_scale_tril=EYE)
    with pytest.raises(ValueError, match=message):
        gaussian_kl(ORIGIN, EYE, *{**good, **spoilt}.values())
    with pytest.raises(ValueError, match=message):
        gaussian_log_probs_and_entropy(**{**good, **spoilt}, actions=ORIGIN)
