import sys
import types

import pytest
import torch

from policy_gradients.course import machine
from policy_gradients.course.machine import run_directory, suggested_preset
from policy_gradients.training.presets import preset


def test_without_a_gpu_it_is_the_small_one(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert suggested_preset() == "tiny"
    assert "no GPU" in capsys.readouterr().out


def test_a_gpu_gets_the_larger_one_by_name(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    assert preset(suggested_preset()).model == "smollm2"
    assert "Tesla T4" in capsys.readouterr().out


def test_runs_go_to_a_new_folder_each_time():
    one, other = run_directory(), run_directory()
    assert one.is_dir() and one != other


def test_drive_is_mounted_in_colab_alone(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="in Colab alone"):
        run_directory(on_drive=True)
    mounted = []
    colab = types.ModuleType("google.colab")
    colab.drive = types.SimpleNamespace(mount=mounted.append)
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.setattr(machine, "find_spec", lambda name: True)
    monkeypatch.setattr(machine, "DRIVE", tmp_path)
    assert run_directory(on_drive=True) == tmp_path / "MyDrive" / "policy-gradients"
    assert run_directory(on_drive=True).is_dir() and mounted == [str(tmp_path)] * 2
