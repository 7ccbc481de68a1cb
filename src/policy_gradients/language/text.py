"""Real text: the English that ships in the package, files of the user's own, and cutting text into sentences."""

import gzip
import json
import re
from importlib import resources
from pathlib import Path
from typing import Literal

from policy_gradients.language.files import read_text

Split = Literal["train", "heldout"]
PromptSource = Literal["shipped", "openwebtext", "fallback"]

_SENTENCE_END = re.compile(r"(?<=[.!?]) (?=[A-Z0-9\"])")
# "the novel by F. Scott Fitzgerald", "St. Louis": a full stop that does not end a sentence
_ABBREVIATION = re.compile(
    r"(?:\b[A-Z]|\b(?:St|Mt|Dr|Mr|Mrs|Jr|Sr|vs|c|ca|No|e\.g|i\.e|etc|U\.S|Inc|Ltd|Co|Gen|Lt|Sgt|Col|Capt|Op|op|Fr|Rev|Gov|Sen|approx|est|Ft|al|Bros))\.$"
)


def shipped_articles(split: Split) -> list[dict[str, str]]:
    """Wikipedia lead summaries shipped with the package (CC BY-SA 4.0), as ``{"title": ..., "text": ...}``.

    ``train`` and ``heldout`` are split by a hash of the title and share no article.
    """
    if split not in ("train", "heldout"):
        raise ValueError(f"split must be 'train' or 'heldout', got {split!r}")
    path = resources.files("policy_gradients.language") / "data" / f"wikipedia_leads_{split}.jsonl.gz"
    with path.open("rb") as raw, gzip.open(raw, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def split_sentences(text: str) -> list[str]:
    """Cut English prose into sentences; joined by single spaces they give the text back."""
    sentences: list[str] = []
    for piece in _SENTENCE_END.split(text):
        if sentences and _ABBREVIATION.search(sentences[-1]):
            sentences[-1] += " " + piece
        else:
            sentences.append(piece)
    return sentences


def shipped_excerpts(split: Split) -> list[str]:
    """The first sentence of each shipped article: what the prompts of the main job ask to continue."""
    return [split_sentences(article["text"])[0] for article in shipped_articles(split)]


def read_excerpts(path: str | Path) -> list[str]:
    """One excerpt a line (blank lines skipped; LF or CR LF ends one) from a UTF-8 text file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a folder, not UTF-8 text, or no text in it.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"prompts file {path} does not exist; give a UTF-8 text file with one excerpt a line")
    try:
        text = read_text(path)
    except ValueError as error:
        raise ValueError(f"prompts file: {error}; give a UTF-8 text file with one excerpt a line") from None
    text = text.removeprefix("\ufeff")  # the byte-order mark that Windows editors write
    if "\0" in text:
        raise ValueError(f"prompts file {path} holds NUL bytes, so it is no text; give one excerpt a line")
    # a line ends at LF or CR LF; U+2028, form feeds and others that `splitlines` cuts at are text
    excerpts = [line.strip() for line in text.split("\n") if line.strip()]
    if not excerpts:
        raise ValueError(f"prompts file {path} is empty; give one excerpt a line")
    return excerpts
