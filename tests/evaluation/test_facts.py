"""The probe of facts: its data, its numbers held against whole sentences, and a fact that was lost."""

import dataclasses
import itertools

import pytest
import torch

from policy_gradients.evaluation.facts import Fact, end_log_probs, facts_report, shipped_facts
from policy_gradients.language.models import load_model
from policy_gradients.language.tasks import chat_ids
from policy_gradients.language.tokens import leading_ids

FACTS = [
    Fact("city", "Shanghai is a city in", "China", ("Saudi Arabia", "Sao Tome and Principe", "Japan")),
    Fact("sum", "4 + 5 =", "9", ("19", "8", "11")),
    Fact("element", "The symbol of the chemical element iron is", "Fe", ("F", "Fm", "Fr")),
]


@pytest.fixture(scope="module")
def tiny():
    return load_model("tiny")


def test_at_least_three_hundred_facts_of_five_kinds():
    facts = shipped_facts()
    assert len(facts) == len({fact.beginning for fact in facts}) >= 300
    assert {fact.kind for fact in facts} == {"capital", "city", "element", "year", "sum"}
    for fact in facts:
        assert len({fact.right, *fact.wrong}) == 4, fact
        if fact.kind == "sum":
            assert sum(map(int, fact.beginning.removesuffix(" =").split(" + "))) == int(fact.right)


def test_ends_differ_as_whole_sentences_do(tiny):
    model, tokenizer = tiny
    found = end_log_probs(model, tokenizer, FACTS, batch_size=2)
    assert found.shape == (3, 4)
    for row, fact in zip(found, FACTS, strict=True):
        whole = []
        for text in fact.texts:
            ids = torch.tensor([[*leading_ids(tokenizer), *tokenizer(text, add_special_tokens=False)["input_ids"]]])
            with torch.no_grad():
                log_probs = model(ids).logits[0, :-1].log_softmax(-1)
            whole.append(log_probs.gather(1, ids[0, 1:, None]).sum())
        expected = torch.stack(whole)
        assert (row - row[0]).tolist() == pytest.approx((expected - expected[0]).tolist(), abs=1e-3)
        assert (row >= expected - 1e-3).all()  # the beginning's own chance is not in it


def test_asked_by_a_user_the_sentence_is_the_answer(tiny):
    model, tokenizer = tiny
    found = end_log_probs(model, tokenizer, FACTS, asked="instruction")
    for row, fact in zip(found, FACTS, strict=True):
        prompt = chat_ids(tokenizer, f"Complete this sentence: {fact.beginning}")
        whole = []
        for text in fact.texts:
            ids = torch.tensor([[*prompt, *tokenizer(text, add_special_tokens=False)["input_ids"]]])
            with torch.no_grad():
                log_probs = model(ids).logits[0, :-1].log_softmax(-1)
            whole.append(log_probs.gather(1, ids[0, 1:, None])[len(prompt) - 1 :].sum())
        expected = torch.stack(whole)
        assert (row - row[0]).tolist() == pytest.approx((expected - expected[0]).tolist(), abs=1e-3)
    assert not torch.allclose(found, end_log_probs(model, tokenizer, FACTS), atol=0.1)
    with pytest.raises(ValueError, match="asked must be one of plain, instruction"):
        end_log_probs(model, tokenizer, FACTS, asked="nicely")


def test_the_order_of_facts_and_the_size_of_batches_do_not_matter(tiny):
    once, turned = end_log_probs(*tiny, FACTS), end_log_probs(*tiny, FACTS[::-1], batch_size=1)
    assert torch.allclose(once, turned.flip(0), atol=1e-4)


def test_what_was_lost_and_gained_is_counted():
    known, forgotten = torch.tensor([0.0, -1.0, -2.0, -3.0]), torch.tensor([-1.0, 0.0, -2.0, -3.0])
    tie = torch.tensor([0.0, 0.0, -2.0, -3.0])
    report = facts_report(FACTS, torch.stack([known, known, forgotten]), torch.stack([known, forgotten, tie]))
    assert report["all"]["facts"] == 3
    assert report["all"]["known"] == [pytest.approx(2 / 3), pytest.approx(1 / 3)]  # a tie is no knowledge
    assert (report["all"]["paired"]["gained"], report["all"]["paired"]["lost"]) == (0, 1)
    assert report["city"]["known"] == [1.0, 1.0]
    assert report["sum"]["log_share"][0] == pytest.approx(known.log_softmax(0)[0].item())


def test_what_cannot_be_compared_is_refused(tiny):
    for facts in ([], [FACTS[0], dataclasses.replace(FACTS[1], wrong=("8",))]):
        with pytest.raises(ValueError, match="the same number of wrong ends"):
            end_log_probs(*tiny, facts)
    with pytest.raises(ValueError, match=r"of '4 \+ 5 =' the tokens of one end begin those of another"):
        end_log_probs(*tiny, [dataclasses.replace(FACTS[1], wrong=("9", "8", "7"))])
    with pytest.raises(ValueError, match="at least one"):
        end_log_probs(*tiny, [dataclasses.replace(FACTS[1], wrong=())])
    scores = torch.zeros(3, 4)
    for before, after in ((scores, scores[:2]), (scores, scores / 0), (scores[:, :1], scores[:, :1])):
        with pytest.raises(ValueError, match=r"^(before|after)"):
            facts_report(FACTS, before, after)
    with pytest.raises(ValueError, match="no kind may be called 'all'"):
        facts_report([dataclasses.replace(FACTS[0], kind="all")], scores[:1], scores[:1])


def test_no_end_is_the_beginning_of_another(tiny):
    """An end that begins another is at least as likely whatever is known: S beside Sc."""
    for fact in shipped_facts():
        rows = tiny[1](fact.texts, add_special_tokens=False)["input_ids"]
        assert not any(a == b[: len(a)] for a, b in itertools.permutations(rows, 2)), fact
