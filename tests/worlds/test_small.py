import pytest
import torch

from policy_gradients.oracle.exact import Oracle
from policy_gradients.worlds.rollout import rollout
from policy_gradients.worlds.small import (
    bernoulli_bandit,
    chain,
    early_token,
    gaussian_bandit,
    mixing_chain,
    short_corridor,
    token_tree,
    two_states,
    two_step,
)
from policy_gradients.worlds.tabular import TabularMDP, softmax_policy

WORLDS = {
    "bernoulli": bernoulli_bandit([0.1, 0.9]),
    "gaussian": gaussian_bandit([0.0, 1.0], 0.5),
    "two steps": two_step(),
    "chain": chain(3),
    "short corridor": short_corridor(),
    "tree": token_tree(3, 3, lambda text: len(text) + (text[-1] == 2)),
    "early token": early_token([1.0, 0.0], 5),
}


@pytest.mark.parametrize("mdp", WORLDS.values(), ids=WORLDS)
def test_played_worlds_earn_what_the_oracle_says(mdp):
    """20,000 episodes: the mean is within 6 standard errors of J, a false alarm of 2e-9 (and the seed is fixed)."""
    policy = softmax_policy(mdp)
    generator = torch.Generator().manual_seed(0)
    theta = 0.5 * torch.randn(policy.size, dtype=torch.float64, generator=generator)
    batch = rollout(mdp.env(20_000), policy, theta, generator, max_steps=12)
    oracle = Oracle(mdp, policy.table, theta, horizon=12)
    returns = (batch.rewards * mdp.gamma ** torch.arange(batch.rewards.shape[-1], dtype=torch.float64)).sum(-1)
    assert (returns.mean() - oracle.objective).abs() < 6 * returns.std() / 20_000**0.5 + 1e-12
    assert returns.std() > 0
    visits = torch.zeros(mdp.num_states, dtype=torch.float64)
    visits.index_put_((batch.observations.flatten(),), batch.mask.flatten(), accumulate=True)
    assert ((visits / 20_000 - oracle.visits).abs() < 6 * (oracle.visits.clamp(min=1e-3) * 12 / 20_000).sqrt()).all()


def test_endless_chains_never_end():
    for mdp in (mixing_chain(0.9), two_states()):
        policy = softmax_policy(mdp)
        batch = rollout(mdp.env(8), policy, policy.initial(), torch.Generator().manual_seed(0), max_steps=400)
        assert batch.mask.min() == 1 and not batch.terminated.any()
        assert batch.rewards.shape == (8, 400)


def test_token_tree_reads_its_prefixes():
    tree = WORLDS["tree"]
    assert tree.prefixes == ((), (0,), (1,), (0, 0), (0, 1), (1, 0), (1, 1))
    assert tree.rewards[0].tolist() == [0, 0, 2]  # the end token at once: length 1, and ended
    assert tree.rewards[3].tolist() == [3, 3, 4]
    assert tree.transitions[1, 0].nonzero().item() == 3
    assert token_tree(2, 2, lambda text: 1.0, eos=False).prefixes == ((), (0,), (1,))


def test_early_token_pays_once_at_the_end_for_the_first_token():
    policy = softmax_policy(WORLDS["early token"])
    batch = rollout(WORLDS["early token"].env(50), policy, policy.initial(), torch.Generator().manual_seed(0))
    assert batch.rewards.shape == (50, 5)
    assert (batch.rewards[:, :-1] == 0).all()
    assert (batch.rewards[:, -1] == (batch.actions[:, 0] == 0)).all()
    assert batch.terminated.all()


def test_rewards_of_bandits():
    generator = torch.Generator().manual_seed(0)
    policy = softmax_policy(WORLDS["bernoulli"])
    rewards = rollout(WORLDS["bernoulli"].env(100), policy, policy.initial(), generator).rewards
    assert set(rewards.flatten().tolist()) == {0.0, 1.0}
    plain = gaussian_bandit([0.0, 3.0], std=0)
    assert set(rollout(plain.env(100), policy, policy.initial(), generator).rewards.flatten().tolist()) == {0.0, 3.0}


GOOD = {"transitions": torch.eye(2).double()[:, None], "rewards": torch.zeros(2, 1).double()}
GOOD["start"] = torch.tensor([1.0, 0.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transitions": torch.zeros(2, 2)}, r"transitions must be.*\(2, 2\)"),
        ({"rewards": torch.zeros(2, 2).double()}, r"rewards must be \(2, 1\), got \(2, 2\)"),
        ({"rewards": torch.full((2, 1), torch.nan).double()}, "finite"),
        ({"rewards": torch.zeros(2, 1)}, "float64"),
        ({"transitions": 1.1 * GOOD["transitions"]}, "more than 1"),
        ({"transitions": -GOOD["transitions"]}, "negative"),
        ({"start": torch.tensor([0.5, 0.4]).double()}, "start must be a distribution"),
        ({"gamma": 1.5}, "gamma"),
        ({"max_steps": 0}, "max_steps"),
        ({"noise": "cauchy"}, "noise"),
        ({"noise": "bernoulli", "rewards": torch.full((2, 1), 2.0).double()}, "probabilities"),
        ({"reward_std": 1.0}, "reward_std"),
    ],
)
def test_bad_worlds(change, message):
    with pytest.raises(ValueError, match=message):
        TabularMDP(**{**GOOD, **change})


@pytest.mark.parametrize(
    "call",
    [
        lambda: bernoulli_bandit([0.5]),
        lambda: chain(0),
        lambda: mixing_chain(1.0),
        lambda: token_tree(1, 3, lambda text: 0.0),
        lambda: token_tree(9, 9, lambda text: 0.0),
        lambda: early_token([1.0], 3),
        lambda: early_token([1.0, 0.0], 5000),
    ],
)
def test_bad_arguments(call):
    with pytest.raises(ValueError):
        call()


def test_in_the_short_corridor_only_a_policy_that_throws_dice_gets_out_soon():
    """J(p) = -(4 - 2p) / (p (1 - p)), p the chance of action 1; its top is -(6 + 4√2), at 2 - √2."""
    corridor = short_corridor()
    policy = softmax_policy(corridor)
    for p in (0.05, 0.5, 2 - 2**0.5, 0.95):
        oracle = Oracle(corridor, policy.table, torch.tensor([1 - p, p], dtype=torch.float64).log())
        assert oracle.objective == pytest.approx(-(4 - 2 * p) / (p * (1 - p)), rel=1e-9)
        assert (oracle.gradient.norm() < 1e-9) == (p == 2 - 2**0.5)
