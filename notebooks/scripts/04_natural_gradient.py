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
# # 04 · Why do steps that look small wreck a policy?
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/policy-gradients/blob/main/notebooks/04_natural_gradient.ipynb)
#
# A robot throws darts. Its policy is a bell curve:
# it aims at μ, and scatters by σ. On the first day σ = 1 metre,
# and a learning step moves μ by 10 cm. Nobody notices.
#
# A month later σ = 1 cm. The same code takes the same step of 10
# cm. Every dart now lands where the robot would never have thrown.
# It has unlearnt everything, in one step.
#
# **Afterwards you can**
#
# - measure a step by what it does to the *policy*, not to its parameters;
# - compute the Fisher matrix, exactly and from samples, and check it against the KL;
# - take a natural step three ways: by solving, by regression (Kakade's critic), by conjugate gradients;
# - size a step in nats, and say what PPO's clip does instead;
# - compare two methods fairly: tuned rates, ten seeds, quartiles, steps and time to a target.
#
# | | |
# | --- | --- |
# | to read and think | 50 min, and 53 min for the five exercises |
# | to run | about a minute on two CPU cores, no GPU |
# | needs | notebooks [01](01_reinforce_on_a_bandit.ipynb) and [02](02_baselines.ipynb): scores, baselines, actor–critic |

# %%
# @title Setup: on Colab this installs the course, elsewhere it does nothing
from importlib.util import find_spec

if find_spec("policy_gradients") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/OWNER/policy-gradients")  # noqa: F821

# %%
from policy_gradients.course.diagram import five_steps
from policy_gradients.course.display import show
from policy_gradients.course.predictions import ask

show(five_steps("04_natural_gradient"))

# %%
import math

import torch

from policy_gradients.course.curves import curves, number_map
from policy_gradients.course.display import Table, show
from policy_gradients.course.exercises import check, hint, progress, solution  # noqa: F401
from policy_gradients.course.live import LivePlot
from policy_gradients.estimators.natural import kl_step, natural_gradient
from policy_gradients.estimators.scores import score_gradient
from policy_gradients.oracle.exact import GaussianOracle, Oracle
from policy_gradients.worlds.policies import GaussianPolicy
from policy_gradients.worlds.policies import Table as Row
from policy_gradients.worlds.tabular import softmax_policy

torch.set_num_threads(1)  # with tensors this small, a second thread only gets in the way
generator = torch.Generator().manual_seed(0)  # every random number of this notebook comes from here

# %% [markdown]
# ## 1. Ten centimetres
#
# How far apart are two policies? Not by their parameters: by what they *do*. The measure is
# $\mathrm{KL}(\pi'\,\|\,\pi)$: the mean log-ratio that tells their throws apart, in nats.
# One way to read it: draw throws from π′, and ask each how much likelier it was under π′ than under π.
# After a few nats' worth of throws nobody would take one policy for the other.

# %%
ask("04: a small step")

# %%
arm = GaussianPolicy(Row(1, 1))  # θ = (μ, ln σ)
here = torch.tensor(0)  # the only thing there is to see


def at(mean, std):
    return torch.tensor([mean, math.log(std)], dtype=torch.float64)


# %%
stds = (1, 0.3, 0.1, 0.03, 0.01)
rows = [[f"σ = {s}", 0.1 / s, arm.kl(at(0.1, s), at(0.0, s), here).item(), math.erfc(0.1 / s / 2**0.5)] for s in stds]
Table(["", "a step of 0.1 in μ, in σ", "its KL, nats", "chance that a throw of the old policy lands so far off"], rows)

# %% [markdown]
# The KL is ½(Δμ/σ)²: ten times the precision, a hundred times the damage.
# In the last row the old policy would not have thrown so far off in the
# age of the universe, at a dart a second.
#
# That matters for learning: it was on the old policy's throws that the step was computed. Of what
# happens that far off, not one of them knew anything.
#
# ## 2. The Fisher matrix
#
# Near θ the KL is a bowl: $\mathrm{KL}(\pi_{\theta+d}\,\|\,\pi_\theta)\approx\tfrac12 d^\top F d$.
# Its curvature needs no KL at all, only scores ψ = ∇log π:
#
# $$F = \mathbb E[\psi\,\psi^\top].$$
#
# Why no slope, and why this curvature? At d = 0 the KL is zero, and it is nowhere negative: so it
# has its bottom there. For the curvature, take the second derivative of ∑π = 1, which is zero:
#
# $$0=\nabla^2\sum_a\pi=\sum_a\pi\,(\nabla^2\log\pi+\psi\,\psi^\top)
# \quad\Rightarrow\quad F=-\mathbb E[\nabla^2\log\pi]=\mathbb E[\psi\,\psi^\top].$$
#
# (−E[∇²log π] is the curvature of KL(π ‖ π′), the other way round. In KL(π′ ‖ π) the weights π′ move as well, and it
# is 2 E[ψψᵀ] + E[∇²log π]: the same F.)
#
# Read the right-hand side as a sum over directions: $d^\top F d=\mathbb E[(\psi^\top d)^2]$. A step is
# costly if it changes the log-probs of what the policy does *often*, in either direction.
# And it takes scores alone, which REINFORCE has computed anyway.

