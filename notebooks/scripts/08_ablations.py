# ---
# jupyter:
#   accelerator: GPU
#   colab:
#     gpuType: T4
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
# # 08 · Which knob matters?
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/policy-gradients/blob/main/notebooks/08_ablations.ipynb)
#
# A method has many settings, and papers that say which of them helps. Train twice with another seed, and the curves
# differ; train twice with another setting, and they differ, too. When is a difference one of the setting? This notebook
# takes one claim, about the entropy bonus, and shows all that a verdict on it takes. Then the same rules judge ten more
# choices: what a reward is compared with, how completions are split into groups, how often a batch is used, what divergence
# costs, who gets the credit, which tokens are held back, whose length divides, how large a batch is, what helps where the
# bit is rare, and what is fair among easy and hard prompts. At the end some of it is asked again of the whole job.
#
# **Afterwards you can**
#
# - ask of a claim whether its yardstick could tell success from failure;
# - declare a study before it is run: arms, seeds, a metric, the smallest difference that matters, a rule;
# - test paired runs exactly, without assuming a curve, and correct for everything that was asked;
# - tell "no difference" from "not enough seeds".
#
# | | |
# | --- | --- |
# | to read and think | 65 min, and 51 min for the five exercises |
# | to run | under 90 s on one CPU core, no GPU, with the tier `tiny`; the runs of the study are stored |
# | needs | [notebook 06](06_grpo_on_a_t4.ipynb): GRPO with a checker; [notebook 07](07_evaluation.ipynb): intervals and p-values |

# %%
# @title Setup: on Colab this installs the course, elsewhere it does nothing
from importlib.util import find_spec

if find_spec("policy_gradients") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/OWNER/policy-gradients")  # noqa: F821

# %%
from policy_gradients.course.diagram import five_steps
from policy_gradients.course.display import Table, show
from policy_gradients.course.exercises import check, hint, progress, solution  # noqa: F401
from policy_gradients.course.predictions import ask

show(five_steps("08_ablations"))

# %% [markdown]
# ## 1. A claim, and its yardstick
#
# An entropy bonus rewards a policy for staying undecided, so that it goes on trying. How much should it weigh? The page
# from which this course started (see the [bibliography](../docs/bibliography.md#the-source-page)) puts up a hypothesis.
# In our words: *a bonus whose weight is scaled dynamically, with the variance of the rewards, beats a constant one where
# rewards are sparse; the sign of it is a larger reduction of the rewards' variance.* In the page's recipe the weight goes
# with the *inverse* of the variance, elsewhere on the page it rises *with* it. (The page ascribes this to DeepSeekMath
# [1]. The word "entropy" does not occur in that paper.)
#
# First the yardstick. A reward that is 1 with probability p and 0 otherwise has the variance
# $E[r^2]-E[r]^2 = p - p^2 = p(1-p)$.

# %%
ask("08: from 5 to 95")

# %%
journeys = {
    "succeeds": (0.05, 0.95),
    "half-way": (0.05, 0.50),
    "gives up": (0.05, 0.0),
    "was good, and fails": (0.95, 0.0),
}
rows = []
for name, (before, after) in journeys.items():
    first, last = before * (1 - before), after * (1 - after)
    rows.append([name, f"{before:.0%} to {after:.0%}", first, last, f"{round(1 - last / first, 9) + 0.0:.0%}"])
Table(["a method that …", "pass rate", "variance before", "after", "reduction of variance"], rows)

# %% [markdown]
# The method that succeeds reduces the variance by nothing. The ones that end at zero reduce it by all there was. And
# from 5 % on, each step of progress *raises* the variance until half of the completions pass. A yardstick that gives
# failure full marks and success none measures neither. So the study below asks for the pass rate, and reports the variance
# beside it.
#
# The same fact is in the bonus itself, as it follows the variance. `entropy_weight` is the library's; the group below has
# a thousand completions, of which the share p passes.

# %%
import torch

from policy_gradients.estimators.regularizers import entropy_weight


def passing(p, size=1000):
    """One group of rewards in which the share p passes, (1, size)."""
    return (torch.arange(size) < round(p * size)).float()[None]


rows = []
for p in (0.0, 0.05, 0.5, 0.95, 1.0):
    variance = passing(p).var().item()
    dynamic = [entropy_weight(base, passing(p), s) for base, s in ((0.0003, "inverse_variance"), (0.012, "variance"))]
    rows.append([f"{p:.0%}", variance, 0.0003 / variance if variance else None, *dynamic])
Table(["pass rate", "variance", "0.0003 / variance", "the same, capped", "0.012 · variance"], rows)

# %% [markdown]
# - **Inverse** to the variance, the weight is largest both where nothing passes and where everything does. At the ends
#   it would be infinite: the cap, ten times the base, is what decides there. A policy that has learnt the rule gets the same
#   weight as one that knows nothing.
# - **In proportion**, it is 0 where nothing passes: exactly where one would want to explore.
#
# From rewards of 0 and 1, the variance alone cannot know which end it is at. The arms of the study, drawn:

# %%
from policy_gradients.course.study_figures import weight_figure
from policy_gradients.studies.study import load_study

study = load_study("entropy")
show(weight_figure(study))

# %% [markdown]
# ## 2. The study, as it was declared
#
# A bad yardstick does not make the claim false. Perhaps a dynamic bonus helps all the same. To find out, everything that
# could be bent afterwards is written down before: which arms, how many seeds, which number, which difference would matter,
# and what has to come out. This is what the file `studies/data/entropy.yaml` declared before the first run. (Its head, written
# later, says which trials came before: some short ones, of another size, used two of the study's own seeds.)

# %%
print(study.question, study.decision, sep="\n")
rows = [
    [arm, ", ".join(f"{key} {value}" for key, value in settings.items()) or "–"] for arm, settings in study.arms.items()
]
Table(["arm", "what it has that the others have not"], rows)

