"""Each alarm on rows of metrics: loud on its failure, silent on a healthy run, and once only."""

import math

import pytest

from policy_gradients.training import alarms
from policy_gradients.training.alarms import ALARMS, WINDOW, ring_once, ringing

HEALTHY = {
    "loss": -0.01, "grad_norm": 0.15, "entropy": 2.1, "kl": 0.0, "sampler_mismatch": 0.02, "ratio_at_start": 0.0,
    "clipped_share": 0.03, "zero_variance_share": 0.2, "train_reward": 0.4, "reward_min": 0.0, "reward_max": 1.0,
    "finished_rate": 0.95, "end_scored_share": 1.0, "value_error": 0.4,
    "return_rms": 0.5,
}  # fmt: skip


def run_of(steps, **changes):
    """Rows of a run; a change may be a number or a function of the step."""
    return [
        {"step": i + 1, **HEALTHY, "kl": 0.3 * i, **{k: v(i) if callable(v) else v for k, v in changes.items()}}
        for i in range(steps)
    ]


def test_silence_at_every_step_of_a_healthy_run():
    rows = run_of(40, entropy=lambda i: 2.1 - 0.03 * i, kl_estimate=lambda i: 0.36 * i)
    for step in range(1, 41):
        assert ringing(rows[:step]) == {}


def test_silence_where_the_task_is_solved():
    def after(step, before, then):
        return lambda i: before if i < step else then

    solved = run_of(
        30,
        zero_variance_share=after(9, 0.2, 1.0),
        train_reward=after(9, 0.4, 1.0),
        reward_min=after(9, 0.0, 1.0),
    )
    assert ringing(solved) == {}


FAILING = {
    "not_finite": {"loss": math.nan},
    "zero_gradient": {"grad_norm": 1e-9},
    "constant_reward": {"reward_min": 1.0, "train_reward": 1.0, "zero_variance_share": 1.0},
    "rounded_rewards": {"reward_min": 1e9, "reward_max": 1e9 + 2},
    "uniform_groups": {"zero_variance_share": 0.95},
    "kl_at_start": {"kl": 0.5},
    "sampler_mismatch": {"sampler_mismatch": 0.3},
    "ratio_drift": {"clipped_share": 0.8},
    "kl_estimate_off": {"kl": 5.0, "kl_estimate": 30.0},
    "entropy_collapse": {"entropy": lambda i: 2.1 if i == 0 else 0.2},
    "all_truncated": {"finished_rate": 0.0, "zero_variance_share": 0.8},
    "end_unscored": {"end_scored_share": 0.0},
    "critic_diverges": {"value_error": 2.0},
}


def test_every_alarm_is_in_the_list():
    assert {alarm.__name__ for alarm in ALARMS} == set(FAILING)


@pytest.mark.parametrize("name", FAILING)
def test_the_alarm_of_a_failure(name):
    steps = {"kl_at_start": 1, "entropy_collapse": WINDOW + 1}.get(name, WINDOW)
    rows = run_of(steps, **FAILING[name])
    assert name in ringing(rows)
    assert len(ringing(rows)[name]) > 60  # what is wrong, and what to do


@pytest.mark.parametrize("name", ["constant_reward", "uniform_groups", "all_truncated"])
def test_what_chance_can_show_must_last(name):
    assert name not in ringing(run_of(WINDOW - 1, **FAILING[name]))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("constant_reward", {"reward_max": lambda i: float(i == 2)}),  # it has varied
        ("zero_gradient", {"grad_norm": 0.0, "zero_variance_share": 1.0}),  # as it has to be
        ("kl_estimate_off", {"kl": 0.1, "kl_estimate": 5.0}),  # too near the reference to tell
        ("entropy_collapse", {"entropy": lambda i: 2.1 if i == 0 else 0.5}),
        ("entropy_collapse", {"entropy": lambda i: 0.1 if i == WINDOW - 1 else 1.9}),  # one step alone
        ("rounded_rewards", {"reward_min": -1e-9, "reward_max": 0.0}),  # small ones are as exact as large ones
        ("rounded_rewards", {"reward_min": 1e5, "reward_max": 1e5 + 20}),
        ("rounded_rewards", {"reward_min": 1e5, "reward_max": 1e5}),  # all are equal
        ("end_unscored", {"end_scored_share": math.nan}),  # nothing has ended
        ("all_truncated", {"finished_rate": 0.0}),  # and yet rewards differ: no end is asked for
        ("critic_diverges", {"value_error": 2.0, "return_rms": lambda i: 1.5 if i == 0 else 0.0}),  # it came from there
        ("not_finite", {"grad_norm": math.inf}),  # the scaler of fp16 is looking for its scale
        ("ratio_drift", {"ratio_at_start": 1e-5, "clipped_share": 0.5}),
    ],
)
def test_what_is_no_failure(name, changes):
    assert name not in ringing(run_of(WINDOW, **changes))


def test_a_scaler_that_never_finds_its_scale():
    assert "not_finite" not in ringing(run_of(15, grad_norm=math.inf))
    assert "not_finite" in ringing(run_of(16, grad_norm=math.inf))


def test_a_ratio_that_does_not_start_at_one():
    assert "ratio_drift" in ringing(run_of(1, ratio_at_start=0.01))


def test_a_resumed_run_is_not_held_against_a_first_step_that_it_has_not_seen():
    rows = [{**row, "step": row["step"] + 7} for row in run_of(WINDOW, kl=9.0, **FAILING["constant_reward"])]
    assert "constant_reward" not in ringing(rows) and "kl_at_start" not in ringing(rows)


def test_an_alarm_rings_once():
    rung: set[str] = set()
    rows = run_of(3, sampler_mismatch=0.3)
    [warning] = ring_once(rows, rung)
    assert "0.3 nats a token" in warning and warning.endswith("[sampler_mismatch]")
    assert ring_once(rows, rung) == []
    assert len(ring_once(run_of(3, end_scored_share=0.0), rung)) == 1


def test_every_threshold_is_justified():
    for alarm in ALARMS:
        assert len(getattr(alarms, alarm.__name__).__doc__) > 120
