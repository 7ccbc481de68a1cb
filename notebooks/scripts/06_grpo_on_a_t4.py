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
# # 06 · Can a 0/1 checker steer a real language model?
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/policy-gradients/blob/main/notebooks/06_grpo_on_a_t4.ipynb)
#
# A language model continues sentences from Wikipedia. A checker reads each continuation and answers with one bit: it
# obeys the rule, or it does not. There are no examples of right answers, and no gradient passes through the checker.
# This notebook asks how far yes and no can move the model: first in the obvious way, all or nothing, which fails, and
# then in a way that works.
#
# **Afterwards you can**
#
# - state a reward so precisely that nothing is left to argue about, and test it before training on it;
# - predict, from a pass rate and a group size, how much of a batch carries any gradient at all;
# - read the board of a GRPO run: which curve tells of learning, which of cheating, which of a dead run;
# - cut a run in the middle, take it up again, and verify that nothing was lost.
#
# | tier | model | to read | to run this notebook | state |
# | --- | --- | --- | --- | --- |
# | `tiny` | a small `Qwen2` model, pretrained by this repository, shipped in the package | 30 min | under 2 min on two CPU cores | measured; the outputs below are its |
# | others | SmolLM2-135M, gpt2, Qwen2.5-0.5B-Instruct on a T4 | – | – | later releases: not measured yet, so no minutes are promised |
#
# **Needs**: the policy gradient ∇J = E[A ∇log π] and the idea of a baseline. No GPU, and, once installed, no network.

# %%
# @title Setup: on Colab this installs the course, elsewhere it does nothing
from importlib.util import find_spec

if find_spec("policy_gradients") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/OWNER/policy-gradients")  # noqa: F821

# %%
PRESET = "tiny"  # the model tier, and all of its settings

# %%
import json
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers.utils.logging import disable_progress_bar

from policy_gradients.course.display import Table, gallery, show
from policy_gradients.course.figures import NAMES, PARTS, before_after, reward_against_kl, training_curves
from policy_gradients.course.live import LivePlot
from policy_gradients.estimators.advantages import group_advantages, zero_variance_share
from policy_gradients.estimators.regularizers import divergence_to_go
from policy_gradients.evaluation.evaluate import Subject, marked, sample_completions
from policy_gradients.language.models import best_device, load_model, num_parameters
from policy_gradients.language.prompts import prompt_ids
from policy_gradients.language.rewards import Completion, decode, partial_reward, passes, rule_reward
from policy_gradients.language.rules import parse_rule, with_tolerance
from policy_gradients.language.text import shipped_excerpts
from policy_gradients.training.config import preset
from policy_gradients.training.loop import train
from policy_gradients.training.run_folder import read_metrics

disable_progress_bar()  # of loading a model, which takes a second here

# %% [markdown]
# ## 1. The rule
#
# A completion passes if it **ended by itself** (the model chose to stop before the cap on its length), has **exactly
# as many characters** as the rule demands, and holds at least one digit, with a **digit sum divisible by 3**. The
# rule is an object. It has a name, from which it can be rebuilt, a sentence for the prompt, and a check:

# %%
config = preset(PRESET)
rule = parse_rule(config.rule)
print(rule.name, rule.sentence, [part.name for part in rule.parts], sep="\n")

# %% [markdown]
# A reward function is code, and code that is to be optimised against had better be tested first: the optimiser will
# find whatever hole there is. So, before any model sees the rule, it meets some strings that were made to fool it.
#
# > **Predict**: which of these seven pass? Watch the `³`, the space at the end of two of them, and the last one,
# > whose text is that of the first.

# %%
song, bridge = (
    "It was released on 12 May 1965 and sold well in northern Europe.",
    "The bridge was opened in 1968 and it crosses the river at noon.",
)
crate = "A crate holds about one m³ and was first built for the salt sea."
texts = [song, song + " ", bridge, bridge + " ", song.replace("1965", "1964"), crate]
cases = [Completion(text, finished=True) for text in texts] + [Completion(song, finished=False)]
gallery([marked(rule, case) for case in cases])

# %% [markdown]
# Nothing is stripped, so a space is a character: it spoils the song and completes the bridge. `"³".isdigit()` is true
# in Python, while `int("³")` raises an error; only `0` to `9` count here, and the crate has none of them. The last
# completion has the right text, but the model was cut off after it, and so never decided that it was done.
#
# The checker never sees the prompt. It cannot tell whether the text is true, or English, or a continuation of
# anything. Keep that in mind for [notebook 07](07_evaluation.ipynb).

