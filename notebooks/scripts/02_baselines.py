# ---
# jupyter:
#   colab:
#     provenance: []
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02 · Why does adding 10 to every reward break REINFORCE, and what mends it?
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/policy-gradients/blob/main/notebooks/02_baselines.ipynb)
#
# The cookie machine of notebook 01 gets a generous owner. Ten extra cookies per press, whatever you press.
# The best button is still the best, by the same margin. The exact gradient is the same, digit for digit.
# And half of our learners stop finding it.
#
# **Afterwards you can**
#
# - say what a baseline may depend on, and prove that it changes nothing on average;
# - choose among seven baselines by their *exact* bias and variance;
# - say what an entropy bonus can do for a learner that is sure too early, and what it cannot;
# - turn the knob λ from Monte Carlo to TD, and say what it buys and what it costs, also online, step by step;
# - train an actor and a critic on cart-pole, with a before, an after, and the spread of the seeds.
#
# | | |
# | --- | --- |
# | to read and think | 55 min, and 78 min for the six exercises |
# | to run | about a minute on two CPU cores, no GPU |
# | needs | [notebook 01](01_reinforce_on_a_bandit.ipynb): scores, REINFORCE, "scores have mean zero", V and Q |

# %%
# @title Setup: on Colab this installs the course, elsewhere it does nothing
from importlib.util import find_spec

if find_spec("policy_gradients") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/OWNER/policy-gradients")  # noqa: F821

# %%
from policy_gradients.course.diagram import five_steps
from policy_gradients.course.display import show
from policy_gradients.course.predictions import ask

show(five_steps("02_baselines"))

# %%
import torch

from policy_gradients.course.curves import curves
from policy_gradients.course.display import Table, show, zero
from policy_gradients.course.exercises import check, hint, progress, solution  # noqa: F401
from policy_gradients.course.live import LivePlot
from policy_gradients.course.oracle_figures import bias_and_variance, moments_table
from policy_gradients.estimators.baselines import leave_one_out, optimal_baseline, running_mean, value_loss
from policy_gradients.estimators.scores import score_gradient
from policy_gradients.oracle.exact import Oracle
from policy_gradients.worlds.rollout import rollout
from policy_gradients.worlds.small import bernoulli_bandit, chain, mixing_chain
from policy_gradients.worlds.tabular import softmax_policy

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)  # with tensors this small, a second thread only gets in the way

# %% [markdown]
# ## 1. The riddle
#
# Sixty learners side by side, each with its own machine and its own luck. Sixteen presses a step.
# `advantages_of` is the one line that this notebook changes. For now it hands the rewards on.

# %%
ask("02: ten more")

# %%
payout = torch.tensor([0.2, 0.5, 0.7])
mdp = bernoulli_bandit(payout.tolist())
policy = softmax_policy(mdp)
LEARNERS, STEPS = 60, 200
env = mdp.env(16 * LEARNERS)


# %%
def learner_step(theta, generator, advantages_of, extra=0.0, bonus=0.0):
    """One step of REINFORCE for all learners; theta (learners, 3). `bonus` is explained below."""
    batch = rollout(env, policy, theta, generator)
    scores = policy.scores(theta, batch.observations, batch.actions)
    uphill = score_gradient(scores, advantages_of(batch.returns + extra))
    return theta + 0.3 * (uphill + bonus * entropy_gradient(theta))


def entropy_gradient(theta):
    log_pi = theta.log_softmax(-1)
    entropy = -(log_pi.exp() * log_pi).sum(-1, keepdim=True)
    return -log_pi.exp() * (log_pi + entropy)


def as_they_are(rewards):
    return rewards


# %%
CASES = {"as_before": {"advantages_of": as_they_are}, "ten_more": {"advantages_of": as_they_are, "extra": 10}}


def race(cases):
    """All cases step by step, on one live board of medians; for each the policies' π, (steps, learners, 3)."""
    generators = {name: torch.Generator().manual_seed(1) for name in cases}
    thetas, pis = {name: policy.initial(LEARNERS) for name in cases}, {name: [] for name in cases}
    with LivePlot(", ".join(cases), total=STEPS) as live:
        for step in range(1, STEPS + 1):
            for name, case in cases.items():
                thetas[name] = learner_step(thetas[name], generators[name], **case)
                pis[name].append(thetas[name].softmax(-1))
            live.log(step, **{name: (pis[name][-1] @ payout).median() for name in cases})  # the gift left out
    return {name: torch.stack(values) for name, values in pis.items()}


runs = race(CASES)


# %%
def summary(runs):
    """How many earn well at the end, and how many are sure (nine presses in ten) of a wrong button."""
    rows = []
    for name, pis in runs.items():
        earned, wrong = pis[-1] @ payout, (pis[-1, :, :2] > 0.9).any(-1)
        rows.append([name, (earned > 0.6).sum().item(), wrong.sum().item(), earned.median().item()])
    return Table(["", f"of {LEARNERS}: earn more than 0.6", "sure of a wrong button", "median earnings"], rows)


summary(runs)

