# ---
# jupyter:
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
# # 03 · One reward after a thousand tokens: who gets the credit?
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/policy-gradients/blob/main/notebooks/03_credit_and_long_horizons.ipynb)
#
# *"Is 91 prime?"* asks the judge. A policy answers in six tokens:
# `yes`, `no` and `.` are all it can say.
# The judge hears it out, and pays **1** if the *first* token was `no`.
# (91 = 7 × 13.)
#
# The reward comes after the sixth token. The token that earned it was the first.
# Does plain REINFORCE ever find out?
#
# **Afterwards you can**
#
# - say what REINFORCE credits each token with, and prove it against the exact gradient;
# - price undifferentiated credit: in variance, not in bias;
# - spread, shape and bootstrap a late reward, and tell which of these are harmless;
# - set GPOMDP's β by the mixing time of a chain;
# - reuse old rollouts, and see when nothing is left of them.
#
# | | |
# | --- | --- |
# | to read and think | 50 min, and 41 min for the five exercises |
# | to run | about a minute on two CPU cores, no GPU |
# | needs | notebooks [01](01_reinforce_on_a_bandit.ipynb) and [02](02_baselines.ipynb): REINFORCE, V and Q, baselines, GAE |

# %%
# @title Setup: on Colab this installs the course, elsewhere it does nothing
from importlib.util import find_spec

if find_spec("policy_gradients") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/OWNER/policy-gradients")  # noqa: F821

# %%
from policy_gradients.course.diagram import five_steps
from policy_gradients.course.display import show
from policy_gradients.course.predictions import ask

show(five_steps("03_credit_and_long_horizons"))

# %%
import torch

from policy_gradients.course.curves import curves, number_map
from policy_gradients.course.display import Table, show
from policy_gradients.course.exercises import check, hint, progress, solution  # noqa: F401
from policy_gradients.course.live import LivePlot
from policy_gradients.estimators.baselines import leave_one_out
from policy_gradients.estimators.returns import discounted_returns, generalized_advantages
from policy_gradients.estimators.scores import score_gradient
from policy_gradients.oracle.exact import Oracle
from policy_gradients.worlds.small import early_token, mixing_chain, token_tree
from policy_gradients.worlds.tabular import softmax_policy

torch.set_num_threads(1)  # with tensors this small, a second thread only gets in the way
generator = torch.Generator().manual_seed(0)  # every random number of this notebook comes from here

# %% [markdown]
# ## 1. The judge waits until the end
#
# The world is small enough to write down. Six places, three words: 3⁶ = 729 sentences.
# The policy has three logits for each place, and they start somewhere at random.

# %%
WORDS, PLACES = ("yes", "no", "."), 6
mdp = early_token([0.0, 1.0, 0.0], PLACES)  # the worth of each word, if it comes first
policy = softmax_policy(mdp)
theta = torch.randn(policy.size, dtype=torch.float64, generator=generator) / 2
oracle = Oracle(mdp, policy.table, theta)

# %%
batch = oracle.sample((5,), generator)
sentences = [" ".join(WORDS[token] for token in row) for row in batch.actions]
late, returns = ([str(row) for row in x.int().tolist()] for x in (batch.rewards, discounted_returns(batch.rewards)))
Table(["sentence", "rewards r_t", "returns G_t"], list(zip(sentences, late, returns, strict=True)))

# %% [markdown]
# The source page of this course reads the middle column.
# With a terminal reward, it says, the only nonzero contribution is that of the *last* token.
# So "basic REINFORCE does not credit earlier tokens".
#
# REINFORCE, however, multiplies ∇log π with the **right** column.

# %%
ask("03: six places")


# %%
def reinforce(batch):
    """Each score times its reward-to-go."""
    return score_gradient(batch.scores, discounted_returns(batch.rewards))


def as_the_page_reads_it(batch):
    """Each score times its own reward: only the last one is not zero."""
    return score_gradient(batch.scores, batch.rewards)


# %% [markdown]
# No sampling now. The oracle goes through all 729 sentences, weighs each with its probability, and
# takes the mean.

# %%
exact = oracle.gradient  # ∇J by autograd through the exact J: no score function in it
means = {f.__name__: oracle.moments(f).mean for f in (reinforce, as_the_page_reads_it)}
for name, mean in means.items():
    print(f"{name:>20}: largest difference from the exact gradient {(mean - exact).abs().max():.1e}")
assert (means["reinforce"] - exact).abs().max() < 1e-10

# %%
logit_of_no = torch.stack([exact, *means.values()]).unflatten(1, (PLACES, 3))[:, :, 1]
places = [f"token {place}" for place in range(1, PLACES + 1)]
rows = ["exact ∇J", "REINFORCE", "the page's reading"]
show(number_map(logit_of_no, rows, places, title="Expected gradient of the logit of “no”"))

