"""What a run is, is verified: changed files are refused in words, and what is not the run's is left alone."""

import json
import os
import shutil
import stat

import pytest
import torch
from safetensors.torch import load_file, save_file

from policy_gradients.evaluation.evaluate import load_subject
from policy_gradients.training.checkpoint import seal
from policy_gradients.training.config import make_config
from policy_gradients.training.lock import FolderLock, InUse
from policy_gradients.training.loop import train
from policy_gradients.training.run_folder import read_metrics


@pytest.fixture(scope="module")
def config(micro_folder):
    return make_config(
        model=str(micro_folder), num_prompts=2, num_generations=2, max_new_tokens=4, max_prompt_tokens=128, max_steps=4,
        save_every=1, keep_checkpoints=2, precision="no", learning_rate=1e-3, entropy_weight=0.1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    return train(config, tmp_path_factory.mktemp("verified") / "run", progress=False)


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def cut(folder):
    """A run with a step left to do."""
    shutil.rmtree(folder / "checkpoint-000004")
    return folder


def sealed_again(checkpoint):
    """Checksums for what is in it now, as one would make them who means to deceive."""
    state = json.loads((checkpoint / "state.json").read_text())
    seal(checkpoint, {name: value for name, value in state.items() if name not in ("files", "checksum")})


def refused(config, folder, said):
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match=said):
        train(config, folder, resume=True, progress=False)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def weights_to(dtype):
    def change(checkpoint):
        file = checkpoint / "model.safetensors"
        weights = {name: weight.clone() for name, weight in load_file(file).items()}
        name = sorted(weights)[0]
        weights[name] = weights[name].to(dtype) if dtype else weights[name].fill_(torch.nan)
        save_file(weights, file)

    return change


def moments(change):
    def changed(checkpoint):
        state = torch.load(checkpoint / "optimizer.pt", weights_only=True)
        change(state)
        torch.save(state, checkpoint / "optimizer.pt")

    return changed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (weights_to(torch.int8), r"is torch\.int8"),
        (weights_to(torch.float64), r"is torch\.float64"),
        (weights_to(None), "is not finite"),
        (moments(lambda state: state["state"][0]["exp_avg"].fill_(torch.inf)), "Adam's exp_avg.*not finite"),
        (moments(lambda state: state["param_groups"][0].update(weight_decay=0.5)), "weight_decay is 0.5, not 0.01"),
        (moments(lambda state: state["state"].update({0: {"exp_avg": torch.zeros(3)}})), "has shape"),
    ],
    ids=["int8", "float64", "NaN", "moments", "decay", "shape"],
)
def test_weights_and_moments_that_no_run_would_write(config, cut, change, said):
    checkpoint = cut / "checkpoint-000003"
    change(checkpoint)
    refused(config, cut, "is damaged.*is not what was written.*delete it to go back one")
    sealed_again(checkpoint)
    refused(config, cut, said)


def test_an_emptied_optimiser_and_a_flipped_bit(config, cut):
    moments(lambda state: state["state"].clear())(cut / "checkpoint-000003")
    refused(config, cut, r"optimizer\.pt is not what was written")


@pytest.mark.parametrize("values", [{"step": -5}, {"pass_rate": 2}, {"pass_rate": None}, {"target_entropy_weight": -1},
                                    {"files": []}, {"curriculum": {"x": 1}}], ids=str)  # fmt: skip
def test_an_edited_state(config, cut, values):
    file = cut / "checkpoint-000003" / "state.json"
    state = {**json.loads(file.read_text()), **values}
    file.write_text(json.dumps(state))
    refused(config, cut, r"state\.json is not what was written")
    if "files" not in values:
        sealed_again(file.parent)
        refused(config, cut, "is damaged")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda lines: lines[:1] + lines[2:], "lacks step 2; a copy is in .*checkpoint-000003"),
        (lambda lines: [*lines[:2], "{", *lines[2:]], "line 3 is no row of metrics"),
        (lambda lines: [*lines[:2], "[1]", *lines[2:]], "line 3 is no row of metrics"),
        (lambda lines: [*lines, lines[0]], "has step 1 twice"),
        (lambda lines: [lines[0].replace('"kl": ', '"kl": 1'), *lines[1:]], "step 1 is not what was logged"),
        (lambda lines: [], "lacks step 1 and 2 more"),
    ],
    ids=["missing", "broken", "no object", "twice", "edited", "empty"],
)
def test_rows_of_metrics_are_kept_by_step_and_missing_ones_are_refused(config, finished, cut, edit, said):
    metrics = cut / "metrics.jsonl"
    metrics.write_text("".join(line + "\n" for line in edit(metrics.read_text().splitlines())))
    refused(config, cut, said)
    shutil.copy(cut / "checkpoint-000003" / "metrics.jsonl", metrics)  # as it says
    train(config, cut, resume=True, progress=False)
    assert [row["step"] for row in read_metrics(metrics)] == [1, 2, 3, 4]


