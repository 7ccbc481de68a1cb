"""Characters that are written byte by byte: what bytes do to a text whose last character is unfinished."""

# A beginning of each kind, by the bytes that may follow it: nothing is unfinished; one, two or three continuation bytes
# are missing; and the four first bytes whose next one has a narrower range (Unicode 16.0, table 3-7).
UNFINISHED = (b"", b"\xc3", b"\xe1", b"\xf1", b"\xe0", b"\xed", b"\xf0", b"\xf4")


def write(unfinished: int, piece: bytes) -> tuple[str, int]:
    """The text that some bytes add behind a beginning of that kind, and the kind that is unfinished after them.

    A beginning counts as a character at once, and as the same one once it is finished. Bytes that are no UTF-8 become
    U+FFFD, one for each beginning that nothing finishes and one for each byte that fits nowhere.
    """
    text = (UNFINISHED[unfinished] + piece).decode("utf-8", "replace")
    return (text[1:] if unfinished else text), _left(UNFINISHED[unfinished] + piece)


def _left(written: bytes) -> int:
    """The kind of beginning that some bytes end in; 0: none."""
    for length in (1, 2, 3):
        beginning = written[-length:]
        if len(beginning) < length or beginning[0] < 0xC2:
            continue
        missing = (2 if beginning[0] < 0xE0 else 3 if beginning[0] < 0xF0 else 4) - length
        # of the bytes that may come next, the first or the last is in every beginning's range
        if missing > 0 and any(_is_character(beginning + fill * missing) for fill in (b"\x80", b"\xbf")):
            return UNFINISHED.index(beginning) if beginning in UNFINISHED else missing
    return 0


def _is_character(piece: bytes) -> bool:
    try:
        return len(piece.decode("utf-8")) == 1
    except UnicodeDecodeError:
        return False
