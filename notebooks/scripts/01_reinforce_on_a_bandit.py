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
# # 01 · How can a reward that cannot be differentiated train a policy?
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/policy-gradients/blob/main/notebooks/01_reinforce_on_a_bandit.ipynb)
#
# A machine has three buttons. Press one, and a cookie falls out, or none does.
# The machine is a locked box: no formula, no slope, one bit per press.
# Yet at the end of this page, gradient ascent will have found the best button.
#
# **Afterwards you can**
#
# - say why J(θ) is smooth although every single reward is a jump;
# - derive REINFORCE in two lines, and write it in one, as a gradient, as a loop and as a loss;
# - hold an estimate against the *exact* gradient, and say how fast its error falls;
# - derive the policy-gradient theorem for several steps, and say why the world's dynamics drop out of it;
# - tell the true gradient of a discounted return from a popular formula that can point backwards;
# - say when the best policy has to throw dice.
#
# | | |
# | --- | --- |
# | to read and think | 55 min, and 80 min for the six exercises |
# | to run | under a minute on two CPU cores, no GPU |
# | needs | derivatives, expectation, a little PyTorch; nothing of this course |

# %%
# @title Setup: on Colab this installs the course, elsewhere it does nothing
from importlib.util import find_spec

if find_spec("policy_gradients") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/OWNER/policy-gradients")  # noqa: F821

# %%
from policy_gradients.course.diagram import five_steps
from policy_gradients.course.display import show
from policy_gradients.course.predictions import ask

show(five_steps("01_reinforce_on_a_bandit"))

# %%
import torch

from policy_gradients.course.curves import curves
from policy_gradients.course.display import Table, show, zero
from policy_gradients.course.exercises import check, hint, progress, solution  # noqa: F401
from policy_gradients.course.live import LivePlot
from policy_gradients.oracle.exact import GaussianOracle, Oracle
from policy_gradients.worlds.small import bernoulli_bandit, chain, gaussian_bandit, short_corridor, two_step
from policy_gradients.worlds.tabular import softmax_policy

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)  # with tensors this small, a second thread only gets in the way

# %% [markdown]
# ## 1. A machine without a slope
#
# The three buttons pay with probability 0.2, 0.5 and 0.7. We know that; the policy does not.
# The policy has one number per button, θ, and presses button a with probability softmax(θ)ₐ.
# (In the literature, and in the exercises, the machine is a *bandit*, a button an *arm*, and a press a *pull*.
# The rule that chooses, π, is the *policy*, and what is paid, r, the *reward*.)
#
# Deep learning has one reflex: call `backward` on what you care about. Let us try it on a cookie.

# %%
payout = torch.tensor([0.2, 0.5, 0.7])
theta = torch.zeros(3, requires_grad=True)
generator = torch.Generator().manual_seed(0)

# %%
arm = torch.multinomial(theta.softmax(0), 1, generator=generator)
cookie = torch.bernoulli(payout[arm], generator=generator)
try:
    cookie.backward()
except RuntimeError as error:
    print(f"button {arm.item() + 1}, {cookie.item():.0f} cookies; backward: {error}")

# %% [markdown]
# The chain is cut twice. The button is drawn, the cookie is drawn, and drawing has no derivative.
# PyTorch is right to refuse. Where is there a slope, then?

# %%
ask("01: the average over all dice")


# %%
def earned(third, dice):
    """Cookies per press at θ = (0, 0, third); dice (presses, 2) are uniform numbers, thrown beforehand."""
    pi = torch.tensor([0.0, 0.0, third]).softmax(0)
    arms = torch.searchsorted(pi.cumsum(0), dice[:, 0].contiguous()).clamp(max=2)
    return (dice[:, 1] < payout[arms]).double().mean()


# %%
dice = torch.rand(20, 2, generator=torch.Generator().manual_seed(16))
grid = torch.linspace(-5, 5, 401)
average = [(torch.tensor([0.0, 0.0, x]).softmax(0) @ payout).item() for x in grid.tolist()]
lines = {f"{n} press{'es' * (n > 1)}": [earned(x, dice[:n]) for x in grid.tolist()] for n in (1, 20)}
lines["on average: J(θ)"] = average
show(curves(grid, lines, title="Stairs, and a slope", xlabel="θ₃", ylabel="cookies per press"))