# %% [markdown]
# Not slow: stuck. With +10 every press is a triumph, so whatever was pressed first is pressed more.
# A learner that happens upon a poor button early is sure of it before it has tried the others.
#
# Follow one learner. Its first sixteen presses happen to hold nine of button 1. Each is worth about ten,
# so the gradient of its logit is about 10 · (9/16 − 1/3) = 2.3: more than all that the difference of half a
# cookie between buttons could say. At the next step button 1 is pressed more often still, by its own doing.
# Once its chance is near 1, the scores are near 0, and nothing moves any more. The luck of one batch has been
# frozen into the policy.
#
# ### Would it help to forbid certainty?
#
# An **entropy bonus** adds c·H(π) to J, H = −Σ π log π being the entropy: how undecided the policy is, in nats. Its gradient is
# exact, no sampling: H has the slope −πₐ (log πₐ + H) in θₐ. (`entropy_gradient` above; autograd is asked below.)

# %%
ask("02: a bonus")

# %%
anywhere = torch.tensor([1.0, 0.0, -0.5], requires_grad=True)
(-(anywhere.softmax(0) * anywhere.log_softmax(0)).sum()).backward()
print(f"formula − autograd: {(entropy_gradient(anywhere.detach()) - anywhere.grad).abs().max():.0e}")

# %%
bonuses = {f"c = {c:g}": {"advantages_of": as_they_are, "extra": 10, "bonus": c} for c in (0.5, 1.0, 2.0)}
with_bonus = race(bonuses)

# %%
summary({"ten more, c = 0": runs["ten_more"]} | with_bonus)

# %% [markdown]
# It does what it says, and no more. Fewer are *sure*; and not more find the best button, rather fewer. The bonus holds the policy
# near a coin toss, and what it tosses about there is the same noise. It treats the symptom. (Notebook 05 comes back to it.)
#
# The exact gradient says that none of this should be. Let us look at its estimate.

# %% [markdown]
# ## 2. The same mean, another variance
#
# Subtract a number b from every reward. (The owner's gift is b = −10.) The estimate changes by
#
# $$-\,b \; \mathbb{E}[\nabla \log \pi(a)] = -\,b \sum_a \nabla \pi(a) = -\,b\, \nabla 1 = 0$$
#
# on average, as long as **b does not depend on the press** that it is held against. Such a b is called a *baseline*.
# The mean stays, the variance does not. Here is both, exactly, for a policy that prefers the *worst* button.
#
# Why should the variance care? Each press votes for itself, with a weight r − b. If all weights are near ten,
# the sum is a small difference of large votes, and which button gets more of them is luck. If the weights are
# centred, a good press votes for itself, a poor one against itself, and what is left of the sum is signal.

# %%
ask("02: the best constant")

# %%
theta = torch.tensor([1.0, 0.0, -1.0])
oracle = Oracle(mdp, policy.table, theta)
print(f"π = {theta.softmax(0).numpy().round(3)}, J = {oracle.objective:.3f}")


# %%
def with_constant(b):
    return lambda batch: score_gradient(batch.scores, batch.returns - b)


rows = []
for b in (-10.0, 0.0, oracle.objective):
    moments = oracle.moments(with_constant(b))
    rows.append([f"{b:.3f}", zero(moments.bias(oracle.gradient), 10), moments.variance])
Table(["b", "bias", "variance of one press"], rows)

# %% [markdown]
# No bias anywhere: what is left is rounding, 10⁻¹⁵, and written as 0. The variance is a parabola in b: let us find its bottom.
# Write ψ for the score. The mean is fixed, so only the second moment counts:
#
# $$\mathbb{E}\,\|\psi\|^2 (r-b)^2 \;=\; \mathbb{E}\|\psi\|^2 r^2 - 2b\,\mathbb{E}\|\psi\|^2 r + b^2\, \mathbb{E}\|\psi\|^2
# \quad\text{is least at}\quad b^\star = \frac{\mathbb{E}\|\psi\|^2 r}{\mathbb{E}\|\psi\|^2} .$$
#
# A mean reward again, but one in which presses with *large scores*, the rare ones, count for more.
# They are where the variance is made: a rare press moves the logits most when it comes, so it pays to have the
# baseline right for it first. When all scores are of one length, b* is the plain mean.

# %%
outcomes = oracle.outcomes
psi, r, weight = outcomes.episodes.scores[:, 0], outcomes.episodes.returns, outcomes.probabilities
length = psi.square().sum(1)
best = ((weight * length * r).sum() / (weight * length).sum()).item()
print(f"mean reward J = {oracle.objective:.3f}, best constant b* = {best:.3f}")

# %%
grid = torch.linspace(-1, 2, 61)
places = {"no baseline": 0.0, "mean reward J": oracle.objective, "best constant b*": best}
x = {"any constant b": grid} | {name: [b] for name, b in places.items()}
lines = {name: [oracle.moments(with_constant(float(b))).variance for b in where] for name, where in x.items()}
show(curves(x, lines, title="Variance of one press", xlabel="baseline b", ylabel="trace of the covariance"))

# %% [markdown]
# J is good, and cheap. The best constant is a little better. Both beat doing nothing by far.
#
# Nobody says that all parameters must share one b. Each may have its own: Williams (1992) wrote REINFORCE with one baseline for
# each parameter. Which is best, Greensmith, Bartlett & Baxter (2004) have worked out.

# %% [markdown]
# **Exercise: The best constant** (★★★, 20 min). Derive it as above, for each parameter on its own.


# %%
def best_baseline(scores, returns):
    """For each parameter the constant of least variance; scores (n, parameters), returns (n,), result (parameters,)."""
    return ...  # your code here


