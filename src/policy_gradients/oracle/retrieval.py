"""A retriever that picks a document and a generator that reads it: two terms of one gradient, and what each costs.

π(d, y) = π(d) π(y|d), reward r(d, y), J = Σ_d π(d) Σ_y π(y|d) r(d, y). All documents and answers are enumerated.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from policy_gradients.oracle.gradients import gradient

LogPolicy = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class RetrievalTerms:
    """The two parts of ∇J, each (size,), of a θ that both policies may share.

    Attributes:
        retrieval: Σ_d ∇π(d) V(d): which document.
        generation: Σ_d π(d) ∇V(d): what to make of it.
        values: V(d) = Σ_y π(y|d) r(d, y), (documents,).
        objective: J.
    """

    retrieval: Tensor
    generation: Tensor
    values: Tensor
    objective: float


def retrieval_terms(retriever: LogPolicy, generator: LogPolicy, rewards: Tensor, theta: Tensor) -> RetrievalTerms:
    """∇J = Σ_d ∇π(d) V(d) + Σ_d π(d) ∇V(d), each term by autograd with the other factor held fixed.

    Args:
        retriever: θ (size,) → log π(d), (documents,).
        generator: θ → log π(y|d), (documents, answers).
        rewards: r(d, y), (documents, answers).

    Raises:
        ValueError: shapes that do not match.
    """
    chances, answers = _checked(retriever, generator, rewards, theta)
    values = (answers * rewards).sum(1)
    return RetrievalTerms(
        retrieval=gradient(lambda t: retriever(t).exp() @ values, theta),
        generation=gradient(lambda t: chances @ (generator(t).exp() * rewards).sum(1), theta),
        values=values,
        objective=(chances @ values).item(),
    )


@dataclass(frozen=True)
class Spread:
    """The variance of an estimate in two stages, traces of covariances: M documents, G answers from each.

    Attributes:
        between: of the mean over a document's answers, from document to document.
        within: of one answer, given its document, on average over documents.
    """

    between: float
    within: float

    def variance(self, documents: float = 1, group: float = 1) -> float:
        """(between + within/G) / M, by the law of total variance."""
        return (self.between + self.within / group) / documents


def retrieval_spreads(
    retriever: LogPolicy,
    generator: LogPolicy,
    rewards: Tensor,
    theta: Tensor,
    baseline: float = 0.0,
    answer_baselines: Tensor | None = None,
) -> tuple[Spread, Spread, Spread]:
    """Of the retrieval term, of the generation term, and of their sum, for sampled documents and answers.

    Of one document and G answers to it: ψ(d) (mean r - b) + mean_g ψ(y_g|d) (r_g - c(d)).

    Args:
        baseline: b, of the retriever.
        answer_baselines: c, (documents,): it may differ from document to document; b everywhere if not given.

    Raises:
        ValueError: shapes that do not match.
    """
    chances, answers = _checked(retriever, generator, rewards, theta)
    own = torch.full_like(chances, baseline) if answer_baselines is None else answer_baselines
    if own.shape != chances.shape:
        raise ValueError(f"answer_baselines {tuple(own.shape)} must hold one for each of {len(chances)} documents")
    of_document, of_answer = (
        torch.autograd.functional.jacobian(policy, theta.detach().double(), vectorize=True)
        for policy in (retriever, generator)
    )
    first = of_document.unsqueeze(1) * (rewards - baseline).unsqueeze(-1)  # (documents, answers, size)
    second = of_answer * (rewards - own.unsqueeze(1)).unsqueeze(-1)

    def spread(each: Tensor) -> Spread:
        middle = torch.einsum("dy,dyp->dp", answers, each)
        inside = torch.einsum("dy,dyp->d", answers, each.square()) - middle.square().sum(1)
        outside = chances @ middle.square().sum(1) - (chances @ middle).square().sum()
        return Spread(outside.item(), (chances @ inside).item())

    return spread(first), spread(second), spread(first + second)


def best_group(between: float, within: float, document_tokens: float, answer_tokens: float) -> int:
    """The G ≥ 1 with the least variance for a number of tokens: min (between + within/G) (L_d + G L_y).

    A document is read once for its G answers, so M documents cost M (L_d + G L_y) tokens, and the variance is
    (between + within/G) / M. The product is least at G = √(within · L_d / (between · L_y)), of whole numbers at one of
    its two neighbours.

    Raises:
        ValueError: between or answer_tokens not above 0, within or document_tokens below 0.
    """
    if not (between > 0 and answer_tokens > 0 and within >= 0 and document_tokens >= 0):
        raise ValueError(
            f"best_group needs between and answer_tokens > 0, and within and document_tokens ≥ 0, got {between}, "
            f"{answer_tokens}, {within} and {document_tokens}"
        )
    ideal = math.sqrt(within * document_tokens / (between * answer_tokens))

    def price(group: int) -> float:
        return (between + within / group) * (document_tokens + group * answer_tokens)

    return min(max(1, math.floor(ideal)), max(1, math.ceil(ideal)), key=price)


def _checked(retriever: LogPolicy, generator: LogPolicy, rewards: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """π(d), (documents,), and π(y|d), (documents, answers)."""
    with torch.no_grad():
        chances, answers = retriever(theta.double()).exp(), generator(theta.double()).exp()
    if chances.dim() != 1 or answers.shape != rewards.shape or answers.shape[:1] != chances.shape:
        shapes = [tuple(x.shape) for x in (chances, answers, rewards)]
        raise ValueError(f"retriever, generator and rewards must be (D,), (D, Y) and (D, Y), got {shapes}")
    return chances, answers
