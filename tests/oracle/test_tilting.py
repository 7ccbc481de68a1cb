"""The tilted optimum against other policies, best-of-n against all samples that can be drawn, and its bound."""

import itertools
import math

import pytest
import torch

from policy_gradients.oracle.gradients import gradient
from policy_gradients.oracle.tilting import best_of_n, best_of_n_kl_bound, kl_divergence, tilted, tilted_to

DOUBLE = {"dtype": torch.float64}
GENERATOR = torch.Generator().manual_seed(0)
REF = torch.randn(5, generator=GENERATOR, **DOUBLE).softmax(0)
SCORES = torch.tensor([0.0, 2.0, 2.0, 1.0, -1.0], **DOUBLE)


def test_kl_by_hand():
    pi = torch.tensor([[0.5, 0.5], [1.0, 0.0]], **DOUBLE)
    q = torch.tensor([0.25, 0.75], **DOUBLE)
    expected = [0.5 * math.log(2) + 0.5 * math.log(2 / 3), math.log(4)]
    assert kl_divergence(pi.log(), q.log()).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("beta", [0.3, 2.0])
def test_the_optimum_is_where_the_gradient_vanishes_and_missing_reward_is_kl(beta):
    def priced(log_pi):
        return (log_pi.exp() * SCORES).sum() - beta * kl_divergence(log_pi, REF.log())

    best = tilted(REF.log(), SCORES, beta)
    assert best.exp().sum() == pytest.approx(1)
    assert gradient(lambda t: priced(t.log_softmax(-1)), best).abs().max() < 1e-14
    other = torch.randn(5, generator=GENERATOR, **DOUBLE).log_softmax(0)
    assert (priced(best) - priced(other)).item() == pytest.approx(beta * kl_divergence(other, best).item())


@pytest.mark.parametrize("kl", [0.0, 0.1, 0.5])
def test_a_tilt_to_a_given_kl(kl):
    policy = tilted_to(REF.log(), SCORES, kl)
    assert kl_divergence(policy, REF.log()).item() == pytest.approx(kl, abs=1e-9)
    assert policy.exp() @ SCORES >= REF @ SCORES - 1e-9


def test_no_tilt_goes_beyond_the_best_scores():
    policy = tilted_to(REF.log(), SCORES, 100.0)
    top = SCORES == 2
    torch.testing.assert_close(policy.exp(), torch.where(top, REF, 0.0) / REF[top].sum())


@pytest.mark.parametrize("n", [1, 2, 4])
def test_best_of_n_is_what_all_samples_make_of_it(n):
    kept = torch.zeros(5, **DOUBLE)
    for drawn in itertools.product(range(5), repeat=n):
        highest = max(SCORES[i].item() for i in drawn)
        tied = [i for i in drawn if SCORES[i] == highest]
        for i in tied:
            kept[i] += math.prod(REF[j].item() for j in drawn) / len(tied)
    torch.testing.assert_close(best_of_n(REF, SCORES, n), kept)


def test_nearly_equal_scores_are_ties():
    torch.testing.assert_close(best_of_n(REF, SCORES + 1e-12 * torch.arange(5), 3), best_of_n(REF, SCORES, 3))


@pytest.mark.parametrize("n", [1, 2, 8, 64])
def test_the_bound_is_above_the_kl_and_reached_without_ties(n):
    bound = best_of_n_kl_bound(n)
    coarse = kl_divergence(best_of_n(REF, SCORES, n).log(), REF.log())
    even = torch.full((100_000,), 1e-5, **DOUBLE)
    fine = kl_divergence(best_of_n(even, torch.arange(100_000.0), n).log(), even.log())
    assert coarse <= bound + 1e-12 and fine <= bound + 1e-12
    assert fine.item() == pytest.approx(bound, abs=1e-6)
    if n > 1:
        assert coarse < bound - 0.05


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="above 0"):
        tilted(REF.log(), SCORES, 0.0)
    with pytest.raises(ValueError, match="at least 0"):
        tilted_to(REF.log(), SCORES, -1.0)
    with pytest.raises(ValueError, match="n ≥ 1"):
        best_of_n(REF, SCORES, 0)
    with pytest.raises(ValueError, match="equal shapes"):
        best_of_n(REF, SCORES[:2], 2)
    with pytest.raises(ValueError, match="at least 1"):
        best_of_n_kl_bound(0)


def test_ties_stay_as_the_reference_has_them_however_low_the_price():
    log_ref = torch.tensor([0.6, 0.2, 0.2]).log()
    for beta in (1e-1, 1e-9, 1e-30):
        found = tilted(log_ref, torch.tensor([1.0, 1.0, 0.0]), beta).exp()
        torch.testing.assert_close(found[:2] / found[:2].sum(), torch.tensor([0.75, 0.25]))
    torch.testing.assert_close(
        tilted_to(log_ref, torch.tensor([1.0, 1.0, 0.0]), 99).exp(), torch.tensor([0.75, 0.25, 0])
    )


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_a_given_divergence_is_reached_in_any_unit_of_the_scores(unit):
    log_ref, scores = torch.full((2,), 0.5, dtype=torch.float64).log(), torch.tensor([0.0, unit], dtype=torch.float64)
    assert kl_divergence(tilted_to(log_ref, scores, 0.1), log_ref).item() == pytest.approx(0.1, abs=1e-6)


def test_what_a_policy_rules_out_has_no_say_in_the_gradient_of_its_divergence():
    log_pi = torch.tensor([math.log(0.5), math.log(0.5), -math.inf], dtype=torch.float64, requires_grad=True)
    log_ref = torch.full((3,), 1 / 3, dtype=torch.float64).log()
    assert torch.autograd.grad(kl_divergence(log_pi, log_ref), log_pi)[0].isfinite().all()
