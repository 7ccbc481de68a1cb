"""Exercises of notebook 06: the baseline, the checker, masks, sampling, and what the divergence costs."""

import math
from functools import partial

import torch

from policy_gradients.course.exercises.declare import exercise
from policy_gradients.estimators.advantages import group_advantages
from policy_gradients.estimators.regularizers import divergence_to_go, entropy_weight
from policy_gradients.language.rewards import Completion, passes
from policy_gradients.language.rollout import completion_mask, sample
from policy_gradients.language.rules import ASCII_DIGITS, DigitSum, ExactLength, length_and_digits


def _groups(generator):
    yield torch.tensor([[1.0, 0.0]])
    yield torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    yield torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
    yield torch.randn(3, 5, generator=generator)


@exercise(
    title="Leave one out",
    difficulty=1,
    minutes=5,
    importance=3,
    why=(
        "The mean of the others is independent of this completion, so the estimate stays unbiased.\n"
        "With its own reward in the mean, the advantage would shrink by 1 − 1/G."
    ),
    reference=partial(group_advantages, baseline="leave_one_out"),
    cases=_groups,
    hints=[
        "A baseline must not depend on the completion that it judges: compare each reward with the others of its row.",
        "The sum of the others is the row's sum less your own reward; `rewards.sum(1, keepdim=True)` keeps the shape.",
        "There are G − 1 others, and G is `rewards.shape[1]`.",
    ],
    mistakes={
        "Your own reward is in its own baseline: that is the mean of all G, which shrinks the advantage to (1 − 1/G) "
        "of the one that is asked for.": lambda rewards: rewards - rewards.mean(1, keepdim=True),
        "The sum of the others is divided by G, but there are only G − 1 of them.": lambda rewards: (
            rewards - (rewards.sum(1, keepdim=True) - rewards) / rewards.shape[1]
        ),
        "The baseline is taken over the whole batch, and mixes prompts. A group is one row: sum over "
        "`dim=1`.": lambda rewards: rewards - (rewards.sum() - rewards) / (rewards.numel() - 1),
        "The sign is flipped: a completion better than the others needs a positive advantage.": lambda rewards: (
            (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1) - rewards
        ),
        "This is the baseline, not the advantage: subtract it from the rewards.": lambda rewards: (
            (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)
        ),
    },
)
def leave_one_out(rewards):
    """Each reward less the mean of the *other* rewards of its row; rewards and result have shape (prompts, G)."""
    others = (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)
    return rewards - others


def _completions(generator):
    song = "It was released on 12 May 1965 and sold well in northern Europe."
    yield Completion("", True)
    yield Completion("3", True)
    yield Completion("0" * 64, True)
    yield Completion("x" * 64, True)
    yield Completion(song, True)
    yield Completion(song, False)
    yield Completion(song.replace("1965", "1964"), True)
    yield Completion(song[:-1] + " ", True)
    yield Completion(song + " ", True)
    yield Completion("A crate holds about one m³ and was first built for the salt sea.", True)
    for digits in ("3", "9", "4", "22", "20", "6 and 6"):  # one digit and several, sums that 2 or 4 divide and 3 not
        yield Completion(f"It took them {digits} years in all to".ljust(63, "o") + ".", True)
    yield Completion("The café opened in 1968 and it crosses the river at noon, early.", True)


def _checks(text, finished=True, alphabet=ASCII_DIGITS, length=64):
    digits = [int(c) for c in text if c in alphabet]
    return finished and len(text) == length and bool(digits) and sum(digits) % 3 == 0


