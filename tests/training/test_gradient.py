"""The loss of the loop against an exact answer: every pair of completions of a small tree, enumerated."""

import itertools

import pytest
import torch

from policy_gradients.estimators.log_probs import expected_value, kl_divergence, log_probs_and_entropy
from policy_gradients.estimators.losses import token_weights
from policy_gradients.language.rollout import Rollout
from policy_gradients.language.scoring import TokenScores
from policy_gradients.training.batch import Batch
from policy_gradients.training.config import ByCritic, ByGroup, make_config
from policy_gradients.training.credit import CheckerCredit, CriticCredit, GroupCredit
from policy_gradients.training.objective import loss_per_token

END, SYMBOLS, LONGEST = 0, 3, 3
BETA, BONUS = 0.3, 0.2


def completions():
    """Every sequence that ends with END or is cut at LONGEST tokens, as tuples."""
    for length in range(1, LONGEST + 1):
        for body in itertools.product(range(1, SYMBOLS), repeat=length - 1):
            for last in range(SYMBOLS) if length == LONGEST else [END]:
                yield (*body, last)


ALL = list(completions())
PREFIXES = sorted({sequence[:t] for sequence in ALL for t in range(len(sequence))})
MASK = torch.tensor([[float(t < len(s)) for t in range(LONGEST)] for s in ALL], dtype=torch.float64)
# a reward that depends on the first token, on the length and on ending: nothing that one step could see alone
REWARDS = torch.tensor([float(s[0] == 1) + 0.5 * len(s) - 0.7 * (s[-1] == END) for s in ALL], dtype=torch.float64)


def action_values(logits):
    """Q of every token after every prefix, (prefixes, SYMBOLS): the mean reward of the completions that go on so."""
    log_pi = logits.log_softmax(-1)
    found = torch.zeros(len(PREFIXES), SYMBOLS, dtype=torch.float64)
    for sequence, reward in zip(ALL, REWARDS, strict=True):
        for t, token in enumerate(sequence):
            rest = [log_pi[PREFIXES.index(sequence[:k]), sequence[k]] for k in range(t + 1, len(sequence))]
            found[PREFIXES.index(sequence[:t]), token] += reward * sum(rest, torch.zeros(())).exp()
    return found


def scores_of(logits, reference_logits):
    """TokenScores of every completion under a table of logits, (prefixes, SYMBOLS)."""
    q = action_values(logits.detach())
    rows = {"log_probs": [], "entropy": [], "kl": [], "ref_log_probs": [], "values": [], "expected_value": []}
    for sequence in ALL:
        index = [PREFIXES.index(sequence[:t]) for t in range(len(sequence))]
        log_probs, entropy = log_probs_and_entropy(logits[index], torch.tensor(sequence))
        kl = kl_divergence(logits[index].log_softmax(-1), reference_logits[index].log_softmax(-1))
        ref_log_probs, _ = log_probs_and_entropy(reference_logits[index], torch.tensor(sequence))
        values = reference_logits[index, 0]  # any function of the state will do for a critic
        found = {
            "log_probs": log_probs, "entropy": entropy, "kl": kl, "ref_log_probs": ref_log_probs, "values": values,
            "expected_value": expected_value(logits[index].log_softmax(-1), q[index]),
        }  # fmt: skip
        for name, values in found.items():
            rows[name].append(torch.cat([values, values.new_zeros(LONGEST - len(values))]))
    return TokenScores(**{name: torch.stack(values) for name, values in rows.items()})


def pick(scores, rows):
    columns = (
        scores.log_probs, scores.entropy, scores.kl, scores.ref_log_probs, scores.values, scores.expected_value,
    )  # fmt: skip
    return TokenScores(*(column[rows] for column in columns))


@pytest.fixture
def tables():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(len(PREFIXES), SYMBOLS, generator=generator, dtype=torch.float64).requires_grad_()
    reference = torch.randn(len(PREFIXES), SYMBOLS, generator=generator, dtype=torch.float64)
    return logits, reference