# %% [markdown]
# One press is a cliff, flat on both sides. Twenty are a staircase, flat on every step.
# The **average over all dice** is smooth:
#
# $$J(\theta) = \mathbb{E}[r] = \sum_a \pi_\theta(a)\, p_a .$$
#
# So the thing to differentiate is not the cookie. It is the *probability* of the press.

# %% [markdown]
# ## 2. The oracle
#
# Our box is small enough to look inside: three buttons, two outcomes each, six cases in all.
# The course keeps an **oracle** for such worlds. It goes through all cases and knows J and ∇J exactly.
# The learner never sees it. We use it as a ruler.

# %%
ask("01: J at even odds")

# %%
mdp = bernoulli_bandit(payout.tolist())
policy = softmax_policy(mdp)
theta = policy.initial()
oracle = Oracle(mdp, policy.table, theta)
print(f"J = {oracle.objective:.4f}, ∇J = {oracle.gradient.numpy().round(4)}")

# %% [markdown]
# J is the plain mean, 0.4667. Button 2 pays 0.5, a little *more* than that, so its slope is positive, if small.
# In general ∂J/∂θₐ = π(a)(pₐ − J): a button rises if it beats the average, and by how often it is pressed.
# Is the ruler straight? Three roads to the same numbers:

# %%
pi = theta.softmax(0)
step = 1e-6 * torch.eye(3)
nudged = [((theta + d).softmax(0) @ payout - (theta - d).softmax(0) @ payout) / 2e-6 for d in step]
rows = [["autograd through J", *oracle.gradient.tolist()], ["π(a) (pₐ − J)", *(pi * (payout - pi @ payout)).tolist()]]
Table(["road", "θ₁", "θ₂", "θ₃"], [*rows, ["finite differences", *torch.stack(nudged).tolist()]])

# %% [markdown]
# ## 3. The trick
#
# All three roads needed the payouts p. A learner has presses only. Watch what one identity does:
#
# $$\nabla \pi = \pi \, \nabla \log \pi \quad\Rightarrow\quad
# \nabla J = \sum_a p_a \nabla \pi(a) = \sum_a \pi(a)\, p_a \nabla \log \pi(a) = \mathbb{E}\,[\, r \,\nabla \log \pi(a) \,].$$
#
# The sum over buttons became an **average over presses**, and averages can be sampled.
# Nothing is differentiated but log π, which is ours. The reward is only a number that multiplies.
#
# ∇log π(a) is called the **score** of the press. (Not the score of "score matching", which differentiates by the
# *data*: here it is by the parameters.)

# %% [markdown]
# **Exercise: The score of a softmax** (★, 10 min). Differentiate log softmax(θ)ₐ by θ, on paper first.


# %%
def softmax_score(theta, arm):
    """∇_θ log π(arm) of π = softmax(θ); theta and the result have shape (arms,), arm is a whole number."""
    return ...  # your code here


# %%
softmax_score = check(softmax_score)
# hint(softmax_score)  # without the #: a hint, and the next one each time
# solution(softmax_score)

# %%
ask("01: the mean score")

# %%
somewhere = torch.tensor([1.0, 0.0, -0.5])
scores = torch.stack([softmax_score(somewhere, a) for a in range(3)])
mean = somewhere.softmax(0) @ scores
Table(["button", "θ₁", "θ₂", "θ₃"], [*([str(a + 1), *scores[a].tolist()] for a in range(3)), ["mean", *mean.tolist()]])

# %% [markdown]
# Zero, everywhere. Each row pushes its own button up and the others down, and on average the pushes cancel:
# Σₐ π(a) ∇log π(a) = Σₐ ∇π(a) = ∇1 = 0, because probabilities sum to one.
#
# Keep this line. It is why a constant may be added to every reward, and it is all of notebook 02.

# %% [markdown]
# ## 4. REINFORCE
#
# Press n times, multiply each score by its reward, take the mean (Williams 1992):
#
# $$\hat g = \frac1n \sum_{i=1}^n r_i \, \nabla \log \pi_\theta(a_i) .$$

# %% [markdown]
# **Exercise: REINFORCE** (★, 5 min). The scores of n presses are given, one row each.


# %%
def reinforce_gradient(scores, rewards):
    """The estimate of ∇J from n pulls; scores (n, parameters), rewards (n,), result (parameters,)."""
    return ...  # your code here


# %%
reinforce_gradient = check(reinforce_gradient)
# hint(reinforce_gradient)  # without the #: a hint, and the next one each time
# solution(reinforce_gradient)

