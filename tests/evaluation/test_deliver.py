import json
from pathlib import Path

import pytest

from policy_gradients.evaluation.deliver import check_file, deliver, takes_files, write_json


def test_a_place_for_a_report_is_known_to_be_one_before(tmp_path):
    (tmp_path / "file").write_text("mine")
    check_file(None)
    check_file(tmp_path / "new" / "report.json")
    check_file(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine" and not (tmp_path / "new").exists()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for bad, said in (
        (tmp_path, "is a folder"),
        (tmp_path / "file" / "x.json", "Not a directory|no folder"),
        (tmp_path / "dangling", "link to nothing"),
        (tmp_path / ("a" * 300), "too long"),
        (tmp_path / "new" / ("a" * 300), "too long"),
        (tmp_path / "new" / ("a" * 300) / "x.json", "too long"),
        (tmp_path / ("a" * 250), "too long"),  # what is written first has a longer name
    ):
        with pytest.raises((OSError, ValueError), match=said):
            check_file(bad)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file"], "something was left behind"


def test_the_error_names_the_file_that_was_asked_for(tmp_path):
    with pytest.raises(OSError, match="too long") as error:
        check_file(tmp_path / "new" / ("a" * 300))
    assert error.value.filename == str(tmp_path / "new" / ("a" * 300))


@pytest.mark.parametrize("name", ["new/dir/x.json", "new/../x.json"])
def test_folders_are_made_when_the_report_is_written(tmp_path, name):
    check_file(tmp_path / name)
    assert not list(tmp_path.iterdir())
    write_json({"a": 1}, tmp_path / name)
    assert json.loads((tmp_path / name).resolve().read_text()) == {"a": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_place_beside_which_nothing_can_be_written_is_none(tmp_path, monkeypatch):
    """A report replaces a file by another beside it: that the file can be written is not enough."""
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(
        "tempfile.TemporaryDirectory", lambda dir: (_ for _ in ()).throw(PermissionError(13, "no", dir))
    )
    with pytest.raises(PermissionError, match="file"):
        check_file(tmp_path / "file")
    if Path("/dev/null").exists():
        check_file(Path("/dev/null"))


def test_a_run_that_cannot_be_written_to_is_evaluated_without_card_and_figure(caplog):
    assert not takes_files(Path("/proc/self"))
    assert "cannot be written to" in caplog.text


def test_one_part_that_fails_does_not_take_the_others_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done = []

    def full():
        raise OSError(28, "No space left on device")

    with pytest.raises(ValueError, match=r"the whole report is in (\S+report\.json): .*stdout: .*No space") as caught:
        deliver(
            {"stdout": full, "file": lambda: done.append("file"), "figure": lambda: done.append("figure")}, {"a": 1}
        )
    assert done == ["file", "figure"]
    place = str(caught.value).split("is in ")[1].split(": ")[0]
    assert json.loads(Path(place).read_text()) == {"a": 1}
    deliver({"file": lambda: None}, {})


def test_a_report_replaces_a_file_whole_and_leaves_devices_where_they_are(tmp_path, monkeypatch):
    file = tmp_path / "report.json"
    file.write_text("before")
    (tmp_path / "link").symlink_to(file)
    write_json({"✓": 1}, tmp_path / "link")
    assert json.loads(file.read_text(encoding="utf-8")) == {"✓": 1} and (tmp_path / "link").is_symlink()
    if Path("/dev/null").exists():
        write_json({}, Path("/dev/null"))
        assert not Path("/dev/null").is_file()
