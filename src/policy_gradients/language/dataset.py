"""Rows of a user's own dataset, from a file, a folder or the hub; read as they are asked for, never all at once."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HELDOUT_SHARE = 10  # one row in so many, where the user has not set rows apart
FORMATS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet"}
BATCH = 10_000  # rows looked at together


class DatasetError(ValueError):
    """A dataset is not there, or of no known format."""


class Rows(Sequence[Mapping[str, Any]]):
    """Some rows of a `datasets.Dataset`, which lies on the disk: a million of them take a list of numbers."""

    def __init__(self, dataset: Any, indices: Sequence[int] | None = None):
        self.dataset, self.indices = dataset, range(len(dataset)) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        return self.dataset[self.indices[index]]

    @property
    def columns(self) -> list[str]:
        return list(self.dataset.column_names)


def read_rows(where: str) -> Rows:
    """All rows of a JSON-lines, CSV or Parquet file, of a folder that `datasets` saved, or of a dataset on the hub.

    Raises:
        ValueError: it is not there, or cannot be read, or has no rows.
    """
    import datasets  # takes seconds, and only a user's own data needs it

    path = Path(where)
    datasets.disable_progress_bars()
    try:
        if path.is_dir():
            found = datasets.load_from_disk(where)
        elif path.suffix in FORMATS:
            if not path.is_file():
                raise DatasetError(f"dataset {where} does not exist")
            options = {"delimiter": "\t"} if path.suffix == ".tsv" else {}
            found = datasets.load_dataset(
                FORMATS[path.suffix], data_files=str(path.resolve()), split="train", **options
            )
        elif path.exists():
            raise DatasetError(f"dataset {where} has none of the known endings: {', '.join(FORMATS)}")
        else:
            found = datasets.load_dataset(where, split="train")
    except DatasetError:
        raise
    except Exception as error:  # each format, and the hub, raise their own kinds
        cause = error.__cause__ or error
        raise ValueError(
            f"dataset {where} cannot be read ({type(cause).__name__}: {_first_line(str(cause))}); give a file that "
            f"ends in {', '.join(FORMATS)}, or, with a network, a dataset's name on the hub"
        ) from None
    if isinstance(found, datasets.DatasetDict):
        found = found["train"] if "train" in found else next(iter(found.values()))
    if not len(found):
        raise ValueError(f"dataset {where} has no rows")
    return Rows(found)


def check_columns(rows: Rows, columns: Sequence[str], where: str) -> None:
    """Every row has something in the columns that the prompt is made from.

    Raises:
        ValueError: a column is missing, or empty in some row, which is named.
    """
    if missing := [name for name in columns if name not in rows.columns]:
        raise ValueError(f"{where} has no column {missing[0]!r}; its columns are {', '.join(rows.columns)}")
    for first, batch in _batches(rows.dataset, columns):
        for name in columns:
            for i, value in enumerate(batch[name]):
                if value is None or value == [] or (isinstance(value, str) and not value.strip()):
                    raise ValueError(f"{where}: row {first + i + 1} has nothing in the column {name!r}; take it out")


def split_rows(rows: Rows, columns: Sequence[str]) -> tuple[Rows, Rows]:
    """Training and held-out rows, by a hash of what the prompt is made from: equal prompts are in the same part."""
    parts: tuple[list[int], list[int]] = ([], [])
    for index, key in enumerate(row_keys(rows, columns)):
        parts[key % HELDOUT_SHARE == 0].append(index)
    return Rows(rows.dataset, parts[0]), Rows(rows.dataset, parts[1])


def row_keys(rows: Rows, columns: Sequence[str]) -> Iterator[int]:
    """A number for each row that says what is in these columns."""
    for _, batch in _batches(rows.dataset, columns):
        for values in zip(*(batch[name] for name in columns), strict=True):
            content = json.dumps(values, default=str, ensure_ascii=False).encode("utf-8", "replace")
            yield int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


def check_apart(train: Rows, heldout: Rows, columns: Sequence[str]) -> None:
    """Raise ValueError if a held-out row is a training row, too: the evaluation would measure memory."""
    known = set(row_keys(train, columns))
    if shared := sum(key in known for key in row_keys(heldout, columns)):
        raise ValueError(
            f"{shared} of {len(heldout)} held-out rows are training rows, too ({', '.join(columns)} are equal); take "
            "them out of one of the two"
        )


def fingerprint(rows: Sequence[Any]) -> str:
    """Of the contents, in order; equal files give equal ones."""
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(rows, Rows):
        for key in row_keys(rows, rows.columns):
            digest.update(key.to_bytes(8, "big"))
    else:
        for row in rows:
            digest.update(json.dumps(row, default=str, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace"))
    return digest.hexdigest()


def _batches(dataset: Any, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, list[Any]]]]:
    narrow = dataset.select_columns(list(columns))
    for first in range(0, len(dataset), BATCH):
        yield first, narrow[first : first + BATCH]


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:200] if text.strip() else ""