# %% [markdown]
# Ten presses, a thousand, and the truth:

# %%
rows = []
for n in (10, 1000):
    batch = oracle.sample((n,), generator)  # n episodes of one step, with their scores
    rows.append([f"{n} presses", *reinforce_gradient(batch.scores[:, 0], batch.returns).tolist()])
Table(["", "θ₁", "θ₂", "θ₃"], [*rows, ["exact", *oracle.gradient.tolist()]])

# %% [markdown]
# Ten presses may well point the wrong way. Is the estimator at least right *on average*?
# No sampling for that: the oracle goes through all six outcomes and weighs them.


# %%
from policy_gradients.estimators.scores import score_gradient


def reinforce(batch):
    """REINFORCE on trajectories (..., episodes, time): the library's form of your function."""
    return score_gradient(batch.scores, batch.returns)


moments = oracle.moments(reinforce)
print(f"bias     {moments.bias(oracle.gradient):.1e}")
print(f"variance {moments.variance:.4f} from one press, against ‖∇J‖² = {oracle.gradient.norm() ** 2:.4f}")

# %% [markdown]
# No bias, down to rounding. But the variance of one press is some twenty times the squared gradient: mostly noise.

# %%
ask("01: half the error")

# %%
from policy_gradients.oracle.compare import compare

sizes = [10, 100, 1000, 10_000, 100_000]
found = compare(reinforce, oracle, sizes, generator, repeats=64, variance=moments.variance)
print(f"slope {found.slope:.3f} ± {found.slope_error:.3f}; with ten presses,", end=" ")
print(f"{(found.cosines[0] < 0).double().mean():.0%} of the estimates point backwards")
Table(["presses n", "error / ‖∇J‖", "cosine, median", "length / ‖∇J‖, median"], found.rows())

# %% [markdown]
# Four times. The slope is −½: the variance of a mean of n is 1/n of one, and the error is its square root.
# All that the law asks of the world is a finite variance. A machine that pays *normal* amounts, with much noise, obeys it too:

# %%
noisy = gaussian_bandit([0.0, 0.5, 1.0], std=2.0)
noisy_oracle = Oracle(noisy, policy.table, theta)
variance = noisy_oracle.moments(reinforce).variance
found_noisy = compare(reinforce, noisy_oracle, sizes, generator, repeats=64, variance=variance)
assert abs(found.slope + 0.5) < 0.05 and abs(found_noisy.slope + 0.5) < 0.05
print(f"slope {found_noisy.slope:.3f} ± {found_noisy.slope_error:.3f}")

# %%
from policy_gradients.course.oracle_figures import error_against_samples

show(error_against_samples({"cookies, 0 or 1": found, "normal rewards": found_noisy}))

# %% [markdown]
# The thin black lines were not fitted. They are √(variance/n) with the *exact* variance of one episode.
# The right panel shows the direction. With ten presses most estimates are of some use, if far too long or too short,
# and some point backwards (the share is printed above); from 1000 presses on, hardly any is off by much.
# Each further digit costs a factor of 100 in presses. So the variance is worth fighting: notebook 02.

# %% [markdown]
# ## 5. Training
#
# Five steps, and they will not change until the last notebook:
# **rollout** → **reward** → **advantage** (here: the reward itself) → **log-prob** → **update**.
#
# The loop around them is short, and it is yours. The cells below train with it.

# %% [markdown]
# **Exercise: The training loop** (★★, 20 min). `play` does steps 1 and 2; the rest is your own functions from above.


# %%
def train(theta, play, learning_rate, steps):
    """θ after so many steps of REINFORCE; play(theta) plays one batch, and gives arms (n,) and rewards (n,)."""
    return ...  # your code here


# %%
train = check(train)
# hint(train)  # without the #: a hint, and the next one each time
# solution(train)

# %% [markdown]
# Our policy starts prejudiced: it presses the worst button four times in five.
# Sixteen machines stand side by side, and each step presses all of them once.

# %%
ask("01: the middling button")

# %%
from policy_gradients.worlds.rollout import rollout

env, start, LEARNING_RATE, STEPS = mdp.env(16), torch.tensor([2.0, 0.0, 0.0]), 0.5, 250


def play(theta):
    """Press all sixteen; note on the board what θ is about to do."""
    pi = theta.softmax(0)
    live.log(len(live.rows) + 1, button_1=pi[0].item(), button_2=pi[1].item(), button_3=pi[2].item(), J=pi @ payout)
    batch = rollout(env, policy, theta, generator)
    return batch.actions[:, 0], batch.returns


