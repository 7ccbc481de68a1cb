"""Exercises of notebook 04: the Fisher matrix, the natural direction, the size of a step, the compatible critic."""

import torch

from policy_gradients.course.exercises.declare import exercise
from policy_gradients.estimators.natural import (
    compatible_critic,
    fisher_matrix,
    fisher_vector_product,
    kl_step,
    natural_gradient,
)


def _scores(generator):
    yield torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=torch.float64)
    yield torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)  # mean zero, as scores have it in expectation
    yield torch.randn(50, 3, dtype=torch.float64, generator=generator)
    yield torch.randn(2, 20, 3, dtype=torch.float64, generator=generator)  # two seeds at once


@exercise(
    title="The Fisher matrix from samples",
    difficulty=1,
    minutes=8,
    importance=3,
    why=(
        "F is the covariance of the score, and since the score has mean zero, nothing has to be subtracted.\n"
        "A mean of outer products ψψᵀ: positive semi-definite, with rank at most the number of samples."
    ),
    reference=fisher_matrix,
    cases=_scores,
    hints=[
        "One sample gives the matrix ψψᵀ, parameters by parameters; take the mean of all of them.",
        "`scores.mT @ scores` is the sum of ψψᵀ over the samples.",
    ],
    mistakes={
        "That is the outer product of the *mean* score, and the mean of a score is zero. Multiply first, then take the "
        "mean.": lambda s: s.mean(-2).unsqueeze(-1) * s.mean(-2).unsqueeze(-2),
        "That is the sum over the samples; the Fisher matrix is a mean.": lambda s: s.mT @ s,
        "That is samples by samples. It should be parameters by parameters: `scores.mT @ scores`.": lambda s: (
            s @ s.mT / s.shape[-2]
        ),
        "The mean is taken off first. E[ψ] is known to be exactly 0, so this only adds noise.": lambda s: (
            (s - s.mean(-2, keepdim=True)).mT @ (s - s.mean(-2, keepdim=True)) / s.shape[-2]
        ),
        "It is divided by the number of parameters; divide by the number of samples.": lambda s: s.mT @ s / s.shape[-1],
        "It is divided by n − 1. The mean of the scores is known to be 0 and was not estimated: divide by n.": (
            lambda s: s.mT @ s / (s.shape[-2] - 1)
        ),
    },
)
def sampled_fisher(scores):
    """E[ψψᵀ] as a mean over samples: scores (..., samples, parameters) → (..., parameters, parameters)."""
    return (scores.unsqueeze(-1) * scores.unsqueeze(-2)).mean(-3)


def _gradient_and_fisher(generator):
    yield torch.tensor([1.0, 2.0], dtype=torch.float64), torch.diag(torch.tensor([4.0, 0.5], dtype=torch.float64)), 0.5
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    softmax = torch.diag(p) - torch.outer(p, p)  # singular: adding a constant to all logits changes nothing
    yield torch.tensor([0.2, -0.1, -0.1], dtype=torch.float64), softmax, 0.1
    root = torch.randn(4, 4, dtype=torch.float64, generator=generator)
    yield torch.randn(4, dtype=torch.float64, generator=generator), root @ root.T, 0.01


@exercise(
    title="The natural direction",
    difficulty=1,
    minutes=8,
    importance=3,
    why=(
        "Steepest ascent where length is measured in KL solves F d = g instead of taking d = g.\n"
        "Damping adds a little of every direction to F, so those that were never seen get no infinite step."
    ),
    reference=natural_gradient,
    cases=_gradient_and_fisher,
    hints=[
        "The direction d solves (F + damping · I) d = g.",
        "`torch.linalg.solve(matrix, vector)` solves it, more exactly than an inverse would.",
    ],
    mistakes={
        "That multiplies with F. The natural gradient takes F out: solve F d = g for d.": lambda g, fisher, damping: (
            (fisher + damping * torch.eye(len(g), dtype=g.dtype)) @ g
        ),
        "The damping is left out. Then the directions that the samples say nothing about get the largest "
        "steps.": lambda g, fisher, damping: torch.linalg.pinv(fisher) @ g,
        "The damping is added to every entry of F. It belongs on the diagonal.": lambda g, fisher, damping: (
            torch.linalg.pinv(fisher + damping) @ g
        ),
        "Only the diagonal of F is used. That drops what one parameter's change does to another's "
        "effect.": lambda g, fisher, damping: g / (fisher.diagonal() + damping),
        "The diagonal is scaled by 1 + damping instead: where F is 0, nothing is added.": lambda g, fisher, damping: (
            torch.linalg.pinv(fisher + damping * fisher.diagonal().diag()) @ g
        ),
    },
)
def natural_direction(gradient, fisher, damping):
    """(F + damping · I)⁻¹ g: gradient and result (parameters,), fisher (parameters, parameters)."""
    values, vectors = torch.linalg.eigh(fisher)
    return vectors @ ((vectors.T @ gradient) / (values + damping))