# %% [markdown]
# REINFORCE is exact: the whole gradient lies on token 1, five tokens before the reward.
# The page's reading is zero *everywhere*. It would never learn anything.
# The last token does get a number each time that the judge pays.
# That number has nothing to do with it, and averages to 0.
#
# Why: the reward is late, the **return** is not. With r only at the end, $G_t = \gamma^{T-1-t}R$ for *every* t.
# DeepSeekMath (§4.1.2) does just this: every token of an answer gets the answer's reward.
#
# ## 2. One sentence cannot tell
#
# So within one sentence all six tokens get the *same* number. Nothing yet tells cause from bystander.
# What can tell them apart is only other sentences: those with `no` in front were paid whatever followed, and those with
# `.` at the end were paid no more often than the rest. Averaging is the comparison.

# %%
ask("03: the first token stands out")

# %%
sizes = (1, 10, 100, 1000, 10_000, 100_000)
estimates = torch.stack([reinforce(oracle.sample((n,), generator)) for n in sizes])
length = estimates.unflatten(1, (PLACES, 3)).norm(dim=2) / exact.norm()
title = "Estimate from n sentences: its length at each token, in ‖∇J‖"
show(number_map(length, [f"n = {n:,}" for n in sizes], places, title=title, darkest=1))

# %% [markdown]
# The true row is 1, 0, 0, 0, 0, 0.
# Averaging finds it, at the usual pace of 1/√n.
# The problem is not *no* credit. It is **undifferentiated** credit, and its price is noise.
#
# ## 3. The price of a longer sentence
#
# The judge stays the same, and only the sentence grows.
# What happens to the signal, what to the noise?
#
# One detail decides. Above, each place had its own logits.
# A language model has **one** set of weights for all places.
# We compute both, exactly.


# %%
from policy_gradients.worlds.policies import CategoricalPolicy
from policy_gradients.worlds.policies import Table as Rows


def world_of(places, share):
    """The judge's world; the places share one row of logits, or have one each."""
    mdp = early_token([0.0, 1.0, 0.0], places)
    rows = torch.zeros(mdp.num_states, dtype=torch.long)
    return mdp, CategoricalPolicy(Rows(rows, 3)) if share else softmax_policy(mdp)


# %%
rows, noise = [], {}
for places_now in (1, 2, 4, 8):
    for share in (False, True):
        mdp_now, policy_now = world_of(places_now, share)
        here = Oracle(mdp_now, policy_now.table, policy_now.initial())
        noise[places_now, share] = here.moments(reinforce).variance
    signal = here.gradient.norm().item() ** 2
    rows.append([places_now, signal, noise[places_now, False], noise[places_now, True]])
Table(["tokens", "signal ‖∇J‖²", "variance, own logits", "variance, shared logits"], rows)

# %% [markdown]
# The signal does not change. The noise grows by the same amount with each token: bystanders
# are independent.
# Each adds a score of mean zero, multiplied by a reward that it had no part in. The squares of such terms add up, the
# terms themselves do not. So the signal-to-noise ratio falls as 1/T, and what is needed in sentences rises as T.

# %%
ask("03: a thousand tokens", float((noise[1, True] + 999 * (noise[2, True] - noise[1, True])) / signal))

# %%
per_token = noise[2, True] - noise[1, True]
predicted = noise[1, True] + 999 * per_token
print(f"1 token:     {noise[1, True] / signal:8.0f} sentences")
print(f"1000 tokens: {predicted / signal:8.0f} sentences, if the line goes on")

# %% [markdown]
# Does it? Let us play 4000 sentences of 1000 tokens.
# With uniform words, Σ ∇log π is the count of each word less 1000/3.

# %%
tokens = torch.randint(3, (4000, 1000), generator=generator)
counts = torch.stack([(tokens == word).sum(1) for word in range(3)], dim=1)
single = (tokens[:, :1] == 1) * (counts - 1000 / 3)  # R · Σ_t ∇log π of each sentence
print(f"variance measured {single.var(0).sum():.1f}, predicted {predicted:.1f}")

# %% [markdown]
# The last question is whether it matters for learning.
# Same judge, same learning rate, eight sentences a batch, and a hundred seeds.
# The baseline of notebook 02 is on.


# %%
from policy_gradients.worlds.training import gradient_of, train_policy


def learn(name, places, share, live):
    """A hundred seeds side by side, plain steps; their share of right answers at each update."""
    mdp, policy = world_of(places, share)

    def climb(theta, batch):
        return theta + gradient_of(policy, theta, batch, batch.returns - leave_one_out(batch.returns))

    def on_step(step, theta, batch):
        live.log(step, **{name: batch.returns.mean()})

    return train_policy(mdp.env(100 * 8), policy, policy.initial(100), climb, 40, generator, on_step=on_step)


# %% [markdown]
# In each panel, the share of right answers, on one scale:

# %%
cases = {"1 token": (1, True), "8 tokens": (8, True), "64 tokens": (64, True), "64 with own logits": (64, False)}
with LivePlot(*cases, columns=2, share_y=True) as live:  # a panel for each
    runs = {name: learn(name, *case, live) for name, case in cases.items()}

