"""Exercises of notebook 01: scores, REINFORCE as a gradient, a loop and a loss, and what a discount does to it."""

from dataclasses import dataclass

import torch

from policy_gradients.course.exercises.declare import exercise
from policy_gradients.estimators.losses import policy_gradient_loss
from policy_gradients.estimators.returns import discounted_returns, discounts
from policy_gradients.estimators.scores import score_gradient, score_vectors
from policy_gradients.worlds.policies import CategoricalPolicy, GaussianPolicy, Table


def _one_hot(arm, theta):
    return torch.nn.functional.one_hot(torch.tensor(arm), len(theta)).to(theta)


def _theta_and_arm(generator):
    yield torch.tensor([0.0, 1.0], dtype=torch.float64), 1
    yield torch.tensor([0.0, 0.0, 0.0], dtype=torch.float64), 0
    yield torch.tensor([0.0, 800.0], dtype=torch.float64), 0  # e^800 overflows
    yield torch.randn(5, generator=generator, dtype=torch.float64), 3


def _softmax_score(theta, arm):
    policy = CategoricalPolicy(Table(1, len(theta)))
    return policy.scores(theta, torch.tensor([0]), torch.tensor([arm]))[0]


@exercise(
    title="The score of a softmax",
    difficulty=1,
    minutes=10,
    importance=3,
    why=(
        "Raising θ_a makes arm a likelier, at the cost of all arms: log π(a) = θ_a − log Σ exp θ has the "
        "derivative 1 − π_a for its own arm and −π_j for the others.\n"
        "The entries sum to zero, since adding a constant to θ changes no probability."
    ),
    reference=_softmax_score,
    shows=[score_vectors],
    cases=_theta_and_arm,
    hints=[
        "log π(a) = θ_a − log Σ_k exp θ_k. Differentiate the two terms by θ_j, one after the other.",
        "The first term gives 1 if j is the arm that was pulled, else 0. The second gives −π_j.",
        "So: a one-hot vector less the probabilities, `torch.softmax(theta, 0)`.",
    ],
    mistakes={
        "The sign is flipped: the score of the arm that was pulled is positive, since raising θ_a makes it likelier.": (
            lambda theta, arm: theta.softmax(0) - _one_hot(arm, theta)
        ),
        "That is ∇π, not ∇log π: divide it by π(a).": lambda theta, arm: (
            theta.softmax(0)[arm] * (_one_hot(arm, theta) - theta.softmax(0))
        ),
        "The normalisation is forgotten. Raising θ_a also lowers the probability of every other arm: subtract π.": (
            lambda theta, arm: _one_hot(arm, theta)
        ),
        "The parameters are subtracted where the probabilities belong: softmax first.": lambda theta, arm: (
            _one_hot(arm, theta) - theta
        ),
        "That is log π(a) itself, one number. The score is its derivative by each θ_j: as many numbers as arms.": (
            lambda theta, arm: theta.log_softmax(0)[arm]
        ),
        "1 − π is right for the arm that was pulled only. For the others the one is missing, and −π is left.": (
            lambda theta, arm: 1 - theta.softmax(0)
        ),
        "Without `softmax`, exp overflows for large θ: inf/inf is NaN.": lambda theta, arm: (
            _one_hot(arm, theta) - theta.exp() / theta.exp().sum()
        ),
        "The one stands at the arm before: arms are counted from 0, so that of `arm` is entry `arm`, not `arm - 1`.": (
            lambda theta, arm: _one_hot((arm - 1) % len(theta), theta) - theta.softmax(0)
        ),
    },
)
def softmax_score(theta, arm):
    """∇_θ log π(arm) of π = softmax(θ); theta and the result have shape (arms,), arm is a whole number."""
    score = -torch.softmax(theta, dim=0)
    score[arm] += 1
    return score


def _scores_and_rewards(generator):
    yield torch.tensor([[1.0, -1.0]], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64)
    scores = torch.tensor([[0.5, -0.5], [-0.5, 0.5]], dtype=torch.float64)
    yield scores, torch.tensor([1.0, 0.0], dtype=torch.float64)
    yield scores, torch.tensor([3.0, 1.0], dtype=torch.float64)
    scores = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    yield scores, torch.randn(6, generator=generator, dtype=torch.float64)