# %%
shared = ", ".join(f"{key} {value}" for key, value in study.settings.items())
print(f"preset {study.preset}; {shared}\n{len(study.seeds)} seeds, {len(study.hypotheses)} hypotheses")
Table(["hypothesis", "smallest difference that matters"], [[str(h), h.smallest] for h in study.hypotheses])

# %% [markdown]
# What is told to the method: **one bit a completion**, from the strict rule, from the first step on. The rule is a short
# one (a digit, a digit sum divisible by 3, and an end), so that runs are short. The method is plain GRPO, with a
# small price on divergence, without a curriculum and partial credit. Every arm gets the same, but for the bonus. (Advantages
# are divided by their group's standard deviation, so weights are in its units. A target controller is among the arms as
# a third kind: it follows the entropy, not the variance.)
#
# The number is the mean strict rate over all steps: the area under the curve, so that early learning counts. Another
# that people like is the time until half of the completions pass. It has a trap.

# %% [markdown]
# **Exercise: Steps to one half** (★, 8 min). What of a run that never gets there?


# %%
def steps_to_half(strict_rates):
    """First step (from 1) at which the mean of it and the four before is ≥ ½; never: one step more than there are."""
    return ...  # your code here


# %%
steps_to_half = check(steps_to_half)
# hint(steps_to_half)  # without the #: a hint, and the next one each time
# solution(steps_to_half)

# %%
slow, fast, never = ([rate] * 20 + [1.0] * 20 for rate in (0.3, 0.5, 0.0))
print({"fast": steps_to_half(fast), "slow": steps_to_half(slow), "never": steps_to_half(never[:20])})

# %% [markdown]
# A run that never gets there is **censored**: all that is known is that it takes longer than it lasted. A mean over such
# values is too small, by nobody knows how much. That is why the rule of the study speaks of the area.
#
# ## 3. How it is judged
#
# **Pairs.** Runs of one seed draw the same prompts with the same random numbers, and begin with the same batch, whatever
# the arm. So they are compared *within* the seed: one difference a seed, and what the seeds have in common drops out.
# Ten seeds give ten differences, and the question is whether their mean could be chance.

# %% [markdown]
# **Exercise: All the ways the signs could have fallen** (★★, 15 min). Without an effect, each difference could as well have
# had the other sign (Fisher 1935 [2]).


# %%
def sign_flip_p_value(differences):
    """Share of the 2ⁿ ways to choose the signs of these numbers whose mean is at least as far from 0 as theirs."""
    return ...  # your code here


# %%
sign_flip_p_value = check(sign_flip_p_value)
# hint(sign_flip_p_value)  # without the #: a hint, and the next one each time
# solution(sign_flip_p_value)

# %%
rows = [[n, f"2 / 2^{n}", sign_flip_p_value([0.1] * n)] for n in (2, 3, 5, 6, 8, 10)]
Table(["seeds, all of one sign", "the smallest p-value there is", "as computed"], rows)

# %% [markdown]
# No curve is assumed, and nothing is estimated: the p-value is a count. But it has a floor. With three seeds *no* outcome
# whatever is below 5 %. And this study asks more than one question.

# %%
ask("08: twelve tests")

# %% [markdown]
# The hypotheses are not independent, since they share arms. So let us play the whole study many times with nothing to be
# found: every arm is noise. How often does at least one of the tests find something, at 5 %?

# %%
import numpy as np

arms, n, repetitions = list(study.arms), len(study.seeds), 2000
signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)  # all ways to choose n signs, (2ⁿ, n)
noise = np.random.default_rng(0).normal(size=(repetitions, len(arms), n))
p_values = []
for h in study.hypotheses:
    found = noise[:, arms.index(h.arm)] - noise[:, arms.index(h.against)]
    p_values.append((abs(found @ signs.T) >= abs(found.sum(1, keepdims=True)) - 1e-9).mean(1))
p_values = np.array(p_values).T  # (repetitions, hypotheses)

# %% [markdown]
# **Exercise: Holm's correction** (★★, 12 min). The chance of even *one* false finding is to stay below 5 %.


# %%
def holm(p_values):
    """Holm's corrected p-values, a list in the order given: sorted, times m, m − 1, …, never falling, at most 1."""
    return ...  # your code here


# %%
holm = check(holm)
# hint(holm)  # without the #: a hint, and the next one each time
# solution(holm)

# %%
count = len(study.hypotheses)
alone = (p_values.min(1) < 0.05).mean()
corrected = np.mean([min(holm(row.tolist())) < 0.05 for row in p_values])
rows = [[f"{count} independent tests, 1 − 0.95^{count}", f"{1 - 0.95**count:.1%}"]]
rows.append(
    [
        f"the study's {count}, uncorrected, of {repetitions} studies",
        f"{alone:.1%} ± {1.96 * (alone * (1 - alone) / repetitions) ** 0.5:.1%}",
    ]
)
rows.append(
    [
        "the same, corrected by Holm",
        f"{corrected:.1%} ± {1.96 * (corrected * (1 - corrected) / repetitions) ** 0.5:.1%}",
    ]
)
Table(["nothing is there to be found", "at least one finding"], rows)

# %% [markdown]
# Shared arms make it less than for independent tests, and still far more than one in twenty. Corrected, it stays below 5 %.
# The price is paid in seeds: the floor of the p-value is multiplied, too.

# %% [markdown]
# **Exercise: How many seeds before anything can be found** (★★, 8 min). For m hypotheses, at level alpha.


# %%
def least_seeds(hypotheses, alpha):
    """Fewest seeds n with which one of so many hypotheses can have a sign-flip p-value below alpha after Holm."""
    return ...  # your code here


# %%
least_seeds = check(least_seeds)
# hint(least_seeds)  # without the #: a hint, and the next one each time
# solution(least_seeds)