# %%
with LivePlot("button_1, button_2, button_3", "J", total=STEPS, columns=2) as live:
    theta = train(start, play, LEARNING_RATE, STEPS)

# %%
peak = max(live.rows, key=lambda row: row["button_2"])
print(f"button 2 peaks at step {peak['step']} with {peak['button_2']:.2f}, when J = {peak['J']:.2f}")
print(f"at the end: π = {theta.softmax(0).numpy().round(3)}, J = {theta.softmax(0) @ payout:.3f} of at most 0.7")

# %% [markdown]
# The best button wins. The middling one rises first, and sinks once the policy has become better than it:
# "good" is always relative to the policy. When exactly? ∂J/∂θ₂ = π₂(p₂ − J) moves the **logit**, and that turns
# where J passes p₂ = 0.5. The *probability* turns earlier, since the other logits move as well.
# Sixteen presses blur it; along the exact gradient it can be read off:

# %%
at, walked = start, []
for _ in range(3000):
    pi = at.softmax(0)
    walked.append([at[1].item(), pi[1].item(), (pi @ payout).item()])
    at = at + 0.05 * pi * (payout - pi @ payout)
logit, chance, J = torch.tensor(walked).T
print(f"button 2: the logit peaks at J = {J[logit.argmax()]:.3f}, the probability at J = {J[chance.argmax()]:.3f}")

# %% [markdown]
# ### The same as a loss
#
# Optimisers minimise a loss. So we hand them one whose gradient is −ĝ.
# It is a *surrogate*: its gradient is right, and its value means nothing.

# %% [markdown]
# **Exercise: REINFORCE as a loss** (★★, 10 min). Mind what is a number here, and what carries a gradient.


# %%
def reinforce_loss(log_probs, rewards):
    """A scalar whose gradient is −(1/n) Σ r ∇log π; log_probs (n,) with gradient, rewards (n,), taken as numbers."""
    return ...  # your code here


# %%
reinforce_loss = check(reinforce_loss)
# hint(reinforce_loss)  # without the #: a hint, and the next one each time
# solution(reinforce_loss)

# %%
own, batch = theta.clone().requires_grad_(), rollout(env, policy, theta, generator)
log_probs, _ = policy.log_probs_and_entropy(own, batch.observations, batch.actions)
loss = reinforce_loss(log_probs[:, 0], batch.returns)
loss.backward()
scores = policy.scores(theta, batch.observations, batch.actions)
difference = own.grad + reinforce_gradient(scores[:, 0], batch.returns)
print(f"loss {loss.item():.3f}; its gradient plus ĝ: {difference.abs().max():.0e}")

# %% [markdown]
# Do not read such a loss as progress. It is small for every policy that is *sure*, of whatever:

# %%
cases = {
    "before training": start,
    "after training": theta,
    "sure of button 1": torch.tensor([6.0, 0.0, 0.0]),
}
pis = {name: at.softmax(0) for name, at in cases.items()}
rows = [[name, -(pi * payout * pi.log()).sum().item(), (pi @ payout).item()] for name, pi in pis.items()]
Table(["policy", "expected loss", "J"], rows)

# %% [markdown]
# ## 6. Not only buttons
#
# Replace the buttons by a dial: any real number a. The best setting is 2, and the reward is −(a − 2)².
# With infinitely many actions, "try them all and take the best" is over. REINFORCE does not notice:
# the policy is N(μ, σ²), with θ = (μ, log σ), and a score is a score.

# %% [markdown]
# **Exercise: The score of a Gaussian** (★★, 15 min). By μ, and by log σ: not by σ.


# %%
def gaussian_score(mean, log_std, action):
    """∇log π(action) of N(mean, std²) by (mean, log std); three scalar tensors, result of shape (2,)."""
    return ...  # your code here


# %%
gaussian_score = check(gaussian_score)
# hint(gaussian_score)  # without the #: a hint, and the next one each time
# solution(gaussian_score)


# %%
from policy_gradients.worlds.policies import GaussianPolicy
from policy_gradients.worlds.policies import Table as Rows


def dial(action):
    return -(action - 2).square().sum(-1)


gaussian = GaussianPolicy(Rows(1, 1))
dial_oracle = GaussianOracle(dial, gaussian, gaussian.initial())
bias = dial_oracle.moments(reinforce).bias(dial_oracle.gradient)
print(f"∇J by (μ, log σ) = {dial_oracle.gradient.numpy().round(6)}, bias of REINFORCE {bias:.0e}")