# %% [markdown]
# **Exercise: The Fisher matrix from samples** (★, 8 min). Mean of products, or product of means?


# %%
def sampled_fisher(scores):
    """E[ψψᵀ] as a mean over samples: scores (..., samples, parameters) → (..., parameters, parameters)."""
    return ...  # your code here


# %%
sampled_fisher = check(sampled_fisher)
# hint(sampled_fisher)  # without the #: a hint, and the next one each time
# solution(sampled_fisher)

# %% [markdown]
# For the robot, with parameters (μ, ln σ), pencil and paper give diag(1/σ², 2).

# %%
ask("04: the dangerous parameter")

# %%
from torch.autograd.functional import hessian


def near(throw):
    """The dartboard's centre is at 1."""
    return -(throw - 1).square().sum(-1)


month = GaussianOracle(near, arm, at(0.8, 0.1))
throws = month.sample((100_000,), generator)
pencil = torch.diag(torch.tensor([1 / 0.1**2, 2.0], dtype=torch.float64))
by_kl = hessian(lambda t: arm.kl(t, month.theta, here), month.theta)  # the bowl's curvature, by autograd
sampled = sampled_fisher(throws.scores.flatten(0, 1))

# %%
print(f"exact − pencil:     {(month.fisher - pencil).abs().max():.1e}")
print(f"curvature − pencil: {(by_kl - pencil).abs().max():.1e}")
print("sampled:", [[round(x, 2) for x in row] for row in sampled.tolist()])
assert torch.allclose(month.fisher, pencil, atol=1e-10) and torch.allclose(by_kl, pencil, atol=1e-10)

# %% [markdown]
# A change of μ is 50 times as costly as one of ln σ.
# Three roads, one matrix.
# A learning rate multiplies both by one number: whichever it suits, it is wrong for the other.
#
# Two axes now, and a **full** covariance LLᵀ, learnt as well: five parameters.

# %%
plane = GaussianPolicy(Row(1, 2), full=True)
theta = torch.tensor([0.3, -0.2, math.log(0.2), math.log(0.8), 0.4], dtype=torch.float64)
flat = GaussianOracle(near, plane, theta)
curvature = hessian(lambda t: plane.kl(t, theta, here), theta)
print(f"E[ψψᵀ] − curvature of the KL: {(flat.fisher - curvature).abs().max():.1e}")
names = ["μ₁", "μ₂", "ln L₁₁", "ln L₂₂", "L₂₁"]
show(number_map(flat.fisher, names, names, title="Fisher matrix of a Gaussian in the plane"))

# %% [markdown]
# Mean and spread do not mix: a block for μ (it is Σ⁻¹), a block for
# L. Within a block they do.
# Look at the first block: σ is 0.2 along the first axis, so an error there costs 1/0.2² = 25 and more; along
# the second it costs a twentieth of that. The −3.13 beside them says that the two axes are
# correlated: moving the mean *along* the cloud is cheap, *across* it dear.
#
# How many samples does F need? The old law, again:

# %%
sizes = torch.tensor([10, 100, 1000, 10_000, 100_000])
samples = [sampled_fisher(flat.sample((20, int(n)), generator).scores.squeeze(-2)) for n in sizes]
errors = torch.stack([(f - flat.fisher).square().sum((1, 2)).mean().sqrt() for f in samples]) / flat.fisher.norm()
x, y = sizes.double().log(), errors.log()
print(
    "relative errors", [f"{e:.3f}" for e in errors], f"slope {((x - x.mean()) @ y / (x - x.mean()).square().sum()):.2f}"
)

# %% [markdown]
# ## 3. The gradient grows as the robot gets better
#
# The other half of the accident. The score of μ is (a − μ)/σ², of size 1/σ.
# A judge whose marks wobble by ±1 therefore shakes the gradient by 1/σ.
# Why is that so? At σ = 1 cm, a throw that lands 1 cm off is as unusual as one that lands 1 m off at
# σ = 1 m. Its log-prob falls by the same half a nat, over a hundredth of the way: the slope is a hundred
# times as steep. And that slope multiplies whatever the judge says, noise included.

# %%
ask("04: vanilla in σ's")

# %%
from policy_gradients.estimators.baselines import leave_one_out


def noisy_gradients(std, repeats=400, n=50):
    """Gradients from 50 judged throws each, with a leave-one-out baseline, (repeats, 2)."""
    day = GaussianOracle(near, arm, at(1.0, std)).sample((repeats, n), generator)
    marks = day.rewards.squeeze(-1) + torch.randn(repeats, n, dtype=torch.float64, generator=generator)
    return score_gradient(day.scores, marks - leave_one_out(marks))


# %%
days = torch.tensor([1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01], dtype=torch.float64)
vanilla = torch.stack([noisy_gradients(s.item())[:, 0].square().mean().sqrt() for s in days])
natural = vanilla * days**2  # F⁻¹ is exact here: σ² for the mean
late = days <= 0.1  # before, the robot's own scatter adds noise to the marks
slope = ((vanilla[-1] / vanilla[late][0]).log() / (days[-1] / days[late][0]).log()).item()
print(f"from σ = 0.1 to 0.01, g grows as σ to the power {slope:.2f}, so F⁻¹g shrinks as σ to the power {slope + 2:.2f}")
print(f"g at σ = 0.01: {vanilla[-1]:.1f}; from the judge's noise alone 1/(σ√50) = {1 / (0.01 * 50**0.5):.1f}")

