"""The oracle's linear algebra against brute force: sums over steps, and sums over every episode."""

import math

import pytest
import torch
from torch.testing import assert_close

from policy_gradients.estimators.returns import discounts
from policy_gradients.oracle.exact import Oracle
from policy_gradients.oracle.gradients import fisher, gpomdp_limit, gradient, policy_gradient_theorem
from policy_gradients.oracle.mdp import (
    action_values,
    advantage_values,
    average_reward,
    differential_values,
    ends_within,
    episode_entropy,
    episode_kl,
    expected_return,
    state_distribution,
    state_values,
    stationary_distribution,
)
from policy_gradients.worlds.small import chain, early_token, mixing_chain, token_tree, two_states, two_step
from policy_gradients.worlds.tabular import TabularMDP, softmax_policy

GENERATOR = torch.Generator().manual_seed(0)
EXACT = {"atol": 1e-10, "rtol": 0}


def with_policy(mdp):
    policy = softmax_policy(mdp)
    theta = torch.randn(policy.size, dtype=torch.float64, generator=GENERATOR)
    return mdp, policy.table, theta


TREE = with_policy(token_tree(3, 3, lambda text: float(text[0] == 0) + 0.5 * (text[-1] == 2) - 0.1 * len(text)))
CHAIN = with_policy(chain(3))
WORLDS = {
    "tree": TREE,
    "chain": CHAIN,
    "two steps": with_policy(two_step()),
    "two states": with_policy(two_states()),
}


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
@pytest.mark.parametrize("horizon", [None, 3])
def test_both_forms_of_the_gradient_agree(world, horizon):
    mdp, policy, theta = world
    by_autograd = gradient(lambda t: expected_return(mdp, policy(t), horizon), theta)
    assert by_autograd.norm() > 1e-3
    assert_close(policy_gradient_theorem(mdp, policy, theta, "discounted", horizon), by_autograd, **EXACT)


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_autograd_and_finite_differences_agree(world):
    mdp, policy, theta = world
    assert torch.autograd.gradcheck(lambda t: expected_return(mdp, policy(t)), theta.clone().requires_grad_())


def test_the_sum_without_discounting_has_the_wrong_sign_on_two_steps():
    mdp = two_step()
    oracle = Oracle(mdp, softmax_policy(mdp).table, torch.zeros(2))
    assert_close(oracle.gradient, torch.tensor([-0.0625, 0.0625], dtype=torch.float64), **EXACT)
    assert_close(oracle.theorem, oracle.gradient, **EXACT)
    assert_close(oracle.without_discounting, torch.tensor([0.125, -0.125], dtype=torch.float64), **EXACT)


def test_without_discounting_is_right_where_gamma_is_one():
    oracle = Oracle(*TREE)
    assert_close(oracle.without_discounting, oracle.gradient, **EXACT)


@pytest.mark.parametrize("world", [TREE, CHAIN], ids=["tree", "chain"])
def test_values_solve_bellmans_equations(world):
    mdp, policy, theta = world
    log_pi = policy(theta)
    values, q = state_values(mdp, log_pi), action_values(mdp, log_pi)
    assert_close((log_pi.exp() * q).sum(1), values, **EXACT)
    assert_close((log_pi.exp() * advantage_values(mdp, log_pi)).sum(1), torch.zeros_like(values), **EXACT)
    assert_close(q, mdp.rewards + mdp.gamma * mdp.transitions @ values, **EXACT)
    # J counts rewards by the visits, or by the value of the start
    earned = state_distribution(mdp, log_pi) @ (log_pi.exp() * mdp.rewards).sum(1)
    assert_close(earned, expected_return(mdp, log_pi), **EXACT)


def test_a_long_horizon_is_no_horizon_and_time_comes_first():
    mdp, policy, theta = CHAIN
    log_pi = policy(theta)
    long = state_values(mdp, log_pi, 2000)
    assert long.shape == (2000, 3)
    assert_close(long[0], state_values(mdp, log_pi), **EXACT)
    assert_close(long[-1], (log_pi.exp() * mdp.rewards).sum(1), **EXACT)
    assert_close(state_distribution(mdp, log_pi, horizon=2000).sum(0), state_distribution(mdp, log_pi), **EXACT)
    assert advantage_values(mdp, log_pi, 5).shape == (5, 3, 2)