# %%
quarters = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
rows = []
for name, run in runs.items():
    last, first = run.returns[-5:].mean(0), run.iterations_to(0.9) + 1  # 0: never
    needed = first[first > 0].double().quantile(quarters).tolist()
    rows.append([name, (last > 0.9).sum().item(), (last < 0.1).sum().item(), last.mean().item(), *needed])
header = ["sentence", "seeds above 90 %", "below 10 %", "mean of 100"]
Table([*header, "updates to 90 %: lower quartile of those there", "median", "upper quartile"], rows)

# %%
answers = {name: run.returns.mean(1) for name, run in runs.items()}
title, axes = "The same judge, longer sentences", {"xlabel": "update", "ylabel": "right answers, mean of 100 seeds"}
show(curves(torch.arange(1, 41), answers, title=title, **axes, ylim=(0.2, 1.02)))

# %% [markdown]
# With shared weights, 64 tokens hurt: the noise of 63 bystanders shakes the very logits that matter.
# A seed that drifts to a wrong certainty never sees a reward again, and stays there.
# Those who get there are not all late: the quickest quarter even gains by its luck, and the median is no later. But the slow are
# slower, and more are still on their way at the end. Noise does not slow all down evenly. It spreads them, and ruins a few.
# With logits of their own, bystanders wander off alone, and do no harm.
#
# ## 4. Crediting better
#
# A second judge now listens to two things. 0.7 for `no` as the first token, 0.3
# for `.` as the last. Four tokens, 81 sentences, and a policy that sees the whole
# prefix.


# %%
def judge(text):
    return 0.7 * (text[0] == 1) + 0.3 * (text[-1] == 2)


tree = token_tree(3, 4, judge, eos=False)
tree_policy = softmax_policy(tree)
uniform = tree_policy.initial()
court = Oracle(tree, tree_policy.table, uniform)
value = court.state_values  # V of each prefix, exact

# %% [markdown]
# ### Spreading it
#
# The page calls it a "standard trick": spread R over the steps so that $\sum_t \gamma^t r_t = R$.
# (In language models another is usual: R on the last token, and on each a price times the log-ratio to a reference, as a
# cost. DeepSeekMath, eq. 2.)

# %% [markdown]
# **Exercise: Spread one reward over the steps** (★★, 8 min). Keep the discounted sum of each episode equal to its R.


# %%
def spread_reward(returns, shares, gamma):
    """Rewards r_t ∝ shares_t / γ^t with Σ_t γ^t r_t = R: returns (episodes,), shares and result (episodes, time).

    Raises ValueError where an episode's shares sum to 0.
    """
    return ...  # your code here


# %%
spread_reward = check(spread_reward)
# hint(spread_reward)  # without the #: a hint, and the next one each time
# solution(spread_reward)

# %%
even = spread_reward(torch.ones(1, dtype=torch.float64), torch.ones(1, 4, dtype=torch.float64), 1.0)
print("R = 1 over four tokens:", even.tolist(), " reward-to-go:", discounted_returns(even).tolist())

# %% [markdown]
# J is safe: every sentence still sums to its R.

# %%
ask("03: rewards spread evenly")

# %% [markdown]
# ### Shaping it
#
# Another way needs no judge at all. Give each prefix a **potential** Φ, any number, and
# pay for its gain:
#
# $$r'_t = r_t + \gamma\,\Phi(s_{t+1}) - \Phi(s_t), \qquad \Phi = 0 \text{ after the end}.$$

# %% [markdown]
# **Exercise: Rewards shaped by a potential** (★★, 10 min). The trap is the last step.


# %%
def shaped_rewards(rewards, potentials, gamma):
    """r_t + γ Φ(s_{t+1}) − Φ(s_t), with Φ = 0 after the end; rewards, potentials and result: (episodes, time)."""
    return ...  # your code here


# %%
shaped_rewards = check(shaped_rewards)
# hint(shaped_rewards)  # without the #: a hint, and the next one each time
# solution(shaped_rewards)

# %% [markdown]
# Why any Φ will do: the sum telescopes. Of the return from step t on, each Φ after the first is added once and taken away
# once, and what is left is −Φ(sₜ):
#
# $$G'_t = \sum_{k\ge t}\gamma^{k-t}\big(r_k+\gamma\,\Phi(s_{k+1})-\Phi(s_k)\big) = G_t - \Phi(s_t).$$
#
# That is a number of the *state*, known before the action is drawn: a state baseline, so no bias (notebook 02, section 4). J itself
# moves by −Φ(s₀), the same for every policy.
#
# A good Φ is one that already rises when things go well: chess players count pieces. Then a step is paid when
# the position improves, not at the end of the game. With Φ = V the reward of a step becomes exactly
# its surprise δ. Beware of the last step, though: if Φ is not put to zero there, a policy is paid
# for *ending* where Φ is high, and J is another one (Ng, Harada & Russell 1999).

# %%
paths = court.outcomes.episodes  # all 81 sentences
phi = torch.randn(paths.rewards.shape, dtype=torch.float64, generator=generator)
left = discounted_returns(shaped_rewards(paths.rewards, phi, 0.9), 0.9) - discounted_returns(paths.rewards, 0.9)
print(f"largest |G'_t − G_t + Φ(s_t)|, at all four places: {(left + phi).abs().max():.1e}")