# %%
best_baseline = check(best_baseline)
# hint(best_baseline)  # without the #: a hint, and the next one each time
# solution(best_baseline)

# %%
batch = oracle.sample((100_000,), torch.Generator().manual_seed(0))
exact = optimal_baseline(psi, r, weight)
print("yours, from 100,000 presses", best_baseline(batch.scores[:, 0], batch.returns).numpy().round(3))
print("from all outcomes          ", exact.numpy().round(3))

# %% [markdown]
# ## 3. Seven baselines
#
# Where does b come from, if nobody hands us J? From other presses. Two of the ways are exercises.

# %% [markdown]
# **Exercise: A running mean, used before it is updated** (★, 10 min). The order is the whole point.


# %%
def running_advantages(baseline, rewards, rate):
    """The pair (advantages of this batch, baseline for the next); baseline is a scalar tensor, rewards (n,)."""
    return ...  # your code here


# %%
running_advantages = check(running_advantages)
# hint(running_advantages)  # without the #: a hint, and the next one each time
# solution(running_advantages)

# %% [markdown]
# Put to work: one running mean for each of the sixty learners, from 0 on, with the owner's ten.

# %%
ask("02: a running mean")


# %%
def running(rate):
    """`advantages_of` with one running mean a learner, by your function."""
    baselines = [torch.tensor(0.0)] * LEARNERS

    def advantages_of(rewards):  # (learners, presses)
        pairs = [running_advantages(b, r, rate) for b, r in zip(baselines, rewards, strict=True)]
        baselines[:] = [b for _, b in pairs]
        return torch.stack([a for a, _ in pairs])

    return advantages_of


# %%
rates = (0.05, 0.1, 0.3)
summary(race({f"rate {rate:g}": {"advantages_of": running(rate), "extra": 10} for rate in rates}))

# %% [markdown]
# A slow one still loses learners, while the baseline is on its way. One that moves fast loses none here, and hardly any with other
# seeds.

# %% [markdown]
# **Exercise: The mean of the others** (★, 5 min). Each press of a batch is held against all the *other* ones.


# %%
def others_mean(rewards):
    """For each reward the mean of the *other* rewards of its row; rewards and result: (batches, n)."""
    return ...  # your code here


# %%
others_mean = check(others_mean)
# hint(others_mean)  # without the #: a hint, and the next one each time
# solution(others_mean)

# %%
ask("02: who knows the press?")

# %%
N, PAST = 4, 2  # presses in a batch; earlier presses that the running mean has seen


def held_against(baseline_of):
    """REINFORCE over the last N presses; the baseline may look at their rewards, and at those of earlier presses."""

    def estimator(batch):
        rewards, scores = batch.returns[..., -N:], batch.scores[..., -N:, :, :]
        return score_gradient(scores, rewards - baseline_of(rewards, batch.returns[..., :-N]))

    return estimator


# %%
def per_parameter(baseline_of):
    """The same with one baseline a parameter, made from scores and rewards."""

    def estimator(batch):
        psi, rewards = batch.scores[..., 0, :], batch.returns
        return (psi * (rewards.unsqueeze(-1) - baseline_of(psi, rewards))).mean(-2)

    return estimator


# %%
MENU = {
    "none": held_against(lambda rewards, past: 0),
    "constant, J": held_against(lambda rewards, past: oracle.objective),
    "running mean (or learned)": held_against(lambda r, past: running_mean(0.5, past, rate=0.5).unsqueeze(-1)),
    "batch mean": held_against(lambda rewards, past: rewards.mean(-1, keepdim=True)),
    "leave one out": held_against(lambda rewards, past: others_mean(rewards)),
    "best per parameter": per_parameter(lambda psi, rewards: exact),
    "the same, from the batch": per_parameter(lambda psi, r: optimal_baseline(psi, r).unsqueeze(-2)),
}

# %%
generator = torch.Generator().manual_seed(2)
exactly, sampled = {}, {}
for name, estimator in MENU.items():
    presses = N + PAST * name.startswith("running")
    exactly[name] = oracle.moments(estimator, group_size=presses)  # over all groups of outcomes: no sampling
    sampled[name] = estimator(oracle.sample((20_000, presses), generator))
moments_table(exactly, oracle.gradient, sampled)

# %%
show(bias_and_variance(exactly, oracle.gradient))

# %% [markdown]
# Two rows are biased, and both look at their own press. By squared error these two seem to win.
# But an estimate that is too short always errs less where there is much noise: a smaller learning rate in disguise.
#
# Compare *leave one out* with *constant, J*: 4.36 against 3.33. It has to guess J from three presses, and the guess
# is noisy. Its variance is that of a reward over n − 1, so the price falls as the batch of n presses grows: with four about a
# third more than for the true J, with sixteen about a sixteenth. That is what a group buys in GRPO.
#
# And the learned value? A critic that learns one number by gradient descent on ½(b − r)² moves by `rate` (r − b).
# In a world of one state that *is* the running mean. Section 5 has more states.
#
# The batch mean is off by exactly a quarter, 1/n. Not by chance:

# %%
rewards = torch.rand(1000, N, generator=generator)
own, others = rewards - rewards.mean(-1, keepdim=True), rewards - others_mean(rewards)
print(f"largest |own − (1 − 1/n) · others|: {(own - (1 - 1 / N) * others).abs().max():.0e}")
for name in ("batch mean", "the same, from the batch"):
    print(f"E[ĝ] / ∇J, {name}:", (exactly[name].mean / oracle.gradient).numpy().round(3))

