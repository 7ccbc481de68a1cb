"""Batches whose episodes come from different worlds: one completion of each of several prompts, enumerated."""

import pytest
import torch

from policy_gradients.estimators.baselines import leave_one_out, mean_of_peers
from policy_gradients.estimators.scores import score_gradient
from policy_gradients.oracle.exact import Oracle
from policy_gradients.oracle.outcomes import Moments, joint_moments, reward_moments
from policy_gradients.worlds.small import bernoulli_bandit, token_tree
from policy_gradients.worlds.tabular import softmax_policy

LOGITS = torch.tensor([0.4, -1.0], dtype=torch.float64)
BANDIT = bernoulli_bandit([0.2, 0.5, 0.7])
BANDIT = Oracle(BANDIT, softmax_policy(BANDIT).table, torch.tensor([0.3, 0.0, -0.2], dtype=torch.float64))


def prompt(index, answers):
    """A prompt whose answer 0 is right, with the logit θ_index; the wrong ones have the logit 0."""
    world = token_tree(answers, 1, lambda text: float(text[0] == 0), eos=False)
    wrong = torch.zeros(answers - 1, dtype=torch.float64)
    return Oracle(world, lambda t: torch.cat([t[index : index + 1], wrong])[None].log_softmax(-1), LOGITS)


def reinforce(batch):
    return score_gradient(batch.scores, batch.returns)


def test_a_batch_of_different_prompts_is_a_product_of_their_outcomes():
    """Leave one out over a batch of two prompts: no bias, and second moments as written out by hand."""
    first, second = prompt(0, answers=2), prompt(1, answers=4)  # numbers that share a divisor

    def estimator(batch):
        return score_gradient(batch.scores, batch.returns - leave_one_out(batch.returns))

    moments = joint_moments(estimator, [first.outcomes, second.outcomes])
    torch.testing.assert_close(moments.mean, (first.gradient + second.gradient) / 2, atol=1e-14, rtol=0)
    p = LOGITS[0].sigmoid(), LOGITS[1].exp() / (LOGITS[1].exp() + 3)
    square = torch.zeros(2, dtype=torch.float64)
    for a in (0, 1):
        for b in (0, 1):  # the score of a right answer is 1 - p, that of a wrong one -p; advantages are ±(a - b)
            weight = (p[0] if a else 1 - p[0]) * (p[1] if b else 1 - p[1])
            square += weight * torch.stack([(a - b) * (a - p[0]), (b - a) * (b - p[1])]).square() / 4
    torch.testing.assert_close(moments.covariance.diag() + moments.mean.square(), square, atol=1e-14, rtol=0)


def test_a_batch_of_one_world_is_a_group():
    places, group = joint_moments(reinforce, [BANDIT.outcomes] * 3), BANDIT.moments(reinforce, 3)
    assert torch.equal(places.mean, group.mean) and torch.equal(places.covariance, group.covariance)


def test_worlds_of_different_length_are_padded():
    theta = torch.tensor([0.3, -0.2, 0.5, 0.1], dtype=torch.float64)
    tree = Oracle(token_tree(2, 2, lambda text: float(len(text))), lambda t: t.view(2, 2).log_softmax(-1), theta)
    short = Oracle(token_tree(2, 1, lambda text: 1.0), lambda t: t.view(2, 2)[:1].log_softmax(-1), theta)
    moments = joint_moments(lambda b: b.lengths.mean(-1, keepdim=True).expand(-1, 4), [short.outcomes, tree.outcomes])
    expected = (1 + (tree.outcomes.probabilities @ tree.outcomes.episodes.lengths).item()) / 2
    assert moments.mean[0].item() == pytest.approx(expected)


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="at least one place"):
        joint_moments(reinforce, [])
    with pytest.raises(ValueError, match="one θ"):
        joint_moments(reinforce, [BANDIT.outcomes, prompt(0, answers=2).outcomes])
    with pytest.raises(ValueError, match=r"are 216 groups, more than 10"):
        joint_moments(reinforce, [BANDIT.outcomes] * 3, most=10)


def test_length_angle_and_noise_of_a_mean():
    moments = Moments(torch.tensor([0.0, 3.0]), torch.diag(torch.tensor([4.0, 5.0])))
    exact = torch.tensor([1.0, 1.0])
    assert moments.stretch(exact) == pytest.approx(3 / 2**0.5)
    assert moments.angle(exact) == pytest.approx(45, abs=1e-4)
    assert moments.noise == pytest.approx(1.0)
    assert moments.angle(2 * moments.mean) == 0


ADVANTAGES = {
    "leave one out": lambda r: r - leave_one_out(r),
    "mean and std": lambda r: (r - r.mean(-1, keepdim=True)) / (r.std(-1, keepdim=True) + 1e-4),
    "rewards": lambda r: r,
}


@pytest.mark.parametrize("name", ADVANTAGES)
def test_patterns_of_rewards_are_enough(name):
    """The same mean and covariance as from all answers of all places, prompts of different numbers of answers."""
    theta = torch.tensor([0.3, -0.2, 0.5, 0.1, -0.7, 0.4], dtype=torch.float64)
    worlds = [token_tree(answers, 1, lambda text: float(text[0] == 0), eos=False) for answers in (3, 4)]
    first = Oracle(worlds[0], lambda t: t[None, :3].log_softmax(-1), theta)
    second = Oracle(worlds[1], lambda t: t[None, 2:].log_softmax(-1), theta)
    places, of = [first.outcomes, second.outcomes, first.outcomes, second.outcomes], ADVANTAGES[name]
    short, long = reward_moments(of, places), joint_moments(lambda b: score_gradient(b.scores, of(b.returns)), places)
    torch.testing.assert_close(short.mean, long.mean, atol=1e-14, rtol=0)
    torch.testing.assert_close(short.covariance, long.covariance, atol=1e-14, rtol=0)
    assert long.variance > 0.01


def test_peers_chosen_by_others_add_no_bias_and_by_oneself_they_do():
    first, second = prompt(0, answers=3), prompt(1, answers=5)
    places, exact = [first.outcomes, second.outcomes] * 2, (first.gradient + second.gradient) / 2

    def by_others(r):  # who has a peer depends on all rewards but the own one
        return r - mean_of_peers(r, (r.unsqueeze(-2) + torch.zeros(4, 1, dtype=r.dtype)) > 0.5)

    def by_oneself(r):
        return r - mean_of_peers(r, r.unsqueeze(-2) == r.unsqueeze(-1))

    assert reward_moments(by_others, places).bias(exact) < 1e-14
    assert reward_moments(by_oneself, places).bias(exact) > 0.01


def test_what_patterns_of_rewards_cannot_do_is_said():
    places = [prompt(0, answers=3).outcomes] * 2
    with pytest.raises(ValueError, match="at least one place"):
        reward_moments(lambda r: r, [])
    with pytest.raises(ValueError, match="4 patterns of returns, more than 3"):
        reward_moments(lambda r: r, places, most=3)
    with pytest.raises(ValueError, match=r"must have the shape of the returns, \(4, 2\)"):
        reward_moments(lambda r: r.mean(1), places)
    with pytest.raises(ValueError, match="one θ"):
        reward_moments(lambda r: r, [*places, BANDIT.outcomes])
    longer = Oracle(token_tree(2, 2, lambda text: 2.0), lambda t: t.view(1, 2).expand(2, 2).log_softmax(-1), LOGITS)
    with pytest.raises(ValueError, match="0 and 1 alone"):
        reward_moments(lambda r: r, [longer.outcomes])
