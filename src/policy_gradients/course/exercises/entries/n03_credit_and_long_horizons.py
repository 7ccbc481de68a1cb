"""Exercises of notebook 03: shaping, spreading a reward, eligibility traces, importance weights."""

from functools import partial

import torch

from policy_gradients.course.exercises.declare import exercise
from policy_gradients.estimators.credit import redistribute, shape_rewards
from policy_gradients.estimators.gpomdp import eligibility_traces
from policy_gradients.estimators.importance import effective_sample_size, importance_weights


def _rewards_and_potentials(generator):
    yield torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 3.0]]), 0.5
    yield torch.tensor([[1.0]]), torch.tensor([[4.0]]), 0.9  # an episode of one step
    yield torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(1, 3), 1.0
    yield torch.randn(3, 5, generator=generator), torch.randn(3, 5, generator=generator), 0.8


def _after(potentials, end):
    return torch.cat([potentials[:, 1:], end], dim=1)


def _nothing(potentials):
    return torch.zeros_like(potentials[:, :1])


@exercise(
    title="Rewards shaped by a potential",
    difficulty=2,
    minutes=10,
    importance=2,
    why=(
        "Discounted along an episode, the potentials cancel but for the first: the sum changes by −Φ(s_0) alone.\n"
        "That needs γ before the later potential, and 0 after the end."
    ),
    reference=shape_rewards,
    cases=_rewards_and_potentials,
    hints=[
        "Each step is paid for the potential that it gains: what comes after, less what was before.",
        "After the last step the episode is over, and the potential there is 0, whatever the state was.",
        "`torch.cat([potentials[:, 1:], torch.zeros_like(potentials[:, :1])], dim=1)` is Φ(s_{t+1}).",
    ],
    mistakes={
        "γ is missing before Φ(s_{t+1}). Without it the potentials no longer cancel in Σ γ^t r_t, and the objective "
        "changes.": lambda r, p, gamma: r + _after(p, _nothing(p)) - p,
        "The last potential is kept after the end. Φ has to be 0 there, or every episode earns something for its last "
        "state.": lambda r, p, gamma: r + gamma * _after(p, p[:, -1:]) - p,
        "The sign is turned round: a step is paid for what it *gains* in potential.": lambda r, p, gamma: (
            r - gamma * _after(p, _nothing(p)) + p
        ),
        "γ stands before the whole difference. Only the later potential is one step away.": lambda r, p, gamma: (
            r + gamma * (_after(p, _nothing(p)) - p)
        ),
        "The potential of the state before is not taken off. Then the sum over an episode depends on the states it "
        "visits, and so does what is best.": lambda r, p, gamma: r + gamma * _after(p, _nothing(p)),
    },
)
def shaped_rewards(rewards, potentials, gamma):
    """r_t + γ Φ(s_{t+1}) − Φ(s_t), with Φ = 0 after the end; rewards, potentials and result: (episodes, time)."""
    shaped = rewards - potentials
    shaped[:, :-1] += gamma * potentials[:, 1:]
    return shaped


def _returns_and_shares(generator):
    yield torch.tensor([3.0]), torch.tensor([[1.0, 2.0]]), 0.5
    yield torch.tensor([1.0, -2.0]), torch.tensor([[1.0, 1.0, 2.0], [0.0, 0.0, 5.0]]), 0.9
    yield torch.randn(3, generator=generator), torch.rand(3, 6, generator=generator) + 0.1, 0.7
    yield torch.tensor([1.0]), torch.tensor([[0.0, 0.0]]), 1.0  # nobody to give it to: ValueError
    yield torch.tensor([1.0, 1.0]), torch.tensor([[1.0, 1.0], [0.0, 0.0]]), 1.0  # nobody in one of two episodes


def _powers(shares, gamma):
    return gamma ** torch.arange(shares.shape[1], dtype=shares.dtype)