def _gradient_and_direction(generator):
    yield torch.tensor([3.0, 4.0], dtype=torch.float64), torch.tensor([1.0, 0.5], dtype=torch.float64), 0.1
    yield torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([-1.0, 0.0], dtype=torch.float64), 0.1  # downhill
    yield torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), 0.01  # nothing to learn
    yield torch.tensor([0.3, 0.1], dtype=torch.float64), torch.tensor([0.5, 1.0], dtype=torch.float64), 0.1  # gentle
    gradient = torch.randn(3, dtype=torch.float64, generator=generator)
    yield gradient, 5 * gradient, 0.02


@exercise(
    title="A step of a given size",
    difficulty=2,
    minutes=12,
    importance=2,
    why=(
        "To second order the KL of a step c·d is ½c² dᵀFd = ½c² gᵀd, and c follows from setting it to δ.\n"
        "If gᵀd is not positive, no way along d goes up, and the honest step is zero."
    ),
    reference=kl_step,
    cases=_gradient_and_direction,
    hints=[
        "The step is c · d. Its KL is ½ (c d)ᵀ F (c d), and F d = g.",
        "So ½ c² gᵀd = δ: solve for c.",
        "Where gᵀd is not positive there is no way up along d: the step is zero, and no NaN.",
    ],
    mistakes={
        "The 2 is left out: the KL of that step is δ/2.": lambda g, d, delta: kl_step(g, d, delta) / 2**0.5,
        "The square root is missing: KL grows with the *square* of the step.": lambda g, d, delta: (
            2 * delta / (g @ d) * d if g @ d > 0 else torch.zeros_like(d)
        ),
        "gᵀg measures the step in parameters. In KL it is gᵀF⁻¹g, which is gᵀd.": lambda g, d, delta: (
            (2 * delta / (g @ g)).sqrt() * d if g @ d > 0 else torch.zeros_like(d)
        ),
        "Along the gradient instead of the natural direction: scale d, not g.": lambda g, d, delta: (
            (2 * delta / (g @ d)).sqrt() * g if g @ d > 0 else torch.zeros_like(d)
        ),
        "Where gᵀd is 0 or negative this is NaN or infinite. No way up: a step of zero.": lambda g, d, delta: (
            (2 * delta / (g @ d)).sqrt() * d
        ),
    },
)
def kl_sized(gradient, direction, max_kl):
    """The step along d = F⁻¹g whose KL is max_kl to second order, zero where gᵀd ≤ 0; all of shape (parameters,)."""
    slope = gradient.dot(direction).item()
    if slope <= 0:
        return direction * 0
    return direction * (2 * max_kl / slope) ** 0.5


def _scores_and_vector(generator):
    one, other = torch.tensor([1.0, 2.0], dtype=torch.float64), torch.tensor([0.5, -1.0], dtype=torch.float64)
    yield torch.stack([one, other, other]), torch.tensor([1.0, 1.0], dtype=torch.float64)
    scores = torch.randn(30, 4, dtype=torch.float64, generator=generator)
    yield scores, torch.randn(4, dtype=torch.float64, generator=generator)
    yield torch.randn(3, 1000, dtype=torch.float64, generator=generator), torch.ones(1000, dtype=torch.float64)


def _projected(scores, vector):
    return scores @ vector


