"""Exercises of notebook 02: what to subtract from a return, what to sum, and how far to trust a critic."""

import torch

from policy_gradients.course.exercises.declare import exercise
from policy_gradients.estimators.baselines import leave_one_out, optimal_baseline, running_mean
from policy_gradients.estimators.returns import discounted_returns, generalized_advantages, td_errors


def _batches(generator):
    yield torch.tensor([[1.0, 0.0]])
    yield torch.tensor([[1.0, 1.0], [0.0, 4.0]])
    yield torch.tensor([[3.0, 0.0, 0.0]])
    yield torch.randn(4, 4, generator=generator)


@exercise(
    title="The mean of the others",
    difficulty=1,
    minutes=5,
    importance=3,
    why=(
        "A baseline that does not depend on the action leaves the mean of the gradient alone; the others' rewards "
        "do not.\n"
        "There are n − 1 of them, and the row's sum less your own reward is theirs."
    ),
    reference=leave_one_out,
    cases=_batches,
    hints=[
        "The sum of the others is the sum of the row less your own reward. How many others are there?",
        "`rewards.sum(-1, keepdim=True) - rewards`, divided by n − 1.",
    ],
    mistakes={
        "Your own reward is in its own baseline. It depends on your action, and so scales the gradient by 1 − 1/n.": (
            lambda rewards: rewards.mean(-1, keepdim=True).expand_as(rewards)
        ),
        "There are only n − 1 others, not n.": lambda rewards: (
            (rewards.sum(-1, keepdim=True) - rewards) / rewards.shape[-1]
        ),
        "The mean runs over the batches, not over the pulls of one batch: that is the last dimension.": (
            lambda rewards: (rewards.sum(0, keepdim=True) - rewards) / max(len(rewards) - 1, 1)
        ),
        "That is the advantage. Asked for is the baseline itself, before it is subtracted.": lambda rewards: (
            rewards - leave_one_out(rewards)
        ),
        "Your own reward is added where it should be taken off.": (
            lambda rewards: (rewards.sum(-1, keepdim=True) + rewards) / (rewards.shape[-1] - 1)
        ),
    },
)
def others_mean(rewards):
    """For each reward the mean of the *other* rewards of its row; rewards and result: (batches, n)."""
    n = rewards.shape[-1]
    return (rewards @ (1 - torch.eye(n, dtype=rewards.dtype))) / (n - 1)


def _running(generator):
    yield torch.tensor(0.0), torch.tensor([1.0, 3.0]), 0.1
    yield torch.tensor(2.0), torch.tensor([2.0, 2.0]), 0.5
    yield torch.tensor(5.0), torch.tensor([1.0]), 0.0
    yield torch.randn((), generator=generator), torch.randn(6, generator=generator), 0.3


def _use_then_update(baseline, rewards, rate):
    return rewards - baseline, running_mean(baseline, rewards, rate)


def _update_then_use(baseline, rewards, rate):
    new = running_mean(baseline, rewards, rate)
    return rewards - new, new


@exercise(
    title="A running mean, used before it is updated",
    difficulty=1,
    minutes=10,
    importance=2,
    why=(
        "What is subtracted from a reward must be independent of the action that earned it: use first, then "
        "update.\n"
        "The update moves the share `rate` of the way, so the past fades geometrically."
    ),
    reference=_use_then_update,
    shows=[running_mean],
    cases=_running,
    hints=[
        "The baseline that a batch is held against must not know that batch.",
        "A running mean moves a share `rate` of the way to the batch's mean: `baseline + rate * (mean - baseline)`.",
    ],
    mistakes={
        "The baseline is updated first and used then: it has seen the very rewards it is subtracted from, and is not "
        "independent of the actions any more.": _update_then_use,
        "The rate is the wrong way round: `rate` is the share of the new batch, not that of the past.": (
            lambda baseline, rewards, rate: (rewards - baseline, running_mean(baseline, rewards, 1 - rate))
        ),
        "The sign is flipped: better than the baseline is positive.": lambda baseline, rewards, rate: (
            baseline - rewards,
            running_mean(baseline, rewards, rate),
        ),
        "The update moves towards the batch's sum, not its mean.": lambda baseline, rewards, rate: (
            rewards - baseline,
            baseline + rate * (rewards.sum() - baseline),
        ),
    },
)
def running_advantages(baseline, rewards, rate):
    """The pair (advantages of this batch, baseline for the next); baseline is a scalar tensor, rewards (n,)."""
    advantages = rewards - baseline
    return advantages, (1 - rate) * baseline + rate * rewards.mean()