def credit_of(config):
    """Its kind of credit, without the model that a critic, or the vocabulary that states would be made from."""
    settings = config.credit
    if isinstance(settings, ByGroup):
        return GroupCredit(settings)
    credit = object.__new__(CriticCredit if isinstance(settings, ByCritic) else CheckerCredit)
    credit.settings, credit.charged = settings, config.divergence.kl_place == "reward"
    return credit


def batch_of(rows, config, entropy_weight):
    """The completions of `rows`, as one group."""
    rewards, mask = REWARDS[rows].view(1, -1), MASK[rows]
    rollout = Rollout(None, None, None, mask, None, len(rows))
    credit = credit_of(config)
    advantages = credit.assign(rewards, None) if isinstance(credit, GroupCredit) else None
    return credit, Batch(rollout, rewards, advantages, len(rows), int(mask.sum()), BETA, entropy_weight)


def expected_loss_gradient(logits, reference, bonus, **settings):
    """E over all pairs of completions of the gradient of the loop's loss, with groups of two."""
    config = make_config(num_generations=2, max_new_tokens=LONGEST, **settings)
    scores = scores_of(logits, reference)
    probabilities = scores.log_probs.sum(1).exp().detach()
    total = torch.zeros((), dtype=torch.float64)
    for i, j in itertools.product(range(len(ALL)), repeat=2):
        rows = torch.tensor([i, j])
        pair, (credit, batch) = pick(scores, rows), batch_of(rows, config, bonus)
        per_token = loss_per_token(pair, pair, batch, credit, config).loss
        weights = token_weights(MASK[rows], config.aggregation, 2, batch.tokens, LONGEST)
        total = total + probabilities[i] * probabilities[j] * (weights * per_token).sum()
    return torch.autograd.grad(total, logits)[0]


def exact_gradient(logits, reference, bonus):
    """-∇(E[R] - β KL) / LONGEST, by autograd through the enumeration; the bonus is along the sampled states."""
    scores = scores_of(logits, reference)
    probabilities = scores.log_probs.sum(1).exp()
    reference_log_probs = scores_of(reference, reference).log_probs.sum(1)
    divergence = (probabilities * (scores.log_probs.sum(1) - reference_log_probs)).sum()
    entropy = (probabilities.detach() * (scores.entropy * MASK).sum(1)).sum()
    objective = (probabilities * REWARDS).sum() - BETA * divergence + bonus * entropy
    return -torch.autograd.grad(objective, logits)[0] / LONGEST


def test_the_tree_is_whole(tables):
    logits, reference = tables
    assert len(ALL) == 15
    assert scores_of(logits, reference).log_probs.sum(1).exp().sum().item() == pytest.approx(1)


@pytest.mark.parametrize("bonus", [0.0, BONUS])
def test_the_default_loss_is_an_unbiased_gradient_of_reward_minus_divergence(tables, bonus):
    expected = expected_loss_gradient(*tables, bonus)
    torch.testing.assert_close(expected, exact_gradient(*tables, bonus), atol=1e-12, rtol=0)


def test_the_mean_of_the_own_group_scales_the_reward_part(tables, monkeypatch):
    """mean: (1 - 1/G) times leave-one-out, so that β weighs more against the reward; not what a β is meant to be."""
    gap = expected_loss_gradient(*tables, 0.0, baseline="mean") - exact_gradient(*tables, 0.0)
    assert gap.abs().max() > 1e-2


@pytest.mark.parametrize(
    "settings",
    [
        {"kl_estimator": "k1"},
        {"critic": "head", "value_weight": 0.0},
        {"critic": "head", "value_weight": 0.0, "kl_estimator": "k1"},
        {"baseline": "none"},
        {"credit": "state"},
        {"updates_per_batch": 2, "clip_low": 1e-9, "clip_high": 1e-9},
        {"updates_per_batch": 2, "clip_low": 1e-9, "clip_high": 1e-9, "clip_place": "weight"},
    ],
    ids=str,
)
def test_other_ways_to_the_same_gradient(tables, settings):
    """k1 as a reward, any critic with λ = 1, no baseline, the right values summed over all actions, a clip however
    narrow at the first update: no bias."""
    expected = expected_loss_gradient(*tables, 0.0, **settings)
    torch.testing.assert_close(expected, exact_gradient(*tables, 0.0), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"kl_place": "loss"},
        {"kl_estimator": "k1", "kl_place": "loss"},
        {"kl_estimator": "k2", "kl_place": "loss"},
        {"kl_estimator": "k3", "kl_place": "loss"},
        {"kl_estimator": "k3"},
        {"kl_estimator": "k3", "kl_place": "weighted_loss"},
        {"critic": "head", "value_weight": 0.0, "gae_lambda": 0.5},
    ],
    ids=str,
)
def test_ways_to_another_gradient(tables, settings):
    """A loss leaves out the states that a choice leads to, k3's gradient is another's, λ < 1 trusts the critic."""
    gap = expected_loss_gradient(*tables, 0.0, **settings) - exact_gradient(*tables, 0.0)
    assert gap.abs().max() > 1e-3


