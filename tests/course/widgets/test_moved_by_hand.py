"""Widgets of one idea each: silent groups by tolerance, β and its frontier, two temperatures. Their numbers hold."""

import math

import numpy as np
import pytest
import torch

from policy_gradients.course.widgets.frontier import CONTROLS, frontier_explorer, least_nats, optimum
from policy_gradients.course.widgets.silence import GROUPS, TOLERANCES, pass_rate, silence_explorer, silent_share
from policy_gradients.course.widgets.temperature import LOGITS, REWARDS, temperature_explorer, temperature_facts

LENGTHS, RIGHT = np.array([60, 63, 64, 64, 66, 80]), np.array([True, True, True, False, True, True])


def test_the_pass_rate_counts_what_is_within_and_right():
    rates = [pass_rate(LENGTHS, RIGHT, 64, t) for t in TOLERANCES]
    assert rates[:3] == pytest.approx([1 / 6, 2 / 6, 3 / 6]) and rates == sorted(rates) and rates[-1] == 5 / 6


@pytest.mark.parametrize("group", GROUPS[:3])
def test_silent_groups_are_those_of_all_outcomes(group):
    p, chance = 0.3, 0.0
    for k in range(2**group):
        passed = bin(k).count("1")
        chance += p**passed * (1 - p) ** (group - passed) * (passed in (0, group))
    assert silent_share(p, group) == pytest.approx(chance)


def test_completions_and_verdicts_go_together():
    for lengths, right in ([], []), ([64], []):
        with pytest.raises(ValueError, match="one length and one verdict"):
            silence_explorer(lengths, right, 64)


@pytest.mark.parametrize("beta", CONTROLS["beta"].options)
@pytest.mark.parametrize("p", CONTROLS["p"].options)
def test_no_rate_on_the_frontier_is_worth_more_than_the_optimum(beta, p):
    best = optimum(beta, p)
    worth = best - beta * least_nats(best, p)
    for q in np.linspace(p, 1, 2000):
        assert q - beta * least_nats(q, p) <= worth + 1e-12
    assert math.isclose(worth, beta * math.log(1 - p + p * math.exp(1 / beta)), rel_tol=1e-9)  # the free energy


def test_at_one_temperature_nothing_differs_and_the_update_is_the_gradient():
    for temperature in (0.5, 1.0, 2.0):
        facts = temperature_facts(temperature, temperature)
        assert facts["mismatch"] == pytest.approx(0, abs=1e-12) and facts["kl"] == pytest.approx(0, abs=1e-12)
        theta = LOGITS.clone().requires_grad_()
        ((theta / temperature).softmax(-1) @ REWARDS).backward()
        assert torch.allclose(facts["expected"], theta.grad, atol=1e-12)


def test_a_sharper_sampler_is_told_apart():
    facts = [temperature_facts(sampled, 1.0) for sampled in (0.7, 0.5, 0.3)]
    assert facts[0]["mismatch"] > 0.05
    assert [f["kl"] for f in facts] == sorted(f["kl"] for f in facts)
    assert not torch.allclose(facts[0]["expected"], facts[0]["true"], atol=1e-3)


@pytest.mark.parametrize(
    "explorer", [lambda: silence_explorer(LENGTHS, RIGHT, 64), frontier_explorer, temperature_explorer]
)
def test_every_position_draws_a_picture_of_one_size_with_its_words(explorer):
    widget, sizes = explorer(), set()
    for name, control in widget.controls.items():
        for _, value in control.pairs:
            widget.set(**{name: value})
            figure = widget.figure
            sizes.add(tuple(figure.get_size_inches()))
            assert len(figure.get_label()) > 100 and "nan" not in figure.get_label()
    assert len(sizes) == 1