# %%
print({f"{m} hypotheses": least_seeds(m, 0.05) for m in (1, 3, 12, 100)}, f"and there are {len(study.seeds)} seeds")

# %% [markdown]
# That is what a study needs to *find* anything. How large must an effect be, to be found in four studies of five? By the power of
# the paired t-test, in units of the spread of the differences. (The exact test comes close at ten seeds and one test; after
# the correction it sees a little less, and with fewer seeds than the exercise says it sees nothing, however large the effect.)

# %%
from policy_gradients.studies.analysis import detectable_difference

rows = [[n, *(detectable_difference(1.0, n, alpha) for alpha in (0.05, 0.05 / count))] for n in (10, 20, 40)]
Table(["seeds", "detectable, one test", f"detectable, at 5 % / {count}"], rows)

# %% [markdown]
# Four times the seeds bring it to a half, or less. So a large p-value shows very little: perhaps there is no difference, perhaps
# there were too few seeds. What can show that there is none is an **interval**: if all of it lies within the smallest
# difference that matters, on both sides, then no difference matters. The intervals here come from the bootstrap, which
# draws seeds anew from those there are (BCa, Efron 1987 [4]). How often do they hold the truth?

# %%
from scipy.stats import bootstrap

rows, rng = [], np.random.default_rng(0)
for n in (3, 5, 10, 20):
    draws = rng.normal(size=(1000, n))  # a thousand studies whose true difference is 0
    ends = bootstrap((draws,), np.mean, axis=-1, n_resamples=999, batch=100, rng=rng).confidence_interval
    rows.append([n, f"{np.mean((ends.low < 0) & (ends.high > 0)):.0%}"])
Table(["seeds", "the 95 % interval holds the true difference"], rows)

# %% [markdown]
# Short of 95 % for few seeds: what is drawn anew from few differences spreads too little, and the interval makes no allowance
# for that, as Student's t does. Read the intervals below with that in mind. (With fewer than six seeds the library always
# says "undecided".)

# %% [markdown]
# **Exercise: A verdict** (★★, 8 min). Four words, and one of them is "undecided".


# %%
def verdict(difference, interval, corrected, smallest):
    """Significant (corrected p < 0.05): "holds", or "the reverse holds"; else, if the interval (low, high) lies within
    ±smallest, "no difference that matters"; else "undecided". A difference above 0 speaks for the hypothesis."""
    return ...  # your code here


# %%
verdict = check(verdict)
# hint(verdict)  # without the #: a hint, and the next one each time
# solution(verdict)

# %% [markdown]
# ## 4. What came out
#
# The runs are in the repository, a few kilobytes each: settings, curves, and the evaluation at the end, on held-out prompts.
# Everything below is computed from them here. (`pip install` brings the package without them; the tables are empty then.)

# %%
from pathlib import Path

from policy_gradients.studies.analysis import claims, compare
from policy_gradients.studies.runs import read_runs

folder = Path("..", "results", "ablations", study.name)
runs = read_runs(study, folder)
stored = [run for of_arm in runs.values() for run in of_arm.values()]
found = compare(study, runs) if stored else []
print(
    f"{len(stored)} of {len(arms) * len(study.seeds)} runs, {sum(run['seconds'] for run in stored) / 60:.0f} minutes of training"
)

# %%
CLAIMED = ("inverse variance", "variance")  # the two whose weight follows the variance
told = [claim for claim in claims(study, found) if claim.arm in CLAIMED]
winners = " and ".join(claim.arm for claim in told if claim.verdict == "holds") or "neither"
ask("08: the verdict", winners, because=" ".join(claim.sentence for claim in told))

# %%
from policy_gradients.studies.analysis import summaries

METRICS = ("mean_strict_rate", "steps_to_half", "pass_rate", "distinct_share", "last_entropy", "kl", "reward_variance")
header = ["arm", "seeds", *(name.replace("_", " ") for name in METRICS)]
Table(header, summaries(study, runs, METRICS))

# %% [markdown]
# Means over seeds, with 95 % intervals: strict rate over all steps; steps until a half (one to five of an arm's ten runs never
# get there, so it takes longer than this says); and, at the end, the strict rate on
# held-out prompts, the share of distinct texts, entropy (nats a token), divergence from the reference (nats a
# completion), and the variance of the reward among completions of a prompt. These intervals are of single arms. Two that
# overlap decide nothing, since the runs are paired: the differences are what counts.
#
# Your own functions judge them:

# %%
from policy_gradients.studies.analysis import bootstrap_interval, differences

by_seed = [differences(runs, h) for h in study.hypotheses if stored]
after = holm([sign_flip_p_value(d.tolist()) for d in by_seed])
rows = []
for h, d, p in zip(study.hypotheses, by_seed, after, strict=False):
    low, high = bootstrap_interval(d)
    rows.append(
        [
            h.arm,
            h.against,
            f"{d.mean():+.1%} [{low:+.1%}, {high:+.1%}]",
            p,
            verdict(d.mean(), (low, high), p, h.smallest),
        ]
    )
Table(["arm", "better than", "difference [95 %]", "p, corrected", "verdict"], rows)

# %% [markdown]
# And the library's, with the effect in units of the spread (d_z), and the difference that so many seeds with so much
# spread would have found in four of five studies, at the level of one test:

# %%
from policy_gradients.studies.analysis import VERDICT_HEADER, verdict_rows

Table(VERDICT_HEADER, verdict_rows(found))

# %%
from policy_gradients.course.study_figures import study_figure

if stored:
    show(study_figure(study, runs, found))

# %% [markdown]
# The rule was: an arm has to beat *every* constant weight, each difference significant after the correction. As the library
# puts it: one that is worse than one of them, or not different in a way that matters, refutes the claim, and anything else
# leaves it open. For
# every arm that a hypothesis speaks for, constants against no bonus among them:

# %%
for claim in claims(study, found) if stored else []:
    print(claim.sentence)