def test_a_finished_run_without_its_checkpoints_is_not_trained_again(config, folder):
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    refused(config, folder, "holds a trained model, and no checkpoint to go on from")
    shutil.rmtree(folder / "model")
    refused(config, folder, "holds 4 steps, and no checkpoint to go on from")


def test_a_finished_run_that_is_resumed_keeps_its_card(config, folder):
    (folder / "model" / "README.md").write_text("evaluated")
    train(config, folder, resume=True, progress=False)
    assert (folder / "model" / "README.md").read_text() == "evaluated"


def test_what_is_not_the_runs_is_left_alone(config, cut):
    mine = ["thesis.partial", "checkpoint-old/x", "checkpoint-000002.bak/x", "notes.txt", "model.partial.txt"]
    for name in mine:
        (cut / name).parent.mkdir(exist_ok=True)
        (cut / name).write_text("mine")
    (cut / "checkpoint-000009").write_text("a file")
    train(config, cut, resume=True, progress=False)
    assert all((cut / name).read_text() == "mine" for name in mine)
    assert [row["step"] for row in read_metrics(cut / "metrics.jsonl")] == [1, 2, 3, 4]


def test_an_older_checkpoint_that_is_damaged_or_a_link_harms_nothing(config, cut, tmp_path):
    (cut / "checkpoint-000003" / "x").write_text("of the user")
    shutil.copytree(cut / "checkpoint-000003", cut / "checkpoint-000001")
    (cut / "checkpoint-000001" / "state.json").write_text("{")
    shutil.copytree(cut / "checkpoint-000003", cut / "checkpoint-000002", dirs_exist_ok=True)
    shutil.rmtree(cut / "checkpoint-000002")
    shutil.move(cut / "checkpoint-000003", tmp_path / "elsewhere")
    (cut / "checkpoint-000003").symlink_to(tmp_path / "elsewhere")
    for _ in range(2):
        train(config, cut, resume=True, progress=False)
    assert (tmp_path / "elsewhere" / "model.safetensors").is_file()
    assert (cut / "checkpoint-000004").is_dir()


def test_another_reference_is_refused(config, cut, micro_folder, tmp_path):
    other = shutil.copytree(micro_folder, tmp_path / "base")
    with_other = json.loads((cut / "config.json").read_text())
    file = other / "model.safetensors"
    weights = {name: weight * 1.01 for name, weight in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    kept = file.read_bytes(), (micro_folder / "model.safetensors").read_bytes()
    assert with_other["model"] == str(micro_folder)
    (micro_folder / "model.safetensors").write_bytes(kept[0])
    try:
        refused(config, cut, "the reference weights of .* is another one than this run began with")
    finally:
        (micro_folder / "model.safetensors").write_bytes(kept[1])


def test_a_model_that_has_changed_is_not_evaluated(folder):
    load_subject(folder)
    file = folder / "model" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors is not what training wrote"):
        load_subject(folder)
    (folder / "model" / "checksums.json").unlink()  # as it says, for who changed it on purpose
    load_subject(folder)


def test_a_config_beside_a_model_that_another_one_made(folder):
    file = folder / "config.json"
    file.write_text(file.read_text().replace('"temperature": 1.0', '"temperature": 0.5'))
    with pytest.raises(ValueError, match=r"config\.json is not the one that model/ was trained with"):
        load_subject(folder)


@pytest.mark.parametrize("content", ["{", "[1]", "{}", "[" * 100_000])
def test_a_list_of_tasks_that_is_none(config, cut, content):
    (cut / "task.json").write_text(content)
    refused(config, cut, r"task\.json is damaged")


def test_a_lost_list_of_tasks_does_not_hide_another_task(config, cut):
    (cut / "task.json").unlink()
    with pytest.raises(ValueError, match="is of another task"):
        train(config, cut, resume=True, progress=False, reward_function=lambda completions: [1.0] * len(completions))


def test_a_folder_that_somebody_writes_to_is_refused(config, cut, tmp_path):
    with FolderLock(cut):
        with pytest.raises(InUse, match=r"is in use: process \d+ on"):
            train(config, cut, resume=True, progress=False)
        (cut / "config.json").unlink()
        with pytest.raises(InUse):
            train(config, cut, progress=False)


@pytest.mark.skipif(os.name == "nt", reason="permissions as Unix has them")
def test_files_have_the_permissions_of_any_new_file(finished):
    probe = finished / "probe"
    probe.touch()
    mode = probe.stat().st_mode
    probe.unlink()
    odd = [
        file
        for file in finished.rglob("*")
        if file.is_file() and stat.S_IMODE(file.stat().st_mode) != stat.S_IMODE(mode)
    ]
    assert not odd
