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
# # Lab · What does each classic bug look like?
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/policy-gradients/blob/main/notebooks/break_it.ipynb)
#
# A wrong line in a reinforcement-learning loop seldom crashes. The run starts, the bars move, the curves look like
# curves. Days later somebody asks why nothing was learnt. This lab plants ten such lines, one at a time, into the code
# that all of this course runs on. Each has happened to people who knew what they were doing; their threads are linked.
#
# **Afterwards you can**
#
# - recognise ten bugs by the shape of a curve, and say which curve to look at;
# - explain each of them by an equation, and mend it in one line;
# - say which of your own metrics would have caught it, and at which step;
# - tell two bugs apart that look alike, by an experiment of seconds.
#
# | | |
# | --- | --- |
# | to read and think | 40 min, and 20 min for the three exercises |
# | to run | under 90 seconds on two CPU cores, no GPU |
# | needs | [notebook 05](05_grpo_from_scratch.ipynb): the five steps of GRPO, ratio and clip, k1 to k3, the entropy bonus |

# %%
# @title Setup: on Colab this installs the course, elsewhere it does nothing
from importlib.util import find_spec

if find_spec("policy_gradients") is None:
    get_ipython().run_line_magic("pip", "install -q git+https://github.com/OWNER/policy-gradients")  # noqa: F821

# %%
from policy_gradients.course.diagram import five_steps
from policy_gradients.course.display import show
from policy_gradients.course.predictions import ask

show(five_steps())

# %%
import tempfile

import torch
from transformers.utils.logging import disable_progress_bar

from policy_gradients.course.display import Table
from policy_gradients.course.exercises import check, hint, progress, solution  # noqa: F401
from policy_gradients.course.failures import FAILURES
from policy_gradients.course.lab import Lab, heard, mystery
from policy_gradients.course.signature import Signature
from policy_gradients.estimators.log_probs import entropy
from policy_gradients.training.loop import train
from policy_gradients.training.sources import task_with_reward

disable_progress_bar()  # of loading a model, which takes a moment here

# %% [markdown]
# ## 1. A healthy run
#
# The policy is `tiny`, the course's own small language model. The task has to show a change within seconds, so it is a
# silly one: **the reward is the share of e's** among a completion's characters. Any text has a few; a policy that wants
# more can get them. A step takes four prompts of different lengths, with eight completions of at most ten tokens each.
# The loop is the real one, `training/loop.py`.

# %%
STEPS = 6
BUGS = {failure.name: failure for failure in FAILURES}
lab = Lab(tempfile.mkdtemp())
with Signature("train_reward", "loss", "grad_norm", "entropy", total=STEPS, broken=None, columns=4) as live:
    healthy = lab.healthy(STEPS, on_step=live.log_healthy)

# %%
KEYS = ("train_reward", "loss", "grad_norm", "zero_variance_share", "kl", "sampler_mismatch")
print("alarms:", heard(healthy) or "none")
Table(["metric", "step 1", f"step {STEPS}"], [[key, healthy[0][key], healthy[-1][key]] for key in KEYS])

# %% [markdown]
# The reward rises. The KL to the untouched model begins at 0, as it must: before the first update they are the same
# weights. `sampler_mismatch` compares each token's log-prob as the sampler saw it with the trainer's;
# what is left is rounding.
#
# After every step the loop hands its metrics to its **alarms** (`training/alarms.py`). An alarm is a function from the
# rows so far to a sentence, or to nothing. Above, all twelve of them stayed silent. Each bug below rings at least one.
#
# In the pictures below, the healthy run is the solid blue line with discs. The broken one has the same seed, prompts and
# settings, and one line of code that is different. A dotted line stands where its alarm first rings.

# %% [markdown]
# ## 2. Zero loss, zero gradient
#
# Every newcomer to GRPO asks why the loss is zero at first. This bug has that loss too. The lines with a minus are the
# healthy code, those with a plus replace them:

# %%
bug = BUGS["zero loss, zero gradient"]
bug.diff

# %% [markdown]
# One bracket has moved. The numbers that go forward are all the same.

# %%
ask("lab: zero loss")

