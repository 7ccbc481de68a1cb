"""A retriever that learns from the reader's bit alone: REINFORCE over articles, on a table of a reader's chances."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from policy_gradients.estimators import group_advantages
from policy_gradients.estimators.checks import check_not_negative, check_whole
from policy_gradients.evaluation.reading import Reading

Learnt = Literal["sharpness", "weights", "matrix"]
Signal = Literal["bit", "value", "label"]
SHARPNESS = 20.0  # of the untouched retriever: similarities lie in [-1, 1]


class Retriever(nn.Module):
    """π(d|x) ∝ exp(s · ⟨M e(x), e(d)⟩), of which one part is learnt; at first s = 20 and M = 1.

    Args:
        learnt: `sharpness`, one number, log s; `weights`, a diagonal M; `matrix`, all of M.
        size: of the encoder's vectors.

    Raises:
        ValueError: another part.
    """

    def __init__(self, learnt: Learnt, size: int) -> None:
        super().__init__()
        if learnt not in get_args(Learnt):
            raise ValueError(f"learnt must be one of {', '.join(get_args(Learnt))}, got {learnt!r}")
        start = {"sharpness": torch.zeros(()), "weights": torch.ones(size), "matrix": torch.eye(size)}
        self.learnt, self.theta = learnt, nn.Parameter(start[learnt])

    def forward(self, questions: Tensor, articles: Tensor) -> Tensor:
        """log π(d|x), (questions, articles), of their vectors."""
        if self.learnt == "sharpness":
            turned = questions * self.theta.exp()
        else:
            turned = questions * self.theta if self.learnt == "weights" else questions @ self.theta.T
        return (SHARPNESS * turned @ articles.T).log_softmax(-1)


@dataclass(frozen=True)
class Lessons:
    """What came of a training.

    Attributes:
        retriever: at the end.
        pass_rates: J = E_x Σ_d π(d|x) V(d) of the trained and of the other questions, exact, before each step and
            at the end, (steps + 1, 2).
        reads: how many articles a reader had to read for it.
    """

    retriever: Retriever
    pass_rates: Tensor
    reads: int


def train_retriever(
    reading: Reading,
    trained: Tensor,
    learnt: Learnt,
    signal: Signal = "bit",
    steps: int = 200,
    learning_rate: float = 1e-3,
    num_questions: int = 16,
    num_articles: int = 8,
    kl_weight: float = 0.0,
    seed: int = 0,
) -> Lessons:
    """Adam on the questions of the mask `trained` (questions,); the reader stays as it is.

    Args:
        signal: `bit`: so many articles are drawn for each question, each is read, and right or wrong, 0 or 1, is all
            that is heard: ∇J by leave-one-out advantages (Kool et al. 2019). `value`: ∇J itself, with V of every
            article. `label`: the log-probability of the article that the question is from, which needs no reader.
        kl_weight: price of KL(π ‖ untouched π), exact, per question.

    Raises:
        ValueError: a mask without questions or of another size, a number out of range, another signal.
    """
    if signal not in get_args(Signal):
        raise ValueError(f"signal must be one of {', '.join(get_args(Signal))}, got {signal!r}")
    if trained.dtype != torch.bool or trained.shape != reading.unread.shape or not trained.any():
        raise ValueError(f"trained must be a mask of {len(reading.unread)} questions with one at least")
    for name, number, least in (
        ("steps", steps, 1),
        ("num_questions", num_questions, 1),
        ("num_articles", num_articles, 2),
    ):
        check_whole(name, number, least)
    check_not_negative("kl_weight", kl_weight)
    steps, num_questions, num_articles = int(steps), int(num_questions), int(num_articles)
    articles, generator = reading.article_vectors, torch.Generator().manual_seed(seed)
    retriever = Retriever(learnt, articles.shape[1])
    with torch.no_grad():
        untouched = retriever(reading.question_vectors, articles)
    optimizer = torch.optim.Adam(retriever.parameters(), lr=learning_rate)
    rows, path, reads = trained.nonzero()[:, 0], [_pass_rates(retriever, reading, trained)], 0
    for _ in range(steps):
        some = rows[torch.randperm(len(rows), generator=generator)[:num_questions]]
        log_probs, values = retriever(reading.question_vectors[some], articles), reading.values[some]
        if signal == "bit":
            objective = bit_objective(log_probs, values, num_articles, generator)
            reads += len(some) * num_articles
        elif signal == "value":
            objective = (log_probs.exp() * values).sum(1).mean()
            reads += values.numel()
        else:
            objective = log_probs.gather(1, some[:, None]).mean()
        divergence = (log_probs.exp() * (log_probs - untouched[some])).sum(1).mean()
        optimizer.zero_grad()
        (kl_weight * divergence - objective).backward()
        optimizer.step()
        path.append(_pass_rates(retriever, reading, trained))
    return Lessons(retriever, torch.stack(path), reads)


def bit_objective(log_probs: Tensor, values: Tensor, num_articles: int, generator: torch.Generator) -> Tensor:
    """A number whose gradient is on average that of J = mean_x Σ_d π(d|x) V(d), from bits alone.

    To each question so many articles are drawn and read; right or wrong, with chance V, becomes a leave-one-out
    advantage (Kool et al. 2019).

    Args:
        log_probs, values: log π(d|x) and V(d), (questions, articles).
        num_articles: drawn for each question, with replacement, at least 2.
    """
    picked = torch.multinomial(log_probs.detach().exp(), num_articles, replacement=True, generator=generator)
    bits = torch.bernoulli(values.gather(1, picked), generator=generator)
    advantages = group_advantages(bits, baseline="leave_one_out", scale="none")
    return (advantages * log_probs.gather(1, picked)).mean()


@torch.no_grad()
def _pass_rates(retriever: Retriever, reading: Reading, trained: Tensor) -> Tensor:
    chances = retriever(reading.question_vectors, reading.article_vectors).exp()
    rates = (chances * reading.values).sum(1)
    return torch.stack([rates[trained].mean(), rates[~trained].mean()])