# %% [markdown]
# ## 2. What the model sees, and what it does untouched
#
# The prompt is the chat template around one line of instruction and the first sentence of an article, cut to fit. The
# sentence brings variety, the instruction says what is wanted. These are real articles, from the text that ships with
# the package; a held-out part of them is kept for notebook 07.

# %%
model, tokenizer = load_model(config.model)
excerpts = shipped_excerpts("train")
print(f"{num_parameters(model):,} parameters, {len(tokenizer):,} tokens, {len(excerpts):,} excerpts\n")
print(tokenizer.decode(prompt_ids(tokenizer, rule, excerpts[1000], config.max_prompt_tokens)))
print([tokenizer.decode([i]) for i in tokenizer.encode(bridge, add_special_tokens=False)])

# %% [markdown]
# Now the untouched model answers 32 prompts, each one as often as a training group has members. Here are five of the
# answers, each to another prompt, with every check marked.

# %%
untouched = Subject(model.to(best_device()), tokenizer, rule, config)
rollouts = list(sample_completions(untouched, excerpts[::200][:32], config.num_generations, seed=0))
completions = [c for rollout in rollouts for c in decode(tokenizer, rollout)]
gallery([marked(rule, c) for c in completions[:: config.num_generations][:5]])

# %% [markdown]
# How often does it pass, then? And how often would it pass if the length might be off by a few characters?
# `with_tolerance` widens the length of a rule and leaves the rest of it strict.


# %%
def rewards_within(tolerance, reward=rule_reward):
    """The rewards of the completions above under a widened length, shape (prompts, G)."""
    earned = reward(with_tolerance(rule, tolerance))(completions)
    return torch.tensor(earned).view(-1, config.num_generations)


for tolerance in (0, config.start_tolerance):
    print(f"within ±{tolerance:2}: {rewards_within(tolerance).mean():.2%} of {len(completions)} completions pass")

# %% [markdown]
# ## 3. How much of a batch can teach anything?
#
# GRPO samples G completions of the *same* prompt and compares each with its group: the advantage is the reward less
# the group's mean, up to scale. If all G fail, every advantage is zero. If all G pass, likewise. Such a group says
# nothing. If each of the G completions passes independently with probability p, a group is uniform with probability
#
# $$p^G + (1-p)^G .$$
#
# > **Predict**: take the strict pass rate that was just printed (if it was zero, take one in a thousand) and G = 8.
# > What share of the groups carries a gradient? And with the wide tolerance? Write both down, then run the next cell.


# %%
def carries(p, group=config.num_generations):
    """Expected share of groups that carry a gradient, if every prompt passes with probability p."""
    return 1 - p**group - (1 - p) ** group


print({p: f"{carries(p):.1%}" for p in (0.001, 0.01, 0.1, 0.5, 0.9)})

# %% [markdown]
# The formula takes p to be the same for all prompts. Real prompts differ: some are easy, and their groups pass
# together, others are hard, and theirs fail together. Since $p^G + (1-p)^G$ is convex in p, differences can only make
# *more* groups uniform than the average p suggests (Jensen). With a few dozen groups there is also plain chance.
# Formula and count, side by side:

# %%
rows = []
for tolerance in (0, 2, 4, 8, 16):
    rewards, partial = rewards_within(tolerance), rewards_within(tolerance, partial_reward)
    p, shares = rewards.mean().item(), (1 - zero_variance_share(r) for r in (rewards, partial))
    rows.append([f"±{tolerance}", f"{p:.1%}", f"{carries(p):.0%}", *(f"{share:.0%}" for share in shares)])
Table(["tolerance", "pass rate p", "carry a gradient: formula", "counted", "counted, partial credit"], rows)

# %% [markdown]
# This table is the whole plot of the notebook. At tolerance 0, nearly every group is silent; the wider the tolerance,
# the more of them speak. The last column gives **partial credit**: the share of the rule's parts that hold, each of
# them still checked by yes or no, instead of all or nothing. Nothing about the optimiser, the loss, or the learning
# rate can make up for a batch without contrast.

# %% [markdown]
# ## 4. The sparse run, which goes nowhere
#
# First the honest naive attempt: the strict rule is the reward from the first step on. One board serves all the runs
# of this notebook. Each panel is a column of the run's `metrics.jsonl`; a name after the bar gets the axis on the
# right.

