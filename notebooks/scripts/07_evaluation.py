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
# # 07 · Did it learn, or did it cheat?
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/policy-gradients/blob/main/notebooks/07_evaluation.ipynb)
#
# A run ends, and a number has gone up. What has been shown? Perhaps the policy learnt the rule. Perhaps it learnt one
# sentence by heart, or writes zeros, or a lucky seed met a small sample. This notebook takes a tuned policy, and two
# frauds that pass every time. Which measurements tell them apart?
#
# **Afterwards you can**
#
# - put an interval on a pass rate that is right at 0 and at 100 %;
# - compare two policies on the same prompts;
# - say which part of a rule was learnt, and whether content or only form has changed;
# - recognise collapse, drift and a hacked diversity count, and name the measurement that exposes each;
# - price a pass rate in nats, against the least price that any policy must pay.
#
# | | |
# | --- | --- |
# | to read and think | 30 min, and 40 min for the three exercises |
# | to run | under 2 min on two CPU cores, no GPU, with the tier `tiny`; the other tiers are not measured yet |
# | needs | [notebook 06](06_grpo_on_a_t4.ipynb): the rule and the curriculum |

# %%
# @title Setup: on Colab this installs the course, elsewhere it does nothing
from importlib.util import find_spec

if find_spec("policy_gradients") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/OWNER/policy-gradients")  # noqa: F821

# %%
from policy_gradients.course.diagram import five_steps
from policy_gradients.course.display import show
from policy_gradients.course.predictions import ask

show(five_steps("07_evaluation"))

# %%
PRESET = "tiny"  # the model tier, and all of its settings
STEPS = 20  # of training, where the shipped policy is not at hand; the full run has at most preset(PRESET).max_steps

# %%
import json
import math
import random
import sys
import tempfile
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from policy_gradients.course.display import readable, show
from policy_gradients.course.exercises import check, hint, progress, solution  # noqa: F401
from policy_gradients.course.figures import before_after
from policy_gradients.course.live import LivePlot
from policy_gradients.evaluation.evaluate import evaluate_run
from policy_gradients.training.config import load_config
from policy_gradients.training.loop import train
from policy_gradients.training.presets import preset

disable_progress_bar()  # of loading a model, which takes a second here

# %% [markdown]
# ## 1. A policy to examine
#
# The repository ships a tuned policy: the whole run of the main job with seed 0. Where only the package is installed,
# a fraction of that run is trained here; its policy has hardly begun to learn. `evaluate_run` takes held-out prompts.
# The reference (the untouched model) and the tuned policy answer each of them once. Decoding and random numbers are
# the same for both. (These hundred prompts are held out of training, but the settings of the run were chosen by them, so
# they may flatter it. Section 10 has four hundred that nothing was chosen by.)

# %%
folder = Path("../results") / PRESET / "seed-0"
shipped = (folder / "model").is_dir()
print("the shipped policy" if shipped else f"no shipped policy here: training one for {STEPS} steps")

# %%
board = ("strict_rate, train_reward | tolerance", "length_rate, digit_rate, finished_rate", "kl")
if not shipped:
    folder = Path(tempfile.mkdtemp(), "run")
    with LivePlot(*board, total=STEPS, columns=3) as live:
        train(preset(PRESET, max_steps=STEPS), folder, progress=False, on_step=lambda row: live.log(**row))

# %%
config = load_config(folder / "config.json")
report = evaluate_run(folder, num_prompts=100, reference_samples=1000, progress=print)
if shipped:  # a thousand samples are few for a rare event: the shipped report has ten thousand, and one p serves all
    known = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    report |= {key: known[key] for key in ("reference_pass_rate", "reference_pass_rate_interval")}
before, after = report["reference"], report["tuned"]
show(before_after(report))

# %% [markdown]
# ## 2. How sure is a rate?

# %%
ask("07: nothing of a hundred")

# %% [markdown]
# The textbook interval $\hat p \pm 1.96\sqrt{\hat p(1-\hat p)/n}$ puts the *estimated* spread around the estimate. At
# 0 of 100 that spread is zero: the interval is a point, and claims certainty. Wilson (1927) turned the question round.
# Which true rates p would not be rejected by what was seen, with the spread at *p*?