@exercise(
    title="Spread one reward over the steps",
    difficulty=2,
    minutes=8,
    importance=2,
    why=(
        "The episode must still earn R when it is discounted, so the step's share is divided by γ^t beforehand.\n"
        "Shares of each row are scaled to sum to one; where they sum to 0 there is nothing to scale, and NaN "
        "would train on."
    ),
    reference=redistribute,
    cases=_returns_and_shares,
    hints=[
        "Make the shares of each row sum to one first. A row that sums to 0 cannot be: raise ValueError.",
        "Then ask what r_t must be for γ^t r_t to be share_t · R.",
        "`gamma ** torch.arange(time)` holds the γ^t: divide by it.",
    ],
    mistakes={
        "The shares of a row do not sum to one yet, so the episode earns something else than "
        "R.": lambda returns, shares, gamma: redistribute(returns, shares, gamma) * shares.sum(1, keepdim=True),
        "γ^t is multiplied in. It has to be divided out: later the sum multiplies with it.": lambda returns, s, gamma: (
            redistribute(returns, s, gamma) * _powers(s, gamma) ** 2
        ),
        "γ is left out: these rewards sum to R without a discount, and to less with it.": lambda returns, s, gamma: (
            redistribute(returns, s, gamma) * _powers(s, gamma)
        ),
        "The shares are scaled over the whole batch. Each episode has its own R to spread: sum over "
        "`dim=1`.": lambda returns, s, gamma: redistribute(returns, s, gamma) * s.sum(1, keepdim=True) / s.sum(),
        "Shares that sum to 0 give 0/0 = NaN, and NaN trains on in silence. Raise "
        "ValueError.": lambda returns, s, gamma: returns[:, None] * s / s.sum(1, keepdim=True) / _powers(s, gamma),
        "The powers begin at γ¹: the first step has t = 0, and is divided by 1.": (
            lambda returns, s, gamma: redistribute(returns, s, gamma) / gamma
        ),
    },
)
def spread_reward(returns, shares, gamma):
    """Rewards r_t ∝ shares_t / γ^t with Σ_t γ^t r_t = R: returns (episodes,), shares and result (episodes, time).

    Raises ValueError where an episode's shares sum to 0.
    """
    totals = shares.sum(1)
    if (totals == 0).any():
        raise ValueError("some shares sum to zero")
    per_share = returns / totals
    powers = torch.tensor([gamma**t for t in range(shares.shape[1])], dtype=shares.dtype)
    return per_share[:, None] * shares / powers


def _scores_and_beta(generator):
    yield torch.tensor([[1.0], [10.0]]), 0.5
    yield torch.tensor([[1.0], [0.0], [0.0]]), 0.5
    yield torch.tensor([[2.0, 3.0]]), 0.0
    yield torch.randn(6, 3, generator=generator), 0.9
    yield torch.randn(5, 2, generator=generator), 0.0


def _decayed_at_once(scores, beta):
    traces, trace = [], torch.zeros_like(scores[0])
    for score in scores:
        trace = beta * (trace + score)
        traces.append(trace)
    return torch.stack(traces)


def _averaged(scores, beta):
    traces, trace = [], torch.zeros_like(scores[0])
    for score in scores:
        trace = beta * trace + (1 - beta) * score
        traces.append(trace)
    return torch.stack(traces)


@exercise(
    title="The eligibility trace",
    difficulty=1,
    minutes=8,
    importance=2,
    why=(
        "The trace adds up what later rewards have to be multiplied with: scores of the past, faded with β.\n"
        "β near 1 credits the distant past with little bias and much variance, β = 0 only the present step."
    ),
    reference=eligibility_traces,
    cases=_scores_and_beta,
    hints=[
        "Walk along the time with one vector, the trace, that starts at zero.",
        "At each step the old trace is multiplied by β, and the new score is added in full.",
        "`trace = beta * trace + score`, appended to a list; `torch.stack` makes a tensor of it.",
    ],
    mistakes={
        "The newest score is decayed too. It is added in full: at β = 0 the trace is the score "
        "itself.": _decayed_at_once,
        "Nothing decays: this is the running sum, β = 1, whose variance never stops growing.": lambda scores, beta: (
            scores.cumsum(0)
        ),
        "Nothing is remembered: these are the scores, which is β = 0.": lambda scores, beta: scores.clone(),
        "That is a running *mean*: the new score is weighed with 1 − β. A trace adds it in full.": _averaged,
        "It runs backwards in time. A trace remembers the past; it must not know the future.": lambda scores, beta: (
            eligibility_traces(scores.flip(0), beta).flip(0)
        ),
        "The newest score is not in it yet: z_t holds ψ_t itself.": (
            lambda scores, beta: eligibility_traces(scores, beta) - scores
        ),
    },
)
def traces(scores, beta):
    """z_t = β z_{t−1} + ψ_t with z = 0 before the start; scores ψ and result: (time, parameters)."""
    time = torch.arange(len(scores))
    age = time[:, None] - time[None, :]
    weights = torch.where(age >= 0, float(beta) ** age.clamp(min=0), 0.0).to(scores.dtype)
    return weights @ scores