# %%
BOARD = (
    "strict_rate, train_reward | tolerance",
    "zero_variance_share",
    "length_rate, digit_rate, finished_rate",
    "distinct_share",
    "entropy",
    "kl | kl_weight",
    "grad_norm",
    "tokens_per_second",
)
runs = Path(tempfile.mkdtemp())  # on Colab, a folder on your Drive outlives the session


# %%
def watched(config, folder):
    """Train with a live board; the run's folder."""
    with LivePlot(*BOARD, total=config.max_steps) as live:
        return train(config, folder, progress=False, on_step=lambda row: live.log(**row))


# %% [markdown]
# > **Predict** before you run: where will the curve of `groups without a gradient` lie? The gradient norm in the
# > first steps? And the KL to the reference: can a policy drift if its gradient is zero?

# %%
SPARSE_STEPS = 8
sparse = watched(preset(PRESET, curriculum=False, partial_credit=False, max_steps=SPARSE_STEPS), runs / "sparse")


# %%
def mean(folder, key, last=None):
    """Mean of a metric over the last steps of a run, or over all of them."""
    values = [row[key] for row in read_metrics(folder / "metrics.jsonl")]
    return sum(values[-(last or 0) :]) / len(values[-(last or 0) :])


print(f"groups without a gradient {mean(sparse, 'zero_variance_share'):.1%}")
print(f"strict pass rate          {mean(sparse, 'strict_rate'):.2%}")
print(f"KL at the end             {abs(mean(sparse, 'kl', 1)):.3f} nats per completion")

# %% [markdown]
# Why does nothing happen? The reward of almost every group is constant, so its advantages are exactly zero, and with
# them the policy's gradient. What reaches the optimiser is the rare lucky group, in which one completion of G passed
# by chance, and that one says "this sentence", not "this length". The penalty on divergence does not help either: at
# the reference its gradient is zero, and away from it, it pulls back. If the KL has crept up all the same, that is
# Adam's doing: it divides a gradient by its own running size, so rare and small gradients still make steps, of noise
# mostly.
#
# Note what does *not* warn you. The loss sits near zero here, and it sits near zero in a healthy run as well, because
# advantages are centred. Read the share of silent groups and the gradient norm; never the loss alone.

# %% [markdown]
# ## 5. The curriculum
#
# The table in section 3 shows the way out: make p larger. The training reward accepts a length within a tolerance,
# and the tolerance shrinks by about an eighth whenever the running share of completions that keep to it is above one
# threshold, and grows again below another. It chases success instead of following a clock, since contrast is largest
# where about half of a group succeeds. With `partial_credit`, right digits also earn their share while the length is
# still wrong, and the other way round. **The metric stays strict throughout**: `strict_rate` is all or nothing, at
# tolerance 0.

# %%
Table(
    ["setting", "value"],
    [[name, getattr(config, name)] for name in ("start_tolerance", "partial_credit", "raise_above", "lower_below")]
    + [[name, getattr(config, name)] for name in ("kl_weight", "kl_success_weight", "learning_rate", "num_prompts")]
    + [[name, getattr(config, name)] for name in ("num_generations", "baseline", "scale", "aggregation")],
)

# %% [markdown]
# Two choices differ from the GRPO paper. The baseline is the mean of the *other* completions of the group, which is
# unbiased, and the advantage is not divided by the group's standard deviation, which would give an easy and a hard
# prompt weights that depend on luck (RLOO and Dr. GRPO, see the references). And the exact KL to the untouched model,
# summed over the tokens of a completion, is paid for out of the reward at the price β, `kl_weight`. β may differ
# between the start, when nothing passes, and success; the dashed line on the board shows what it was.
#
# The cell below makes the first part of the journey, so that the notebook stays short. The full run is `make run` in
# a checkout, or `policy-gradients train --preset tiny --output-dir runs/mine`, and takes minutes instead of seconds;
# section 7 shows it.

# %%
STEPS = 16  # the full run has preset(PRESET).max_steps of them, minutes instead of seconds
print(f"{STEPS} of {config.max_steps} steps, {config.num_prompts * config.num_generations} completions each")
tuned = watched(preset(PRESET, max_steps=STEPS), runs / "curriculum")