# %% [markdown]
# On paper J = −(μ − 2)² − σ², so at μ = 0, σ = 1 the gradient is (4, −2). It is.
# Note the second entry: missing the target by *spreading* costs as well, so σ should shrink.

# %%
mean, log_std, rate = torch.tensor(0.0), torch.tensor(0.0), 0.02
with LivePlot("mean", "standard_deviation", "reward", total=200, columns=2) as live:
    for number in range(1, 201):
        actions = mean + log_std.exp() * torch.randn(32, generator=generator)
        scores = torch.stack([gaussian_score(mean, log_std, action) for action in actions])  # yours
        mean, log_std = torch.stack([mean, log_std]) + rate * reinforce_gradient(scores, -((actions - 2) ** 2))
        live.log(number, mean=mean, standard_deviation=log_std.exp(), reward=-((actions - 2) ** 2).mean())

# %%
print(f"at the end: μ = {mean:.2f}, σ = {log_std.exp():.2f}")

# %% [markdown]
# The mean finds 2, and σ closes in, with jolts: rewards of −4 and less make large steps, and noisy ones.
# Squeeze σ further, and (a − μ)/σ² explodes: notebook 04 lives off that.

# %% [markdown]
# ## 7. More than one step, and a formula that points backwards
#
# Actions have consequences, so credit must look ahead. The setting has a name, *Markov decision process* (MDP):
#
# | symbol | what it is |
# | --- | --- |
# | s, the **state** | all of the past that matters for the future; an episode begins in s₀, drawn from P(s₀) |
# | a, the action | drawn from the policy, π(a\|s) |
# | P(s′\|s, a), the dynamics | the chances of the next state; the learner does not know them |
# | r, γ | what is paid for a step, and the discount of a step's delay |
# | τ | an episode, s₀ a₀ r₀ s₁ a₁ r₁ …, with R(τ) = Σₜ γᵗ rₜ; and J = E[R(τ)] |
# | Gₜ, the **return** | Σ_{k≥t} γᵏ⁻ᵗ rₖ, what comes from step t on |
# | V(s), Q(s, a) | E[Gₜ \| sₜ = s] and E[Gₜ \| sₜ = s, aₜ = a]: the **values** under π |
# | A(s, a), the advantage | Q(s, a) − V(s) |
# | d(s) | Σₜ γᵗ P(sₜ = s): how often s is visited, late visits counting less |
#
# (A bandit has one state and one step: Q(a) = pₐ, V = J.) What is ∇J now? Three steps.
#
# **The dynamics drop out.** An episode's probability is a product, P(τ) = P(s₀) ∏ₜ π(aₜ|sₜ) P(sₜ₊₁|sₜ, aₜ). In its logarithm
# the factors become terms, and all but the policy's are free of θ. With the trick of section 3, for τ in place of a:
#
# $$\nabla J = \sum_\tau R(\tau)\,\nabla P(\tau) = \mathbb{E}\,[R(\tau)\,\nabla\log P(\tau)], \qquad
# \nabla \log P(\tau) = \sum_t \underbrace{\nabla \log \pi(a_t|s_t)}_{\psi_t} .$$
#
# **The past drops out.** Take a reward rₖ paid before step t, and condition on the history hₜ = s₀ a₀ r₀ … sₜ. Given hₜ, rₖ is a
# known number and only aₜ is still open; and a score has mean zero in *every* state:
#
# $$\mathbb{E}[\,r_k\,\psi_t\,] = \mathbb{E}\big[\, r_k\, \mathbb{E}[\psi_t \mid h_t]\,\big] = 0 \quad (k < t), \qquad\text{so}\qquad
# \nabla J = \mathbb{E}\Big[\sum_t \psi_t \sum_{k\ge t}\gamma^k r_k\Big] = \mathbb{E}\Big[\sum_{t} \gamma^t \,\psi_t\, G_t\Big].$$
#
# **The luck ahead averages out.** Condition on (sₜ, aₜ) instead: ψₜ is then a number, and the mean of Gₜ is Q by definition.
# Collect equal states, and d(s) appears:
#
# $$\nabla J = \mathbb{E}\Big[\sum_t \gamma^t\,\psi_t\,Q(s_t,a_t)\Big] = \sum_s d(s) \sum_a \nabla\pi(a|s)\,Q(s,a).$$
#
# That is the policy-gradient theorem (Sutton, McAllester, Singh & Mansour 2000). Each step is a claim about averages, so the oracle
# can go through all cases. A slippery corridor of three places, six steps at most:

