"""Exercises of the lab: three bugs that leave no trace in the loss, mended."""

import torch

from policy_gradients.course.exercises.declare import exercise
from policy_gradients.estimators.log_probs import log_probs_and_entropy
from policy_gradients.estimators.losses import token_weights
from policy_gradients.language.rollout import positions


def _padded(generator):
    yield torch.tensor([[1, 1]])
    yield torch.tensor([[0, 0, 1, 1]])
    yield torch.tensor([[0, 1, 1], [1, 1, 1]])
    lengths = torch.randint(1, 7, (4, 1), generator=generator)
    yield (torch.arange(6) >= 6 - lengths).long()


@exercise(
    title="Left padding moves nothing",
    difficulty=1,
    minutes=5,
    importance=2,
    why=(
        "A position is the number of real tokens before it: padding on the left must not shift it.\n"
        "So one prompt has the same log-probs alone and in any batch."
    ),
    reference=positions,
    cases=_padded,
    hints=[
        "The first real token of every prompt has position 0, however much padding stands before it.",
        "`mask.cumsum(-1)` counts the real tokens so far, the present one included.",
        "Subtract one, and keep padding from going below zero: `.clamp(min=0)`.",
    ],
    mistakes={
        "Padding is counted: the same prompt gets other positions, and so other log-probs, in a longer "
        "batch.": lambda mask: torch.arange(mask.shape[1]).expand_as(mask).clone(),
        "It begins at 1; positions begin at 0.": lambda mask: mask.cumsum(-1),
        "Padding gets position −1, which no table of positions has: clamp it at 0.": lambda mask: mask.cumsum(-1) - 1,
        "That counts from the right; the first token has position 0.": lambda mask: (
            mask.flip(-1).cumsum(-1).flip(-1) - 1
        ).clamp(min=0),
    },
)
def token_positions(mask):
    """Position of each token in its own prompt, 0 on padding; mask and result (prompts, time), whole numbers."""
    padding = mask.shape[1] - mask.sum(1, keepdim=True)
    return (torch.arange(mask.shape[1], device=mask.device) - padding).clamp(min=0)


def _at_a_temperature(generator):
    yield torch.tensor([[[0.0, 1.0]]], requires_grad=True), torch.tensor([[1]]), 0.5
    yield torch.tensor([[[0.0, 1.0]]], requires_grad=True), torch.tensor([[0]]), 1.0
    logits = torch.randn(3, 4, 5, generator=generator)
    yield logits.requires_grad_(), torch.randint(5, (3, 4), generator=generator), 1.7


def _scored(logits, actions, temperature=1.0):
    return log_probs_and_entropy(logits / temperature, actions)[0]


@exercise(
    title="Score what was sampled",
    difficulty=2,
    minutes=10,
    importance=3,
    why=(
        "The sampler drew from softmax(logits/T), so that is the policy whose log-probs the gradient needs.\n"
        "Divided after normalising, they would not belong to probabilities that sum to one."
    ),
    reference=_scored,
    shows=[log_probs_and_entropy],
    cases=_at_a_temperature,
    hints=[
        "The sampler drew from softmax(logits / T). That is the policy, and its log-probs are what the gradient needs.",
        "The temperature acts on the logits, before they are normalised.",
        "Use `log_softmax(logits / temperature, -1)`, then `gather`.",
    ],
    mistakes={
        "The temperature is left out: these are log-probs of a policy that did not sample.": lambda x, a, t: _scored(
            x, a
        ),
        "The log-probs are divided by the temperature. After that they no longer belong to probabilities that sum to "
        "one: divide the logits.": lambda x, a, t: _scored(x, a) / t,
        "The logits are multiplied by the temperature; divide.": lambda x, a, t: _scored(x, a, 1 / t),
        "These are logits, not yet normalised.": lambda x, a, t: (x / t).gather(-1, a[..., None]).squeeze(-1),
    },
)
def scored_log_probs(logits, actions, temperature):
    """log π at the sampling temperature: logits (completions, time, vocabulary), actions and result
    (completions, time)."""
    flat = torch.distributions.Categorical(logits=logits / temperature)
    return flat.log_prob(actions)


def _losses_and_masks(generator):
    yield torch.tensor([[1.0, 5.0]], requires_grad=True), torch.tensor([[1.0, 0.0]])
    yield torch.tensor([[1.0, 3.0], [2.0, 7.0]], requires_grad=True), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    yield torch.tensor([[-1.0, 5.0]], requires_grad=True), torch.tensor([[1.0, 0.0]])  # a loss may well be negative
    mask = (torch.arange(6) < torch.randint(1, 7, (4, 1), generator=generator)).float()
    yield torch.randn(4, 6, generator=generator).requires_grad_(), mask


def _token_mean(loss, mask):
    return (token_weights(mask, "token", len(mask), int(mask.sum()), mask.shape[1]) * loss).sum()


@exercise(
    title="The mean that padding cannot change",
    difficulty=1,
    minutes=5,
    importance=2,
    why=(
        "Padding must count neither in the sum nor in the number of tokens.\n"
        "Otherwise the step's size depends on how the batch was padded."
    ),
    reference=_token_mean,
    shows=[token_weights],
    cases=_losses_and_masks,
    hints=[
        "Padding must count neither above the line nor below it.",
        "Sum the losses that count, and divide by how many there are: `mask.sum()`.",
    ],
    mistakes={
        "Padding is in the mean: its losses are noise. Multiply by the mask.": lambda loss, mask: loss.mean(),
        "The losses are masked, but the denominator still counts padding: a batch with more padding gets a smaller "
        "step.": lambda loss, mask: (loss * mask).mean(),
        "That is the mean of the completions' means: a token of a short completion weighs more. Here all tokens weigh "
        "the same.": lambda loss, mask: ((loss * mask).sum(1) / mask.sum(1)).mean(),
        "That is the sum; divide by the number of tokens.": lambda loss, mask: (loss * mask).sum(),
    },
)
def masked_mean(loss, mask):
    """Mean of the losses where the mask is 1; loss and mask (completions, time), result a scalar tensor."""
    return loss[mask.bool()].mean()