def _scores_and_returns(generator):
    yield torch.tensor([[1.0], [-2.0]], dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64)
    scores = torch.tensor([[2.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)  # a parameter that never matters
    yield scores, torch.tensor([3.0, 1.0], dtype=torch.float64)
    yield scores / 50, torch.tensor([3.0, 1.0], dtype=torch.float64)  # small weights are weights
    yield torch.ones_like(scores), torch.tensor([3.0, 1.0], dtype=torch.float64)
    scores = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    yield scores, torch.randn(8, generator=generator, dtype=torch.float64) + 2


def _safe(top, bottom):
    return torch.where(bottom == 0, 0.0, top / torch.where(bottom == 0, 1.0, bottom))


def _without_edge(scores, returns):
    return (scores.square() * returns.unsqueeze(1)).sum(0) / scores.square().sum(0)


def _absolute(scores, returns):
    return _safe((scores.abs() * returns.unsqueeze(1)).sum(0), scores.abs().sum(0))


def _shared(scores, returns):
    length = scores.square().sum(1)
    return torch.full_like(scores[0], ((length * returns).sum() / length.sum()).item())


@exercise(
    title="The best constant",
    difficulty=3,
    minutes=20,
    importance=1,
    why=(
        "Var[ψ(R − b)] is a quadratic in b, and its lowest point is a mean of R weighted with ψ².\n"
        "Where ψ is always zero every b is as good, and 0 keeps NaN out."
    ),
    reference=optimal_baseline,
    cases=_scores_and_returns,
    hints=[
        "Write the second moment of ψ_k (R − b_k) as a quadratic in b_k. The mean does not depend on b_k.",
        "E[ψ²R²] − 2 b E[ψ²R] + b² E[ψ²] is least at b = E[ψ²R] / E[ψ²], for each parameter on its own.",
        "A parameter whose score is always zero gives 0/0. There any baseline will do: return 0.",
    ],
    mistakes={
        "That is the mean return. It is a good baseline, not the best: large scores should count for more.": (
            lambda scores, returns: returns.mean().expand_as(scores[0])
        ),
        "The weights are |ψ|. The variance is quadratic in ψ, and so are the weights: ψ².": _absolute,
        "One baseline is shared by all parameters. Each may have its own, and is best off with it.": _shared,
        "A parameter whose score is always zero gives 0/0 = NaN, and one NaN spoils the update: return 0 there.": (
            _without_edge
        ),
    },
)
def best_baseline(scores, returns):
    """For each parameter the constant of least variance; scores (n, parameters), returns (n,), result (parameters,)."""
    weights = scores**2
    total = weights.sum(0)
    best = torch.einsum("np,n->p", weights, returns)
    return torch.where(total > 0, best / total.clamp(min=1e-300), torch.zeros_like(total))


def _rewards_and_mask(generator):
    yield torch.tensor([[1.0, 2.0]]), torch.ones(1, 2), 0.5
    yield torch.tensor([[0.0, 0.0, 1.0]]), torch.ones(1, 3), 1.0
    yield torch.tensor([[1.0, 0.0, 7.0]]), torch.tensor([[1.0, 1.0, 0.0]]), 0.5  # the 7 is padding
    mask = (torch.arange(6) < torch.tensor([[6], [4], [1]])).float()
    yield torch.randn(3, 6, generator=generator), mask, 0.9


def _from_the_start(rewards, mask, gamma):
    weights = gamma ** torch.arange(rewards.shape[1], dtype=rewards.dtype)
    return (weights * rewards * mask).cumsum(1) * mask


def _from_zero(rewards, mask, gamma):
    weights = gamma ** torch.arange(rewards.shape[1], dtype=rewards.dtype)
    return (weights * rewards * mask).flip(1).cumsum(1).flip(1) * mask


@exercise(
    title="Rewards to go",
    difficulty=2,
    minutes=10,
    importance=3,
    why=(
        "An action cannot change the past, so earlier rewards only add noise to its credit.\n"
        "Seen from step t a reward k − t steps away counts γ^{k−t}: G_t = r_t + γ G_{t+1}."
    ),
    reference=lambda rewards, mask, gamma: discounted_returns(rewards, gamma, mask),
    shows=[discounted_returns],
    cases=_rewards_and_mask,
    hints=[
        "G_t = r_t + γ G_{t+1}: begin at the end, where G is the last reward.",
        "Set rewards on padding to zero first: `rewards * mask`. At the end, set G on padding to zero as well.",
        "`for t in reversed(range(T)): running = rewards[:, t] * mask[:, t] + gamma * running`",
    ],
    mistakes={
        "That sums from the start: it credits a step with what came *before* it.": _from_the_start,
        "The discount counts from the start of the episode. In G_t it counts from t on: γ^{k−t}.": _from_zero,
        "Rewards on padding leak in: multiply them by the mask.": lambda rewards, mask, gamma: (
            discounted_returns(rewards, gamma) * mask
        ),
        "Each step gets its own reward alone. What comes later counts as well, also for the steps before it.": (
            lambda rewards, mask, gamma: rewards * mask
        ),
        "Padding is not zero in the result: nothing is left to be earned after the end.": (
            lambda rewards, mask, gamma: torch.where(mask > 0, discounted_returns(rewards, gamma, mask), rewards)
        ),
        "The step's own reward is left out: G_t begins with r_t.": (
            lambda rewards, mask, gamma: (discounted_returns(rewards, gamma, mask) - rewards * mask) * mask
        ),
        "The discount is one step too far: r_t itself counts in full, γ⁰ = 1.": (
            lambda rewards, mask, gamma: gamma * discounted_returns(rewards, gamma, mask)
        ),
    },
)
def rewards_to_go(rewards, mask, gamma):
    """G_t = Σ_{k≥t} γ^{k−t} r_k, zero on padding; rewards, mask (1 on real steps) and result: (episodes, time)."""
    running, found = torch.zeros_like(rewards[:, 0]), []
    for t in reversed(range(rewards.shape[1])):
        running = rewards[:, t] * mask[:, t] + gamma * running
        found.insert(0, running * mask[:, t])
    return torch.stack(found, dim=1)


def _rewards_and_values(generator):
    yield torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.25]], requires_grad=True), 0.5, 0.5
    yield torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.25, 0.5, 0.75]]), 1.0, 1.0
    rewards, values = torch.randn(2, 3, 5, generator=generator)
    yield rewards, values.requires_grad_(), 0.9, 0.7
    yield rewards, values.detach(), 0.9, 0.0


