import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from torch.testing import assert_close

from policy_gradients.worlds.control import Reach, control_env
from policy_gradients.worlds.policies import MLP, CategoricalPolicy, GaussianPolicy, Linear
from policy_gradients.worlds.rollout import rollout
from policy_gradients.worlds.small import bernoulli_bandit, chain, token_tree
from policy_gradients.worlds.tabular import softmax_policy

CART = CategoricalPolicy(Linear(4, 2))
ARM = GaussianPolicy(Linear(4, 2))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_cart_pole_through_gymnasium():
    batch = rollout(control_env("CartPole-v1", 12), CART, CART.initial(3), seeded())
    assert batch.observations.shape == (3, 4, batch.mask.shape[-1], 4)
    assert batch.last_observations.shape == (3, 4, 4)
    assert batch.terminated.all()
    # one reward a step; none on padding, where gymnasium has already begun the next episode
    assert (batch.returns == batch.lengths).all()
    assert (batch.rewards == batch.mask).all()
    assert batch.lengths.min() >= 8 and batch.lengths.max() == batch.mask.shape[-1]
    assert (batch.mask[..., 1:] <= batch.mask[..., :-1]).all()
    # an episode ends where the pole has fallen over or the cart has left the track
    fallen = (batch.last_observations[..., 2].abs() > 0.2094) | (batch.last_observations[..., 0].abs() > 2.4)
    assert fallen.all()


def test_an_episode_that_its_world_cuts_has_not_terminated():
    corridor = dataclasses.replace(chain(5), max_steps=3)  # too short to leave it
    batch = rollout(corridor.env(6), softmax_policy(corridor), softmax_policy(corridor).initial(), seeded())
    assert batch.mask.shape == (6, 3) and batch.mask.all() and not batch.terminated.any()


def test_a_cut_episode_has_not_terminated_and_pendulum_takes_clipped_forces():
    policy = GaussianPolicy(MLP((3, 4, 1)), initial_std=10.0)
    batch = rollout(control_env("Pendulum-v1", 2), policy, policy.initial(generator=seeded()), seeded(), max_steps=20)
    assert batch.mask.shape == (2, 20) and not batch.terminated.any()
    assert batch.actions.abs().max() > 2  # recorded as sampled; the environment would have refused it
    assert_close(batch.last_observations[..., :2].norm(dim=-1), torch.ones(2, dtype=torch.float64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("make", [lambda: control_env("CartPole-v1", 4), lambda: Reach(4), lambda: chain().env(4)])
def test_the_generator_decides_everything(make):
    env = make()
    policy = ARM if isinstance(env, Reach) else CART if env.single_observation_space.shape else softmax_policy(chain())
    first, again, other = (rollout(env, policy, policy.initial(), seeded(s), max_steps=50) for s in (3, 3, 4))
    assert torch.equal(first.actions, again.actions) and torch.equal(first.rewards, again.rewards)
    assert first.actions.shape != other.actions.shape or not torch.equal(first.actions, other.actions)


def test_reach_is_played_by_gymnasiums_rules():
    env = Reach(3, max_steps=5)
    assert isinstance(env, VectorEnv)
    state, info = env.reset(seed=1)
    assert state.shape == (3, 4) and info == {} and env.single_observation_space.contains(state[0].float().numpy())
    for step in range(5):
        after, rewards, terminated, truncated, _ = env.step(torch.tensor([[100.0, -1.0]] * 3, dtype=torch.float64))
        cost = state[:, :2].square().sum(1) + 0.1 * state[:, 2:].square().sum(1) + 0.01 * (5.0**2 + 1)
        assert_close(rewards, -0.1 * cost)
        assert_close(after[:, 2:], state[:, 2:] + 0.1 * torch.tensor([5 / 0.5, -1 / 2.5], dtype=torch.float64))
        assert_close(after[:, :2], state[:, :2] + 0.1 * after[:, 2:])
        assert terminated.all() == (step == 4) and not truncated.any()
        state = after
    again, rewards, terminated, _, _ = env.step(torch.ones(3, 2, dtype=torch.float64))
    assert torch.equal(again, state) and (rewards == 0).all() and not terminated.any()  # it stays ended
    assert torch.equal(env.reset(seed=1)[0], Reach(3).reset(seed=1)[0])


def test_a_good_controller_reaches_and_a_bad_one_does_not():
    # feedback of place and speed by hand: gains in W, (4, 2) row by row, and a small spread
    gains = torch.tensor([[-4, 0], [0, -6], [-2.5, 0], [0, -6]], dtype=torch.float64).flatten()
    theta = torch.cat([gains, torch.tensor([0, 0, -3, -3, 0], dtype=torch.float64)])
    good = rollout(Reach(64), ARM, theta, seeded())
    assert good.last_observations[:, :2].norm(dim=1).max() < 0.25
    assert good.returns.mean() > -1 > rollout(Reach(64), ARM, ARM.initial(), seeded()).returns.mean()
    assert good.terminated.all()


def test_padding_holds_nothing():
    tree = token_tree(3, 4, lambda text: 1.0)
    batch = rollout(tree.env(200), softmax_policy(tree), softmax_policy(tree).initial(), seeded())
    assert set(batch.lengths.tolist()) == {1, 2, 3, 4}
    assert (batch.rewards[batch.mask == 0] == 0).all()
    assert (batch.returns == 1).all()
    ended_by_token = batch.actions.gather(1, batch.lengths.long()[:, None] - 1).squeeze(1) == 2
    assert (ended_by_token | (batch.lengths == 4)).all()


def test_the_horizon_of_a_tree_is_its_end():
    tree = token_tree(2, 3, lambda text: 1.0, eos=False)
    batch = rollout(tree.env(5), softmax_policy(tree), softmax_policy(tree).initial(), seeded())
    assert batch.terminated.all() and (batch.lengths == 3).all()


def test_numpy_environments_see_numpy_actions():
    env = control_env("Pendulum-v1", 1)
    state, _ = env.reset(seed=0)
    assert isinstance(state, np.ndarray)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rollout(Reach(4), ARM, ARM.initial(3), seeded()), "4 environments do not divide"),
        (lambda: rollout(Reach(4), ARM, ARM.initial(), seeded(), max_steps=0), "max_steps"),
        (lambda: control_env("CartPole-v99", 1), "CartPole-v99"),
        (lambda: control_env("NoSuchTask-v0", 1), "no task"),
        (lambda: control_env("CartPole-v1", 0), "num_envs"),
        (lambda: bernoulli_bandit([0.5, 0.5]).env(0), "num_envs"),
        (lambda: (e := Reach(2), e.reset(seed=0), e.step(torch.zeros(3, 2))), r"actions \(3, 2\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_environments_that_hide_the_last_observation_are_refused():
    env = gymnasium.make_vec(
        "CartPole-v1", 2, vectorization_mode="sync", vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP}
    )
    policy = CategoricalPolicy(Linear(4, 2))
    with pytest.raises(ValueError, match="NEXT_STEP"):
        rollout(env, policy, torch.zeros(10), torch.Generator().manual_seed(0))