# %% [markdown]
# ### The contest
#
# Seven ways to credit the same sentences, each by enumeration: exact bias, exact variance.
# The "process judge" pays 0.7 right after the first token, and 0.3 after the last.

# %%
wild = torch.randn(len(value), dtype=torch.float64, generator=generator)  # a potential of pure nonsense


def process_judge(batch):
    rewards = torch.zeros_like(batch.rewards)
    rewards[..., 0] = 0.7 * (batch.actions[..., 0] == 1).double()
    rewards[..., -1] = 0.3 * (batch.actions[..., -1] == 2).double()
    return rewards


# %%
from policy_gradients.course.oracle_figures import bias_and_variance, moments_table
from policy_gradients.estimators.credit import redistribute, shape_rewards

CREDIT = {  # what a batch's scores are multiplied with
    "terminal reward": lambda b: discounted_returns(b.rewards),
    "spread evenly, reward-to-go": lambda b: discounted_returns(redistribute(b.returns, torch.ones_like(b.rewards))),
    "spread evenly, whole return": lambda b: b.returns,
    "process judge": lambda b: discounted_returns(process_judge(b)),
    "shaped, Φ = nonsense": lambda b: discounted_returns(shape_rewards(b.rewards, wild[b.observations])),
    "shaped, Φ = V": lambda b: discounted_returns(shape_rewards(b.rewards, value[b.observations])),
    "GAE λ = 0, critic V": lambda b: generalized_advantages(b.rewards, value[b.observations], lam=0.0),
}


# %%
def exactly(credit_of):
    """Exact mean and variance, over all 81 sentences, of the gradient with this credit."""

    def estimator(batch):
        return score_gradient(batch.scores, credit_of(batch))

    return court.moments(estimator)


moments = {name: exactly(credit_of) for name, credit_of in CREDIT.items()}
moments_table(moments, court.gradient)

# %%
for name in ("terminal reward", "process judge", "shaped, Φ = nonsense", "shaped, Φ = V", "GAE λ = 0, critic V"):
    assert moments[name].bias(court.gradient) < 1e-10
show(bias_and_variance({name: m for name, m in moments.items() if "nonsense" not in name}, court.gradient))

# %% [markdown]
# - *Spread evenly, reward-to-go* is **biased**. "What came before an action cannot be its doing" holds for rewards that
#   the world pays at their time. These are paid in hindsight: R depends on later tokens, so "past" rewards do too, and
#   dropping them is wrong. The last token is left with a quarter of its credit. With the whole return nothing is lost, nor gained.
# - *Any* potential is unbiased. Nonsense only costs variance.
# - Φ = V is the baseline of notebook 02 in other clothes.
# - A right critic with λ = 0 pays each token what it *changed*: V after it, less V before.
#
# ## 5. A credit explorer
#
# Now a sentence of the course's main job: it passes if the sum of its digits
# is divisible by 3. The critic here knows the exact chance to pass, after every token.
# Choose how to credit.

# %%
ask("03: a critic at λ = 0")

# %%
from policy_gradients.course.widgets.credit import credit_explorer

credit_explorer(method="critic")

# %% [markdown]
# Only digits can change the chance, and the early ones hardly do:
# any sum can still be mended. The `6` gets a small minus although the text passes.
# The `5` decides, and gets nearly all. On GitHub the sliders are gone, and the picture
# stays. The same text under REINFORCE:

# %%
show(credit_explorer(method="return").figure)

# %% [markdown]
# ### What λ means without a good critic
#
# Back to the second judge, where all 81 sentences can be weighed.
# Bars: the credit given. Diamonds: the exact advantage. Right:
# the bias and the noise that this choice has over *all* sentences.

# %%
ask("03: no critic at λ = 0")


# %%
def bias_and_noise(lam, critic):
    """(bias, noise) of GAE with this critic, by enumeration, relative to ‖∇J‖."""
    m = exactly(lambda b: generalized_advantages(b.rewards, critic[b.observations], lam=lam))
    scale = court.gradient.norm().item()
    return m.bias(court.gradient) / scale, m.variance**0.5 / scale


# %%
from policy_gradients.course.credit_figures import sentence_credit

SPOKEN = {" ".join(WORDS[token] for token in row): index for index, row in enumerate(paths.actions)}


def draw(sentence, lam, critic):
    one = paths[torch.tensor([SPOKEN[sentence]])]
    given = generalized_advantages(one.rewards, critic[one.observations], lam=lam)[0]
    right = court.advantages[one.observations, one.actions][0]
    settings = {f"λ = {each:g}": bias_and_noise(each, critic) for each in (0.0, 0.5, 0.9, 1.0)}
    title = f"“{sentence}” earns {one.returns.item():.1f}"
    return sentence_credit(sentence.split(), given, right, settings, f"λ = {lam:g}", title)


# %%
show(draw("no yes yes .", lam=0.0, critic=torch.zeros_like(value)))