def _bandit_gradient(scores, rewards):
    return score_gradient(scores.unsqueeze(1), rewards)


@exercise(
    title="REINFORCE",
    difficulty=1,
    minutes=5,
    importance=3,
    why=(
        "The reward multiplies the score of the same pull, and the mean over pulls estimates E[r ψ] = ∇J.\n"
        "It is the correlation of reward and score that carries the signal: each mean alone says nothing."
    ),
    reference=_bandit_gradient,
    shows=[score_gradient],
    cases=_scores_and_rewards,
    hints=[
        "Each pull contributes its reward times its score, a vector. The estimate is the mean of these vectors.",
        "`rewards` has shape (n,), `scores` (n, parameters): `rewards.unsqueeze(1) * scores` lines them up.",
    ],
    mistakes={
        "That is the sum over the pulls. It estimates n ∇J: take the mean, or the step grows with the batch.": (
            lambda scores, rewards: rewards @ scores
        ),
        "The sign is flipped. This is the gradient of J, to be climbed; the minus belongs to a loss.": (
            lambda scores, rewards: -(rewards @ scores) / len(rewards)
        ),
        "The mean reward times the mean score: only their *product*, pull by pull, tells which arm did well.": (
            lambda scores, rewards: rewards.mean() * scores.mean(0)
        ),
        "The rewards are lined up with the parameters, not the pulls: make them a column, `rewards.unsqueeze(1)`.": (
            lambda scores, rewards: (rewards * scores).mean(0)
        ),
        "The mean is taken over the parameters as well. Over the pulls only, it leaves a vector: `.mean(0)`.": (
            lambda scores, rewards: (rewards.unsqueeze(1) * scores).mean()
        ),
        "The rewards are left out: the mean score estimates zero, whatever the arms pay.": lambda scores, rewards: (
            scores.mean(0)
        ),
        "It is divided by n − 1. That is for a variance; the mean of n pulls divides by n.": (
            lambda scores, rewards: rewards @ scores / (len(rewards) - 1)
        ),
        "The mean reward is taken off first. That baseline is the next notebook's; and as each reward is in it, "
        "it shrinks the estimate.": (lambda scores, rewards: (rewards - rewards.mean()) @ scores / len(rewards)),
    },
)
def reinforce_gradient(scores, rewards):
    """The estimate of ∇J from n pulls; scores (n, parameters), rewards (n,), result (parameters,)."""
    return (rewards.unsqueeze(1) * scores).mean(dim=0)


@dataclass(frozen=True)
class _Machine:
    """Presses with the dice thrown beforehand: which buttons they hit depends on theta alone."""

    payouts: tuple[float, ...]
    dice: tuple[float, ...]

    def __call__(self, theta):
        dice = torch.tensor(self.dice, dtype=torch.float64).to(theta)
        arms = torch.searchsorted(theta.detach().softmax(0).cumsum(0), dice).clamp(max=len(theta) - 1)
        return arms, torch.tensor(self.payouts, dtype=torch.float64).to(theta)[arms]

    def __repr__(self):
        return f"presses of buttons that pay {list(self.payouts)}"


def _machines(generator):
    two = _Machine((0.0, 1.0), (0.2, 0.8))
    yield torch.zeros(2, dtype=torch.float64), two, 1.0, 1
    yield torch.zeros(2, dtype=torch.float64), two, 1.0, 0
    yield torch.zeros(2, dtype=torch.float64), two, 2.0, 3
    dice = tuple(torch.rand(7, generator=generator).tolist())
    start = torch.randn(3, generator=generator, dtype=torch.float64)
    yield start, _Machine((0.2, 0.5, 0.7), dice), 0.5, 20


def _step(theta, arms, rewards, learning_rate):
    policy = CategoricalPolicy(Table(1, len(theta)))
    scores = policy.scores(theta, torch.zeros_like(arms), arms)
    return theta + learning_rate * score_gradient(scores.unsqueeze(1), rewards)


def _climb(theta, play, learning_rate, steps):
    for _ in range(steps):
        theta = _step(theta, *play(theta), learning_rate)
    return theta


def _one_rollout(theta, play, learning_rate, steps):
    arms, rewards = play(theta)
    for _ in range(steps):
        theta = _step(theta, arms, rewards, learning_rate)
    return theta