# %% [markdown]
# Whatever stands there, it was the rule that spoke, and it was written first. Note how each word is earned. "Undecided"
# is about these seeds, not about the bonus: the column *detectable* says how large a difference could have hidden from one
# test; from the twelve together it could be half as large again. Where an interval lies above 0 and the word is "undecided" all the
# same, go by the p-value: the interval answers for one comparison only, and for so few seeds it is too narrow even for that
# one. It is a reason to run more seeds, not to believe.
#
# **Did the bonus do what it does?** Left, its weight over the training; right, the entropy that it is paid for.

# %%
from policy_gradients.course.study_figures import curves_figure

if stored:
    show(curves_figure(study, runs, ("entropy_weight", "entropy")))

# %% [markdown]
# **Did pairing help?** The variance of a difference is the sum of both variances less twice the covariance. Where seeds
# have something in common, the paired difference varies less than that of two unrelated runs; a ratio near 1 says that
# they have little in common, and then pairing costs little.

# %%
from policy_gradients.studies.analysis import outcomes

rows = []
for h, d in zip(study.hypotheses, by_seed, strict=False):
    apart = sum(np.var(list(outcomes(runs, arm, h.metric).values()), ddof=1) for arm in (h.arm, h.against))
    rows.append([h.arm, h.against, apart**0.5, d.std(ddof=1), d.var(ddof=1) / apart])
Table(["arm", "against", "spread if unpaired", "spread, paired", "ratio of variances"], rows)

# %%
firsts = [
    {run["curves"]["strict_rate"][0] for run in (runs[arm].get(seed) for arm in arms) if run} for seed in study.seeds
]
print("seeds whose arms all begin with one strict rate:", sum(len(first) == 1 for first in firsts), "of", len(firsts))

# %% [markdown]
# **And the page's yardstick?** The arms in the order of the variance of their rewards, the least first. If it measured
# success, the strict rates would fall from top to bottom. (The variance is that within a prompt's group: on average it is
# below p(1 − p), for prompts differ.)

# %%
means = {arm: [np.mean(list(outcomes(runs, arm, m).values())) for m in METRICS] for arm in arms if runs[arm]}
rows = [
    [arm, float(m[-1]), f"{m[0]:.1%}", f"{m[2]:.1%}"] for arm, m in sorted(means.items(), key=lambda item: item[1][-1])
]
Table(["arm", "reward variance, last ten steps", "strict rate, all steps", "held-out strict rate, at the end"], rows)

# %% [markdown]
# ## 5. A second study: what a reward is compared with
#
# Every gradient of GRPO goes through an advantage: a reward less a baseline, perhaps over a scale. What each choice does
# to the *mean* of the gradient can be derived (notebooks 02, 05, 09): a mean over the others leaves it alone, a group's own
# spread or mean gives every prompt a factor of its own. Which of them *learns* fastest is another question, and that one
# takes runs.

# %%
from policy_gradients.course.stored_studies import stored_study

second = stored_study("advantages")
print(second.asked)
Table(["arm", "baseline", "scale"], [[arm, *settings.values()] for arm, settings in second.study.arms.items()])

# %% [markdown]
# The task is that of the first study. There is no price on divergence: against advantages that are divided by something
# small, it would weigh less. One learning rate for all is fair as far as a constant factor goes, since Adam takes it out
# again. What is left of a scale is how it weighs prompts *against each other*, and early steps against late ones.

# %%
ask("08: what to divide by", second.arms_that_win("RLOO"), because="See the differences below.")

# %%
second.arms(*METRICS)

# %%
second.verdicts()

# %%
if second.comparisons:
    show(second.figure())

# %% [markdown]
# No scale is shown to help, and none to harm. The largest difference is that of REINFORCE++, with one mean and one spread
# for the whole batch; its interval lies above 0, and six questions to ten seeds that differ so much leave it undecided. The
# baseline that variance theory recommends is not shown to win either: by the estimate, REINFORCE *without* one learns
# faster here. That is no wonder where few completions pass and rewards are 0 and 1: a failure then gets no gradient at
# all, and a success a whole one, the same luck of the units that section 2 of notebook 09 counts exactly.
#
# One word is a finding. RLOO keeps no more texts distinct than GRPO does, by any margin that matters: the interval says
# so. (It is of sixty texts a run, nearly all distinct in both arms: where nothing repeats itself, this yardstick cannot tell
# arms apart.)

# %% [markdown]
# ## 6. Few prompts, large groups?
#
# Thirty-two completions a step may be one prompt's, or two each of sixteen. A large group knows its own mean better. But many
# prompts say more about what prompts have in common. Two things can be counted without a run. A group in which all
# rewards are equal says nothing, and that happens with probability $p^G+(1-p)^G$. And a reward less the mean of the
# $G-1$ others has the variance $p(1-p)\,\frac{G}{G-1}$.

# %%
ask("08: who speaks")

# %%
rows = []
for size in (32, 16, 8, 4, 2):
    speaks = [1 - p**size - (1 - p) ** size for p in (0.05, 0.2, 0.5)]
    rows.append([f"{32 // size} × {size}", *(f"{share:.0%}" for share in speaks), size / (size - 1)])
Table(["prompts × G", "groups that speak at 5 %", "at 20 %", "at 50 %", "variance of r − b, in p(1 − p)"], rows)

# %% [markdown]
# So pairs are silent half of the time at best, and noisy where they speak. But there are sixteen of them. What comes out? One more study, of the same
# task, declared like the others:

# %%
groups = stored_study("groups")
print(groups.asked)
groups.arms("mean_strict_rate", "steps_to_half", "pass_rate", "distinct_share", "kl")

# %%
groups.verdicts()

# %%
if groups.comparisons:
    show(groups.figure())

