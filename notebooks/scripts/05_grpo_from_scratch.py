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
# # 05 · What is left of PPO when the critic goes?
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/policy-gradients/blob/main/notebooks/05_grpo_from_scratch.ipynb)
#
# PPO asks a second network what each state is worth. GRPO asks the same prompt several times, and compares. That is
# the whole idea. Around it stand a few more lines of code, each with a reason and most with a side effect. Here every
# one of them is added alone, and held against a gradient that is known exactly.
#
# **Afterwards you can**
#
# - write the five steps of GRPO for a real language model, a few lines each, and check them against the library;
# - say for each line (baseline, leave-one-out, mean, std, length, clip, KL, entropy) what it does to bias and noise;
# - choose a KL estimator by its *gradient*, not by its value;
# - tell per-prompt groups from a normalised batch of different prompts, and say what each is good for;
# - say what a critic costs and what it buys, from runs with three seeds.
#
# | | |
# | --- | --- |
# | to read and think | 50 min, and 105 min for the nine exercises |
# | to run | under a minute on two CPU cores, no GPU |
# | needs | [notebook 02](02_baselines.ipynb): baselines, leave-one-out; [notebook 04](04_natural_gradient.ipynb) for KL, if you have it |

# %%
# @title Setup: on Colab this installs the course, elsewhere it does nothing
from importlib.util import find_spec

if find_spec("policy_gradients") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/OWNER/policy-gradients")  # noqa: F821

# %%
from policy_gradients.course.diagram import five_steps
from policy_gradients.course.display import show
from policy_gradients.course.predictions import ask

show(five_steps("05_grpo_from_scratch"))

# %%
import math
from pathlib import Path
from statistics import mean, median, stdev

import torch
from transformers.utils.logging import disable_progress_bar

from policy_gradients.course.curves import curves
from policy_gradients.course.display import Table, show
from policy_gradients.course.exercises import check, hint, progress, solution  # noqa: F401
from policy_gradients.course.figures import PARTS, compare_runs
from policy_gradients.course.grpo_figures import HELD, MIB, estimator_table, step_costs
from policy_gradients.course.live import LivePlot
from policy_gradients.course.widgets.divergence import kl_explorer
from policy_gradients.estimators.baselines import leave_one_out
from policy_gradients.estimators.divergences import kl_estimate
from policy_gradients.estimators.losses import clipped_loss, clipped_tokens, token_weights
from policy_gradients.estimators.scores import score_gradient

# %%
from policy_gradients.language.models import end_token_ids, load_model, num_parameters
from policy_gradients.language.prompts import Prompts
from policy_gradients.language.rewards import decode
from policy_gradients.language.rollout import positions, sample
from policy_gradients.language.rules import parse_rule
from policy_gradients.language.text import shipped_excerpts
from policy_gradients.oracle.exact import Oracle
from policy_gradients.oracle.gradients import gradient
from policy_gradients.oracle.outcomes import joint_moments
from policy_gradients.training.batches import prompt_indices, sampling_uniforms
from policy_gradients.training.compare_critics import TASK, config_of, measured_run, read_memory, read_runs
from policy_gradients.training.presets import preset
from policy_gradients.worlds.small import token_tree
from policy_gradients.worlds.tabular import softmax_policy

disable_progress_bar()  # of loading a model, which takes a second here
generator = torch.Generator().manual_seed(0)

# %% [markdown]
# ## 1. Five steps
#
# The policy is `tiny`, a real language model that ships with the course. Its tokens are pairs of characters.
# The task of this section is a small one: a completion of at most 24 tokens should hold a **digit**.

# %%
config = preset("tiny", num_prompts=4, num_generations=8, max_prompt_tokens=80, max_new_tokens=24)
PROMPTS, G, TIME = config.num_prompts, config.num_generations, config.max_new_tokens
model, tokenizer = load_model(config.model)
prompts = Prompts(tokenizer, parse_rule(config.task.rule), shipped_excerpts("train"), config.max_prompt_tokens)
ends = end_token_ids(model, tokenizer)
print(f"{num_parameters(model):,} parameters, {len(prompts):,} prompts; the first:\n")
print(tokenizer.decode(prompts[0]))

# %% [markdown]
# ### Step 1: rollout
#
# The model turns a text into a distribution over the next token. One random number picks the token. Append, repeat.


# %%
@torch.no_grad()
def generate(prompt, uniforms):
    """One completion as a list of tokens: the whole text goes through the model again for each of them."""
    ids = list(prompt)
    for uniform in uniforms:
        logits = model(torch.tensor([ids])).logits[:, -1]
        ids.append(sample(logits, uniform.view(1), 1.0)[0].item())
        if ids[-1] in ends:
            break
    return ids[len(prompt) :]


numbers = torch.rand(PROMPTS * G, TIME, generator=generator)
ours = [generate(prompts[0], row) for row in numbers[:2]]

# %% [markdown]
# The library's `generate` does the same for many prompts at once. It keeps the keys and values of past tokens, encodes
# each prompt once for its whole group, and lets finished rows go. The same numbers have to pick the same tokens.

# %%
from policy_gradients.language.rollout import generate

rollout = generate(model, [prompts[i] for i in range(PROMPTS)], G, numbers, ends, tokenizer.pad_token_id)
theirs = [row[mask > 0].tolist() for row, mask in zip(rollout.completion_ids, rollout.mask, strict=True)]
print("same tokens:", ours == theirs[:2])
for completion in decode(tokenizer, rollout)[:3]:
    print(repr(completion.text))

# %% [markdown]
# ### Step 2: reward
#
# Any function of the text. No gradient passes through it, and it never sees the prompt.


# %%
def reward(completions):
    """1 for a completion with a digit, else 0."""
    return [float(any(c in "0123456789" for c in completion.text)) for completion in completions]


rewards = torch.tensor(reward(decode(tokenizer, rollout))).view(PROMPTS, G)
print(rewards.int())

# %% [markdown]
# One row is one **group**: G completions of the *same* prompt. That shape, (prompts, G), is half of GRPO.
#
# ### Step 3: advantage
#
# The other half: a completion is compared with its own group.

# %% [markdown]
# **Exercise: GRPO's advantages** (★, 10 min). Less the mean of the row, over the standard deviation of the row.


# %%
def grpo_advantages(rewards):
    """(r − mean) / (std + 1e-4) within each row; rewards and result have shape (prompts, G), std divides by G − 1."""
    return ...  # your code here


# %%
grpo_advantages = check(grpo_advantages)
# hint(grpo_advantages)  # without the #: a hint, and the next one each time
# solution(grpo_advantages)

# %%
from policy_gradients.estimators.advantages import group_advantages