# %%
lines = {"vanilla g": vanilla / days, "natural F⁻¹g": natural / days}
print({name: f"{(line[-1] / line[0]):.2g} times as large at the end" for name, line in lines.items()})
axes = {"xlabel": "σ of the policy", "ylabel": "size of a step in μ, in σ", "xscale": "log", "yscale": "log"}
show(curves(days, lines, title="The better the robot, the wilder the vanilla step", **axes))

# %% [markdown]
# Vanilla grows as 1/σ, and the ruler shrinks with σ:
# in σ's, it grows as 1/σ². The natural step stays a fixed part of σ.
# F⁻¹ = σ² cancels one 1/σ from the score, and one from the ruler.
# (At σ = 1 both are larger: there the robot's own scatter shakes the marks as
# well.)
#
# No learning rate is right on both days. Too small at first, or deadly in the end.
#
# ## 4. The natural gradient
#
# Ask for the best direction *among all steps that change the policy alike*:
#
# $$\max_d\ g^\top d \quad\text{with}\quad \tfrac12 d^\top F d\le\delta
# \qquad\Rightarrow\qquad d=\sqrt{\frac{2\delta}{g^\top F^{-1}g}}\;F^{-1}g .$$
#
# Where the best point on the bowl's rim is, the gain and the rim have one normal: g is some multiple of F d, so
# d points along F⁻¹g; the root is what puts it on the rim. Had we asked for all steps of the same *length*
# in θ, with I in place of F, the answer would have been g itself. Every gradient step has such a ruler:
# the vanilla one measures parameters, and nobody chose that.
#
# Amari (1998) for learning in general; Kakade (2001) for policies.

# %% [markdown]
# **Exercise: The natural direction** (★, 8 min). Damping keeps it tame where F knows nothing.


# %%
def natural_direction(gradient, fisher, damping):
    """(F + damping · I)⁻¹ g: gradient and result (parameters,), fisher (parameters, parameters)."""
    return ...  # your code here


# %%
natural_direction = check(natural_direction)
# hint(natural_direction)  # without the #: a hint, and the next one each time
# solution(natural_direction)

# %% [markdown]
# **Exercise: A step of a given size** (★★, 12 min). Solve ½ (cd)ᵀF(cd) = δ for c.


# %%
def kl_sized(gradient, direction, max_kl):
    """The step along d = F⁻¹g whose KL is max_kl to second order, zero where gᵀd ≤ 0; all of shape (parameters,)."""
    return ...  # your code here


# %%
kl_sized = check(kl_sized)
# hint(kl_sized)  # without the #: a hint, and the next one each time
# solution(kl_sized)

# %% [markdown]
# Is it the best? 100,000 random directions in the plane's five parameters, all cut to the
# same ½ dᵀFd, compete.

# %%
best = kl_sized(flat.gradient, natural_direction(flat.gradient, flat.fisher, 0.0), 0.01)
others = torch.randn(100_000, 5, dtype=torch.float64, generator=generator)
others *= (2 * 0.01 / torch.einsum("np,pq,nq->n", others, flat.fisher, others)).sqrt().unsqueeze(1)
steepest = kl_step(flat.gradient, flat.gradient, 0.01)  # along g itself, cut likewise
steepest *= (0.01 / (0.5 * steepest @ flat.fisher @ steepest)).sqrt()
gains = {"natural": flat.gradient @ best, "best of 100,000": (others @ flat.gradient).max()}
print({name: round(g.item(), 4) for name, g in (gains | {"vanilla": flat.gradient @ steepest}).items()})

# %% [markdown]
# And is its KL what was asked for? To second order, so for small δ:

# %%
direction, rows = natural_direction(flat.gradient, flat.fisher, 0.0), []
for delta in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
    true = plane.kl(theta + kl_sized(flat.gradient, direction, delta), theta, here).item()
    rows.append([delta, true, true / delta])
Table(["δ asked for", "true KL", "ratio"], rows)

# %% [markdown]
# Here the bowl is good up to a whole nat. That is luck of the direction. Walk the same δ along each axis by itself:

# %%
axis, rows = torch.eye(2, dtype=torch.float64), []
for delta in (0.01, 0.1, 1.0):
    reach = (2 * delta / month.fisher.diag()).sqrt()  # how far a bowl of this curvature lets one go
    walks = (axis[0] * reach[0], axis[1] * reach[1], -axis[1] * reach[1])
    rows.append([delta, *(arm.kl(month.theta + walk, month.theta, here).item() for walk in walks)])
Table(["δ asked for", "true KL along μ", "along +ln σ", "along −ln σ"], rows)

