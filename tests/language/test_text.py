"""The shipped text, files of the user's own, and sentences."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_gradients.language.text import read_excerpts, shipped_articles, shipped_excerpts, split_sentences


def test_train_and_heldout_share_no_article_and_no_excerpt():
    train, heldout = shipped_articles("train"), shipped_articles("heldout")
    assert len(train) > 5000 and len(heldout) > 300
    for key in ("title", "text"):
        first, second = {article[key] for article in train}, {article[key] for article in heldout}
        assert len(first) == len(train) and len(second) == len(heldout)  # and none twice in one split
        assert not first & second
    assert not set(shipped_excerpts("train")) & set(shipped_excerpts("heldout"))


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_shipped_articles_are_clean_text_with_sentences(split):
    for article in shipped_articles(split):
        assert article["title"].strip() and article["text"] == article["text"].strip()
        assert "\n" not in article["text"] and "\ufffd" not in article["text"]
        assert " ".join(split_sentences(article["text"])) == article["text"]


def test_an_excerpt_is_the_first_sentence_of_its_article():
    articles, excerpts = shipped_articles("heldout"), shipped_excerpts("heldout")
    assert len(articles) == len(excerpts)
    assert all(article["text"].startswith(excerpt) for article, excerpt in zip(articles, excerpts, strict=True))
    assert all(len(excerpt) >= 5 for excerpt in excerpts)


def test_a_split_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="split must be 'train' or 'heldout', got 'test'"):
        shipped_articles("test")


@settings(deadline=None)
@given(st.text())
def test_sentences_join_back_to_any_text(text):
    assert " ".join(split_sentences(text)) == text


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["One.", "Two!", "Is it?", "St.", "J.", 'He said "no".', "3 cats", "e.g.", ""]), min_size=1
    )
)
def test_sentences_join_back_to_what_looks_like_sentences(parts):
    text = " ".join(parts)
    assert " ".join(split_sentences(text)) == text


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", [""]),
        ("No stop", ["No stop"]),
        ("It rained. Then it stopped.", ["It rained.", "Then it stopped."]),
        ("Really? Yes! 3 times.", ["Really?", "Yes!", "3 times."]),
        ('He left. "Why?" She knew.', ["He left.", '"Why?" She knew.']),
        ("A book by F. Scott Fitzgerald. It sold.", ["A book by F. Scott Fitzgerald.", "It sold."]),
        ("St. Louis is a city. Dr. No is a film.", ["St. Louis is a city.", "Dr. No is a film."]),
        ("It costs 3.5 euros. cheap", ["It costs 3.5 euros. cheap"]),
        ("One.  Two.", ["One.  Two."]),  # two spaces are no boundary: they could not be put back
        ("One.\nTwo.", ["One.\nTwo."]),
        ("A. B. C.", ["A. B. C."]),
    ],
)
def test_where_sentences_end(text, sentences):
    assert split_sentences(text) == sentences


def test_a_file_gives_one_excerpt_a_line(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeffFirst, with a mark before it.\r\n\r\n   \r\n  Zweite Zeile: äöü ³ 🙂  \r\nlast".encode())
    expected = ["First, with a mark before it.", "Zweite Zeile: äöü ³ 🙂", "last"]
    assert read_excerpts(path) == expected
    assert read_excerpts(str(path)) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        ("\ufeff".encode(), "is empty"),
        (b"fine\nM\xfcnchen\n", r"is not UTF-8 text \(byte 6\)"),
        (b"\xff\xfeh\x00i\x00", "is not UTF-8 text"),  # UTF-16, as some Windows editors save it
        (b"text\x00more", "holds NUL bytes"),
    ],
)
def test_a_file_that_holds_no_text_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_excerpts(path)
    assert str(path) in str(caught.value) and "one excerpt a line" in str(caught.value)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt does not exist; give a UTF-8 text file"):
        read_excerpts(tmp_path / "nowhere.txt")
    with pytest.raises(ValueError, match="is a folder"):
        read_excerpts(tmp_path)
