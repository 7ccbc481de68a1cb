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
# A language model continues sentences from Wikipedia. A checker answers each continuation with one bit: right or
# wrong. There are no examples of right answers, and no gradient passes through the checker. How far can yes and no
# move the model? That depends on what a method is *told*, so this notebook says it of each:
#
# | | method | is told |
# | --- | --- | --- |
# | section 4 | GRPO on the strict rule | one bit a completion. This is the question as asked |
# | section 5 | GRPO with a curriculum and partial credit | a graded reward a completion, which somebody had to write |
# | its end | GRPO on a real model: the page's recipe | one bit a completion, of a rule whose length is widened at first |
# | section 6 | credit by state | how the checker works: its automaton. That is planning with a known model, and no longer a black box |
# | section 8 | decoding with the automaton | the same, and nothing is trained at all |
#
# The first does nothing for 60 to 148 steps, and then finds an answer or two, gives them to nearly everybody, and pays most.
# The second passes, too, by texts that nearly all begin with the same words. On a real model one seed of three found one
# sentence for nearly everybody. Credit by state pays less, and keeps its variety. And the last, which does not train, pays least if it looks ahead: where you know the automaton, ask first what
# training is for.
#
# **Afterwards you can**
#
# - state a reward precisely, and test it before training on it;
# - predict, from a pass rate and a group size, how much of a batch carries any gradient;
# - read the board of a GRPO run: learning, cheating, or a dead run;
# - say what one advantage for a whole completion costs, how a checker that can be asked half-way helps, and what you
#   no longer need to train once you have such a checker;
# - cut a run in the middle, resume it, and verify that nothing was lost.
#
# | | |
# | --- | --- |
# | to read and think | 30 min, and 65 min for the six exercises |
# | to run | by the tier, below; no GPU, and, once installed, no network |
# | needs | [notebook 05](05_grpo_from_scratch.ipynb): groups, advantages, the loss |
#
# | tier | model | to run this notebook | state |
# | --- | --- | --- | --- |
# | `tiny` | a small `Qwen2` model, pretrained by this repository, shipped in the package | 2 to 5 min on two CPU cores | measured; the outputs below are its |
# | `smollm2` | SmolLM2-135M-Instruct, from PyPI or the hub | 7 to 12 min on one CPU core | measured on CPUs; its full runs are in section 9 |
# | `gpt2`, `qwen` | gpt2, Qwen2.5-0.5B-Instruct on a T4 | – | presets to start from; not measured to the end yet, so no minutes are promised |

# %%
# @title Setup: on Colab this installs the course, elsewhere it does nothing
from importlib.util import find_spec

if find_spec("policy_gradients") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/OWNER/policy-gradients")  # noqa: F821

# %%
from policy_gradients.course.diagram import five_steps
from policy_gradients.course.display import show
from policy_gradients.course.predictions import ask

show(five_steps("06_grpo_on_a_t4"))

# %%
from policy_gradients.course.machine import run_directory, suggested_preset

PRESET = suggested_preset()  # or "tiny", or "smollm2": the model tier, and all of its settings
ON_DRIVE = False  # in Colab, True keeps the runs on your Google Drive: they outlive the session

# %%
import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers.utils.logging import disable_progress_bar

from policy_gradients.course.exercises import check, hint, progress, solution  # noqa: F401
from policy_gradients.language.rewards import Completion, passes
from policy_gradients.language.rules import parse_rule, partial_credit
from policy_gradients.training.presets import preset
from policy_gradients.training.sources import make_task

disable_progress_bar()  # of loading a model, which takes a second here

# %% [markdown]
# ## 1. The rule
#
# A completion passes if it **ended by itself**: the model stopped before the cap on its length. It has **exactly as
# many characters** as the rule demands. It holds a digit, and its **digit sum is divisible by 3**. The rule is an
# object: a name, from which it can be rebuilt, a sentence for the prompt, and a check.

# %%
config = preset(PRESET)
rule, task = parse_rule(config.task.rule), make_task(config)
print(rule.name, rule.sentence, [part.name for part in rule.parts], sep="\n")

# %% [markdown]
# An optimiser finds whatever hole its reward has. So first write the checker yourself, and mind the holes.

# %% [markdown]
# **Exercise: The checker** (★★, 10 min). The rule above with 64 characters, whichever model you
# train, and without the library. `completion` has `text` and `finished`.


# %%
def checker(completion):
    """Whether it ended by itself, has exactly 64 characters and a digit, and its digit sum is divisible by 3."""
    return ...  # your code here


# %%
checker = check(checker)
# hint(checker)  # without the #: a hint, and the next one each time
# solution(checker)

# %% [markdown]
# Now some strings that were made to fool it.

# %%
song, bridge = (
    "It was released on 12 May 1965 and sold well in northern Europe.",
    "The bridge was opened in 1968 and it crosses the river at noon.",
)
crate = "A crate holds about one m³ and was first built for the salt sea."
texts = [song, song + " ", bridge, bridge + " ", song.replace("1965", "1964"), crate]
cases = [Completion(text, finished=True) for text in texts] + [Completion(song, finished=False)]
sixty_four = parse_rule("length=64&digits%3=0")
print(*(f"{json.dumps(c.text, ensure_ascii=False)}{'' if c.finished else ', cut off here'}" for c in cases), sep="\n")

# %%
ask("06: strings made to fool the checker", sum(passes(sixty_four, case) for case in cases))

# %%
from policy_gradients.course.display import gallery

print("yours and the library's agree:", [checker(case) == passes(sixty_four, case) for case in cases])
gallery([replace(task, rule=sixty_four).marked({}, case) for case in cases])

# %% [markdown]
# Nothing is stripped, so a space is a character: it spoils the song and completes the bridge. `"³".isdigit()` is true
# in Python, while `int("³")` raises; only `0` to `9` count here. The last completion has the right text, but was cut
# off after it.
#
# The checker never sees the prompt. It cannot tell whether the text is true, or English, or a continuation of
# anything. Keep that in mind for [notebook 07](07_evaluation.ipynb).

# %% [markdown]
# ## 2. What the model sees, and what it does untouched
#
# A prompt is the chat template around one line of instruction and a sentence of an article. The articles ship with the
# package; a held-out part of them is kept for notebook 07. With `tiny` a token is a pair of characters; with
# the larger models it is a word, or a part of one.

# %%
from policy_gradients.language.models import load_model, num_parameters
from policy_gradients.language.prompts import prompt_ids
from policy_gradients.language.rewards import decode
from policy_gradients.language.text import shipped_excerpts

