"""Rows from files: JSON lines, CSV, Parquet; what is not there, or not readable, is said in a line."""

import json
import os
import subprocess
import sys

import pytest

from policy_gradients.language.dataset import DatasetError, check_apart, fingerprint, read_rows, row_keys, split_rows
from policy_gradients.language.tasks import as_rows

pytest.importorskip("datasets")


def test_jsonl_csv_and_parquet_are_the_same_rows(tmp_path):
    import datasets

    table = datasets.Dataset.from_dict({"q": ["1 + 1", "2 + 2", "3 + 3"], "a": ["2", "4", "6"]})
    table.to_json(str(tmp_path / "rows.jsonl"))
    table.to_csv(str(tmp_path / "rows.csv"))
    table.to_parquet(str(tmp_path / "rows.parquet"))
    table.save_to_disk(str(tmp_path / "saved"))
    found = [read_rows(str(tmp_path / name)) for name in ("rows.jsonl", "rows.parquet", "saved")]
    assert all([dict(row) for row in rows] == list(table) for rows in found)
    assert len({fingerprint(rows) for rows in found}) == 1
    assert [row["q"] for row in read_rows(str(tmp_path / "rows.csv"))] == table["q"][:]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", b"{broken", "cannot be read"),
        ("rows.jsonl", b"", "cannot be read|no rows"),
        ("rows.parquet", b"PAR1", "cannot be read"),
        ("rows.xlsx", b"x", "none of the known endings"),
        ("rows.jsonl", None, "does not exist"),
        ("folder", "dir", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    if content == "dir":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_rows(str(path))
    assert "\n" not in str(error.value) and name in str(error.value)


def test_many_rows_stay_on_the_disk(tmp_path):
    """100,000 rows are a list of numbers; a row is read when it is asked for."""
    import datasets

    table = datasets.Dataset.from_dict({"q": [f"question {n}" for n in range(100_000)]})
    table.to_parquet(str(tmp_path / "many.parquet"))
    rows = read_rows(str(tmp_path / "many.parquet"))
    train, heldout = split_rows(rows, ["q"])
    assert len(train) + len(heldout) == 100_000 and 9_500 < len(heldout) < 10_500
    assert train[len(train) - 1]["q"].startswith("question 9") and train.dataset is rows.dataset


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return str(path)


def read(path, text):
    return [dict(row) for row in read_rows(write(path, text))]


@pytest.mark.parametrize("name", ["data-[12]", "data-*", "data-?"])
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_file_name_is_no_pattern(tmp_path, name, ending):
    import datasets

    for stem, said in ((name, "own"), ("data-1", "one"), ("data-2", "two")):
        table = datasets.Dataset.from_dict({"q": [said]})
        getattr(table, {"jsonl": "to_json"}.get(ending, f"to_{ending}"))(str(tmp_path / f"{stem}.{ending}"))
    assert [row["q"] for row in read_rows(str(tmp_path / f"{name}.{ending}"))] == ["own"]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_file_that_changed_within_a_tick_is_read_anew(tmp_path, ending):
    import datasets

    path = tmp_path / f"rows.{ending}"

    def rewrite(said):
        table = datasets.Dataset.from_dict({"q": [said]})
        getattr(table, {"jsonl": "to_json"}.get(ending, f"to_{ending}"))(str(path))
        os.utime(path, (1_700_000_000, 1_700_000_000))
        return read_rows(str(path))

    first = rewrite("old")
    assert rewrite("new")[0]["q"] == "new"
    assert first[0]["q"] == "old"  # and what was read before does not change under a run
    assert fingerprint(first) != fingerprint(read_rows(str(path)))


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_csv_values_stay_what_was_written(tmp_path, ending):
    columns = {
        "word": ["None", "NA", "null"],
        "code": ["01234", "42", "7"],
        "big": ["9007199254740993", "", "1"],
        "whole": ["42", "-1", "0"],
        "decimal": ["0.5", "2", "-1.25"],
        "rounded": ["0.50", "1", "2"],
        "odd": ["1", "nan", "inf"],
        "day": ["2024-01-01", "2024-01-02", "2024-01-03"],
        "truth": ["True", "False", "True"],
    }
    comma = {"csv": ",", "tsv": "\t"}[ending]
    text = "\n".join(comma.join(line) for line in [columns, *zip(*columns.values(), strict=True)])
    rows = read(tmp_path / f"rows.{ending}", "\ufeff" + text + "\n\n")
    found = {name: [row[name] for row in rows] for name in columns}
    assert found == {
        **columns,
        "big": [9007199254740993, None, 1],
        "whole": [42, -1, 0],
        "decimal": [0.5, 2, -1.25],
    }
    assert all(type(value) is int for value in found["whole"])


def test_quoted_csv_values_hold_lines_commas_and_long_texts(tmp_path):
    rows = read(tmp_path / "rows.csv", 'q,a\r\n"one, ""two""\r\nthree",1\r\n' + "x" * 200_000 + ",2\r\n")
    assert rows == [{"q": 'one, "two"\r\nthree', "a": 1}, {"q": "x" * 200_000, "a": 2}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q,a\nx,1\nx,1,2\n", r"line 3 has 3 values, and the header 2"),
        ('q,a\n"x\ny",1\nx\n', r"line 4 has 1 values, and the header 2"),
        ("q,a,q\nx,1,2\n", r"line 1, the header, has two columns 'q'"),
        ('q,a\nx,1\n"x,1\n', r"line 3 is no CSV"),
        (b"q,a\n\xff,1\n", "line 2 is not UTF-8"),
        ("q,a\n", "has no rows"),
        ("", "has no rows"),
    ],
)
def test_a_csv_file_that_is_none_is_refused_with_its_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path / "rows.csv", content)
    assert "\n" not in str(error.value) and "rows.csv" in str(error.value)


