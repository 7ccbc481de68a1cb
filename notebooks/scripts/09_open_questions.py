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
# trained by the same gradient? A question stays open as long as nobody says what would count as an answer. Here each of
# the three is cut down to a world in which everything can be enumerated, and answered there, exactly. What that leaves
# open is listed at the end.
#
# **Afterwards you can**
#
# - judge a KL schedule in the one currency that decides: nats at equal pass rate;
# - say of any baseline whether it is biased, and whose noise it is;
# - split a gradient into a part for the retriever and one for the generator, and price both in tokens;
# - recognise a falsifier that fires at nothing.
#
# | | |
# | --- | --- |
# | to read and think | 40 min, and 52 min for the five exercises |
# | to run | under a minute on one CPU core, no GPU, no model: all of it is enumerated |
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
# weighted by $e^{r/\beta}$ (notebook 07).

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
    rows.append([beta, q, binary_kl(q, 0.1), kl_floor(q, 0.1)])
Table(["β", "pass rate at rest, from 10 %", "its KL (nats)", "least KL for that pass rate"], rows)

# %% [markdown]
# The last two columns agree: every fixed weight ends on the curve of least KL (notebook 07's frontier). A weight chooses
# the *point*; the curve is the reference's. Now let β move during training, with the pass rate, the variance, the
# length of the gradient or the phase of the moon.

# %%
ask("09: a clever schedule")

# %% [markdown]
# Where training rests, β has some value, and the gradient is zero *for that value*. So log(π/π_ref) is a constant on all
# that passes and another one on all that fails, which is the family above. (Nothing changes if β is differentiated
# as well, as long as it hangs on the pass rate and the KL alone.) To see it happen we need a policy that is really trained:
# four prompts, six answers each, one of them right, and the exact gradient at each step. Its parameters may be shared
# between prompts, through features; at first each prompt has its own.

# %%
RATES = [0.02, 0.1, 0.4, 0.8]  # how often the reference passes, prompt by prompt
PROMPTS, ANSWERS = len(RATES), 6


def reference(generator, rates=RATES):
    """log π_ref and which answer is right, (prompts, answers) each."""
    right = torch.nn.functional.one_hot(torch.randint(ANSWERS, (PROMPTS,), generator=generator), ANSWERS).double()
    wrong = torch.randn(PROMPTS, ANSWERS, generator=generator, dtype=torch.float64) / 2
    wrong = wrong.masked_fill(right > 0, -torch.inf).softmax(-1)
    p = torch.tensor(rates, dtype=torch.float64).unsqueeze(1)
    return (right * p + wrong * (1 - p)).log(), right


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


def objective(flat):
    log_pi = (log_ref + features @ flat.view(3, ANSWERS)).log_softmax(-1)
    return (log_pi.exp() * (right - 0.3 * (log_pi - log_ref))).sum() / PROMPTS


by_hand = gradient(point, features, log_ref, right, lambda q: 0.3 + 0 * q)[0]
print("gradient by hand against autograd:", f"{(by_hand.flatten() - by_autograd(objective, point.flatten())).abs().max():.0e}")

# %% [markdown]
# The schedules. Each takes a pass rate q and gives a weight; the variance of a 0/1 reward is q(1 − q), 1/4 at most.
#
# - *accuracy*: loose while little passes, tight when much does. FG-ExPO [1] describes such a weight in its abstract, as a
#   smooth function of the *batch's mean* accuracy. The fourth power is our choice.
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
# All on the curve, whatever β followed. (`settled_rates` finds the first resting place on the way from the reference; a rate
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
    rows.append([label, f"{q.mean():.1%}", " ".join(f"{x:.2f}" for x in q), kl, floor, f"{zero(kl / floor - 1, 1e3):.1%}"])
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
#   on the hard prompts and saves them at the easy ones, where a point of pass rate is cheap.
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
# On the way, everything pays more than the frontier, for an exact gradient has its own idea of what to learn first: it
# is p(1 − p) times a difference, so the middling prompts come before the hard ones. The price on divergence then pulls
# the path back. Now the comparison at equal pass rate, world by world.


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