advantages = group_advantages(rewards, baseline="mean", scale="std")
print(advantages.numpy().round(2))
print("yours agree:", torch.allclose(grpo_advantages(rewards), advantages))

# %% [markdown]
# ### Step 4: log-probs
#
# The rollout took no gradient. So the tokens go through the model once more, all at once this time.

# %% [markdown]
# **Exercise: Log-probs of the tokens that were sampled** (★, 10 min). From logits, without overflow.


# %%
def token_log_probs(logits, actions):
    """log π of each action: logits (completions, time, vocabulary), actions and result (completions, time)."""
    return ...  # your code here


# %%
token_log_probs = check(token_log_probs)
# hint(token_log_probs)  # without the #: a hint, and the next one each time
# solution(token_log_probs)


# %%
def logits_of(rollout):
    """Logits of the completion tokens, (completions, time, vocabulary): those at one place predict the next token."""
    ids = torch.cat([rollout.prompt_ids.repeat_interleave(G, 0), rollout.completion_ids], dim=1)
    mask = torch.cat([rollout.prompt_mask.repeat_interleave(G, 0), rollout.mask.long()], dim=1)
    logits = model(ids, attention_mask=mask, position_ids=positions(mask)).logits
    return logits[:, rollout.prompt_ids.shape[1] - 1 : -1]


def score(rollout):
    """log π of the completion tokens, (completions, time)."""
    return token_log_probs(logits_of(rollout), rollout.completion_ids) * rollout.mask


with torch.no_grad():
    ours = score(rollout)

# %% [markdown]
# The library's scorer does not keep all logits at once, and encodes each prompt once. It should agree with us, and
# both with what the *sampler* thought of its own tokens. (If those two ever differ, training goes wrong silently:
# sampled at one temperature and scored at another, say.)

# %%
from policy_gradients.language.scoring import CompletionScorer

scorer = CompletionScorer(model)
log_probs = scorer(rollout).log_probs
print(
    f"from ours: {(ours - log_probs).abs().max():.0e}, from the sampler's: {(rollout.log_probs - ours).abs().max():.0e}"
)

# %% [markdown]
# ### Step 5: loss and update

# %% [markdown]
# **Exercise: The loss of a policy gradient** (★★, 10 min). One number a token, whose gradient is −A ∇log π.


# %%
def token_loss(log_probs, advantages):
    """−A · log π per token, A detached: log_probs and result (completions, time), advantages (completions,)."""
    return ...  # your code here


# %%
token_loss = check(token_loss)
# hint(token_loss)  # without the #: a hint, and the next one each time
# solution(token_loss)

# %%
ask("05: value of the loss")

# %%
from policy_gradients.estimators.losses import policy_gradient_loss

tokens = int(rollout.mask.sum())
weights = token_weights(rollout.mask, "constant", PROMPTS * G, tokens, TIME)  # one weight for all; see section 3
signed = advantages.flatten()
forms = {"−A log π": policy_gradient_loss(log_probs, signed)}
forms["−A π/π_old"] = -signed[:, None] * (log_probs - log_probs.detach()).exp()
for name, losses in forms.items():
    loss = (weights * losses).sum()
    slopes = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    print(f"{name:>10}: loss {loss.item():+.4f}, norm of its gradient {torch.nn.utils.get_total_norm(slopes):.4f}")

# %% [markdown]
# One gradient, two values, and neither value means anything: advantages sum to zero in each group. A loss near zero is
# what a healthy run shows at its start, and a dead one too. Read the gradient's norm, never the loss alone.
#
# That was all. Here are the five steps as a function, and a dozen of them in a row. Steps 3, 4 and 5 are made of what you
# wrote: `grpo_advantages`, `token_log_probs` and `token_loss`, or the reference's where you left them blank.

# %%
from policy_gradients.estimators.log_probs import entropy

optimizer = torch.optim.AdamW(model.parameters(), lr=8e-4, betas=(0.9, 0.95))


def train_step(number):
    """Sample, reward, compare, score, update; what the board shows."""
    chosen = [prompts[i] for i in prompt_indices(len(prompts), PROMPTS, number, seed=0)]
    uniforms = sampling_uniforms(PROMPTS * G, TIME, number, seed=0)
    rollout = generate(model, chosen, G, uniforms, ends, tokenizer.pad_token_id)  # 1
    rewards = torch.tensor(reward(decode(tokenizer, rollout))).view(PROMPTS, G)  # 2
    advantages = grpo_advantages(rewards).flatten()  # 3
    logits = logits_of(rollout)
    log_probs = token_log_probs(logits, rollout.completion_ids)  # 4
    losses = token_loss(log_probs, advantages) * rollout.mask  # 5
    optimizer.zero_grad()
    (losses.sum() / losses.numel()).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    silent = (rewards == rewards[:, :1]).all(1).float().mean()
    spread = (entropy(logits.detach().log_softmax(-1)) * rollout.mask).sum() / rollout.mask.sum()
    return {"train_reward": rewards.mean(), "zero_variance_share": silent, "entropy": spread, "grad_norm": norm}


# %%
STEPS = 12
with LivePlot("train_reward", "zero_variance_share", "entropy", "grad_norm", total=STEPS) as live:
    for number in range(STEPS):
        live.log(number + 1, **train_step(number))

# %%
shares = [row["train_reward"].item() for row in live.rows]
print(
    f"completions with a digit: {mean(shares[:3]):.0%} in the first three steps, {mean(shares[-3:]):.0%} in the last three"
)

# %% [markdown]
# A real language model, moved by a function that says yes or no. Now without a model to look at: the same loop, from an
# empty cell.

# %% [markdown]
# **Exercise: The whole step** (★★★, 25 min). Only `run` knows what the policy is; the loop has to work for any.


# %%
def grpo(run, steps):
    """Make so many steps of GRPO; the gradient's norm at each, before it is clipped at 1, as a list of numbers.

    run.sample() plays one batch, whose batch.mask is (completions, time); run.reward(batch) is (prompts, G), and
    run.log_probs(batch), with gradient, (completions, time). run.optimizer moves run.parameters. The loss is the sum
    of the tokens' losses where the mask is 1, divided by completions · time.
    """
    return ...  # your code here


# %%
grpo = check(grpo)
# hint(grpo)  # without the #: a hint, and the next one each time
# solution(grpo)

# %% [markdown]
# What it was checked on was a table of logits. Here `run` is the language model, back at its beginning, and your loop has
# to move it.

# %%
from types import SimpleNamespace

model, tokenizer = load_model(config.model)
earned = []


