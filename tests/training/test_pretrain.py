"""The tiny model is made by one writer at a time."""

import pytest

from policy_gradients.language.text import shipped_articles
from policy_gradients.training import pretrain as module
from policy_gradients.training.lock import LOCK, FolderLock, InUse
from policy_gradients.training.pretrain import PretrainConfig, pretrain

SMALL = PretrainConfig(
    hidden_size=16, intermediate_size=32, num_layers=1, num_heads=2, block_size=64, batch_size=2, steps=2, compile=False
)


def test_a_folder_that_another_process_writes_to_is_refused_before_anything_is_made(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    with FolderLock(folder), pytest.raises(InUse):
        pretrain(SMALL, folder)
    assert list(folder.iterdir()) == []


def test_what_was_made_is_there_and_the_lock_is_gone(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module, "shipped_articles", lambda part: shipped_articles(part)[:30])
    pretrain(SMALL, tmp_path / "model", log_every=1)
    names = {file.name for file in (tmp_path / "model").iterdir()}
    assert {"model.safetensors", "pretrain.json", "tokenizer.json"} <= names and LOCK not in names
    assert '"heldout_perplexity"' in capsys.readouterr().out


def test_a_model_that_is_not_there_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError):
        pretrain(SMALL, tmp_path / "made", tmp_path / "nothing")
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_the_folder_is_said_to_be_one(tmp_path):
    (tmp_path / "d.csv").write_text("mine")
    with pytest.raises(ValueError, match=r"d\.csv is a file; the model is written to a folder"):
        pretrain(SMALL, tmp_path / "d.csv")
    assert (tmp_path / "d.csv").read_text() == "mine"


def test_a_folder_in_use_is_refused_before_the_model_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "load_model", None)
    with FolderLock(tmp_path), pytest.raises(InUse):
        pretrain(SMALL, tmp_path, tmp_path / "nothing")


def test_what_is_in_the_folder_already_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "load_model", None)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty; choose another"):
        pretrain(SMALL, tmp_path, tmp_path / "nothing")
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