# %% [markdown]
# Nothing is shown about speed. From one prompt of 32 to sixteen pairs the means lie between 33 and 39 %, and every
# interval has 0 well within it. The column *seeds needed* says what it would take to see three points with such luck
# between seeds: 245 to 460 seeds an arm, not ten. So this is no finding that the split does not matter. It says that
# ten seeds cannot tell.
#
# One thing is settled: pairs keep as many texts distinct as one group of 32, nearly all. In the arm with groups of four
# two of the ten runs ended with few texts (1 and 13 of 60). No hypothesis asked about that, so it is a reason for a
# study, not a finding of this one.

# %% [markdown]
# ## 7. A batch used more than once
#
# Completions take time to sample. PPO [8] takes several updates from one batch, and clips the ratio $\pi/\pi_{old}$, so that none
# of them goes far. GSPO [9] clips one ratio a completion. CISPO [10] clips the *weight* and drops no token's gradient.
# DAPO [11] clips less above than below.
#
# All of them move further in a step than one update does, and so would a larger learning rate. A comparison at one rate
# alone cannot tell the two apart. That is why the study has an arm for it.

# %%
clip = stored_study("clip")
won = {c.hypothesis.against for c in clip.comparisons if (c.hypothesis.arm, c.verdict) == ("twice, PPO", "holds")}
AT = {"once": "the first alone", "once, twice the rate": "the second alone"}
answer = "both" if won >= set(AT) else next((said for against, said in AT.items() if against in won), "neither")
ask("08: once or twice", answer, because=clip.sentences())

# %%
print(clip.asked)
clip.arms("mean_strict_rate", "steps_to_half", "pass_rate", "distinct_share", "kl", "perplexity_increase")

# %%
clip.verdicts()

# %%
if clip.comparisons:
    show(clip.figure())

# %% [markdown]
# **Two clipped updates learn faster than one at the same rate**: 58 against 39 % over the training, found at 5 %.
# Against one update at *twice* the rate they are not shown to: 55 %, and the interval reaches from 7 points below to 24
# above. Without that arm, the gain would have gone to the reuse of the batch. It may be that of a larger step. (The two
# differ in other ways: one update at twice the rate ends 167 nats from the reference, two clipped ones 70. No
# hypothesis asked about that.)
#
# **CISPO is worse here than PPO's clip**: 40 against 58 %, the reverse of what was claimed, found at 5 %. Its weights
# were held between 0 and 5 (no lower bound, as in its paper; the upper one is ours), so little can have been held, and
# its policies went 150 nats far. At the size for which it was made, or with a tighter bound, that may be otherwise.
# GSPO, four updates in place of two, and a wider clip above: undecided, each.

# %% [markdown]
# ## 8. The price of divergence
#
# Notebook 05 derived which gradient each estimator of the divergence has, in the reward and in the loss. Theory says: k1,
# differentiated in the loss, has the mean 0. The exact divergence and k3 in the loss pull each token back, and do not
# charge it for the states that it leads to; in the reward all that comes later is charged. How much of that is seen in thirty steps?

# %%
ask("08: which price is none")

# %%
divergence = stored_study("divergence")
print(divergence.asked)
divergence.arms("mean_strict_rate", "pass_rate", "distinct_share", "kl", "perplexity_increase")

# %%
divergence.verdicts()

# %%
if divergence.comparisons:
    show(divergence.figure())

# %% [markdown]
# A price of 0.1 a nat holds the policy, by far: 83 nats without it, 32 in the loss, 22 in the reward; plain text
# becomes less strange, too. Both are found at 5 %. What it costs is found in the reward: the strict rate over the
# training falls from 39 to 17 %. In the loss no cost is shown, and none is excluded.
#
# **k1 in the loss** is the price that theory calls none: the policy ends 9 nats nearer than without a price, with an
# interval from 9 farther to 27 nearer, where the same price elsewhere saves 48 and more. Undecided, which is what most
# studies would say of a price that does nothing.
#
# **Place** is not a matter of better or worse here. In the reward the same β leaves 10 nats less, which is found, and
# by the estimate it earns less, too; a third of it in the loss leaves 13 nats more, which is found, and by the estimate
# it earns more. They may be points of one curve, or one place may have the better curve: for that, arms would have to
# be compared at equal divergence, as notebook 09 does. **Estimators** cannot be told apart: exact against k1 in the
# reward, exact against k3 in the loss.

# %% [markdown]
# ## 9. Who gets the credit?
#
# One bit a completion is all that GRPO sees, and it gives every token the same advantage. A critic (PPO) sees the same bit, and
# learns what a prefix is worth. Credit by state, in notebook 06, asks the checker about texts that were never written: it
# *knows* the rule, and the others do not. So the last row below is no rival: it is told more.

# %%
credit = stored_study("credit")
ask("08: whose credit", credit.arms_that_win("completion"), because=credit.sentences())

# %%
print(credit.asked)
credit.arms("mean_strict_rate", "steps_to_half", "pass_rate", "distinct_share", "kl")

# %%
credit.verdicts()

# %%
if credit.comparisons:
    show(credit.figure())

# %% [markdown]
# **The critic of a model's own size learns faster from the same bit**: 48 against 38 % over the training, found at 5 %.
# What it costs is a second model to train. The critic that is a head on the policy is not shown to; its difference may
# as well be 0.
#
# **States**, which know the rule, are not shown to be faster, and what is found is the price: in nine of ten runs one
# or two of sixty texts are left, where one advantage a completion keeps all sixty, and plain text has become
# unreadable. Here the method had GRPO's rate, and no price on divergence. In notebook 06, on another rule, the same
# credit at half this rate, with a price on divergence and on the prompts, keeps nearly all texts distinct. So this is
# no verdict on it. It is a reason to doubt comparisons at *one* method's settings.