# %% [markdown]
# There is the page's reading. Credit for the last token alone is λ = 0 *without
# a critic*: the most biased corner. Move to λ = 1, and the bias is gone
# whatever the critic says. The noise is not. With the exact critic, no λ is biased,
# and λ = 0 is the least noisy:

# %%
show(draw("no yes yes .", lam=0.0, critic=value))

# %% [markdown]
# ## 6. What if it never ends?
#
# The page treats a text as an endless process, and cites Baxter & Bartlett (2001) for
# "discounted rewards". Texts do end. But suppose something does not:
# a thermostat, a lift, a market maker. Then the goal is the **average reward** η.
# That, and no discounted return, is what the paper is about.
#
# Its GPOMDP keeps one vector besides the parameters, a fading memory of scores:
#
# $$z_t = \beta z_{t-1} + \nabla\log\pi(a_t|s_t), \qquad \hat g = \frac1T\sum_t r_t z_t .$$

# %% [markdown]
# **Exercise: The eligibility trace** (★, 8 min). One path, one vector that fades.


# %%
def traces(scores, beta):
    """z_t = β z_{t−1} + ψ_t with z = 0 before the start; scores ψ and result: (time, parameters)."""
    return ...  # your code here


# %%
traces = check(traces)
# hint(traces)  # without the #: a hint, and the next one each time
# solution(traces)

# %% [markdown]
# β is no discount of the problem. It says how long an action may be blamed
# for what follows. The world: three states on a ring, for ever.
# Sometimes nothing moves; the stickier, the slower it forgets.

# %%
ask("03: memory")

# %%
from policy_gradients.oracle.gradients import gpomdp_limit, gradient
from policy_gradients.oracle.mdp import average_reward


def limit_bias(stickiness, beta):
    """‖∇_β η − ∇η‖ / ‖∇η‖, exact: what no amount of data will mend."""
    ring = mixing_chain(stickiness)
    table, start = softmax_policy(ring).table, ring_theta
    goal = gradient(lambda t: average_reward(ring, table(t)), start)
    return ((gpomdp_limit(ring, table, start, beta) - goal).norm() / goal.norm()).item()


ring_theta = torch.randn(6, dtype=torch.float64, generator=generator) / 2
betas = (0.0, 0.5, 0.9, 0.99)
rows = [[f"{1 / (1 - s):.0f} steps a move", *(f"{limit_bias(s, b):.2%}" for b in betas)] for s in (0.5, 0.8, 0.95)]
Table(["the chain needs", *(f"bias at β = {b:g}" for b in betas)], rows)

# %% [markdown]
# At none. The estimate goes to $\nabla_\beta\eta$, and that meets $\nabla\eta$ only as β → 1.
# An action's doing fades as the chain forgets where it was. What happens after the memory has faded, but before the chain
# has forgotten, is effect without credit: that is the bias.
# The slower the chain mixes, the closer to 1: memory 1/(1−β) has to outlast the *mixing time*, the number of steps after which
# the chain has all but forgotten where it was.
#
# Then why not β = 0.999? Let us walk:
# 64 paths of 2000 steps on the chain with stickiness 0.8.

# %%
from policy_gradients.worlds.rollout import rollout

ring = mixing_chain(0.8)
ring_policy = softmax_policy(ring)
walk = rollout(ring.env(64), ring_policy, ring_theta, generator, max_steps=2000)
scores = ring_policy.scores(ring_theta, walk.observations, walk.actions)
centred = walk.rewards - walk.rewards.mean()  # a baseline

# %%
from policy_gradients.estimators.gpomdp import gpomdp

by_hand = (traces(scores[0], 0.9) * centred[0].unsqueeze(1)).mean(0)
print(f"your traces against the library: {(by_hand - gpomdp(scores[0], centred[0], 0.9)).abs().max():.1e}")

# %%
goal = gradient(lambda t: average_reward(ring, ring_policy.table(t)), ring_theta)
knob = torch.tensor([0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995])
bias = torch.tensor([limit_bias(0.8, b) for b in knob.tolist()])
paths_of = [gpomdp(scores, centred, b) for b in knob.tolist()]
spread = torch.stack([g.var(0).sum().sqrt() / goal.norm() for g in paths_of])

# %%
memory, longer = 1 / (1 - knob), (100_000 / 2000) ** 0.5  # noise falls as 1/√T
lines = {
    "bias, exact": bias,
    "noise, 2,000 steps": spread,
    "error, 2,000 steps": (bias**2 + spread**2).sqrt(),
    "error, 100,000 steps": (bias**2 + (spread / longer) ** 2).sqrt(),
}
axes = {"xlabel": "memory 1/(1 − β), in steps", "ylabel": "relative to ‖∇η‖", "xscale": "log", "yscale": "log"}
show(curves(memory, lines, title="β trades bias for noise", **axes))

# %%
for name in ("error, 2,000 steps", "error, 100,000 steps"):
    print(f"{name}: least at β = {knob[lines[name].argmin()]:.3g}")

# %% [markdown]
# A knob, with a best setting that moves towards 1 as data grow.
# The last curve is the first noise, scaled by 1/√T.
#
# "A consistent estimator for ∇J", says the page. At a fixed β it is consistent for
# something else:

# %%
pooled, target = gpomdp(scores, centred, 0.5).mean(0), gpomdp_limit(ring, ring_policy.table, ring_theta, 0.5)
print(f"128,000 steps at β = 0.5: {(pooled - target).norm() / goal.norm():.0%} from ∇_β η,", end=" ")
print(f"{(pooled - goal).norm() / goal.norm():.0%} from ∇η")

# %% [markdown]
# ## 7. Old rollouts
#
# Sampling a thousand tokens is slow. Yesterday's policy left a pile of sentences: may today's use them?
#
# $$\mathbb E_{\pi_\text{old}}\!\left[w\,f\right]=\mathbb E_{\pi}\!\left[f\right],\qquad
# w=\prod_t \rho_t,\quad \rho_t=\frac{\pi(a_t|s_t)}{\pi_\text{old}(a_t|s_t)} .$$
#
# The page promises this "without extra forward passes". No:
# every ρ needs the *present* policy on every token.
# What is saved is the sampling.

# %% [markdown]
# **Exercise: Weights for old rollouts** (★★, 10 min). A reward at t needs the ratios up to t, and no later ones.


# %%
def prefix_weights(log_probs, old_log_probs):
    """Π_{k≤t} π(a_k)/π_old(a_k) for each step: all three (episodes, time); no gradient through old_log_probs."""
    return ...  # your code here


# %%
prefix_weights = check(prefix_weights)
# hint(prefix_weights)  # without the #: a hint, and the next one each time
# solution(prefix_weights)

# %% [markdown]
# Yesterday's policy spoke uniformly. Today's has taken one step up the gradient, a large one.
# We ask for today's gradient, from yesterday's sentences, by enumeration.

# %%
today = uniform + 3 * court.gradient
now = Oracle(tree, tree_policy.table, today)


def log_prob(theta, batch):
    return tree_policy.log_probs_and_entropy(theta, batch.observations, batch.actions)[0]


print(f"J yesterday {court.objective:.3f}, today {now.objective:.3f}")


# %%
from policy_gradients.estimators.importance import importance_weights, self_normalized

WEIGHTS = {  # of today's and yesterday's log-probs, (..., sentences, time), to weights that fit them
    "no weights": lambda new, old: torch.ones_like(new),
    "whole sentence": lambda new, old: importance_weights(new, old).unsqueeze(-1),
    "whole sentence, clipped at 1.2": lambda new, old: importance_weights(new, old, clip=1.2).unsqueeze(-1),
    "whole sentence, normalised": lambda new, old: self_normalized(importance_weights(new, old)).unsqueeze(-1),
    "one token, as in PPO": lambda new, old: importance_weights(new, old, per="step"),
}


def scores_today(batch):
    return tree_policy.scores(today, batch.observations, batch.actions)


# %%
def from_old(weights_of):
    """Exact moments of today's gradient from batches of two of yesterday's sentences, each weighed."""

    def estimator(batch):
        weights = weights_of(log_prob(today, batch), log_prob(uniform, batch))
        return score_gradient(scores_today(batch), weights * discounted_returns(batch.rewards))

    return court.moments(estimator, group_size=2)


of_two = {name: from_old(weights_of) for name, weights_of in WEIGHTS.items()}
moments_table({**of_two, "fresh sentences": now.moments(reinforce, group_size=2)}, now.gradient)

# %% [markdown]
# Only the weights of the whole sentence are exact.
# PPO's row is the mildest of the biased ones here. It asks how today's policy would choose *this* token, but takes the
# prefix as yesterday's policy wrote it, and what follows as well. For a small step that hardly matters.
# Each of the others buys less variance with some bias.
#
# One of these biases is not what it seems. Normalised weights are ratios of two sums, and batches of *two* are the worst case: the
# bias goes as 1/n. By sampling, since groups of 32 cannot be listed (but 81 sentences can be tabulated):

# %%
weight = importance_weights(log_prob(today, paths), log_prob(uniform, paths))  # of each of the 81 sentences
push = torch.einsum("ntp,nt->np", scores_today(paths), discounted_returns(paths.rewards))  # what it adds, unweighed
dice, rows = torch.Generator().manual_seed(4), []
for n in (2, 8, 32):
    drawn = torch.randint(81, (100_000, n), generator=dice)  # yesterday's policy: all alike
    share = self_normalized(weight[drawn])
    mean = torch.bincount(drawn.flatten(), share.flatten(), minlength=81) @ push / drawn.numel()
    rows.append([n, ((mean - now.gradient).norm() / now.gradient.norm()).item()])
Table(["sentences in a batch", "bias of normalised weights / ‖∇J‖"], rows)

# %% [markdown]
# And your weights? They wait for rewards that come *on the way*: a reward at t should not pay for the ratios of later tokens. With
# the process judge of section 4 there are such rewards (Precup, Sutton & Singh 2000, call it *per decision*). A policy that
# has moved in all its words shows the difference:

