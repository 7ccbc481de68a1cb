"""Exercises of notebook 05: advantages of a group, log-probs, entropy, the losses, and how they are averaged."""

import math
from functools import partial

import torch

from policy_gradients.course.exercises.declare import exercise
from policy_gradients.estimators.advantages import group_advantages, zero_variance_share
from policy_gradients.estimators.log_probs import entropy, kl_divergence, log_probs_and_entropy
from policy_gradients.estimators.losses import clipped_loss, policy_gradient_loss, token_weights


def _groups(generator):
    yield torch.tensor([[1.0, 1.0]])
    yield torch.tensor([[1.0, 0.0]])
    yield torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    yield torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
    yield torch.tensor([[0.5, 0.501]])  # nearly equal: here it shows which number is added, and where
    yield torch.randn(3, 5, generator=generator)


@exercise(
    title="GRPO's advantages",
    difficulty=1,
    minutes=10,
    importance=3,
    why=(
        "A completion is compared with its group, so that an easy prompt gives no advantage to everybody.\n"
        "Division by the group's spread makes the step's size alike for all prompts, and 1e-4 keeps 0/0 out."
    ),
    reference=partial(group_advantages, scale="std"),
    cases=_groups,
    hints=[
        "A group is one row: every statistic is taken over `dim=1`, and keeps that dimension.",
        "A group of equal rewards has a standard deviation of zero: add 1e-4, and its advantages are 0, not NaN.",
        "`rewards.std(1, keepdim=True)` divides by G − 1, which is what is asked for.",
    ],
    mistakes={
        "A group of equal rewards gives 0/0 = NaN, and one NaN spoils the whole update. Add 1e-4 to the standard "
        "deviation.": lambda r: (r - r.mean(1, keepdim=True)) / r.std(1, keepdim=True),
        "That standard deviation divides by G. The one asked for divides by G − 1, as `rewards.std` does unless told "
        "otherwise.": lambda r: (r - r.mean(1, keepdim=True)) / (r.std(1, keepdim=True, correction=0) + 1e-4),
        "Mean and standard deviation are those of the whole batch. Over different prompts they mix difficulty with "
        "quality: take them over `dim=1`, row by row.": lambda r: (r - r.mean()) / (r.std() + 1e-4),
        "It is divided by the variance: take its square root.": lambda r: (
            (r - r.mean(1, keepdim=True)) / (r.var(1, keepdim=True) + 1e-4)
        ),
        "Nothing is divided by the standard deviation yet. (That is Dr. GRPO, and a fine choice, but not this "
        "one.)": lambda r: r - r.mean(1, keepdim=True),
        "The 1e-4 is another number here. The smaller it is, the more a group of nearly equal rewards is blown up.": (
            lambda r: (r - r.mean(1, keepdim=True)) / (r.std(1, keepdim=True) + 1e-8)
        ),
        "The 1e-4 stands under the root: it is added to the standard deviation, not to the variance.": (
            lambda r: (r - r.mean(1, keepdim=True)) / (r.var(1, keepdim=True) + 1e-4).sqrt()
        ),
    },
)
def grpo_advantages(rewards):
    """(r − mean) / (std + 1e-4) within each row; rewards and result have shape (prompts, G), std divides by G − 1."""
    centred = rewards - rewards.mean(1, keepdim=True)
    std = (centred.square().sum(1, keepdim=True) / (rewards.shape[1] - 1)).sqrt()
    return centred / (std + 1e-4)


def _uniform_or_not(generator):
    yield torch.tensor([[1.0, 1.0]])
    yield torch.tensor([[0.0, 0.0]])
    yield torch.tensor([[1.0, 0.0]])
    yield torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    yield torch.tensor([[0.5, 0.5, 0.5], [0.5, 0.0, 1.0]])
    yield torch.full((1, 8), 0.1)  # equal, and yet their standard deviation rounds to 8e-9
    yield torch.tensor([[0.1, 0.1, 0.1 + 1e-6]])  # not quite equal
    yield (torch.rand(40, 4, generator=generator) < 0.5).float()