# %% [markdown]
# In μ the KL *is* a bowl, at any distance. In ln σ it is one only near the bottom: at δ = 1 widening costs more than twice what was
# asked for, and narrowing little more than half. The second order is a promise for small steps; TRPO, in section 8, measures before
# it believes.
#
# ### Metres or centimetres?

# %%
ask("04: centimetres")

# %%
unit = torch.tensor([100.0, 1.0], dtype=torch.float64)  # θ' = unit · θ
g, f = month.gradient, month.fisher
g_cm, f_cm = g / unit, f / torch.outer(unit, unit)  # the chain rule
rows = [["vanilla g", *g.tolist(), *(g_cm / unit).tolist()]]
rows.append(["natural F⁻¹g", *natural_gradient(g, f).tolist(), *(natural_gradient(g_cm, f_cm) / unit).tolist()])
Table(["step", "Δμ, from metres", "Δ ln σ", "Δμ, from centimetres", "Δ ln σ "], rows)

# %% [markdown]
# The vanilla step in μ is 10,000 times smaller, for a change of *unit*.
# The natural one does not care. That, and not "low variance" as the page says, is
# what it is for: F⁻¹g is made from the same noisy g.
#
# ## 5. Watch it
#
# Drag σ down, and see the vanilla step leave the ring of policies that are close
# by. The robot aims at 0, the centre is at 1; gradients are exact, so nothing
# here is noise.


# %%
from policy_gradients.course.natural_figures import two_steps
from policy_gradients.course.widgets.explorer import Control, Explorer


def draw(std=1.0, rate=0.1, max_kl=0.05):
    oracle = GaussianOracle(near, arm, at(0.0, std))
    natural = kl_step(oracle.gradient, natural_gradient(oracle.gradient, oracle.fisher), max_kl)
    steps = {"vanilla": tuple((rate * oracle.gradient).tolist()), "natural": tuple(natural.tolist())}
    return two_steps(0.0, std, steps, max_kl, best=1.0)


controls = {
    "std": Control("σ", (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0), 0.1),
    "rate": Control("vanilla learning rate", (0.003, 0.01, 0.03, 0.1), 0.1),
    "max_kl": Control("natural δ, nats", (0.01, 0.05, 0.2), 0.05),
}
Explorer(draw, controls)

# %% [markdown]
# The same two steps on the first day, as a still, for those who read this
# without sliders:

# %%
show(draw(std=1.0))

# %% [markdown]
# ### A matrix without an inverse
#
# Add a constant to all logits of a softmax:
# nothing changes. So F is flat in that direction, and has no inverse.
# There are two ways out. The pseudo-inverse moves within what F can see, and not at all along what it
# cannot: right when F is exact. *Damping*, a small number added to F's diagonal first, charges a little for every direction: right when F
# is a sample, where "flat" may only mean "not seen yet".

# %%
from policy_gradients.worlds.small import bernoulli_bandit, early_token, two_states

bandit = bernoulli_bandit([0.2, 0.5, 0.7])
lean = torch.tensor([2.0, 0.0, -2.0], dtype=torch.float64)  # it believes in the worst arm
table = Oracle(bandit, softmax_policy(bandit).table, lean)
print("chances of the arms:", [round(p, 3) for p in lean.softmax(0).tolist()])
print("eigenvalues of F:   ", [round(v, 6) + 0.0 for v in torch.linalg.eigvalsh(table.fisher).tolist()])

# %%
ask("04: the best arm")

# %%
step = natural_gradient(table.gradient, table.fisher)  # by the pseudo-inverse
means = bandit.rewards[0]
print("vanilla g:    ", [round(x, 3) for x in table.gradient.tolist()])
print("natural F⁺g:  ", [round(x, 3) for x in step.tolist()])
print(f"natural − (means − their average): {(step - (means - means.mean())).abs().max():.1e}")

# %% [markdown]
# Vanilla raises what it tries often; the third arm hardly moves.
# The natural step is just "how good is this arm, against the average":
# it does not ask how often it was tried.
# In formulas: the vanilla step of a logit is π(a) (r(a) − J), and F⁺ divides the π(a) out again.
# That is Kakade's point. It heads for the *best*.

# %% [markdown]
# ## 6. Kakade's critic: a regression that is the step
#
# Fit the returns by a line in the scores, $R\approx w^\top\psi+v$. Least squares gives
# $w=\mathbb E[\psi\psi^\top]^{-1}\mathbb E[\psi R]=F^{-1}\nabla J$. The critic's weights *are* the natural step.
#
# What does that critic see? Only what the policy could use: how the return changes with what its
# parameters can change. Anything else in R is noise to it, and stays in the residual. Sutton et al. (2000) call
# such a critic *compatible*: put $w^\top\psi$ in place of R, and the policy gradient is what it was, without bias.
# The constant v plays the baseline. And since it is an ordinary regression, all that is known of
# regressions holds: more samples than parameters, please, or some damping (ridge).

# %% [markdown]
# **Exercise: The critic that is the step** (★★★, 15 min). Mind the constant, and a singular regression.


# %%
def critic_weights(scores, returns):
    """The shortest w that, with some constant v, minimises Σ (R − wᵀψ − v)²: (samples, parameters), (samples,)."""
    return ...  # your code here


