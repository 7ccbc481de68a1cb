"""The two terms of a retriever and its generator against a token tree's oracle, and variances against enumeration."""

import itertools

import pytest
import torch

from policy_gradients.oracle.exact import Oracle
from policy_gradients.oracle.gradients import gradient
from policy_gradients.oracle.retrieval import Spread, best_group, retrieval_spreads, retrieval_terms
from policy_gradients.worlds.small import token_tree

GENERATOR = torch.Generator().manual_seed(0)
FEATURES = torch.randn(4, 3, 5, generator=GENERATOR, dtype=torch.float64)  # state, action, parameter: shared by both
THETA = torch.randn(5, generator=GENERATOR, dtype=torch.float64)
REWARDS = torch.rand(3, 3, generator=GENERATOR, dtype=torch.float64)


def table(theta):
    return (FEATURES @ theta).log_softmax(-1)


def retriever(theta):
    return table(theta)[0]


def generator(theta):
    return table(theta)[1:]


def test_the_terms_add_up_to_the_oracle_s_gradient():
    world = token_tree(3, 2, lambda text: REWARDS[text].item(), eos=False)
    oracle, terms = Oracle(world, table, THETA), retrieval_terms(retriever, generator, REWARDS, THETA)
    assert terms.objective == pytest.approx(oracle.objective, abs=1e-14)
    torch.testing.assert_close(terms.retrieval + terms.generation, oracle.gradient, atol=1e-14, rtol=0)
    assert terms.retrieval.norm() > 0.01 and terms.generation.norm() > 0.01
    # each is the gradient of a world in which only one of the two depends on θ
    fixed = Oracle(world, lambda t: torch.cat([table(t)[:1], table(THETA)[1:]]), THETA)
    torch.testing.assert_close(terms.retrieval, fixed.gradient, atol=1e-14, rtol=0)
    torch.testing.assert_close(terms.values, oracle.action_values[0], atol=1e-14, rtol=0)


@pytest.mark.parametrize("group", [1, 2, 3])
def test_spreads_are_those_of_all_that_can_be_sampled(group):
    baseline, own = 0.3, torch.tensor([0.1, 0.4, 0.2], dtype=torch.float64)
    pi, psi = (
        table(THETA).exp(),
        [[gradient(lambda t, s=s, a=a: table(t)[s, a], THETA) for a in range(3)] for s in range(4)],
    )
    moments = [[torch.zeros(5, dtype=torch.float64), 0.0] for _ in range(3)]
    for d, *ys in itertools.product(range(3), repeat=1 + group):
        weight = pi[0, d] * torch.stack([pi[1 + d, y] for y in ys]).prod()
        first = psi[0][d] * (sum(REWARDS[d, y] for y in ys) / group - baseline)
        second = sum(psi[1 + d][y] * (REWARDS[d, y] - own[d]) for y in ys) / group
        for moment, estimate in zip(moments, (first, second, first + second), strict=True):
            moment[0] += weight * estimate
            moment[1] += weight * estimate.square().sum()
    spreads = retrieval_spreads(retriever, generator, REWARDS, THETA, baseline, own)
    for spread, (mean, square) in zip(spreads, moments, strict=True):
        assert spread.variance(1, group) == pytest.approx((square - mean.square().sum()).item(), abs=1e-12)
        assert spread.variance(4, group) == pytest.approx(spread.variance(1, group) / 4)
    terms = retrieval_terms(retriever, generator, REWARDS, THETA)
    torch.testing.assert_close(moments[0][0], terms.retrieval, atol=1e-13, rtol=0)
    torch.testing.assert_close(moments[1][0], terms.generation, atol=1e-13, rtol=0)


def test_the_baseline_of_the_retriever_is_that_of_the_answers_where_no_other_is_given():
    given = retrieval_spreads(retriever, generator, REWARDS, THETA, 0.3, torch.full((3,), 0.3, dtype=torch.float64))
    assert retrieval_spreads(retriever, generator, REWARDS, THETA, 0.3) == given


@pytest.mark.parametrize("costs", [(0.03, 0.1, 1000, 50), (0.03, 0.1, 100, 200), (1.0, 0.01, 10, 10), (0.5, 0.0, 9, 1)])
def test_the_best_group_is_the_best_of_all(costs):
    between, within, document, answer = costs
    price = {g: Spread(between, within).variance(1, g) * (document + g * answer) for g in range(1, 200)}
    assert best_group(*costs) == min(price, key=price.get)


@pytest.mark.parametrize("costs", [(0.0, 1, 1, 1), (1, 1, 1, 0), (1, -1, 1, 1), (1, 1, -1, 1)])
def test_no_best_group_is_an_error(costs):
    with pytest.raises(ValueError, match="best_group needs"):
        best_group(*costs)


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="must be \\(D,\\)"):
        retrieval_terms(generator, generator, REWARDS, THETA)
    with pytest.raises(ValueError, match="must be \\(D,\\)"):
        retrieval_terms(retriever, generator, REWARDS[:2], THETA)
    with pytest.raises(ValueError, match="one for each of 3 documents"):
        retrieval_spreads(retriever, generator, REWARDS, THETA, 0.0, torch.zeros(2))