# %% [markdown]
# ## 10. Who takes the entropy?
#
# A bonus pays for entropy. One may also look who takes it. Along a step η A of a softmax's logits the entropy falls by the
# covariance of log-probability and advantage, $dH/d\eta=-\mathrm{Cov}_\pi(\log\pi, A)$ [5]: likely tokens that paid take it,
# and so do unlikely ones that did not. Clip-Cov leaves out of the update those tokens whose product is largest. (The paper
# draws its tokens from a band; here they are the largest 1 or 5 %.)

# %%
covariance = stored_study("covariance")
print(covariance.asked)
covariance.arms("mean_strict_rate", "last_entropy", "pass_rate", "distinct_share", "kl", "perplexity_increase")

# %%
covariance.verdicts()

# %%
if covariance.comparisons:
    show(covariance.figure())

# %% [markdown]
# **Clip-Cov holds entropy, and adds to it**: with the largest 5 % left out the policy ends at 2.95 nats a token, and
# without any control at 1.70, which is found at 5 %. Before training it was 1.79. So here was little to be saved: in
# thirty steps hardly any entropy went.
#
# **It is not shown to help.** By the estimate, leaving out 5 % costs 9 points of the rate over the training, and
# leaving out 1 % earns 3; both are undecided. Cui et al. made it for runs whose entropy collapses early, and this is
# none of them. (The arms without control and with the constant bonus are those of the first study, which another
# processor ran.)

# %% [markdown]
# ## 11. Divided by whose length?
#
# A completion's loss is a sum over its tokens. Divided by its own length (`sequence`), a long failure is pushed down less a
# token than a short one. Divided by all tokens of the batch (`token`) or by a constant, tokens weigh alike. Dr. GRPO [12]
# calls the first a bias of length, and takes the constant. Notebook 05 computes what each does to the gradient. Does
# it show?

# %%
aggregation = stored_study("aggregation")
lengths = [c for c in aggregation.comparisons if c.hypothesis.metric == "mean_length"]
moved = " and ".join(c.hypothesis.arm for c in lengths if "holds" in c.verdict) or "none of them"
ask("08: whose length", moved, because=aggregation.sentences())

# %%
print(aggregation.asked)
aggregation.arms("mean_strict_rate", "mean_length", "pass_rate", "distinct_share", "kl")

# %%
aggregation.verdicts()

# %%
if aggregation.comparisons:
    show(aggregation.figure())

# %% [markdown]
# **Nothing is found.** No way of dividing is shown to learn faster, and none to end with another length: the estimates
# are 10 and 6 characters shorter by `sequence`, with intervals that only just leave 0 out and a correction for six
# questions that does not.
#
# What is striking was not asked. Of the twenty runs that divide by a completion's own length six end with one to five
# of sixty texts, three of them with texts of some fifteen characters; of the thirty others none ends with fewer than
# 53. A short success is paid more for each of its tokens than a long one, so it would fit. But whoever looks at all
# columns finds something in one: it is the hypothesis of the next study, and no finding of this one.

# %% [markdown]
# ## 12. A larger batch, or a higher rate?
#
# The same 960 completions may be thirty steps of 32 or fifteen of 64. A batch twice as large has half of the variance, and may
# bear a higher rate; but there are half as many steps to take. Where noise is what limits, size pays. Where steps are,
# it does not.

# %%
rates = stored_study("rates")
ask("08: steps or size", rates.arms_that_win("4 prompts, 0.0008", "pass_rate"), because=rates.sentences())

# %%
print(rates.asked)
rates.arms("pass_rate", "last_entropy", "distinct_share", "kl", "perplexity_increase")

# %%
rates.verdicts()

# %%
if rates.comparisons:
    show(rates.figure())

# %% [markdown]
# **Here steps are what is short, not quiet.** At the rate 0.0008 eight prompts for fifteen steps pass 39 % at the end,
# and four for thirty 78 %: the reverse of what was hoped for, found at 5 %. At twice that rate the eight come to 52 %,
# still 26 points behind, which is undecided. Half of the noise bought nothing that half of the steps did not cost: step
# by step, the curves of four and of eight at one rate are at most seven points apart (at 0.0016 for eight steps). (The first five
# steps warm up in every arm, so the short runs lose a third of theirs to it, and the long ones a sixth.)
#
# **Higher rates are borne** so far as this study sees: from 0.0004 to 0.0008 the eight gain 14 points, found; every
# other doubling is ahead by its estimate, and undecided. But the rate has a price in another column. At 0.0016 the
# policies end 127 and 167 nats from the reference, and the perplexity of plain text is nearly five times what it was,
# or has left all bounds.

# %% [markdown]
# ## 13. Where the bit is rare
#
# So far seven completions in a hundred passed before any training. Ask for sixty characters on top, and it is one. Two helps
# are common. *Partial credit* pays for the rule's parts, so that a digit is worth something without the length. A
# *curriculum* accepts a wider length first, and narrows it as long as enough completions are within. Neither asks about an
# unfinished text. But partial credit has to know the parts, and a curriculum a rule that can be widened.

# %%
curriculum = stored_study("curriculum")
ask("08: the rare bit", curriculum.arms_that_win("the strict bit"), because=curriculum.sentences())

# %%
print(curriculum.asked)
curriculum.arms("mean_strict_rate", "steps_to_half", "pass_rate", "distinct_share", "kl")

# %%
curriculum.verdicts()

# %%
if curriculum.comparisons:
    show(curriculum.figure())

# %% [markdown]
# **No help is shown to help.** By the estimates all three are behind the strict bit alone, 8, 12 and 14 against 24 %
# over the training, which the correction for six questions leaves undecided. They pay for what the policy finds first,
# a digit or about the right length, and thirty steps are soon over. The bit alone is a lottery: over the training its
# runs have from 0 to 66 %, as the first hits come early or not at all.
#
# Nor is a help shown to cost variety; the estimate says the reverse. Where the bit alone has won, it repeats itself:
# five of its ten runs end with 15 of sixty texts or fewer, and all twenty with partial credit end with sixty. That is
# what notebook 06 shows at full size, where fewer completions pass at first, the bit alone waits for sixty steps
# and more, and collapses, and the helps pay. So who asks whether a curriculum helps has to say at which step, and what else has
# to be left.

