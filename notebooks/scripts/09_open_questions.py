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
# # 09 · What does nobody know yet?
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/policy-gradients/blob/main/notebooks/09_open_questions.ipynb)
#
# The page from which this course started (see the [bibliography](../docs/bibliography.md#the-source-page)) ends with open
# questions. Should the price on divergence listen to the reward? May prompts share their statistics? Can a retriever be
# trained by the same gradient? And three more: how far may a reward be followed that was learnt? What is a teacher worth,
# beside one bit? Is entropy effort? A question stays open as long as nobody says what would count as an answer. Here each
# of the six is cut down to a world in which nearly everything can be enumerated, and answered there; what is drawn has
# intervals. What that leaves open is listed at the end.
#
# **Afterwards you can**
#
# - judge a KL schedule in the one currency that decides: nats at equal pass rate;
# - say of any baseline whether it is biased, and whose noise it is;
# - split a gradient into a part for the retriever and one for the generator, and price both in tokens;
# - say of a learnt reward what is noise in it and what is blindness, and which brake helps against which;
# - write distillation as a policy gradient, and entropy as a sum of three parts;
# - recognise a falsifier that fires at nothing.
#
# | | |
# | --- | --- |
# | to read and think | 70 min, and 92 min for the nine exercises |
# | to run | a minute of one CPU core, no GPU, no model (what one made of 144 articles is stored): nearly all of it is enumerated |
# | needs | [notebook 05](05_grpo_from_scratch.ipynb): groups; [07](07_evaluation.ipynb): pass rate against KL; [08](08_ablations.ipynb): verdicts |

# %%
# @title Setup: on Colab this installs the course, elsewhere it does nothing
from importlib.util import find_spec

if find_spec("policy_gradients") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/OWNER/policy-gradients")  # noqa: F821

# %%
from policy_gradients.course.diagram import five_steps
from policy_gradients.course.display import Table, show, zero
from policy_gradients.course.exercises import check, hint, progress, solution  # noqa: F401
from policy_gradients.course.predictions import ask

show(five_steps("09_open_questions"))

# %%
import itertools
import math

import numpy as np
import torch

# %% [markdown]
# ## 1. A price on divergence that listens to the reward
#
# Training maximises E[r] − β·KL: reward, less a price on how far the policy went from its reference. The page asks for a β
# that depends on "gradient magnitude and reward variance": large steps where the reward is sure, small ones where it
# is not. Would that be better? Better *at what* has to be said first. A smaller β gets more reward and goes farther, and
# that is no achievement. So: **at equal pass rate, are fewer nats paid?**
#
# ### One prompt
#
# For a reward of 0 or 1, the best policy at a weight β is known in closed form. It is the reference, each completion
# weighted by $e^{r/\beta}$ (notebook 07; Bayesian inference by another name [6]).

# %% [markdown]
# **Exercise: Where a fixed weight comes to rest** (★, 6 min). What passes is weighted by one factor, what fails by another.


# %%
def optimal_rate(p, beta):
    """Pass rate of the policy that maximises E[r] − β·KL, for a 0/1 reward; the reference passes with probability p."""
    return ...  # your code here


# %%
optimal_rate = check(optimal_rate)
# hint(optimal_rate)  # without the #: a hint, and the next one each time
# solution(optimal_rate)

# %%
from policy_gradients.evaluation.statistics import binary_kl, kl_floor

rows = []
for beta in (4, 1, 0.5, 0.3, 0.2, 0.1):
    q = optimal_rate(0.1, beta)
    kl = q / beta - math.log(1 - 0.1 + 0.1 * math.exp(1 / beta))  # E_π of log π/π_ref = r/β − log of what normalises
    rows.append([beta, q, kl, kl_floor(q, 0.1)])
Table(["β", "pass rate at rest, from 10 %", "its KL (nats)", "least KL for that pass rate"], rows)

# %% [markdown]
# The last two columns agree: every fixed weight ends on the curve of least KL (notebook 07's frontier). A weight chooses
# the *point*; the curve is the reference's. Now let β move during training, with the pass rate, the variance, the
# length of the gradient or the phase of the moon.

# %%
ask("09: a clever schedule")

# %% [markdown]
# Where training rests, β has some value. Let it be above 0: then the gradient is zero *for that value*. So log(π/π_ref) is a constant on all
# that passes and another one on all that fails, which is the family above. (The curve stays the
# same if β is differentiated as well, as long as it hangs on the pass rate and the KL alone; the point on it moves.) To see it happen we need a policy that is really trained:
# four prompts, six answers each, one of them right, and the exact gradient at each step. Its parameters may be shared
# between prompts, through features; at first each prompt has its own.

# %%
RATES = [0.02, 0.1, 0.4, 0.8]  # how often the reference passes, prompt by prompt
PROMPTS, ANSWERS = len(RATES), 6


# %%
def reference(generator, rates=RATES):
    """log π_ref and which answer is right, (prompts, answers) each."""
    right = torch.nn.functional.one_hot(torch.randint(ANSWERS, (PROMPTS,), generator=generator), ANSWERS).double()
    wrong = torch.randn(PROMPTS, ANSWERS, generator=generator, dtype=torch.float64) / 2
    wrong = wrong.masked_fill(right > 0, -torch.inf).softmax(-1)
    p = torch.tensor(rates, dtype=torch.float64).unsqueeze(1)
    return (right * p + wrong * (1 - p)).log(), right


# %%
def gradient(theta, features, log_ref, right, weight):
    """Of the mean over prompts of E[r] − β·KL by θ (…, features, answers); and KL and pass rate, (…, prompts) each."""
    log_pi = (log_ref + features @ theta).log_softmax(-1)
    pi, apart = log_pi.exp(), log_pi - log_ref
    kl, passing = (pi * apart).sum(-1), (pi * right).sum(-1)
    worth = right - weight(passing).unsqueeze(-1) * apart
    by_logits = pi * (worth - (pi * worth).sum(-1, keepdim=True))
    return features.mT @ by_logits / PROMPTS, kl, passing


# %%
def ascend(features, log_ref, right, weight, steps, rate=1.0):
    """KL and pass rate on the way, (steps + 1, 2, …, prompts): at each step, `rate` times the exact gradient."""
    lead = weight(torch.zeros(right.shape[:-1], dtype=torch.float64)).shape[:-1]
    theta, path = torch.zeros(*lead, features.shape[-1], ANSWERS, dtype=torch.float64), []
    for _ in range(steps + 1):
        step, kl, passing = gradient(theta, features, log_ref, right, weight)
        path.append(torch.stack([kl, passing]))
        theta = theta + rate * step
    return torch.stack(path)


# %%
from policy_gradients.oracle.gradients import gradient as by_autograd

draw = torch.Generator().manual_seed(0)
log_ref, right = reference(draw)
features, point = torch.randn(PROMPTS, 3, generator=draw).double(), torch.randn(3, ANSWERS, generator=draw).double()


# %%
def objective(flat):
    log_pi = (log_ref + features @ flat.view(3, ANSWERS)).log_softmax(-1)
    return (log_pi.exp() * (right - 0.3 * (log_pi - log_ref))).sum() / PROMPTS


# %%
by_hand = gradient(point, features, log_ref, right, lambda q: 0.3 + 0 * q)[0]
print(
    "gradient by hand against autograd:",
    f"{(by_hand.flatten() - by_autograd(objective, point.flatten())).abs().max():.0e}",
)

# %% [markdown]
# The schedules. Each takes a pass rate q and gives a weight; the variance of a 0/1 reward is q(1 − q), 1/4 at most.
#
# - *accuracy*: loose while little passes, tight when much does. FG-ExPO [1] describes such a weight in its abstract, as a
#   smooth function of the *batch's mean* accuracy. The fourth power is our choice. (RAPO [2] takes another road.)
# - *variance*: loose where the reward is sure, tight where it is not: what the page asks for.
# - *1 / variance*: the other way round, capped at ten times the base.

# %%
SCHEDULES = {
    "fixed": lambda q, base: base + 0 * q,
    "accuracy": lambda q, base: base * q**4,
    "variance": lambda q, base: base * 4 * q * (1 - q),
    "1 / variance": lambda q, base: base / (4 * q * (1 - q)).clip(0.1),
}

# %%
from policy_gradients.evaluation.frontiers import settled_rates

own = torch.eye(PROMPTS, dtype=torch.float64)  # each prompt has parameters of its own
rows = []
for name, base in {"fixed": 0.5, "accuracy": 1.0, "variance": 0.6, "1 / variance": 0.4}.items():
    weight = SCHEDULES[name]
    kl, q = ascend(own, log_ref, right, lambda q: weight(q, base), steps=5000, rate=4.0)[-1]  # noqa: B023
    over = max(abs(k - binary_kl(x, p)) for k, x, p in zip(kl.tolist(), q.tolist(), RATES, strict=True))
    rests = [settled_rates([p], lambda q: weight(q, base)).item() for p in RATES]  # noqa: B023
    told = [" ".join(f"{x:.3f}" for x in each) for each in (q.tolist(), rests)]
    rows.append([name, base, *told, f"{over:.0e}"])
Table(["β follows", "base", "pass rates after training", "where β·log(odds ratio) = 1", "KL off the curve"], rows)

# %% [markdown]
# All on the curve, whatever β followed. (Where β vanishes, at a rate of 1, that is so because only one answer is right:
# with several, the gradient prefers the likelier one, and nothing brings the others back. `settled_rates` finds the first resting place on the way from the reference; a rate
# of 1 says that there is none: the weight vanishes faster than it is needed, and nothing holds the policy back.)
#
# ### Several prompts
#
# With four prompts there is something to divide: who gets how many of the nats? Maximise the mean pass rate for a given
# mean KL. By Lagrange, the price of a nat has to be the same everywhere: **one β for all prompts**. Each KL is a convex
# function of its pass rate, so that is the only optimum, and a schedule that gives each prompt a weight of its own lies
# below. How far?

# %%
from policy_gradients.evaluation.frontiers import mean_kl, mean_kl_floor


def at_rest(weight, base, scope):
    """Pass rates of the prompts, each with a weight by itself, or all with one that follows their mean."""
    groups = [RATES] if scope == "batch mean" else [[p] for p in RATES]
    return np.concatenate([settled_rates(group, lambda q: weight(q, base)) for group in groups])


# %%
settled = {}
for name, weight in SCHEDULES.items():
    for scope in ["each prompt", "batch mean"][: 1 if name == "fixed" else 2]:
        found = [at_rest(weight, base, scope) for base in np.geomspace(0.03, 30, 60)]
        label = name if name == "fixed" else f"{name}, {scope}"
        settled[label] = [q for q in found if q.mean() < 0.999]