# %% [markdown]
# **Exercise: Wilson's interval** (★★, 15 min). Its ends are the two solutions p of $(\hat p - p)^2 = z^2\,p(1-p)/n$.


# %%
def wilson(successes, trials):
    """The 95 % interval (low, high) of a pass rate, with z = 1.959963984540054."""
    return ...  # your code here


# %%
wilson = check(wilson)
# hint(wilson)  # without the #: a hint, and the next one each time
# solution(wilson)


# %%
from policy_gradients.course.display import Table


def naive_interval(successes, trials):
    """Estimate ± 1.96 standard errors; a point at 0 and at n successes."""
    rate = successes / trials
    half = 1.96 * math.sqrt(rate * (1 - rate) / trials)
    return rate - half, rate + half


def percent(interval):
    return f"{interval[0]:.1%} to {interval[1]:.1%}"


rows = [[f"{k} of 100", percent(naive_interval(k, 100)), percent(wilson(k, 100))] for k in (0, 1, 50, 97, 100)]
Table(["passed", "naive", "Wilson"], rows)

# %% [markdown]
# At one success the naive interval even goes below zero. In the middle the two agree. Pass rates start near 0 and,
# with luck, end near 100 %: it is the ends that matter. An interval ought to hold the truth 95 times out of 100.
# Whether it does can be computed exactly, by going through all outcomes of 100 trials:


# %%
def coverage(interval, p, n=100):
    """Chance that the interval, computed from n trials, holds the true p."""
    held = [k for k in range(n + 1) if interval(k, n)[0] <= p <= interval(k, n)[1]]
    return sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in held)


rates = (0.005, 0.02, 0.1, 0.5, 0.98)
rows = [[f"{p:.1%}", f"{coverage(naive_interval, p):.0%}", f"{coverage(wilson, p):.0%}"] for p in rates]
Table(["true rate", "naive interval holds it", "Wilson holds it"], rows)

# %% [markdown]
# ## 3. Better than before?
#
# Two intervals that overlap decide nothing. Both policies answered the *same* prompts, so each prompt is its own
# comparison: gained, lost, or unchanged. The unchanged say nothing. Had training done nothing, gains and losses would
# be equally likely: coin tosses (McNemar 1947).

# %% [markdown]
# **Exercise: Is the change more than luck?** (★★★, 15 min). The chance of a split at least as uneven, if nothing
# changed.


# %%
def p_value(gained, lost):
    """McNemar's exact two-sided p-value, from the prompts that were gained and those that were lost."""
    return ...  # your code here


# %%
p_value = check(p_value)
# hint(p_value)  # without the #: a hint, and the next one each time
# solution(p_value)

# %%
paired = report["paired_difference"]
print(f"gained {paired['gained']}, lost {paired['lost']} of {paired['trials']} prompts")
print(f"difference {paired['difference']:+.1%}, 95 % interval {percent(paired['interval'])}")
print(f"p-value {p_value(paired['gained'], paired['lost']):.2g}")

# %% [markdown]
# The interval is Newcombe's, made from the two Wilson intervals. Note what the test does *not* cover: it is about this
# one trained policy. Whether the *method* works is a question about seeds, and one seed is one observation.

# %% [markdown]
# ## 4. Which part was learnt?
#
# The strict rate is a conjunction: ended by itself, *and* the length, *and* the digits. If the parts are independent,
# it is their product, and the lowest of them holds everything down. So a flat strict rate may hide two parts that were
# mastered long ago. A steep one may be the last part falling into place.

# %%
parts = ("finished_rate", "length_rate", "digit_rate")
rows = [[name, *(f"{side[name]:.1%}" for side in (before, after))] for name in parts]
rows += [["product", *(f"{math.prod(side[name] for name in parts):.1%}" for side in (before, after))]]
rows += [["strict pass rate", *(f"{side['pass_rate']:.1%}" for side in (before, after))]]
Table(["", "before", "after"], rows)