# %%
small = chain(length=3, gamma=0.9)
strider = softmax_policy(small)
theta_walk = torch.randn(strider.size, generator=torch.Generator().manual_seed(1))
short_walks = Oracle(small, strider.table, theta_walk, horizon=6)
paths = short_walks.outcomes.episodes
nudges = 1e-6 * torch.eye(strider.size)
up, down = ([Oracle(small, strider.table, theta_walk + s * d, 6).outcomes for d in nudges] for s in (1, -1))
slopes = [(u.probabilities.log() - v.probabilities.log()) / 2e-6 for u, v in zip(up, down, strict=True)]
off = (torch.stack(slopes, dim=1) - paths.scores.sum(1)).abs().max()
print(f"{len(paths.returns):,} episodes; ∇log P(τ) by differences, less Σ ψ: {off:.0e} at most")

# %%
from policy_gradients.estimators.returns import discounted_returns

discount, clock, Q = 0.9 ** torch.arange(6.0), torch.arange(6), short_walks.action_values  # Q: (time, state, action)


def whole(batch):
    return score_gradient(batch.scores, (discount * batch.rewards).sum(-1))


def without_the_past(batch):
    return score_gradient(batch.scores, discount * discounted_returns(batch.rewards, 0.9))


def without_luck(batch):
    return score_gradient(batch.scores, discount * Q[clock, batch.observations, batch.actions] * batch.mask)


# %%
rows = []
for name, estimator in {"R(τ)": whole, "γᵗ Gₜ": without_the_past, "γᵗ Q(sₜ, aₜ)": without_luck}.items():
    by = short_walks.moments(estimator)
    rows.append([name, zero(by.bias(short_walks.gradient)), by.variance])
Table(["ψₜ is weighted by", "bias", "variance of one episode"], rows)

# %% [markdown]
# Three times the same mean; and here each step of the derivation also took some noise away.
#
# Very often, on our source page too, the **γᵗ** in front is left out. Does it matter?
#
# A world of two steps, γ = ½. The policy cannot tell the steps apart: one θ serves both.
# Action 1 earns +1 at the first step, and −1.5 at the second. Action 0 earns nothing.

# %%
ask("01: two steps")

# %%
world = two_step()
pair = softmax_policy(world)
two = Oracle(world, pair.table, pair.initial())
rows = [["autograd through J", *two.gradient.tolist()], ["theorem, with γᵗ", *two.theorem.tolist()]]
Table(["∇J by", "θ₀", "θ₁"], [*rows, ["the sum without γᵗ", *two.without_discounting.tolist()]])

# %% [markdown]
# Discounted, the loss at the second step is worth 0.75, less than the gain of 1: action 1 pays.
# The gradient is +0.0625. Without γᵗ the same loss counts in full, and the "gradient" is **−0.125**: the wrong sign.

# %% [markdown]
# **Exercise: The gradient of a discounted return** (★★★, 20 min). From sampled episodes, each of T steps.


# %%
def discounted_gradient(scores, rewards, gamma):
    """Estimate of ∇J for J = E[Σ_t γ^t r_t]; scores (n, T, parameters), rewards (n, T), result (parameters,)."""
    return ...  # your code here


# %%
discounted_gradient = check(discounted_gradient)
# hint(discounted_gradient)  # without the #: a hint, and the next one each time
# solution(discounted_gradient)

# %%
batch = two.sample((100_000,), generator)
without = score_gradient(batch.scores, discounted_returns(batch.rewards, world.gamma))
print("yours, 100,000 episodes ", discounted_gradient(batch.scores, batch.rewards, world.gamma).numpy().round(4))
print("without γᵗ, the same    ", without.numpy().round(4))

# %% [markdown]
# More samples do not help it: the error is not noise. Now *follow* both directions.

# %%
followed = {"with γᵗ": [], "without γᵗ": []}
for name, values in followed.items():
    at = pair.initial()
    for _ in range(120):
        here = Oracle(world, pair.table, at)
        values.append(here.objective)
        at = at + (here.gradient if name == "with γᵗ" else here.without_discounting)

# %%
show(curves(range(120), followed, title="Climbing, by two formulas", xlabel="step", ylabel="J(θ), exact"))

