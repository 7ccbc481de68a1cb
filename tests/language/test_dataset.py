"""Rows from files: JSON lines, CSV, Parquet; what is not there, or not readable, is said in a line."""

import pytest

from policy_gradients.language.dataset import fingerprint, read_rows, split_rows

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