# %%
critic_weights = check(critic_weights)
# hint(critic_weights)  # without the #: a hint, and the next one each time
# solution(critic_weights)

# %% [markdown]
# Exactly so, by enumeration: four tokens, and a judge who pays 1 with a chance that
# hangs on the first of them.

# %%
from dataclasses import replace

from policy_gradients.estimators.natural import compatible_critic

mdp = replace(early_token([0.2, 0.9, 0.4], 4), noise="bernoulli")
policy = softmax_policy(mdp)
judge = Oracle(mdp, policy.table, torch.randn(policy.size, dtype=torch.float64, generator=generator))
paths, chances = judge.outcomes.episodes, judge.outcomes.probabilities
w, v = compatible_critic(paths.scores.sum(1), paths.returns, weights=chances)
solved = natural_gradient(judge.gradient, judge.fisher)
print(f"w − F⁻¹∇J: {(w - solved).abs().max():.1e}    v − J: {(v - judge.objective).abs().max():.1e}")
assert (w - solved).abs().max() < 1e-8

# %%
few = judge.sample((5000,), generator)
w_few = critic_weights(few.scores.sum(1), few.returns)
print(f"from 5000 samples: cosine to F⁻¹∇J {torch.cosine_similarity(w_few, solved, dim=0):.3f}")

# %% [markdown]
# ## 7. When F does not fit
#
# Half a billion parameters make a matrix of 2·10¹⁷ numbers. But conjugate gradients need only products F·v.
#
# They look for x with F x = g step by step: each product F·v tells how the error bends along one more direction,
# and no direction that has been dealt with is spoilt by a later one. After k products x is, by
# the measure of F, the best there is in the span of $g, Fg, \dots, F^{k-1}g$.

# %% [markdown]
# **Exercise: F times a vector, without F** (★★, 10 min). Where do the brackets go?


# %%
def fisher_times(scores, vector):
    """E[ψψᵀ] v as a mean over samples, without the matrix: scores (samples, parameters), vector (parameters,)."""
    return ...  # your code here


# %%
fisher_times = check(fisher_times)
# hint(fisher_times)  # without the #: a hint, and the next one each time
# solution(fisher_times)

# %% [markdown]
# A real one: a network of 226 parameters balances a pole.
# F is small enough here to compare with the direct solution.

# %%
from policy_gradients.estimators.natural import conjugate_gradient, fisher_matrix
from policy_gradients.worlds.control import Reach, control_env
from policy_gradients.worlds.policies import MLP, CategoricalPolicy, Linear
from policy_gradients.worlds.rollout import rollout
from policy_gradients.worlds.training import credited, gradient_of

# %%
brain = CategoricalPolicy(MLP((4, 32, 2)))
weights = brain.initial(generator=generator)
batch = rollout(control_env("CartPole-v1", 16), brain, weights, generator, max_steps=200)
played = batch.mask.flatten() > 0
scores = brain.scores(weights, batch.observations, batch.actions).flatten(0, 1)[played]
g = gradient_of(brain, weights, batch, credited(batch))
big = fisher_matrix(scores)
print(f"{len(scores)} steps, {len(g)} parameters, rank of F {torch.linalg.matrix_rank(big, hermitian=True)}")

# %%
ask("04: conjugate gradients")

# %%
counts = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20)


def errors_after(damping):
    """Relative error of F⁻¹g after so many products."""
    direct = natural_gradient(g, big, damping)

    def product(v):
        return fisher_times(scores, v) + damping * v

    found = [conjugate_gradient(product, g, iterations=count) for count in counts]
    return [((x - direct).norm() / direct.norm()).item() for x in found]


wrong = {f"damping {damping:g}": errors_after(damping) for damping in (0.1, 0.01, 0.001)}
print({name: next((c for c, e in zip(counts, line, strict=True) if e < 0.01), None) for name, line in wrong.items()})

# %%
axes = {"xlabel": "products F·v", "ylabel": "relative error of F⁻¹g", "yscale": "log", "ylim": (1e-6, 2)}
show(curves(counts, wrong, title="Conjugate gradients: a few products do", **axes))

# %% [markdown]
# Few: eigenvalues that lie together are settled together, and damping pushes the small ones together.
# TRPO takes ten products.
# With damping 0.1, everything below 0.1 is as good as equal, and only the few large ones are left to find.
# Less damping leaves more of them to tell apart: ten products instead of five.
#
# ## 8. From a KL-sized step to PPO's clip
#
# TRPO takes the step of section 4, checks the true KL, and goes back where it
# was too far. PPO wants no F at all:
# several plain steps on one batch, each token's ratio clipped at 1 ± 0.2.
# The clip takes away the gain from going further, for each sample by itself: a good throw that has become 1.2
# times as likely meets a flat loss. A flat loss does not push; nor does it pull back.

# %%
ask("04: is the clip a trust region?")

# %%
from policy_gradients.estimators.losses import clipped_loss
from policy_gradients.oracle.gradients import gradient


