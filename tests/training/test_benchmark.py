import dataclasses
import json

import pytest
import torch

from policy_gradients.cli import main
from policy_gradients.training import benchmark as module
from policy_gradients.training.benchmark import (
    PARTS,
    SIDES,
    Measurement,
    Work,
    benchmark,
    in_a_process,
    measure_floor,
    measure_ours,
    prompts_of,
    spread,
    table,
)


@pytest.fixture
def work(micro_folder):
    return Work(
        model=str(micro_folder), num_prompts=2, prompt_tokens=20, num_generations=2, max_new_tokens=4,
        micro_batch_prompts=1, device="cpu", precision="no", warmup_steps=0,
    )  # fmt: skip


def test_prompts_have_exactly_the_length_that_was_asked_for(work, tokenizer):
    texts = prompts_of(dataclasses.replace(work, num_prompts=5), tokenizer)
    assert len(set(texts)) == 5
    assert {len(tokenizer.encode(text, add_special_tokens=False)) for text in texts} == {20}
    with pytest.raises(ValueError, match="no 2 prompts of 10000000 tokens"):
        prompts_of(dataclasses.replace(work, prompt_tokens=10**7), tokenizer)


def test_a_step_of_ours_decodes_the_full_length_and_names_its_parts(work, monkeypatch):
    from policy_gradients.training import update as updates

    seen = []

    def watched(run, batch, watch):
        seen.append(batch)
        return update(run, batch, watch)

    update = updates.update_policy
    monkeypatch.setattr(updates, "update_policy", watched)
    measured = measure_ours(dataclasses.replace(work, warmup_steps=1))
    assert len(seen) == 2  # one to warm up
    assert all(batch.rollout.mask.shape == (4, 4) and (batch.rollout.mask == 1).all() for batch in seen)
    assert seen[0].advantages.shape == (2, 2)
    assert tuple(measured.parts) == PARTS and all(seconds > 0 for seconds in measured.parts.values())
    assert sum(measured.parts.values()) <= measured.seconds
    assert measured.peak > 10 * module.MIB


def test_the_floor_sees_every_token_once_in_both_directions(work, monkeypatch):
    seen, gradients = [], []

    def watched(model, prompts, completions):
        seen.extend([prompts.shape, completions.shape])
        gradients.append(model)
        return bare(model, prompts, completions)

    bare = module._bare_loss
    monkeypatch.setattr(module, "_bare_loss", watched)
    measure_floor(work)
    assert seen == [(1, 20), (2, 4), (1, 20), (2, 4)]
    assert all(p.grad is not None for p in gradients[0].parameters())


def test_a_larger_vocabulary(work):
    assert measure_floor(dataclasses.replace(work, vocab_size=1000)).seconds > 0
    with pytest.raises(ValueError, match="vocab_size must be at least the model's own"):
        measure_ours(dataclasses.replace(work, vocab_size=5))


def test_rounds_alternate(work):
    order = []

    def measure(side, work):
        order.append(side)
        return Measurement(1.0, {}, 1)

    kept = []

    def keep(found):
        kept.append(sum(map(len, found.values())))

    found = benchmark(work, ["ours", "floor", "trl"], 2, measure, keep=keep)
    assert order == ["ours", "floor", "trl", "trl", "floor", "ours"]
    assert kept == [1, 2, 3, 4, 5, 6]
    assert {side: len(rounds) for side, rounds in found.items()} == dict.fromkeys(SIDES, 2)