# %% [markdown]
# So the batch mean is the leave-one-out baseline with a shorter step: the same direction, times 1 − 1/n.
# The "best" baseline from four presses is worse off: it shortens each parameter differently, and bends the direction.
#
# The batch mean's smaller variance is no merit: it is leave-one-out's, times (1 − 1/n)².
# Remember both for notebook 05. There n is called G, the group's size, and the two are Dr. GRPO and RLOO.
#
# And the riddle? One line mends it.

# %%
CASES["mended"] = {"advantages_of": lambda rewards: rewards - leave_one_out(rewards), "extra": 10}
runs = race(CASES)

# %%
summary(runs)

# %%
lines = {name.replace("_", " "): pis @ payout for name, pis in runs.items()}
title = "Cookies a press, without the gift: median and quartiles"
show(curves(range(1, STEPS + 1), lines, title=title, xlabel="step", ylabel="J(θ)"))

# %% [markdown]
# Sixty of sixty, as if there had been no gift. In fact leave-one-out cannot see it: what is added to all rewards
# is added to the mean of the others, and cancels. A baseline is no first aid; leave it on.

# %% [markdown]
# ## 4. Rewards to go
#
# With several steps there is more to subtract. A step cannot have caused what was earned *before* it.
# Leave the past out, and you have Gₜ, the reward to go:
#
# $$G_t = \sum_{k \ge t} \gamma^{k-t} r_k .$$
#
# Why this is allowed, notebook 01 has shown (section 7), by conditioning on all that has happened before aₜ is drawn. The same
# argument allows much more. Let b(sₜ) be any function of the **state**, and ψₜ the score of step t. Given sₜ, b is a number:
#
# $$\mathbb{E}[\,\psi_t\, b(s_t)\,] = \mathbb{E}\big[\, b(s_t)\; \mathbb{E}[\psi_t \mid s_t]\,\big]
# = \mathbb{E}\Big[\, b(s_t) \sum_a \nabla \pi(a|s_t)\Big] = 0 .$$
#
# So each state may have its own baseline. It may know the past, the clock, other episodes; only aₜ, and what comes of it, it may not.
# The obvious one is V(s), what is to be expected from there. (V, Q and A = Q − V are defined in notebook 01, section 7.)

# %% [markdown]
# **Exercise: Rewards to go** (★★, 10 min). Episodes of different lengths stand in one padded tensor.


# %%
def rewards_to_go(rewards, mask, gamma):
    """G_t = Σ_{k≥t} γ^{k−t} r_k, zero on padding; rewards, mask (1 on real steps) and result: (episodes, time)."""
    return ...  # your code here


# %%
rewards_to_go = check(rewards_to_go)
# hint(rewards_to_go)  # without the #: a hint, and the next one each time
# solution(rewards_to_go)

# %% [markdown]
# A ring of three states, with a reward at each of five steps. Its episodes can still be listed, all of them.

# %%
ask("02: the least noise")

# %%
from policy_gradients.estimators.returns import discounts

ring, LENGTH = mixing_chain(stickiness=0.0), 5
walker = softmax_policy(ring)
round_trip = Oracle(ring, walker.table, walker.initial(), horizon=LENGTH)
discount, clock = discounts(LENGTH, ring.gamma), torch.arange(LENGTH)
V = round_trip.state_values  # (time, state), exact
print(f"{len(round_trip.outcomes):,} possible episodes, J = {round_trip.objective:.3f}")


# %%
def to_go(batch):
    """Your function, for batches of batches of episodes."""
    flat = [part.flatten(0, -2) for part in (batch.rewards, batch.mask)]
    return rewards_to_go(*flat, ring.gamma).view_as(batch.rewards)


def full_return(batch):
    return score_gradient(batch.scores, (discount * batch.rewards).sum(-1))


def reward_to_go(batch):
    return score_gradient(batch.scores, discount * to_go(batch))


def less_value(batch, values=V):
    return score_gradient(batch.scores, discount * (to_go(batch) - values[clock, batch.observations]))


# %%
rows = []
for name, estimator in (("full return", full_return), ("reward to go", reward_to_go), ("… less V(s)", less_value)):
    moments = round_trip.moments(estimator)
    rows.append([name, zero(moments.bias(round_trip.gradient)), moments.variance])
Table(["credit of a step", "bias", "variance of one episode"], rows)

# %% [markdown]
# Two lines of thought, a factor of fourteen, and no bias. V(s) is a baseline that depends on the **state**.
# That is allowed, as the state comes before the action.
# It takes out what the *place* was worth, whoever acts there, and leaves what the *action* changed. On this ring
# the states pay differently; without V that luck is booked to the step that met it. (V is a good baseline; the *best*
# one is weighted, as above.)

# %% [markdown]
# ## 5. A critic, and the knob λ
#
# Nobody hands us V. Learn it: regress on returns. Two hundred episodes, one number per state and time.