def _first_scores(theta, play, learning_rate, steps):
    start = theta
    for _ in range(steps):
        theta = theta + _step(start, *play(theta), learning_rate) - start
    return theta


def _summed(theta, play, learning_rate, steps):
    for _ in range(steps):
        arms, rewards = play(theta)
        theta = _step(theta, arms, rewards, learning_rate * len(arms))
    return theta


@exercise(
    title="The training loop",
    difficulty=2,
    minutes=20,
    importance=3,
    why=(
        "Each estimate is one of ∇J at the θ that has just played, so every step plays a batch of its own.\n"
        "The mean over the presses keeps the step's size the same for any batch, and adding climbs."
    ),
    reference=_climb,
    shows=[score_vectors, score_gradient],
    cases=_machines,
    hints=[
        "Each step: rollout and reward (`play`), a score for each press, the estimate, a step uphill. Then again, with "
        "the new θ.",
        "All scores at once: `torch.nn.functional.one_hot(arms, len(theta)) - theta.softmax(0)`, one row a press.",
        "`theta = theta + learning_rate * (rewards.unsqueeze(1) * scores).mean(0)`, and return theta after the loop.",
    ],
    mistakes={
        "The rollout stands before the loop: from the second step on, those are presses of an older policy.": (
            _one_rollout
        ),
        "The scores are those of the θ at the start. They have to be taken at the θ that has just played.": (
            _first_scores
        ),
        "The sign is flipped: J is to be climbed, so the estimate is added.": (
            lambda theta, play, learning_rate, steps: _climb(theta, play, -learning_rate, steps)
        ),
        "That is the sum over the presses. Take the mean, or the step grows with the batch.": _summed,
        "It stops after one step: is `return` inside the loop?": (
            lambda theta, play, learning_rate, steps: _climb(theta, play, learning_rate, min(steps, 1))
        ),
    },
)
def train(theta, play, learning_rate, steps):
    """θ after so many steps of REINFORCE; play(theta) plays one batch, and gives arms (n,) and rewards (n,)."""
    for _ in range(steps):
        arms, rewards = play(theta)
        scores = torch.nn.functional.one_hot(arms, len(theta)) - theta.softmax(0)
        theta = theta + learning_rate * (rewards.unsqueeze(1) * scores).mean(0)
    return theta


def _log_probs_and_rewards(generator):
    yield torch.tensor([-0.5], requires_grad=True), torch.tensor([2.0], requires_grad=True)
    yield torch.tensor([-0.7, -1.6], requires_grad=True), torch.tensor([1.0, 0.0])
    yield torch.tensor([-3.0, -4.0], requires_grad=True), torch.tensor([2.0, 3.0])  # a loss above 1
    rewards = torch.randn(5, generator=generator)
    yield (-torch.rand(5, generator=generator)).requires_grad_(), rewards.requires_grad_()


def _bandit_loss(log_probs, rewards):
    return policy_gradient_loss(log_probs.unsqueeze(1), rewards).mean()


@exercise(
    title="REINFORCE as a loss",
    difficulty=2,
    minutes=10,
    importance=3,
    why=(
        "An optimiser walks down, so the objective gets a minus; its gradient is then minus the estimate of ∇J.\n"
        "The reward is a number that was observed: a gradient through it would change the judge, not the policy."
    ),
    reference=_bandit_loss,
    shows=[policy_gradient_loss],
    cases=_log_probs_and_rewards,
    hints=[
        "Which function of the log-probs has the gradient −(1/n) Σ r ∇log π? An optimiser will walk *down* it.",
        "A reward may come out of another network. It is a number here: `rewards.detach()`.",
        "`-(rewards.detach() * log_probs).mean()`.",
    ],
    mistakes={
        "The sign is flipped: an optimiser minimises, and would make rewards rarer.": lambda log_probs, rewards: (
            rewards.detach() * log_probs
        ).mean(),
        "The value is right, but a gradient flows into the rewards too. They are numbers: `rewards.detach()`.": (
            lambda log_probs, rewards: -(rewards * log_probs).mean()
        ),
        "That is the sum over the pulls: take the mean, or the step grows with the batch.": lambda log_probs, rewards: (
            -(rewards.detach() * log_probs).sum()
        ),
        "The rewards alone are numbers: nothing in them can be differentiated. Each has to multiply its log-prob.": (
            lambda log_probs, rewards: -rewards.mean()
        ),
        "Probabilities in place of log-probs: frequent arms are already drawn often, and would be counted twice.": (
            lambda log_probs, rewards: -(rewards.detach() * log_probs.exp()).mean()
        ),
        "The mean reward is taken off first. That is a baseline, the next notebook's; here the rewards count as "
        "they are.": (lambda log_probs, rewards: -((rewards - rewards.mean()).detach() * log_probs).mean()),
        "It is divided by n − 1. The mean of n pulls divides by n.": (
            lambda log_probs, rewards: -(rewards.detach() * log_probs).sum() / (len(rewards) - 1)
        ),
    },
)
def reinforce_loss(log_probs, rewards):
    """A scalar whose gradient is −(1/n) Σ r ∇log π; log_probs (n,) with gradient, rewards (n,), taken as numbers."""
    return -(rewards.detach() @ log_probs) / len(log_probs)