@pytest.mark.parametrize("world", [TREE, CHAIN], ids=["tree", "chain cut after 5"])
def test_linear_algebra_and_enumeration_agree(world):
    mdp, policy, theta = world
    horizon = mdp.max_steps or 5
    oracle = Oracle(mdp, policy, theta, horizon)
    episodes, p = oracle.outcomes.episodes, oracle.outcomes.probabilities
    returns = episodes.rewards @ discounts(episodes.rewards.shape[1], mdp.gamma)
    assert_close(p.sum(), torch.tensor(1.0, dtype=torch.float64), **EXACT)
    assert p @ returns == pytest.approx(oracle.objective, abs=1e-10)
    visits = torch.zeros(len(oracle.visits), dtype=torch.float64)
    visits.index_put_((episodes.observations.flatten(),), (p[:, None] * episodes.mask).flatten(), accumulate=True)
    assert_close(visits, oracle.visits, **EXACT)


def test_divergence_and_entropy_of_whole_texts_are_those_of_all_texts():
    mdp, policy, theta = TREE
    other = theta + 0.5 * torch.randn(len(theta), dtype=torch.float64, generator=GENERATOR)
    here, there = Oracle(mdp, policy, theta).outcomes, Oracle(mdp, policy, other).outcomes
    p, q = here.probabilities, there.probabilities  # in the same order
    assert_close(here.episodes.actions, there.episodes.actions)
    assert_close(episode_entropy(mdp, policy(theta)), -(p * p.log()).sum(), **EXACT)
    assert_close(episode_kl(mdp, policy(theta), policy(other)), (p * (p / q).log()).sum(), **EXACT)
    assert_close(episode_kl(mdp, policy(other), policy(theta)), (q * (q / p).log()).sum(), **EXACT)


def test_fisher_is_the_curvature_of_the_divergence_and_the_mean_outer_product_of_scores():
    mdp, policy, theta = TREE
    oracle = Oracle(mdp, policy, theta)
    for fixed in (
        lambda t: episode_kl(mdp, policy(theta), policy(t)),
        lambda t: episode_kl(mdp, policy(t), policy(theta)),
    ):
        assert_close(torch.autograd.functional.hessian(fixed, theta), oracle.fisher, **EXACT)
    scores = oracle.outcomes.episodes.scores.sum(1)
    outer = torch.einsum("n,np,nq->pq", oracle.outcomes.probabilities, scores, scores)
    assert_close(outer, oracle.fisher, **EXACT)
    step = fisher(policy, theta, oracle.visits / oracle.visits.sum())
    assert_close(step * oracle.visits.sum(), oracle.fisher, **EXACT)


def test_average_reward_its_distribution_and_its_values():
    mdp, policy, theta = with_policy(mixing_chain(0.5))
    log_pi = policy(theta)
    transition = torch.einsum("sa,sat->st", log_pi.exp(), mdp.transitions)
    stationary = stationary_distribution(mdp, log_pi)
    assert_close(stationary @ transition, stationary, **EXACT)
    assert_close(torch.linalg.matrix_power(transition, 4096)[0], stationary, **EXACT)
    reward = (log_pi.exp() * mdp.rewards).sum(1)
    assert_close(average_reward(mdp, log_pi), stationary @ reward, **EXACT)
    h = differential_values(mdp, log_pi)
    assert_close(h, reward - stationary @ reward + transition @ h, **EXACT)
    # the Abelian limit: (1 - γ) J → η
    many = expected_return(mdp, log_pi, horizon=None) * (1 - mdp.gamma)
    assert many.item() == pytest.approx(average_reward(mdp, log_pi).item(), abs=0.02)
    assert torch.autograd.gradcheck(lambda t: average_reward(mdp, policy(t)), theta.clone().requires_grad_())