# %%
batch = round_trip.sample((200,), torch.Generator().manual_seed(3))
returns = to_go(batch)
learned = torch.zeros_like(V, requires_grad=True)
optimizer = torch.optim.Adam([learned], lr=0.05)
with LivePlot("critic_loss", "distance_to_V", total=150, columns=2) as live:
    for step in range(1, 151):
        loss = value_loss(learned[clock, batch.observations], returns)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        live.log(step, critic_loss=loss.item(), distance_to_V=(learned.detach() - V).square().mean().sqrt())
learned = learned.detach()

# %%
moments = round_trip.moments(lambda batch: less_value(batch, learned))
print(f"learned V as a baseline: bias {moments.bias(round_trip.gradient):.0e}, variance {moments.variance:.3f}")

# %% [markdown]
# Nearly as good as the exact one, and *still no bias*: a wrong baseline costs variance only.
# The loss does not go to zero, and should not. What is left of it is the luck of the episodes.
#
# Now a bolder use. Do not wait for the end of the episode: let V *predict* the rest.
#
# $$\delta_t = r_t + \gamma V(s_{t+1}) - V(s_t), \qquad \hat A_t = \sum_{l \ge 0} (\gamma\lambda)^l \,\delta_{t+l} .$$
#
# This is GAE (Schulman et al. 2015). λ = 1 telescopes to Gₜ − V(sₜ), Monte Carlo. λ = 0 is δₜ alone, TD.
#
# Read δ as a surprise: what came, and what is now expected, less what had been. An action is credited with
# the surprises after it, fading by γλ per step. With λ = 1 only the discount is left, and the V in between cancel in pairs:
# each is added by one δ and taken away by the next. The first V alone remains, a baseline: so a wrong V cannot bias. With
# λ < 1 they do not quite cancel, and the critic's errors stay; but so much less of the far future's luck comes in.

# %% [markdown]
# **Exercise: GAE(γ, λ)** (★★★, 25 min). Episodes that end: after the last step V is 0.


# %%
def gae(rewards, values, gamma, lam):
    """Â_t = Σ_l (γλ)^l δ_{t+l}, without gradient; rewards, values V(s_t) and result: (episodes, time)."""
    return ...  # your code here


# %%
gae = check(gae)
# hint(gae)  # without the #: a hint, and the next one each time
# solution(gae)

# %%
ask("02: λ and the exact critic")


# %%
def with_lambda(lam, values):
    def estimator(batch):
        rewards, seen = batch.rewards.flatten(0, 1), values[clock, batch.observations].flatten(0, 1)
        credit = gae(rewards, seen, ring.gamma, lam).view_as(batch.rewards)
        return score_gradient(batch.scores, discount * credit)

    return round_trip.moments(estimator)


# %%
lams, scale = torch.linspace(0, 1, 11), round_trip.gradient.norm().item()
critics = {"exact V": V, "learned V": learned, "V halved": V / 2, "V = 0": 0 * V}
knob = {name: [with_lambda(lam, v) for lam in lams.tolist()] for name, v in critics.items()}
bias = {k: [m.bias(round_trip.gradient) / scale for m in ms] for k, ms in knob.items()}
noise = {k: [m.variance**0.5 / scale for m in ms] for k, ms in knob.items()}

# %%
show(curves(lams, bias, title="Bias: what the critic gets wrong", xlabel="λ", ylabel="‖E[ĝ] − ∇J‖ / ‖∇J‖"))
show(curves(lams, noise, title="Noise of one episode", xlabel="λ", ylabel="standard deviation / ‖∇J‖"))

# %% [markdown]
# The exact critic has no bias at any λ. A wrong one is *unbiased* at λ = 1 only; and even there it is not harmless: read the
# right end of the second picture, where the noise is two and a half times as large without a critic as with a good one.
# Towards λ = 0 the noise falls for all.
# (It is lowest for the exact critic: at λ = 0 its δ holds the luck of a single step, and no error.)
# The error of a batch of n episodes holds both: √(bias² + variance/n).

# %%
rows = []
for name, ms in knob.items():
    errors = [[m.bias(round_trip.gradient) ** 2 + m.variance / n for m in ms] for n in (10, 100, 10_000)]
    rows.append([name, *(f"{lams[torch.tensor(e).argmin()]:.1f}" for e in errors)])
Table(["critic", "best λ, 10 episodes", "100", "10,000"], rows)

# %% [markdown]
# Few episodes and a fair critic: small λ. Many, and a poor critic: Monte Carlo. Practice sits near 0.95.
#
# ### Online: a step in the world, a step of learning
#
# So far an episode had to end before its credit was known. But δₜ is known one step later. The classical **actor–critic** acts on
# it at once (Sutton & Barto 2018, chapter 13). To pay the steps that are past, each learner keeps two **traces**, fading memories of
# what to change: one of V's slopes, one of scores.
#
# $$z^V \leftarrow \gamma\lambda\, z^V + \nabla V(s_t), \qquad z^\theta \leftarrow \gamma\lambda\, z^\theta + \gamma^t\, \psi_t, \qquad
# V \leftarrow V + \alpha_V\,\delta_t\, z^V, \qquad \theta \leftarrow \theta + \alpha\,\delta_t\, z^\theta .$$
#
# Were θ and V held still until the end, the sum of all δₜ zᶿ would be GAE's Σ γᵗ ψₜ Âₜ, the double sum added up by columns
# in place of rows. Nothing is stored but the traces, and nothing is waited for. To be sure, on one made-up episode of five steps:

# %%
r, v, psi = (torch.randn(*shape, generator=generator) for shape in ((1, 5), (1, 5), (5, 3)))
late = 0.9 ** torch.arange(5.0)  # γᵗ, with γ = 0.9 and λ = 0.5
by_rows = (late * gae(r, v, 0.9, 0.5)[0]) @ psi
by_columns, trace = torch.zeros(3), torch.zeros(3)
for t in range(5):
    trace = 0.9 * 0.5 * trace + late[t] * psi[t]
    by_columns = by_columns + (r[0, t] + 0.9 * (v[0, t + 1] if t < 4 else 0) - v[0, t]) * trace
print(f"largest difference: {(by_rows - by_columns).abs().max():.0e}")

# %% [markdown]
# **Exercise: The surprise of one step** (★, 8 min). The last step of an episode is the trap.


# %%
def td_error(reward, value, next_value, ended, gamma):
    """δ = r + γ V(s′) − V(s), V being 0 after the end; four tensors of one shape, ended of truth values; γ a number."""
    return ...  # your code here


# %%
td_error = check(td_error)
# hint(td_error)  # without the #: a hint, and the next one each time
# solution(td_error)

# %% [markdown]
# A corridor of six places, twenty learners. Only leaving it pays, so at first a whole walk has one surprise, its last step.

# %%
ask("02: the news walks back")

# %%
hall, STUDENTS = chain(length=6), 20
stroller = softmax_policy(hall)
each = torch.arange(STUDENTS)


def online_episode(env, theta, V, lam, generator):
    """One episode of all learners, learning at each step; theta (learners, parameters) and V (learners, states)."""
    state, _ = env.reset(seed=int(torch.randint(2**31 - 1, (), generator=generator)))
    z_theta, z_V, going, fade = (
        torch.zeros_like(theta),
        torch.zeros_like(V),
        torch.ones(STUDENTS, dtype=torch.bool),
        1.0,
    )
    while going.any():
        action = stroller.sample(theta, state[:, None], generator)
        score = stroller.scores(theta, state[:, None], action)[:, 0]
        after, reward, ended, _, _ = env.step(action[:, 0])
        delta = going * td_error(reward, V[each, state], V[each, after], ended, hall.gamma)
        z_V = hall.gamma * lam * z_V + torch.nn.functional.one_hot(state, hall.num_states)
        z_theta = hall.gamma * lam * z_theta + fade * score
        V, theta = V + 0.2 * delta[:, None] * z_V, theta + 0.5 * delta[:, None] * z_theta
        state, going, fade = after, going & ~ended, fade * hall.gamma
    return theta, V


# %%
def online(lam, episodes=40):
    """The exact J of each learner after each episode, (episodes, learners)."""
    theta, V, generator = stroller.initial(STUDENTS), torch.zeros(STUDENTS, 6), torch.Generator().manual_seed(0)
    env, found = hall.env(STUDENTS), []
    for _ in range(episodes):
        theta, V = online_episode(env, theta, V, lam, generator)
        found.append([Oracle(hall, stroller.table, t).objective for t in theta])
    return found


by_trace = {f"λ = {lam:g}": torch.tensor(online(lam)) for lam in (0.0, 0.5, 1.0)}
rows = [[name, *(J[n - 1].median().item() for n in (1, 10, 20, 40))] for name, J in by_trace.items()]
Table(["J, median of 20, after episode", "1", "10", "20", "40"], rows)

# %%
show(
    curves(
        range(1, 41), by_trace, title="Learning at each step: median and quartiles", xlabel="episode", ylabel="J, exact"
    )
)

# %% [markdown]
# Without a trace the news of the exit walks back one or two places an episode (a learner that paces to and fro carries it farther
# than a straight walk would), and is three or four episodes on its way; with one, the first walk out already tells all places.
# Both traces are ahead after ten episodes. Later λ = 1 falls behind: it carries the whole walk's luck. (All three at the
# same two rates, which nobody tuned; with others the order may change.) What the online form pays for being quick: δ is judged by a
# critic that is still learning, so each step is biased.

# %% [markdown]
# ## 6. Actor and critic on cart-pole
#
# Now a world that cannot be listed. A pole stands on a cart; push left or right; each step upright pays 1.
# Actor and critic are small networks. Each learner has eight carts, episodes are cut at 200 steps.
#
# In practice γ < 1 tames the noise, and the γᵗ in front is left out: not quite ∇J, see notebook 01. And three more things are
# usual that this notebook has not taught: advantages are *whitened* (less their mean, over their spread), Adam sizes the
# steps, and each batch is used for four passes with a clip on how far they may go (notebook 04). With these the
# actor–critic below is **PPO**. So it is no test of λ alone; but all three rows share the rest.

# %%
ask("02: λ on the cart pole")

# %%
from policy_gradients.worlds.control import control_env
from policy_gradients.worlds.policies import MLP, CategoricalPolicy
from policy_gradients.worlds.training import ActorCritic, gradient_of, train_policy

cart = CategoricalPolicy(MLP((4, 32, 2)))
SEEDS, CARTS, UPDATES, MOST_STEPS = 5, 8, 20, 200
env = control_env("CartPole-v1", SEEDS * CARTS)
LAMBDAS = {"TD, λ = 0": 0.0, "λ = 0.95": 0.95, "Monte Carlo, λ = 1": 1.0}
half_way = {}  # (policy, critic) of one learner after six updates, for later