def _dials(generator):
    one = torch.ones((), dtype=torch.float64)
    yield 0 * one, 0 * one, 2 * one
    yield one, torch.log(2 * one), 4 * one
    yield one, torch.log(one / 2), one
    yield tuple(torch.randn(3, generator=generator, dtype=torch.float64))


def _gaussian_score(mean, log_std, action):
    policy = GaussianPolicy(Table(1, 1))
    return policy.scores(torch.stack([mean, log_std]), torch.tensor([0]), action.reshape(1, 1))[0]


@exercise(
    title="The score of a Gaussian",
    difficulty=2,
    minutes=15,
    importance=2,
    why=(
        "By μ the quadratic −(a − μ)²/2σ² gives (a − μ)/σ²; by log σ it gives z², and −log σ gives −1.\n"
        "E[z²] = 1, so the second entry has mean zero, as every score has."
    ),
    reference=_gaussian_score,
    shows=[score_vectors],
    cases=_dials,
    hints=[
        "log π(a) = −(a − μ)²/(2σ²) − log σ + a constant.",
        "By μ: (a − μ)/σ². For the spread, mind that the parameter is log σ: d/d(log σ) = σ · d/dσ.",
        "With z = (a − μ)/σ the two are z/σ and z² − 1: `torch.stack([z / std, z**2 - 1])`.",
    ],
    mistakes={
        "The first entry is divided by σ, not by σ².": lambda mean, log_std, action: torch.stack(
            [(action - mean) / log_std.exp(), ((action - mean) / log_std.exp()) ** 2 - 1]
        ),
        "log σ is used where σ belongs: σ is `log_std.exp()`.": lambda mean, log_std, action: torch.stack(
            [(action - mean) / log_std**2, ((action - mean) / log_std) ** 2 - 1]
        ),
        "That is the derivative by σ. The parameter is log σ: multiply the second entry by σ.": (
            lambda mean, log_std, action: torch.stack(
                [
                    (action - mean) / log_std.exp() ** 2,
                    (((action - mean) / log_std.exp()) ** 2 - 1) / log_std.exp(),
                ]
            )
        ),
        "The −log σ of the density is forgotten: its derivative is the −1 of z² − 1. Without it, the score has no mean "
        "of zero.": lambda mean, log_std, action: torch.stack(
            [(action - mean) / log_std.exp() ** 2, ((action - mean) / log_std.exp()) ** 2]
        ),
        "The first sign is flipped: an action above the mean pulls the mean up.": lambda mean, log_std, action: (
            torch.stack([(mean - action) / log_std.exp() ** 2, ((action - mean) / log_std.exp()) ** 2 - 1])
        ),
        "log σ stands for σ in the first entry: σ is `log_std.exp()`.": (
            lambda mean, log_std, action: torch.stack(
                [(action - mean) / log_std**2, ((action - mean) / log_std.exp()) ** 2 - 1]
            )
        ),
        "That is divided by σ² once, and z is not squared: the second entry is z² − 1.": (
            lambda mean, log_std, action: torch.stack(
                [(action - mean) / log_std.exp() ** 2, (action - mean) / log_std.exp() - 1]
            )
        ),
    },
)
def gaussian_score(mean, log_std, action):
    """∇log π(action) of N(mean, std²) by (mean, log std); three scalar tensors, result of shape (2,)."""
    variance = torch.exp(2 * log_std)
    away = action - mean
    return torch.stack([away / variance, away**2 / variance - 1])


