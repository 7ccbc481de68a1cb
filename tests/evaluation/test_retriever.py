import pytest
import torch

from policy_gradients.evaluation.reading import Question, Reading
from policy_gradients.evaluation.retriever import SHARPNESS, Retriever, bit_objective, train_retriever


def small_reading() -> Reading:
    """Six questions, six articles alike (a common direction, and small random ones); its own helps a question."""
    noise = 0.1 * torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    vectors = torch.nn.functional.normalize(torch.ones(12, 8) / 8**0.5 + noise, dim=-1)
    values = torch.full((6, 6), 0.05) + 0.85 * torch.eye(6)
    return Reading([Question("", "", "", "")] * 6, values, torch.full((6,), 0.05), vectors[:6], vectors[6:])


FOUR = torch.arange(6) < 4


@pytest.mark.parametrize("learnt", ["sharpness", "weights", "matrix"])
def test_untouched_every_retriever_goes_by_similarity(learnt):
    reading = small_reading()
    found = Retriever(learnt, 8)(reading.question_vectors, reading.article_vectors)
    similarities = reading.question_vectors @ reading.article_vectors.T
    torch.testing.assert_close(found, (SHARPNESS * similarities).log_softmax(-1))


@pytest.mark.parametrize(("signal", "reads"), [("bit", 8), ("value", 6), ("label", 0)])
def test_a_matrix_learns_its_questions(signal, reads):
    lessons = train_retriever(small_reading(), FOUR, "matrix", signal, steps=400, learning_rate=0.01)
    assert lessons.pass_rates.shape == (401, 2) and lessons.reads == 400 * 4 * reads
    assert lessons.pass_rates[0, 0] < 0.2 and lessons.pass_rates[-1, 0] > 0.6


def test_bits_give_the_exact_gradient_on_average():
    """60,000 estimates, each no longer than √2; six standard errors are chance once in a hundred million."""
    logits = torch.tensor([0.5, 0.0, -1.0], requires_grad=True)
    values, count = torch.tensor([0.1, 0.7, 0.4]), 60_000
    exact = torch.autograd.grad(logits.softmax(0) @ values, logits)[0]
    log_probs = logits.log_softmax(0).expand(count, 3)
    objective = bit_objective(log_probs, values.expand(count, 3), 2, torch.Generator().manual_seed(0))
    found = torch.autograd.grad(objective, logits)[0]
    torch.testing.assert_close(found, exact, atol=6 * (2 / count) ** 0.5, rtol=0)
    assert exact.abs().max() > 2 * 6 * (2 / count) ** 0.5


def test_a_high_price_leaves_the_retriever_where_it_was():
    free, dear = (
        train_retriever(small_reading(), FOUR, "matrix", steps=100, learning_rate=0.01, kl_weight=weight).pass_rates
        for weight in (0.0, 100.0)
    )
    assert free[-1, 0] - free[0, 0] > 0.2 > 0.05 > abs(dear[-1, 0] - dear[0, 0])


def test_seeds_decide_and_the_untrained_questions_do_not():
    reading, other = small_reading(), small_reading()
    other.values[4:] = 0.3
    first, again = (train_retriever(reading, FOUR, "matrix", steps=5, seed=1).pass_rates for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(first[:, 0], train_retriever(other, FOUR, "matrix", steps=5, seed=1).pass_rates[:, 0])
    assert not torch.equal(first, train_retriever(reading, FOUR, "matrix", steps=5, seed=2).pass_rates)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"learnt": "all"}, "learnt must be one of sharpness, weights, matrix"),
        ({"signal": "bits"}, "signal must be one of bit, value, label"),
        ({"trained": torch.zeros(6, dtype=torch.bool)}, "mask of 6 questions with one at least"),
        ({"trained": FOUR[:5]}, "mask of 6 questions"),
        ({"trained": FOUR.float()}, "mask of 6 questions"),
        ({"steps": 0}, "steps"),
        ({"num_questions": 0}, "num_questions"),
        ({"num_articles": 1}, "num_articles"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        train_retriever(**{"reading": small_reading(), "trained": FOUR, "learnt": "matrix", **arguments})


@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_a_price_below_zero_is_refused(weight):
    with pytest.raises(ValueError, match="kl_weight"):
        train_retriever(small_reading(), FOUR, "matrix", kl_weight=weight)
