"""Every entry of the table in `divergences`, by enumeration over the actions of a small policy: no sampling."""

import math

import pytest
import torch

from policy_gradients.estimators.divergences import (
    divergence_parts,
    importance_weighted,
    k1,
    k2,
    k3,
    kl_estimate,
)
from policy_gradients.estimators.log_probs import kl_divergence

ACTIONS = 6


@pytest.fixture
def policies():
    """Logits of the policy, and log-probs of the reference and of an older policy, all different."""
    generator = torch.Generator().manual_seed(0)
    logits, reference, old = torch.randn(3, ACTIONS, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), reference.log_softmax(-1), old.log_softmax(-1)


def gradient(value, logits):
    return torch.autograd.grad(value, logits, retain_graph=True)[0]


def exact(logits, ref):
    """KL(π ‖ ref) and KL(ref ‖ π): values and gradients."""
    log_pi = logits.log_softmax(-1)
    values = kl_divergence(log_pi, ref), kl_divergence(ref, log_pi)
    return [(value.detach(), gradient(value, logits)) for value in values]


@pytest.mark.parametrize(("estimator", "unbiased"), [(k1, True), (k2, False), (k3, True)])
def test_expected_values(policies, estimator, unbiased):
    logits, ref, _ = policies
    log_pi = logits.detach().log_softmax(-1)
    expected = (log_pi.exp() * estimator(log_pi, ref)).sum().item()
    assert (expected == pytest.approx(kl_divergence(log_pi, ref).item(), abs=1e-12)) is unbiased


def test_expected_gradients_as_a_loss(policies):
    logits, ref, _ = policies
    (_, reverse), (_, forward) = exact(logits, ref)
    log_pi = logits.log_softmax(-1)
    found = {k: gradient((log_pi.exp().detach() * k(log_pi, ref)).sum(), logits) for k in (k1, k2, k3)}
    for estimator, expected in ((k1, torch.zeros_like(logits)), (k2, reverse), (k3, forward)):
        torch.testing.assert_close(found[estimator], expected, atol=1e-12, rtol=0)
    assert (reverse - forward).norm() > 0.1


def test_expected_gradients_as_a_reward(policies):
    logits, ref, _ = policies
    (_, reverse), (_, forward) = exact(logits, ref)
    log_pi = logits.log_softmax(-1)
    found = {
        k: gradient((log_pi.exp().detach() * k(log_pi, ref).detach() * log_pi).sum(), logits) for k in (k1, k2, k3)
    }
    torch.testing.assert_close(found[k1], reverse, atol=1e-12, rtol=0)
    torch.testing.assert_close(found[k3], reverse - forward, atol=1e-12, rtol=0)
    for wrong in (reverse, forward, reverse - forward):
        assert (found[k2] - wrong).norm() > 0.1


@pytest.mark.parametrize("estimator", [k1, k3])
@pytest.mark.parametrize("on_policy", [True, False])
def test_the_ratio_gives_the_loss_the_value_and_the_gradient_of_the_divergence(policies, estimator, on_policy):
    logits, ref, old = policies
    log_pi = logits.log_softmax(-1)
    old = log_pi.detach() if on_policy else old
    expected = (old.exp() * importance_weighted(estimator(log_pi, ref), log_pi, old)).sum()
    (value, reverse), _ = exact(logits, ref)
    torch.testing.assert_close(expected.detach(), value, atol=1e-12, rtol=0)
    torch.testing.assert_close(gradient(expected, logits), reverse, atol=1e-12, rtol=0)


def test_literals_of_one_action():
    log_probs, ref = torch.tensor([math.log(0.5)]).double(), torch.tensor([math.log(0.25)]).double()
    assert k1(log_probs, ref).item() == pytest.approx(math.log(2))
    assert k2(log_probs, ref).item() == pytest.approx(0.5 * math.log(2) ** 2)
    assert k3(log_probs, ref).item() == pytest.approx(0.5 - 1 + math.log(2))  # r = 1/2; upside down it is 2 - 1 - log 2
    for name, k in (("k1", k1), ("k2", k2), ("k3", k3)):
        assert torch.equal(kl_estimate(log_probs, ref, name), k(log_probs, ref))


def test_the_reference_gets_no_gradient():
    log_probs, ref = torch.zeros(3, requires_grad=True), torch.ones(3, requires_grad=True)
    for k in (k1, k2, k3):
        k(log_probs, ref).sum().backward()
    assert ref.grad is None


KL = torch.tensor([[1.0, 2.0, 4.0], [3.0, 5.0, 9.0]])
MASK = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])


@pytest.mark.parametrize(
    ("place", "exact", "cost", "term"),
    [
        ("reward", True, [[2, 4, 0], [5, 0, 0]], [[1, 2, 4], [3, 5, 0]]),
        ("reward", False, [[1, 2, 4], [3, 5, 0]], [[0] * 3] * 2),
        ("loss", True, [[0] * 3] * 2, [[1, 2, 4], [3, 5, 0]]),
        ("weighted_loss", False, [[0] * 3] * 2, [[1, 2, 4], [3, 5, 0]]),
    ],
)
def test_where_a_divergence_enters(place, exact, cost, term):
    kl = KL.clone().requires_grad_()
    found_cost, found_term = divergence_parts(kl, MASK, place, exact)
    assert found_cost.tolist() == cost and found_term.tolist() == term
    assert not found_cost.requires_grad


def test_bad_input():
    with pytest.raises(ValueError, match=r"log_probs \(2, 3\) and ref_log_probs \(3,\) differ"):
        k3(KL, KL[0])
    with pytest.raises(ValueError, match="'k1', 'k2' or 'k3', got 'exact'"):
        kl_estimate(KL, KL, "exact")
    with pytest.raises(ValueError, match="one shape"):
        importance_weighted(KL, KL, KL[0])
    with pytest.raises(ValueError, match="place"):
        divergence_parts(KL, MASK, "prompt")
    with pytest.raises(ValueError, match=r"kl \(2, 3\) and mask \(2, 2\)"):
        divergence_parts(KL, MASK[:, :2])


def test_k3_of_close_policies_is_neither_negative_nor_lost():
    for dtype, noise in ((torch.float32, 2e-5), (torch.float32, 1e-3), (torch.bfloat16, 0.05), (torch.float16, 0.01)):
        log_probs = -torch.rand(2000, generator=torch.Generator().manual_seed(0)).to(dtype)
        ref = log_probs + noise * torch.randn(2000, generator=torch.Generator().manual_seed(1)).to(dtype)
        log_ratio = ref.double() - log_probs.double()
        found = k3(log_probs, ref)
        assert (found >= 0).all()
        assert found.double().mean().item() == pytest.approx((log_ratio.expm1() - log_ratio).mean().item(), rel=0.02)