@exercise(
    title="The checker",
    difficulty=2,
    minutes=10,
    importance=3,
    why=(
        "A policy finds every hole in its reward: each clause here closes one that a model has used.\n"
        "Ended by itself, exactly 64 characters, a digit at all, and only then the digit sum."
    ),
    reference=partial(passes, length_and_digits(64)),
    shows=[passes, ExactLength.check, DigitSum.check],
    cases=_completions,
    hints=[
        "Three things: it ended by itself, the length is right, and the digits are. Look at each on its own.",
        'Test for membership in `"0123456789"`; `str.isdigit` is true for characters that `int` refuses.',
        "An empty sum is 0, and 0 is divisible by 3: a text without digits must fail all the same.",
    ],
    mistakes={
        "A text without any digit passes: its digit sum is 0, and 0 % 3 == 0. Ask for at least one digit.": lambda c: (
            c.finished and len(c.text) == 64 and sum(int(d) for d in c.text if d in ASCII_DIGITS) % 3 == 0
        ),
        "A completion that was cut off passes: look at `completion.finished`.": lambda c: _checks(c.text),
        "Spaces at the end are stripped. They are characters like any other, and the model has to count "
        "them.": lambda c: _checks(c.text.strip(), c.finished),
        "The length is that of the bytes. `len(text)` counts characters: é and ³ are one each.": lambda c: (
            _checks(c.text, c.finished, length=len(c.text)) and len(c.text.encode()) == 64
        ),
        "`str.isdigit` is true for ³ as well, and `int` refuses that: only 0 to 9 count.": lambda c: (
            c.finished
            and len(c.text) == 64
            and any(map(str.isdigit, c.text))
            and sum(int(d) for d in c.text if d.isdigit()) % 3 == 0
        ),
        "The length is at most 64; exactly 64 is asked for.": lambda c: (
            len(c.text) <= 64 and _checks(c.text, c.finished, length=len(c.text))
        ),
    },
)
def checker(completion):
    """Whether it ended by itself, has exactly 64 characters and a digit, and its digit sum is divisible by 3."""
    digits = [c for c in completion.text if "0" <= c <= "9"]
    return completion.finished and len(completion.text) == 64 and digits != [] and int("".join(digits)) % 3 == 0


def _ids(generator):
    end = torch.tensor([7])
    yield torch.tensor([[7]]), end
    yield torch.tensor([[3, 7, 7]]), end
    yield torch.tensor([[3, 4, 5]]), end  # cut off: no end token
    yield torch.tensor([[3, 7, 5, 7, 2], [1, 2, 3, 4, 7]]), end
    yield torch.randint(9, (4, 8), generator=generator), torch.tensor([7, 8])


@exercise(
    title="Which tokens count?",
    difficulty=2,
    minutes=10,
    importance=3,
    why=(
        "Stopping is an action with a log-prob, so the end token counts; what comes after was never chosen.\n"
        "Counting the ends strictly before a token gives 0 up to and including the first end."
    ),
    reference=completion_mask,
    cases=_ids,
    hints=[
        "The end token is an action too: the policy chose to stop. What comes after it is padding.",
        "`torch.isin(completion_ids, end_ids).cumsum(1)` counts the ends so far, the present token included.",
        "A token counts if no end came *before* it: subtract the present token's own share from that count.",
    ],
    mistakes={
        "The end token itself is left out. Then nothing ever teaches the policy to stop.": lambda ids, end: (
            torch.isin(ids, end).cumsum(1) == 0
        ).float(),
        "Only end tokens are left out, but all that follows the first of them is padding.": lambda i, e: (
            ~torch.isin(i, e)
        ).float(),
        "It reaches to the last end token of a row; the completion was over at the first.": lambda ids, end: (
            torch.isin(ids, end).flip(1).cumsum(1).flip(1) > 0
        ).float(),
        "A row without an end token gets no mask at all. It was cut off, and all of its tokens count.": lambda i, e: (
            completion_mask(i, e) * torch.isin(i, e).any(1, keepdim=True)
        ),
    },
)
def end_mask(completion_ids, end_ids):
    """1.0 up to and including the first end token of each row, then 0.0; ids and result (completions, time)."""
    is_end = torch.isin(completion_ids, end_ids)
    time = torch.arange(completion_ids.shape[1], device=completion_ids.device)
    first = torch.where(is_end.any(1), is_end.int().argmax(1), len(time))
    return (time <= first[:, None]).float()


