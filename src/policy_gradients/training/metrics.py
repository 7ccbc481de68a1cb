"""The log of a run, `metrics.jsonl`: a row of numbers for each step. JSON has no NaN, so that null stands for it."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from policy_gradients.language.files import naming, read_text, write_whole

Row = dict[str, Any]


def append_row(path: Path, row: Row) -> None:
    """Add one line."""
    with naming(path), path.open("a", encoding="utf-8") as file:
        file.write(_line(row))


def write_metrics(path: Path, rows: Iterable[Row]) -> None:
    """All rows, in place of what is there."""
    write_whole(path, "".join(map(_line, rows)).encode())


def read_metrics(path: Path) -> list[Row]:
    """Rows of a metrics file, NaN where it has null; a last line cut by an interruption is dropped.

    Raises:
        ValueError: another line is broken, or no row of numbers with a step.
    """
    rows: list[Row] = []
    lines = read_text(path).split("\n")
    for number, line in enumerate(lines, 1):
        if not line and number == len(lines):
            break
        try:
            rows.append(_row(line))
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                break
            raise ValueError(f"{path}, line {number} is no row of metrics ({error})") from None
    return rows


def rows_until(path: Path, step: int, copy: Path) -> list[Row]:
    """The rows of the steps 1 … `step`, without later ones.

    Args:
        copy: of the log, as it was after that step; where it is not there, nothing is known.

    Raises:
        ValueError: one of them is missing, there twice, broken, or not what the copy says.
    """
    rows = read_metrics(path) if path.exists() else []
    steps = [row["step"] for row in rows if row["step"] <= step]
    if twice := sorted({each for each in steps if steps.count(each) > 1}):
        raise ValueError(f"{path} has step {twice[0]} twice: two processes have written to it")
    if missing := sorted(set(range(1, step + 1)) - set(steps)):
        raise ValueError(f"{path} lacks step {missing[0]}" + (f" and {len(missing) - 1} more" * (len(missing) > 1)))
    kept = sorted((row for row in rows if row["step"] <= step), key=lambda row: row["step"])
    for row, before in zip(kept, read_metrics(copy) if copy.is_file() else kept, strict=True):
        if _line(row) != _line(before):
            raise ValueError(f"{path}: step {row['step']} is not what was logged")
    return kept


def _row(line: str) -> Row:
    row = json.loads(line)
    if not isinstance(row, dict) or isinstance(row.get("step"), bool) or not isinstance(row.get("step"), int):
        raise ValueError("no object with a step")
    if row["step"] < 1:
        raise ValueError(f"its step is {row['step']}")
    for name, value in row.items():
        if value is not None and not isinstance(value, int | float):
            raise ValueError(f"its {name} is no number")
    return {name: math.nan if value is None else value for name, value in row.items()}


def _line(row: Row) -> str:
    finite = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()}
    return json.dumps(finite, allow_nan=False) + "\n"