@exercise(
    title="The share of silent groups",
    difficulty=1,
    minutes=5,
    importance=2,
    why=(
        "Where all rewards of a group are equal every advantage is zero, and the group teaches nothing.\n"
        "Equality is asked of the rewards themselves: a standard deviation of equal numbers can round to 1e-8."
    ),
    reference=zero_variance_share,
    cases=_uniform_or_not,
    hints=[
        "A group is silent if all of its rewards are equal, whatever their value.",
        "Compare each reward with the first of its row, `rewards[:, :1]`, and ask for `.all(dim=1)`.",
    ],
    mistakes={
        "That is the share of groups that do carry a gradient: one minus what is asked for.": lambda r: (
            1 - zero_variance_share(r)
        ),
        "Groups that all failed are counted, but a group that passed throughout is just as silent.": lambda r: (
            (r == 0).all(1).float().mean()
        ),
        "Groups that all passed are counted, but a group that failed throughout is just as silent.": lambda r: (
            (r == 1).all(1).float().mean()
        ),
        "Only groups of zeros and groups of ones are counted. Partial credit has others: all rewards at 0.5, "
        "say.": lambda r: ((r == 0).all(1) | (r == 1).all(1)).float().mean(),
        "That is the number of silent groups; divide it by the number of groups.": lambda r: (
            (r == r[:, :1]).all(1).float().sum()
        ),
        "A standard deviation of equal numbers need not be 0: it rounds, to 8e-9 for eight rewards of 0.1. "
        "Compare the rewards themselves.": (lambda r: (r.std(1) == 0).float().mean()),
    },
)
def silent_share(rewards):
    """Share of the groups whose rewards are all equal; rewards (prompts, G), result a scalar tensor."""
    silent = rewards.max(1).values == rewards.min(1).values
    return silent.float().mean()


def _logits_and_actions(generator):
    yield torch.tensor([[[0.0, 1.0, 3.0]]], requires_grad=True), torch.tensor([[1]])
    yield torch.tensor([[[0.0, 200.0]]], requires_grad=True), torch.tensor([[0]])  # a probability that rounds to 0
    logits = torch.randn(3, 4, 5, generator=generator)
    yield logits.requires_grad_(), torch.randint(5, (3, 4), generator=generator)


def _log_probs(logits, actions):
    return log_probs_and_entropy(logits, actions)[0]


@exercise(
    title="Log-probs of the tokens that were sampled",
    difficulty=1,
    minutes=10,
    importance=3,
    why=(
        "log softmax = logit − logsumexp, computed without exponentiating large numbers.\n"
        "The gradient needs the log-prob of what was sampled, at each place in the text."
    ),
    reference=_log_probs,
    shows=[log_probs_and_entropy],
    cases=_logits_and_actions,
    hints=[
        "First make log-probabilities out of the logits, over the vocabulary. Then pick, at each place, the one of the "
        "token that was sampled.",
        "`torch.log_softmax(logits, dim=-1)` normalises without overflow.",
        "`log_pi.gather(-1, actions.unsqueeze(-1)).squeeze(-1)` picks one entry of the last dimension at each place.",
    ],
    mistakes={
        "These are probabilities. Take their logarithm.": lambda x, a: (
            x.softmax(-1).gather(-1, a.unsqueeze(-1)).squeeze(-1)
        ),
        "These are logits, not yet normalised: subtract their logsumexp.": lambda x, a: x.gather(
            -1, a.unsqueeze(-1)
        ).squeeze(-1),
        "softmax first and log after it loses small probabilities: they round to 0, and log 0 = −∞. `log_softmax` does "
        "both at once.": lambda x, a: x.softmax(-1).log().gather(-1, a.unsqueeze(-1)).squeeze(-1),
        "The softmax runs over the time; the vocabulary is the last dimension.": lambda x, a: (
            x.log_softmax(1).gather(-1, a.unsqueeze(-1)).squeeze(-1)
        ),
        "That is the log-prob of the likeliest token. The gradient needs that of the sampled one.": lambda x, a: (
            x.log_softmax(-1).max(-1).values
        ),
    },
)
def token_log_probs(logits, actions):
    """log π of each action: logits (completions, time, vocabulary), actions and result (completions, time)."""
    chosen = logits.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
    return chosen - logits.logsumexp(-1)