# %%
rows = []
for key in ("zero_variance_share", "strict_rate", "train_reward", "tolerance", "length_rate", "digit_rate", "kl"):
    rows.append([NAMES[key], mean(sparse, key, 5), mean(tuned, key, 5)])
Table(["mean of the last 5 steps", "sparse run", "curriculum"], rows)

# %% [markdown]
# How to read the board, from the top left:
#
# - **Strict rate and tolerance.** Once the tolerance moves, the training reward stays about level, because the task
#   gets harder as soon as the policy gets better. A flat reward above a falling tolerance *is* progress. The strict
#   rate follows late, once the tolerance is small.
# - **Groups without a gradient** is the dead run's signature when it is near 100 %, as in section 4.
# - **Length, digits, ending.** Which half of the rule is being learnt? Notebook 07 takes this further.
# - **Distinct completions** far below 100 % means collapse: the policy repeats itself.
# - **Entropy** falls when a policy commits itself. A fall towards zero is the earlier sign of the same collapse.
# - **KL** is what the change has cost, in nats per completion. It has a least possible value for a given pass rate,
#   below.
# - **Gradient norm** before clipping; spikes are rare events with large advantages, and clipping bounds their step.

# %% [markdown]
# ### Where the time goes
#
# Every row of the metrics says how long its parts took. Sampling is sequential, one token after another, so it tends
# to dominate; that holds for large models as well, and is what GRPO pays for having no critic: G completions a
# prompt.

# %%
total = sum(mean(tuned, f"seconds_{part}") for part in PARTS)
rows = [[part, mean(tuned, f"seconds_{part}"), f"{mean(tuned, f'seconds_{part}') / total:.0%}"] for part in PARTS]
Table(["part of a step", "seconds", "share"], rows)

# %% [markdown]
# ## 6. Cut, and resume
#
# A Colab session ends when Colab decides. A run is worth little if that means starting again, and worth less if the
# resumed run is a *different* run: an optimiser that forgot its moments, or random numbers that repeat. Here, all
# randomness is a function of the seed and the step, so a checkpoint needs only the weights, the optimiser, the
# curriculum and the step count. We test this on a short run, by raising an exception in the middle of it.


# %%
class Cut(Exception):
    """The session is over."""


def cut_after(step):
    """A callback that ends the run after the given step."""

    def on_step(row):
        if row["step"] == step:
            raise Cut

    return on_step


# %%
short = preset(PRESET, max_steps=6, save_every=2, num_prompts=4, num_generations=4)
whole = train(short, runs / "whole", progress=False)
try:
    train(short, runs / "cut", progress=False, on_step=cut_after(5))
except Cut:
    left = sorted(path.name for path in (runs / "cut").iterdir())
    print(f"cut after {len(read_metrics(runs / 'cut' / 'metrics.jsonl'))} steps; the folder holds {', '.join(left)}")

# %% [markdown]
# > **Predict**: five steps were logged, checkpoints come every second step. With which step will the resumed run go
# > on, and how many rows will its `metrics.jsonl` have in the end?

# %%
resumed = train(short, runs / "cut", resume=True, progress=False)


def measured(folder):
    """The rows of a run without what depends on the clock."""
    clock = ("seconds", "tokens_per_second", "elapsed")
    return [{k: v for k, v in r.items() if not k.startswith(clock)} for r in read_metrics(folder / "metrics.jsonl")]


ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (whole, resumed))
print("steps", [row["step"] for row in measured(resumed)])
print("metrics identical:", measured(whole) == measured(resumed))
print("weights identical:", all(torch.equal(ours[name], theirs[name]) for name in ours))

# %% [markdown]
# Step 5 was lost with the session and done again, from the checkpoint after step 4, to the last bit. On a CPU that is
# exact. On a GPU, some sums are taken in an order that varies from run to run, so there the last digits may differ.

# %% [markdown]
# ## 7. The full run
#
# Full runs with three seeds are kept in the repository, under `results/`, with the config, the log and the evaluation
# of each: exactly what `make run SEED=0`, `1` and `2` write. Three, because one run is an anecdote.

# %%
results = sorted(Path("..", "results", PRESET).glob("seed-*/report.json"))
reports = [json.loads(path.read_text(encoding="utf-8")) for path in results]
names = ", ".join(path.parent.name for path in results)
print(f"shipped runs: {names}" if results else "No results folder beside this notebook: run `make run` in a checkout.")