# %%
rows = lab.compare(bug, "loss", "grad_norm", "train_reward", steps=STEPS)
print(*heard(rows), sep="\n")

# %% [markdown]
# **Why.** At the first update on a batch the ratio is $\rho = \pi/\pi_\text{old} = 1$, and the advantages of a group sum
# to zero. So the loss $-\overline{\rho A}$ is 0 in both runs, as these completions are all of one length. The
# gradient is another matter:
# $\nabla\rho = \rho\,\nabla\log\pi$, hence $-\overline{A\,\nabla\log\pi}$, which is not zero. `detach` makes
# $\nabla\rho = 0$. *A loss of zero says nothing; a gradient of zero says everything.*
#
# Look at the gradient norm after step 1: it is small, but no longer zero, so the alarm is silent again. What is left is
# rounding. Adam divides a gradient by its own size and makes a full step of it. The weights drift, then the KL penalty
# has something to pull at. A log of weights that move proves nothing either.
#
# **Mend**: `old_log_probs.detach()` inside the `exp`, and nothing else.
#
# **Seen in** [huggingface/open-r1#239](https://github.com/huggingface/open-r1/issues/239),
# [huggingface/trl#2703](https://github.com/huggingface/trl/issues/2703) and
# [#3452](https://github.com/huggingface/trl/issues/3452), where the zero loss was healthy;
# [Goekdeniz-Guelmez/mlx-lm-lora#55](https://github.com/Goekdeniz-Guelmez/mlx-lm-lora/issues/55), where a default setting
# made the policy gradient exactly zero while rewards and losses were printed as usual.

# %% [markdown]
# ## 3. Uniform groups

# %%
bug = BUGS["uniform groups"]
bug.diff

# %% [markdown]
# Somebody wanted to save calls of an expensive reward function, and scores each prompt once.

# %%
ask("lab: uniform groups")

# %%
rows = lab.compare(bug, "train_reward", "zero_variance_share", "grad_norm", steps=STEPS)
print(*heard(rows), sep="\n")

# %% [markdown]
# **Why.** $A_i = r_i - \frac{1}{G-1}\sum_{j\ne i} r_j = 0$ for all $i$ if the rewards of a group are equal. The rewards
# still vary *between* prompts, so their mean and their spread over the batch look alive. Only the spread *within* groups
# is gone. A group can be uniform for an honest reason as well: the task is too hard, or done. The gradient norm does not
# stay at zero, because the KL penalty needs no rewards.
#
# (The second alarm tells the truth as well. In this lab nearly all texts are cut after ten tokens, by design. The alarm
# speaks of it only where groups are uniform too.)
#
# **Mend**: call the reward function on every completion.
#
# **Seen in** [modelscope/ms-swift#4570](https://github.com/modelscope/ms-swift/issues/4570) and
# [huggingface/trl#3857](https://github.com/huggingface/trl/issues/3857): a standard deviation above zero, loss and
# gradient zero. [huggingface/trl#5588](https://github.com/huggingface/trl/issues/5588): such groups still feel the KL.

# %% [markdown]
# ## 4. Sampled at one temperature, scored at another

# %%
bug = BUGS["sampled at one temperature, scored at another"]
bug.diff

# %% [markdown]
# A lower temperature gives cleaner text, and someone set it where the text is made.

# %%
ask("lab: temperature")

# %%
rows = lab.compare(bug, "sampler_mismatch", "train_reward", "entropy", steps=STEPS)
print(*heard(rows), sep="\n")

# %% [markdown]
# **Why.** The gradient is an average over the policy's *own* samples, $\mathbb{E}_{a\sim\pi}[A\,\nabla\log\pi(a)]$. Here
# the samples come from $\pi_{0.7} \propto \pi^{1/0.7}$, a sharper policy, and are scored as if they came from $\pi$. Work it
# out for a single token with centred advantages: the mean update of the logits is 0.7 times the gradient of the *sharper*
# policy's reward. So one policy is trained, and another one is scored, charged for its divergence, and kept. The sharper one
# hardly tries rare tokens; in this run its entropy, and that of $\pi$ with it, falls to next to nothing (with other seeds less
# far). Rewards *look better* than in the healthy run, since they are those of the sharper policy. If the metric on your screen
# comes from the samples, this bug earns applause until the evaluation.
#
# **Mend**: one temperature, in one place, for sampler and scores.
#
# Six tokens, exactly: move the two temperatures apart, either way, and see what the mismatch says and where the update goes.