model, tokenizer = load_model(config.model)
excerpts = shipped_excerpts("train")
prompt = prompt_ids(tokenizer, rule, excerpts[1000], config.max_prompt_tokens)
print(f"{num_parameters(model):,} parameters, {len(tokenizer):,} tokens, {len(excerpts):,} excerpts\n")
print(tokenizer.decode(prompt))
print([tokenizer.decode([i]) for i in tokenizer.encode(bridge, add_special_tokens=False)])

# %% [markdown]
# The model turns the prompt into logits. One random number in [0, 1) then decides the next token. A seed fixes the
# numbers: a run can be repeated, and two policies can be compared on equal luck.

# %% [markdown]
# **Exercise: One number decides** (★★, 15 min). Invert the cumulative distribution at the number.


# %%
def draw(logits, uniform, temperature):
    """Sample from softmax(logits / temperature): logits (rows, vocabulary), uniform in [0, 1) and result (rows,)."""
    return ...  # your code here


# %%
draw = check(draw)
# hint(draw)  # without the #: a hint, and the next one each time
# solution(draw)

# %%
numbers = torch.linspace(0.05, 0.95, 7)
with torch.no_grad():
    logits = model(torch.tensor([prompt], device=model.device)).logits[0, -1].cpu().expand(7, -1)
for temperature in (0.5, 1.0, 2.0):
    print(f"temperature {temperature}:", [tokenizer.decode([i]) for i in draw(logits, numbers, temperature).tolist()])

# %% [markdown]
# Now the untouched model answers a few prompts, each as often as a training group has members. Here are five of the
# answers, each to another prompt, with every check marked.

# %%
from policy_gradients.evaluation.evaluate import Subject, sample_completions
from policy_gradients.language.models import best_device