def _loop(rewards, values, gamma, decay, after=None):
    running, found = 0.0, []
    for t in reversed(range(rewards.shape[1])):
        last = t + 1 == rewards.shape[1]
        following = (after if after is not None else 0.0) if last else values[:, t + 1]
        running = rewards[:, t] + gamma * following - values[:, t] + decay * running
        found.insert(0, running)
    return torch.stack(found, dim=1)


@exercise(
    title="GAE(γ, λ)",
    difficulty=3,
    minutes=25,
    importance=3,
    why=(
        "Each TD error is a small advantage estimate with the critic's bias; λ says how many of them to trust.\n"
        "λ = 1 telescopes to the return less V, without the critic's bias; λ = 0 keeps one step, with the least "
        "noise."
    ),
    reference=generalized_advantages,
    shows=[generalized_advantages, td_errors],
    cases=_rewards_and_values,
    hints=[
        "First the one-step errors δ_t = r_t + γ V(s_{t+1}) − V(s_t), with V = 0 after the last step.",
        "Then from the end: Â_t = δ_t + γ λ Â_{t+1}.",
        "Advantages are numbers to the actor: `values = values.detach()` at the top.",
    ],
    mistakes={
        "The values are right, but a gradient flows through the critic: the actor's loss would train it to please. "
        "Detach.": lambda rewards, values, gamma, lam: _loop(rewards, values, gamma, gamma * lam),
        "The errors are decayed by λ alone: it is (γλ)^l.": lambda rewards, values, gamma, lam: _loop(
            rewards, values.detach(), gamma, lam
        ),
        "The errors are decayed by γ alone: λ is not in it, and all of it is Monte Carlo.": (
            lambda rewards, values, gamma, lam: _loop(rewards, values.detach(), gamma, gamma)
        ),
        "After the last step V is 0, the episode being over. Here the last value is used once more.": (
            lambda rewards, values, gamma, lam: _loop(
                rewards, values.detach(), gamma, gamma * lam, values.detach()[:, -1]
            )
        ),
        "V is added back: that is the λ-return, the critic's target, not the advantage.": (
            lambda rewards, values, gamma, lam: _loop(rewards, values.detach(), gamma, gamma * lam) + values.detach()
        ),
        "The γ before V(s_{t+1}) is forgotten.": lambda rewards, values, gamma, lam: _loop(
            rewards, values.detach(), 1.0, gamma * lam
        ),
        "The next value is subtracted and V of the state added: δ_t = r_t + γ V(s_{t+1}) − V(s_t).": (
            lambda rewards, values, gamma, lam: _loop(rewards, -values.detach(), gamma, gamma * lam)
        ),
    },
)
def gae(rewards, values, gamma, lam):
    """Â_t = Σ_l (γλ)^l δ_{t+l}, without gradient; rewards, values V(s_t) and result: (episodes, time)."""
    values = values.detach()
    time = rewards.shape[1]
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    errors = rewards + gamma * following - values
    away = torch.arange(time).unsqueeze(0) - torch.arange(time).unsqueeze(1)  # k − t
    weights = torch.where(away >= 0, (gamma * lam) ** away.clamp(min=0).to(errors), 0.0)
    return errors @ weights.T


