from policy_gradients.studies.rewards import asks_for_more, easy_or_hard


def test_half_of_the_excerpts_ask_for_more():
    assert not asks_for_more("one two three") and asks_for_more("one two  three four")
    texts = ["no digit", "3 and 5", "4 and 5", "7"]
    easy, hard = (easy_or_hard(texts, [excerpt] * 4, prompts=[]) for excerpt in ("of three words", "of no more words"))
    assert easy == [0, 1, 1, 1] and hard == [0, 0, 1, 0]