def ppo(start, days, advantages, passes, clip=0.2, rate=0.05):
    """Plain gradient steps on the clipped loss, each day on its own batch; start and result (days, 2)."""
    old, theta = arm.log_probs_and_entropy(start, days.observations, days.actions)[0], start

    def objective(theta):
        new = arm.log_probs_and_entropy(theta, days.observations, days.actions)[0]
        return -clipped_loss(new.flatten(1), old.flatten(1), advantages.flatten(1), clip, clip).mean(1).sum()

    for _ in range(passes):
        theta = theta + rate * gradient(objective, theta)
    return theta


# %%
def how_far(std, draws=100):
    """KL moved, (draws,), on 100 independent days of 200 judged throws."""
    start, dice = at(0.8, std).expand(draws, 2), torch.Generator().manual_seed(5)
    days = GaussianOracle(near, arm, at(0.8, std)).sample((draws, 200), dice)
    marks = days.rewards + torch.randn(days.rewards.shape, dtype=torch.float64, generator=dice)
    scaled = (marks - marks.mean(1, keepdim=True)) / marks.std(1, keepdim=True)
    g, f = score_gradient(days.scores, scaled), sampled_fisher(days.scores.squeeze(-2))
    ends = {
        "1 pass": ppo(start, days, scaled, 1),
        "20 passes, clipped": ppo(start, days, scaled, 20),
        "20 passes, no clip": ppo(start, days, scaled, 20, clip=1e9),
        "one natural step, δ = 0.01": start + kl_step(g, natural_gradient(g, f), 0.01),
    }
    ratios = [arm.log_probs_and_entropy(t, days.observations, days.actions)[0] for t in (ends["1 pass"], start)]
    inside[std] = ((ratios[0] - ratios[1]).exp() - 1).abs().lt(0.2).double().mean((1, 2)).median().item()
    return {name: arm.kl(t, start, torch.zeros(draws, 1, dtype=torch.long))[:, 0] for name, t in ends.items()}


# %%
inside = {}  # σ → after one pass, the share of ratios between 0.8 and 1.2, median of the days
rows, moved = [], {std: how_far(std) for std in (1.0, 0.2, 0.05)}
for std, ways in moved.items():
    quantiles = [kl.quantile(torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)).tolist() for kl in ways.values()]
    rows.append([f"σ = {std}", *(f"{middle:.2g} ({low:.2g} to {high:.2g})" for low, middle, high in quantiles)])
Table(["KL moved, nats: median (5 to 95 %)", *moved[1.0]], rows)

# %%
late = moved[0.05]
farther = (late["20 passes, clipped"] > late["20 passes, no clip"]).double().mean()
print(f"σ = 0.05: in {farther:.0%} of the draws the twenty passes end farther away with the clip than without")
print("ratios within 1 ± 0.2 after one pass:", {f"σ = {std}": f"{share:.0%}" for std, share in inside.items()})

# %% [markdown]
# At the first pass every ratio is 1, so the clip does nothing:
# PPO's first step *is* the vanilla step, 1/σ and all. (In practice Adam rescales the step.
# That helps; it promises nothing.)
#
# Read the table by rows. On day one, σ = 1, the clip does what it is there for: twenty passes go less far with it. In the last row
# it does not. One pass alone, from noise, throws most days out by tens of δ, and few ratios are left within 1 ± 0.2;
# from there the clipped passes mostly end *farther* off than the free ones (the worst days are bad either way). A clip silences
# single throws that have moved the wanted way; it says nothing about where the others then carry the policy, and it never pulls
# back. So it is not a brake that one can rely on, and no trust region. The column on the right says 0.01 in every row, give or
# take what 200 throws know of F.
#
# ## 9. A plateau
#
# Kakade's two states. Staying in the first pays 1 a step, staying in the second pays 2.
# It starts mostly in the first, and inclined to stay there. Exact gradients, so both know everything.

# %%
ask("04: two states")

# %%
from policy_gradients.oracle.gradients import fisher
from policy_gradients.oracle.mdp import average_reward, stationary_distribution

two = two_states()
two_policy = softmax_policy(two)
inclined = torch.tensor([1.5, 0.0, 0.0, 1.5], dtype=torch.float64)  # stay in the first, leave the second


def eta(theta):
    """The average reward η, exact."""
    return average_reward(two, two_policy.table(theta))


# %%
def both_ways(steps=500):
    """η after each step of both, from exact gradients; rates 1 and 0.1."""
    theta = {"vanilla": inclined, "natural": inclined}
    with LivePlot("vanilla, natural", columns=1) as live:
        for step in range(1, steps + 1):
            g = {name: gradient(eta, t) for name, t in theta.items()}
            log_pi = two_policy.table(theta["natural"])
            f = fisher(two_policy.table, theta["natural"], stationary_distribution(two, log_pi))
            moves = {"vanilla": g["vanilla"], "natural": 0.1 * natural_gradient(g["natural"], f, 1e-6)}
            theta = {name: theta[name] + moves[name] for name in theta}
            live.log(step, **{name: eta(t).item() for name, t in theta.items()})
    return {name: [row[name] for row in live.rows] for name in theta}


# %%
average = both_ways()