def play():
    """Steps 1 and 2 of the next batch; its mean reward is noted."""
    number = len(earned)
    chosen = [prompts[i] for i in prompt_indices(len(prompts), PROMPTS, number, seed=0)]
    batch = generate(
        model, chosen, G, sampling_uniforms(PROMPTS * G, TIME, number, seed=0), ends, tokenizer.pad_token_id
    )
    earned.append(reward(decode(tokenizer, batch)))
    return batch


# %%
run = SimpleNamespace(sample=play, parameters=list(model.parameters()))
run.reward = lambda batch: torch.tensor(earned[-1]).view(PROMPTS, G)
run.log_probs = score
run.optimizer = torch.optim.AdamW(run.parameters, lr=8e-4, betas=(0.9, 0.95))
norms = grpo(run, steps=6)
Table(
    ["step", "completions with a digit", "gradient norm"],
    [[i + 1, mean(r), n] for i, (r, n) in enumerate(zip(earned, norms, strict=False))],
)

# %% [markdown]
# [Notebook 06](06_grpo_on_a_t4.ipynb) does it in earnest. The rest of this notebook asks what each line did.

# %% [markdown]
# ## 2. One line at a time
#
# Bias and noise cannot be seen on `tiny`: nobody knows its exact gradient. So we take a language model with two letters
# and an end token, and texts of at most three tokens. Its judge wants two letters, an `a` among them, and a proper end.
# There are 15 texts, and 15⁴ groups of four. We go through all of them.

# %%
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)  # with tensors this small, a second thread only gets in the way
A, B, END = 0, 1, 2


def judge(text):
    return float(len(text) == 3 and text[-1] == END and A in text)


tree = token_tree(vocabulary=3, horizon=3, reward=judge)
policy = softmax_policy(tree)
theta = 0.7 * torch.randn(policy.size, generator=torch.Generator().manual_seed(4))
oracle = Oracle(tree, policy.table, theta)
print(f"{len(oracle.outcomes)} texts, {policy.size} parameters, {oracle.objective:.1%} pass")

# %% [markdown]
# An estimator is `score_gradient` with some advantages: a mean over the group of A · Σ ∇log π. Each row below changes
# the advantages by one line. Read three numbers. The *length* of the mean estimate: a learning rate absorbs it. Its
# *angle* to the true gradient: nothing absorbs that. And the *noise*, in units of the estimate's own length.

# %%
ask("05: the line that bends")

# %%
GROUP = 4
LINES = {
    "REINFORCE: r": lambda r: r,
    "the same, rewards + 1": lambda r: r + 1,
    "less a constant: r − J": lambda r: r - oracle.objective,
    "leave one out": lambda r: r - leave_one_out(r),
    "group mean": lambda r: r - r.mean(-1, keepdim=True),
    "group mean and std": lambda r: group_advantages(r, "mean", "std"),
}
exactly = {
    name: oracle.moments(lambda batch, line=line: score_gradient(batch.scores, line(batch.returns)), GROUP)
    for name, line in LINES.items()
}
estimator_table(exactly, oracle.gradient)

# %% [markdown]
# - **A baseline** changes no mean (notebook 02) and takes noise away. How much depends on the rewards. Here they are
#   rare, so 0 is not far from J, and there is little to win. The second row is the same task, with 1 added to every
#   reward.
# - **Leave one out** does not see that 1. But it has to guess J from three rewards, and pays for its guess: where
#   rewards are rare it is noisier than no baseline at all. That is the price of having no critic. It falls as G
#   grows.
# - **The group's mean** contains the own reward. That is leave-one-out times 1 − 1/G, exactly: shorter, nothing else.
# - **The group's std** does not bend this gradient at all. It only makes it longer!
#
# The last row surprises. Is the famous bias of GRPO's std not true? It is, but it cannot be seen with *one* prompt and
# 0/1 rewards. There every advantage is a function of "passed or not", so the mean can only be a multiple of ∇J. The
# multiple depends on the prompt's difficulty. With several prompts, that is the bias: section 4.

# %% [markdown]
# ## 3. Length: by token, by completion, or by a constant?
#
# The paper averages over the tokens of a completion first, then over completions. Two other ways are in use.

# %% [markdown]
# **Exercise: How much does a token weigh?** (★★, 10 min). The paper's way: a mean of means.


# %%
def sequence_weights(mask):
    """Weights w so that Σ w · loss is GRPO's mean of means; mask and result (completions, time)."""
    return ...  # your code here


# %%
sequence_weights = check(sequence_weights)
# hint(sequence_weights)  # without the #: a hint, and the next one each time
# solution(sequence_weights)

# %%
mask = torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 1]])
ways = {kind: token_weights(mask, kind, 2, 5, max_tokens=4) for kind in ("sequence", "token", "constant")}
print("sequence, yours:", sequence_weights(mask).tolist())
Table(
    ["aggregation", "a token of the short one", "a token of the long one"],
    [[k, *w[:, 0].tolist()] for k, w in ways.items()],
)

# %% [markdown]
# With `sequence`, a token of a long completion counts less. So a long wrong answer is punished less, per token, than a
# short one. `token` (DAPO) gives all tokens of the batch one weight, but *which* weight depends on how long the group's
# completions happen to be. `constant` (Dr. GRPO) is the gradient of J, up to a scale.

# %%
ask("05: aggregation")


# %%
def aggregated(kind):
    """Leave one out, with each token weighed; the weights in the form for many groups at once."""

    def estimator(batch):
        mask, advantages = batch.mask, batch.returns - leave_one_out(batch.returns)
        size = {
            "sequence": mask.sum(-1, keepdim=True),
            "token": mask.sum((-1, -2), keepdim=True) / GROUP,
            "constant": 3,
        }
        return score_gradient(batch.scores / torch.as_tensor(size[kind]).expand_as(mask)[..., None], advantages)

    return estimator


estimator_table({kind: oracle.moments(aggregated(kind), GROUP) for kind in ways}, oracle.gradient)

# %% [markdown]
# What does the angle *do*? We give the judge no interest in length: a text passes if it begins with `b`. Then we follow
# the expected step of each aggregation, over all pairs of texts. No sampling, no luck. We watch how long the *wrong*
# answers are.

# %%
first_b = token_tree(3, 3, lambda text: float(text[0] == B))


def wrong_length(here):
    """Mean length of the texts that fail, and the pass rate."""
    episodes = here.outcomes.episodes
    wrong = here.outcomes.probabilities * (episodes.returns == 0)
    return (wrong @ episodes.lengths / wrong.sum()).item()