def _single_steps(generator):
    one = torch.ones(1, dtype=torch.float64)
    yield one, 0.5 * one, 2 * one, torch.tensor([False]), 0.5
    yield one, 0.5 * one, 2 * one, torch.tensor([True]), 0.5
    reward, value, next_value = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    yield reward, value, next_value, torch.tensor([False, True, False, True, True]), 0.9


def _one_td_error(reward, value, next_value, ended, gamma):
    bootstrap = torch.where(ended, 0.0, next_value)
    return td_errors(reward.unsqueeze(-1), value.unsqueeze(-1), gamma, bootstrap=bootstrap).squeeze(-1)


@exercise(
    title="The surprise of one step",
    difficulty=1,
    minutes=8,
    importance=3,
    why=(
        "V(s) promised a return; r + γ V(s′) is what one step later makes of that promise.\n"
        "Under the true values the mean of δ is the advantage of the action, so one step already tells good from bad."
    ),
    reference=_one_td_error,
    shows=[td_errors],
    cases=_single_steps,
    hints=[
        "What came and what is now expected, less what had been expected. And after the end nothing is expected.",
        "`torch.where(ended, 0.0, next_value)` is the value of where the step led, 0 if it led out.",
    ],
    mistakes={
        "After the end there is nothing to come: there `next_value` belongs to no step of this episode.": (
            lambda reward, value, next_value, ended, gamma: reward + gamma * next_value - value
        ),
        "What comes next is a step later: it is discounted by γ.": lambda reward, value, next_value, ended, gamma: (
            _one_td_error(reward, value, next_value, ended, 1.0)
        ),
        "The sign is flipped: more than was expected is positive.": lambda reward, value, next_value, ended, gamma: (
            -_one_td_error(reward, value, next_value, ended, gamma)
        ),
        "What was expected is not subtracted: that is the target of the critic, and no surprise.": (
            lambda reward, value, next_value, ended, gamma: _one_td_error(reward, 0 * value, next_value, ended, gamma)
        ),
        "γ stands before the reward as well: the reward is paid at this step.": (
            lambda reward, value, next_value, ended, gamma: _one_td_error(
                gamma * reward, value, next_value, ended, gamma
            )
        ),
    },
)
def td_error(reward, value, next_value, ended, gamma):
    """δ = r + γ V(s′) − V(s), V being 0 after the end; four tensors of one shape, ended of truth values; γ a number."""
    return reward + gamma * next_value * ~ended - value