# %%
from policy_gradients.course.widgets.temperature import temperature_explorer

temperature_explorer()

# %% [markdown]
#
# **Seen in** [huggingface/trl#3029](https://github.com/huggingface/trl/pull/3029), where it was mended in the library,
# and again in [#4159](https://github.com/huggingface/trl/issues/4159), in a second sampler; several teaching
# repositories sample at T ≠ 1, or with top-p, and score at 1.

# %% [markdown]
# **Exercise: Score what was sampled** (★★, 10 min). The log-probs that the gradient needs, at any temperature.


# %%
def scored_log_probs(logits, actions, temperature):
    """log π at the sampling temperature: logits (completions, time, vocabulary), actions and result
    (completions, time)."""
    return ...  # your code here


# %%
scored_log_probs = check(scored_log_probs)
# hint(scored_log_probs)  # without the #: a hint, and the next one each time
# solution(scored_log_probs)

# %%
logits, action = torch.tensor([[[2.0, 1.0, 0.0]]]), torch.tensor([[0]])
for temperature in (0.7, 1.0, 1.4):
    print(
        f"T = {temperature}: the likeliest token has log π = {scored_log_probs(logits, action, temperature).item():.3f}"
    )

# %% [markdown]
# ## 5. No mask under left padding
#
# Prompts of one batch differ in length. They are padded on the left, so that all completions begin in one column. A mask
# tells attention to skip the padding.

# %%
bug = BUGS["no mask under left padding"]
bug.diff

# %% [markdown]
# The sampler keeps its mask; the trainer has lost it.

# %%
ask("lab: padding")

# %%
rows = lab.compare(bug, "sampler_mismatch", "train_reward", "kl", steps=STEPS)
print(*heard(rows), sep="\n")

# %% [markdown]
# **Why.** Without a mask the model reads padding as text, and counts positions from the first pad. The log-probs then
# belong to another conditional distribution, $\pi(a \mid \text{pads}, s)$ instead of $\pi(a \mid s)$. Policy and reference
# are wrong in the same way, so their KL begins at 0 as it should. The reward even rises: the two distributions share
# their weights, and what helps one helps the other a bit. It is the nastiest kind of bug, the kind that only makes
# everything worse. One curve tells: the sampler had the mask, so its log-probs differ from the trainer's.
#
# **Mend**: pass the mask, and positions made from the mask, in *every* forward pass.
#
# **Seen in** [huggingface/trl#2708](https://github.com/huggingface/trl/pull/2708),
# [unslothai/unsloth#3176](https://github.com/unslothai/unsloth/pull/3176) (there it ended in NaN), and, for positions
# alone, [huggingface/trl#6800](https://github.com/huggingface/trl/issues/6800).

# %% [markdown]
# **Exercise: Left padding moves nothing** (★, 5 min). A prompt has the same positions in every batch.


# %%
def token_positions(mask):
    """Position of each token in its own prompt, 0 on padding; mask and result (prompts, time), whole numbers."""
    return ...  # your code here


# %%
token_positions = check(token_positions)
# hint(token_positions)  # without the #: a hint, and the next one each time
# solution(token_positions)

# %%
print(token_positions(torch.tensor([[0, 0, 0, 1, 1], [1, 1, 1, 1, 1]])))

# %% [markdown]
# ## 6. k3 the wrong way round
#
# For a divergence estimated from samples, k3 needs $r = \pi_\text{ref}/\pi$ (notebook 05). This run takes k3 for its KL
# penalty, as GRPO does.

# %%
bug = BUGS["k3 the wrong way round"]
bug.diff

# %% [markdown]
# One minus sign is gone, so that $r$ becomes $1/r = \pi/\pi_\text{ref}$.

# %%
ask("lab: k3")