def follow(kind, steps=40):
    """Expected steps of one length each; how long wrong answers are on the way."""
    where, lengths = theta, []
    for _ in range(steps):
        here = Oracle(first_b, policy.table, where)
        lengths.append(wrong_length(here))
        step = here.moments(aggregated(kind), group_size=2).mean
        where = where + 0.3 * step / step.norm()
    print(f"{kind:>8}: {here.objective:.1%} pass at the end, wrong answers have {lengths[-1]:.2f} tokens")
    return lengths


# %%
lengths = {kind: follow(kind) for kind in ways}
axes = {"xlabel": "expected step", "ylabel": "tokens of a wrong answer"}
show(curves(range(40), lengths, title="A judge to whom length is nothing", **axes))

# %% [markdown]
# All three learn the task equally well. But under `sequence` the wrong answers grow, with no reward for it. Where
# "longer answers" are taken for "more reasoning", keep this curve in mind (Dr. GRPO [3]).

# %% [markdown]
# ## 4. Difficulty: what the group's std does
#
# One prompt, 0/1 rewards, pass probability p. E[ĝ] is a multiple c of ∇p. We list all groups once more.

# %%
coin = token_tree(
    vocabulary=2, horizon=1, reward=lambda text: float(text[0] == 0), eos=False
)  # one token, right or wrong
coin_policy = softmax_policy(coin)


def pull(p, size, advantages_of):
    """The c in E[ĝ] = c ∇p, over all 2^size groups."""
    flip = Oracle(coin, coin_policy.table, torch.tensor([math.log(p / (1 - p)), 0.0]))
    mean = flip.moments(lambda batch: score_gradient(batch.scores, advantages_of(batch.returns)), size).mean
    return (mean[0] / flip.gradient[0]).item()


# %%
ask("05: difficulty")

# %%
ps = torch.tensor([0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.99])
by_std = lambda r: group_advantages(r, "mean", "std")  # noqa: E731
pulls = {f"std, G = {size}": [pull(p, size, by_std) for p in ps.tolist()] for size in (2, 3, 8, 14)}
pulls["std, G → ∞: 1/√(p(1−p))"] = 1 / (ps * (1 - ps)).sqrt()
pulls["leave one out, any G"] = [pull(p, 4, LINES["leave one out"]) for p in ps.tolist()]
axes = {"xlabel": "pass probability p of the prompt", "ylabel": "c, the weight of this prompt"}
show(curves(ps, pulls, title="How hard GRPO pulls at a prompt", **axes, ylim=(0, 6)))

# %% [markdown]
# For large G the weight is 1/√(p(1−p)). So GRPO does not climb the pass rate p but 2 arcsin √p, which is steeper at
# both ends: hard prompts and nearly solved ones count for more (Davis & Recht [10]). That is a choice, not a fault.
# But it is no bias that more samples cure: it *grows* with G. At G = 2 and 3 there is none: every group that speaks
# has one and the same std.
#
# ### Groups that say nothing
#
# If all G pass, or all G fail, every advantage is 0. The group costs G completions and teaches nothing.

# %% [markdown]
# **Exercise: The share of silent groups** (★, 5 min). Rewards need not be 0 or 1.


# %%
def silent_share(rewards):
    """Share of the groups whose rewards are all equal; rewards (prompts, G), result a scalar tensor."""
    return ...  # your code here


# %%
silent_share = check(silent_share)
# hint(silent_share)  # without the #: a hint, and the next one each time
# solution(silent_share)


# %%
def silent(p, size):
    """Probability that `size` completions, each passing with probability p, all get the same reward."""
    return p**size + (1 - p) ** size


rows = []
for p in (0.002, 0.01, 0.1, 0.5, 0.9):
    drawn = [silent_share((torch.rand(20_000, size, generator=generator) < p).float()).item() for size in (8, 16)]
    rows.append([p, *(f"{silent(p, size):.1%}" for size in (8, 16, 64)), *(f"{share:.1%}" for share in drawn)])
Table(["p", "pᴳ + (1−p)ᴳ, G = 8", "16", "64", "20,000 groups drawn, G = 8", "16"], rows)

# %% [markdown]
# One may draw again until a group speaks. It fills the batch. It also changes what is climbed: a group that speaks after
# many silent ones gets a full vote.

# %%
ask("05: redrawing")

# %%
rows = []
for p in (0.02, 0.1, 0.5, 0.9):
    once, speaks = pull(p, 8, by_std), 1 - silent(p, 8)
    rows.append([p, once, once / speaks, 1 / speaks])
Table(["p, G = 8", "c, each group once", "c, silent ones redrawn", "groups drawn for one that is kept"], rows)

# %% [markdown]
# The mean over groups that speak is the mean over all, divided by their share. So hard prompts get a weight that
# grows like 1/p, and the bill grows with it. That is fine if you know it. At a prompt that never passes, redrawing
# never ends, so it needs a limit. (DAPO's **dynamic sampling** [6] fills the batch up with *other* prompts. A hard prompt
# then also gets into the batch more rarely, by just that share, and no prompt gains weight against another.)

# %% [markdown]
# ## 5. One batch of different prompts
#
# The source page's recipe has no groups. It takes "batches of 16 prompts" and normalises "each batch". Is that
# biased? Noisier? We build the smallest case: three kinds of prompt, which pass with 5, 50 and 95 %, and twelve
# completions. GRPO takes one prompt of each kind, four times. The recipe takes twelve different prompts, four of each
# kind, once each. The completions are the same; only what they are compared with differs.

# %%
RATES, ANSWERS = torch.tensor([0.05, 0.5, 0.95]), 3  # one right answer and two wrong ones, a logit for each
start = torch.zeros(3, ANSWERS)
start[:, 0] = (RATES / (1 - RATES) * (ANSWERS - 1)).log()
question = token_tree(ANSWERS, 1, lambda text: float(text[0] == 0), eos=False)


def kind_of_prompt(k):
    return Oracle(question, lambda t: t.view(3, ANSWERS)[k : k + 1].log_softmax(-1), start.flatten())


kinds = [kind_of_prompt(k) for k in range(3)]
exact = sum(k.gradient for k in kinds) / 3
places = [k.outcomes for k in kinds for _ in range(4)]
print(f"{ANSWERS ** len(places):,} possible batches")


# %%
def grouped(baseline, scale):
    """Compare within the four completions of a kind."""

    def estimator(batch):
        advantages = group_advantages(batch.returns.reshape(-1, 4), baseline, scale)
        return score_gradient(batch.scores, advantages.view(batch.returns.shape))

    return estimator


def whole(baseline, scale):
    """Compare within the whole batch of twelve."""
    return lambda batch: score_gradient(batch.scores, group_advantages(batch.returns, baseline, scale))


# %%
ask("05: a mixed baseline")