# %% [markdown]
# Where the last two lines differ, the parts are not independent: an unfinished text is cut at the cap, for instance,
# and then its length is rarely right.
#
# The split matters for large models too. One gained much accuracy in mathematics. A reader found that answers *in the
# demanded format* had become more frequent as well. Form, then, rather than content? The authors answered that the
# format was learnt first, and accuracy went on rising
# ([simpleRL-reason#60](https://github.com/hkust-nlp/simpleRL-reason/issues/60)). Without the two rates apart, nobody
# could have argued either way. Our rule is nothing but form.
#
# Training widened the length and paid it by degrees. So learning shows at a tolerance before it shows in the strict
# rate. The texts of the report can be checked again, with any rule:


# %%
from policy_gradients.language.rewards import Completion, passes
from policy_gradients.language.rules import parse_rule, with_tolerance


def rate_within(tolerance, side):
    """Pass rate of the report's completions under a widened length."""
    rule = with_tolerance(parse_rule(report["rule"]), tolerance)
    marked = [row[side] for row in report["completions"]]
    return sum(passes(rule, Completion(c["text"], c["checks"]["finished"])) for c in marked) / len(marked)


rows = [[f"±{t}", f"{rate_within(t, 'before'):.0%}", f"{rate_within(t, 'after'):.0%}"] for t in (0, 1, 2, 4, 8, 16)]
Table(["tolerance", "before", "after"], rows)

# %% [markdown]
# ## 5. Two frauds that always pass
#
# A perfect pass rate is easy. The **parrot** answers every prompt with one sentence that passes. The **zero writer**
# knows that we count distinct completions, and writes different strings of zeros and spaces.

# %%
ask("07: the zero writer")

# %%
SENTENCE = "It was released on 12 May 1965 and sold well in northern Europe."
draw = random.Random(0)
frauds = {
    "parrot": [SENTENCE] * 100,
    "zero writer": ["0" + "".join(draw.choices("0 ", [3, 1], k=62)) + "0" for _ in range(100)],
}
own = {"reference": "before", "tuned": "after"}
texts = {name: [row[side]["text"] for row in report["completions"]] for name, side in own.items()} | frauds
print(*(texts[name][0] for name in texts), sep="\n")

# %%
from policy_gradients.evaluation.statistics import distinct_completions, distinct_ngrams, largest_cluster_share

strict = parse_rule(config.task.rule)
passed = {"reference": before["pass_rate"], "tuned": after["pass_rate"]}
passed |= {name: sum(map(strict.check, written)) / len(written) for name, written in frauds.items()}
rows = [
    [name, f"{passed[name]:.0%}", distinct_completions(written), f"{distinct_ngrams(written):.1%}", f"{cluster:.0%}"]
    for name, written in texts.items()
    if (cluster := largest_cluster_share(written))
]
Table(["policy", "strict rate", "distinct of 100", "distinct trigrams", "largest cluster"], rows)

# %% [markdown]
# Counting distinct strings exposes the parrot and acquits the zero writer. The largest cluster convicts both: it is
# the share of texts that hold the most widespread run of five words, all numbers counted as one word. But that measure
# was built by someone who knew the trick, and the next fraud will be a new one. A better measure asks: is this what
# the model used to write?
#
# ## 6. Fluency and drift: ask the reference
#
# The reference gives every text a probability. **Fluency**: the reference's negative log-likelihood per token of what
# the policy writes. **Drift**: KL(policy ‖ reference) per completion. A policy that we know in full needs no estimate.
# The parrot puts probability 1 on one sentence s, so its KL is $-\ln \pi_\text{ref}(s)$. The zero writer draws one of
# 100 strings evenly. Its KL is the mean of $-\ln \pi_\text{ref}$, less the entropy ln 100 that it keeps.
#
# To score given texts, we shape them like a rollout, end token included. The scorer is the one that training uses.

# %%
from policy_gradients.evaluation.evaluate import Subject
from policy_gradients.language.models import best_device, load_model
from policy_gradients.language.prompts import prompt_ids
from policy_gradients.training.sources import make_task