# %%
rows = lab.compare(bug, "kl_estimate", "kl", "train_reward", steps=STEPS)
print(*heard(rows), sep="\n")

# %% [markdown]
# **Why.** With $x \sim \pi$, the mean of $r$ is $\sum_x \pi\,\pi_\text{ref}/\pi = 1$, so $\mathbb{E}[r - 1 - \log r]$ is
# $\mathbb{E}[\log \pi/\pi_\text{ref}]$, the KL, exactly. The other way round $\mathbb{E}[\pi/\pi_\text{ref}] = 1 + \chi^2$:
# the sum is $\chi^2 - \mathrm{KL}$, and no divergence that anyone asked for. Near the reference all of them agree to second
# order. Then tokens become likely, which is what training is for. Each pays $e$ to the power of its log-ratio. The exact KL
# in the second panel shows nothing of it, and the reward stalls under the fine.
#
# The numbers can be had without a run: three tokens, and every expectation a sum.

# %%
pi, ref = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64), torch.tensor([0.3, 0.3, 0.4], dtype=torch.float64)
right, turned = (ref / pi).log(), (pi / ref).log()
rows = [
    [name, -(pi * log_r).sum().item(), (pi * (log_r.exp() - 1 - log_r)).sum().item()]
    for name, log_r in (("π_ref/π", right), ("π/π_ref, turned round", turned))
]
print(f"KL {(pi * turned).sum():.3f}, χ² − KL {((pi**2 / ref).sum() - 1 - (pi * turned).sum()):.3f}")
Table(["ratio", "mean of k1", "mean of k3"], rows)

# %% [markdown]
# Turned round, k1 is minus the divergence, and a price on it pays for drifting away.
#
# **Mend**: `log_ratio` is that of reference over policy.
#
# **Seen in** [walkinglabs/hands-on-modern-rl#27](https://github.com/walkinglabs/hands-on-modern-rl/issues/27), with the
# proof above; [natolambert/rlhf-book#489](https://github.com/natolambert/rlhf-book/issues/489), early spikes of loss and
# gradient with k3 (that book's own example had both turned round in August 2026: exact KL 0.534, its k1 −0.534, its k3
# 0.603); [allenai/open-instruct#534](https://github.com/allenai/open-instruct/issues/534), a KL term that does
# the opposite of what it should (there k1, in the loss).

# %% [markdown]
# ## 7. Minus log π as entropy
#
# An entropy bonus is to keep the policy from becoming sure too early. Entropy is $-\sum_a \pi(a)\log\pi(a)$, the mean of
# $-\log\pi$ over samples. So why sum over the vocabulary, if there is a sample?

# %%
bug = BUGS["minus log π as entropy"]
bug.diff

# %%
ask("lab: the sample's entropy")

# %%
theta = torch.tensor([2.0, 1.0, 0.0], requires_grad=True)
log_pi = theta.log_softmax(-1)
of_entropy = torch.autograd.grad(entropy(log_pi), theta, retain_graph=True)[0]
of_sample = sum(log_pi[a].exp().item() * torch.autograd.grad(-log_pi[a], theta, retain_graph=True)[0] for a in range(3))
print("gradient of the entropy        ", of_entropy.numpy().round(4))
print("mean gradient of -log π(sample)", of_sample.numpy().round(4) + 0.0)

# %% [markdown]
# The second line is zero, by the same identity that lets us subtract baselines: scores have mean zero. In the run below
# there is no KL penalty, and completions are very short, so that a policy can collapse within seconds.

# %%
rows = lab.compare(bug, "entropy", "distinct_share", "train_reward", steps=14)
print(*heard(rows), sep="\n")

# %% [markdown]
# **Why.** $\nabla \mathbb{E}_\pi[-\log\pi] = -\mathbb{E}_\pi[\nabla\log\pi\,(\log\pi + 1)]$ has a factor $\log\pi$ from the
# *sampling*. Differentiate a sample, and you get $-\nabla\log\pi$ without it, which is pure noise. The entropy collapses as
# if there were no bonus. Note the reward. The broken run is ahead at first, by repeating the best text that it has met. Then
# it has only that one, every group is uniform, and there is nothing left to learn from. The healthy run still looks
# around, and passes it.
#
# **Mend**: the full sum over the vocabulary, while the logits are there anyway.
#
# **Seen in** [McGill-NLP/nano-aha-moment](https://github.com/McGill-NLP/nano-aha-moment) and its many copies, where the
# mean of −log π is logged as entropy: right as a number, and waiting for someone to add it to the loss. In
# [huggingface/trl#6140](https://github.com/huggingface/trl/pull/6140) a review caught another way to the same end: the
# right sum, computed under `no_grad`.