# %%
CASES = {
    "groups, leave one out": grouped("leave_one_out", "none"),
    "batch, leave one out": whole("leave_one_out", "none"),
    "groups, mean and std (GRPO)": grouped("mean", "std"),
    "batch, mean and std (the recipe)": whole("mean", "std"),
}
mixed = {name: joint_moments(estimator, places) for name, estimator in CASES.items()}
estimator_table(mixed, exact)

# %% [markdown]
# A baseline of the whole batch adds *no* bias. The recipe's angle is even smaller than GRPO's, whose std weighs each
# prompt by itself, and its noise is no larger either. So what are groups for? The table adds up over prompts. Here is
# the same, prompt by prompt.


# %%
def noise_by_kind(moments):
    """Variance of each kind's own part of the gradient, relative to that part's squared length."""
    variance, length = moments.covariance.diag().view(3, ANSWERS).sum(1), moments.mean.view(3, ANSWERS).norm(dim=1)
    return (variance / length.square()).tolist()


Table(
    ["compared with", *(f"noise at p = {p}" for p in RATES.tolist())],
    [[n, *noise_by_kind(m)] for n, m in mixed.items()],
)

# %% [markdown]
# The noise moved, from the easy prompt to the hard one.
#
# - At the **hard** prompt nearly every completion fails, in one wrong way or another. Each failure shakes the logits
#   by its advantage: about 0 against its own group, a full −½ against the batch. That is notebook 02's riddle, an
#   offset on the rewards, only with another offset for each prompt.
# - At the **easy** prompt nearly all pass, and a pass hardly shakes anything, because the score of a sure answer is
#   near 0. The rare failure does the shaking, and there −½ is milder than −0.95.
#
# What comes of it in training? Sixteen prompts, four of each of four kinds, six answers each, and 32 learners side by
# side. The recipe sees all 16 prompts at every step, GRPO only four of them, four times.


# %%
def learners(compare, rate, steps=150, copies=32, answers=6):
    """π of the hardest kind's answers after training by SGD, (learners, prompts, answers); answer 0 is right."""
    draw, right = torch.Generator().manual_seed(0), torch.tensor([0.02, 0.1, 0.4, 0.8]).repeat_interleave(4)
    theta = torch.zeros(copies, 16, answers)
    theta[..., 0] = (right / (1 - right) * (answers - 1)).log()
    for _ in range(steps):
        pick = torch.arange(16).expand(copies, 16)
        if compare == "groups":  # one prompt of each kind, four completions of it
            pick = (torch.randint(4, (copies, 4), generator=draw) + 4 * torch.arange(4)).repeat_interleave(4, 1)
        index = pick.unsqueeze(-1).expand(-1, -1, answers)
        pi = theta.softmax(-1).gather(1, index)
        chosen = torch.multinomial(pi.flatten(0, 1), 1, generator=draw).view(copies, 16)
        groups = (chosen == 0).double().view((-1, 4) if compare == "groups" else (-1, 16))
        advantages = group_advantages(groups, "mean", "std").view(copies, 16, 1)
        score = torch.nn.functional.one_hot(chosen, answers) - pi
        theta = theta.scatter_add(1, index, rate * advantages * score / 16)
    return theta.softmax(-1)[:, :4]


# %%
rates = (1, 2, 4, 8, 16, 32, 64)
learnt = {compare: torch.stack([learners(compare, rate) for rate in rates]) for compare in ("groups", "batch")}
hardest = {compare: pi[..., 0].mean(-1) for compare, pi in learnt.items()}  # (rates, learners)
axes = {"xlabel": "learning rate (log scale)", "ylabel": "pass rate", "xscale": "log"}
show(curves(rates, hardest, title="The hardest kind (2 % at first), after 150 steps", **axes, ylim=(0, 1.02)))

# %%
rows = []
for compare, pi in learnt.items():
    sure = (pi[..., 1:].amax(-1) > 0.9).double().mean((1, 2))  # of one wrong answer
    rows += [
        [compare, rate, right.mean().item(), f"{s:.0%}"]
        for rate, right, s in zip(rates, hardest[compare], sure, strict=True)
    ]
Table(
    ["compared within", "learning rate", "pass rate, hardest kind", "prompts sure of a wrong answer"],
    [row for row in rows if row[1] in (4, 16, 64)],
)

# %% [markdown]
# (The two estimates differ in length, so a rate means different steps: compare the curves, not points above each
# other.) At its best rate the recipe is no match for groups at theirs. Beyond that it comes apart, and groups bear
# far larger steps. The last column says why. At a hard prompt the batch pushes the policy away from whatever it
# answered, step after step, until it is sure of something wrong. A group stays silent there, and waits for a success.
#
# Does normalising over different prompts "introduce bias because some prompts are inherently easier?", the page asks as
# an open question. No: it costs noise, at the hard prompts. What biases is the std of a *group*. REINFORCE++ [4]
# therefore takes the std of the batch, and optionally the mean of the group.

# %% [markdown]
# ## 6. Several updates from one batch: the clip
#
# Sampling is expensive. So use each batch for several updates. But after the first one, the batch was sampled by
# an *old* policy. The ratio ρ = π/π_old mends that, and a clip keeps it near 1.

# %% [markdown]
# **Exercise: PPO's clip** (★★, 15 min). The lower of two candidates, and then the sign.


# %%
def ppo_loss(log_probs, old_log_probs, advantages):
    """−min(ρA, clip(ρ, 0.8, 1.2) A) per token: (completions, time) twice and (completions,) → (completions, time)."""
    return ...  # your code here


# %%
ppo_loss = check(ppo_loss)
# hint(ppo_loss)  # without the #: a hint, and the next one each time
# solution(ppo_loss)

# %%
ask("05: the clip at first")

# %%
batch = oracle.sample((16,), torch.Generator().manual_seed(0))
advantages = group_advantages(batch.returns[None], "mean", "std")[0]


def batch_log_probs(t):
    return policy.table(t)[batch.observations, batch.actions] * batch.mask


at_first = {"no ratio": lambda new, old: policy_gradient_loss(new, advantages)}
at_first |= {f"clip {w}": lambda new, old, w=w: clipped_loss(new, old, advantages, w, w) for w in (0.2, 0.0)}
at_first["yours"] = lambda new, old: ppo_loss(new, old, advantages)
for name, loss_of in at_first.items():
    found = gradient(lambda t, f=loss_of: (f(batch_log_probs(t), batch_log_probs(theta)) * batch.mask).sum(), theta)
    print(f"{name:>8}: norm of the gradient {found.norm():.6f}")

# %% [markdown]
# Nothing, at any width: at the first update ρ is 1, and its gradient is ∇log π. DeepSeekMath made one update a batch,
# so its clip never acted, and the paper gives no ε. (Width 0 is the edge: exactly *on* the border, PyTorch lets the
# gradient pass.)
#
# Now twelve updates from one batch of 16 texts. We compare the clip with the bare ratio, and with the exact J.

