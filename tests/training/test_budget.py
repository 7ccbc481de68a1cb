import dataclasses

import pytest
import torch
from transformers import Qwen2Config

from policy_gradients.cli import main
from policy_gradients.training.budget import QWEN, LiveTensors, architecture, budget_table, measure_budget
from policy_gradients.training.presets import preset

MIB = 2**20


def test_live_tensors_are_counted_until_they_are_freed():
    with LiveTensors() as live:
        a = torch.zeros(MIB // 4)
        b = a.view(2, -1)  # shares its storage
        c = a + 1
        assert live.now == live.peak == 2 * MIB
        del a, c
        assert live.now == MIB  # b keeps it
        del b
        assert live.now == 0 and live.peak == 2 * MIB


def test_what_the_graph_keeps_is_counted():
    with LiveTensors() as live:
        x = torch.ones(MIB // 4, requires_grad=True)
        y = x.exp().sum()  # keeps exp(x)
        assert live.now >= 2 * MIB
        y.backward()
        assert live.now < 2 * MIB + 100  # x and its gradient
        del y


@pytest.fixture
def small():
    return Qwen2Config(**{**QWEN, "vocab_size": 500, "hidden_size": 64, "intermediate_size": 128,
                          "num_hidden_layers": 3, "num_attention_heads": 4})  # fmt: skip


@pytest.fixture
def config():
    return preset("qwen", num_prompts=4, num_generations=4, max_prompt_tokens=30, max_new_tokens=10)


def test_the_held_parts_are_what_fp32_training_holds(small, config):
    budget = measure_budget(config, small)
    weights = 4 * budget.parameters
    assert budget.held["parameters"] == budget.held["reference"] == weights
    assert 2 * weights <= budget.held["Adam's two moments"] <= 2 * weights + 1000  # and a count of steps each
    assert budget.held.get("buffers and the rest", 0) < 0.05 * weights
    assert all(size > 0 for size in budget.passing.values())
    assert budget.passing["optimizer, the gradients among it"] >= weights
    assert budget.peak < GIB_OF_ALL
    assert f"{budget.parameters:,} parameters" in budget_table(budget, config)


GIB_OF_ALL = 2**30


def test_smaller_micro_batches_and_recomputed_blocks_need_less(small, config):
    part = "training pass, its gradients among it"
    plain = dataclasses.replace(config, gradient_checkpointing=False)
    sizes = [
        measure_budget(dataclasses.replace(settings, micro_batch_prompts=size), small).passing[part]
        for settings, size in ((plain, 4), (plain, 1), (config, 4), (config, 1))
    ]
    assert sizes[0] > sizes[1] and sizes[2] > sizes[3] and sizes[0] > sizes[2]


def test_the_real_configuration_has_494_million_parameters():
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(architecture("Qwen/Qwen2.5-0.5B-Instruct"))
    assert sum(p.numel() for p in model.parameters()) == 494_032_768


def test_the_command(micro_folder, capsys):
    settings = ["--num-prompts", "2", "--num-generations", "2", "--max-new-tokens", "3", "--prompt-tokens", "8"]
    assert main(["benchmark", "--budget", "qwen", "--model", str(micro_folder), *settings]) == 0
    output = capsys.readouterr().out
    assert "2 prompts × 8 tokens × 2 completions × 3 tokens" in output and "of a T4's" in output
    assert main(["benchmark", "--budget", "large"]) == 2