def test_the_table_shows_medians_and_ranges_of_the_rounds(work):
    parts = dict.fromkeys(PARTS, 0.5)
    found = {
        "ours": [Measurement(seconds, parts, 100 * module.MIB, 2 * seconds) for seconds in (2.0, 4.0, 3.0)],
        "floor": [Measurement(2.0, {}, 50 * module.MIB, 1.0) for _ in range(3)],
        "trl": [Measurement(seconds, {}, 200 * module.MIB, 12.0) for seconds in (20.0, 20.0, 30.0)],
    }
    lines = table(work, found).splitlines()
    row = {line[:48].strip() if "/ ours" in line or "/ floor" in line else line.split()[0]: line for line in lines}
    assert "3 (2–4)" in row["ours"] and "5.33 (4–8)" in row["ours"] and "100 (100–100)" in row["ours"]
    assert "10 (5–10)" in row["time, TRL / ours"] and "2 (2–2)" in row["peak memory, TRL / ours"]
    assert "1.5 (1–2)" in row["time, ours / floor"]
    assert "2 (1.5–3)" in row["processor time, TRL / ours"] and "6 (4–8)" in row["processor time, ours / floor"]
    assert "0.5 (0.5–0.5)" in row["log-probs and backward alone, ours / floor"]
    assert "0.5 (0.5–0.5)" in row["log_probs"]
    assert spread([1234.5]) == "1234"


@pytest.mark.slow
def test_every_side_in_a_process_of_its_own(work):
    measured = in_a_process("ours", work)
    assert measured.seconds > 0 and tuple(measured.parts) == PARTS
    with pytest.raises(RuntimeError, match="measuring floor failed: ModelError"):
        in_a_process("floor", dataclasses.replace(work, model="/no/such/folder"))


@pytest.mark.slow
def test_trl_does_the_same_work(work):
    pytest.importorskip("trl")
    measured = in_a_process("trl", work)
    assert measured.seconds > 0 and measured.peak > 10 * module.MIB


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu(work):
    on_gpu = dataclasses.replace(work, device="cuda", precision="auto").on_this_machine()
    for side in ("ours", "floor"):
        assert 0 < in_a_process(side, on_gpu).peak < 2**30


def test_a_cut_loses_only_the_measurement_under_way(work, monkeypatch, tmp_path):
    def measure(side, work):
        if side == "floor":
            raise KeyboardInterrupt
        return Measurement(1.0, {}, 1)

    monkeypatch.setattr(module, "in_a_process", measure)
    file = tmp_path / "b.json"
    command = ["benchmark", "--model", work.model, "--device", "cpu", "--sides", "ours", "floor", "--json", str(file)]
    assert main(command) != 0
    [row] = json.loads(file.read_text())
    assert [m["seconds"] for m in row["measured"]["ours"]] == [1.0] and row["measured"]["floor"] == []


def test_the_command(work, monkeypatch, capsys, tmp_path):
    seen = []

    def measure(side, work):
        seen.append((side, work.num_generations))
        return Measurement(1.0, {}, 1)

    monkeypatch.setattr(module, "in_a_process", measure)
    monkeypatch.setattr(module, "trl_is_installed", lambda: False)
    command = [
        "benchmark",
        "--model",
        work.model,
        "--device",
        "cpu",
        "--rounds",
        "1",
        "--json",
        str(tmp_path / "b.json"),
    ]
    assert main([*command, "--sweep", "num_generations=2,4"]) == 0
    output = capsys.readouterr()
    assert seen == [("ours", 2), ("floor", 2), ("ours", 4), ("floor", 4)]
    assert "TRL is not installed" in output.err and "time, ours / floor" in output.out
    assert (tmp_path / "b.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-generations", "1"], "num_generations must be at least 2"),
        (["--prompt-tokens", "0"], "prompt_tokens must be at least 1"),
        (["--device", "tpu"], "device must be auto, cpu or cuda"),
        (["--precision", "fp8"], "precision must be"),
        (["--rounds", "0"], "rounds must be at least 1"),
        (["--sides", "theirs"], "unknown sides"),
        (["--sweep", "model=a,b"], "no whole-number setting"),
        (["--sweep", "num_generations=2,x"], "--sweep 'num_generations=2,x'"),
    ],
)
def test_bad_input(arguments, message, capsys):
    assert main(["benchmark", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_a_gpu_that_is_not_there():
    with pytest.raises(ValueError, match="this torch sees no GPU"):
        Work(device="cuda")
