import pytest
import torch

from policy_gradients.training.batch import Stopwatch
from policy_gradients.training.config import make_config, with_settings
from policy_gradients.training.loop import train
from policy_gradients.training.plan import expected_seconds, plan
from policy_gradients.training.setup import prepare


@pytest.fixture
def config(micro_folder):
    return make_config(
        model=str(micro_folder), num_prompts=4, num_generations=2, max_new_tokens=10, max_prompt_tokens=128,
        max_steps=2, precision="no",
    )  # fmt: skip


def test_it_scales_up_what_it_timed_and_changes_nothing(config, monkeypatch):
    """With a clock that counts the tokens that go through the policy and its reference, the plan is exact."""
    seen = [0]

    def count(module, args):
        seen[0] += args[0].shape[1]

    monkeypatch.setattr(Stopwatch, "now", lambda self: float(seen[0]))
    run = prepare(config)
    for model in (run.model, run.reference):
        model.base_model.register_forward_pre_hook(count)
    before = [p.clone() for p in run.model.parameters()]
    found = expected_seconds(run)
    prompts = [len(run.prompts[i]) for i in range(4)]
    assert found["rollout"] == sum(prompts) + 8 * 9
    assert found["training"] == 4 * 2 * 2 * (max(prompts) + 2 * 9)
    assert all(torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))
    assert all(p.grad is None for p in run.model.parameters())
    run.config = with_settings(config, updates_per_batch=3, gradient_checkpointing=True)
    assert expected_seconds(run)["training"] == pytest.approx(3 * 1.25 * found["training"])


def test_in_words(config):
    seconds = {"rollout": 2.0, "training": 28.0}
    assert plan(seconds, config, 100) == (
        "a step takes up to about 30 s (rollout 2 s, training 28 s); 100 steps: 50.0 min"
    )
    short = plan({"rollout": 0.021, "training": 0.02}, with_settings(config, stop_above=0.9), 20)
    assert short.startswith("a step takes up to about 0.041 s") and short.endswith("less if the rule is met before")


def test_a_run_says_it_before_it_starts(config, tmp_path, capsys):
    train(config, tmp_path / "run")
    assert "a step takes up to about" in capsys.readouterr().err
    train(config, tmp_path / "quiet", progress=False)
    assert "a step takes" not in capsys.readouterr().err
