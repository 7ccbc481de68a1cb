"""Bradley and Terry's fit against autograd and a closed form; what a reward model foretells, by hand."""

import math

import pytest
import torch

from policy_gradients.oracle.gradients import gradient
from policy_gradients.oracle.preferences import (
    all_preferences,
    count_wins,
    draw_preferences,
    fit_reward,
    judged,
    preference_chances,
    preference_gradient,
)

DOUBLE = {"dtype": torch.float64}
GENERATOR = torch.Generator().manual_seed(0)
FEATURES = torch.randn(7, 3, generator=GENERATOR, **DOUBLE)
SCORES = torch.randn(7, generator=GENERATOR, **DOUBLE)
CHANCE = torch.rand(7, generator=GENERATOR, **DOUBLE).softmax(0)


def test_chances_of_a_label():
    chances = preference_chances(torch.tensor([math.log(3), 0.0], **DOUBLE))
    torch.testing.assert_close(chances, torch.tensor([[0.5, 0.75], [0.25, 0.5]], **DOUBLE))


def test_all_pairs_are_what_is_drawn():
    """200,000 draws: an entry off by 0.01 is more than eight standard deviations off, a false alarm below 1e-14."""
    preferred, other = draw_preferences(CHANCE, SCORES, 200_000, torch.Generator().manual_seed(1))
    counted, all_pairs = count_wins(preferred, other, 7), all_preferences(CHANCE, SCORES)
    assert counted.sum() == 200_000 and all_pairs.sum() == pytest.approx(1)
    assert (counted / 200_000 - all_pairs).abs().max() < 0.01
    # who is preferred is preferred more often
    assert (SCORES[preferred] - SCORES[other]).mean() > 0.1


def test_counts():
    wins = count_wins(torch.tensor([0, 0, 2]), torch.tensor([1, 1, 0]), 3)
    assert wins.tolist() == [[0, 2, 0], [0, 0, 0], [1, 0, 0]]


def test_the_gradient_is_that_of_the_log_likelihood():
    weights, preferred, other = FEATURES[0], FEATURES[1:4], FEATURES[4:7]
    by_autograd = gradient(lambda w: torch.sigmoid((preferred - other) @ w).log().mean(), weights)
    torch.testing.assert_close(preference_gradient(weights, preferred, other), by_autograd, atol=1e-14, rtol=0)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_the_fit_is_where_the_gradient_vanishes(ridge):
    wins = 50 * all_preferences(CHANCE, SCORES)
    weights = fit_reward(FEATURES, wins, ridge)

    def likelihood(w):
        chances = preference_chances(FEATURES @ w)
        return (wins * chances.log()).sum() - ridge / 2 * w.square().sum()

    assert gradient(likelihood, weights).abs().max() < 1e-10
    assert likelihood(weights) > likelihood(0.99 * weights) and likelihood(weights) > likelihood(1.01 * weights)


def test_a_well_specified_model_finds_the_scores():
    true = torch.tensor([1.0, -2.0, 0.5], **DOUBLE)
    torch.testing.assert_close(fit_reward(FEATURES, all_preferences(CHANCE, FEATURES @ true)), true)


def test_one_feature_by_hand():
    """One pair, won 3 times of 4: the difference of scores is log 3."""
    wins = torch.tensor([[0.0, 3.0], [1.0, 0.0]], **DOUBLE)
    assert fit_reward(torch.tensor([[2.0], [0.0]], **DOUBLE), wins).item() == pytest.approx(math.log(3) / 2)


def test_accuracy_and_calibration_by_hand():
    """One pair is won 3 times of 4 by the first, and a second pair 1 of 2."""
    wins = torch.zeros(3, 3, **DOUBLE)
    wins[0, 1], wins[1, 0], wins[0, 2], wins[2, 0] = 3, 1, 1, 1
    even = judged(torch.zeros(3, **DOUBLE), wins)
    assert even.accuracy == pytest.approx(0.5)
    assert even.calibration_error == pytest.approx(0.0)  # both pairs are in one bin, where the two ways even out
    told = judged(torch.tensor([math.log(9), 0.0, math.log(9)], **DOUBLE), wins)  # 0.9 and 0.5
    assert told.accuracy == pytest.approx((3 + 0 + 0.5 + 0.5) / 6)
    assert told.calibration_error == pytest.approx(4 / 6 * 0.15)
    assert judged(torch.tensor([0.0, 1.0, 0.0], **DOUBLE), wins).accuracy == pytest.approx((1 + 0.5 + 0.5) / 6)


def test_a_completion_against_itself_does_not_count():
    wins = torch.tensor([[9.0, 1.0], [0.0, 9.0]], **DOUBLE)
    assert judged(torch.tensor([1.0, 0.0], **DOUBLE), wins).accuracy == 1


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="at least 1"):
        draw_preferences(CHANCE, SCORES, 0, GENERATOR)
    with pytest.raises(ValueError, match="must be \\(n, n\\)"):
        fit_reward(FEATURES, torch.zeros(3, 3, **DOUBLE))
    with pytest.raises(ValueError, match="give a ridge"):  # the first always wins
        fit_reward(torch.eye(2, **DOUBLE)[:, :1], torch.tensor([[0.0, 1.0], [0.0, 0.0]], **DOUBLE))
    with pytest.raises(ValueError, match="give a ridge"):  # alike for all
        fit_reward(torch.ones(7, 1, **DOUBLE), all_preferences(CHANCE, SCORES))
    with pytest.raises(ValueError, match="a preference at least"):
        judged(SCORES, torch.eye(7, **DOUBLE))


def test_features_that_say_nothing_new_are_refused_without_a_ridge():
    for more in (torch.ones(7, 1, **DOUBLE), 3 * FEATURES[:, :1]):
        features = torch.cat([FEATURES, more], dim=1)
        wins = all_preferences(torch.full((7,), 1 / 7, **DOUBLE), SCORES)
        with pytest.raises(ValueError, match="says nothing that others do not"):
            fit_reward(features, wins)
        assert fit_reward(features, wins, ridge=1e-3).isfinite().all()
    with pytest.raises(ValueError, match="at least 0"):
        fit_reward(FEATURES, -wins)
    torch.testing.assert_close(
        fit_reward(FEATURES.float(), wins.float()), fit_reward(FEATURES, wins), atol=1e-4, rtol=0
    )