model, tokenizer = load_model(config.model)
task = make_task(config)
reference = Subject(model.to(best_device()), tokenizer, task, config)
prompts = [prompt_ids(tokenizer, strict, row["excerpt"], config.max_prompt_tokens) for row in report["completions"]]


# %%
from policy_gradients.language.rollout import Rollout, pad_left
from policy_gradients.language.scoring import CompletionScorer


@torch.no_grad()
def reference_nll(written):
    """-ln of the reference's probability of each text as the answer to its prompt, and the tokens in it."""
    device = best_device()
    rows = [torch.tensor([*tokenizer.encode(t, add_special_tokens=False), tokenizer.eos_token_id]) for t in written]
    ids = pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad_token_id).to(device)
    mask = pad_sequence([torch.ones(len(row)) for row in rows], batch_first=True).to(device)
    done = torch.ones(len(rows), dtype=torch.bool, device=device)
    rollout = Rollout(*pad_left(prompts, tokenizer.pad_token_id, device), ids, mask, done, 1)
    log_probs = CompletionScorer(model)(rollout, config.temperature).log_probs
    return -log_probs.sum(1), mask.sum(1)


# %%
nll = {name: reference_nll(written) for name, written in frauds.items()}
per_token = {name: (total.sum() / tokens.sum()).item() for name, (total, tokens) in nll.items()}
per_token |= {"reference": before["reference_nll_per_token"], "tuned": after["reference_nll_per_token"]}
drift = {"reference": 0.0, "tuned": after["kl_to_reference"]}
drift |= {"parrot": nll["parrot"][0].mean().item(), "zero writer": nll["zero writer"][0].mean().item() - math.log(100)}

# %% [markdown]
# What would be the *least* KL? Passing with probability q, where the reference passes with p, costs at least
# $q\ln\frac qp+(1-q)\ln\frac{1-q}{1-p}$ nats. The policy that pays no more is the reference itself, reweighted: all
# that passes goes up by one factor, all else down by another. *Within* each, the proportions stay. That is steering
# without collapse. (For one prompt. Averaged over prompts that differ in p, the formula is a bound that nothing quite meets.)

# %% [markdown]
# **Exercise: The floor under a divergence** (★★, 10 min). At least q is asked for: mind q ≤ p, and q = 1.


# %%
def floor(q, p):
    """Least nats per completion at which a policy passes with probability ≥ q; the reference passes with p > 0."""
    return ...  # your code here


# %%
floor = check(floor)
# hint(floor)  # without the #: a hint, and the next one each time
# solution(floor)

# %% [markdown]
# Training pays a price β for each nat. Where on the frontier does that end? The best policy for β multiplies the *odds* of
# passing by $e^{1/\beta}$, wherever they begin. Move β down, and p.

# %%
from policy_gradients.course.widgets.frontier import frontier_explorer

frontier_explorer()

# %% [markdown]
# So what stands between a run and the frontier is no price that is too high: at a tenth of a reward a nat, even a success of
# one in two thousand would come to nine in ten. It is the way there, by noisy steps.
#
# If none of the reference's samples passed, the upper end of p's interval stands in for p below. The floor is then
# lower than it truly is.

# %%
p = report["reference_pass_rate"] or report["reference_pass_rate_interval"][1]
rows = []
for name, rate in passed.items():
    least = floor(rate, p)
    rows.append([name, rate, per_token[name], drift[name], least, drift[name] / least if least else None])
print(f"p = {p:.3%}, interval {percent(report['reference_pass_rate_interval'])}")
Table(["policy", "strict rate", "reference NLL a token", "KL", "least KL", "KL / least KL"], rows)

# %% [markdown]
# Read the lines of the two frauds. The strict rate says that all is well. The KL says that it was bought for many times
# the least price. NLL per token alone can be fooled: text that is *more* predictable than the reference's own scores
# lower. So a fluent parrot need not stand out, and not only one that was made up: GRPO on the strict rule alone (notebook 06)
# came to one sentence for nearly every prompt, at 0.94 nats a token, where the reference's own texts have 1.75. KL per
# completion cannot be fooled in that way. It is the NLL *less the
# policy's own entropy*: a policy pays for all the variety that it gives up.
#
# On the map, with the frontier that no policy can cross. (Its *estimate* can be crossed: each point's rate is of 100
# samples, p of 10,000, on other prompts. The reference stands at KL 0, above p or below it, by luck.)