def test_the_target_of_gpomdp_is_biased_and_meets_the_gradient_as_beta_nears_one():
    mdp, policy, theta = with_policy(mixing_chain(0.5))
    exact = gradient(lambda t: average_reward(mdp, policy(t)), theta)
    bias = [((gpomdp_limit(mdp, policy, theta, b) - exact).norm() / exact.norm()).item() for b in (0, 0.5, 0.9, 0.99)]
    assert bias == sorted(bias, reverse=True)
    assert bias[0] > 0.1 and bias[-1] < 0.01
    # ∇η = Σ_s d(s) Σ_a ∇π(a|s) Q(s, a) with the differential values, and that is the limit
    assert_close(gpomdp_limit(mdp, policy, theta, 1 - 1e-7), exact, atol=1e-6, rtol=0)


def test_only_the_first_token_of_a_long_text_has_a_gradient():
    mdp, policy, theta = with_policy(early_token([1.0, 0.0, 0.3], horizon=40))
    oracle = Oracle(mdp, policy, theta)
    rows = oracle.gradient.view(40, 3)
    pi = torch.softmax(theta.view(40, 3)[0], 0)
    values = torch.tensor([1.0, 0.0, 0.3], dtype=torch.float64)
    assert_close(rows[0], pi * (values - pi @ values), **EXACT)
    assert rows[1:].abs().max() < 1e-10
    assert oracle.state_values.dim() == 1  # it ends by itself: no clock is needed


def test_ends_within():
    assert ends_within(TREE[0], 3) and not ends_within(TREE[0], 2)
    assert not ends_within(CHAIN[0], 50) and not ends_within(CHAIN[0], None)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: expected_return(CHAIN[0], torch.zeros(4, 2)), r"log_pi \(4, 2\).*\(3, 2\)"),
        (lambda: average_reward(CHAIN[0], CHAIN[1](CHAIN[2])), "never ends"),
        (lambda: episode_entropy(mixing_chain(), torch.full((3, 2), 0.5).double().log()), "need never end"),
        (lambda: gpomdp_limit(mixing_chain(), CHAIN[1], CHAIN[2], 1.0), "beta"),
        (lambda: policy_gradient_theorem(*CHAIN, weighting="no"), "weighting"),  # type: ignore[arg-type]
        (lambda: Oracle(CHAIN[0], CHAIN[1], CHAIN[2].view(3, 2)), r"theta.*\(3, 2\)"),
        (lambda: Oracle(*CHAIN).outcomes, "horizon"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("scale", [1e-6, 0.0, 1.0])
def test_a_chain_that_never_ends_has_no_return_however_small_its_rewards(scale):
    world = mixing_chain(0.5)
    endless = TabularMDP(world.transitions, world.rewards * scale, world.start, 1.0)
    log_pi = torch.tensor([[0.3, 0.7], [0.6, 0.4], [0.2, 0.8]], dtype=torch.float64).log()
    with pytest.raises(ValueError, match="never end"):
        expected_return(endless, log_pi)


def test_a_large_return_is_no_endless_one():
    loop = TabularMDP(
        torch.ones(1, 1, 1, dtype=torch.float64),
        torch.full((1, 1), 1e13, dtype=torch.float64),
        torch.ones(1, dtype=torch.float64),
        0.5,
    )
    assert expected_return(loop, torch.zeros(1, 1, dtype=torch.float64)).item() == pytest.approx(2e13)


def test_what_is_never_visited_costs_no_divergence():
    transitions = torch.zeros(2, 2, 2, dtype=torch.float64)
    transitions[0, 1, 1] = 1
    world = TabularMDP(transitions, torch.zeros(2, 2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)[0])
    half, certain = [math.log(0.5)] * 2, [0.0, -math.inf]
    log_pi = torch.tensor([certain, half], dtype=torch.float64, requires_grad=True)
    found = episode_kl(world, log_pi, torch.tensor([half, certain], dtype=torch.float64))
    assert found.item() == pytest.approx(math.log(2))
    assert torch.autograd.grad(found, log_pi)[0].isfinite().all()