# %% [markdown]
# Then why does practice get away without γᵗ? Mostly it wants late steps to count, and uses γ to tame variance.
# That is a fair choice, and not ∇J. Is it the gradient of something else, at least? In *this* world it is. What the second
# step pays does not hang on the first action, so the γ inside G₀ stands before a term that averages to zero, and the sum is ∇J
# of γ = 1:

# %%
plain = Oracle(two_step(gamma=1.0), pair.table, pair.initial())
print("γ = 1:", plain.gradient.numpy().round(4), plain.without_discounting.numpy().round(4))

# %% [markdown]
# In general it is the gradient of *no* function (Nota & Thomas 2020). A gradient's own derivative, the Hessian, is
# symmetric; the derivative of a direction that climbs nothing need not be. Let us measure how far it is off:

# %%
from policy_gradients.oracle.gradients import policy_gradient_theorem


def asymmetry(world, weighting):
    """‖D − Dᵀ‖ / ‖D‖ of the direction's derivative D by θ, from differences: 0 for a gradient."""
    table, at = softmax_policy(world).table, torch.linspace(-1, 1, softmax_policy(world).size)

    def direction(theta):
        return policy_gradient_theorem(world, table, theta, weighting, world.max_steps)

    D = torch.stack([direction(at + d) - direction(at - d) for d in 1e-5 * torch.eye(len(at))]) / 2e-5
    return ((D - D.T).norm() / D.norm()).item()


ways = ("discounted", "undiscounted")
worlds = {"the two steps": two_step(), "a corridor of four places": chain(length=4)}
rows = [[name, *(f"{asymmetry(w, way):.1e}" for way in ways)] for name, w in worlds.items()]
Table(["asymmetry of the derivative", "with γᵗ", "without"], rows)

# %% [markdown]
# In the corridor the sum without γᵗ has no J that it would climb. A language model's answer ends, so γ = 1 is allowed, and
# then the two formulas are one.

# %% [markdown]
# ### What the theorem does not say
#
# Change the policy, and you come to other states. One reads that this effect "vanishes" from the gradient.

# %%
ask("01: other states")

# %%
from policy_gradients.oracle.mdp import state_distribution

corridor = chain(length=4)
walker = softmax_policy(corridor)
visits = torch.autograd.functional.jacobian(lambda t: state_distribution(corridor, walker.table(t)), walker.initial())
walk = Oracle(corridor, walker.table, walker.initial())
print(f"‖∂d/∂θ‖ = {visits.norm():.2f}; theorem − exact ∇J: {(walk.theorem - walk.gradient).norm():.0e}")

# %% [markdown]
# Far from zero. It does not vanish; it need not be *computed*. Coming to better states is what Q and Gₜ measure,
# so the effect is already counted. The theorem agrees with autograd through everything, to rounding.

# %% [markdown]
# ## 8. Why throw dice at all?
#
# If the policy sees the whole state, some best one never throws dice: in each state, always the best action. Why have a π(a|s)?
# One reason you have met: a probability is smooth in θ where a choice is a cliff (section 1). Another is that a policy may
# not *see* enough. Three places in a row, all alike to it; each step costs 1, and beyond the third is the exit. "Right"
# means right, but in the middle place the two directions are exchanged (Sutton & Barto 2018, Example 13.1).

# %%
ask("01: blind")

# %%
dark = short_corridor()
blind = softmax_policy(dark)


def blind_oracle(p):
    """The oracle of a policy that goes right with chance p."""
    return Oracle(dark, blind.table, torch.tensor([1 - p, p]).log())


chances = torch.linspace(0.05, 0.95, 181)
earned_by = torch.tensor([blind_oracle(p).objective for p in chances.tolist()])
print(f"best of the grid: p = {chances[earned_by.argmax()]:.3f}, J = {earned_by.max():.2f}; ", end="")
print(f"p = 0.05: {earned_by[0]:.1f}, p = 0.95: {earned_by[-1]:.1f}")

# %%
top = {"J": earned_by, "2 − √2": [-(6 + 4 * 2**0.5)]}
show(curves({"J": chances, "2 − √2": [2 - 2**0.5]}, top, title="Blind", xlabel="chance of right", ylabel="J"))