# %%
from policy_gradients.course.figures import reward_against_kl

points = [{"label": name, "kl": drift[name], "pass_rate": passed[name]} for name in passed]
for point in points:
    point["interval"] = wilson(round(100 * point["pass_rate"]), 100)
    point["distinct"] = distinct_completions(texts[point["label"]])
show(reward_against_kl(points, report["reference_pass_rate"], report["reference_pass_rate_interval"]))

# %% [markdown]
# A last look at drift, at text that has nothing to do with the rule: has the model become worse at plain English? A
# reward never asks for that. What does is the KL on the prompts' own tokens (`prompt_kl_weight` of notebook 06):
# prompts are plain text. The perplexity on held-out articles, with no instruction, says how well it holds.

# %%
rows = [[key, before[key], after[key]] for key in ("entropy", "reference_nll_per_token", "heldout_perplexity")]
rows.append(["perplexity, change", "", f"{report['perplexity_increase']:+.1%}"])
print(f"prompt_kl_weight of this run: {config.prompt_kl_weight}")
Table(["", "before", "after"], rows)

# %% [markdown]
# ## 7. Read what it writes
#
# No number replaces this. The first ten completions, before and after on the same prompts, with every check marked:

# %%
from policy_gradients.course.display import gallery

gallery([row["before"] for row in report["completions"][:10]])

# %%
gallery([row["after"] for row in report["completions"][:10]])

# %% [markdown]
# Do the texts still continue the prompts? Does a turn of phrase come back, a favourite date, a favourite ending? A
# shortcut is often visible here before any statistic is computed. One prompt beside its answers:

# %%
row = report["completions"][0]
print("prompt:", row["excerpt"], "before:", row["before"]["text"], "after:", row["after"]["text"], sep="\n")

# %% [markdown]
# ## 8. A target it has not seen
#
# Training asked for one length only. Ask for another: the prompt's sentence names the new number, and the checker
# demands it.

# %%
ask("07: an unseen target")

# %%
from policy_gradients.evaluation.evaluate import load_subject, sample_completions
from policy_gradients.language.rewards import decode

tuned = load_subject(folder)
unseen = task.heldout[:40]


def lengths(subject, characters):
    """Lengths of the answers when the prompt asks for so many characters."""
    other = replace(task, rule=parse_rule(f"length={characters}&digits%3=0"))
    asked = Subject(subject.model, tokenizer, other, config)
    rollouts = sample_completions(asked, unseen, 1, seed=2)
    return torch.tensor([float(len(c.text)) for rollout in rollouts for c in decode(tokenizer, rollout)])


rows = []
for n in tqdm((50, 60, 64, 70), bar_format="{n} of {total} targets {bar}", ncols=60, file=sys.stdout):
    rows.append([n, *(lengths(subject, n).mean().item() for subject in (reference, tuned))])
Table(["characters asked for", "mean length, reference", "mean length, tuned"], rows)

# %% [markdown]
# If the last column stays level while the first one moves, the policy has learnt *a length*, not to *read a number*.
# Nothing in the training could have taught it otherwise: the number never varied. But look at the reference's column:
# it stays level, too. Not even the untouched model reads the number, so this is no harm that training did.
# `evaluate_run` takes a `rule`, for the full report on an unseen target:

# %%
other = evaluate_run(folder, num_prompts=40, reference_samples=40, rule="length=50&digits%3=0", progress=print)
print(other["rule"], {key: other["tuned"][key] for key in ("pass_rate", "length_rate", "digit_rate", "mean_length")})

# %% [markdown]
# And if the number *had* varied? `examples/several_lengths.py` asks for 32, 40, 48, 56, 64 or 72 characters, a number a
# prompt, and pays each text by how near it comes to *its own* prompt's number. GRPO compares texts of one prompt alone, so all
# it takes to tell the numbers apart is there. Two hundred steps of it are stored, and five more lengths to test it with.