def _kl_and_mask(generator):
    yield torch.tensor([[1.0, 2.0, 4.0]], requires_grad=True), torch.tensor([[1.0, 1.0, 1.0]])
    yield torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    yield torch.rand(3, 5, generator=generator), (torch.arange(5) < torch.tensor([[5], [3], [1]])).float()


@exercise(
    title="Divergence to go",
    difficulty=3,
    minutes=15,
    importance=2,
    why=(
        "The KL of later states depends on the token chosen now; that at the present state does not depend on "
        "which token is drawn.\n"
        "As a cost it is a number, so it is detached: the other half of the product rule is differentiated "
        "elsewhere."
    ),
    reference=divergence_to_go,
    cases=_kl_and_mask,
    hints=[
        "A token answers for the divergence of the states it leads to, so for what comes *after* it.",
        "A cumulative sum from the right is `x.flip(1).cumsum(1).flip(1)`. It includes the present token.",
        "It is a cost, a number like a reward: multiply by the mask first, and detach.",
    ],
    mistakes={
        "The present token is counted too. Its own KL does not depend on which action was sampled there: k > "
        "t.": lambda kl, mask: (kl * mask).detach().flip(1).cumsum(1).flip(1),
        "That is the divergence so far. A token cannot change its past: sum over what follows.": lambda kl, mask: (
            (kl * mask).detach().cumsum(1) - (kl * mask).detach()
        ),
        "Padding is counted: multiply by the mask before summing.": lambda kl, mask: divergence_to_go(
            kl, torch.ones_like(mask)
        ),
        "A gradient flows through it. It is a cost here, like a reward, and the other half of the product rule takes "
        "care of the gradient: use `detach`.": lambda kl, mask: (kl * mask).flip(1).cumsum(1).flip(1) - kl * mask,
        "Every token gets the whole completion's divergence; it answers only for what follows.": lambda kl, mask: (
            (kl * mask).detach().sum(1, keepdim=True).expand_as(kl).clone()
        ),
        "The sum runs over everything but the token itself. It answers for what follows only.": (
            lambda kl, mask: (kl * mask).detach().sum(1, keepdim=True) - (kl * mask).detach()
        ),
    },
)
def to_go(kl, mask):
    """Σ KL_k over k > t, detached; kl, mask and result (completions, time)."""
    cost = (kl * mask).detach()
    return cost.sum(1, keepdim=True) - cost.cumsum(1)


def _draws(generator):
    yield torch.tensor([[0.0, 0.0]]), torch.tensor([0.7]), 1.0
    yield torch.tensor([[-math.inf, 0.0]]), torch.tensor([0.0]), 1.0  # the first is impossible
    yield torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([0.5]), 2.0
    logits = torch.randn(20, 5, generator=generator)
    yield logits, torch.rand(20, generator=generator), 0.7
    yield logits, torch.rand(20, generator=generator), 1.5


def _sampled(logits, uniform, temperature):
    return sample(logits, uniform, temperature)[0]


def _inverted(probabilities, uniform):
    return (probabilities.cumsum(-1) <= uniform[..., None]).sum(-1).clamp(max=probabilities.shape[-1] - 1)