# %%
old = oracle.outcomes
paths, log_old = old.episodes, old.probabilities.log()


def text_log_probs(t):
    """log π of each of the 15 texts."""
    return (policy.table(t)[paths.observations, paths.actions] * paths.mask).sum(1)


def kl_from_old(t):
    """KL(π_old ‖ π) of whole texts, exact."""
    return (old.probabilities * (log_old - text_log_probs(t))).sum()


def reuse(low, high, updates=12, rate=2.0):
    """Updates on the one batch; the divergence, the clipped share and J after each."""
    t, rows = theta, []
    for _ in range(updates):
        new, before = batch_log_probs(t), batch_log_probs(theta)
        share = (clipped_tokens(new, before, advantages, low, high) * batch.mask).sum() / batch.mask.sum()
        rows.append([abs(kl_from_old(t).item()), share.item(), Oracle(tree, policy.table, t).objective])
        loss = lambda t: (clipped_loss(batch_log_probs(t), before, advantages, low, high) * batch.mask).sum()  # noqa: B023, E731
        t = t - rate * gradient(loss, t) / batch.mask.sum()
    return rows


# %%
WIDTHS = {"clip 0.2": (0.2, 0.2), "0.2 down, 0.28 up (DAPO)": (0.2, 0.28), "bare ratio": (1e9, 1e9)}
reused = {name: reuse(*width) for name, width in WIDTHS.items()}
lines = {name: [row[0] for row in rows] for name, rows in reused.items()}
axes = {"xlabel": "updates made before", "ylabel": "KL(π_old ‖ π), nats a text"}
show(curves(range(12), lines, title="How far one batch takes the policy", **axes))

# %%
rows = [[name, *rows[-1], f"{batch.returns.sum():.0f} of 16"] for name, rows in reused.items()]
Table(["after 11 updates", "KL from the old policy", "clipped tokens", "J", "texts that passed"], rows)

# %% [markdown]
# The clip stops the tokens that have moved enough, and the policy stays near the one that sampled. It is no trust
# region: nothing bounds the KL, it only loses its drive. The bare ratio goes on and on, with whatever few texts
# happened to pass. (Here it even ends with a larger J. On a tree of 15 texts one lucky text *is* a good policy; in a
# language model it is a sentence repeated for ever.)
#
# The ratio of a single token is not the weight of the whole text. GSPO [9] takes one ratio per completion instead:
# `sequence_old_log_probs`.

# %% [markdown]
# ## 7. The reference: which KL, and where?
#
# A penalty for leaving the reference keeps the policy a language model. Exactly, it is a sum over all actions.

# %% [markdown]
# **Exercise: The exact divergence from the reference** (★★, 10 min). Weighted by the policy that samples.


# %%
def exact_kl(log_pi, log_ref):
    """KL(π ‖ π_ref) in nats, two (..., actions) → (...); log_pi is −inf where π never acts."""
    return ...  # your code here


# %%
exact_kl = check(exact_kl)
# hint(exact_kl)  # without the #: a hint, and the next one each time
# solution(exact_kl)

# %% [markdown]
# From samples there are three estimators in use, with $r = \pi_{ref}/\pi$: $k_1 = -\log r$, $k_2 = \frac12 (\log
# r)^2$ and $k_3 = r - 1 - \log r$, the paper's. Each can be **differentiated as part of the loss**, or be
# **subtracted from the reward** as a number. We take whole texts of the tree as actions, and go through all 15.

# %%
ask("05: value and gradient")

# %%
reference = 0.7 * torch.randn(policy.size, generator=torch.Generator().manual_seed(9))
log_ref, here = text_log_probs(reference), text_log_probs(theta)
forward, backward = (lambda t: exact_kl(text_log_probs(t), log_ref)), (lambda t: exact_kl(log_ref, text_log_probs(t)))
wanted, other = gradient(forward, theta), gradient(backward, theta)
print(f"KL(π ‖ ref) = {forward(theta):.3f}, KL(ref ‖ π) = {backward(theta):.3f}, ‖∇KL(π ‖ ref)‖ = {wanted.norm():.3f}")


# %%
def named(found):
    """Which exact gradient this is, if any."""
    known = {"∇KL(π ‖ ref)": wanted, "∇KL(ref ‖ π)": other, "∇KL(π ‖ ref) − ∇KL(ref ‖ π)": wanted - other}
    known["0"] = torch.zeros_like(wanted)
    return next((name for name, g in known.items() if (found - g).norm() < 1e-12), f"none (norm {found.norm():.2f})")


rows, weight = [], here.exp()  # samples come from π, and sampling is not differentiated
for k in ("k1", "k2", "k3"):
    value = kl_estimate(here, log_ref, k)
    in_loss = gradient(lambda t, k=k: (weight * kl_estimate(text_log_probs(t), log_ref, k)).sum(), theta)
    in_reward = gradient(lambda t, v=value: (weight * v * text_log_probs(t)).sum(), theta)
    rows.append([k, (weight * value).sum().item(), named(in_loss), named(in_reward)])
Table(["estimator", "mean value", "gradient in the loss", "gradient in the reward"], rows)

# %% [markdown]
# Every entry is exact to twelve digits. Read the columns, not the names:
#
# - **k₁ in the loss is no penalty at all.** Its expected gradient is 0: it is a score. What is left is noise.
# - **k₃ in the loss**, as in the GRPO paper, pulls along the *other* KL.
# - **k₂ in the loss** and **k₁ in the reward** do what everybody wants.
# - A right value is no promise about a gradient. The value of k₂ is wrong.
#
# In a language model one more thing matters. A loss that sums k over sampled tokens cannot charge a token for the
# *states* that it leads to; a cost in the reward can. This course's loop charges it (`divergence_parts`), and takes the
# exact KL of each step, which costs little once the logits are there.
#
# How large is the noise? Move the sliders.

# %%
kl_explorer()

# %% [markdown]
# ## 8. The entropy bonus that is none
#
# H = −E[log π] invites a shortcut: add −log π of the *sampled* tokens to the objective. Its value is right on average.

# %% [markdown]
# **Exercise: The entropy of a softmax** (★★, 10 min). Over all actions; mind the impossible ones.


# %%
def full_entropy(log_pi):
    """Entropy in nats, (..., actions) → (...); log_pi is normalised, and −inf where an action is impossible."""
    return ...  # your code here


# %%
full_entropy = check(full_entropy)
# hint(full_entropy)  # without the #: a hint, and the next one each time
# solution(full_entropy)