def _normalised(logits):
    return logits.log_softmax(-1)


def _distributions(generator):
    yield torch.tensor([0.0, 0.0]).log_softmax(-1)
    yield torch.tensor([0.0, -math.inf])  # a certain outcome
    yield torch.tensor([[0.0, 0.0, -math.inf], [0.0, 1.0, 2.0]]).log_softmax(-1)
    yield torch.randn(3, 4, 5, generator=generator).log_softmax(-1).requires_grad_()


@exercise(
    title="The entropy of a softmax",
    difficulty=2,
    minutes=10,
    importance=2,
    why=(
        "H = −Σ π log π is known exactly from the logits, so there is no reason to estimate it from one sample.\n"
        "An impossible action contributes the limit of x log x, which is 0."
    ),
    reference=entropy,
    through=_normalised,
    cases=_distributions,
    hints=[
        "H = −Σ π log π, over all actions and not only the sampled one: an expectation, not a sample of it.",
        "Where π is 0, log π is −∞ and their product NaN, though the limit is 0.",
        "`torch.where(log_pi.isneginf(), 0.0, log_pi)` before multiplying keeps NaN out.",
    ],
    mistakes={
        "An impossible action gives 0 · (−∞) = NaN. Its share of the entropy is 0.": lambda log_pi: (
            -(log_pi.exp() * log_pi).sum(-1)
        ),
        "The sign is missing: log π is at most 0, an entropy at least 0.": lambda log_pi: -entropy(log_pi),
        "That is the mean over the actions; it should be weighted by π and summed.": lambda log_pi: (
            entropy(log_pi) / log_pi.shape[-1]
        ),
        "That is in bits; use natural logarithms, as everywhere in this course.": lambda log_pi: (
            entropy(log_pi) / math.log(2)
        ),
        "That is −log π of the likeliest action, not the mean over all of them.": lambda log_pi: -log_pi.max(-1).values,
    },
)
def full_entropy(log_pi):
    """Entropy in nats, (..., actions) → (...); log_pi is normalised, and −inf where an action is impossible."""
    finite = log_pi.masked_fill(log_pi.isneginf(), 0.0)
    return -(log_pi.exp() * finite).sum(-1)


def _two_distributions(generator):
    yield torch.tensor([0.9, 0.1]).log(), torch.tensor([0.5, 0.5]).log()
    yield torch.tensor([0.0, -math.inf]), torch.tensor([0.25, 0.75]).log()
    yield torch.tensor([0.5, 0.5]).log(), torch.tensor([0.0, -math.inf])  # π does what the reference never would
    yield torch.tensor([0.0, -math.inf]), torch.tensor([0.0, -math.inf])  # neither ever does
    one, other = torch.randn(2, 3, 4, generator=generator).log_softmax(-1)
    yield one.clone().requires_grad_(), other.clone()
    yield one.clone(), one.clone()


@exercise(
    title="The exact divergence from the reference",
    difficulty=2,
    minutes=10,
    importance=3,
    why=(
        "The expectation runs over π, the policy that samples: actions it never takes contribute 0.\n"
        "An action that π takes and the reference never would costs infinitely much, and must not be hidden."
    ),
    reference=kl_divergence,
    through=_normalised,
    cases=_two_distributions,
    hints=[
        "KL(π ‖ π_ref) asks: sampling from π, how much likelier is the sample under π than under π_ref, in logs?",
        "The expectation is over π, the first argument: weight with `log_pi.exp()`, and sum over the actions.",
        "Where π is 0 the term is 0, but computed it is 0 · (−∞): replace it with `torch.where`.",
    ],
    mistakes={
        "That is KL(π_ref ‖ π): the expectation has to be over π, the policy that samples.": lambda log_pi, log_ref: (
            log_ref.exp() * (log_ref - log_pi)
        ).sum(-1),
        "The sign is flipped: a divergence is never negative.": lambda log_pi, log_ref: -kl_divergence(log_pi, log_ref),
        "The log-ratios are summed unweighted; each counts as often as π takes that action.": lambda log_pi, log_ref: (
            log_pi - log_ref
        ).sum(-1),
        "An action that π never takes gives 0 · (−∞) = NaN. Its share is 0.": lambda log_pi, log_ref: (
            log_pi.exp() * (log_pi - log_ref)
        ).sum(-1),
        "That is the mean over the actions. Probabilities already sum to one: sum.": lambda log_pi, log_ref: (
            kl_divergence(log_pi, log_ref) / log_pi.shape[-1]
        ),
        "An action that π takes and the reference never takes costs infinitely much. `nan_to_num` or a clamp "
        "hides that: keep the infinity, and replace only where π is 0.": (
            lambda log_pi, log_ref: (log_pi.exp() * (log_pi - log_ref)).nan_to_num(0.0, posinf=0.0).sum(-1)
        ),
    },
)
def exact_kl(log_pi, log_ref):
    """KL(π ‖ π_ref) in nats, two (..., actions) → (...); log_pi is −inf where π never acts."""
    ratio = (log_pi - log_ref).masked_fill(log_pi.isneginf(), 0.0)
    return (log_pi.exp() * ratio).sum(-1)