def _paths(generator):
    scores = torch.tensor([[[1.0], [1.0]]], dtype=torch.float64)
    yield scores, torch.tensor([[1.0, -1.5]], dtype=torch.float64), 0.5
    yield scores, torch.tensor([[0.0, 1.0]], dtype=torch.float64), 0.5
    yield scores, torch.tensor([[1.0, 0.0]], dtype=torch.float64), 1.0
    scores = torch.randn(4, 3, 2, generator=generator, dtype=torch.float64)
    rewards = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    yield scores, rewards, 0.9
    yield scores, rewards, 0.0


def _discounted(scores, rewards, gamma):
    credit = discounts(rewards.shape[-1], gamma) * discounted_returns(rewards, gamma)
    return score_gradient(scores, credit)


def _over_steps(scores, rewards, gamma):
    return _discounted(scores, rewards, gamma) / rewards.shape[1]


@exercise(
    title="The gradient of a discounted return",
    difficulty=3,
    minutes=20,
    importance=3,
    why=(
        "J is discounted from the start, so what step t can influence is Σ_{k≥t} γ^k r_k = γ^t G_t.\n"
        "Leaving γ^t out gives the gradient of no objective at all, and can point the wrong way."
    ),
    reference=_discounted,
    shows=[score_gradient, discounted_returns, discounts],
    cases=_paths,
    hints=[
        "What step t can still influence is Σ_{k≥t} γ^k r_k, discounted *from the start*: that is γ^t G_t.",
        "Multiply each reward by γ^k first. Then sum from the end: `x.flip(1).cumsum(1).flip(1)`.",
        "Credit (n, T) times scores (n, T, parameters), summed over T, mean over n: "
        '`torch.einsum("nt,ntp->p", credit, scores) / len(scores)`.',
    ],
    mistakes={
        "The γ^t is left out, as on the source page. In the two-step world that turns the sign round.": (
            lambda scores, rewards, gamma: score_gradient(scores, discounted_returns(rewards, gamma))
        ),
        "The γ^t is there, but inside G_t nothing is discounted: it is γ^t Σ_{k≥t} γ^{k−t} r_k.": (
            lambda scores, rewards, gamma: score_gradient(
                scores, discounts(rewards.shape[-1], gamma) * discounted_returns(rewards)
            )
        ),
        "Each step is credited with the whole return, what came before it included. The mean is right, but the past "
        "only adds noise: sum from step t on.": lambda scores, rewards, gamma: score_gradient(
            scores, (discounts(rewards.shape[-1], gamma) * rewards).sum(-1)
        ),
        "Each step is credited with its own reward alone: what it leads to later is missing.": (
            lambda scores, rewards, gamma: score_gradient(scores, discounts(rewards.shape[-1], gamma) * rewards)
        ),
        "That is a mean over the steps. ∇J sums over them, and takes the mean over the episodes only.": _over_steps,
        "The reward of the step itself is left out: the sum begins at k = t, not after it.": (
            lambda scores, rewards, gamma: score_gradient(
                scores, discounts(rewards.shape[-1], gamma) * (discounted_returns(rewards, gamma) - rewards)
            )
        ),
        "The discount is one step too far: the first reward counts γ⁰ = 1, so γ^k stands before r_k, not γ^(k+1).": (
            lambda scores, rewards, gamma: gamma * _discounted(scores, rewards, gamma)
        ),
        "The sum runs forwards: each step is credited with what came before it. Sum from the end: `flip`, "
        "`cumsum`, `flip`.": (
            lambda scores, rewards, gamma: score_gradient(
                scores, (discounts(rewards.shape[-1], gamma) * rewards).cumsum(-1)
            )
        ),
    },
)
def discounted_gradient(scores, rewards, gamma):
    """Estimate of ∇J for J = E[Σ_t γ^t r_t]; scores (n, T, parameters), rewards (n, T), result (parameters,)."""
    gradient = torch.zeros_like(scores[0, 0])
    for t in range(rewards.shape[1]):
        later = sum(gamma**k * rewards[:, k] for k in range(t, rewards.shape[1]))
        gradient = gradient + (later.unsqueeze(1) * scores[:, t]).mean(0)
    return gradient