# %% [markdown]
# ## 8. Advantage not detached
#
# A critic gives a value $V$ to each state, and the advantage is $A = R - V$. In this run it is a linear head on the
# policy's hidden states.

# %%
bug = BUGS["advantage not detached"]
bug.diff

# %% [markdown]
# The formula is the same. But `scores.values` carries a gradient.

# %%
ask("lab: advantage not detached")

# %%
rows = lab.compare(bug, "loss", "value_error", "train_reward", steps=STEPS)
print(*heard(rows), sep="\n")

# %% [markdown]
# **Why.** $\partial/\partial V$ of $-(R-V)\log\pi$ is $\log\pi$, negative always: descent makes $V$ larger, without end and
# without regard to $R$. The critic's own loss pulls back, but at a small weight. Soon $V$ is above every return, all
# advantages are negative, and whatever the policy does, it is told not to. Its reward goes to nothing. And the loss falls
# as in a textbook.
#
# **Mend**: `detach` the advantage; the critic learns from its own loss alone.
#
# **Seen in**
# [icoxfog417/baby-steps-of-rl-ja#16](https://github.com/icoxfog417/baby-steps-of-rl-ja/issues/16), a book's A2C:
# advantages were so odd that a softplus had been put around them; `stop_gradient` was the cure.

# %% [markdown]
# ## 9. End token masked out
#
# The mask of a completion covers what the policy chose. To end is a choice too. For this bug the reward is **brevity**:
# the shorter the text, the better, with room for forty tokens.

# %%
bug = BUGS["end token masked out"]
bug.diff

# %% [markdown]
# The mask now stops *before* the first end token. It looks natural: the end token is no text. (The first token stays in
# whatever it is, so that no completion is empty.)

# %%
ask("lab: the end token")

# %%
rows = lab.compare(bug, "end_scored_share", "mean_length", "train_reward", steps=6)
print(*heard(rows), sep="\n")

# %% [markdown]
# **Why.** $\log\pi(\text{text}) = \sum_t \log\pi(a_t \mid s_t)$ includes the last action. Without it the sum has no term that
# raises or lowers the probability of stopping. What change there is comes in by the back door, through the words that
# lead to an end.
#
# **Mend**: the mask covers everything up to *and including* the first end token. Never find padding by its id, where
# padding and end share one.
#
# **Seen in** [huggingface/trl#6357](https://github.com/huggingface/trl/pull/6357),
# [NVIDIA-NeMo/Megatron-Bridge#4660](https://github.com/NVIDIA-NeMo/Megatron-Bridge/pull/4660) and
# [mlabonne/llm-course#33](https://github.com/mlabonne/llm-course/issues/33): pad and end share an id, the mask goes by
# the id, and the model never learns to stop.

# %% [markdown]
# **Exercise: The mean that padding cannot change** (★, 5 min). Masks go wrong by a token, and by a denominator.


# %%
def masked_mean(loss, mask):
    """Mean of the losses where the mask is 1; loss and mask (completions, time), result a scalar tensor."""
    return ...  # your code here


# %%
masked_mean = check(masked_mean)
# hint(masked_mean)  # without the #: a hint, and the next one each time
# solution(masked_mean)

# %%
loss, mask = torch.tensor([[1.0, 1.0, 9.0], [4.0, 9.0, 9.0]]), torch.tensor([[1.0, 1, 0], [1, 0, 0]])
print(f"mean of the three real losses {masked_mean(loss, mask).item():.2f}, of all six {loss.mean().item():.2f}")

# %% [markdown]
# ## 10. Overflow in fp16
#
# A T4 computes fastest in fp16, and fp16 ends at 65,504.