def _log_probs_and_advantages(generator):
    yield torch.tensor([[-0.5]], requires_grad=True), torch.tensor([2.0], requires_grad=True)
    yield torch.tensor([[-0.5, -1.0], [-2.0, -0.1]], requires_grad=True), torch.tensor([1.0, -1.0], requires_grad=True)
    log_probs = -3 * torch.rand(3, 5, generator=generator)
    yield log_probs.requires_grad_(), 2 + torch.randn(3, generator=generator)


@exercise(
    title="The loss of a policy gradient",
    difficulty=2,
    minutes=10,
    importance=3,
    why=(
        "All tokens of a completion share its advantage, since the reward judges the whole text.\n"
        "−A log π has the gradient −A ψ: the policy gradient, token by token, kept apart for mask and weights."
    ),
    reference=policy_gradient_loss,
    cases=_log_probs_and_advantages,
    hints=[
        "An optimiser minimises, and we want the log-prob of good completions to rise: mind the sign.",
        "All tokens of a completion share its advantage. `advantages[:, None]` lays it along the time.",
        "The advantage says how good the sample was; it is a number, not something to optimise: `advantages.detach()`.",
    ],
    mistakes={
        "The sign is flipped: minimising this makes good completions rarer.": lambda log_probs, advantages: (
            advantages.detach()[:, None] * log_probs
        ),
        "The advantage is not detached: a gradient flows into what computed it.": lambda log_probs, advantages: (
            -advantages[:, None] * log_probs
        ),
        "(completions,) times (completions, time) lines the advantages up with the tokens: an error, or, in a square "
        "batch, a silently wrong loss. Write `advantages[:, None]`.": lambda log_probs, advantages: (
            -advantages.detach() * log_probs
        ),
        "That is A · π, the probability itself. Its gradient on samples counts π twice; the log takes that "
        "out.": lambda log_probs, advantages: -advantages.detach()[:, None] * log_probs.exp(),
        "That is the mean of the losses; keep them apart, one for each token. The mask needs them "
        "later.": lambda log_probs, advantages: (-advantages.detach()[:, None] * log_probs).mean(),
    },
)
def token_loss(log_probs, advantages):
    """−A · log π per token, A detached: log_probs and result (completions, time), advantages (completions,)."""
    return -torch.einsum("i,it->it", advantages.detach(), log_probs)


def _three_ways_off(generator):
    old = torch.tensor([[-1.0, -1.0, -1.0]])
    shift = torch.tensor([[0.0, 0.5, -0.5]])  # ratios 1, 1.65 and 0.61
    yield torch.tensor([[-0.5]], requires_grad=True), torch.tensor([[-1.0]]), torch.tensor([1.0])
    yield torch.tensor([[-0.5]], requires_grad=True), torch.tensor([[-1.0]]), torch.tensor([-1.0])
    yield (old + shift).requires_grad_(), old.clone().requires_grad_(), torch.tensor([1.0])
    yield (old + shift).requires_grad_(), old.clone().requires_grad_(), torch.tensor([-2.0])
    near = torch.tensor([[1.205, 1.195, 0.805, 0.795]]).log()  # just outside of the clip, and just inside
    yield (near - 1).requires_grad_(), torch.full((1, 4), -1.0), torch.tensor([0.5])
    yield (near - 1).requires_grad_(), torch.full((1, 4), -1.0), torch.tensor([-0.5])
    log_probs = -torch.rand(4, 6, generator=generator)
    old = log_probs + 0.4 * torch.randn(4, 6, generator=generator)
    yield log_probs.requires_grad_(), old, torch.randn(4, generator=generator)