def train_cart(lam, live):
    generator = torch.Generator().manual_seed(4)
    update = ActorCritic(cart, MLP((4, 32, 1)), generator, lam=lam, passes=4)

    def on_step(number, theta, batch):
        live.log(number, **{f"lambda_{lam:g}": batch.returns.mean(-1).median()})
        if number == 6:
            half_way[lam] = theta[0], update.critic_theta[0]

    start = cart.initial(SEEDS, generator=generator)
    return train_policy(env, cart, start, update, UPDATES, generator, MOST_STEPS, on_step)


# %%
with LivePlot(", ".join(f"lambda_{lam:g}" for lam in LAMBDAS.values()), columns=1) as live:
    runs = {name: train_cart(lam, live) for name, lam in LAMBDAS.items()}

# %%
rows = []
for name, run in runs.items():
    stages = run.returns[0], run.returns[-3:].mean(0)
    spread = [f"{v.median():.0f} ({v.min():.0f} to {v.max():.0f})" for v in stages]
    rows.append([name, *spread, f"{run.steps[-1].mean():,.0f}"])
Table(["credit", "before: median (of 5 seeds, least to most)", "after; 200 is the most", "steps per learner"], rows)

# %%
from policy_gradients.course.oracle_figures import learning_curves

show(learning_curves(runs))

# %% [markdown]
# All three learn. TD lags, and its seeds lie farthest apart: it trusts a critic that knows nothing yet, so its
# advantages are wrong. (Quiet as well, as the next table shows; but whitening brings them all to one loudness.) Between 0.95 and 1 this easy task sees no difference: both hit the cap of 200, which also means
# that a mean ± an error would promise more than can be had.
# For more seeds and updates: `python -m policy_gradients.worlds cartpole actor-critic --seeds 10`.
#
# Can bias and noise be seen here as well? There is no oracle; but one policy, one critic and 64 batches will do.
# λ = 1 stands in for the truth, and the bias estimate is rid of its own noise: ‖mean difference‖² less its variance.

# %%
theta_half, critic_half = half_way[0.95]
theta_copies, network = theta_half.expand(64, -1), MLP((4, 32, 1))
generator = torch.Generator().manual_seed(5)
batch = rollout(control_env("CartPole-v1", 64 * CARTS), cart, theta_copies, generator, MOST_STEPS)
values = network(critic_half, batch.observations.flatten(0, -2)).reshape(batch.mask.shape)
ahead = network(critic_half, batch.last_observations.flatten(0, -2)).reshape(batch.terminated.shape)
ahead = torch.where(batch.terminated, 0.0, ahead)  # an episode that was cut goes on, in the critic's eyes


# %%
from policy_gradients.estimators.returns import generalized_advantages


def batch_gradients(lam):
    credit = generalized_advantages(batch.rewards, values, 0.99, lam, batch.mask, ahead)
    return gradient_of(cart, theta_copies, batch, credit)  # (64, parameters)


reference, rows = batch_gradients(1.0), []
for lam in (0.0, 0.5, 0.9, 0.95, 1.0):
    found = batch_gradients(lam)
    away = found - reference
    bias = (away.mean(0).square().sum() - away.var(0).sum() / 64).clamp(min=0).sqrt() / reference.mean(0).norm()
    noise = found.var(0).sum().sqrt() / reference.mean(0).norm()
    length = found.mean(0).norm() / reference.mean(0).norm()
    cosine = torch.cosine_similarity(found.mean(0), reference.mean(0), dim=0)
    rows.append([lam, *(f"{x:.2f}" for x in (bias, length, cosine, noise))])
Table(["λ", "bias / ‖ḡ‖", "length of the mean / ‖ḡ‖", "its cosine to ḡ", f"noise of a batch of {CARTS} / ‖ḡ‖"], rows)

# %% [markdown]
# The same picture as on the ring, with a real network for V. At λ = 0 the bias is nearly as long as the gradient. That does
# *not* say that the mean is nearly zero: the table gives it half the length, and a direction that has little to do with
# ḡ. A critic that is wrong does not only weaken the signal, it bends it. At λ = 1 the noise of a batch is as long as the
# gradient itself.

# %% [markdown]
# ## 7. A critic that cannot mislead
#
# May a wrong Q be put in place of the true one? In general that is biased, as λ < 1 was.
# There is an exception: a critic that is linear in the *scores*, f(s, a) = wᵀ∇log π(a|s), fitted by least squares.
# What such a fit leaves over is orthogonal to the scores, and so adds nothing to the gradient (Sutton et al. 2000, theorem 2).
#
# A corridor of four places; the policy is too small for it, two features only. So no critic of scores can be exact.

# %%
from policy_gradients.estimators.natural import compatible_critic
from policy_gradients.oracle.gradients import score_table
from policy_gradients.oracle.mdp import state_distribution

corridor = chain(length=4)
features = torch.stack([torch.ones(4), torch.linspace(-1, 1, 4)], dim=1)


def small_policy(t):
    return (features @ t.view(2, 2)).log_softmax(-1)


walk = Oracle(corridor, small_policy, torch.zeros(4))
scores = score_table(small_policy, walk.theta)  # (states, actions, parameters)
often = state_distribution(corridor, walk.log_pi).unsqueeze(1) * walk.log_pi.exp()  # d(s) π(a|s)


