"""The parts of an entropy against its definition, and its slope against a tilted policy."""

import math

import pytest
import torch

from policy_gradients.oracle.entropies import entropy_parts, entropy_slope, joined_entropy
from policy_gradients.oracle.tilting import tilted

PASSES = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0], dtype=torch.float64)
PI = torch.randn(5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(0)


def entropy(pi):
    return -(pi * pi.log()).sum().item()


def test_parts_by_hand():
    q, h_pass, h_fail = entropy_parts(torch.tensor([0.25, 0.25, 0.5]).double(), torch.tensor([1.0, 1.0, 0.0]))
    assert (q, h_pass, h_fail) == pytest.approx((0.5, math.log(2), 0.0))
    assert joined_entropy(q, h_pass, h_fail) == pytest.approx(1.5 * math.log(2))


def test_the_parts_join_to_the_whole():
    assert joined_entropy(*entropy_parts(PI, PASSES)) == pytest.approx(entropy(PI))
    assert entropy_parts(PASSES / 2, PASSES) == pytest.approx((1.0, math.log(2), 0.0))  # nothing fails
    assert joined_entropy(1.0, math.log(2), 7.0) == pytest.approx(math.log(2))


def test_the_slope_is_that_of_a_policy_that_is_reweighted():
    near, far = (tilted(PI.log(), PASSES, beta).exp() for beta in (1.0, 1.0001))
    q, other = (x @ PASSES for x in (near, far))
    measured = (entropy(near) - entropy(far)) / (q - other).item()
    assert entropy_slope(*entropy_parts(near, PASSES)) == pytest.approx(measured, abs=1e-3)
    assert entropy_parts(near, PASSES)[1:] == pytest.approx(entropy_parts(PI, PASSES)[1:])
    assert entropy_slope(0.5, 2.0, 0.5) == pytest.approx(1.5)


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="0 or 1"):
        entropy_parts(PI, 2 * PASSES)
    with pytest.raises(ValueError, match="0 or 1"):
        entropy_parts(PI, PASSES[:2])
    with pytest.raises(ValueError, match=r"\(0, 1\)"):
        entropy_slope(1.0, 0.0, 0.0)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        joined_entropy(1.5, 0.0, 0.0)