def _ppo(log_probs, old, advantages, pick=torch.minimum, sign=1):
    ratio, advantages = (sign * (log_probs - old.detach())).exp(), advantages[:, None]
    return -pick(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)


@exercise(
    title="PPO's clip",
    difficulty=2,
    minutes=15,
    importance=3,
    why=(
        "The minimum of the two candidates is a pessimist: it stops rewarding a move past the clip, and never "
        "stops punishing.\n"
        "The ratio corrects for the policy that sampled, whose log-probs are numbers."
    ),
    reference=clipped_loss,
    cases=_three_ways_off,
    hints=[
        "The ratio π/π_old is the exponential of a difference of log-probs. The old ones are numbers: no gradient.",
        "Two candidates: ρ·A, and ρ clamped to [0.8, 1.2], times A. The objective takes the lower one of them, and the "
        "loss is its negative.",
        "`-torch.minimum(ratio * A, ratio.clamp(0.8, 1.2) * A)` with `A = advantages[:, None]`.",
    ],
    mistakes={
        "The larger of the two is taken. That is the optimistic side: moves that went too far are rewarded. Take the "
        "minimum before the sign.": partial(_ppo, pick=torch.maximum),
        "Only the clamped ratio is used: where a bad move already went too far, there is no gradient left to bring it "
        "back. That is what the minimum is for.": partial(_ppo, pick=lambda a, b: b),
        "Nothing is clipped: that is importance sampling.": partial(_ppo, pick=lambda a, b: a),
        "The ratio is upside down: it is π/π_old, the new policy over the one that sampled.": partial(_ppo, sign=-1),
        "The sign is flipped: an optimiser minimises, so a good move needs a negative loss.": lambda new, old, a: (
            -_ppo(new, old, a)
        ),
        "A gradient flows into `old_log_probs`; they are numbers, remembered from the rollout. Use "
        "`detach`.": lambda new, old, a: (
            -torch.minimum((new - old).exp() * a[:, None], (new - old).exp().clamp(0.8, 1.2) * a[:, None])
        ),
        "That is the difference of the logs. The ratio is its exponential: `.exp()`.": (
            lambda new, old, a: (
                -torch.minimum(
                    (new - old.detach()) * a.detach()[:, None],
                    (new - old.detach()).clamp(0.8, 1.2) * a.detach()[:, None],
                )
            )
        ),
    },
)
def ppo_loss(log_probs, old_log_probs, advantages):
    """−min(ρA, clip(ρ, 0.8, 1.2) A) per token: (completions, time) twice and (completions,) → (completions, time)."""
    ratio = (log_probs - old_log_probs.detach()).exp()
    signed = advantages.detach()[:, None].expand_as(ratio)
    limit = torch.where(signed >= 0, ratio.clamp(max=1.2), ratio.clamp(min=0.8))
    return -limit * signed


def _masks(generator):
    yield torch.tensor([[1.0, 0.0]])
    yield torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    lengths = torch.randint(1, 7, (5, 1), generator=generator)
    yield (torch.arange(6) < lengths).float()


def _sequence_weights(mask):
    return token_weights(mask, "sequence", len(mask), int(mask.sum()), mask.shape[1])