# %%
bug = BUGS["overflow in fp16"]
bug.diff

# %%
ask("lab: fp16")

# %%
for x in (11.0, 11.1):
    print(f"exp({x}) in fp16: {torch.tensor(x).half().exp().item()}")
rows = lab.compare(bug, "loss", "entropy", "train_reward", steps=5)
print(*heard(rows), sep="\n")

# %% [markdown]
# **Why.** $\log\pi = z - \log\sum e^z$ is right on paper. But one $e^z = \infty$ makes $\log\pi = -\infty$ for every token of
# that row. The loss then adds $+\infty$ and $-\infty$, by the signs of the advantages, and $\infty - \infty$ is NaN. (The
# entropy is NaN at every step, too: it has $0 \cdot \infty$ in it.) `log_softmax` subtracts the largest logit first,
# so that no exponent is above 0.
#
# The loop sees that the gradient is not finite, and skips the update (the lines in front of the alarm). Rewards go on as
# if all were well, on weights that never change. A loop without that check would have written NaN into every weight.
#
# **Mend**: `log_softmax`, in float32; keep fp16 for the matrix products.
#
# **Seen in** [StarsfieldAI/R1-V#69](https://github.com/StarsfieldAI/R1-V/issues/69): NaN after one step, then the sampler
# fails; [huggingface/transformers#23165](https://github.com/huggingface/transformers/issues/23165): fp16 weights under a
# gradient scaler.

# %% [markdown]
# ## 11. Constant reward

# %%
bug = BUGS["constant reward"]
bug.diff

# %% [markdown]
# The function is there, so the reward is 1. It is never called. (Or it is called, and looks for a tag that no answer has:
# then the reward is 0, and just as constant.)

# %%
ask("lab: constant reward")

# %%
rows = lab.compare(bug, "train_reward", "zero_variance_share", "entropy", steps=STEPS)
print(*heard(rows), sep="\n")

# %% [markdown]
# **Why.** A constant is the simplest baseline, and it cancels: $\mathbb{E}[c\,\nabla\log\pi] = 0$. The alarm waits for five
# steps, since with a hard task nothing may pass in the first ones. A perfect score may be earned; one *at step 1* hardly.
# (The line in front of the picture comes earlier still: the loop tries a reward function of your own before it starts.)
#
# **Mend**: before training, call the reward by hand on a good text and on a bad one. The two must differ.
#
# **Seen in** [jsboige/CoursIA#10504](https://github.com/jsboige/CoursIA/pull/10504) and
# [Algorineko/AgenticArXiv-RL#15](https://github.com/Algorineko/AgenticArXiv-RL/pull/15): a reward of zeros, left over
# from a skeleton, in code that ran without an error.

# %% [markdown]
# ## 12. A mystery run
#
# One of the ten, planted again. You get the board, and no alarm. Another number than 7 may give another bug.

# %%
culprit = mystery(7)
BOARD = (
    "loss",
    "grad_norm",
    "train_reward",
    "zero_variance_share",
    "entropy",
    "kl",
    "sampler_mismatch",
    "distinct_share",
)
with Signature(*BOARD, total=STEPS, healthy=healthy, broken="mystery", columns=4) as live:
    rows = lab.broken(culprit, STEPS, lambda row: live.log(**row))

# %% [markdown]
# Go through it as a doctor would. Is anything not a number? Does the gradient vanish? Do groups differ within? Is the
# reward one and the same? Strike out what the board rules out. Two of the ten are left that move the same curve, and
# their alarm is the same function.
#
# > **Diagnose**: which two? What differs between them, if you compare with sections 4 and 5? And which experiment decides?
#
# Here is one: **a batch of a single prompt** needs no padding. What comes from padding must vanish there; what comes
# from the temperature must stay.

# %%
alone = lab.broken(culprit, 2, num_prompts=1)
together = [row["sampler_mismatch"] for row in rows[:2]]
print("mismatch, four prompts a batch:", [f"{value:.1g}" for value in together], "nats a token")
print("mismatch, one prompt a batch:  ", [f"{row['sampler_mismatch']:.1g}" for row in alone], "nats a token")