def test_json_values_stay_what_was_written(tmp_path):
    rows = [
        {"q": "2024-01-01", "a": 1, "deep": {"x": 1}},
        {"q": "a\u2028b", "a": "one", "deep": {"y": [9007199254740993, 0.1]}},
        {"q": "c", "late": None},
    ]
    filled = [{"q": None, "a": None, "deep": None, "late": None} | row for row in rows]
    lines = "\ufeff" + "\r\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert read(tmp_path / "rows.jsonl", lines) == filled
    assert read(tmp_path / "rows.json", json.dumps(rows, indent=1)) == filled
    read_again = read_rows(str(tmp_path / "rows.jsonl"))
    assert read_again.columns == list(filled[0]) and len(read_again) == 3
    assert read_again[-1] == filled[2] and read_again[:2]["q"] == ["2024-01-01", "a\u2028b"]
    with pytest.raises(IndexError):
        read_again[3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"q": 1}\n\n{"q": 2\n', "line 3 is no JSON"),
        ('{"q": 1}\n[1]\n', "line 2 is no object"),
        ('[{"q": 1},\n{"q": 2},\n3]', "entry 3 is no object"),
        ('[{"q": 1},\n{"q" 2}]', "line 2 is no JSON"),
        (b'{"q": 1}\n{"q": "\xff"}\n', "line 2 is not UTF-8"),
        ('{"q": 1}\n{"q": 3, "q": 4}\n', "an object has the key 'q' twice: 3 and 4"),
        ('[{"q": {"a": 1, "b": 2, "a": 1}}]', "an object has the key 'a' twice: 1 and 1"),
        ('{"q": 1}\n{"q": "\\ud800"}\n', "line 2 is not UTF-8"),
        ('{"q": ' + "[" * 100_000 + "\n", "line 1 is no JSON"),
        ('{"q": ' + "9" * 5000 + "}\n", "line 1 is no JSON"),
        ("\n", "has no rows"),
        ("[]", "has no rows"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_json_file_that_is_none_is_refused_with_its_line(tmp_path, content, message):
    with pytest.raises(DatasetError, match=message):
        read(tmp_path / "rows.jsonl", content)


def test_what_was_read_leaves_nothing_behind(tmp_path, monkeypatch):
    import tempfile

    import datasets

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    datasets.Dataset.from_dict({"q": ["a", "b"]}).to_parquet(str(tmp_path / "rows.parquet"))
    kept = [read_rows(str(tmp_path / "rows.parquet")), read_rows(write(tmp_path / "rows.csv", "q\na\nb\n"))]
    assert not list((tmp_path / "temporary").iterdir())
    assert all([row["q"] for row in rows] == ["a", "b"] for rows in kept)
    assert len({fingerprint(rows) for rows in kept}) == 1


def test_parts_without_train_are_named_unless_there_is_one(tmp_path):
    import datasets

    part = {name: datasets.Dataset.from_dict({"q": [name]}) for name in ("test", "train", "validation")}
    for folder, names in (("all", part), ("none", ("test", "validation")), ("one", ("test",))):
        datasets.DatasetDict({name: part[name] for name in names}).save_to_disk(str(tmp_path / folder))
    assert read_rows(str(tmp_path / "all"))[0]["q"] == "train"
    assert read_rows(str(tmp_path / "one"))[0]["q"] == "test"
    with pytest.raises(ValueError, match="no part named train; it has test, validation"):
        read_rows(str(tmp_path / "none"))
    assert read_rows(str(tmp_path / "none" / "validation"))[0]["q"] == "validation"


def test_sets_have_one_fingerprint_in_every_process():
    code = (
        "from policy_gradients.language.dataset import ListDataset, Rows, fingerprint\n"
        "rows = [{'q': 'a', 'tags': {'one', 'two', 'three', 'four', frozenset({'x', 'y', 'z'}), 5}}]\n"
        "print(fingerprint(rows), fingerprint(Rows(ListDataset(rows))))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_a_row_that_cannot_be_written_down_is_named():
    loop = []
    loop.append(loop)
    for value in ({("a", "b"): 1}, loop, {1: "a", "b": 2}, object(), {"deeper": [lambda: 0]}):
        rows = [{"q": "a", "deep": 0}, {"q": "b", "deep": value}]
        with pytest.raises(ValueError, match="row 2 cannot be written down"):
            fingerprint(rows)
    with pytest.raises(ValueError, match="row 2 cannot be written down"):
        list(row_keys(as_rows([{"q": {}}, {"q": {(1, 2): 3}}]), ["q"]))


@pytest.mark.parametrize(
    ("train", "heldout"),
    [
        ([{"q": 1}], [{"q": "1"}]),
        ([{"q": [{"role": "user", "content": "Hi"}]}], [{"q": [{"content": "Hi", "role": "user"}]}]),
    ],
)
def test_a_heldout_row_is_a_training_row_by_what_its_prompt_says(train, heldout):
    with pytest.raises(ValueError, match="1 of 1 held-out rows are training rows, too"):
        check_apart(as_rows(train), as_rows(heldout), ["q"])
    check_apart(as_rows(train), as_rows([{"q": "another"}]), ["q"])


def test_a_csv_in_another_encoding_is_refused_with_its_line(tmp_path):
    lines = [b"q,a", *[b"x,1"] * 20_000, b"caf\xe9,2", b"caf\xe9,3"]
    with pytest.raises(DatasetError, match="line 20002 is not UTF-8; save the file in that encoding"):
        read(tmp_path / "rows.csv", b"\n".join(lines))