def test_at_the_states_that_are_met_three_losses_agree_and_k1_is_noise(tables):
    """k2, ρ k1 and ρ k3 have the gradient of the exact divergence put into the loss; k1 has that of no divergence."""

    def gradient(**settings):
        return expected_loss_gradient(*tables, 0.0, **settings)

    exact = gradient(kl_place="loss")
    for estimator, place in (("k2", "loss"), ("k1", "weighted_loss"), ("k3", "weighted_loss")):
        torch.testing.assert_close(gradient(kl_estimator=estimator, kl_place=place), exact, atol=1e-12, rtol=0)
    noise = gradient(kl_estimator="k1", kl_place="loss")
    logits, _ = tables
    reward_alone = torch.autograd.grad((scores_of(logits, logits).log_probs.sum(1).exp() * REWARDS).sum(), logits)[0]
    torch.testing.assert_close(noise, -reward_alone / LONGEST, atol=1e-12, rtol=0)


def test_the_critic_learns_the_expected_return(tables):
    """The gradient of the value's loss is Σ (V - G) ∇V, with G the reward less the divergence that is still to come."""
    logits, reference = tables
    config = make_config(num_generations=1, max_new_tokens=LONGEST, critic="head", value_weight=2.0)
    rows = torch.tensor([len(ALL) - 1])
    scores = pick(scores_of(logits.detach(), reference), rows)
    scores.values.requires_grad_()
    credit, batch = batch_of(rows, config, 0.0)
    losses = loss_per_token(scores, scores, batch, credit, config)
    losses.loss.sum().backward()
    later = scores.kl.flip(1).cumsum(1).flip(1) - scores.kl
    target = REWARDS[rows] - BETA * later
    torch.testing.assert_close(losses.returns, target)
    torch.testing.assert_close(scores.values.grad, 2.0 * (scores.values.detach() - target))


@pytest.mark.parametrize("settings", [{"scale": "std"}, {"aggregation": "sequence"}])
def test_group_std_and_sequence_means_follow_another_objective(tables, settings):
    gap = expected_loss_gradient(*tables, 0.0, **settings) - exact_gradient(*tables, 0.0)
    assert gap.abs().max() > 1e-2


def test_the_clipped_loss_has_the_same_gradient_at_the_first_update(tables):
    once, clipped = (expected_loss_gradient(*tables, 0.0, updates_per_batch=n) for n in (1, 2))
    torch.testing.assert_close(once, clipped, atol=1e-12, rtol=0)


def test_the_sum_over_actions_is_the_same_for_every_sample_of_a_state(tables):
    """No draw of the action is left in it: it has no variance over the actions of one state, and Q ∇log π has."""
    logits, _ = tables
    root = action_values(logits.detach())[0]
    log_pi, probabilities = logits[0].log_softmax(-1), logits[0].softmax(-1).detach()
    whole = torch.autograd.grad(expected_value(log_pi, root), logits, retain_graph=True)[0][0]
    sampled = torch.stack(
        [torch.autograd.grad(log_pi[a] * root[a], logits, retain_graph=True)[0][0] for a in range(SYMBOLS)]
    )
    torch.testing.assert_close((probabilities[:, None] * sampled).sum(0), whole, atol=1e-12, rtol=0)
    assert (probabilities[:, None] * (sampled - whole) ** 2).sum() > 0.1