# %%
def gradient_with(critic):
    """Σ d(s) π(a|s) ∇log π(a|s) f(s, a)."""
    return torch.einsum("sa,sap,sa->p", often, scores, critic)


states = torch.eye(4).repeat_interleave(2, dim=0)  # a free constant for each state
w, _ = compatible_critic(scores.flatten(0, 1), walk.action_values.flatten(), states, often.flatten())
compatible = scores @ w
per_action = ((often * walk.action_values).sum(0) / often.sum(0)).expand(4, 2)  # also a least-squares fit

# %%
rows = [["exact Q", *walk.gradient.tolist()], ["compatible critic", *gradient_with(compatible).tolist()]]
left_over = (often * (compatible - walk.advantages).square()).sum() / (often * walk.advantages.square()).sum()
print(f"the compatible critic leaves {left_over.sqrt():.0%} of the advantages unexplained")
Table(["∇J with", "θ₁", "θ₂", "θ₃", "θ₄"], [*rows, ["one Q an action", *gradient_with(per_action).tolist()]])

# %% [markdown]
# The compatible critic is wrong by a tenth, and its gradient is exact. The other one is an honest least-squares
# fit too, and gets two *signs* wrong. "Replace Q by Q_w" is not a policy gradient by itself.
#
# The weights w have a second life: they *are* the natural gradient, [notebook 04](04_natural_gradient.ipynb).

# %% [markdown]
# ## 8. Play
#
# Another machine, which pays 0.2, 0.5 or 0.8. Move the gift, the group and the policy, and watch the bars.
# (Without sliders: the picture at its start.)

# %%
ask("02: the gift and the bars")

# %%
from policy_gradients.course.widgets.baselines import baseline_explorer

baseline_explorer()

# %% [markdown]
# ## Where this goes
#
# | here | with language models (notebook 05) |
# | --- | --- |
# | leave one out | RLOO |
# | batch mean | Dr. GRPO; with a division by the batch's spread, GRPO |
# | learned V, GAE | PPO |
# | state | prompt: so groups share *one* prompt |
#
# ## Where the source page differs
#
# (The page *Policy Gradients*, from which this course started: see the
# [bibliography](../docs/bibliography.md#the-source-page).)
#
# | the page | what holds, and where you saw it |
# | --- | --- |
# | Sutton et al. "proposed" baselines | their paper credits earlier work: Sutton 1984, Dayan 1991, Williams 1992 |
# | an entropy bonus prevents premature collapse | it prevents certainty; where noise makes the wrong choice, no more learners find the best button (section 1) |
# | a running average of the batch's returns keeps the estimate unbiased | not if the own return is in it: then it is scaled by 1 − 1/n (section 3) |
# | b ≈ V lowers the variance | yes; the least variance has weights ‖ψ‖² (section 2) |
# | with Q_w in place of Q "the update remains a policy gradient" | only with a compatible critic, fitted; else it is biased (sections 5, 7) |

# %% [markdown]
# ## References
#
# 1. Williams (1992). Simple statistical gradient-following algorithms for connectionist reinforcement learning.
#    *Machine Learning* 8:229–256. [doi:10.1007/BF00992696](https://doi.org/10.1007/BF00992696)
# 2. Sutton, McAllester, Singh & Mansour (2000). Policy gradient methods for reinforcement learning with function
#    approximation. *NIPS 12*.
#    [proceedings](https://papers.nips.cc/paper/1999/hash/464d828b85b0bed98e80ade0a5c43b0f-Abstract.html)
# 3. Greensmith, Bartlett & Baxter (2004). Variance reduction techniques for gradient estimates in reinforcement
#    learning. *JMLR* 5:1471–1530. [jmlr.org](https://jmlr.org/papers/v5/greensmith04a.html)
# 4. Schulman, Moritz, Levine, Jordan & Abbeel (2015). High-dimensional continuous control using generalized advantage
#    estimation. [arXiv:1506.02438](https://arxiv.org/abs/1506.02438)
# 5. Ahmadian et al. (2024). Back to basics: revisiting REINFORCE-style optimization (RLOO).
#    [arXiv:2402.14740](https://arxiv.org/abs/2402.14740)
# 6. Liu et al. (2025). Understanding R1-Zero-like training (Dr. GRPO).
#    [arXiv:2503.20783](https://arxiv.org/abs/2503.20783)
# 7. Sutton & Barto (2018). Reinforcement learning: an introduction, second edition, chapter 13. MIT Press.
#    [incompleteideas.net](http://incompleteideas.net/book/the-book-2nd.html)
# 8. Sutton (1984). Temporal credit assignment in reinforcement learning. PhD thesis, University of Massachusetts.
# 9. Dayan (1991). Reinforcement comparison. *Connectionist models: proceedings of the 1990 summer school*, 45–51.

# %%
progress()

# %% [markdown]
# ## Onward
#
# What does not know the action may be subtracted, and takes noise away: a number, the mean of the others, V(s). Your own reward
# inside your own baseline shortens the step. A critic in place of part of the return trades noise for bias, and λ is the price tag.
#
# Not shown: what becomes of credit when one reward comes at the very end of a long episode, and what old samples are worth.
#
# Next: [03 · One reward after a thousand tokens: who gets the credit?](03_credit_and_long_horizons.ipynb), 50 min to read and
# 41 min of exercises.
