"""What notebook 09 says of the table of 144 articles, and of retrievers trained on it."""

from pathlib import Path

import pytest
import torch

from policy_gradients.evaluation.reading import shipped_questions, shipped_reading
from policy_gradients.evaluation.retriever import train_retriever

SCRIPT = Path(__file__).parents[2] / "notebooks" / "scripts" / "09_open_questions.py"


@pytest.fixture(scope="module")
def reading():
    return shipped_reading()


@pytest.fixture(scope="module")
def said() -> str:
    return " ".join(SCRIPT.read_text(encoding="utf-8").replace("\n# ", " ").split())


def test_the_shipped_table_is_that_of_the_shipped_questions(reading):
    assert list(reading.questions) == shipped_questions(144)
    assert reading.values.shape == (144, 144) and ((reading.values > 0) & (reading.values < 1)).all()
    for vectors in (reading.question_vectors, reading.article_vectors):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(144), atol=2e-3, rtol=0)
    assert reading.values.diagonal().mean() > 20 * reading.unread.mean()


def test_what_the_notebook_says_of_what_is_learnt(reading, said):
    trained = torch.arange(144) % 3 < 2
    assert trained.sum() == 96 and "147,456 numbers from 96 questions" in said and 384**2 == 147_456
    best = reading.values[trained].max(1).values.mean()
    ends = {}
    for learnt, rate in (("sharpness", 0.1), ("weights", 0.03), ("matrix", 0.001)):
        runs = [train_retriever(reading, trained, learnt, learning_rate=rate, seed=seed) for seed in range(3)]
        ends[learnt] = 100 * torch.stack([run.pass_rates[-1] for run in runs]).mean(0)
        start, reads = 100 * runs[0].pass_rates[0], runs[0].reads
    own, other = ends["matrix"]
    assert f"the matrix goes from {start[0]:.0f} to {own:.0f} %, where the best article" in said
    assert f"would give {100 * best:.0f}." in said
    assert f"it falls from {start[1]:.0f} to {other:.0f} %" in said
    assert f"likeliest article, at {ends['sharpness'][0]:.0f} and {ends['sharpness'][1]:.0f} %" in said
    likeliest = (reading.question_vectors @ reading.article_vectors.T).argmax(1)
    rates = 100 * reading.values.gather(1, likeliest[:, None])[:, 0]
    assert ends["sharpness"].tolist() == pytest.approx(
        [rates[trained].mean().item(), rates[~trained].mean().item()], abs=0.5
    )
    assert f"{ends['weights'][0]:.0f} % where they were trained, {ends['weights'][1]:.0f} % elsewhere" in said
    assert f"200 steps of bits took {reads:,}" in said and f"{144**2:,} readings" in said
    value, label = (
        100 * train_retriever(reading, trained, "matrix", signal).pass_rates for signal in ("value", "label")
    )
    assert f"at {value[-1, 1]:.0f} and {label[-1, 1]:.0f} %, and higher on its own" in said
    assert f"at {value[-1, 0]:.0f} and {label[-1, 0]:.0f}." in said
    priced = 100 * train_retriever(reading, trained, "matrix", kl_weight=0.3).pass_rates[-1]
    assert priced[0] < own - 5 and priced[1] > other + 4  # "holds it back on both sides"
