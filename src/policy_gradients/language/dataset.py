"""Rows of a user's own dataset, from a file, a folder or the hub; read as they are asked for, never all at once."""

import csv
import hashlib
import itertools
import json
import mmap
import re
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")  # of an object whose class says nothing of its contents
HELDOUT_SHARE = 10  # one row in so many, where the user has not set rows apart
FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
BATCH = 10_000  # rows looked at together


class DatasetError(ValueError):
    """A dataset is not there, or of no known format."""


class Rows(Sequence[Mapping[str, Any]]):
    """Some rows of a dataset, which lies on the disk: a million of them take a list of numbers.

    Attributes:
        dataset: a `datasets.Dataset`, or a `ListDataset`, which has as much of it as is needed here.
    """

    def __init__(self, dataset: Any, indices: Sequence[int] | None = None):
        self.dataset, self.indices = dataset, range(len(dataset)) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        return self.dataset[self.indices[index]]

    @property
    def columns(self) -> list[str]:
        return list(self.dataset.column_names)


class ListDataset:
    """A sequence of dicts with the few methods of a `datasets.Dataset` that are needed here, values as they are.

    Every row has every column: what a row lacks is None, whichever row comes first.

    Raises:
        ValueError: a row is no dict, or a column's name is no text.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], column_names: Sequence[str] | None = None):
        if column_names is None:
            if not all(isinstance(row, Mapping) for row in rows):
                raise ValueError("rows must be dicts, column → value")
            column_names = list(dict.fromkeys(name for row in rows for name in row))
            if wrong := [name for name in column_names if not isinstance(name, str)]:
                raise ValueError(f"the names of columns must be text; {wrong[0]!r} is {type(wrong[0]).__name__}")
        self.rows, self.column_names = rows, list(column_names)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        """A row; of a slice, or of several indices, their columns."""
        if isinstance(index, slice | Sequence):
            chosen = self.rows[index] if isinstance(index, slice) else [self.rows[i] for i in index]
            return {name: [row.get(name) for row in chosen] for name in self.column_names}
        row = self.rows[index]
        return {name: row.get(name) for name in self.column_names}

    def select_columns(self, names: Sequence[str]) -> "ListDataset":
        return ListDataset(self.rows, names)


class Spool(Sequence[dict[str, Any]]):
    """Rows of a file as they were when it was read, in a nameless temporary file: JSON, and where each row begins.

    A dataset's cache would know a file by its name and time alone, and Arrow would give all of a column one type.
    """

    def __init__(self, rows: Iterable[dict[str, Any]]):
        self.starts, names = array("q", [0]), {}
        with tempfile.TemporaryFile() as file:
            for row in rows:
                names.update(dict.fromkeys(row))
                size = file.write(json.dumps(row, ensure_ascii=False).encode("utf-8"))
                self.starts.append(self.starts[-1] + size)
            file.flush()
            # the mapping outlives the file, and threads and forked processes may read it at the same time
            self.content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self.starts[-1] else b""
        self.column_names = list(names)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        return json.loads(self.content[self.starts[index] : self.starts[index + 1]])


def read_rows(where: str) -> Rows:
    """All rows of a JSON-lines, CSV or Parquet file, of a folder that `datasets` saved, or of a dataset on the hub.

    Of a folder or a hub's dataset with several parts, those of `train`. A file is read anew each time. A value of a CSV
    is a number if all of its column read back exactly as they were written, None if it is empty, and text otherwise.

    Raises:
        ValueError: it is not there, or cannot be read, or has no rows, or several parts of which none is `train`.
    """
    try:
        found = _found(where)
        if not len(found):
            raise DatasetError(f"dataset {where} has no rows")
    except DatasetError:
        raise
    except Exception as error:  # each format, and the hub, raise their own kinds
        cause = error.__cause__ or error
        raise ValueError(
            f"dataset {where} cannot be read ({type(cause).__name__}: {_first_line(str(cause))}); give a file that "
            f"ends in {', '.join(FORMATS)}, or, with a network, a dataset's name on the hub"
        ) from None
    return Rows(found)


def _found(where: str) -> Any:
    path = Path(where)
    if not path.is_dir() and path.suffix in FORMATS:
        if not path.is_file():
            raise DatasetError(f"dataset {where} does not exist")
        return _parquet(path) if path.suffix == ".parquet" else _text_file(path, where)
    if not path.is_dir() and path.exists():
        raise DatasetError(f"dataset {where} has none of the known endings: {', '.join(FORMATS)}")
    import datasets  # takes seconds, and JSON and CSV do without it

    datasets.disable_progress_bars()
    if not path.is_dir():
        return datasets.load_dataset(where, split="train")
    found = datasets.load_from_disk(where)
    return _training_part(found, where) if isinstance(found, datasets.DatasetDict) else found


def _training_part(parts: Mapping[str, Any], where: str) -> Any:
    """`train`, or the only one there is; which of several others is meant is not for a program to say."""
    if "train" not in parts and len(parts) != 1:
        raise DatasetError(
            f"dataset {where} has no part named train; it has {', '.join(parts) or 'none'}: give the folder of one"
        )
    return parts["train"] if "train" in parts else next(iter(parts.values()))


def _text_file(path: Path, where: str) -> ListDataset:
    rows = _csv_rows(path, where) if path.suffix in (".csv", ".tsv") else _json_rows(path, where)
    spool = Spool(rows)
    return ListDataset(spool, spool.column_names)


def _parquet(path: Path) -> Any:
    """Through a temporary Arrow file, as `datasets` does it, but without its cache."""
    import datasets
    import pyarrow
    import pyarrow.parquet

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # what is mapped stays, but on Windows
        copy = str(Path(folder) / "rows.arrow")
        with (
            pyarrow.parquet.ParquetFile(str(path)) as source,
            pyarrow.ipc.new_stream(copy, source.schema_arrow) as sink,
        ):
            for batch in source.iter_batches():
                sink.write_batch(batch)
        return datasets.Dataset.from_file(copy)


def _json_rows(path: Path, where: str) -> Iterator[dict[str, Any]]:
    """One object a line; or all of them in one list."""
    with path.open("rb") as file:
        listed = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
        file.seek(0)
        if listed:
            values = _json(file.read(), where, 1)
            yield from (_object(value, where, f"entry {i}") for i, value in enumerate(values, 1))
            return
        for number, line in enumerate(file, 1):
            if line.strip(b"\xef\xbb\xbf \t\r\n" if number == 1 else b" \t\r\n"):
                yield _object(_json(line.rstrip(b"\r\n"), where, number), where, f"line {number}")


def _json(content: bytes, where: str, first_line: int) -> Any:
    try:
        text = content.decode("utf-8-sig" if first_line == 1 else "utf-8")
        value = json.loads(text, object_pairs_hook=partial(_each_key_once, where))
        if "\\u" in text:  # half of a pair is no character, and no tokenizer takes it
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except DatasetError:
        raise
    except UnicodeError as error:
        raise DatasetError(f"dataset {where} cannot be read: line {first_line} is not UTF-8 ({error.reason})") from None
    except (ValueError, RecursionError) as error:  # ValueError: an integer of too many digits, too
        line = first_line + getattr(error, "lineno", 1) - 1
        said = getattr(error, "msg", str(error))
        raise DatasetError(
            f"dataset {where} cannot be read: line {line} is no JSON ({said}); one object a line"
        ) from None


def _each_key_once(where: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of a key that is there twice, `json` would keep the last one."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        values = " and ".join(str(value)[:40] for name, value in pairs if name == twice)
        raise DatasetError(f"dataset {where} cannot be read: an object has the key {twice!r} twice: {values}")
    return found


def _object(value: Any, where: str, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DatasetError(f"dataset {where} cannot be read: {place} is no object, column → value")
    return value


def _csv_rows(path: Path, where: str) -> Iterator[dict[str, Any]]:
    """Read twice: a column's type depends on all of its values."""
    lines = _csv_lines(path, where)
    header = next(lines, [])
    numeric = [True] * len(header)
    for line in lines:
        numeric = [flag and _csv_value(text, True) != text for flag, text in zip(numeric, line, strict=True)]
    for line in itertools.islice(_csv_lines(path, where), 1, None):
        yield {name: _csv_value(*cell) for name, *cell in zip(header, line, numeric, strict=True)}