# %%
rows = []
for label, found in settled.items():
    q = min(found, key=lambda q: abs(q.mean() - 0.7))  # the base that comes nearest to 70 %
    kl, floor = mean_kl(q, RATES), mean_kl_floor(q.mean(), RATES)
    rows.append(
        [label, f"{q.mean():.1%}", " ".join(f"{x:.2f}" for x in q), kl, floor, f"{zero(kl / floor - 1, 1e3):.1%}"]
    )
Table(["β follows", "mean pass rate", "by prompt", "mean KL", "least KL for it", "paid too much"], rows)

# %%
from policy_gradients.course.open_figures import frontier_figure

curves = {
    label: ([mean_kl(q, RATES) for q in found], [q.mean() for q in found])
    for label, found in settled.items()
    if "batch" not in label
}
show(frontier_figure(RATES, curves))

# %% [markdown]
# - A weight that follows the **batch's mean**, as FG-ExPO's does, is one weight for all prompts at any moment. It rests
#   *on* the frontier, at a point that a fixed weight would have reached as well.
# - A weight for **each prompt** pays more for the same mean pass rate, whichever way it leans. *Accuracy* spends nats
#   on the hard prompts and saves them at the easy ones, where the next point would have been cheaper.
# - *Variance* has a catch besides. As a prompt is learnt its variance falls, and the weight with it: from some base
#   downwards nothing holds that prompt any more, and the points of its curve jump.
#
# Who values a hard prompt's success more than an easy one's may want just that. But that is another objective, with
# weights on the rewards, and it has a frontier of its own, on which again all share one β.
#
# ### The way there
#
# Where training rests is one thing, and nobody trains that long. Before it rests, a schedule *can* differ from all fixed
# weights. So: prompts that share parameters (three features for four prompts), a limited number of exact steps, ten
# random worlds. For each schedule and world we look for the fixed weight that reaches the same mean pass rate *in as
# many steps*, and compare the nats. First one world, step by step.

# %%
worlds = [reference(torch.Generator().manual_seed(seed)) for seed in range(10)]
log_ref, right = (torch.stack(column) for column in zip(*worlds, strict=True))  # (worlds, prompts, answers)
features = torch.randn(10, PROMPTS, 3, generator=torch.Generator().manual_seed(100), dtype=torch.float64)
features = features / features.norm(dim=-1, keepdim=True)

ARMS = {
    "accuracy, batch mean": lambda q: SCHEDULES["accuracy"](q.mean(-1, keepdim=True), 1.0) + 0 * q,
    "accuracy, each prompt": lambda q: SCHEDULES["accuracy"](q, 1.0),
    "variance, each prompt": lambda q: SCHEDULES["variance"](q, 0.35),
}
PATHS = {"no price at all": lambda q: 0 * q, "fixed, 0.25": lambda q: 0.25 + 0 * q, **ARMS}
paths = {}
for name, weight in PATHS.items():
    path = ascend(features[0], log_ref[0], right[0], weight, steps=400)[1:].mean(-1)
    paths[name] = path[path[:, 1] < 0.99].T.tolist()
show(frontier_figure(RATES, paths, lines=True))

# %% [markdown]
# On the way, everything pays more than the frontier, for even an exact gradient has its own idea of what to learn first: its
# length goes with p(1 − p), so the middling prompts come before the hard ones, and what three features tie together moves
# together. A fixed price keeps the path nearer to the frontier than none. Now the comparison at equal pass rate, world by world.


# %%
def fixed_that_reaches(target, steps):
    """KL, (worlds,), of the fixed weight with which so many steps end at the mean pass rate `target`, (worlds,)."""
    low, high = torch.full_like(target, 1e-3).log(), torch.full_like(target, 10.0).log()
    for _ in range(25):
        middle = (low + high) / 2
        beta = middle.exp().unsqueeze(-1)
        kl, passing = ascend(features, log_ref, right, lambda q: beta + 0 * q, steps)[-1].mean(-1)  # noqa: B023
        low, high = torch.where(passing > target, middle, low), torch.where(passing > target, high, middle)
    assert (passing - target).abs().max() < 1e-5
    return kl


# %%
saved = {}
for steps in (100, 400):
    for name, weight in ARMS.items():
        kl, passing = ascend(features, log_ref, right, weight, steps)[-1].mean(-1)
        saved[name, steps] = (fixed_that_reaches(passing, steps) - kl, passing, kl)

# %% [markdown]
# Each world is a pair: schedule and fixed weight, same reference, same steps. Notebook 08's tools judge the pairs. Before
# the numbers, the rule: a difference of less than **0.01 nats** does not matter, and all six questions count in the
# correction.

# %%
from policy_gradients.studies.analysis import bootstrap_interval, holm, sign_flip_p_value, verdict

corrected = holm([sign_flip_p_value(nats.tolist()) for nats, _, _ in saved.values()])
rows = []
for ((name, steps), (nats, passing, kl)), p in zip(saved.items(), corrected, strict=True):
    low, high = bootstrap_interval(nats.numpy())
    difference = f"{nats.mean():+.4f} [{low:+.4f}, {high:+.4f}]"
    said = verdict(nats.mean().item(), (low, high), p, smallest=0.01)
    rows.append([name, steps, f"{passing.mean():.0%}", kl.mean().item(), difference, p, said])
Table(["β follows", "steps", "pass rate", "KL", "nats saved [95 %]", "p, corrected", "saves nats?"], rows)

# %% [markdown]
# - A weight for **each prompt** pays more on the way, too, at both lengths.
# - A weight that follows the **batch's mean** is a schedule in time, and nothing forbids it to win. "Holds" means that what
#   it saves is no chance; the interval beside it says that it is far below 0.01 nats. "Undecided" hangs on one
#   world of the ten, which saves 0.04 nats; the others save next to nothing. (To add worlds now, until a word changes, would be what notebook 08 warns of.)
#
# These are small worlds of four prompts, random features, plain gradient steps. What they show is that a schedule for the
# batch is a question of optimisation, to be measured, and one for each prompt a loss that can be computed.
#
# ### A falsifier that falsifies nothing
#
# The page offers one for its constraint: "treat the falsifier as any prompt where the KL-constrained policy yields a lower
# reward than GRPO". Suppose both policies are *equal*, and are judged by samples.

# %%
ask("09: a falsifier")

# %% [markdown]
# **Exercise: A falsifier that fires at nothing** (★★, 10 min). One prompt first, then any of them.


# %%
def fires_at_nothing(q, samples, prompts):
    """Two equal policies pass with probability q at each of so many prompts; all samples are independent. How likely is
    the first one's sampled pass rate below the second one's at one prompt at least?"""
    return ...  # your code here


# %%
fires_at_nothing = check(fires_at_nothing)
# hint(fires_at_nothing)  # without the #: a hint, and the next one each time
# solution(fires_at_nothing)

# %%
grid = [(samples, prompts) for samples in (8, 64, 512) for prompts in (1, 10, 100)]
rows = [
    [samples, prompts, *(f"{fires_at_nothing(q, samples, prompts):.1%}" for q in (0.6, 0.95))]
    for samples, prompts in grid
]
Table(["samples a prompt", "prompts", "fires, at a pass rate of 60 %", "at 95 %"], rows)

# %% [markdown]
# With a hundred prompts it fires nearly always, though there is nothing to be found, and more samples make it *worse*: they
# break ties. And if both policies are measured without any noise, at their optima?

# %%
rows = [[beta, *(f"{optimal_rate(p, beta) - 1:+.2%}" for p in RATES)] for beta in (0.5, 0.25, 0.1)]
Table(["β", *(f"against no price, p = {p}" for p in RATES)], rows)

# %% [markdown]
# Then it fires at *every* prompt, for every β above 0: a constraint can only lower the optimum of what is constrained. A
# falsifier that fires when the policies are equal, and again when each does what it should, tests nothing. A better one, in
# the form of the study above:
#
# > *The schedule is refuted if, over paired runs, it does not save at least so many nats (declared before) against the
# > best fixed weight at equal mean pass rate; exact paired test, corrected for all schedules tried.*
#
# **Verdict on question 1.** *For 0/1 rewards and a policy that is free to reach its optimum, no schedule of β ends above the
# frontier of mean pass rate against mean KL that fixed weights reach: one for the whole batch, if it does not vanish, ends on
# it, one for each prompt below it. On the way there a batch-wide schedule may gain or lose, and has to show it in nats at equal pass rate; ours gained
# less than matters in a short training, and in a longer one ten worlds did not decide.*
#
# ## 2. Who may be compared with whom?
#
# "Does standardizing rewards across prompt clusters retain the variance reduction benefits, or does it introduce bias because
# some prompts are inherently easier?" asks the page. (It says that GRPO assumes a batch to share one prompt. A *group* shares
# it; a batch holds many groups.) Notebook 05 compared groups with the whole batch. Here is everything between.
#
# Four prompts, which pass with 5, 20, 60 and 90 %; six answers each, four completions of each prompt. An advantage hangs on
# the rewards alone, so the 2¹⁶ patterns of rewards give bias and variance exactly (`reward_moments`).

# %%
from policy_gradients.oracle.exact import Oracle
from policy_gradients.oracle.outcomes import reward_moments
from policy_gradients.worlds.small import token_tree

PASSING, G = torch.tensor([0.05, 0.2, 0.6, 0.9], dtype=torch.float64), 4
logits = torch.zeros(4, ANSWERS, dtype=torch.float64)
logits[:, 0] = (PASSING / (1 - PASSING) * (ANSWERS - 1)).log()  # answer 0 is right
answer_tree = token_tree(ANSWERS, 1, lambda text: float(text[0] == 0), eos=False)
prompts = [
    Oracle(answer_tree, lambda t, k=k: t.view(4, ANSWERS)[k : k + 1].log_softmax(-1), logits.flatten())
    for k in range(4)
]
exact = sum(prompt.gradient for prompt in prompts) / 4
places = [prompt.outcomes for prompt in prompts for _ in range(G)]
print("pass rates:", [round(prompt.objective, 3) for prompt in prompts], "patterns of rewards:", 2 ** len(places))

# %% [markdown]
# Most ways to share a baseline are one function: the mean over the *others* that one is compared with.

# %% [markdown]
# **Exercise: Compared with whom?** (★★, 12 min). Groups, clusters and batches are only different peers.


# %%
def compared(rewards, peers):
    """Advantages, (..., n): each reward less the mean over its peers, without itself; who has none, over all others.
    rewards (..., n); peers truth values, (n, n) or (..., n, n): row i says with whom i is compared."""
    return ...  # your code here


# %%
compared = check(compared)
# hint(compared)  # without the #: a hint, and the next one each time
# solution(compared)

# %% [markdown]
# Difficulty is rarely known, so clusters have to be learnt. From the very rewards that are then compared: sort the four prompts
# by what was just seen, and call the lower half hard.