# %%
ask("07: several targets")

# %%
stored = Path("..", "results", "several-lengths", "report.json")
answers = json.loads(stored.read_text(encoding="utf-8"))["completions"] if stored.exists() else []
rows = []
for n in sorted({answer["length"] for answer in answers}):
    sides = [[answer[side] for answer in answers if answer["length"] == n] for side in ("before", "after")]
    means = [sum(each["characters"] for each in side) / len(side) for side in sides]
    trained, passed = n % 8 == 0, sum(each["passed"] for each in sides[1]) / len(sides[1])
    rows.append([n, trained, *(f"{mean:.1f}" for mean in means), f"{passed:.0%}"])
Table(["characters asked for", "in training", "mean length before", "after", "pass"], rows)

# %% [markdown]
# One length for all, whether the number was trained or not. And not any one: it came down from 64 to where it stops paying. Between 48 and
# 56 each character less brings half of the trained prompts nearer, and the other half farther. Who does not read can hardly do
# better, and that is what was learnt, for 20 nats. (One run of one small model that had never read a number. What it would take to learn reading is not
# shown here.) The mean reward rose from 0.19 to 0.77 all the while. Only the table by number tells.

# %% [markdown]
# ## 9. New ability, or better aim? pass@k
#
# Give each policy k attempts at a prompt, and count a success if any of them passes. Perhaps training only moved
# probability towards answers that the reference could give all along. Then its lead shrinks as k grows. Draw k of
# a prompt's n samples, of which c pass, without replacement. The chance that they hold a pass is an unbiased estimate
# (Chen et al. 2021):
#
# $$\text{pass@}k = 1 - \binom{n-c}{k} \Big/ \binom{n}{k}$$
#
# The obvious $1-(1-c/n)^k$ is biased: it draws with replacement, as if the n were the whole world.


# %%
def pass_at_k(n, c, k):
    """Unbiased estimate of the chance that at least one of k samples passes."""
    return 1 - math.comb(n - c, k) / math.comb(n, k)


eight = [1, 1, 0, 0, 0, 0, 0, 0]  # two of eight pass: go through all ways to choose four of them
chosen = [any(four) for four in combinations(eight, 4)]
print(f"by brute force {sum(chosen) / len(chosen):.4f}, by the formula {pass_at_k(8, 2, 4):.4f}")


# %%
def curve(completions, tolerance):
    """pass@1, 2, 4, 8 of the policy that wrote the completions, eight for each prompt."""
    rule = with_tolerance(strict, tolerance)
    counts = torch.tensor([passes(rule, c) for c in completions]).view(-1, 8).sum(1).tolist()
    return [f"{sum(pass_at_k(8, c, k) for c in counts) / len(counts):.1%}" for k in (1, 2, 4, 8)]


# %%
drawn = {"reference": [], "tuned": []}
bar = tqdm(total=2 * 8 * len(unseen), bar_format="{n} of {total} answers {bar}", ncols=60, file=sys.stdout)
for name, subject in (("reference", reference), ("tuned", tuned)):
    for rollout in sample_completions(subject, unseen, 8, seed=3):
        drawn[name] += decode(tokenizer, rollout)
        bar.update(len(rollout.mask))
bar.close()
rows = [[f"{name}, length ±{t}", *curve(drawn[name], t)] for t in (0, 4) for name in drawn]
Table(["policy", "pass@1", "pass@2", "pass@4", "pass@8"], rows)

# %% [markdown]
# At a small pass rate the curve is close to k times pass@1. A verifier may be at hand at run time, as it is here. Then
# the reference with many attempts is a rival. At the strict rate p, about 1/p attempts buy one pass, and the fluency is the
# reference's own.

# %%
about = "about" if report["reference_pass_rate"] else "more than"
print(f"for one pass, the reference needs {about} {1 / p:.0f} attempts")

# %% [markdown]
# ## 10. The full runs
#
# The same report, for the full runs that ship with the repository, one for each seed.

# %%
results = sorted(Path("..", "results", PRESET).glob("seed-*/report.json"))
reports = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in results}
names = ", ".join(reports)
print(
    f"shipped reports: {names}" if reports else "No results folder beside this notebook: run `make run` in a checkout."
)