# %%
began = eta(inclined).item()
for name, line in average.items():
    print(f"{name}: the first step gains {line[0] - began:.3f};", end=" ")
    print(f"reaches 0.99 at step {next(i for i, v in enumerate(line, 1) if v > 0.99)},", end=" ")
    print(f"1.9 at step {next(i for i, v in enumerate(line, 1) if v > 1.9)}")
axes = {"xlabel": "step (log scale)", "ylabel": "average reward η", "xscale": "log"}
show(curves(range(1, 501), average, title="Kakade's two states", **axes, level=("all in the second state", 2.0)))

# %% [markdown]
# The rates favour vanilla: its first step gains twice as much. And vanilla is soon certain of the first state: reward 1.
# It hardly ever visits the second, and a state that is not visited has no gradient.
# There it stares. The natural step divides the visits out again.
# In numbers: the gradient of a state's logits is (how often it is visited) × π(a|s) × (advantage). The first two
# are small just where the better half of the world is; F holds the same two factors, and cancels them.
#
# ## 10. Two robots, ten seeds
#
# Now with samples. **Reach**: push a point to the origin, and stop there.
# The policy is Gaussian, with learnt mean and full covariance.
# The second axis is five times as heavy. **Cart-pole**:
# keep the pole up, by softmax.
#
# To be fair, vanilla first gets its best learning rate:
# four of them, ten seeds each, side by side.

# %%
ask("04: the next rate up")

# %%
from policy_gradients.worlds.training import NaturalActorCritic, NaturalGradient, VanillaGradient, train_policy

SEEDS = 10


def guarded(update):
    """The same update; a seed that it throws beyond all bounds stays where it was."""

    def careful(theta, batch):
        new = update(theta, batch)
        return torch.where((new.abs() < 100).all(-1, keepdim=True), new, theta)

    return careful


def many_rates(policy, rates):
    """Vanilla steps with a learning rate for each row of copies."""
    rates = torch.tensor(rates, dtype=torch.float64)[:, None, None]

    def vanilla(theta, batch):
        return theta + rates * gradient_of(policy, theta, batch, credited(batch))

    return guarded(vanilla)


# %%
robot = GaussianPolicy(Linear(4, 2))  # 13 parameters: 8 gains, 2 offsets, 3 of the covariance
balancer = CategoricalPolicy(Linear(4, 2))
TASKS = {  # name: policy, environments, episodes a batch, updates (vanilla, natural), most steps, the four rates
    "reach": (robot, Reach, 16, (60, 60), 40, (0.003, 0.01, 0.03, 0.1)),
    "cart-pole": (balancer, lambda n: control_env("CartPole-v1", n), 8, (80, 40), 200, (0.001, 0.003, 0.01, 0.03)),
}


# %%
def tune(task):
    """Median return of the last five batches, for each rate."""
    policy, env, episodes, updates, most, rates = TASKS[task]
    start, label = policy.initial(len(rates), SEEDS), [f"rate {rate:g}" for rate in rates]

    def on_step(step, theta, batch):
        live.log(step, **dict(zip(label, batch.returns.mean(-1).quantile(0.5, 1), strict=True)))

    with LivePlot(*label, columns=2, share_y=True) as live:  # a panel for each, one scale
        world, update = env(len(rates) * SEEDS * episodes), many_rates(policy, rates)
        history = train_policy(world, policy, start, update, updates[0], generator, most, on_step)
    return dict(zip(rates, history.returns[-5:].mean(0).quantile(0.5, 1).tolist(), strict=True))


# %%
tuned = {"reach": tune("reach")}

# %%
tuned["cart-pole"] = tune("cart-pole")

# %%
best_rate = {task: max(found, key=found.get) for task, found in tuned.items()}
rows = [[task, f"{rate:g}", value, rate == best_rate[task]] for task in tuned for rate, value in tuned[task].items()]
Table(["task", "vanilla learning rate", "median return at the end", "best"], rows)

# %% [markdown]
# On reach, one notch above the best wrecks the policy.
# On cart-pole that same best rate of reach is far too large.
# A learning rate is counted in parameters: by itself it says nothing.
#
# Now the race, with fresh seeds. Vanilla at its best rate, and two natural ones at
# δ = 0.02, untuned. Actor–critic here is section 6 over time:
# regress rewards-to-go on scores and state features, and step along w.
# A pole that falls early makes a short episode. So on cart-pole vanilla gets twice the updates.


# %%
def run(task, name, update, live):
    """Ten fresh seeds of one method."""
    policy, env, episodes, updates, most, _ = TASKS[task]

    def on_step(step, theta, batch):
        live.log(step, **{name: batch.returns.mean(-1).quantile(0.5)})

    start, count = policy.initial(SEEDS), updates[name != "vanilla"]
    return train_policy(env(SEEDS * episodes), policy, start, update, count, generator, most, on_step)


def race(task):
    policy = TASKS[task][0]
    methods = {
        "vanilla": guarded(VanillaGradient(policy, best_rate[task])),
        "natural": NaturalGradient(policy, max_kl=0.02),
        "natural actor-critic": NaturalActorCritic(policy, max_kl=0.02),
    }
    with LivePlot(", ".join(methods), columns=1) as live:
        return {name: run(task, name, update, live) for name, update in methods.items()}


# %%
reached = race("reach")