# %%
elsewhere = torch.randn(tree_policy.size, dtype=torch.float64, generator=dice) / 2
there = Oracle(tree, tree_policy.table, elsewhere)


def whole_weights(new, old):
    return importance_weights(new, old).unsqueeze(-1).expand_as(new)


def judged(weights_of):
    """Exact moments of its gradient from yesterday's sentences, each reward weighed at its time."""

    def estimator(batch):
        new, old = (log_prob(t, batch).flatten(0, -2) for t in (elsewhere, uniform))
        paid = weights_of(new, old).view_as(batch.rewards) * process_judge(batch)
        scores = tree_policy.scores(elsewhere, batch.observations, batch.actions)
        return score_gradient(scores, discounted_returns(paid))

    return court.moments(estimator)


# %%

moments_table({"whole sentence": judged(whole_weights), "your prefix weights": judged(prefix_weights)}, there.gradient)

# %% [markdown]
# Both exact, and the prefix is the quieter.
#
# Why not always the exact one? A product of many ratios is wild.
# How many samples are left, of n?

# %% [markdown]
# **Exercise: How many samples are left?** (★, 5 min). One line, two sums.


# %%
def effective_samples(weights):
    """(Σ w)² / Σ w² along the last dimension: (..., n) → (...)."""
    return ...  # your code here


# %%
effective_samples = check(effective_samples)
# hint(effective_samples)  # without the #: a hint, and the next one each time
# solution(effective_samples)

# %%
ask("03: old sentences")

# %% [markdown]
# One coin-flip word shows it: yesterday's chance of heads was ½, today's is p. Two hundred piles of 1000 sentences each.


# %%
def shift_for(kl):
    """The probability p of a word whose KL(p ‖ ½) is `kl` nats a token."""
    p = torch.linspace(0.5, 0.999, 100_000, dtype=torch.float64)
    return p[((p * (2 * p).log() + (1 - p) * (2 - 2 * p).log()) - kl).abs().argmin()]


def old_weights(p, length, shape):
    """Weights of so many old sentences, up to a factor that a pile shares (they may be too large to write down)."""
    half = torch.full(shape, 0.5, dtype=torch.float64)
    heads = torch.binomial(half * 0 + length, half, generator=dice)
    log_weights = heads * (2 * p).log() + (length - heads) * (2 - 2 * p).log()
    return (log_weights - log_weights.amax(-1, keepdim=True)).exp()


# %%
lengths, left, formula = torch.tensor([1, 3, 10, 30, 100, 300, 1000]), {}, {}
for kl in (0.001, 0.01, 0.1):
    p = shift_for(kl)
    piles = [effective_samples(old_weights(p, length, (200, 1000))) for length in lengths.tolist()]
    left[f"{kl} nats a token"] = torch.stack([pile.median() for pile in piles])
    formula[f"formula, {kl}"] = 1000 / (2 * (p**2 + (1 - p) ** 2)) ** lengths
print({name: f"{counts[-1]:.3g} of 1000" for name, counts in left.items()})
print({name: f"{counts[-1]:.2g}" for name, counts in formula.items()})

# %%
axes = {"xlabel": "tokens", "ylabel": "sentences left, of 1000", "xscale": "log", "yscale": "log", "ylim": (0.7, 1500)}
show(curves(lengths, left | formula, title="Old sentences age with their length", **axes, level=("one", 1.0)))

# %% [markdown]
# A handful. Never less than one, since (Σw)² ≥ Σw²: what is left then is one sentence that outweighs all others.
#
# The formula is $n/\mathbb E_\text{old}[\rho^2]^T$, for tokens that are alike and independent. It puts means in place of the sums, so it
# holds while many sentences share the weight; past that it falls below one, and means nothing any more. Where it holds, it is good:
# 100,000 old sentences of 30 tokens.

# %%
p = shift_for(0.01)
measured, expected = effective_samples(old_weights(p, 30, (100_000,))), 1e5 / (2 * (p**2 + (1 - p) ** 2)) ** 30
print(f"left of 100,000: measured {measured:,.0f}, formula {expected:,.0f}")

# %% [markdown]
# ### PPO's answer
#
# PPO takes ρ of single tokens, and stops pushing once ρ has left 1 ± 0.2:
# $\min(\rho A,\ \mathrm{clip}(\rho, 0.8, 1.2)\,A)$.

# %%
ask("03: where the clip acts")

# %%
from policy_gradients.estimators.losses import clipped_loss, policy_gradient_loss

ratios, advantages = torch.meshgrid(torch.tensor([0.5, 1.0, 1.5]), torch.tensor([1.0, -1.0]), indexing="ij")
log_ratio = ratios.log().requires_grad_()
clipped_loss(log_ratio, torch.zeros_like(ratios), advantages).sum().backward()
Table(["ρ", "A = +1", "A = −1"], torch.cat([ratios[:, :1], 0.0 - log_ratio.grad], dim=1).tolist())

# %% [markdown]
# It is 0 where the token has *already* moved the wanted way:
# up for A > 0, down for A < 0.
# Never on the way back.
#
# What does that do to reuse? One batch of 32 old sentences, and 100 updates on it:
# as if they were fresh, with weights, or clipped. J and KL are the oracle's.