# %% [markdown]
# Either certainty never gets out, J = −∞. The best policy throws a coin, and a loaded one:
# p = 2 − √2, where −(4 − 2p)/(p(1 − p)) is largest. A greedy policy that acts at random one time in ten, as methods of values
# often do, is one of the two ends of the curve. The gradient finds the middle by itself:

# %%
at = torch.zeros(2)
for _ in range(100):
    at = at + 0.02 * Oracle(dark, blind.table, at).gradient
print(f"after 100 exact steps: p = {at.softmax(0)[1]:.4f}, 2 − √2 = {2 - 2**0.5:.4f}")

# %% [markdown]
# ## 9. Play
#
# Another machine, which pays 0.2, 0.5 or 0.8, and 24 learners. Three sliders: the learning rate, a number that is
# added to every reward, and the rewards' noise. (Without sliders: the picture at its start. The menu is for later.)

# %%
ask("01: the gift")

# %%
from policy_gradients.course.widgets.bandit import bandit_board

bandit_board()

# %% [markdown]
# The offset is the riddle: the exact gradient does not change at all, since scores have mean zero.

# %%
lifted = Oracle(gaussian_bandit([10.2, 10.5, 10.7], std=0.5), policy.table, policy.initial())
print("∇J with 10 more:", lifted.gradient.numpy().round(4), " before:", oracle.gradient.numpy().round(4))
noise = lifted.moments(reinforce).variance
print(
    f"variance of one press: {noise:.1f}, before: {moments.variance:.2f}; {noise / moments.variance:.0f} times as much"
)

# %% [markdown]
# The same gradient, and a multiple of the variance that only a great many more presses could pay for.

# %% [markdown]
# ## Where the source page differs
#
# The page *Policy Gradients*, from which this course started (see the
# [bibliography](../docs/bibliography.md#the-source-page)), is right about most of this. Where it is not:
#
# | the page | what holds, and where you saw it |
# | --- | --- |
# | ∇J = E[Σ ∇log π · Q] for the discounted J | each term needs γᵗ; without it the sign can be wrong (section 7) |
# | derivatives of the state distribution "vanish" | they do not appear; they are not zero (section 7) |
# | policy gradients exist to do without the dynamics, unlike methods of values | Q-learning does without them, too; what a policy adds is dice and a smooth J (sections 1, 8) |
# | the trick "differentiates through the sampling process" | it moves the derivative onto log π, so that sampling need not be differentiated (sections 1, 3) |
# | J is the "average long-term reward" | it is the expected discounted return; the average reward is another objective (notebook 03) |
# | γ must be below 1 | γ = 1 is allowed where episodes end, as answers of a language model do |
# | REINFORCE goes unattributed | Williams 1992 |
# | t = 0 … T is "T steps" | those are T + 1; here t runs from 0 to T − 1 |

# %% [markdown]
# ## References
#
# 1. Williams (1992). Simple statistical gradient-following algorithms for connectionist reinforcement learning.
#    *Machine Learning* 8:229–256. [doi:10.1007/BF00992696](https://doi.org/10.1007/BF00992696)
# 2. Sutton, McAllester, Singh & Mansour (2000). Policy gradient methods for reinforcement learning with function
#    approximation. *NIPS 12*, 1057–1063.
#    [proceedings](https://papers.nips.cc/paper/1999/hash/464d828b85b0bed98e80ade0a5c43b0f-Abstract.html)
# 3. Nota & Thomas (2020). Is the policy gradient a gradient? *AAMAS*.
#    [arXiv:1906.07073](https://arxiv.org/abs/1906.07073)
# 4. Sutton & Barto (2018). Reinforcement learning: an introduction, second edition, chapter 13. MIT Press.
#    [incompleteideas.net](http://incompleteideas.net/book/the-book-2nd.html)
# 5. Lehmann (2024). The definitive guide to policy gradients in deep reinforcement learning: theory, algorithms and
#    implementations. A survey, with proofs. [arXiv:2401.13662](https://arxiv.org/abs/2401.13662)

# %%
progress()

# %% [markdown]
# ## Onward
#
# A reward needs no slope: multiply the score by it, and the mean is ∇J. For several steps the dynamics and the past drop out,
# and γᵗ stays. One estimate is mostly noise, and its error falls as 1/√n.
#
# Not shown: what to do about the noise, other than to pay for it; ten cookies more for everybody, and one press was 246 times
# as noisy.
#
# Next: [02 · Why does adding 10 to every reward break REINFORCE, and what mends it?](02_baselines.ipynb), 55 min to read
# and 78 min of exercises.