# %% [markdown]
# An alarm says *that* two distributions differ. *Why* is found by changing one thing at a time. Ready?

# %%
ask("lab: the mystery", culprit.name, options=list(BUGS), because=culprit.looks_like)

# %% [markdown]
# ## 13. The alarms in your own run
#
# `train` and `policy-gradients train` ask the same alarms after each step, and log a warning the first time that one
# rings. Here is a reward function with an honest mistake: it looks for a closing tag, which this model never writes.


# %%
def answered(completions):
    """1 for a completion with a closed answer tag."""
    return [float("</answer>" in c.text) for c in completions]


run = lab.config(max_steps=6)
task = task_with_reward(run, answered)
folder = train(run, tempfile.mkdtemp() + "/run", task=task, progress=False)

# %% [markdown]
# First the trial before the start, then the alarms, each once, in words, with its name and what to do next. The run goes
# on: whether to stop is for you to say.
#
# An alarm that cries wolf is switched off, so each threshold is set where healthy runs seldom come near it; the docstrings
# in `training/alarms.py` say how near that is. (One that shipped did ring and was well: credit by state on the strict rule, by
# its silent groups, which that method does not need.) The tests hold both ends: each of the ten failures rings its alarm, and
# five healthy seeds ring none (`pytest tests/course/test_failures.py`).

# %%
rows = [[bug.name, bug.alarm, f"{bug.where.replace(':', ', ')}"] for bug in FAILURES]
Table(["bug", "alarm", "where the line is"], rows)

# %% [markdown]
# What to take home:
#
# - **Never read the loss alone.** It was zero when all was well, zero when nothing was, and fell when the critic ran off.
# - **Compare what two parts of the code believe.** Sampler against trainer, estimate against exact value, policy against
#   reference at step 1: each pair must agree, and costs nothing to log.
# - **Look within the group, and at the first step.** Bugs of wiring are there before any learning has happened.
# - **Rewards of training samples are not the policy's rewards.** Evaluate ([notebook 07](07_evaluation.ipynb)).

# %%
progress()

# %% [markdown]
# ## References
#
# 1. Schulman (2020). Approximating KL divergence: k1, k2, k3.
#    [joschu.net/blog/kl-approx.html](http://joschu.net/blog/kl-approx.html)
# 2. Shao, Wang, Zhu et al. (2024). DeepSeekMath: GRPO, with k3 in the loss.
#    [arXiv:2402.03300](https://arxiv.org/abs/2402.03300)
# 3. Schulman et al. (2017). Proximal policy optimization: ratio, clip and critic.
#    [arXiv:1707.06347](https://arxiv.org/abs/1707.06347)
# 4. Tang & Munos (2025). On a few pitfalls in KL divergence gradient estimation for RL.
#    [arXiv:2506.09477](https://arxiv.org/abs/2506.09477)
# 5. Micikevicius et al. (2018). Mixed precision training: master weights and loss scaling.
#    [arXiv:1710.03740](https://arxiv.org/abs/1710.03740)
# 6. Yu et al. (2025). DAPO: dropping uniform groups. [arXiv:2503.14476](https://arxiv.org/abs/2503.14476)
#
# Where the source page differs: the page *Policy Gradients* (see the
# [bibliography](../docs/bibliography.md#the-source-page)) proposes an entropy bonus $-\mathbb{E}[\log\pi]$ and does not say
# how to differentiate it. Section 7 is what happens to the obvious way.

# %% [markdown]
# ## Onward
#
# Ten wrong lines, and none of them crashed: each left a curve that says what it was, if you look at the right one. What gives them
# away is a pair of numbers that must agree, sampler and trainer, estimate and exact value. An alarm with a threshold says so at a
# step when it is still cheap.
#
# Not shown: bugs in the reward itself, which does what it was written to do. A policy that games it rings no alarm here.
#
# Next: [06 · Can a 0/1 checker steer a real language model?](06_grpo_on_a_t4.ipynb), 30 min to read and 65 min of exercises; after
# it, [07 · Did it learn, or did it cheat?](07_evaluation.ipynb), 30 min to read and 40 min of exercises.