# %%
pile = court.sample((32,), generator)
advantage, old = pile.returns - leave_one_out(pile.returns), log_prob(uniform, pile)
losses = {  # of the log-probs of all tokens, (32, 4)
    "fresh": lambda new: policy_gradient_loss(new, advantage).sum() / 32,
    "weights": lambda new: -(importance_weights(new, old) * advantage).mean(),
    "PPO's clip": lambda new: clipped_loss(new, old, advantage).sum() / 32,
}


# %%
from policy_gradients.oracle.mdp import episode_kl, expected_return


def squeeze(name, live):
    """100 updates on the one pile; after each, the true J and the KL to the policy that sampled."""
    theta, log_pi = uniform, tree_policy.table

    def loss(theta):
        return losses[name](log_prob(theta, pile))

    for step in range(1, 101):
        theta = theta - 0.5 * gradient(loss, theta)
        away = episode_kl(tree, log_pi(theta), log_pi(uniform))
        gain = expected_return(tree, log_pi(theta))
        live.log(step, **{f"{name}: KL": away, f"{name}: J": gain})


# %%
with LivePlot(*(", ".join(f"{name}: {what}" for name in losses) for what in ("KL", "J")), columns=2) as live:
    for name in losses:
        squeeze(name, live)

# %%
kept = {
    what: {n: [row[f"{n}: {what}"] for row in live.rows if f"{n}: {what}" in row] for n in losses}
    for what in ("J", "KL")
}
rows = [[name, kept["J"][name][-1].item(), kept["KL"][name][-1].item()] for name in losses]
Table(["100 updates on one batch", "true J", "KL to the old policy, nats"], rows)

# %%
axes = {"xlabel": "update on the same 32 sentences", "ylabel": "KL to the old policy, nats"}
show(curves(torch.arange(1, 101), kept["KL"], title="How far one batch may push", **axes))

# %% [markdown]
# Without a clip, 32 sentences drag the policy whole nats away.
# Here that even pays: what 32 sentences show of so small a world is mostly true.
# A large world has more to be wrong about.
# The clip brakes. But look closely: its KL still creeps up.
# It is no trust region; notebook 04 builds one.

# %% [markdown]
# ## What to take along
#
# - A terminal reward credits **every** token. Averages find the cause; the price is variance, and it grows with T.
# - Reward-to-go on a spread reward is biased. Potentials never are. A good critic pays each token its own share.
# - GPOMDP aims at the average reward. β trades its bias for its noise, and 1/(1−β) has to outlast the mixing.
# - Old rollouts cost a forward pass, and age exponentially with their length.
#
# ### Where the source page differs
#
# (The page *Policy Gradients*, from which this course started: see the
# [bibliography](../docs/bibliography.md#the-source-page).)
#
# | it says | here |
# | --- | --- |
# | only the last token is credited by REINFORCE | section 1: wrong, to 10⁻¹⁰ |
# | the fix is Monte-Carlo returns | that *is* REINFORCE; section 4 has remedies |
# | spreading R is the standard trick | J is kept, reward-to-go is biased (section 4) |
# | Baxter et al. 2001: discounted rewards, consistent for ∇J | Baxter & Bartlett: average reward, biased at β < 1 |
# | a text never terminates | it ends at EOS or the cap: γ = 1 is allowed |
# | importance sampling saves forward passes | it saves sampling (section 7) |
#
# ### References
#
# - Williams 1992, *Machine Learning* 8, [doi:10.1007/BF00992696](https://doi.org/10.1007/BF00992696)
# - Sutton, McAllester, Singh & Mansour 2000, *NIPS 12*: the policy-gradient theorem
# - Baxter & Bartlett 2001, *JAIR* 15, [Infinite-horizon policy-gradient estimation](https://www.jair.org/index.php/jair/article/view/10289)
# - Ng, Harada & Russell 1999, *ICML*: policy invariance under reward transformations
# - Precup, Sutton & Singh 2000, *ICML*: per-decision importance sampling
# - Schulman et al. 2015, [arXiv:1506.02438](https://arxiv.org/abs/1506.02438) (GAE); 2017,
#   [arXiv:1707.06347](https://arxiv.org/abs/1707.06347) (PPO)
# - Shao et al. 2024, [arXiv:2402.03300](https://arxiv.org/abs/2402.03300): DeepSeekMath, §4.1.2 and eq. 2

# %%
progress()

# %% [markdown]
# ## Onward
#
# A late reward credits every token, and only many sentences tell the cause from the bystanders. The price is variance. Potentials and
# critics pay a token nearer to its own share, GPOMDP does without episodes, and old sentences can be weighed, until one of them
# outweighs the rest.
#
# Not shown: how far *one* step may go before the sentences it was computed on say nothing about the new policy. The clip was a
# brake, not an answer.
#
# Next: [04 · Why do steps that look small wreck a policy?](04_natural_gradient.ipynb), 50 min to read and 53 min of exercises.
