"""What tokens add to a text, and texts as tokens that control nothing: of any tokenizer, whatever its family."""

import json
import weakref
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from policy_gradients.language.utf8 import UNFINISHED, write

EVERY = tuple(range(len(UNFINISHED)))
_BYTE_FALLBACK = {f"<0x{byte:02X}>": byte for byte in range(256)}
_plain_backends: "weakref.WeakKeyDictionary[Any, Tokenizer | None]" = weakref.WeakKeyDictionary()


def decode_each(tokenizer: Any, rows: list[list[int]]) -> list[str]:
    """Texts of rows of ids as rewards see them: special tokens removed, nothing stripped."""
    return tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)


class Addition(NamedTuple):
    """What a token does to a text: as its first one, and behind another, whose last character may be unfinished.

    Attributes:
        first: the text that it is as the first token.
        behind: the text that it adds, for each of the `UNFINISHED` characters before it.
        leaves: which of them is unfinished after it, for each.
    """

    first: str
    behind: tuple[str, ...]
    leaves: tuple[int, ...]

    @property
    def is_silent(self) -> bool:
        """Whether it changes no text at all, as special tokens do."""
        return self == NOTHING


NOTHING = Addition("", ("",) * len(EVERY), EVERY)


def additions(tokenizer: Any, known: int) -> list[Addition]:
    """What each of the tokens 0 … known - 1 adds to a text.

    A character that is split between tokens counts with the token that begins it (as U+FFFD); bytes that go on with it
    add nothing. Bytes that fit nowhere are a U+FFFD each, as a decoder of UTF-8 writes them.
    """
    first = decode_each(tokenizer, [[i] for i in range(known)])
    before = _word(tokenizer, first)
    whole = first if before is None else decode_each(tokenizer, [[before, i] for i in range(known)])
    text = "" if before is None else first[before]
    found = []
    for i, (alone, both) in enumerate(zip(first, whole, strict=True)):
        adds = both.startswith(text) and not (both == text and alone)
        later = both.removeprefix(text) if adds else alone
        if "\ufffd" in alone and (piece := _bytes(tokenizer, i)) is not None:
            behind, leaves = zip(*(write(unfinished, piece) for unfinished in EVERY), strict=True)
            found.append(Addition(behind[0], behind, leaves))
            continue
        if "\ufffd" in later:
            later = alone
        written = Addition(alone, (later,) * len(EVERY), (0,) * len(EVERY))
        found.append(written if alone or later else NOTHING)
    return found


def whole_tokens(tokenizer: Any, known: int) -> list[bool]:
    """Which of the tokens 0 … known - 1 hold whole characters alone: of them every sequence is the text of its parts.

    Bytes that begin or go on with a character make one with the right neighbours, and U+FFFD with others.
    """
    return [text != "" and "\ufffd" not in text for text in decode_each(tokenizer, [[i] for i in range(known)])]


def _word(tokenizer: Any, texts: list[str]) -> int | None:
    """A token of a plain letter or word to put before others; None for a tokenizer that has none."""
    special = set(getattr(tokenizer, "all_special_ids", ()))
    words = [i for i, text in enumerate(texts) if i not in special and text.isascii() and text.isalpha()]
    return min(words, key=lambda i: len(texts[i]), default=None)


def _bytes(tokenizer: Any, i: int) -> bytes | None:
    """The bytes of a token that decodes to no whole characters; None if its vocabulary is not of bytes."""
    token = tokenizer.convert_ids_to_tokens(i)
    if token in _BYTE_FALLBACK:
        return bytes([_BYTE_FALLBACK[token]])
    try:
        return bytes(_BYTE_OF[character] for character in token)
    except KeyError:
        return None


def _byte_characters() -> dict[str, int]:
    """GPT-2's alphabet: printable bytes stand for themselves, the others for what follows U+0100 in their order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + rank): b for rank, b in enumerate(others)}


_BYTE_OF = _byte_characters()


def control_ids(tokenizer: Any) -> set[int]:
    """Tokens that are no text: special ones and all that were added to the vocabulary, but the one for the unknown."""
    ids = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    return ids - {tokenizer.unk_token_id}


def plain_text_ids(tokenizer: Any, text: str) -> list[int]:
    """The text as tokens of text alone: `<|im_end|>` in it is ten characters, and ends nothing.

    Raises:
        ValueError: the tokenizer has no other way to write a part of the text.
    """
    control = control_ids(tokenizer)
    backend = _plain_backend(tokenizer)
    ids = (
        tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        if backend is None
        else backend.encode(text, add_special_tokens=False).ids
    )
    if control.isdisjoint(ids):
        return ids
    # the vocabulary itself holds the token as a piece of text: cut it in two
    for name in sorted((tokenizer.convert_ids_to_tokens(i) for i in control), key=len, reverse=True):
        if len(name) > 1 and (place := text.find(name)) >= 0:
            return plain_text_ids(tokenizer, text[: place + 1]) + plain_text_ids(tokenizer, text[place + 1 :])
    raise ValueError(f"this tokenizer writes control tokens into the plain text {text[:60]!r}; take that text out")


def _plain_backend(tokenizer: Any) -> Tokenizer | None:
    """The tokenizer without its added tokens, kept for the next text; None for one that is written in Python."""
    if tokenizer not in _plain_backends:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        _plain_backends[tokenizer] = None if backend is None else _without_added(backend)
    return _plain_backends[tokenizer]


def _without_added(backend: Tokenizer) -> Tokenizer:
    parts = json.loads(backend.to_str())
    parts = {**parts, "added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    return Tokenizer.from_str(json.dumps(parts))


def leading_ids(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before a text by its own convention: its BOS, or nothing."""
    plain = tokenizer.encode("a", add_special_tokens=False)
    whole = tokenizer.encode("a", add_special_tokens=True)
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start]
    return []