@exercise(
    title="F times a vector, without F",
    difficulty=2,
    minutes=10,
    importance=2,
    why=(
        "E[ψψᵀ]v = E[ψ(ψᵀv)]: bracketed this way it takes two products with the scores.\n"
        "Neither memory nor time grows with the square of the parameters, which is what makes F usable in a "
        "network."
    ),
    reference=fisher_vector_product,
    cases=_scores_and_vector,
    hints=[
        "F v = E[ψ (ψᵀv)]: the bracket is one number for each sample.",
        "First `scores @ vector`, (samples,). Then weigh the scores with it and take the mean.",
        "`scores.T @ (scores @ vector) / len(scores)`: the brackets decide whether F is ever formed.",
    ],
    mistakes={
        "That is the sum over the samples; take the mean.": lambda s, v: s.T @ (s @ v),
        "That stops half-way, at ψᵀv: one number a sample. Multiply each with its ψ and take the mean.": _projected,
        "The mean of ψ times the mean of ψᵀv. The mean of a product is asked for.": lambda s, v: (
            s.mean(0) * (s @ v).mean()
        ),
        "Element by element, ψ² v keeps only F's diagonal.": lambda s, v: (s * s * v).mean(0),
        "It is divided by n − 1; the mean of n samples divides by n.": (lambda s, v: s.T @ (s @ v) / (len(s) - 1)),
    },
)
def fisher_times(scores, vector):
    """E[ψψᵀ] v as a mean over samples, without the matrix: scores (samples, parameters), vector (parameters,)."""
    result = torch.zeros_like(vector)
    for score in scores:
        result += score * torch.dot(score, vector)
    return result / len(scores)


def _critic(scores, returns):
    return compatible_critic(scores, returns)[0]


def _scores_and_returns(generator):
    yield torch.tensor([[1.0], [-1.0], [0.5]], dtype=torch.float64), torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64)
    scores = torch.randn(40, 3, dtype=torch.float64, generator=generator)
    noise = torch.randn(40, dtype=torch.float64, generator=generator)
    yield scores, scores @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) + 10 + noise
    # softmax scores: their columns sum to zero, so many w fit alike; the shortest is asked for
    softmax = torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0, 0]] - torch.tensor([0.6, 0.2, 0.2], dtype=torch.float64)
    yield softmax, torch.tensor([1.0, 0.0, 0.5, 1.0, 1.0], dtype=torch.float64)


@exercise(
    title="The critic that is the step",
    difficulty=3,
    minutes=15,
    importance=2,
    why=(
        "Least squares gives w = Cov(ψ)⁻¹Cov(ψ, R), which is F⁻¹∇J: the compatible critic's weights are the "
        "natural step.\n"
        "The constant is fitted by centring both sides; the pseudo-inverse chooses the shortest w where many fit."
    ),
    reference=_critic,
    shows=[compatible_critic],
    cases=_scores_and_returns,
    hints=[
        "It is a regression of the returns on the scores, with a constant beside them: R ≈ wᵀψ + v.",
        "A constant can be fitted by taking the mean off both sides first.",
        "For softmax policies the scores are linearly dependent: `torch.linalg.pinv(x) @ y` finds the shortest w.",
    ],
    mistakes={
        "The constant is missing. In a sample the scores do not sum to zero exactly, and the level of the returns "
        "leaks into w.": lambda s, r: torch.linalg.pinv(s) @ r,
        "That is E[ψR], the vanilla gradient. The regression also divides by F.": lambda s, r: s.T @ r / len(s),
        "Only the returns are centred. The regression with a constant centres the scores as well.": lambda s, r: (
            torch.linalg.pinv(s) @ (r - r.mean())
        ),
        "Each parameter is fitted alone. The scores are correlated: fit all of them together.": lambda s, r: (
            (s - s.mean(0)).T @ (r - r.mean()) / (s - s.mean(0)).square().sum(0)
        ),
    },
)
def critic_weights(scores, returns):
    """The shortest w that, with some constant v, minimises Σ (R − wᵀψ − v)²: (samples, parameters), (samples,)."""
    centred, target = scores - scores.mean(0), returns - returns.mean()
    return torch.linalg.pinv(centred) @ target