# %% [markdown]
# ## 14. Easy and hard prompts in one batch
#
# Everywhere above, all prompts asked for the same. Now about half of them ask for a digit, which one text in five of the untouched
# model has, and the others for a digit sum divisible by 9 as well, which one in thirty-five has. Notebook 09 counts exactly what
# that does to a gradient: comparing with the whole batch leaves the direction of its mean alone, and moves noise from
# easy prompts to hard ones; and a group's own spread makes a hard prompt as loud as an easy one.

# %%
mixed = stored_study("mixed")
ask("08: its own or all", mixed.arms_that_win("batch"), because=mixed.sentences())

# %%
print(mixed.asked)
mixed.arms("mean_strict_rate", "steps_to_half", "pass_rate", "distinct_share", "kl")

# %%
mixed.verdicts()

# %%
if mixed.comparisons:
    show(mixed.figure())

# %% [markdown]
# **One thing is settled**: divided by a spread, the own group (GRPO) and the whole batch (REINFORCE++) learn equally
# fast among easy and hard prompts. They differ by 0.1 points, with an interval from 1 below to 1 above, where less than
# three matter to nobody. What notebook 09 counts, more noise at a hard prompt and less at an easy one, is not seen in
# thirty steps.
#
# The rest is undecided. Without a scale, the own group is ahead of the batch by 3 points, and of itself with a spread
# by 4: two intervals that leave 0 out, and a correction for five questions that does not.

# %% [markdown]
# ## 15. The whole job
#
# All of this was a short rule and thirty steps. Does it stand where a run is as long as it has to be? `full_size` asks again
# what `clip` and `divergence` found, of notebook 06's job: 64 characters and a digit sum, with the curriculum, the partial credit,
# the entropy target and the price of `tiny-grpo`, a hundred steps a run.

# %%
full = stored_study("full_size")
print(full.asked)
full.arms("mean_strict_rate", "steps_to_half", "pass_rate", "distinct_share", "kl", "perplexity_increase")

# %% [markdown]
# A run takes four to seven minutes. Eight seeds were declared, and three have been run so far. With three, as section 3
# says, no outcome whatever is below 5 %, and every verdict is "undecided". What can be seen is whether the seeds agree on a sign.

# %%
FOUND = {
    "two updates beat one": ("twice, PPO", "once"),
    "PPO's clip beats CISPO's": ("twice, PPO", "twice, CISPO"),
    "a price costs learning": ("once, no price", "once"),
}
by_seed = {(h.arm, h.against, h.metric): differences(full.runs, h) for h in full.study.hypotheses}
agreed = [name for name, arms in FOUND.items() if set(np.sign(by_seed[(*arms, "mean_strict_rate")])) == {1}]
ask("08: on the whole job", " and ".join(agreed) or "none of them")

# %%
IN_THIRTY_STEPS = [  # which arms of which study each hypothesis asks about again
    (clip, "twice, PPO", "once"),
    (clip, "twice, PPO", "once, twice the rate"),
    (clip, "twice, PPO", "twice, CISPO"),
    (clip, "twice, PPO", "once, twice the rate"),
    (divergence, "reward, exact", "none"),
    (divergence, "none", "reward, exact"),
]

# %%
from policy_gradients.studies.study import Hypothesis

rows = []
for asked, (short, arm, against) in zip(full.study.hypotheses, IN_THIRTY_STEPS, strict=True):
    before = differences(short.runs, Hypothesis(arm, against, asked.metric, asked.smallest))
    after = by_seed[asked.arm, asked.against, asked.metric]
    rows.append([str(asked), *(f"{x:+.2g}" for x in (before.mean() if len(before) else np.nan, *after))])
header = ["hypothesis", "thirty steps, mean", *(f"whole job, seed {seed}" for seed in sorted(full.runs["once"]))]
Table(header, rows if full.comparisons else [])

# %%
full.verdicts()

# %%
if full.comparisons:
    show(full.figure())

# %% [markdown]
# **Two updates beat one here, too**, in each of the three seeds: by 23, 22 and 11 points. Against one update at twice the rate they
# do not: 12 points more in one seed, 1 and 0 fewer in the others. So what helps may be no more than a larger step, as it may have been in
# thirty steps. (They end a little nearer to the reference: by 1, 4 and 3 of 26 to 28 nats.)
#
# **The price holds the policy**: it ends 47, 28 and 53 nats nearer. That it costs learning, which was found in thirty steps, is not seen again:
# without it 13 points more, then 4 and 5 fewer. **CISPO** beats PPO's clip by 8 points in one seed, and loses by 26 and 10 in
# the others.
#
# Of three findings about the rate, one came with one sign in all three seeds. The others are not refuted by that: three seeds decide nothing, and here is
# another rule, a curriculum, and a price in all arms but one. But a finding is one of its task until somebody has asked
# elsewhere.

# %% [markdown]
# ## 16. One arm, live
#
# Stored numbers have to be redone to be believed. Four steps of one arm, with one seed, as the study runs it:

# %%
import tempfile

from policy_gradients.training.loop import train
from policy_gradients.training.presets import preset

ARM, SEED, STEPS = "inverse variance", 0, 4
settings = {**study.settings, **study.arms[ARM], "seed": SEED, "max_steps": STEPS}
live = []
torch.set_num_threads(1)  # as the runs of a study have
_ = train(preset(study.preset, **settings), Path(tempfile.mkdtemp(), "run"), progress=False, on_step=live.append)