def _two_log_probs(generator):
    yield torch.tensor([[0.9, 0.5]]).log(), torch.tensor([[0.3, 0.25]]).log()
    new, old = -torch.rand(2, 3, 4, generator=generator)
    yield new.clone().requires_grad_(), old.clone().requires_grad_()
    yield new[:1].clone(), new[:1].clone()
    # 2000 tokens, each a thousandth likelier now: a product of probabilities would be 0/0
    yield torch.full((1, 2000), -1.0, dtype=torch.float64), torch.full((1, 2000), -1.001, dtype=torch.float64)


@exercise(
    title="Weights for old rollouts",
    difficulty=2,
    minutes=10,
    importance=2,
    why=(
        "The reward at t was drawn with the actions up to t, so it is reweighted by the ratio of the "
        "probabilities of just these.\n"
        "The product of ratios is the exponential of a sum of differences of logs, which never rounds to 0/0."
    ),
    reference=partial(importance_weights, mask=None, per="prefix"),
    cases=_two_log_probs,
    hints=[
        "A reward at t depends on the actions up to t: its weight is the product of their ratios.",
        "A product of ratios is the exponential of a sum of differences of logs: `cumsum(-1)`, then `exp()`.",
        "The policy that sampled is history: no gradient through `old_log_probs`, so `.detach()` it.",
    ],
    mistakes={
        "The ratio is upside down: it should be large where the *present* policy is likelier.": lambda new, old: (
            (old.detach() - new).cumsum(-1).exp()
        ),
        "These are the ratios of single steps. What happened before a reward counts too: their "
        "product.": lambda new, old: (new - old.detach()).exp(),
        "The ratios are added up; chances of one thing after another multiply.": lambda new, old: (
            (new - old.detach()).exp().cumsum(-1)
        ),
        "Every step has the ratio of the whole episode. What comes *after* a reward cannot have caused it: leave it "
        "out.": lambda new, old: (new - old.detach()).sum(-1, keepdim=True).exp().expand_as(new),
        "A gradient flows into the old policy. It sampled the data and is fixed: `.detach()` it.": lambda new, old: (
            (new - old).cumsum(-1).exp()
        ),
        "Products of probabilities over a long text round to 0, and 0/0 is NaN. Subtract the logs "
        "first.": lambda new, old: new.exp().cumprod(-1) / old.detach().exp().cumprod(-1),
        "These are log-weights, sums of differences of logs: take `exp()`.": (
            lambda new, old: (new - old.detach()).cumsum(-1)
        ),
        "The product leaves the step's own ratio out. The action at t did lead to the reward at t: k ≤ t.": (
            lambda new, old: ((new - old.detach()).cumsum(-1) - (new - old.detach())).exp()
        ),
    },
)
def prefix_weights(log_probs, old_log_probs):
    """Π_{k≤t} π(a_k)/π_old(a_k) for each step: all three (episodes, time); no gradient through old_log_probs."""
    ratios = torch.exp(log_probs - old_log_probs.detach())
    return torch.cumprod(ratios, dim=1)


def _weights(generator):
    yield torch.tensor([1.0, 3.0])
    yield torch.tensor([2.0, 2.0, 2.0])
    yield torch.tensor([0.0, 5.0, 0.0, 0.0])
    yield torch.rand(4, 50, generator=generator)


@exercise(
    title="How many samples are left?",
    difficulty=1,
    minutes=5,
    importance=2,
    why=(
        "A weighted mean of independent numbers has the variance σ² Σw²/(Σw)²: as that of this many plain "
        "samples.\n"
        "It is n for equal weights, and 1 if one weight holds all."
    ),
    reference=effective_sample_size,
    cases=_weights,
    hints=[
        "Two sums along the last dimension: of the weights, and of their squares.",
        "(Σ w)² / Σ w². Try it by hand on equal weights, where it has to be n.",
    ],
    mistakes={
        "That is the inverse: of n equal weights it makes 1/n.": lambda w: w.square().sum(-1) / w.sum(-1).square(),
        "n²/Σ w² is right only if the weights have mean 1. Divide by their sum, whatever it is.": lambda w: (
            w.shape[-1] ** 2 / w.square().sum(-1)
        ),
        "Σ w / max w asks how many samples as heavy as the heaviest there are. It is another measure.": lambda w: (
            w.sum(-1) / w.max(-1).values
        ),
        "The sums run over everything; each row is a batch of its own: `dim=-1`.": lambda w: (
            w.sum().square() / w.square().sum()
        ),
    },
)
def effective_samples(weights):
    """(Σ w)² / Σ w² along the last dimension: (..., n) → (...)."""
    shares = weights / weights.sum(-1, keepdim=True)
    return 1 / (shares * shares).sum(-1)