# %%
KEYS = ("finished_rate", "length_rate", "digit_rate", "distinct_completions", "distinct_trigrams")
KEYS += (
    "largest_cluster_share",
    "largest_shape_share",
    "entropy",
    "reference_nll_per_token",
    "kl_to_reference",
    "heldout_perplexity",
)
rows = [["strict pass rate", *(f"{r['tuned']['pass_rate']:.0%}" for r in reports.values())]]
rows += [["95 % interval", *(percent(r["tuned"]["pass_rate_interval"]) for r in reports.values())]]
rows += [[key, *(readable(key, r["tuned"][key]) for r in reports.values())] for key in KEYS]
rows += [["KL / least KL", *(r["kl_over_floor"] for r in reports.values())]]
Table(["tuned, held-out prompts", *reports], rows if reports else [])

# %%
points += [
    {"label": name, "kl": r["tuned"]["kl_to_reference"], "pass_rate": r["tuned"]["pass_rate"]}
    | {"interval": r["tuned"]["pass_rate_interval"], "distinct": r["tuned"]["distinct_completions"]}
    for name, r in reports.items()
]
for full in list(reports.values())[:1]:
    show(reward_against_kl(points, full["reference_pass_rate"], full["reference_pass_rate_interval"]))

# %%
gallery([row["after"] for full in list(reports.values())[:1] for row in full["completions"][:12]])

# %% [markdown]
# ## A verdict in one line each
#
# | the claim | what it takes |
# | --- | --- |
# | "the pass rate rose" | same prompts, same decoding, a before, intervals, a paired test |
# | "the method works" | several seeds |
# | "it learnt the rule" | the parts of the rule apart; an unseen target |
# | "it did not collapse" | distinct completions *and* the largest cluster *and* the commonest shape *and* the entropy |
# | "it is still the same model" | KL beside its floor, perplexity on plain text |
# | "the texts are fine" | the reference's NLL, and reading them |

# %%
progress()

# %% [markdown]
# ## References
#
# 1. Wilson (1927). Probable inference, the law of succession, and statistical inference. *JASA* 22:209–212.
# 2. McNemar (1947). Note on the sampling error of the difference between correlated proportions. *Psychometrika*
#    12:153–157.
# 3. Newcombe (1998). Improved confidence intervals for the difference between binomial proportions based on paired
#    data. *Statistics in Medicine* 17:2635–2650.
# 4. Chen et al. (2021). Evaluating large language models trained on code: pass@k.
#    [arXiv:2107.03374](https://arxiv.org/abs/2107.03374)
# 5. Stiennon et al. (2020). Learning to summarize from human feedback: over-optimisation against KL.
#    [arXiv:2009.01325](https://arxiv.org/abs/2009.01325)
# 6. Davis & Recht (2025). What is the objective of reasoning with reinforcement learning?
#    [arXiv:2510.13651](https://arxiv.org/abs/2510.13651)
# 7. Zhou et al. (2023). IFEval: instructions that code can verify, strict accuracy.
#    [arXiv:2311.07911](https://arxiv.org/abs/2311.07911)
# 8. Shao et al. (2024). DeepSeekMath: GRPO, and the KL penalty it uses.
#    [arXiv:2402.03300](https://arxiv.org/abs/2402.03300)

# %% [markdown]
# ## Onward
#
# A rate comes with an interval, and a change with the same prompts before and after. A fraud can pass every check that its author
# knew of, but not for little: every bit of variety that it gives up is paid for in nats, and there is a least price. The parts of
# the rule, a target that it has not seen, and the texts themselves say what was learnt.
#
# Not shown: a run that goes wrong while all its curves look right, and which alarm would have rung.
#
# Next: the lab, [What does each classic bug look like?](break_it.ipynb), 40 min to read and 20 min of exercises; then
# [Which knob matters?](08_ablations.ipynb), 65 min to read and 51 min of exercises; then
# [Is what is served the policy that was trained?](10_deploy.ipynb), 30 min to read and 34 min of exercises.