# %%
curves = runs[ARM].get(SEED, {}).get("curves", {})
pairs = [(name, curves.get(name, [None] * STEPS)) for name in ("strict_rate", "entropy", "entropy_weight")]
rows = [[row["step"], *(x for name, kept in pairs for x in (row[name], kept[i]))] for i, row in enumerate(live)]
Table(["step", *(f"{name}, {when}" for name, _ in pairs for when in ("live", "stored"))], rows)

# %% [markdown]
# On one kind of machine, with one thread, the two columns of each pair are the same, up to the four digits that are stored.
# Another processor adds numbers in another order: a sum differs in the last digit, one day a token falls the other way,
# and from there on the runs part. The *first* row has seen no update yet, so it parts last. On another processor the whole study
# is one with other dice: expect its means within their intervals, not the same digits.
#
# The whole study again, on two cores, and gone on with after any stop:
#
# ```bash
# policy-gradients ablate entropy --jobs 2 --resume --output-dir results/ablations/entropy
# ```
#
# ## 17. What this is not
#
# One cheap task in most of them: a digit, a digit sum divisible by 3, at most forty tokens. One model of 3.5 million parameters. Thirty
# steps of plain GRPO, with a price on divergence so small that all arms drift far (the column *kl* above). Rewards are sparse here, but not hopeless: how much passes at the
# start, and which share of the groups speaks, is below. Where hardly anything passes, the bonus is nearly the whole
# objective; notebook 06 shows such a run. Each schedule came with one base weight, and a study that tuned all arms alike
# could end otherwise. So this is no verdict on entropy bonuses at large.

# %%
speak = 1 - np.mean([row["zero_variance_share"] for row in live])
print(f"live: {live[0]['strict_rate']:.1%} pass at the first step; {speak:.0%} of the groups of {STEPS} steps speak")
if stored:
    print(
        f"the untouched model, on held-out prompts: {np.mean([r['report']['reference_pass_rate'] for r in stored]):.1%}"
    )

# %% [markdown]
# What others found, on larger models: Cui et al. [5] report that small coefficients of an entropy loss do nothing, large
# ones make the entropy explode, and one between them keeps it level but does not outperform the baseline. Controllers steer the
# entropy itself, as soft actor-critic [6] and Skywork-OR1 [7] do; the arm `target` is of that kind.
#
# A study is a file away. Yours:

# %%
OWN = """
question: Do two updates from each batch, clipped, learn faster than one?
decision: Only if twice has the higher mean strict rate than once, significant at 5 %.
preset: tiny-sparse
settings: {rule: digits%3=0, num_prompts: 4, micro_batch_prompts: 4, max_steps: 40, stop_above: 1.0}
arms:
  once: {}
  twice: {updates_per_batch: 2}
hypotheses:
  - {arm: twice, against: once, metric: mean_strict_rate, smallest: 0.03}
"""
path = Path(tempfile.mkdtemp(), "updates.yaml")
path.write_text(OWN, encoding="utf-8")
own = load_study(str(path))
print(own.hypotheses[0], f"\nseeds at least: {least_seeds(len(own.hypotheses), 0.05)}, declared: {len(own.seeds)}")

# %% [markdown]
# What cannot be run is refused when the file is read, not after the first night:

# %%
path.write_text(OWN.replace("updates_per_batch", "updates_a_batch"), encoding="utf-8")
try:
    load_study(str(path))
except ValueError as error:
    print(str(error).partition("could be run: ")[2])

# %% [markdown]
# Then run it, look at what there is at any time, and judge it when all seeds are in. (To stop as soon as a p-value looks good is
# one more way to find what is not there: that is why the number of seeds is declared.)
#
# ```bash
# policy-gradients ablate updates.yaml --seeds 0-9 --jobs 2 --resume
# policy-gradients ablate updates.yaml --table-only
# ```

# %%
progress()

# %% [markdown]
# ## References
#
# 1. Shao et al. (2024). DeepSeekMath. [arXiv:2402.03300](https://arxiv.org/abs/2402.03300)
# 2. Fisher (1935). *The Design of Experiments*. Oliver and Boyd.
# 3. Holm (1979). A simple sequentially rejective multiple test procedure. *Scandinavian Journal of Statistics* 6:65–70.
# 4. Efron (1987). Better bootstrap confidence intervals. *Journal of the American Statistical Association* 82:171–185.
# 5. Cui et al. (2025). The entropy mechanism of reinforcement learning for reasoning language models.
#    [arXiv:2505.22617](https://arxiv.org/abs/2505.22617)
# 6. Haarnoja et al. (2018). Soft actor-critic algorithms and applications.
#    [arXiv:1812.05905](https://arxiv.org/abs/1812.05905)
# 7. He et al. (2025). Skywork-OR1. [arXiv:2505.22312](https://arxiv.org/abs/2505.22312)
# 8. Schulman et al. (2017). Proximal policy optimization algorithms. [arXiv:1707.06347](https://arxiv.org/abs/1707.06347)
# 9. Zheng et al. (2025). Group sequence policy optimization. [arXiv:2507.18071](https://arxiv.org/abs/2507.18071)
# 10. MiniMax (2025). MiniMax-M1. [arXiv:2506.13585](https://arxiv.org/abs/2506.13585)
# 11. Yu et al. (2025). DAPO. [arXiv:2503.14476](https://arxiv.org/abs/2503.14476)
# 12. Liu et al. (2025). Understanding R1-Zero-like training: a critical perspective.
#     [arXiv:2503.20783](https://arxiv.org/abs/2503.20783)

# %% [markdown]
# ## Onward
#
# A yardstick that gives failure full marks decides nothing, whatever the p-value. What a study may
# conclude is fixed by its declaration: arms, seeds, one number, the smallest difference that matters. Pairs by seed, exact
# tests, a correction and the word "undecided" keep it from concluding more.
#
# Not shown: a headline confirmed at full size with seeds enough, and a knob whose effect depends on another one.
#
# Next: [What does nobody know yet?](09_open_questions.ipynb), 70 min to read and 92 min of exercises.