# %%
ask("09: learnt clusters")


# %%
def alike(labels):
    """Who has the label of whom, (..., n, n)."""
    return labels.unsqueeze(-1) == labels.unsqueeze(-2)


# %%
def halves(means):
    """0 for the lower half of the prompts and 1 for the upper one, (..., prompts); ties go by their order."""
    return (means + 1e-6 * torch.arange(4)).argsort(-1).argsort(-1) // 2


# %%
def learnt(rewards):
    """Clusters by the rewards of this batch."""
    means = rewards.view(-1, 4, G).mean(-1)
    return alike(halves(means).repeat_interleave(G, -1))


# %%
def learnt_without_me(rewards):
    """The same, but for each completion from the rewards of the *others*."""
    sums = rewards.view(-1, 1, 4, G).sum(-1).expand(-1, 4 * G, -1)  # as each completion sees the prompts
    own = torch.nn.functional.one_hot(PROMPT, 4).double()
    clusters = halves((sums - own * rewards.unsqueeze(-1)) / (G - own))
    mine = clusters.gather(-1, PROMPT.view(1, -1, 1).expand(len(clusters), -1, 1))
    return mine == clusters[..., PROMPT]


# %%
from policy_gradients.estimators.advantages import group_advantages

PROMPT = torch.arange(4).repeat_interleave(G)
GROUP, BATCH, GIVEN = alike(PROMPT), torch.ones(4 * G, 4 * G, dtype=torch.bool), alike(PROMPT // 2)


# %%
def in_groups(scale):
    return lambda r: group_advantages(r.view(-1, G), "mean", scale).view(r.shape)


# %%
WAYS = {
    "nobody: the reward itself": lambda r: r,
    "nobody, and paid 1 and 2": lambda r: r + 1,
    "group, with itself (Dr. GRPO)": in_groups("none"),
    "group, with itself, / std (GRPO)": in_groups("std"),
    "group, the others (RLOO)": lambda r: compared(r, GROUP),
    "batch, with itself, / std": lambda r: group_advantages(r, "mean", "std"),
    "batch, the others": lambda r: compared(r, BATCH),
    "half group, half batch, the others": lambda r: (compared(r, GROUP) + compared(r, BATCH)) / 2,
    "clusters given, the others": lambda r: compared(r, GIVEN),
    "clusters learnt, the others": lambda r: compared(r, learnt(r)),
    "clusters learnt without me, the others": lambda r: compared(r, learnt_without_me(r)),
}
moments = {name: reward_moments(way, places) for name, way in WAYS.items()}

# %%
rows = []
for name, m in moments.items():
    unbiased = m.bias(exact) < 1e-12
    rows.append([name, unbiased, zero(round(m.angle(exact), 4)), m.stretch(exact), m.noise])
Table(["compared with", "no bias", "angle (degrees)", "length", "noise (variance / length²)"], rows)


# %%
from policy_gradients.course.open_figures import noise_figure


def by_prompt(m):
    """Noise of each prompt's own part of the gradient."""
    variance, length = m.covariance.diag().view(4, ANSWERS).sum(1), m.mean.view(4, ANSWERS).norm(dim=1)
    return (variance / length.square()).tolist()


# %%
DRAWN = [name for name in WAYS if "the others" in name and "me" not in name]
show(noise_figure({name: by_prompt(moments[name]) for name in DRAWN}, PASSING.tolist()))

# %% [markdown]
# - **Compared with nobody** is the quietest here, since a reward of 0 leaves a failure alone. That is luck of the units: pay
#   1 and 2 in place of 0 and 1, and it is by far the noisiest (notebook 02). The other rows do not care.
# - **That prompts are not equally easy is no bias.** Whoever is compared with *others*, of any prompt, has the true gradient
#   on average, as long as it was settled before who they are. What a shared baseline does is
#   move noise: against the batch, a hard prompt's many failures all look bad, and each shakes another wrong answer. The
#   hardest prompt's gradient becomes three times as noisy, the easiest one's a sixth, and in this world there is less in all.
# - **A mean with oneself in it** shortens the gradient, by (n − 1)/n, in the same measure for all: no angle. **Dividing by a
#   group's std** turns it, because every prompt gets a factor of its own. (A batch's std is one number for all of them;
#   that it hangs on their rewards turns the mean by a fifth of a degree.)
# - **Learnt clusters** are biased: a completion has no part in its own mean, but its reward has a say in *who its peers are*.
#   Leave it out of that as well, and the bias is gone. In this world the bias is small, and such clusters gain
#   nothing over the plain group.
# - **The middle** is worth a look: half the group's mean, half the batch's, both without oneself. It is unbiased for any
#   fixed share, and noise is traded between hard and easy prompts.
#
# ### "Group advantages are biased"
#
# A paper says so in its title, and in its abstract how [3]: underestimated for hard prompts, overestimated for easy ones. (That it
# means groups that are not silent, we have from a summary.) What is true of it, with G = 4? The third column is about the
# *baseline*, among groups that are not silent. The next two are about the *gradient* of the prompt, from all groups, and from those alone that speak, as when a
# prompt is drawn again until its group does.

# %%
rows = []
for p, prompt in zip(PASSING.tolist(), prompts, strict=True):
    speaks = 1 - p**G - (1 - p) ** G
    m = reward_moments(lambda r: r - r.mean(-1, keepdim=True), [prompt.outcomes] * G)
    length = m.stretch(prompt.gradient)
    rows.append(
        [
            p,
            f"{speaks:.0%}",
            f"{(p - p**G) / speaks - p:+.3f}",
            length,
            length / speaks,
            m.angle(prompt.gradient) < 1e-4,
        ]
    )
Table(
    ["p", "groups that speak", "their mean reward, less p", "gradient, all groups", "only those", "same direction"],
    rows,
)

# %% [markdown]
# The paper's sign is right: where a hard prompt's group speaks, it has passed more often than the prompt does, so passing looks
# less of a feat than it is. But a gradient is a mean over all groups, and the silent ones count in it, with zero: together
# the length is (G − 1)/G at *every* difficulty. If a prompt is drawn again until its group speaks, its gradient is multiplied
# by 1 over the share that speaks: the hardest prompts are pulled *most*, and the easiest more than the middling ones. Where
# silent groups are replaced by *other* prompts, as in DAPO's dynamic sampling [7], a hard prompt gets into the batch more rarely, by
# just that share, and no prompt gains.
#
# ### Two turns, two agents
#
# A first agent picks one of two plans, a second one carries it out in one of two ways, and both are paid the same 0/1 reward.
# Four conversations. Who may share a baseline?

# %%
from policy_gradients.estimators.scores import score_gradient
from policy_gradients.worlds.tabular import softmax_policy

CHANCES = {(0, 0): 0.9, (0, 1): 0.5, (1, 0): 0.3, (1, 1): 0.1}
talk = token_tree(2, 2, CHANCES.get, eos=False, noise="bernoulli")
agents = Oracle(talk, softmax_policy(talk).table, torch.tensor([-0.5, 0.5, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64))


# %%
def turns(first, second):
    """A gradient in which each turn has peers of its own: all four conversations, or those with the same plan."""

    def estimator(batch):
        peers = {"all": torch.ones(4, 4, dtype=torch.bool), "same plan": alike(batch.actions[..., 0])}
        advantages = [compared(batch.returns, peers[who]) for who in (first, second)]
        return score_gradient(batch.scores, torch.stack(advantages, dim=-1))

    return estimator


# %%
rows = []
for first, second in (("all", "all"), ("all", "same plan"), ("same plan", "same plan")):
    m = agents.moments(turns(first, second), group_size=4)
    told = []
    for part in (slice(0, 2), slice(2, 6)):  # the parameters of each agent
        told += [
            m.mean[part] @ agents.gradient[part] / agents.gradient[part].square().sum(),
            m.covariance.diag()[part].sum(),
        ]
    scale = agents.gradient.square().sum()
    rows.append([first, second, told[0].item(), told[2].item(), (told[1] / scale).item(), (told[3] / scale).item()])
header = [
    "first agent's peers",
    "second agent's",
    "first's gradient",
    "second's",
    "noise of the first",
    "of the second",
]
Table(header, rows)

# %% [markdown]
# A gradient of 1 is the whole of it; noise is in units of ‖∇J‖². The second agent may be compared with those that were given the same plan: for it, the plan is
# part of the prompt. The first one may not: the plan was its *action*, and compared with its own choice it has no merit
# left. (What remains of it comes from conversations that were alone with their plan.) Who comes later *may* be compared more
# narrowly, which with four conversations is no quieter, for fewer are left to compare with; never by what one did oneself.
#
# **Verdict on question 2.** *Baselines may be shared between prompts, clusters and turns without bias as long as neither a
# sample's own reward nor its own action enters its baseline or the choice of its peers (a shared scale is another matter);
# different difficulties are no bias, and a baseline that is shared by all moves variance from the easy prompts to the hard ones.*

# %% [markdown]
# ## 3. Retrieval as an action
#
# A policy that reads before it writes picks a document d and then an answer y: π(d) π(y|d). "Investigating whether the policy
# gradient update can be decomposed into retrieval-dependent and retrieval-independent components" is the page's last question.
# It can, in one line, for the logarithm of a product is a sum. With $V(d)=\sum_y \pi(y|d)\,r(d,y)$:
#
# $$\nabla J \;=\; \underbrace{\sum_d \nabla\pi(d)\,V(d)}_{\text{which document}} \;+\; \underbrace{\sum_d \pi(d)\,\nabla V(d)}_{\text{what to make of it}}$$
#
# It is two turns of two agents, and picking is an action like any other. (That a retriever which samples can be trained so is
# the starting point of Zhang et al. [5], by their abstract.)

# %% [markdown]
# **Exercise: Two terms** (★★, 12 min). Both policies are softmaxes of their own logits.


# %%
def two_terms(pi_d, pi_y, rewards):
    """Gradients of J by the logits of the documents, (D,), and by those of the answers, (D, Y), as a pair.
    pi_d (D,) are the probabilities of documents, pi_y (D, Y) of answers given each, rewards (D, Y)."""
    return ...  # your code here


# %%
two_terms = check(two_terms)
# hint(two_terms)  # without the #: a hint, and the next one each time
# solution(two_terms)

# %% [markdown]
# Six documents, of which the retriever likes the first most; the last one is what helps. A document and an answer are a text
# of two tokens, so the course's token tree is the whole world, and its oracle knows ∇J without having heard of retrieval.

# %%
LIKED = torch.tensor([0.30, 0.25, 0.18, 0.12, 0.10, 0.05], dtype=torch.float64)  # π(d)
HELPS = torch.tensor([0.10, 0.15, 0.30, 0.05, 0.20, 0.85], dtype=torch.float64)  # V(d): how often the answer is right
D = Y = len(LIKED)
answers = torch.cat([HELPS[:, None], ((1 - HELPS) / (Y - 1))[:, None].expand(-1, Y - 1)], dim=1)  # answer 0 is right
rewards = torch.zeros(D, Y, dtype=torch.float64)
rewards[:, 0] = 1
start = torch.cat([LIKED[None], answers]).log().flatten()
reading = token_tree(Y, 2, lambda text: float(text[1] == 0), eos=False)
library = Oracle(reading, lambda t: t.view(1 + D, Y).log_softmax(-1), start)

by_document, by_answer = two_terms(LIKED, answers, rewards)
off = (torch.cat([by_document[None], by_answer]).flatten() - library.gradient).abs().max()
print(f"J = {library.objective:.3f}; two terms against the oracle, at most {off:.0e} apart")
print(f"length of the first term {by_document.norm():.4f}, of the second {by_answer.norm():.4f}")

# %% [markdown]
# Here each term has parameters of its own. Where retriever and generator share an encoder, both terms fall on the same parameters,
# and leaving one out turns the gradient. Two towers of random features, shared, in eight parameters:

# %%
from policy_gradients.oracle.retrieval import retrieval_terms

mixing = torch.randn(1 + D, Y, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
shared = Oracle(reading, lambda t: (start.view(1 + D, Y) + mixing @ t).log_softmax(-1), torch.zeros(8))
terms = retrieval_terms(lambda t: shared.policy(t)[0], lambda t: shared.policy(t)[1:], rewards, shared.theta)
print(
    f"sum of the terms against the oracle: {(terms.retrieval + terms.generation - shared.gradient).abs().max():.0e} apart"
)
for name, term in (("retrieval", terms.retrieval), ("generation", terms.generation)):
    cosine = torch.nn.functional.cosine_similarity(term, shared.gradient, dim=0)
    print(f"the {name} term alone: {torch.rad2deg(cosine.arccos()):.0f}° from ∇J")

# %% [markdown]
# ### What is lost when one is left out
#
# With parameters of their own, leaving the generator's term out is no bias but a choice: the generator stays as it is. A thousand
# exact steps:


# %%
def taught(which, steps=1000, rate=2.0):
    """J on the way."""
    table, path = start.view(1 + D, Y).clone(), []
    for _ in range(steps + 1):
        pi = table.softmax(-1)
        path.append((pi[0] @ (pi[1:] * rewards).sum(1)).item())
        first, second = two_terms(pi[0], pi[1:], rewards)
        table[0] += rate * first * ("retriever" in which)
        table[1:] += rate * second * ("generator" in which)
    return path


# %%
rows = []
for which in ("retriever", "generator", "retriever and generator"):
    path = taught(which)
    rows.append([which, *(f"{path[step]:.1%}" for step in (0, 10, 30, 100, 1000))])
Table(["trained, on the reward alone", "pass rate", "10 steps", "30 steps", "100 steps", "1000 steps"], rows)

# %% [markdown]
# The retriever alone learns from nothing but the reward, with no label of what is relevant, and its limit is known before: max V(d),
# what the generator makes of the best document. It cannot exceed what the generator can already do with some document.
# And *some* documents have to earn more than others. A generator that ignores what it reads has one V for all:

# %%
deaf = answers.mean(0).expand(D, -1)  # the same answers, whatever was read
print(f"gradient of the retriever: {two_terms(LIKED, deaf, rewards)[0].norm():.0e}")

# %% [markdown]
# Then there is nothing to learn about retrieval, and the generator has to learn to read first.
#
#
# ### What it costs
#
# "… without doubling compute?" Reading is what costs. A document is long, and answers are short; and a document that has been
# read (its keys and values kept) can be answered to G times. M documents with G answers each, with two spreads, one
# between documents and one within: the variance is (between + within/G)/M.

# %%
from policy_gradients.oracle.retrieval import retrieval_spreads

policies = (lambda t: t[:Y].log_softmax(-1), lambda t: t[Y:].view(D, Y).log_softmax(-1))
BASELINES = {
    "none": (0.0, None),
    "J for both": (library.objective, None),
    "J, and V(d) for answers": (library.objective, HELPS),
}
rows = []
for name, (first, second) in BASELINES.items():
    spreads = retrieval_spreads(*policies, rewards, start, first, second)
    rows.append(
        [
            name,
            *(
                x / term.square().sum().item()
                for s, term in zip(spreads, (by_document, by_answer), strict=False)
                for x in (s.between, s.within)
            ),
        ]
    )
header = ["baseline", "retrieval: between", "within", "generation: between", "within"]
Table(header, rows)

# %% [markdown]
# (In units of each term's squared length; one document, one answer.) For both, what one answer to a document says is noisy beside
# how documents differ: *within* is the larger part, and it is the part that G divides. (V(d) is the natural baseline for the
# answers to d, and not the quietest: the one that is weighs each return by its squared score, notebook 02.)

# %% [markdown]
# **Exercise: How many answers a document is worth** (★★★, 12 min). For a given number of tokens, more answers mean fewer
# documents.


# %%
def best_group(between, within, document_tokens, answer_tokens):
    """The whole number G ≥ 1 of answers to each document with the least variance for the tokens, a document being read
    once: of M documents, the variance is (between + within / G) / M, and the cost M (L_d + G L_y) tokens."""
    return ...  # your code here


# %%
best_group = check(best_group)
# hint(best_group)  # without the #: a hint, and the next one each time
# solution(best_group)

# %%
retrieval, generation, both = retrieval_spreads(*policies, rewards, start, library.objective)
rows = []
for document, answer in ((1000, 50), (300, 100), (100, 200)):
    g = best_group(both.between, both.within, document, answer)
    tokens, less = (document + g * answer) / (document + answer), both.variance() / both.variance(1, g)
    rows.append([document, answer, g, f"{tokens:.2f}", f"{less:.2f}", f"{tokens / less:.2f}"])
header = ["tokens of a document", "of an answer", "best G", "times the tokens", "times less variance"]
Table([*header, "variance for equal tokens"], rows)

# %%
from policy_gradients.course.open_figures import tokens_figure

show(tokens_figure(both, [(1000, 50), (300, 100), (100, 200)]))

# %% [markdown]
# Where documents are long and answers short, several answers to one document take a good part of the variance away for the same
# tokens. Where a document is read anew for each answer (dotted), one answer to each of many documents is always better:
# the saving is the kept prefix, not the group.
#
# ### Or read several, and sample none?
#
# Many systems take the K likeliest documents and sum over them, with probabilities renormalised. Then there is no noise
# of picking. What is there instead? (That such gradients are "biased or high-variance" is said in the abstract of [4].) One thing
# first: V(d) is had without sampling an answer only if the right one is *known*, and can be scored under each document. A
# checker alone does not know it. The comparison grants the sum its V(d).


# %%
def top_k(theta, k):
    """J of a retriever cut to its k likeliest documents."""
    table = theta.view(1 + D, Y)
    kept = table[0].argsort(descending=True)[:k]
    values = (table[1:].softmax(-1) * rewards).sum(1)
    return table[0][kept].softmax(-1) @ values[kept]


# %%
rows = []
for k in range(1, D + 1):
    first, length = by_autograd(lambda t: top_k(t, k), start)[:Y], by_document.norm()  # noqa: B023
    bias = zero(((first - by_document).norm() / length).item() ** 2)
    angle = torch.rad2deg((first @ by_document / (first.norm() * length)).clamp(-1, 1).arccos()).item()
    tokens, group = k * (300 + 100), best_group(retrieval.between, retrieval.within, 300, 100)
    sampled = retrieval.variance(tokens / (300 + group * 100), group) / length.item() ** 2
    until = f"{sampled / bias:.0f}" if bias else "–"
    rows.append([k, f"{angle:.0f}°" if first.norm() > 1e-12 else "no gradient", bias, tokens, sampled, until])
header = ["K", "angle to ∇J", "bias² / length²", "tokens read", "sampled with as many: variance"]
Table([*header, "batches until it is nearer"], rows)

# %% [markdown]
# One batch of K documents, summed over, is nearer to the truth than one batch of samples that cost as much: sampling is very
# noisy. But a variance is divided by the number of batches, and a bias stays. What a document outside the K would have earned
# is in no batch. What becomes of it in training?

# %%
ask("09: two documents")

# %%
rows = []
for k in (1, 2, 3, 6):
    theta = start.clone()
    for _ in range(1000):
        step = by_autograd(lambda t: top_k(t, k), theta)  # noqa: B023
        theta[:Y] += 2.0 * step[:Y]  # the retriever alone
    pi = theta[:Y].softmax(-1)
    rows.append([k, f"{pi @ HELPS:.1%}", " ".join(f"{x:.2f}" for x in pi.tolist())])
Table(["K", "pass rate after 1000 steps", "π(d), in the order of the start"], rows)

# %% [markdown]
# With two, a document that is pushed down makes room for the next. After a thousand steps only the third one has been found, and
# the sixth has not been read once. With three it has, by the same promotion, earlier. (With two it is read for the first time at
# step 1377, and then learnt.) Until a document is promoted, nothing in any batch says what it would have earned. Sampling reads
# every document from the start, as often as π(d) says, and that is what its noise buys.

# %% [markdown]
# ### An encoder, 144 articles, and a reader that is right or wrong
#
# The table above is made up. Here is one that was measured. The documents are the openings of 144 Wikipedia articles, the
# generator is SmolLM2-135M-Instruct, and a question is five words that stand before a year in one of them. With an article before
# the question, the reader goes on; if it goes on with that year, the reward is 1, else 0. The retriever is a sentence encoder,
# all-MiniLM-L6-v2, that stays as it is, and one part is learnt, s or M: π(d|x) ∝ exp(s · ⟨M e(x), e(d)⟩). (The table was made
# by `python -m policy_gradients.evaluation.reading --output-dir DIR`, in 40 minutes of a busy core.)

# %%
from policy_gradients.evaluation.reading import shipped_reading

reading = shipped_reading()
V = reading.values  # (questions, articles): how often the reader is right with this article; every pair was read once
own, others = V.diagonal(), (V.sum(1) - V.diagonal()) / (V.shape[1] - 1)
for asked in reading.questions[3:6]:
    print(f"{asked.title}: … {asked.words} → {asked.year}")
right = {"its own": own, "another": others, "the best of all": V.max(1).values, "none": reading.unread}
Table(["the reader has before it", "right"], [[name, f"{rates.mean():.1%}"] for name, rates in right.items()])

# %% [markdown]
# The reader is not deaf: what it has before it decides. Two thirds of the questions are trained on, by REINFORCE: eight articles
# are drawn for a question, each is read, and eight bits come back, less the mean of the seven others. No label says which
# article a question is from. The last third asks about articles of which no question was trained.

# %%
ask("09: unseen articles")

# %%
from policy_gradients.evaluation.retriever import train_retriever

trained = torch.arange(len(V)) % 3 < 2
RATES = {"sharpness": 0.1, "weights": 0.03, "matrix": 0.001}  # of Adam: what is learnt, and how fast
lessons = {
    learnt: [train_retriever(reading, trained, learnt, learning_rate=rate, seed=seed) for seed in range(3)]
    for learnt, rate in RATES.items()
}
rows = []
for learnt, runs in lessons.items():
    before, after = runs[0].pass_rates[0], torch.stack([run.pass_rates[-1] for run in runs])
    numbers = runs[0].retriever.theta.numel()
    spread = [f"{x.mean():.1%} ({x.min():.1%} to {x.max():.1%})" for x in after.T]
    rows.append([learnt, f"{numbers:,}", f"{before[0]:.1%}", spread[0], f"{before[1]:.1%}", spread[1]])
Table(["learnt", "numbers", "trained on: before", "after (three seeds)", "other articles: before", "after"], rows)

# %%
from policy_gradients.course.open_figures import lessons_figure

show(lessons_figure({learnt: [run.pass_rates.numpy() for run in runs] for learnt, runs in lessons.items()}))

# %% [markdown]
# **The bit alone trains a retriever.** On its own questions the matrix goes from 23 to 47 %, where the best article for
# each would give 56. **And it learns them by heart**: about other articles it falls from 27 to 19 %, from the first
# steps on. One number does better there. The sharpness ends where the retriever always takes the likeliest article, at
# 33 and 37 %, and its gain carries over whole: the encoder's order of articles was good, and its choice too undecided.
# The 384 weights lie between: 37 % where they were trained, 31 % elsewhere.
#
# Is that the noise of bits? The same matrix by the exact gradient of J, with every V known; and by labels: the log-probability
# of the article that the question is from, for which no reader is asked. And with a price on the divergence from the untouched
# retriever.

# %%
WAYS = {
    "bits": {},
    "J itself": {"signal": "value"},
    "labels": {"signal": "label"},
    "bits, 0.3 a nat": {"kl_weight": 0.3},
}
rows = []
for name, way in WAYS.items():
    run = train_retriever(reading, trained, "matrix", **way)
    best = run.pass_rates[:, 1].argmax().item()
    rows.append([name, f"{run.reads:,}", *(f"{rate:.1%}" for rate in run.pass_rates[-1].tolist()), best])
Table(["matrix, trained by", "articles read", "trained on", "other articles", "best of others at step"], rows)

# %% [markdown]
# It is not the noise of bits. By J itself and by labels the matrix ends as low on the other articles, at 18 and 20 %,
# and higher on its own, at 55 and 56. What decides is how much is learnt from how little, 147,456 numbers from 96
# questions. A price on divergence holds it back on both sides. A retriever that is to serve articles it was not trained
# on needs fewer numbers or more questions. How many, a table of 144 cannot say.
#
# Count what was read, too. All pairs once are 20,736 readings, and 200 steps of bits took 25,600. As long as the reader
# stays as it is, V can be *known* for less than its bits cost. Bits are for readers that learn meanwhile, and for
# libraries too large to be read.

# %% [markdown]
# **Verdict on question 3.** *The gradient splits exactly into a term for the retriever and one for the generator; the retriever
# can be trained on the reward alone wherever documents differ in what the generator makes of them, up to the best of them (on
# a measured table, too, where all but its sharpness is learnt by heart); and
# with the document's keys and values kept, and documents long beside answers, several answers to each cost little and lower the
# variance, by how much a formula says.*

# %% [markdown]
# ## 4. A reward that is learnt
#
# Nobody can write down what makes an answer good, but people can say which of two is better. So RLHF learns the reward
# from such preferences (Christiano et al., Ouyang et al.: [bibliography](../docs/bibliography.md#language-models)), and
# then climbs what it learnt. A learnt reward is a *proxy*. **How far may one follow it?** Here the truth is known, so
# every answer is a number.
#
# Said before the draws below, with thresholds set by pilots on other ones:
#
# - *The gold falls because the preferences were few*: refuted if it falls with all preferences in the world, too.
# - *Several reward models are a brake, by their mean or by their least*: refuted, for each, if at 2 nats forty paired
#   draws show a gain below 0.05 of gold over a single model, or none at 5 % after correction.
# - *A price on KL keeps the gold*: refuted if, at 2 nats, a gradient without any price has as much of it.
#
# ### A world of 364 answers
#
# An answer has up to five words: facts, hedges and filler. What it is worth, its *gold* score, is our secret. A third
# fact is one too many, and who is cut off before the end loses.

# %%
FACT, HEDGE, FILLER, END = range(4)


# %%
def gold_score(text):
    """What an answer is worth, in nats of a preference."""
    words = [token for token in text if token != END]
    facts, hedges = words.count(FACT), words.count(HEDGE)
    hedged = (HEDGE, FACT) in itertools.pairwise(words)
    worth = 1.5 * min(facts, 2) - max(facts - 2, 0) + 0.7 * hedged
    return worth - 0.4 * max(hedges - 1, 0) - 0.3 * words.count(FILLER) - 0.8 * (text[-1] != END)


# %%
def what_is_seen(text):
    """All that the reward model sees: three counts, whose sum is the length, and whether there is an end."""
    return [text.count(FACT), text.count(HEDGE), text.count(FILLER), text[-1] == END]


# %%
from policy_gradients.oracle.completions import completions

first = torch.tensor([0.25, 0.35, 0.35, 0.05], dtype=torch.float64)  # the reference: by the last word alone
after = torch.tensor([[0.15, 0.2, 0.25, 0.4], [0.3, 0.1, 0.3, 0.3], [0.2, 0.2, 0.3, 0.3]], dtype=torch.float64)
writing = token_tree(4, 5, lambda text: 0.0)
ref_table = torch.stack([after[prefix[-1]] if prefix else first for prefix in writing.prefixes]).log()
answers = completions(writing)
log_answer, gold = answers.log_probs(ref_table), answers.each(gold_score)
ref = log_answer.exp()
seen = torch.tensor([[float(x) for x in what_is_seen(text)] for text in answers.texts], dtype=torch.float64)
length = seen[:, :3].sum(1)
print(f"{len(answers)} answers, probabilities sum to {ref.sum():.12f}")
print(f"gold: reference {ref @ gold:.2f}, best answer {gold.max():.2f}; mean length {ref @ length:.2f} words")

# %% [markdown]
# ### From preferences to a reward model
#
# A labeller sees two answers of the reference, and prefers the first with probability σ(gold₁ − gold₂): Bradley and
# Terry's model, so near pairs are often labelled the wrong way. The reward model is linear in the four numbers that it
# sees. It has never heard of a third fact being too much, or of what stands before what: it is **misspecified**, on
# purpose.

# %% [markdown]
# **Exercise: What a pair teaches** (★★, 10 min). The model's chance of a label is σ(r_preferred − r_other), with r =
# features · weights.


# %%
def preference_gradient(weights, preferred, other):
    """Gradient of the mean log-likelihood of preferences by the weights of a linear reward model, (features,).
    weights (features,); preferred and other (pairs, features): what the model sees of both answers of each pair."""
    return ...  # your code here


# %%
preference_gradient = check(preference_gradient)
# hint(preference_gradient)  # without the #: a hint, and the next one each time
# solution(preference_gradient)

# %%
from policy_gradients.oracle.preferences import all_preferences, count_wins, draw_preferences, fit_reward, judged

RIDGE, LABELS = 0.1, 300
chosen, rejected = draw_preferences(ref, gold, LABELS, torch.Generator().manual_seed(100))
weights = fit_reward(seen, count_wins(chosen, rejected, len(answers)), RIDGE)
proxy = seen @ weights
left = preference_gradient(weights, seen[chosen], seen[rejected]) - RIDGE / LABELS * weights
print("weights of fact, hedge, filler, end:", [round(x, 2) for x in weights.tolist()])
print(f"gradient at the fit, less the ridge's: {left.abs().max():.0e}")

# %% [markdown]
# How good is it? On *all* pairs that two answers can make, exactly, and beside the gold itself, which no model can
# beat, for labels are noisy. The last two rows are of pairs from another policy: the optimum for this proxy at β = 0.25,
# eight nats away.

# %%
from policy_gradients.oracle.tilting import kl_divergence, tilted

farther = tilted(log_answer, proxy, 0.25).exp()
rows = []
for name, scores, chance in (
    ("gold itself", gold, ref),
    ("reward model", proxy, ref),
    ("reward model", proxy, farther),
    ("gold itself", gold, farther),
):
    found = judged(scores, all_preferences(chance, gold))
    where = "the reference" if chance is ref else "the optimum at β = 0.25"
    rows.append([name, where, f"{found.accuracy:.1%}", found.calibration_error])
Table(["judge", "pairs from", "agrees with the labels", "calibration error"], rows)

# %% [markdown]
# On the pairs that it was fitted on, and their like, the model is nearly as good as the gold, and well calibrated. That
# is what a held-out accuracy would show. Where the policy is *going*, it is neither.
#
# ### Climbing it
#
# The best policy for the proxy at a price β is known, as in §1: the reference, times $e^{r/\beta}$. First, that a
# policy gradient arrives there. The policy has a row of logits for each of the 121 prefixes; the gradient is exact.

# %%
BETA = 0.5
best = tilted(log_answer, proxy, BETA)


# %%
def priced(table, scores, beta):
    """E[score] − β·KL of a policy given by its logits."""
    log_pi = answers.log_probs(table.view(answers.shape).log_softmax(-1))
    return (log_pi.exp() * (scores - beta * (log_pi - log_answer))).sum()


# %%
def climb(scores, beta, steps, rate=1.0, natural=False):
    """log π of every answer on the way, (steps + 1, answers)."""
    table, path = ref_table.clone(), [log_answer]
    for _ in range(steps):
        step = by_autograd(lambda t: priced(t, scores, beta), table.flatten()).view_as(table)
        table += rate * (step / answers.visits(path[-1].exp()) if natural else step)
        path.append(answers.log_probs(table.log_softmax(-1)))
    return torch.stack(path)


# %%
most, rows = priced(answers.table(best.exp()), proxy, BETA), []
for name, natural, steps in (("gradient", False, 300), ("natural gradient", True, 40)):
    path = climb(proxy, BETA, steps, natural=natural)
    for step in sorted({0, 10, 40, steps}):
        short = most - priced(answers.table(path[step].exp()), proxy, BETA)
        assert abs(short - BETA * kl_divergence(path[step], best)) < 1e-10
        rows.append([name, step, (path[step].exp() @ proxy).item(), f"{zero(short.item(), 10):.1e}"])
print(f"the optimum earns {best.exp() @ proxy:.4f} of the proxy")
Table(["steps by", "number", "proxy", "E[proxy] − β·KL, below its maximum"], rows)

# %% [markdown]
# The natural gradient is there within 40 steps, and the plain one is on its way. (What is missing to the maximum is exactly β·KL(π ‖ optimum), which the cell asserts. The plain gradient
# visits rare prefixes rarely, and is slow there: 0.1 short after 300 steps.) So the optimum may stand for
# the trained policy, and one β after the other for a price that falls. Beside it, *best of n*: draw n answers, keep the
# one that the proxy likes best.

# %% [markdown]
# **Exercise: Best of n, exactly** (★★, 12 min). No sampling: with which probability is each answer the one that is
# kept?


# %%
def best_of_n(probabilities, scores, n):
    """Probabilities (m,) of each answer to be the one kept: n are drawn from `probabilities` (m,), and the one with the
    highest of `scores` (m,) is kept. Of the draws that share the highest score, each is kept with the same chance."""
    return ...  # your code here


# %%
best_of_n = check(best_of_n)
# hint(best_of_n)  # without the #: a hint, and the next one each time
# solution(best_of_n)

# %%
from policy_gradients.oracle.tilting import best_of_n_kl_bound

distinct = proxy + 1e-6 * torch.arange(len(proxy))  # the same order, and no two alike
even = torch.full((500,), 1 / 500, dtype=torch.float64)
rows = []
for n in (1, 2, 4, 16, 64, 256):
    kls = [kl_divergence(best_of_n(ref, scores, n).log(), log_answer).item() for scores in (proxy, distinct)]
    fine = best_of_n(even, torch.arange(500.0), n)
    bound = best_of_n_kl_bound(n)
    assert max(kls) <= bound + 1e-12
    rows.append([n, *map(zero, (*kls, kl_divergence(fine.log(), even.log()).item())), bound])
best_score = proxy >= proxy.max() - 1e-9
print(f"{len(proxy.round(decimals=9).unique())} different scores; the best has probability {ref[best_score].sum():.1e}")
Table(["n", "KL, exact", "without ties", "500 even answers, no ties", "log n − (n−1)/n"], rows)

# %% [markdown]
# The bound [9] is a bound, and holds with equality where no two samples tie: no equal scores, and no answer that is drawn
# twice. Here one of n draws repeats another soon, and the KL ends at −log of the best score's probability, while log n
# goes on.
#
# ### Gold and proxy

# %%
ask("09: enough preferences")

# %%
PRICES = (1e6, *np.geomspace(20, 0.05, 59))  # β, falling


# %%
def traced(policies, scores):
    """√KL to the reference, gold, and what the scores seem to gain, of each policy (…, answers) by its log π."""
    pi, kl = policies.exp(), kl_divergence(policies, log_answer)
    return kl.clamp(min=0).sqrt().numpy(), (pi @ gold).numpy(), (pi @ scores - ref @ scores).numpy()


# %%
def followed(scores):
    """The same on the way of a falling price."""
    return traced(torch.stack([tilted(log_answer, scores, beta) for beta in PRICES]), scores)


# %%
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096, 16384)
without_noise = seen @ fit_reward(seen, all_preferences(ref, gold))  # all preferences in the world
ways = {}
for name, scores in (("300 preferences", proxy), ("all preferences", without_noise)):
    ways[f"{name}, price on KL"] = followed(scores)
    ways[f"{name}, no price"] = traced(climb(scores, beta=0.0, steps=200), scores)
    ways[f"{name}, best of n"] = traced(torch.stack([best_of_n(ref, scores, n) for n in COUNTS]).log(), scores)
ways["the gold itself, price on KL"] = followed(gold)

# %%
from policy_gradients.course.proxy_figures import overoptimisation_figure

left_out = ("all preferences, no price", "all preferences, best of n")  # much like those of 300
show(overoptimisation_figure({name: way for name, way in ways.items() if name not in left_out}))

# %%
rows = []
for name, (root, true, seeming) in ways.items():
    top = true.argmax()
    at_two = np.interp(2.0, root**2, true)
    rows.append([name, true[0], true[top], root[top] ** 2, at_two, true[-1], seeming[top], seeming[-1]])
header = ["way", "gold, start", "highest", "at a KL of", "at 2 nats", "end", "proxy gained, at the highest gold", "end"]
Table(header, rows)

# %%
path = climb(
    proxy, beta=0.0, steps=200, rate=0.01, natural=True
)  # no price at all: 200 short steps are 2 units of "time"
print(f"natural gradient without a price, against the optimum at β = 1/2: KL {kl_divergence(path[-1], best):.1e}")

# %% [markdown]
# - The gold rises, and falls below where it began, while the proxy rises all the way. Gao et al. [8] measured this form
#   with reward models in place of people, and drew it against √KL, as here.
# - **It is not the noise.** With all preferences in the world the gold falls as low. The first claim is refuted: the
#   model extrapolates a slope ("facts are good") to answers of which the reference writes few. (That it *would* fall is
#   by construction: we hid from it what a third fact does. Where, and how far behind the gold's own curve, is not.)
# - **A price chooses a point**, as in §1. Without any, a natural gradient that is stopped walks the same curve, 1/β
#   being how far it went (last line). The plain gradient walks another one, and at equal KL has *more* gold: the priced
#   optimum has the most *proxy* for its nats, and that is not what we want most of. The third claim is refuted, too.
# - **Best of n** keeps still more, for it asks only who is first, and by how much is nothing to it. Its gold is highest
#   at n = 16, and falls from there as well. No way shows its own turning point: the proxy rises through all of them.
#
# ### Brakes
#
# An *ensemble*: five models, each fitted to a bootstrap of the same preferences, and as a reward their mean or their
# least. (Each less its own mean over the reference, for a reward model has no zero of its own.) Forty draws of
# preferences, each of them a pair, at a KL of 2 nats.

# %%
kinds, kind = seen.unique(dim=0, return_inverse=True)  # what looks alike to a model is one to it
print(f"{len(answers)} answers look like {len(kinds)}")


# %%
def three_rewards(seed, labels, members=5):
    """One model, and the mean and the least of five, of the same preferences: scores (answers,)."""
    generator = torch.Generator().manual_seed(seed)
    pair = [kind[i] for i in draw_preferences(ref, gold, labels, generator)]
    picks = [torch.arange(labels), *(torch.randint(labels, (labels,), generator=generator) for _ in range(members))]
    wins = [count_wins(*(side[i] for side in pair), len(kinds)) for i in picks]
    one, *several = [seen @ fit_reward(kinds, each, RIDGE) for each in wins]
    several = torch.stack([scores - ref @ scores for scores in several])
    return {"one": one, "mean": several.mean(0), "least": several.min(0).values}


# %%
from policy_gradients.oracle.tilting import tilted_to

golds = {}
for labels in (100, 300):
    for seed in range(200, 240):
        for name, scores in three_rewards(seed, labels).items():
            golds.setdefault((labels, name), []).append((tilted_to(log_answer, scores, 2.0).exp() @ gold).item())
golds = {key: np.array(found) for key, found in golds.items()}

# %%
gains = {(n, name): golds[n, name] - golds[n, "one"] for n in (100, 300) for name in ("mean", "least")}
corrected = holm([sign_flip_p_value(gain.tolist()) for gain in gains.values()])
rows = []
for ((labels, name), gain), p in zip(gains.items(), corrected, strict=True):
    low, high = bootstrap_interval(gain)
    said = verdict(gain.mean(), (low, high), p, smallest=0.05)
    difference = f"{gain.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
    rows.append([labels, name, golds[labels, "one"].mean(), difference, p, said])
Table(["preferences", "of five", "gold of one model", "gained [95 %]", "p, corrected", "a brake?"], rows)

# %% [markdown]
# The mean of five is no brake: models that are linear, with one blind spot, have a mean with the same blind spot, and
# what a bootstrap adds is noise. The least of five is one, a small one, and a larger one where preferences are few: it
# distrusts what they disagree about. What they agree about and are all wrong in, it believes. So of the second claim
# one half is refuted.
#
# ### Who likes long answers
#
# A labeller who adds λ for each word: σ(gold₁ − gold₂ + λ (length₁ − length₂)). No noise of few draws, all preferences.

# %%
rows = []
for bias in (0.0, 0.25, 0.5, 1.0):
    scores = seen @ fit_reward(seen, all_preferences(ref, gold + bias * length))
    told = judged(scores, all_preferences(ref, gold + bias * length)).accuracy
    path, pi = followed(scores), tilted_to(log_answer, scores, 2.0).exp()
    rows.append(
        [
            bias,
            f"{told:.1%}",
            path[1].max(),
            (pi @ gold).item(),
            (pi @ scores - ref @ scores).item(),
            (pi @ length).item(),
        ]
    )
Table(["λ", "agrees with its labels", "highest gold", "gold at 2 nats", "proxy gained", "words"], rows)

# %% [markdown]
# This proxy looks *better* by all that can be seen from inside: it agrees more often with its labels, and gains more.
# The gold at equal KL falls with each step of λ, and the answers grow longer.
#
# **Verdict on question 4.** *A learnt reward may be followed about as far as the pairs it was fitted on reach: beyond,
# in a world where it cannot see all that counts, gold falls while proxy rises, with any number of preferences; a price
# on KL, or stopping a natural gradient, only chooses how far; which way one climbs matters, too; and the least of several
# models helps with what they disagree about, never with what none of them sees.*
#
# What this does not show: where a language model's reward model has its blind spots. Here we chose them, and a reward
# that sees all, fitted to all preferences, *is* the gold.

# %% [markdown]
# ## 5. A teacher's probabilities, beside one bit
#
# Who has a better policy can teach with it: the student writes, and the teacher gives its probability of each token
# written. That is *on-policy distillation*, and the reward is dense: log π_T/π of every token, where a checker has one
# bit for the whole answer. **How much is that worth?** Said before the runs below (and unchanged after a first
# try at an easier rule, where all were there in three steps, so that the rule was made harder):
#
# - *It is a policy gradient like any other*: refuted if its mean is not ∇(−KL(π ‖ π_T)), to 1e-10.
# - *Dense is quieter*: refuted if one completion's gradient, at the start, has not at most half of the bit's noise.
# - *It is faster*: refuted if in ten paired runs, each method at its best learning rate, it does not need at most half
#   of the steps.
#
# The same 364 answers. An answer *passes* if it has exactly two facts, one of them behind a hedge, no filler and an
# end. The teacher is the optimum of §1 that passes in 95 %: the reference, reweighted.

# %%


def passes(text):
    hedged = (HEDGE, FACT) in itertools.pairwise(text)
    return text.count(FACT) == 2 and hedged and FILLER not in text and text[-1] == END


# %%
bit = answers.each(passes)
p = (ref @ bit).item()
teacher_beta = 1 / math.log(0.95 / 0.05 * (1 - p) / p)
teaching = tilted(log_answer, bit, teacher_beta)
teacher = answers.table(teaching.exp())
print(f"passes: the reference {p:.2%}, by {int(bit.sum())} of the answers; the teacher {teaching.exp() @ bit:.2%}")
print(f"nats from the reference: {kl_divergence(teaching, log_answer):.3f}, the least for it {kl_floor(0.95, p):.3f}")

# %% [markdown]
# **Exercise: A teacher's returns** (★★, 10 min). Each token is paid log π_T − log π. What is it credited with?


# %%
def teacher_returns(log_probs, teacher_log_probs, mask):
    """What each token is credited with, (..., time): all that the teacher pays from this token on; 0 on padding.
    log_probs, teacher_log_probs and mask (..., time): of the student's tokens, by the student and by the teacher."""
    return ...  # your code here


# %%
teacher_returns = check(teacher_returns)
# hint(teacher_returns)  # without the #: a hint, and the next one each time
# solution(teacher_returns)

# %%
ask("09: its own token alone")

# %%
from policy_gradients.oracle.distillation import score_moments


def closeness(flat):
    """−KL(π ‖ π_T), of a student given by its logits."""
    log_pi = answers.log_probs(flat.view(answers.shape).log_softmax(-1))
    return (log_pi.exp() * (teaching - log_pi)).sum()


# %%
true = by_autograd(closeness, ref_table.flatten()).view(answers.shape)
own, taught = answers.token_log_probs(ref_table), answers.token_log_probs(teacher)
dense = teacher_returns(own, taught, answers.mask)
alone = (taught - own) * answers.mask  # nothing of what comes after
off = (score_moments(answers, ref_table, dense)[0] - true).abs().max()
print(f"a teacher's returns against ∇(−KL): {off:.0e} apart")
assert off < 1e-10

# %% [markdown]
# That the reward depends on θ as well adds nothing: the mean score is zero. The first claim stands. Now the noise of
# one completion's gradient, exactly, at the start. −KL to go, from each prefix, is the baseline that only an oracle
# has. (The last row compares eight completions with each other, as in §2; its noise is that of eight, times eight.)

# %%
weighted = (ref.unsqueeze(1) * dense).flatten()
summed = torch.zeros(answers.shape[0], dtype=torch.float64).index_add(0, answers.states.flatten(), weighted)
to_go = summed / answers.visits(ref).sum(-1)  # the mean return from each prefix, −KL of all that is to come

# %%
rising = score_moments(answers, ref_table, bit.unsqueeze(1) - p)[0]  # the gradient of the pass rate
CREDITS = {
    "teacher, returns": dense,
    "teacher, returns less −KL to go": dense - to_go[answers.states],
    "teacher, the sum for every token": dense[:, :1].expand_as(dense),
    "teacher, own token alone": alone,
    "bit": bit.unsqueeze(1).expand_as(dense),
    "bit, less the pass rate": (bit.unsqueeze(1) - p).expand_as(dense),
}


# %%
def between(a, b):
    """Degrees between two gradients."""
    return torch.rad2deg((a.flatten() @ b.flatten() / (a.norm() * b.norm())).clamp(-1, 1).arccos()).item()


# %%
rows = []
for name, credit in CREDITS.items():
    mean, variance = score_moments(answers, ref_table, credit)
    own_aim = true if "teacher" in name else rising
    rows.append(
        [name, f"{between(mean, own_aim):.0f}°", f"{between(mean, rising):.0f}°", variance / mean.norm().item() ** 2]
    )

passing = token_tree(4, 5, lambda text: float(passes(text)))
student = Oracle(passing, lambda t: t.view(answers.shape).log_softmax(-1), ref_table.flatten())
m = reward_moments(lambda r: compared(r, torch.ones(8, 8, dtype=torch.bool)), [student.outcomes] * 8)
rows.append(
    ["bit, a group of eight", f"{m.angle(rising.flatten()):.0f}°", f"{m.angle(rising.flatten()):.0f}°", 8 * m.noise]
)
Table(["credit", "off its own gradient", "off ∇ pass rate", "noise of a completion (variance / length²)"], rows)

# %% [markdown]
# The second claim is refuted, and the reason is worth a thought. This teacher *is* the reference, reweighted by the
# bit: log π_T − log π, summed over an answer, is the bit times 1/β, less a constant. At the start the returns tell
# nothing that the bit does not, point the same way, and bring the constant as noise.
#
# What is quiet is a token's **own term alone**, which is what is often meant by dense. It knows where each token stands
# with the teacher; it does not know where the token leads, and points elsewhere. It is no gradient of the KL, but rests
# where π = π_T as well, where each term's mean is zero. So which is faster? Sixteen completions a step, four learning
# rates, twenty seeds, of which ten choose each method's rate and the other ten judge. All see the same dice.

# %%
STEPS, RATES_TRIED, TARGET = 100, (0.3, 1.0, 3.0, 10.0), 0.8
PLACE = answers.states * 4 + answers.actions  # of a token in the flat table


# %%
def less_the_others(credit, mask):
    """Each token's credit less the mean of the other completions' at its place, completions being second to last."""
    others = (credit * mask).sum(-2, keepdim=True) - credit * mask
    return (credit - others / (mask.sum(-2, keepdim=True) - mask).clamp(min=1)) * mask


# %%
METHODS = {
    "teacher, returns": lambda own, taught, mask, right: less_the_others(teacher_returns(own, taught, mask), mask),
    "teacher, own token": lambda own, taught, mask, right: (taught - own) * mask,
    "bit": lambda own, taught, mask, right: (right - right.mean(-1, keepdim=True)).unsqueeze(-1) * 16 / 15 * mask,
}


# %%
def draw_answers(log_pi, dice):
    """Sixteen for each learning rate and seed; all rates of one seed see the same dice."""
    uniform = torch.stack([torch.rand(16, dtype=torch.float64, generator=die) for die in dice])
    levels = log_pi.exp().cumsum(-1)
    uniform = uniform.expand(*levels.shape[:-1], 16).contiguous() * levels[..., -1:]
    return torch.searchsorted(levels, uniform, right=True).clamp(max=len(answers) - 1)


# %%
def learn(credited):
    """Pass rate and KL to the reference, (steps + 1, rates, seeds): twenty seeds at four learning rates."""
    dice = [torch.Generator().manual_seed(seed) for seed in range(300, 320)]
    table = ref_table.expand(len(RATES_TRIED), len(dice), -1, -1).clone()
    rates, passed, apart = torch.tensor(RATES_TRIED).view(-1, 1, 1, 1), [], []
    for _ in range(STEPS + 1):
        log_pi = answers.log_probs(table)
        passed.append(log_pi.exp() @ bit)
        apart.append(kl_divergence(log_pi, log_answer))
        drawn = draw_answers(log_pi, dice)
        tokens, mask, flat = PLACE[drawn], answers.mask[drawn], table.flatten(-2)
        own = flat.gather(-1, tokens.flatten(-2)).view(mask.shape)
        credit = credited(own, teacher.flatten()[tokens], mask, bit[drawn])
        step = torch.zeros_like(flat).scatter_add(-1, tokens.flatten(-2), credit.flatten(-2)).view_as(table) / 16
        table = (table + rates * (step - table.exp() * step.sum(-1, keepdim=True))).log_softmax(-1)
    return torch.stack(passed), torch.stack(apart)


# %%
needed, curves, rows = {}, {}, []
for name, credited in METHODS.items():
    passed, apart = learn(credited)
    there = passed >= TARGET  # the steps until it is there, or one more than all of them
    steps = torch.where(there.any(0), there.double().argmax(0), STEPS + 1)
    best = steps[:, :10].double().mean(1).argmin()  # by the first ten seeds
    needed[name], curves[name] = steps[best, 10:], passed[:, best, 10:].numpy()
    when = needed[name].clamp(max=STEPS)[None]
    at, rate = (column[:, best, 10:].gather(0, when)[0] for column in (apart, passed))
    above = at - torch.tensor([kl_floor(q, p) for q in rate.tolist()])  # they overshoot: each at its own rate
    slowest, median = needed[name].max().item(), needed[name].double().quantile(0.5).item()
    rows.append([name, RATES_TRIED[best], median, slowest, rate.mean().item(), above.mean().item()])

# %%
header = [
    "learns from",
    "learning rate",
    "steps to 80 %, median",
    "the slowest",
    "passes by then",
    "nats above the least",
]
Table(header, rows)

# %%
ratios = {name: (needed[name] / needed["bit"]).log() for name in METHODS if name != "bit"}
corrected = holm([sign_flip_p_value(ratio.tolist()) for ratio in ratios.values()])
rows = []
for (name, ratio), value in zip(ratios.items(), corrected, strict=True):
    low, high = bootstrap_interval(ratio.numpy())
    interval = f"{ratio.mean().exp():.2f} [{math.exp(low):.2f}, {math.exp(high):.2f}]"
    rows.append([name, interval, value, int((ratio < 0).sum()), high < math.log(0.5)])
Table(["learns from", "steps, over the bit's [95 %]", "p, corrected", "faster in, of 10", "half of the steps"], rows)

# %%
from policy_gradients.course.proxy_figures import learning_figure

show(learning_figure(curves, TARGET))

# %% [markdown]
# With a teacher it is faster, both ways. That it takes at most *half* the steps, ten runs do not show for either, nor do
# they refute it: by notebook 08's words it is undecided, and for the own token the estimate, 0.45, speaks for it. What each method **knows** is
# no secret: the teacher knows every right answer, and says of each token how much nearer to one it leads. The checker
# says one bit of what was sampled, and nothing at all where nothing passes. That the teacher passes in 95 %, and can be
# reached, is by construction.
#
# **Verdict on question 5.** *−KL(π ‖ π_T) is an expected return, and its gradient a policy gradient; where the teacher
# is the reference reweighted by the same bit, its returns hold at the start no more than the bit does, and what is
# quiet, and was faster here, is to credit each token with its own term alone: another gradient, with the same resting
# place.*
#
# What this does not show: teachers that are wrong, or students that cannot follow. And speed alone is not all: each
# method was fastest at the highest rate tried, the edge of the search, where the returns fall back now and then (the dips
# in the figure); and all paid about one nat more
# than the least for the rate that they had by then (last column).

# %% [markdown]
# ## 6. Is entropy effort?
#
# The page reads a policy's entropy on a prompt as its "cognitive effort": more of it where the prompt is harder. Is it?
# Two comparisons are easily taken for one: *across* prompts, hard beside easy; and *within* one prompt, before and
# after training. As a law for both it is refuted, said before the numbers, by any one of
#
# - prompts of different pass rates and equal entropy;
# - a policy, trained to its optimum, that has *less* entropy on the harder prompts;
# - a prompt on which entropy *rises* as it is learnt.
#
# Where an answer passes or fails, entropy has three parts, by the chain rule: how undecided it is *whether*, h(q); how
# many ways it has to pass, $H_\text{pass}$; and to fail, $H_\text{fail}$:
#
# $$H = h(q) + q\,H_\text{pass} + (1-q)\,H_\text{fail}$$
#
# The optimum at any price reweights what passes against what fails (§1), and leaves both conditional entropies as they
# were. So along a falling price, or a natural gradient, q alone moves.

# %% [markdown]
# **Exercise: Which way entropy goes** (★★, 8 min). Differentiate the line above by q.


# %%
def entropy_slope(q, h_pass, h_fail):
    """dH/dq, in nats, of H = h(q) + q · h_pass + (1 − q) · h_fail, with h(q) = −q log q − (1 − q) log(1 − q)."""
    return ...  # your code here


# %%
entropy_slope = check(entropy_slope)
# hint(entropy_slope)  # without the #: a hint, and the next one each time
# solution(entropy_slope)

# %% [markdown]
# Three families of six prompts. In the first, one writer (the reference of §4) is given six rules, some easy, some
# hard. In the other two there is one right answer, which the reference gives with 5 to 80 %; what is left is spread
# over all others in the one, and is one wrong answer in the other.

# %%
RULES = {
    "ends": lambda text: text[-1] == END,
    "has a fact": lambda text: FACT in text,
    "no filler": lambda text: FILLER not in text,
    "one fact, and ends": lambda text: text.count(FACT) == 1 and text[-1] == END,
    "passes, as in §5": passes,
    "three facts": lambda text: text.count(FACT) == 3,
}
HOW_OFTEN = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
one = (torch.arange(len(answers)) == 0).double()


# %%
def right_with(p, wrong):
    """A reference that gives answer 0 with probability p, and one of the first `wrong` others else."""
    others = (torch.arange(len(answers)) > 0) & (torch.arange(len(answers)) <= wrong)
    return p * one + (1 - p) * others / wrong


# %%
FAMILIES = {
    "one writer, six rules": [(ref, answers.each(rule)) for rule in RULES.values()],
    "doubt: one right, all others wrong": [(right_with(p, len(answers) - 1), one) for p in HOW_OFTEN],
    "sure: one right, one wrong": [(right_with(p, 1), one) for p in HOW_OFTEN],
}

# %%
ask("09: entropy and difficulty")

# %%
from policy_gradients.oracle.entropies import entropy_parts, joined_entropy

FALLING = (1e12, *np.geomspace(20, 0.25, 40))
paths, rows = {}, []
for family, prompts in FAMILIES.items():
    lines = []
    for pi, right in prompts:
        h_pass, h_fail = entropy_parts(pi, right)[1:]
        rates = [(tilted(pi.log(), right, beta).exp() @ right).item() for beta in FALLING]
        lines.append(([*rates], [joined_entropy(q, h_pass, h_fail) for q in rates]))
        last = tilted(pi.log(), right, FALLING[-1]).exp()
        assert abs(-torch.special.xlogy(last, last).sum() - lines[-1][1][-1]) < 1e-10  # the parts are the whole
        rows.append(
            [
                family,
                f"{rates[0]:.0%} → {rates[-1]:.0%}",
                f"{lines[-1][1][0]:.2f} → {lines[-1][1][-1]:.2f}",
                f"{abs(h_pass):.2f} | {abs(h_fail):.2f}",
                *(f"{entropy_slope(q, h_pass, h_fail):+.1f}" for q in (rates[0], rates[-1])),
            ]
        )
    paths[family] = lines
Table(["prompts", "pass rate", "entropy (nats)", "of passing | failing", "slope at first", "in the end"], rows)


# %%
def across(lines, place):
    """Correlation of pass rate and entropy across the prompts, at that place of their ways; None if all are alike."""
    q, h = (np.array([line[i][place] for line in lines]) for i in (0, 1))
    return None if h.std() < 1e-9 else np.corrcoef(q, h)[0, 1]


# %%
def within(lines):
    """The same along each prompt's own way: the least and the greatest of the six."""
    found = [np.corrcoef(*line)[0, 1] for line in lines]
    return f"{min(found):+.2f} to {max(found):+.2f}"


# %%
rows = [[family, across(lines, 0), across(lines, -1), within(lines)] for family, lines in paths.items()]
Table(["correlation of pass rate and entropy", "across, before", "across, after", "within, along training"], rows)

# %%
from policy_gradients.course.proxy_figures import entropy_figure

show(entropy_figure(paths))

# %% [markdown]
# - **One writer** has *one* entropy, whatever it is asked: before training it says nothing of which rule is hard.
# - **Doubt**: the harder, the more entropy, before and after, and it falls on every prompt as that is learnt. This is
#   the page's case.
# - **Sure of the wrong thing**: before training the harder prompts have, on the whole, *less* entropy, after it more; and
#   within a prompt either sign occurs: on the hard ones it rises first.
#
# Each of the three refuting cases is there (the second one in the first family). What decides is in the formula: how often
# a prompt passes, *and* how many ways there are to pass and to fail. Difficulty alone does not. (Which references we chose is by construction; that the signs can differ is what was to
# be shown.)
#
# **Verdict on question 6.** *In worlds where all can be enumerated, a policy's entropy on a prompt shows how undecided
# it is, not how hard the prompt is: across prompts the sign of the relation is the reference's, and along the optima
# of a falling price entropy rises exactly as long as the odds of passing are below $e^{H_\text{pass} - H_\text{fail}}$.*
#
# What this does not show: which of the three families a language model's prompts resemble, and what entropy *per
# token*, of a chain of thought, has to do with the time it takes.

# %% [markdown]
# ## What is not answered here
#
# - **Retrieval at size.** 144 articles are a table; a million are an index that is stale while the encoder learns. And the reader
#   stayed as it was: its own term was not trained, nor is it known how many questions a matrix needs until it serves others.
# - **Sampled gradients and Adam.** §1 takes exact steps. What a schedule of β does to noise, and to clipping, is not in it.
# - **Facts lost for each nat.** The page wants factual knowledge preserved. KL counts every change alike, and a nat spent on a
#   forgotten fact looks like one spent on a style. It takes a test of facts to tell them apart. The course has one
#   (`python -m policy_gradients.evaluation.facts RUN --output FILE`), and four policies have taken it, 16 to 25 nats a completion away
#   after their instruction: of 367 facts one lost ten, which is more than noise, and it is not the one that went furthest
#   ([results](../docs/results.md#what-the-nats-cost-in-facts)). Policies that were steered by other methods have not.
# - **A reward that is learnt, of a language model.** Its blind spots are not chosen by us, and new preferences can be asked for
#   where the policy has gone, which §4 does not do.
# - **Entropy as a means**: whether hard prompts should be *allowed* more of it, and whether a policy would notice.
# - **A teacher that errs**, or one that is no reweighted reference: §5 has neither.
#
# Each is open in the sense of this notebook: the experiment can be said in a sentence, and the number that would decide it can
# be named.

# %%
progress()

# %% [markdown]
# ## Where the source page differs
#
# | it says | what holds | where |
# | --- | --- | --- |
# | "treat the falsifier as any prompt where the KL-constrained policy yields a lower reward than GRPO" | it fires at equal policies, and at every constraint that does its work | §1 |
# | "Does a reward-aware KL schedule allow the policy to take larger steps when the reward is confident" | it does; at rest they lead to the curve of fixed weights, or below it | §1 |
# | "GRPO assumes that a batch of rollouts shares the same prompt" | a group does; a batch holds many groups, and may share statistics without bias | §2 |
# | "or does it introduce bias because some prompts are inherently easier?" | difficulty moves variance; bias comes from oneself in one's own baseline | §2 |
# | "Retrieval enriches the state but also lengthens rollouts, so rewards become sparse and expensive" | expensive, by a factor that can be computed; but what is read is not chosen token by token: one action more, not a thousand | §3 |
# | a policy's entropy on a prompt shows its "cognitive effort" | it shows how undecided it is; against difficulty, either sign occurs | §6 |
#
# ## References
#
# Of [1] to [5], [8] and [9] only the abstracts were read (of [3] a summary as well), and they are cited for what those say;
# that Gao et al. draw against √KL is from the paper.
#
# 1. Lin et al. (2026). FG-ExPO: frontier-guided exploration-prioritized policy optimization via adaptive KL and Gaussian
#    curriculum. [arXiv:2605.11403](https://arxiv.org/abs/2605.11403)
# 2. Deng et al. (2025). Unlocking reasoning capabilities in LLMs via reinforcement learning exploration (RAPO: a forward KL
#    and a reweighted reference, which is another road than a schedule of β, and not tried here).
#    [arXiv:2510.03865](https://arxiv.org/abs/2510.03865)
# 3. Yang et al. (2026). Your group-relative advantage is biased. [arXiv:2601.08521](https://arxiv.org/abs/2601.08521)
# 4. Cao et al. (2025). Improving end-to-end training of retrieval-augmented generation models via joint stochastic
#    approximation. [arXiv:2508.18168](https://arxiv.org/abs/2508.18168)
# 5. Zhang et al. (2026). Reinforcement fine-tuning for history-aware dense retriever in RAG.
#    [arXiv:2602.03645](https://arxiv.org/abs/2602.03645)
# 6. Korbak et al. (2022). RL with KL penalties is better viewed as Bayesian inference.
#    [arXiv:2205.11275](https://arxiv.org/abs/2205.11275)
# 7. Yu et al. (2025). DAPO. [arXiv:2503.14476](https://arxiv.org/abs/2503.14476)
# 8. Gao, Schulman & Hilton (2022). Scaling laws for reward model overoptimization.
#    [arXiv:2210.10760](https://arxiv.org/abs/2210.10760)
# 9. Beirami et al. (2024). Theoretical guarantees on the best-of-n alignment policy: log n − (n − 1)/n is an upper bound, and not
#    the KL. [arXiv:2401.01879](https://arxiv.org/abs/2401.01879)

# %% [markdown]
# ## Onward
#
# At rest a schedule of β chooses a point on a curve that it cannot move, and on the way there it has to be measured in nats at
# equal pass rate. Anyone may share a baseline with anyone, as long as nobody has a say in their own. Reading is an action, with
# a gradient of its own and a price in tokens; a learnt reward is a map of where its pairs came from, a teacher a
# reward for every token, and entropy no measure of effort.
#
# Not shown: most of this on a language model, and what the list above names.
#
# Next: [Is what is served the policy that was trained?](10_deploy.ipynb), 30 min to read and 34 min of exercises.