def _csv_lines(path: Path, where: str) -> Iterator[list[str]]:
    """The header, and lines that are as wide as it is; a blank line is none."""
    limit = csv.field_size_limit(2**31 - 1)  # its own, of 128 KiB, is less than a long document
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
            header: list[str] = []
            while True:
                place = f"dataset {where} cannot be read: line {lines.line_num + 1}"
                try:
                    line = next(lines, None)
                except csv.Error as error:
                    raise DatasetError(f"{place} is no CSV ({error})") from None
                except UnicodeDecodeError:
                    number = _first_not_utf8(path)
                    raise DatasetError(
                        f"dataset {where} cannot be read: line {number} is not UTF-8; save the file in that encoding"
                    ) from None
                if line is None:
                    return
                if line and not header:
                    header = line
                    if twice := [name for name in header if header.count(name) > 1]:
                        raise DatasetError(f"{place}, the header, has two columns {twice[0]!r}")
                if line and len(line) != len(header):
                    raise DatasetError(f"{place} has {len(line)} values, and the header {len(header)}")
                if line:
                    yield line
    finally:
        csv.field_size_limit(limit)


def _first_not_utf8(path: Path) -> int:
    """The number of the first line, counted from 1, that is not UTF-8; a decoder reads far ahead of the lines."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1  # the file has changed meanwhile


def _csv_value(text: str, numeric: bool) -> Any:
    """None for nothing; a number where one is wanted and says exactly what is written: 01234 and 1e5 stay text."""
    if not text:
        return None
    for read in (int, float) if numeric and text[-1].isdigit() else ():  # not nan, not inf
        try:
            if str(value := read(text)) == text:
                return value
        except ValueError:
            continue
    return text


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


def row_keys(rows: Rows, columns: Sequence[str], written: bool = False) -> Iterator[int]:
    """A number for each row that says what is in these columns.

    Args:
        written: as a prompt would be: 7 and "7" are alike, and so are messages whose keys come in another order.

    Raises:
        ValueError: a row has something that cannot be written down, such as a dict with tuples for keys.
    """
    for first, batch in _batches(rows.dataset, columns):
        for i, values in enumerate(zip(*(batch[name] for name in columns), strict=True)):
            if written:
                values = tuple(str(value) if isinstance(value, int | float) else value for value in values)
            content = _content(values, first + i, sort_keys=written)
            yield int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


def check_apart(train: Rows, heldout: Rows, columns: Sequence[str]) -> None:
    """Raise ValueError if a held-out row is a training row, too: the evaluation would measure memory."""
    known = set(row_keys(train, columns, written=True))
    if shared := sum(key in known for key in row_keys(heldout, columns, written=True)):
        raise ValueError(
            f"{shared} of {len(heldout)} held-out rows are training rows, too ({', '.join(columns)} are equal); take "
            "them out of one of the two"
        )


def fingerprint(rows: Sequence[Any]) -> str:
    """Of the contents, in order; equal files give equal ones.

    Raises:
        ValueError: as `row_keys`.
    """
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(rows, Rows):
        for key in row_keys(rows, rows.columns):
            digest.update(key.to_bytes(8, "big"))
    else:
        for index, row in enumerate(rows):
            digest.update(_content(row, index, sort_keys=True))
    return digest.hexdigest()


def _content(values: Any, index: int, **options: Any) -> bytes:
    """What a row holds, written the same in every process."""
    try:
        text = json.dumps(values, default=_canonical, ensure_ascii=False, **options)
    except (TypeError, ValueError, RecursionError) as error:
        raise DatasetError(
            f"row {index + 1} cannot be written down ({error}); give text, numbers, lists, and dicts with text for keys"
        ) from None
    return text.encode("utf-8", "replace")


def _canonical(value: Any) -> Any:
    """What JSON lacks, as text; sets in an order of their contents, since their own changes with the process."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=lambda member: json.dumps(member, default=_canonical, ensure_ascii=False))
    if ADDRESS.search(text := str(value)):
        raise TypeError(f"{text} is an address in memory, another one in every process")
    return text


def _batches(dataset: Any, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, list[Any]]]]:
    narrow = dataset.select_columns(list(columns))
    for first in range(0, len(dataset), BATCH):
        yield first, narrow[first : first + BATCH]


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:200] if text.strip() else ""