@exercise(
    title="How much does a token weigh?",
    difficulty=2,
    minutes=10,
    importance=2,
    why=(
        "GRPO's mean of means gives each completion 1/n, shared equally by its own tokens.\n"
        "So a token of a long answer weighs less, which is a choice, and Dr. GRPO makes another."
    ),
    reference=_sequence_weights,
    shows=[token_weights],
    cases=_masks,
    hints=[
        "First a mean over the tokens of each completion, then a mean over completions. So what stands before one "
        "token's loss?",
        "Each completion has a weight of 1/completions in all, shared by its own tokens; padding has none. All weights "
        "add up to 1.",
    ],
    mistakes={
        "That is the mean over all tokens of the batch (DAPO): a long completion gets more of it than a short one. "
        "Here each completion gets the same.": lambda mask: mask / mask.sum(),
        "It is divided by the padded width, not by the completion's own number of tokens.": lambda mask: (
            mask / mask.numel()
        ),
        "The mean over the completions is missing: divide by their number too.": lambda mask: (
            mask / mask.sum(1, keepdim=True)
        ),
        "Padding has a weight: multiply by the mask.": lambda mask: (
            (1 / mask.sum(1, keepdim=True) / len(mask)).expand_as(mask).clone()
        ),
    },
)
def sequence_weights(mask):
    """Weights w so that Σ w · loss is GRPO's mean of means; mask and result (completions, time)."""
    return torch.stack([row / row.sum() for row in mask]) / len(mask)


class _Batch:
    """Completions of some prompts: token ids, and 1 on what was chosen, both (completions, time)."""

    def __init__(self, ids, mask):
        self.ids, self.mask = ids, mask


class _SmallRun:
    """What the loop needs, with a table of logits for a policy and the dice thrown beforehand."""

    def __init__(self, prompts, group, time, generator, rate=0.5, sharp=1.0):
        drawn = torch.randn(prompts, time, 4, generator=generator, dtype=torch.float64)
        self.group, self.table, self.at, self.sharp = group, torch.nn.Parameter(drawn / sharp), 0, sharp
        self.dice = torch.rand(8, prompts * group, time, generator=generator, dtype=torch.float64)
        self.parameters = [self.table]
        self.optimizer = torch.optim.SGD(self.parameters, lr=rate)

    def sample(self):
        chances = (self.sharp * self.table.detach()).softmax(-1).repeat_interleave(self.group, 0).cumsum(-1)
        dice = self.dice[self.at % len(self.dice)]
        self.at += 1
        ids = (chances < dice[..., None]).sum(-1).clamp(max=3)
        ended = (ids == 0).long().cumsum(1) - (ids == 0).long()
        return _Batch(ids, (ended == 0).to(self.table))

    def reward(self, batch):
        return ((batch.ids == 1) * batch.mask).sum(1).view(-1, self.group)

    def log_probs(self, batch):
        log_pi = (self.sharp * self.table).log_softmax(-1).repeat_interleave(self.group, 0)
        return log_pi.gather(-1, batch.ids[..., None]).squeeze(-1)

    def __repr__(self):
        prompts, time, _ = self.table.shape
        return f"a run on {prompts} prompts, {self.group} completions each, of up to {time} tokens"


def _runs(generator):
    yield _SmallRun(1, 2, 2, generator), 1
    yield _SmallRun(1, 3, 2, generator, rate=5.0), 2
    yield _SmallRun(2, 4, 3, generator, rate=2.0), 5
    yield _SmallRun(2, 4, 3, generator, rate=0.05, sharp=20.0), 5  # norms above 1


_by_group = partial(group_advantages, scale="std")


def _update(run, batch, rewards, compare=_by_group, weigh="constant", limit=1.0, clear=True):
    """One update in the library's own functions; the norm before clipping."""
    losses = policy_gradient_loss(run.log_probs(batch), compare(rewards).flatten())
    mask = torch.ones_like(batch.mask) if weigh == "padding" else batch.mask
    kind = "token" if weigh == "token" else "constant"
    weights = token_weights(mask, kind, len(mask), int(mask.sum()), mask.shape[1])
    if weigh == "sum":
        weights = weights * mask.numel()
    if clear:
        run.optimizer.zero_grad()
    (weights * losses).sum().backward()
    norm = torch.nn.utils.clip_grad_norm_(run.parameters, limit).item()
    run.optimizer.step()
    return norm


def _five_steps(run, steps, **how):
    norms = []
    for _ in range(steps):
        batch = run.sample()
        norms.append(_update(run, batch, run.reward(batch), **how))
    return norms