# %%
ask("05: a bonus of the sample")

# %%
bonuses = {
    "full softmax": lambda t: full_entropy(text_log_probs(t)),
    "−log π of the sample": lambda t: -(weight * text_log_probs(t)).sum(),
    "the same as a reward": lambda t: -(weight * here * text_log_probs(t)).sum(),
}
slopes = {name: gradient(bonus, theta) for name, bonus in bonuses.items()}
rows = [
    [name, b(theta).item(), slopes[name].norm().item(), (slopes[name] - slopes["full softmax"]).norm().item()]
    for name, b in bonuses.items()
]
Table(["bonus", "value", "norm of its gradient", "distance from ∇H"], rows[:2])

# %%
print(f"−log π as a detached reward: distance from ∇H is {rows[2][3]:.0e}")

# %% [markdown]
# Zero: the mean score of notebook 01. Such a bonus costs noise, moves nothing, and logs a perfectly good entropy curve.
# Take the full softmax, or put −log π where a number belongs: in the reward, detached.

# %% [markdown]
# ## 9. PPO beside GRPO
#
# PPO takes the baseline from a **critic**, V(s), a value for each prefix. It can be a *head*, one linear layer on the
# policy's own last hidden states; or a *model*, a second network of the same size. Advantages come from GAE (notebook
# 02), here with λ = 1, so that a critic which knows nothing does no harm. All else is as in GRPO.
#
# The task is that of section 1, a digit within 24 tokens. Same prompts, same random numbers, same number of
# completions, one learning rate. First two steps of each, for time and memory.

# %%
print({name: TASK[name] for name in ("num_prompts", "num_generations", "max_new_tokens", "max_steps", "learning_rate")})
torch.set_default_dtype(torch.float32)
METHODS = ("grpo", "ppo-head", "ppo-model")
measured = {method: measured_run(config_of(method, seed=0, max_steps=2)) for method in METHODS}


# %%
def parts_of(row):
    """CPU seconds of each part: the clock's seconds, scaled so that waiting for others on the machine does not count."""
    clock = {part: row[f"seconds_{part}"] for part in PARTS}
    return {part: row["cpu_seconds"] * seconds / sum(clock.values()) for part, seconds in clock.items()}


seconds = {method: parts_of(rows[-1]) for method, (rows, _) in measured.items()}
held = {method: memory for method, (_, memory) in measured.items()}
show(step_costs(seconds, held))

# %%
spent = {method: rows[-1]["cpu_seconds"] for method, (rows, _) in measured.items()}
for method, cpu in spent.items():
    print(f"{method:>9}: {cpu:.2f} CPU seconds for the second step, {cpu / spent['grpo']:.2f} times GRPO's")

# %% [markdown]
# One step each, so ten per cent either way mean nothing. The head is nearly free, in time as in memory. The model
# costs a forward and a backward pass more, and holds weights, gradients and two Adam moments of its own. Sampling
# costs the same with all three: GRPO saves the critic, but not one completion.
#
# What would that be for a larger model? Count bytes per parameter in fp32: weights, gradient and two moments for all
# that learns, weights alone for the reference.

# %%
without = 4 * (1 + 1 + 2) + 4  # policy, reference
with_model = without + 4 * (1 + 1 + 2)
print(
    f"{without} bytes a parameter without a critic, {with_model} with a second model: {with_model / without - 1:+.0%}"
)
for size in (0.5e9, 7e9):
    print(
        f"{size / 1e9:g} billion parameters: {without * size / 2**30:.0f} GiB and {with_model * size / 2**30:.0f} GiB"
    )

# %% [markdown]
# ### Three seeds
#
# Two steps say nothing about learning. The full comparison takes longer than a notebook may, so results ship: those of
# the methods below. This does the runs that are not there yet, or all of them in a new folder:
#
# ```bash
# python -m policy_gradients.training.compare_critics --output-dir results/ppo_vs_grpo
# ```

# %%
ask("05: PPO beside GRPO")

# %%
shipped = Path("..", "results", "ppo_vs_grpo")
runs = read_runs(shipped)
if runs:
    show(compare_runs(runs, "train_reward"))
else:
    print("No results folder beside this notebook: run the command above in a checkout.")


# %%
def with_interval(values):
    """Mean and 95 % interval of three seeds: Student's t with two degrees of freedom."""
    half = 4.303 * stdev(values) / math.sqrt(len(values))
    return f"{mean(values):.2f} [{mean(values) - half:.2f}, {mean(values) + half:.2f}]"


def all_steps(seeds, key):
    return [row[key] for rows in seeds for row in rows]


# %%
header = [
    "method",
    "reward, mean over all steps",
    "over the last five",
    "CPU s a step (median)",
    "held, MiB",
    "peak, MiB",
]
rows, memory = [], read_memory(shipped)
for method, seeds in runs.items():
    speed, last = ([mean(row["train_reward"] for row in seed[-n:]) for seed in seeds] for n in (len(seeds[0]), 5))
    seconds, held = median(all_steps(seeds, "cpu_seconds")), sum(memory[method][owner] for owner in HELD) / MIB
    rows.append([method, with_interval(speed), with_interval(last), seconds, held, memory[method]["peak"] / MIB])
Table(header, rows)

# %% [markdown]
# The first column is the area under the curve, which says how fast a run was; intervals are 95 %, from three seeds (and
# Student's knows of no bound at 1).
# Three seeds make wide intervals, and where they overlap, they leave it open. Differences of the same seed are
# sharper: the same prompts and the same random numbers. The peak is what a process needed beyond its libraries, once.


# %%
def per_step(method):
    return median(all_steps(runs[method], "cpu_seconds"))


def held_by(method):
    return sum(memory[method][owner] for owner in HELD)


def mean_rewards(method):
    return [mean(row["train_reward"] for row in seed) for seed in runs[method]]


rows = []
for method in [name for name in runs if name.startswith("ppo")]:
    gain = [ours - theirs for ours, theirs in zip(mean_rewards("grpo"), mean_rewards(method), strict=True)]
    rows.append(
        [
            f"{method} beside GRPO",
            with_interval(gain),
            f"{per_step(method) / per_step('grpo'):.2f} times",
            f"{held_by(method) / held_by('grpo'):.2f} times",
        ]
    )
Table(["", "GRPO's mean reward less its own, same seeds", "CPU time of a step", "memory held"], rows)