# %%
for path in results[:1]:
    show(training_curves(read_metrics(path.with_name("metrics.jsonl"))))

# %% [markdown]
# The evaluation samples one completion for each of a hundred prompts that training never saw, before and after, with
# the same decoding. One row of it per seed:

# %%
ROWS = ("pass_rate", "length_rate", "digit_rate", "finished_rate", "distinct_completions", "largest_cluster_share")
ROWS += ("entropy", "kl_to_reference", "reference_nll_per_token", "heldout_perplexity")
sides = [report["tuned"] for report in reports]
rows = [[key, reports[0]["reference"][key], *(side[key] for side in sides)] for key in ROWS if reports]
Table(["100 held-out prompts", *["before"][: len(sides)], *(f"after, {path.parent.name}" for path in results)], rows)

# %%
for report in reports[:1]:
    show(before_after(report))

# %% [markdown]
# A pass rate has a price. Among all policies that pass with probability q where the reference passes with probability
# p, there is one closest to the reference, at $q \ln\frac{q}{p} + (1-q)\ln\frac{1-q}{1-p}$ nats per completion. No
# method gets below that, however clever. The figure shows the frontier and where the seeds ended.

# %%
points = [
    {"label": path.parent.name, "kl": side["kl_to_reference"], "distinct": side["distinct_completions"]}
    | {"pass_rate": side["pass_rate"], "interval": side["pass_rate_interval"]}
    for path, side in zip(results, sides, strict=True)
]
for report in reports[:1]:
    show(reward_against_kl(points, report["reference_pass_rate"], report["reference_pass_rate_interval"]))

# %% [markdown]
# The horizontal distance to the black line is divergence that bought nothing. Did the policies learn, or did they
# cheat? That is [notebook 07](07_evaluation.ipynb)'s question.

# %% [markdown]
# ## 8. What the recipe said, and what is done here instead
#
# This course grew out of a recipe on a web page. Much of it could not be run, or did not mean what it said. The
# differences, with their grounds:
#
# | the page's recipe | here | why |
# | --- | --- | --- |
# | `pip install trlx`, GRPO by trlx | a hundred lines of PyTorch | no package of that name is on PyPI; trlx ([CarperAI/trlx](https://github.com/CarperAI/trlx)) has PPO and ILQL, and no GRPO |
# | `torch==2.2.0` | lower bounds that Colab's own packages satisfy | that version has no wheel for Python 3.13, which Colab runs; transformers 5 switches PyTorch off below 2.5 |
# | batches of 16 prompts, "normalize each batch" | G completions of one prompt, compared within the group | over 16 *different* prompts, the mean mixes difficulty with quality; that is a batch baseline, close to REINFORCE++ [4], not GRPO [1] |
# | GRPO cited as arXiv:2401.13662 | arXiv:2402.03300 | the former is Lehmann's survey of policy gradients [5]: worth reading, another subject |
# | entropy bonus scaled by 1/variance of the reward | no bonus by default; a dynamic one is capped | a uniform group has variance 0, so the weight is unbounded exactly where sparse training starts; for 0/1 rewards the variance p(1−p) vanishes at p = 0 and at p = 1 alike |
# | web text "chopped to 128 tokens" as prompt | chat template, the rule as a sentence, then an excerpt | a bare prefix holds neither an instruction nor a target, so the model has no reason to stop |
# | `load_dataset("openwebtext")` | text that ships with the package | `datasets` 4 no longer runs dataset scripts ([nanoGPT#633](https://github.com/karpathy/nanoGPT/issues/633)) |
# | "ends with the target character count", a "digit-sum check" | section 1 | it can be read as length in characters, length in tokens, or a text that ends in "64" |
# | silent about precision on the T4 | fp32 master weights, fp16 autocast, a gradient scaler | a T4 has no bf16 units; `torch.cuda.is_bf16_supported()` says yes there, by emulation, so the compute capability decides |
# | "accuracy > 70 %" in "about 3 hours" for 500,000 rollouts | measured, with a before, an interval and seeds | no baseline and no run stands behind either number |
#
# The paper divides by the group's standard deviation and by each completion's length; Dr. GRPO [3] shows what bias
# either brings. Both are settings here (`scale`, `aggregation`), so you can put them back and look.

# %% [markdown]
# ## 9. Exercises
#
# Replace `return None` and run the cell after it. An exercise left blank says so and disturbs nothing.


