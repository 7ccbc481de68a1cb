"""Credit by prefix is the gradient; credit by a state that is the prefix is, too; by a summary it is not."""

import itertools

import pytest
import torch

from policy_gradients.oracle.aliasing import credit_gradients


def policy(levels: int, tokens: int, seed: int = 0, spread: float = 1.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        spread * torch.randn(tokens**k, tokens + 1, generator=generator, dtype=torch.float64) for k in range(levels)
    ]


# counts tokens up to three, and whether there was a 1 among them
COUNTER = torch.tensor([[min(s // 2 + 1, 3) * 2 + max(s % 2, token) for token in range(2)] for s in range(8)])
PAYS = torch.tensor([0.0, 0, 0, 0, 0, 1, 0, 0])  # two tokens, and a 1


def test_the_theorem_is_the_gradient_and_the_objective_is_enumerated():
    logits = policy(3, 2)
    found = credit_gradients(logits, COUNTER, PAYS)
    torch.testing.assert_close(found.by_prefix, found.exact, atol=1e-15, rtol=0)
    chances = [level.softmax(-1) for level in logits]
    wanted = sum(
        chances[0][0, a] * chances[1][a, b] * chances[2][2 * a + b, 2]
        for a, b in itertools.product(range(2), repeat=2)
        if 1 in (a, b)
    )
    assert found.objective == pytest.approx(wanted.item(), abs=1e-15)


def test_a_state_for_every_prefix_loses_nothing():
    """Heap order: the children of node i are 2i + 1 and 2i + 2, a complete tree of 4 levels."""
    after = torch.tensor([[min(2 * i + 1, 14), min(2 * i + 2, 14)] for i in range(15)])
    ended = torch.rand(15, generator=torch.Generator().manual_seed(1))
    found = credit_gradients(policy(3, 2), after, ended)
    torch.testing.assert_close(found.by_state, found.exact, atol=1e-15, rtol=0)
    assert found.angle() < 1e-5


def test_prefixes_that_share_a_state_share_a_value_and_the_angle_is_not_zero():
    angles = [credit_gradients(policy(3, 2, seed), COUNTER, PAYS).angle() for seed in range(10)]
    assert 1 < sum(angles) / len(angles) < 60


def test_levels_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="level k needs the shape"):
        credit_gradients([torch.zeros(1, 3), torch.zeros(3, 3)], COUNTER, PAYS)
