import pytest
import torch

from policy_gradients.language.likeness import likeness


def test_literals():
    # abc, bcd, cde beside abc, bcd, cdf: two of four runs of three
    assert likeness(["abcde", "abcdf", "xyz", "abcde"], n=3).tolist() == [
        [1.0, 0.5, 0.0, 1.0],
        [0.5, 1.0, 0.0, 0.5],
        [0.0, 0.0, 1.0, 0.0],
        [1.0, 0.5, 0.0, 1.0],
    ]


def test_short_and_repetitive_texts():
    # a text shorter than a run is one run, and the empty text is one, too; a run counts once however often it is there
    assert likeness(["", "", "ab", "aaaaaaaa", "aaaaa"]).tolist() == [
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 1, 1],
        [0, 0, 0, 1, 1],
    ]


def test_a_template_is_seen_where_strings_differ():
    texts = ["Use digits that are divisible by 3 that are even.", "Use digits that are divisible by 3 that are odd."]
    other = "The river rises in the hills of the north, and falls."
    alike = likeness([*texts, other])
    assert alike[0, 1] > 0.75 and alike[0, 2] < 0.05
    assert torch.equal(alike, alike.T)


@pytest.mark.parametrize(("texts", "n"), [([], 5), ("abc", 5), (["abc"], 0)])
def test_bad_input(texts, n):
    with pytest.raises(ValueError, match=r"at least one text|n must be"):
        likeness(texts, n)