@exercise(
    title="One number decides",
    difficulty=2,
    minutes=15,
    importance=2,
    why=(
        "A uniform number falls into a token's piece of [0, 1] exactly with that token's probability.\n"
        "Counting the pieces that end at or before it skips those of width zero."
    ),
    reference=_sampled,
    shows=[sample],
    cases=_draws,
    hints=[
        "Lay the probabilities end to end on [0, 1]. The uniform number falls into one piece: that is the token.",
        "The pieces end at `probabilities.cumsum(-1)`. Count how many of them end at or before the number.",
        "Divide the logits by the temperature before the softmax, and compare with `uniform.unsqueeze(-1)`.",
    ],
    mistakes={
        "That is the likeliest token, whatever the number says: greedy decoding explores nothing.": lambda x, u, t: (
            x.argmax(-1)
        ),
        "The temperature is left out: divide the logits by it, before the softmax.": lambda x, u, t: _inverted(
            x.softmax(-1), u
        ),
        "The logits are multiplied by the temperature. Dividing is what makes a high temperature more "
        "random.": lambda x, u, t: _inverted((x * t).softmax(-1), u),
        "At the number 0 an impossible token is drawn: a piece of width zero that ends *at* the number is already "
        "passed.": lambda x, u, t: ((x / t).softmax(-1).cumsum(-1) < u[..., None]).sum(-1).clamp(max=x.shape[-1] - 1),
        "It is one token too early: count the pieces that end before the number, and that count is already the "
        "index.": lambda x, u, t: (_inverted((x / t).softmax(-1), u) - 1).clamp(min=0),
    },
)
def draw(logits, uniform, temperature):
    """Sample from softmax(logits / temperature): logits (rows, vocabulary), uniform in [0, 1) and result (rows,)."""
    ends = torch.softmax(logits / temperature, -1).cumsum(-1)
    inside = uniform.unsqueeze(-1) < ends
    return inside.int().argmax(-1)


def _bonus(generator):
    yield 0.01, torch.tensor([[0.0, 0.0]])
    yield 0.01, torch.tensor([[1.0, 0.0]])
    yield 0.0, torch.tensor([[1.0, 0.0]])
    yield 0.01, torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    yield 0.02, torch.rand(4, 6, generator=generator)


@exercise(
    title="A bonus that may not explode",
    difficulty=2,
    minutes=10,
    importance=1,
    why=(
        "Where rewards vary the gradient has a signal and needs no bonus; where they do not, exploration is all "
        "there is.\n"
        "The cap keeps a silent batch from making the bonus the whole loss."
    ),
    reference=partial(entropy_weight, schedule="inverse_variance"),
    cases=_bonus,
    hints=[
        "The variance is that within a group, row by row, then averaged: prompts differ in difficulty, and that is no "
        "noise of the policy.",
        "Where all rewards are equal the variance is 0. Add 1e-8 below the line, and cap the result at 10 · base.",
        "`min(base / (rewards.var(1).mean().item() + 1e-8), 10 * base)`",
    ],
    mistakes={
        "Nothing caps the weight: a batch of equal rewards makes it a hundred million times as large.": lambda b, r: (
            b / (r.var(1).mean().item() + 1e-8)
        ),
        "That is divided by the standard deviation; the variance is asked for.": lambda b, r: min(
            b / (r.std(1).mean().item() + 1e-8), 10 * b
        ),
        "That is the variance over the whole batch, prompts mixed: take it row by row, `rewards.var(1)`, then the "
        "mean.": lambda b, r: min(b / (r.var().item() + 1e-8), 10 * b),
        "That grows with the variance; here the weight is to fall with it.": lambda b, r: min(
            b * r.var(1).mean().item(), 10 * b
        ),
        "That variance divides by G; the one asked for divides by G − 1, as `rewards.var(1)` does.": lambda b, r: min(
            b / (r.var(1, correction=0).mean().item() + 1e-8), 10 * b
        ),
        "The cap is `base` itself; it is 10 · base.": (lambda b, r: min(b / (r.var(1).mean().item() + 1e-8), b)),
    },
)
def bonus_weight(base, rewards):
    """base / (Var + 1e-8), at most 10 · base; Var: within groups, averaged; rewards (prompts, G), result a number."""
    centred = rewards - rewards.mean(1, keepdim=True)
    variance = centred.square().sum().item() / (len(rewards) * (rewards.shape[1] - 1))
    return min(base / (variance + 1e-8), 10 * base)