# %% [markdown]
# What does a critic buy here? Nothing that three seeds could show, neither for better nor for worse: with a head and
# with a second model alike, the gain has an interval on both sides of 0. A value of each prefix is worth something in principle. It tells a text
# that already has its digit from one that does not. But it must be learnt first, from the same few completions.
#
# And "reducing GPU hours by up to 40%"? The page credits it to the GRPO paper. The paper has no such number,
# and no PPO run to compare with; it says that the value model is "typically another model of comparable size", and
# leaves it there. What is measured here: against a head GRPO saves about nothing; against a second model, the factor
# that is printed above. It is a narrow answer: one model of 3.5 million parameters, one easy rule, short
# texts, one CPU core, one learning rate for all, and no warm-up for the critic, which PPO often has. The longer the
# texts, the more of a step is sampling, and that no method saves.
#
# What carries over is the arithmetic of the memory, and the question to ask: is a critic's guess of V better than the
# mean of the other G − 1? With 0/1 rewards at the end of a text and G completions at hand anyway, it has to be very
# good. With one completion a prompt, or rewards along the way, it is the only one.

# %% [markdown]
# ## 10. Names
#
# Each name below is a choice in every column; "–" is not part of the name. None is more than a few lines of code, and
# the columns combine freely.
#
# | name | compared with | divided by | tokens weigh | ratio, clip | KL to the reference |
# | --- | --- | --- | --- | --- | --- |
# | GRPO [1] | group mean | group std | `sequence` | token, symmetric | k₃ in the loss |
# | RLOO [2] | leave one out | – | sum over the text | text, or none | k₁ in the reward |
# | Dr. GRPO [3] | group mean | – | `constant` | token, symmetric | none |
# | REINFORCE++ [4] | batch mean (or group mean) | batch std | – | token, symmetric | k₁ in the reward |
# | DAPO [6] | group mean | group std | `token` | token, wider upwards | none; redraws silent groups |
# | GSPO [9] | group mean | group std | `sequence` | text, very narrow | – |
# | PPO [7] | learned V, GAE | often batch std | `token` | token, symmetric | k₁ in the reward |
# | the library's default (presets differ) | leave one out | – | `constant` | one update, no clip | exact, with its cost to go |
#
# With one update a batch, RLOO and the last row follow E[R] − β KL exactly, in the mean and up to a scale (enumerated in
# `tests/training/test_gradient.py`). Dr. GRPO follows E[R], times 1 − 1/G. Whatever divides by a group's std or by a
# length follows something else, on purpose. Know what.
#
# ## Where the source page differs
#
# The page *Policy Gradients*, from which this course started (see the
# [bibliography](../docs/bibliography.md#the-source-page)), ends with GRPO. What it says of it:
#
# | the page | what holds, and where you saw it |
# | --- | --- |
# | GRPO is cited as arXiv:2401.13662 | that is Lehmann's survey [5]; GRPO is arXiv:2402.03300 [1] |
# | a group is "B rollouts in parallel", statistics "from a small batch" | a group is G completions of *one* prompt (section 1) |
# | the recipe: 16 prompts, "normalize each batch" | a batch baseline: no bias, but noise at the hard prompts (section 5) |
# | all rollouts share the prompt, so "group statistics are especially stable" | their noise is σ/√G; a small group pays for it (section 2), and DeepSeekMath took G = 64 |
# | the normalised reward "acts as a multiple of the baseline" | the mean is the baseline; 1/std is the prompt's weight (section 4) |
# | Δθ ∝ Σ (R − μ)/σ · Σ ∇log π | the paper also has 1/G, 1/length, the clipped ratio, and the KL term (sections 3, 6, 7) |
# | "the compute overhead is limited to a few extra reductions" | the critic is saved, G completions a prompt are paid for (section 9) |
# | H = −E[log π] | a correct definition; differentiated at samples it is no bonus (section 8) |
# | importance sampling evaluates prompts "without extra forward passes" | the ratio needs a forward pass on every token; sampling is saved (section 6) |
# | "a reward-free critic" | GRPO has no critic; "critic-free" is meant |
# | it "matches PPO", "reducing GPU hours by up to 40%", by the paper | the paper compares with no PPO; measured here, narrowly (section 9) |
# | reward-to-entropy ratios and dynamic entropy weights, by the paper | not in it: the word *entropy* does not occur in its text |

# %%
progress()

# %% [markdown]
# ## References
#
# 1. Shao, Wang, Zhu et al. (2024). DeepSeekMath: GRPO, §4.1. [arXiv:2402.03300](https://arxiv.org/abs/2402.03300)
# 2. Ahmadian et al. (2024). Back to basics: RLOO. [arXiv:2402.14740](https://arxiv.org/abs/2402.14740)
# 3. Liu et al. (2025). Understanding R1-Zero-like training: Dr. GRPO.
#    [arXiv:2503.20783](https://arxiv.org/abs/2503.20783)
# 4. Hu, Liu, Xu & Shen (2025). REINFORCE++. [arXiv:2501.03262](https://arxiv.org/abs/2501.03262)
# 5. Lehmann (2024). The definitive guide to policy gradients in deep RL.
#    [arXiv:2401.13662](https://arxiv.org/abs/2401.13662)
# 6. Yu et al. (2025). DAPO: clip higher, dynamic sampling, the token's mean.
#    [arXiv:2503.14476](https://arxiv.org/abs/2503.14476)
# 7. Schulman et al. (2017). PPO. [arXiv:1707.06347](https://arxiv.org/abs/1707.06347); GAE:
#    [arXiv:1506.02438](https://arxiv.org/abs/1506.02438)
# 8. On KL: Schulman (2020), [joschu.net](http://joschu.net/blog/kl-approx.html); Tang & Munos (2025),
#    [arXiv:2506.09477](https://arxiv.org/abs/2506.09477); Liu et al. (2025),
#    [arXiv:2510.01555](https://arxiv.org/abs/2510.01555)
# 9. Zheng et al. (2025). GSPO. [arXiv:2507.18071](https://arxiv.org/abs/2507.18071)
# 10. Davis & Recht (2025). What is the objective of reasoning with RL?
#     [arXiv:2510.13651](https://arxiv.org/abs/2510.13651)

# %% [markdown]
# ## Onward
#
# GRPO asks the same prompt G times and lets the answers be each other's baseline: no bias from that, and no critic to hold. The std
# re-weighs prompts by difficulty, an average over each text's own length re-weighs texts, and both are choices with a price. A KL
# term is to be chosen by its gradient, and an entropy bonus needs the whole softmax.
#
# Not shown: whether any of it steers a real model to a rule that it hardly ever meets by chance, and how a run that is wrong
# somewhere looks from outside.
#
# Next: [06 · Can a 0/1 checker steer a real language model?](06_grpo_on_a_t4.ipynb), 30 min to read and 65 min of exercises. Or
# first the lab: [What does each classic bug look like?](break_it.ipynb), 40 min to read and 20 min of exercises.
