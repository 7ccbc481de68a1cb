"""The floor that prompts of different difficulty leave, held against brute force; p against plain samples."""

import math

import numpy as np
import pytest

from policy_gradients.evaluation.attainable import attainable_floor, estimate, floor_of_weights, log_weights
from policy_gradients.evaluation.evaluate import Subject, reference_pass_count
from policy_gradients.evaluation.statistics import binary_kl, kl_floor
from policy_gradients.evaluation.without_training import steerings
from policy_gradients.language.models import load_model
from policy_gradients.training.presets import preset
from policy_gradients.training.sources import make_task


@pytest.mark.parametrize("q", [0.0, 0.02, 0.3, 0.95, 1.0])
def test_prompts_that_are_equally_hard_attain_the_floor_of_their_mean(q):
    assert attainable_floor(q, [0.02] * 7) == pytest.approx(kl_floor(q, 0.02), abs=1e-9)


@pytest.mark.parametrize("q", [0.2, 0.6, 0.95])
def test_of_two_prompts_no_split_does_better(q):
    rates = (0.002, 0.15)
    splits = [(q + d, q - d) for d in np.linspace(-min(q, 1 - q), min(q, 1 - q), 4001)]
    best = min((binary_kl(a, rates[0]) + binary_kl(b, rates[1])) / 2 for a, b in splits)
    found = attainable_floor(q, rates)
    assert found == pytest.approx(best, abs=1e-5)
    assert found > kl_floor(q, sum(rates) / 2)


def test_to_pass_always_costs_the_mean_surprise():
    assert attainable_floor(1.0, [0.1, 0.001]) == pytest.approx(-(math.log(0.1) + math.log(0.001)) / 2)


def test_who_passes_often_enough_need_not_move():
    assert attainable_floor(0.1, [0.05, 0.2]) == 0.0


@pytest.mark.parametrize(
    ("q", "rates", "said"), [(1.2, [0.1], "q must"), (0.5, [], "one for each"), (0.5, [0.0, 0.1], "above 0")]
)
def test_what_is_no_chance_is_refused(q, rates, said):
    with pytest.raises(ValueError, match=said):
        attainable_floor(q, rates)


def test_the_jackknife_takes_the_bias_of_few_draws_out():
    """At q = 1 the floor is −E log p: of the mean of four exponential weights −log is 0.13 too high on average."""
    weights = np.log(np.random.default_rng(0).exponential(size=(20_000, 4))) + math.log(0.01)
    plain = attainable_floor(1.0, np.exp(weights).mean(1))
    wanted = -math.log(0.01)
    assert plain - wanted == pytest.approx(0.130, abs=0.01)  # ln 4 − ψ(4)
    assert abs(floor_of_weights(1.0, weights) - wanted) < 0.035


@pytest.fixture(scope="module")
def reference():
    """The shipped model under a rule that it meets now and then: about 6 % of its completions."""
    config = preset("tiny", rule="digits%3=0")
    model, tokenizer = load_model(config.model)
    return Subject(model, tokenizer, make_task(config), config)


def test_without_steering_a_weight_says_who_passes(reference):
    weights = log_weights(reference, reference.task.heldout[:30], 4, 0, lambda ids, logits: logits)
    assert weights.shape == (30, 4)
    passed = np.isfinite(weights)
    assert 0 < passed.sum() < passed.size / 2
    assert np.abs(weights[passed]).max() < 1e-3


def test_weights_of_steered_draws_have_the_chance_to_pass_as_their_mean(reference):
    """Against plain samples, five standard errors wide: a false alarm in two million, were the seed not fixed."""
    rows = reference.task.heldout[:40]
    steering = steerings(reference, reference.task.rows[:100], seed=0)["chances"]
    weights = np.exp(log_weights(reference, rows, 6, 0, steering))
    assert (weights > 0).all()
    passed, drawn = reference_pass_count(reference, rows, 800, 0)
    p = passed / drawn
    error = math.hypot(weights.std() / math.sqrt(weights.size), math.sqrt(p * (1 - p) / drawn))
    assert error < 0.2 * p and abs(weights.mean() - p) < 5 * error


def test_an_estimate_needs_two_of_each():
    with pytest.raises(ValueError, match="two draws of two prompts"):
        estimate("tiny", 1, 0, 0, 2, [0.9])
