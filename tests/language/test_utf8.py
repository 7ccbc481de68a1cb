import itertools

from policy_gradients.language.utf8 import UNFINISHED, write

EDGES = (0x41, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5)


def test_bytes_in_any_cut_count_as_many_characters_as_the_whole():
    """All strings of up to four bytes at the edges of the ranges of UTF-8, cut in every way."""
    for length in range(1, 5):
        for each in itertools.product(EDGES, repeat=length):
            whole = bytes(each)
            wanted = len(whole.decode("utf-8", "replace"))
            for cut in range(1, length + 1):
                first, unfinished = write(0, whole[:cut])
                rest, _ = write(unfinished, whole[cut:])
                assert len(first) + len(rest) == wanted, whole


def test_a_beginning_of_each_kind_is_left_by_itself():
    for kind, beginning in enumerate(UNFINISHED):
        assert write(0, beginning) == ("\ufffd" if beginning else "", kind)
        assert write(kind, b"") == ("", kind)
    assert [write(0, piece)[1] for piece in (b"\xe2\x82", b"\xf0\x9f", b"\xf0\x9f\x91", b"\xe0\xa0")] == [1, 2, 1, 1]
    assert write(1, b"\xa9!") == ("!", 0)
    assert write(1, b"e\xcc") == ("e\ufffd", 1)