G = config.num_generations
untouched = Subject(model.to(best_device()), tokenizer, task, config)
rollouts = list(sample_completions(untouched, task.rows[::200][: 256 // G], G, seed=0))
completions = [c for rollout in rollouts for c in decode(tokenizer, rollout)]
gallery([task.marked({}, c) for c in completions[::G][:5]])

# %% [markdown]
# In the pretraining of `tiny`, the answers were *about* as long as the instruction says, and hardly ever exactly. What the sentence
# on digits means, it could not tell. Both are left to the checker.
#
# Answers of different lengths stand in one padded tensor. To stop is an action too, and it has to be learnt.

# %% [markdown]
# **Exercise: Which tokens count?** (★★, 10 min). Mark what the policy chose; leave out the padding behind it.


# %%
def end_mask(completion_ids, end_ids):
    """1.0 up to and including the first end token of each row, then 0.0; ids and result (completions, time)."""
    return ...  # your code here


# %%
end_mask = check(end_mask)
# hint(end_mask)  # without the #: a hint, and the next one each time
# solution(end_mask)

# %%
from policy_gradients.language.models import end_token_ids

ids = rollouts[0].completion_ids
chosen = end_mask(ids, torch.tensor(end_token_ids(model, tokenizer), device=ids.device))
print(f"{chosen.mean():.0%} of {chosen.numel():,} places hold a token that the policy chose")
print("as the sampler has it:", torch.equal(chosen, rollouts[0].mask.float()))

# %% [markdown]
# How often does the model pass? And how often, if the length may be off by a few characters? `with_tolerance` widens
# the length and leaves the rest of the rule strict.


# %%
from policy_gradients.language.rewards import rule_reward
from policy_gradients.language.rules import with_tolerance


def rewards_within(tolerance, reward=rule_reward):
    """The rewards of the completions above under a widened length, shape (prompts, G)."""
    earned = reward(with_tolerance(rule, tolerance))(completions)
    return torch.tensor(earned).view(-1, G)


for tolerance in (0, config.curriculum.start_tolerance):
    print(f"within ±{tolerance:2}: {rewards_within(tolerance).mean():.2%} of {len(completions)} completions pass")

# %% [markdown]
# ## 3. How much of a batch can teach anything?
#
# GRPO samples G completions of the *same* prompt. The advantage is the reward less what the group earned.

# %% [markdown]
# **Exercise: Leave one out** (★, 5 min). The baseline is the mean of the *others*. It does not depend on the
# completion that it judges, so it adds no bias.


# %%
def leave_one_out(rewards):
    """Each reward less the mean of the *other* rewards of its row; rewards and result have shape (prompts, G)."""
    return ...  # your code here


# %%
leave_one_out = check(leave_one_out)
# hint(leave_one_out)  # without the #: a hint, and the next one each time
# solution(leave_one_out)

# %%
from policy_gradients.language.rewards import partial_reward

for name, reward in (("all or nothing", rule_reward), ("partial credit", partial_reward)):
    rewards = rewards_within(config.curriculum.start_tolerance, reward)
    print(f"{name}, advantages of the first group:", leave_one_out(rewards)[0, :6].numpy().round(2), "…")

# %% [markdown]
# If all G fail, or all G pass, every advantage is zero, and the group says nothing. If each completion passes
# independently with probability p, a group is uniform with probability
#
# $$p^G + (1-p)^G .$$

# %%
p, p_wide = (rewards_within(t).mean().item() for t in (0, config.curriculum.start_tolerance))
p = p or 0.001
ask("06: groups that speak", 1 - p**G - (1 - p) ** G, p=p, G=G, p_wide=p_wide, speak=1 - p_wide**G - (1 - p_wide) ** G)


# %%
def carries(p, group=G):
    """Expected share of groups that carry a gradient, if every prompt passes with probability p."""
    return 1 - p**group - (1 - p) ** group


print(f"G = {G}:", {p: f"{carries(p):.1%}" for p in (0.001, 0.01, 0.1, 0.5, 0.9)})

# %% [markdown]
# The formula takes p to be the same for all prompts. Real prompts differ, and $p^G + (1-p)^G$ is convex in p. So
# differences can only make *more* groups uniform than the average p suggests (Jensen). Formula and count:

# %%
from policy_gradients.course.display import Table, readable
from policy_gradients.estimators.advantages import zero_variance_share

rows = []
for tolerance in (0, 2, 4, 8, 16):
    rewards, partial = rewards_within(tolerance), rewards_within(tolerance, partial_reward)
    p, shares = rewards.mean().item(), (1 - zero_variance_share(r) for r in (rewards, partial))
    rows.append([f"±{tolerance}", f"{p:.1%}", f"{carries(p):.0%}", *(f"{share:.0%}" for share in shares)])
Table(["tolerance", "pass rate p", "carry a gradient: formula", "counted", "counted, partial credit"], rows)

# %% [markdown]
# This table is the plot of the notebook. At tolerance 0 most groups are silent; the wider it gets, the more of them
# speak. The last column gives **partial credit**: half for the mean of the rule's parts, half for their product. Digits
# earn all or nothing, the length by degrees: less for each character that it is off. No optimiser makes up for a batch
# without contrast.

# %% [markdown]
# Move it by hand: how far must the window open, until a group of sixteen has something to say? And what does a larger
# group do about it? (The answers are those of the untouched model above.)

# %%
from policy_gradients.course.widgets.silence import silence_explorer

digits_right = [rule.parts[1].check(c.text) for c in completions]
silence_explorer([len(c.text) for c in completions], digits_right, rule.parts[0].characters, tolerance=2)

# %%
wide = with_tolerance(rule, config.curriculum.start_tolerance)
rows = [[len(text), rule.parts[1].check(text), wide.check(text), partial_credit(wide, text)] for text in texts]
Table(["characters", "right digits", f"all or nothing, ±{config.curriculum.start_tolerance}", "partial credit"], rows)

# %% [markdown]
# ## 4. The sparse run: nothing, for a long time
#
# First the naive attempt: the strict rule is the reward from the first step on. One board serves all runs. Each panel
# is a column of the run's `metrics.jsonl`; a name after the bar gets the axis on the right. (What plays no part in a run is left out.)

# %%
BOARD = (
    "strict_rate, train_reward | tolerance",
    "zero_variance_share",
    "length_rate, digit_rate, finished_rate",
    "distinct_share",
    "entropy | entropy_weight",
    "kl | kl_weight",
    "grad_norm",
    "tokens_per_second",
)
runs = run_directory(ON_DRIVE)


# %%
from policy_gradients.course.live import LivePlot
from policy_gradients.training.loop import train


def board(config):
    """The panels of such a run: credit by state knows no groups, and without a bonus there is no weight of it."""
    without = {"zero_variance_share"} if config.credit.kind == "state" else set()
    panels = [panel for panel in BOARD if panel not in without]
    return panels if config.entropy else [panel.removesuffix(" | entropy_weight") for panel in panels]


# %%
def watched(config, folder, **more):
    """Train with a live board; the run's folder."""
    with LivePlot(*board(config), total=config.max_steps) as live:
        begun = (folder / "config.json").exists()  # on Drive, by an earlier session
        return train(config, folder, resume=begun, progress=False, on_step=lambda row: live.log(**row), **more)


# %%
ask("06: the sparse run")

# %%
SPARSE_STEPS = 5
# GRPO as it is known, with settings of its own: those of the preset below were found for another method
GRPO = {"tiny": "tiny-grpo"}.get(PRESET, PRESET)
as_known = {} if GRPO != PRESET else dict(credit="completion", projection_weight=0.0, scale="std", updates_per_batch=1)
plain = as_known or dict(learning_rate=8e-4)  # that of `tiny-sparse`, and twice that of `tiny-grpo`
sparse = watched(preset(GRPO, **plain, curriculum=False, partial_credit=False, max_steps=SPARSE_STEPS), runs / "sparse")


# %%
from policy_gradients.training.alarms import ringing
from policy_gradients.training.run_folder import read_metrics


def mean(folder, key, last=0):
    """Mean of a metric over the last steps of a run, or over all of them."""
    values = [row[key] for row in read_metrics(folder / "metrics.jsonl")][-last:]
    return sum(values) / len(values)


print(f"groups without a gradient {mean(sparse, 'zero_variance_share'):.1%}")
print(f"strict pass rate          {mean(sparse, 'strict_rate'):.2%}")
print(f"KL at the end             {abs(mean(sparse, 'kl', 1)):.3f} nats per completion")
print("alarms that ring          ", ", ".join(ringing(read_metrics(sparse / "metrics.jsonl"))) or "none")

# %% [markdown]
# The reward of most groups is constant, so their advantages are exactly zero. What reaches the optimiser is a rare
# lucky group. It says "this sentence", not "this length". Adam divides a gradient by its own running size, and so makes
# full-sized steps of it all the same. The KL may creep up with nothing learnt.
#
# Note what does *not* warn you. The loss sits near zero here, and in a healthy run as well, because advantages are
# centred. Read the share of silent groups and the gradient norm, never the loss alone. The loop does: after each step
# it asks its **alarms** (`training/alarms.py`) and logs a warning when one rings. Over five steps the one for
# silent groups may ring or not: it asks for more than 90 % of them over five steps, and hard tasks begin like that. An
# alarm names a fault that it is sure of; that nothing is learnt, only the curves say.
#
# (In the full run, below, it rings from step 25 on, and at the end the one for collapse does, too.)
#
# Would an entropy bonus help? The recipe that this course grew out of scales it by one over the reward's variance.

# %% [markdown]
# **Exercise: A bonus that may not explode** (★★, 10 min). Take the variance within groups, and cap the weight.


# %%
def bonus_weight(base, rewards):
    """base / (Var + 1e-8), at most 10 · base; Var: within groups, averaged; rewards (prompts, G), result a number."""
    return ...  # your code here


# %%
bonus_weight = check(bonus_weight)
# hint(bonus_weight)  # without the #: a hint, and the next one each time
# solution(bonus_weight)

# %%
batches = {"nothing passes": torch.zeros(4, G), "strict rule": rewards_within(0)}
batches["partial credit, wide"] = rewards_within(config.curriculum.start_tolerance, partial_reward)
rows = [[name, r.var(1).mean().item(), 0.01 / (r.var(1).mean().item() + 1e-8)] for name, r in batches.items()]
Table(["rewards", "variance", "weight", "capped"], [[*row, bonus_weight(0.01, batches[row[0]])] for row in rows])

# %% [markdown]
# Without the cap, the bonus would be the whole objective exactly where sparse training starts. And more noise is no
# contrast. (The sparse run has a bonus of another kind, which holds the entropy at a target. You will see how well.)
#
# Does it go on like this for ever? No, and that is worse. The full run is in the repository. Its strict rate, in blocks
# of 24 steps, beside the share of distinct texts:

# %%
long_run = Path("..", "results", "tiny-sparse", "seed-0", "metrics.jsonl")
logged = read_metrics(long_run) if PRESET == "tiny" and long_run.exists() else []
rows = []
for first in range(0, len(logged), 24):
    block = logged[first : first + 24]
    columns = ("zero_variance_share", "strict_rate", "distinct_share", "entropy", "kl")
    means = [readable(name, sum(row[name] for row in block) / len(block)) for name in columns]
    rows.append([f"{first + 1} to {first + len(block)}", *means])
Table(["steps", "silent groups", "strict", "distinct", "entropy", "KL"], rows)

# %%
report_of_it = (
    json.loads(long_run.with_name("report.json").read_text(encoding="utf-8")) if logged else {"completions": []}
)
print(*(row["after"]["text"] for row in report_of_it["completions"][:6]), sep="\n")

# %% [markdown]
# For well over a hundred steps nothing is learnt, and the policy drifts. Then lucky groups agree on an answer, and within
# two dozen steps nearly everything passes: six prompts above, and one sentence for all of them, with two letters that
# differ. The entropy is next to nothing: the bonus rose to ten times its weight, and too late. Two more seeds waited 60 and
# 92 steps, and came to the same end with two sentences each (66 and 47 different texts for 400 prompts). So the bit
# alone *can* do it, and this is what it does: **the strict rate is met by collapse**. The next section gives groups
# something to tell apart from the first step on.

# %% [markdown]
# ## 5. The curriculum
#
# The table of section 3 shows the way out: make p larger. Training accepts a length within a tolerance. The tolerance
# shrinks while the share of completions within it is above one threshold. Below another it grows again. So it follows
# success, not a clock. **The metric stays strict throughout**: `strict_rate` is all or nothing.
#
# Where the GRPO paper has the group's mean as baseline, here it is the mean of the *others* [2]. With `scale="std"` the
# advantage is then divided by the group's standard deviation. A part of the rule that is rare in its group keeps its
# pull that way. The price is a bias: easy and hard prompts get other weights [3]. The run below trains with the
# `leave_one_out` that you wrote in section 3.
#
# Two terms keep the policy a language model: the exact KL to the untouched model over a completion's tokens, at the
# price β, `kl_weight`; and the KL on the *prompts'* own tokens, at `prompt_kl_weight`. Prompts are plain text, so that
# one keeps plain text.

# %%
from policy_gradients.training.credit.group import GroupCredit


class YourCredit(GroupCredit):
    """Plain GRPO: your `leave_one_out`, or the reference's where you left it blank, over the group's spread."""

    def assign(self, groups, reward):
        return leave_one_out(groups) / (groups.std(1, keepdim=True) + 1e-4)


def yours(config, model, tokenizer):
    """What `train` asks for the run's credit."""
    return YourCredit(config.credit)


# %%
STEPS = 12
print(f"{STEPS} of at most {config.max_steps} steps, {config.num_prompts * G} completions each")
grpo = watched(preset(GRPO, **plain, max_steps=STEPS, final_learning_rate=1.0), runs / "grpo", make_credit=yours)


# %%
from policy_gradients.course.figures import NAMES


def side_by_side(**folders):
    """The last steps of several runs, metric by metric."""
    keys = ("zero_variance_share", "strict_rate", "train_reward", "tolerance", "length_rate", "digit_rate", "kl")
    rows = [[NAMES[key], *(readable(key, mean(folder, key, 3)) for folder in folders.values())] for key in keys]
    return Table(["mean of the last 3 steps", *folders], rows)


side_by_side(sparse=sparse, curriculum=grpo)

# %% [markdown]
# The groups speak now, and the reward begins to move. It goes on like this for a hundred steps, and on
# the way it pays: section 8 has what came of `--preset tiny-grpo`. Look at what moves it. A completion has some thirty
# tokens. One of them ended it too early, or one digit spoiled the sum; all thirty get the same advantage. What the
# other tokens learn from it is noise, and Adam turns noise into steps, and steps are divergence.

# %% [markdown]
# ### The page's own experiment, on a real model
#
# The page *Policy Gradients*, our [source](../docs/bibliography.md#the-source-page), asks for a model that people use, the
# same 64 characters, one bit a completion, and more than 70 % after training. This is SmolLM2-135M-Instruct under plain GRPO: rewards of 0 and 1, less
# their group's mean, over its spread, for all tokens alike; no partial credit, no price on divergence, no bonus. Its one
# help is the curriculum, which widens the *length* by 24 characters at first (`--preset page`, 64 completions a step).

# %%
RUN_THE_PAGE = False  # True trains it here, on the machine's GPU if there is one; a run that was cut goes on
PAGE_MODEL = "smollm2"  # or "Qwen/Qwen2.5-0.5B-Instruct", the page's own, on which nobody has run it yet
if RUN_THE_PAGE:
    watched(preset("page", model=PAGE_MODEL, prompt_source="shipped"), runs / f"page-{PAGE_MODEL.split('/')[-1]}")

# %% [markdown]
# It takes half an hour of one CPU core. (On a T4 it should take minutes: a step is about a million million multiplications and a
# few dozen small passes. That is an estimate from counting; nobody has timed it.) These are the runs that the repository
# keeps:

# %%
page_runs = sorted(Path("..", "results", "page").glob("seed-*/report.json"))
page_logs = [read_metrics(path.with_name("metrics.jsonl")) for path in page_runs]
rows = []
for first in range(0, len(page_logs[0]) if page_logs else 0, 6):
    block = page_logs[0][first : first + 6]
    shown = {
        "tolerance": ".0f",
        "strict_rate": ".0%",
        "digit_rate": ".0%",
        "distinct_share": ".0%",
        "entropy": ".2f",
        "kl": ".1f",
    }
    means = [f"{sum(row[key] for row in block) / len(block):{spec}}" for key, spec in shown.items()]
    rows.append([f"{first + 1} to {first + len(block)}", *means])
Table(["steps", "tolerance", "strict", "a right digit sum", "distinct", "entropy", "KL"], rows)

# %%
ask("06: what the page's recipe writes")

# %%
page_reports = [json.loads(path.read_text(encoding="utf-8")) for path in page_runs]
rows = [
    [
        path.parent.name,
        f"{report['tuned']['pass_rate']:.0%}",
        report["tuned"]["distinct_completions"],
        report["tuned"]["kl_to_reference"],
        f"{'' if report['reference_pass_rate'] else '≤ '}{report['kl_over_floor']:.1f}",  # no sample passes: a bound
        f"{report['perplexity_increase']:+.0%}",
        len(log),
        f"{log[-1]['elapsed'] / 60:.0f}",
    ]
    for path, report, log in zip(page_runs, page_reports, page_logs, strict=True)
]
Table(["400 held-out prompts", "strict", "distinct", "KL", "KL / floor", "perplexity", "steps", "minutes"], rows)

# %%
from collections import Counter

for report in page_reports[:1]:
    written = Counter(row["after"]["text"] for row in report["completions"])
    print(*(f"{count:4d} × {text}" for text, count in written.most_common(5)), sep="\n")

# %% [markdown]
# So the page's number can be had: from none of 1,200 samples to 99 % of new prompts, in 44 steps. And read what it is. The
# instruction says "Use digits whose sum is divisible by 3"; the policy gives it back, in 64 characters, to nearly everybody.
# No excerpt is continued. The first table tells how it came: right digits in nearly every text while texts were still
# distinct, then the tolerance fell, and variety with it. One alarm rang, that of the entropy, from step 27 on, while 64 % of the texts
# were still distinct. Perplexity says nothing: plain text is hardly more perplexing, and the reference finds the sentence
# likelier than what it writes itself.
#
# **And it is a lottery.** Another seed agreed on one text of 62 characters while those were still accepted, a third on one of
# 65. A character wider nearly everything passes, a character narrower nothing, and all groups are silent. The tolerance went to and fro until the runs were cut, at steps 35 and 42. A fourth
# run had what is said to
# prevent collapse (a price on divergence, a bonus that holds the entropy, a gate that waits). It waited at wide
# tolerances, where nearly all passes and there is nothing to learn but to agree: 36 % of its texts were distinct
# when the length was still accepted within 8.
#
# **A price at another place** did not prevent it either. Taken from the *reward*, nat by nat that is still to come (`--kl-place
# reward`, at a lower learning rate), it costs fewer nats, and all three seeds came to the strict rule, at 16 to 20 nats. (Three of three beside one of three may be
# luck.) The collapse is the same: on the way one of them passed in half of its
# completions with half of its texts distinct, and six steps later it wrote one.
#
# **Paying for variety brought variety, and not the rule.** Rewards can be *shared* by what is alike, so that a second right text pays
# (`--sharing 1`: the bit over the number of the step's passing texts that are like it). In the one run of it all texts stay
# distinct, for few nats, and the length stays within 12: in 78 steps it came no nearer. All of that is in
# [results](../docs/results.md#with-a-price-in-the-reward). What has the bit *and* the variety needs to be told more. That is the
# next section.

# %% [markdown]
# ## 6. Credit where it is due
#
# The checker can be asked half-way. All that it will ever need to know of the text so far is how many characters there
# are, whether one was a digit, and the remainder of the digit sum: a **state**, as of a finite automaton. Many
# completions pass through the same state. So GRPO's idea, compare with those who began at the same place, works again at
# *every* place: the value V of a state is the mean reward of all completions that were there, less the divergence that they still had to pay. Groups of
# this kind are the anchor states of GiGPO [10]. What *ending* in a state earns needs no mean: ask the checker, about
# any text that leads there.

# %%
from policy_gradients.language.checker_states import CheckerStates

states = CheckerStates(rule, tokenizer, model.config.vocab_size, end_token_ids(model, tokenizer))
text = "In 1917 it was"
steps = states.before_tokens(torch.tensor([tokenizer.encode(text)]))[0].tolist()
print(f"{states.num_states} states; {states.after.shape[1]} kinds of token in a vocabulary of {len(tokenizer)}")
print([(tokenizer.decode([i]), s) for i, s in zip(tokenizer.encode(text), steps, strict=True)])
earned = states.end_rewards(partial_reward(with_tolerance(rule, config.curriculum.start_tolerance)))
print(
    f"ending pays in {int((earned > 0).sum())} states; with {states.texts[int(earned.argmax())]!r}, say, {earned.max():.0f}"
)

# %% [markdown]
# And one thing more. Which state a token leads to is known for *every* token of the vocabulary, not just for the one
# that was drawn: "7" adds one character and 7 to the sum. So the gradient does not have to wait for a lucky draw. The
# policy-gradient theorem is a sum over all actions in the first place [11]; A ∇log π is that sum estimated from one:
#
# $$\nabla J = \mathbb{E}\Big[\sum_t \sum_a \nabla\pi(a|y_{<t})\, Q(y_{<t}, a)\Big]
# \;\approx\; \mathbb{E}\Big[\sum_t \sum_a \nabla\pi(a|y_{<t})\, V(\text{state after } a)\Big].$$
#
# The ≈ is the price. Q is that of the whole text so far; V is a mean over all texts in the same state. The reward is
# the same for them, but the *policy* is not: it goes on differently after another text. So this gradient is **biased**;
# it has little noise, and it needs the automaton. How biased? On a tree that is small enough, every text can be
# enumerated, and ∇J taken exactly. Three tokens go on ("a", "bb" and "3"), one ends; the logits at each prefix are random.

# %%
from policy_gradients.oracle.aliasing import credit_gradients

rule_of_three = parse_rule("length=3&digits%3=0")
adds = ["a", "bb", "3"]
after = torch.tensor(
    [[rule_of_three.join(s, rule_of_three.state(x)) for x in adds] for s in range(rule_of_three.num_states)]
)
pays = torch.zeros(len(after))
for text in ("bb3", "3bb", "aa3", "a3a", "3aa", "a33", "3a3", "33a", "333"):
    pays[rule_of_three.state(text)] = 1.0  # what the checker says of texts that lead there
rows = []
for spread in (0.3, 1.0, 2.0):
    found = []
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        logits_of_prefixes = [spread * torch.randn(3**k, 4, generator=generator) for k in range(4)]
        found.append(credit_gradients(logits_of_prefixes, after, pays, start=rule_of_three.state("")))
    angles = torch.tensor([gradients.angle() for gradients in found])
    off = max((gradients.by_prefix - gradients.exact).abs().max().item() for gradients in found)
    low, middle, high = angles.quantile(torch.tensor([0.1, 0.5, 0.9])).tolist()
    rows.append([spread, f"{off:.0e}", f"{middle:.0f}°", f"{low:.0f}° to {high:.0f}°"])
Table(
    [
        "sd of the logits",
        "with Q of the prefix: largest error of ∇J",
        "with V of the state: median angle to ∇J",
        "four in five",
    ],
    rows,
)

# %% [markdown]
# With Q of the prefix the theorem holds to rounding. With V of the state the gradient points away from ∇J, by a few
# degrees in one policy and by dozens in the next; least where the policy hardly depends on its text. In each of these
# trees it still climbs (the largest angle is 73°), though no theorem says that it must. In code the sum over actions is
# one line, `expected_value`.

# %%
from policy_gradients.estimators.log_probs import expected_value

value = expected_value(torch.tensor([0.9, 0.1]).log(), torch.tensor([0.0, 1.0]))
print(f"a good token that is drawn once in ten: expected value {value:.2f}, and it gets its gradient at every draw")

# %%
ask("06: credit by state")

# %%
from policy_gradients.training.config import flat_of

short = dict(max_steps=STEPS, final_learning_rate=1.0)
ours, theirs = flat_of(preset(PRESET, **short)), flat_of(preset(GRPO, **plain, **short))
differ = [name for name in sorted(ours | theirs) if ours.get(name, "–") != theirs.get(name, "–")]
Table(
    ["setting", "by state", "GRPO"], [[name, str(ours.get(name, "–")), str(theirs.get(name, "–"))] for name in differ]
)

# %% [markdown]
# Every setting in which the two runs differ: each method has those that were found for it, and GRPO, in so short a run,
# twice its preset's learning rate. A comparison at equal settings would only say whose settings they were.

# %%
tuned = watched(preset(PRESET, **short), runs / "state")

# %%
side_by_side(sparse=sparse, curriculum=grpo, by_state=tuned)

# %% [markdown]
# These are the first steps only. The full run is `make run` in a checkout, or
# `policy-gradients train --preset tiny --output-dir runs/mine`; section 8 shows the curves of one.
#
# What is the price? The checker has to be a small automaton: this works for counting and sums, not for "the proof is
# right". And a table that knows only the checker's state is blind to the text. Whether the sentence is about to end,
# and a digit would fit, it cannot see: what the model writes to meet the rule is then not always what a writer would.
# Where rules have no states, `credit="completion"` is what there is, or a learned critic.

# %% [markdown]
# How to read the board, from the top left:
#
# - **Strict rate and tolerance.** As the policy gets better, the task gets harder. A level reward above a falling
#   tolerance *is* progress. The strict rate follows late.
# - **Groups without a gradient**: near 100 % nothing is learnt, as in section 4. (Credit by state knows none, and has no such panel.)
# - **Length, digits, ending**: which part is being learnt? Notebook 07 takes this further.
# - **Distinct completions** far below 100 %: the policy repeats itself.
# - **Entropy** falls as a policy commits itself. A fall towards zero means collapse; a bonus resists, if it comes in time.
# - **KL**, in nats per completion, is what the change has cost. Section 8 shows the least possible price.
# - **Gradient norm** before clipping. Rare events with large advantages make spikes; clipping bounds their step.

# %% [markdown]
# ### What a token answers for
#
# A token leads to states, and the policy diverges there or does not. So with `kl_place="reward"` it is charged β times
# the divergence that comes *after* it, like a reward; its own KL is differentiated directly. Without the charge, the
# penalty's gradient would lack one of its two parts [7]. (Credit by state has this charge in V, where it is a mean.)

# %% [markdown]
# **Exercise: Divergence to go** (★★★, 15 min). Padding counts nothing.


# %%
def to_go(kl, mask):
    """Σ KL_k over k > t, detached; kl, mask and result (completions, time)."""
    return ...  # your code here


# %%
to_go = check(to_go)
# hint(to_go)  # without the #: a hint, and the next one each time
# solution(to_go)

# %%
from policy_gradients.evaluation.evaluate import load_subject
from policy_gradients.language.scoring import CompletionScorer

subject = load_subject(tuned)
rollout = next(sample_completions(subject, task.rows[:4], 8, seed=1))
with torch.no_grad():
    kl = CompletionScorer(subject.model)(rollout, config.temperature, model).kl
rest = to_go(kl, rollout.mask).mean(0)
print("nats still to come after token", {t: round(rest[t].item(), 2) for t in range(0, len(rest), 8)})

# %% [markdown]
# ### Where the time goes
#
# Every row of the metrics says how long its parts took. Sampling goes one token after another. On a CPU it is a sixth of
# such a step, as the prompt is read once for its whole group; on a GPU, and with longer completions, it is often most.

# %%
from policy_gradients.course.figures import PARTS

total = sum(mean(tuned, f"seconds_{part}") for part in PARTS)
rows = [[part, mean(tuned, f"seconds_{part}"), f"{mean(tuned, f'seconds_{part}') / total:.0%}"] for part in PARTS]
Table(["part of a step", "seconds", "share"], rows)

# %% [markdown]
# ## 7. Cut, and resume
#
# A Colab session ends when Colab decides. A resumed run is worth little if it is a *different* run: an optimiser that
# forgot its moments, random numbers that repeat. Here all randomness is a function of the seed and the step. So a
# checkpoint needs the weights, the optimiser, the curriculum, the values of states, the running means that β, the stop and the
# bonus follow, and the step count. We raise an exception in the middle.


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
scratch = run_directory()
short = preset(PRESET, max_steps=6, save_every=2, num_prompts=4, num_generations=4)
whole = train(short, scratch / "whole", progress=False)
try:
    train(short, scratch / "cut", progress=False, on_step=cut_after(5))
except Cut:
    left = sorted(path.name for path in (scratch / "cut").iterdir())
    print(f"cut after {len(read_metrics(scratch / 'cut' / 'metrics.jsonl'))} steps; the folder holds {', '.join(left)}")

# %%
ask("06: resume")

# %%
resumed = train(short, scratch / "cut", resume=True, progress=False)


def measured(folder):
    """The rows of a run without what depends on the clock."""
    clock = ("seconds", "tokens_per_second", "elapsed")
    return [{k: v for k, v in r.items() if not k.startswith(clock)} for r in read_metrics(folder / "metrics.jsonl")]


ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (whole, resumed))
print("steps", [row["step"] for row in measured(resumed)])
print("metrics identical:", measured(whole) == measured(resumed))
print("weights identical:", all(torch.equal(ours[name], theirs[name]) for name in ours))

# %% [markdown]
# The step after the last checkpoint was lost with the session, and done again. On a CPU that is exact to the last bit.
# On a GPU some sums are taken in an order that varies, so the last digits may differ.

# %% [markdown]
# ## 8. The full run
#
# Full runs are kept in the repository, under `results/`: the config, the log and the evaluation of each seed, as
# `make results` writes them. Several seeds, because one run is an anecdote. The curves are those of the first.

# %%
results = sorted(Path("..", "results", PRESET).glob("seed-*/report.json"))
reports = [json.loads(path.read_text(encoding="utf-8")) for path in results]
names = ", ".join(path.parent.name for path in results)
print(f"shipped runs: {names}" if results else "No results folder beside this notebook: run `make run` in a checkout.")

# %%
from policy_gradients.course.display import show
from policy_gradients.course.figures import training_curves

for path in results[:1]:
    show(training_curves(read_metrics(path.with_name("metrics.jsonl")), groups=False))

# %% [markdown]
# The evaluation takes held-out prompts, one completion each, before and after, with the same decoding.

# %%
ROWS = ("pass_rate", "length_rate", "digit_rate", "finished_rate", "distinct_completions", "largest_cluster_share")
ROWS += ("entropy", "kl_to_reference", "reference_nll_per_token", "heldout_perplexity")


def by_seed(paths, reports):
    """Every number of the untouched model beside those of each tuned one."""
    sides = [*(report["reference"] for report in reports[:1]), *(report["tuned"] for report in reports)]
    header = [*["before"][: len(reports)], *(f"after, {path.parent.name}" for path in paths)]
    return Table(
        ["held-out prompts", *header], [[key, *(readable(key, s[key]) for s in sides)] for key in ROWS if sides]
    )


by_seed(results, reports)

# %%
from policy_gradients.course.figures import before_after

for report in reports[:1]:
    show(before_after(report))

# %% [markdown]
# One picture of rates, then the texts themselves: leaf through all of them, or through those that fail.

# %%
from policy_gradients.course.widgets.completions import completion_browser

completion_browser(reports[0]["completions"]) if reports else None

# %% [markdown]
# A pass rate has a price. Let the reference pass with probability p. Of all policies that pass with probability q, the
# closest lies at $q \ln\frac{q}{p} + (1-q)\ln\frac{1-q}{1-p}$ nats per completion. No method gets below
# that. The figure shows this frontier and where the seeds ended.

# %%
from policy_gradients.course.figures import reward_against_kl

points = [
    {"label": path.parent.name, "kl": side["kl_to_reference"], "distinct": side["distinct_completions"]}
    | {"pass_rate": side["pass_rate"], "interval": side["pass_rate_interval"]}
    for path, side in zip(results, (report["tuned"] for report in reports), strict=True)
]
for report in reports[:1]:
    show(reward_against_kl(points, report["reference_pass_rate"], report["reference_pass_rate_interval"]))

# %% [markdown]
# The horizontal distance to the black line is divergence that bought no pass. (Not all of it could be saved: the line is
# met only if p is the same for every prompt. Measured prompt by prompt, the least price of 95 % is 0.30 nats higher.)
#
# ### What each method knows, and what it pays
#
# Now all of them, on prompts that no setting was chosen by. A **mask** forbids every token after which the rule can no
# longer be met (that is how guided generation makes JSON [13]). **Decoding by chances** multiplies each token's
# probability by the chance that the reference meets the rule from the state it leads to: backward values, from a table of
# how the reference moves between states. If the state said all there is to know of a text, that would be the
# reference's own distribution given that it passes, and nothing that always passes is closer. **Drawing until it passes**
# is exactly that. (Its row takes all prompts for equally hard. They are not, so it costs more nats and draws than it says.)

# %%
ask("06: without training")

# %%
from policy_gradients.course.methods import HEADER as METHODS
from policy_gradients.course.methods import method_rows

Table(METHODS, method_rows(Path("..", "results"))) if PRESET == "tiny" else "These runs are those of the tier `tiny`."

# %%
from policy_gradients.course.methods import method_points

for report in reports[:1] if PRESET == "tiny" else []:
    p, p_interval = report["reference_pass_rate"], report["reference_pass_rate_interval"]
    show(reward_against_kl(method_points(Path("..", "results")), p, p_interval))

# %% [markdown]
# Read the rows without training first. The mask always passes, and is further from the model than need be: it lets the
# model write what it likes until only strange endings are left. The chances look ahead, and come nearer to the floor
# than any trained policy here. So **for a rule whose automaton you have, training is not how you meet it.** What does
# training buy? A policy that needs neither the automaton nor the reference's table when it is used: the model alone. And,
# for a reward that is *no* automaton, it is what there is. That is GRPO's row: one bit, from anywhere.
#
# Then the trained rows, credit × reward. With one bit a completion GRPO waits long, and then collapses: look at the
# column of distinct texts. Given the automaton, the same bit is learnt within eighty steps, and by as many texts as
# there are prompts. So "sparse rewards fail" is true of a method, and not of a reward. With the curriculum both write as
# many texts as there are prompts, and credit by state pays two thirds of the nats, for what it was told. (As they are set. The
# row below takes about three times the completions, at a price that is high while little passes, and falls: with one advantage
# a completion 93 to 96 % pass then, for two fifths more nats than credit by state pays. How a method is set can matter as much as what it is:
# [results](../docs/results.md#grpo-with-a-price-that-falls-with-success).) But mind what
# that column does not see: 383 of GRPO's 400 texts begin with "In the 18t" or "There are ", and of another seed's 393 with
# "In 20" or "As of 20". That fits one advantage for all tokens: it pays the beginning of a lucky text as much as its end.
#
# Did the policies learn, or did they cheat? That is [notebook 07](07_evaluation.ipynb)'s question.

# %% [markdown]
# ## 9. SmolLM2, and what had to change
#
# SmolLM2-135M-Instruct is a model that people use, forty times the size of `tiny`, and its tokens are words. Three
# things broke.
#
# - **Characters are out of its sight.** A token has three or four of them, and little in its hidden states says how
#   many. The rule asks for 10 characters here, not for 64.
# - **There was nothing to average.** None of 20,000 samples of its reference passes, so means of rewards are zeros. But
#   the policy states the chance of *every* next token. Summed over tokens that change the state alike, these are
#   transition probabilities, and with what each end earns the Bellman equation gives V from them: policy
#   evaluation, in which a chance of one in a million counts (`TransitionValues`).
# - **The first success took all.** Where π is next to nothing, a token's gradient, π (Q − V), is nothing, however good
#   it is. What passed first soon was the only answer.
#
# (And, as in section 6, this method knows the automaton.) The last needs an objective that finds again what has become
# rare. For given values and a price β, the best policy is known in closed form. So write
# it down, and fit the policy to it [12]. In the logits z:
#
# $$q(a) \propto \pi_{ref}(a)\, e^{Q(a)/\beta}, \qquad \nabla_z\, KL(q \,\|\, \pi) = \pi - q .$$

# %%
ask("06: the lost answer")

# %%
from policy_gradients.estimators.log_probs import kl_divergence
from policy_gradients.estimators.projection import projection_divergence, soft_target

logits = torch.tensor([1000.0, 1.0]).log().requires_grad_()
log_pi, log_ref, good, beta = logits.log_softmax(-1), torch.tensor([0.5, 0.5]).log(), torch.ones(2), 0.05
objectives = {
    "policy gradient, β KL(π ‖ π_ref)": beta * kl_divergence(log_pi, log_ref) - expected_value(log_pi, good),
    "projection, β KL(q ‖ π)": beta * projection_divergence(log_pi, soft_target(log_ref, good, beta)),
}
pulls = [
    [name, -torch.autograd.grad(loss, logits, retain_graph=True)[0][1].item()] for name, loss in objectives.items()
]
Table(["objective", "pull on the logit of the lost answer"], pulls)

# %% [markdown]
# The loss of `--preset smollm2` has both: the gradient of Σ π Q, which gambles where the model is not sure how long the
# text is, and the projection, which keeps alive whatever is good. The runs below took 17 minutes each, on a share of one of
# two CPU cores.

# %%
smollm2 = sorted(Path("..", "results", "smollm2").glob("seed-*/report.json"))
others = [json.loads(path.read_text(encoding="utf-8")) for path in smollm2]
by_seed(smollm2, others)

# %%
for path in smollm2[:1]:
    show(training_curves(read_metrics(path.with_name("metrics.jsonl")), groups=False))

# %%
from policy_gradients.course.display import MARK

rows = (
    [
        [row["before"]["text"][:60], row["after"]["text"], MARK[row["after"]["passed"]]]
        for row in others[0]["completions"][:12]
    ]
    if others
    else []
)
Table(["before", "after", "passes"], rows)

# %% [markdown]
# One trap was found by reading texts, not curves. In an earlier run the strict rate fell while nearly all texts had the
# right length. SmolLM2 has a second end token, `<|endoftext|>`, which its config does not call an
# end. It has no text. So the policy put it after finished answers, five times over, and they failed for not having
# ended. Read your completions, and with their special tokens.
#
# Another trap is in these very runs. Look for "�" above: a byte that goes on with a character where none was begun. 86 of
# the 95 failures of two seeds hold one, and 55 are a right text with nothing but that behind it. The table of states took
# such a byte for nothing, as it is inside a character, and told the policy that the text may end there. The checker counts
# it. A model of the reward that is wrong in one place is wrong where the policy goes. (The table is mended: what is
# unfinished of a character belongs to the state. These runs are from before.)
#
# **Learned, or cheated?** Both words fit. A digit that is divisible by 3, a space, a word of eight letters, the end:
# three tokens, of which the vocabulary has thousands of the right kind. It is the shortest way to meet the rule, and
# needs no counting. Nobody asked for a sentence, and nobody asked for an answer to the excerpt. A few of the four hundred
# are a digit and nine spaces: they pass, too. Most texts are distinct, and most are *one template*, filled in: the
# row `largest_shape_share` below counts them, the number of distinct texts does not. The reference itself finds these
# texts far-fetched: 9 nats a token and more, where its own have under 4. A reward is what you wrote, not what you meant.
#
# **And what else did it change?** Look at the row `heldout_perplexity` of this section's first table: plain text has become more than a fifth more
# perplexing, although each run paid a price (`prompt_kl_weight`, 0.001 a nat) for what happens to it: what is cheap is sold.

# %%
from policy_gradients.evaluation.statistics import largest_shape_share

shapes = [
    [f"{largest_shape_share([row[side]['text'] for row in report['completions']]):.1%}" for report in others]
    for side in ("before", "after")
]
Table(
    ["largest_shape_share", *(path.parent.name for path in smollm2)],
    [["before", *shapes[0]], ["after", *shapes[1]]] if others else [],
)

# %% [markdown]
# ## 10. What the recipe said, and what is done here instead
#
# The recipe stands on the page that section 5 names, from which this course started. Much of it could not be run, or did
# not mean what it said.
#
# | the page's recipe | here | why |
# | --- | --- | --- |
# | `pip install trlx`, GRPO by trlx | plain PyTorch: notebook 05 has the step in a screenful | no package of that name is on PyPI; trlx ([CarperAI/trlx](https://github.com/CarperAI/trlx)) has PPO and ILQL, and no GRPO |
# | `torch==2.2.0` | lower bounds that Colab's own packages satisfy | that version has no wheel for Python 3.13, which Colab runs; transformers 5.23 asks for 2.6 or later |
# | batches of 16 prompts, "normalize each batch" | G completions of one prompt, compared within the group | over 16 *different* prompts, the mean mixes difficulty with quality; that is a batch baseline, close to REINFORCE++ [4], not GRPO [1] |
# | GRPO cited as arXiv:2401.13662 | arXiv:2402.03300 | the former is Lehmann's survey of policy gradients [5]: worth reading, another subject |
# | entropy bonus scaled by 1/variance of the reward | credit by state needs none; GRPO here has one with a target for the entropy, and a cap | section 4: the weight explodes where no reward differs; and p(1−p) vanishes at p = 1 too |
# | web text "chopped to 128 tokens" as prompt | chat template, the rule as a sentence, then an excerpt | a bare prefix holds neither an instruction nor a target, so the model has no reason to stop |
# | `load_dataset("openwebtext")` | its Parquet files, streamed (`--prompt-source openwebtext`); without a network, text that ships with the package | `datasets` 4 no longer runs dataset scripts ([nanoGPT#633](https://github.com/karpathy/nanoGPT/issues/633)) |
# | "ends with the target character count", a "digit-sum check" | section 1 | it can be read as length in characters, length in tokens, or a text that ends in "64" |
# | silent about precision on the T4 | fp32 master weights, fp16 autocast, a gradient scaler | a T4 has no bf16 units; `torch.cuda.is_bf16_supported()` says yes there, by emulation, so the compute capability decides |
# | "accuracy > 70 %" in "about 3 hours" for 500,000 rollouts | measured, with a before, an interval and seeds | no baseline and no run stands behind either number |
#
# The paper divides by the group's standard deviation and by each completion's length; Dr. GRPO [3] shows the bias of
# either. Both are settings here (`scale`, `aggregation`): change them and look.

# %%
progress()

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
# 10. Feng, Xue, Liu & An (2025). Group-in-Group policy optimization: groups at anchor states.
#     [arXiv:2505.10978](https://arxiv.org/abs/2505.10978)
# 11. Sutton, McAllester, Singh & Mansour (2000). Policy gradient methods for RL with function approximation, Theorem 1.
#     NIPS 12. As an algorithm: Ciosek & Whiteson (2018), Expected policy gradients,
#     [arXiv:1706.05374](https://arxiv.org/abs/1706.05374)
# 12. Abdolmaleki et al. (2018). Maximum a posteriori policy optimisation.
#     [arXiv:1806.06920](https://arxiv.org/abs/1806.06920)
# 13. Willard & Louf (2023). Efficient guided generation for LLMs. [arXiv:2307.09702](https://arxiv.org/abs/2307.09702);
#     with a look ahead: Lew et al. (2023). Sequential Monte Carlo steering of LLMs.
#     [arXiv:2306.03081](https://arxiv.org/abs/2306.03081)

# %% [markdown]
# ## Onward
#
# A batch teaches what its groups disagree about, so a rule that is hardly ever met needs a path to it: a wider tolerance, paid by
# degrees. One advantage for a whole text is mostly noise; a checker that can be asked half-way pays every token its own share. A
# run is watched by its silent groups and its gradient norm, and a cut one goes on to the same numbers.
#
# Not shown: whether the policy learnt the rule or a trick that passes, and what else in the model has changed.
#
# Next: [07 · Did it learn, or did it cheat?](07_evaluation.ipynb), 30 min to read and 40 min of exercises.