# %%
def compare(mine, reference):
    """Say whether an answer agrees with the reference."""
    if mine is None:
        return print("not attempted")
    mine, reference = (torch.as_tensor(x, dtype=torch.float64) for x in (mine, reference))
    agrees = mine.shape == reference.shape and torch.allclose(mine, reference)
    print("agrees with the reference" if agrees else f"differs: yours\n{mine}\nthe reference\n{reference}")


# %% [markdown]
# **6.1 Leave one out** (★, 5 min). The advantage of a completion is its reward less the mean reward of the *other* G
# − 1 in its group. Input and output have shape (prompts, G).
#
# <details><summary>Hint</summary>The sum of the others is the group's sum less your own reward; <code>rewards.sum(1,
# keepdim=True)</code> keeps the shape. Why is your own reward left out? Because a baseline that depends on the action
# is no longer free of bias.</details>


# %%
def leave_one_out(rewards):
    """Advantages, shape (prompts, G)."""
    return None  # your code here


# %%
rewards = torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0.5, 0, 2, -1]])
compare(leave_one_out(rewards), group_advantages(rewards, "leave_one_out"))

# %% [markdown]
# **6.2 The checker** (★★, 10 min). Write the rule of section 1 for a length of 64 without the library: `completion`
# has `text` and `finished`. It is tried on the seven strings above, and on the untouched model's completions.
#
# <details><summary>Hint</summary>Test membership in <code>"0123456789"</code>, never <code>str.isdigit</code>. An
# empty sum is 0, and 0 is divisible by 3: a text without digits must fail all the same.</details>


# %%
def my_checker(completion):
    """Whether the completion passes the strict rule."""
    return None  # your code here


# %%
tried = [*cases, Completion("0" * 64, True), Completion("x" * 64, True), *completions]
mine = [my_checker(c) for c in tried]
compare(None if None in mine else mine, [passes(parse_rule("length=64&digits%3=0"), c) for c in tried])

# %% [markdown]
# **6.3 Divergence to go** (★★★, 15 min). A token is responsible for the divergence that comes *after* it, in the
# states it led to: $\sum_{k>t} \mathrm{KL}_k$. Write it for `kl` and `mask` of shape (completions, time); padding
# counts nothing. It enters the loss as a cost beside the reward. Without it, the penalty's gradient would lack one of
# its two parts.
#
# <details><summary>Hint</summary>A cumulative sum from the right is <code>x.flip(1).cumsum(1).flip(1)</code>. It
# includes the present token; k &gt; t does not.</details>


# %%
def to_go(kl, mask):
    """The divergence still to come after each token, shape (completions, time)."""
    return None  # your code here


# %%
kl, mask = torch.rand(3, 5), torch.tensor([[1.0, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
compare(to_go(kl, mask), divergence_to_go(kl, mask))

# %% [markdown]
# ## References
#
# 1. Shao, Wang, Zhu et al. (2024). DeepSeekMath: GRPO, §4.1. [arXiv:2402.03300](https://arxiv.org/abs/2402.03300)
# 2. Ahmadian et al. (2024). Back to basics: RLOO, the leave-one-out baseline.
#    [arXiv:2402.14740](https://arxiv.org/abs/2402.14740)
# 3. Liu et al. (2025). Understanding R1-Zero-like training: Dr. GRPO.
#    [arXiv:2503.20783](https://arxiv.org/abs/2503.20783)
# 4. Hu et al. (2025). REINFORCE++: normalising over the batch. [arXiv:2501.03262](https://arxiv.org/abs/2501.03262)
# 5. Lehmann (2024). The definitive guide to policy gradients in deep RL.
#    [arXiv:2401.13662](https://arxiv.org/abs/2401.13662)
# 6. Yu et al. (2025). DAPO: dropping uniform groups. [arXiv:2503.14476](https://arxiv.org/abs/2503.14476)
# 7. Tang & Munos (2025). On a few pitfalls in KL divergence gradient estimation for RL.
#    [arXiv:2506.09477](https://arxiv.org/abs/2506.09477)
# 8. Zhou et al. (2023). IFEval: instructions that code can verify.
#    [arXiv:2311.07911](https://arxiv.org/abs/2311.07911)
# 9. On exact lengths being hard: Xie & Lee (2025), [arXiv:2508.13805](https://arxiv.org/abs/2508.13805); LIFEBench,
#    [arXiv:2505.16234](https://arxiv.org/abs/2505.16234)