# %%
balanced = race("cart-pole")

# %%
from policy_gradients.course.oracle_figures import learning_curves, target_table

figure = learning_curves(reached, "steps", target=-1.0)
figure.axes[0].set_ylim(-4, 0)  # all begin near -11: the end is what counts
show(figure)

# %%
target_table(reached, -1.0)

# %%
show(learning_curves(balanced, "steps", target=150.0))

# %%
target_table(balanced, 150.0)

# %%
ends = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
rows = []
for task, results in (("reach", reached), ("cart-pole", balanced)):
    for name, h in results.items():
        before, after_all = (part.mean(0).quantile(ends).tolist() for part in (h.returns[:1], h.returns[-5:]))
        rows.append([task, name, before[1], *after_all])
Table(["task", "method", "return before", "after: lower quartile", "median", "upper quartile"], rows)

# %% [markdown]
# On both tasks, untuned natural steps reach the target in fewer steps in the world than the tuned vanilla.
# On reach, vanilla also ends lower; and look at its lower quartile: the rate that was best for the ten seeds of the tuning ruins
# some of ten others. One notch lower it had not reached the target when the tuning ended. On cart-pole most of its seeds get there
# in the end, given twice the updates; as many as of the natural actor–critic, whose slowest quarter is no quicker than vanilla's.
# Steps are what a real robot pays for. A natural update costs more arithmetic; on reach, and for the plain natural gradient on
# cart-pole, it needs so many fewer of them that the clock agrees. For the actor–critic on cart-pole it does not.
#
# Where does it come from? Ask F how differently cart-pole's parameters matter, at the start:

# %%
flat_start = balancer.initial()
played = rollout(control_env("CartPole-v1", 64), balancer, flat_start, generator, max_steps=200)
on = played.mask.flatten() > 0
spread = played.observations.flatten(0, 1)[on].std(0)
matter = torch.linalg.eigvalsh(
    fisher_matrix(balancer.scores(flat_start, played.observations, played.actions).flatten(0, 1)[on])
)
print("spread of position, speed, angle, turning:", [round(x, 2) for x in spread.tolist()])
print(f"eigenvalues of F: {matter[-1]:.2f} down to {matter[matter > 1e-9].min():.5f}")

# %% [markdown]
# In nats, the same step costs about two thousand times as much along the first direction
# as along the last. Vanilla has one rate for all.
#
# To redo or extend it: `python -m policy_gradients.worlds reach natural --seeds 20`.
#
# ## What to take along
#
# - A step is as large as its KL. For a Gaussian that is ½(Δμ/σ)²: precision makes the same step deadlier.
# - F = E[ψψᵀ] is the curvature of that KL. F⁻¹g is the steepest way up, whatever the units.
# - It is a regression of returns on scores, or a few conjugate gradients: F need not be formed.
# - It does not lower the variance of g. It changes the ruler.
# - PPO's clip is no trust region: its first step is the vanilla one, and where that is too long the clip does not save it.
#
# ### Where the source page differs
#
# (The page *Policy Gradients*, from which this course started: see the
# [bibliography](../docs/bibliography.md#the-source-page).)
#
# | it says | here |
# | --- | --- |
# | Peters & Schaal 2006 introduced natural gradients and Gaussian policies | Amari 1998, Kakade 2001; Gaussians with learnt spread: Williams 1992. Theirs is a survey for robotics |
# | natural gradients give "low-variance" updates | the same g, another metric (section 4) |
# | F⁻¹∇J, as if F had an inverse | for a softmax it has none: pseudo-inverse or damping (section 5) |
# | an actor–critic stays a policy gradient | if the critic is compatible, and fitted (section 6) |
# | "trust-region clipping" | a clip does not bound the KL (section 8) |
#
# ### References
#
# - Amari 1998, *Neural Computation* 10(2): natural gradient works efficiently in learning
# - Kakade 2001, *NIPS 14*, [A natural policy gradient](https://papers.nips.cc/paper/2001/hash/4b86abe48d358ecf194c56c69108433e-Abstract.html)
# - Sutton, McAllester, Singh & Mansour 2000, *NIPS 12*: compatible critics (Theorem 2)
# - Peters & Schaal 2006, *IROS*; 2008, *Neural Networks* 21: policy gradients in robotics
# - Williams 1992, [doi:10.1007/BF00992696](https://doi.org/10.1007/BF00992696)
# - Schulman et al. 2015, [arXiv:1502.05477](https://arxiv.org/abs/1502.05477) (TRPO); 2017,
#   [arXiv:1707.06347](https://arxiv.org/abs/1707.06347) (PPO)

# %%
progress()

# %% [markdown]
# ## Onward
#
# A step is as large as its KL, F is that KL's curvature, and F⁻¹g is the steepest way up whatever the units. It can be had by solving,
# by a regression, or by a few products. A clip on single ratios is cheaper, and bounds nothing.
#
# Not shown: a language model. There a state is a whole text, a value network is as large as the policy, and a reward is one bit.
#
# Next: [05 · What is left of PPO when the critic goes?](05_grpo_from_scratch.ipynb), 50 min to read and 105 min of exercises.