def _one_batch(run, steps):
    batch = run.sample()
    return [_update(run, batch, run.reward(batch)) for _ in range(steps)]


def _no_step(run, steps):
    norms = []
    for _ in range(steps):
        batch, before = run.sample(), [p.detach().clone() for p in run.parameters]
        norms.append(_update(run, batch, run.reward(batch)))
        with torch.no_grad():
            for parameter, value in zip(run.parameters, before, strict=True):
                parameter.copy_(value)
    return norms


def _climbing(run, steps):
    for group in run.optimizer.param_groups:
        group["maximize"] = True
    return _five_steps(run, steps)


def _clipped_norms(run, steps):
    return [min(norm, 1.0) for norm in _five_steps(run, steps)]


@exercise(
    title="The whole step",
    difficulty=3,
    minutes=25,
    importance=3,
    why=(
        "The five steps are these whatever samples and scores: only `run` knows that it is a language model.\n"
        "Each pass samples anew, since the estimate is one of the policy that has just played."
    ),
    reference=_five_steps,
    shows=[group_advantages, policy_gradient_loss, token_weights],
    cases=_runs,
    hints=[
        "A loop with five lines in it: `run.sample()`, `run.reward(batch)`, advantages, `run.log_probs(batch)`, and "
        "the loss with its update. Your three functions from above do the middle.",
        "The loss: `(token_loss(log_probs, advantages.flatten()) * batch.mask).sum() / batch.mask.numel()`.",
        "The update: `run.optimizer.zero_grad()`, `loss.backward()`, then "
        "`norm = torch.nn.utils.clip_grad_norm_(run.parameters, 1.0)`, which gives the norm before it clips, and "
        "`run.optimizer.step()`.",
    ],
    mistakes={
        "Gradients add up from step to step: `run.optimizer.zero_grad()` comes before `backward`.": (
            lambda run, steps: _five_steps(run, steps, clear=False)
        ),
        "The sign is flipped: the policy runs away from what was good.": _climbing,
        "The rollout stands before the loop: from the second step on, those are completions of an older policy.": (
            _one_batch
        ),
        "Padding counts: multiply the losses by `batch.mask`.": (
            lambda run, steps: _five_steps(run, steps, weigh="padding")
        ),
        "The rewards are taken as they are. Compare each with its group first, with `grpo_advantages`.": (
            lambda run, steps: _five_steps(run, steps, compare=lambda rewards: rewards)
        ),
        "Nothing is clipped: one rare event may take a step of any length.": (
            lambda run, steps: _five_steps(run, steps, limit=math.inf)
        ),
        "It divides by the number of real tokens, so a batch of short answers takes longer steps. Divide by "
        "`batch.mask.numel()`.": lambda run, steps: _five_steps(run, steps, weigh="token"),
        "That is the sum over all tokens: divide by `batch.mask.numel()`, or the step grows with the batch.": (
            lambda run, steps: _five_steps(run, steps, weigh="sum")
        ),
        "The policy never moves: `run.optimizer.step()` is missing.": _no_step,
        "Those are the norms after clipping. What tells a healthy run from a dead one is the norm before.": (
            _clipped_norms
        ),
    },
)
def grpo(run, steps):
    """Make so many steps of GRPO; the gradient's norm at each, before it is clipped at 1, as a list of numbers.

    run.sample() plays one batch, whose batch.mask is (completions, time); run.reward(batch) is (prompts, G), and
    run.log_probs(batch), with gradient, (completions, time). run.optimizer moves run.parameters. The loss is the sum
    of the tokens' losses where the mask is 1, divided by completions · time.
    """
    norms = []
    for _ in range(steps):
        batch = run.sample()
        rewards = run.reward(batch)
        advantages = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
        losses = -advantages.detach().reshape(-1, 1) * run.log_probs(batch) * batch.mask
        run.optimizer.zero_grad()
        (losses.sum() / batch.mask.numel()).backward()
        norms.append(torch.nn.utils.clip_grad_norm_(run.parameters, 1.0).item())
        run.optimizer.step()
    return norms
