"""A teacher's returns against the gradient of the divergence, and moments against every completion's own gradient."""

import pytest
import torch

from policy_gradients.oracle.completions import completions
from policy_gradients.oracle.distillation import score_moments, teacher_returns
from policy_gradients.oracle.gradients import gradient
from policy_gradients.worlds.small import token_tree

WORLD = completions(token_tree(3, 3, lambda text: 0.0))
GENERATOR = torch.Generator().manual_seed(0)
STUDENT, TEACHER = (torch.randn(WORLD.shape, generator=GENERATOR, dtype=torch.float64).log_softmax(-1) for _ in "ab")
OWN, TAUGHT = WORLD.token_log_probs(STUDENT), WORLD.token_log_probs(TEACHER)


def closeness(flat):
    table = flat.view(WORLD.shape).log_softmax(-1)
    log_pi = WORLD.log_probs(table)
    return (log_pi.exp() * (WORLD.log_probs(TEACHER) - log_pi)).sum()


def test_returns_by_hand():
    own, taught = torch.tensor([-1.0, -2.0, 9.0]), torch.tensor([-0.5, -4.0, -9.0])
    assert teacher_returns(own, taught, torch.tensor([1.0, 1.0, 0.0])).tolist() == [-1.5, -2.0, 0.0]
    asked = own.clone().requires_grad_()
    assert not teacher_returns(asked, taught, torch.ones(3)).requires_grad


def test_infinite_padding_does_not_count():
    log_probs = torch.tensor([-1.0, -torch.inf])
    assert teacher_returns(log_probs, log_probs, torch.tensor([1.0, 0.0])).tolist() == [0, 0]


def test_their_gradient_is_that_of_the_divergence():
    mean, _ = score_moments(WORLD, STUDENT, teacher_returns(OWN, TAUGHT, WORLD.mask))
    torch.testing.assert_close(mean.flatten(), gradient(closeness, STUDENT.flatten()), atol=1e-12, rtol=0)
    alone, _ = score_moments(WORLD, STUDENT, TAUGHT - OWN)
    assert (alone - mean).norm() > 0.1 * mean.norm()


def test_moments_are_those_of_all_completions():
    credit = torch.randn(WORLD.mask.shape, generator=GENERATOR, dtype=torch.float64)
    samples = torch.stack(
        [
            gradient(
                lambda t, i=i: (WORLD.token_log_probs(t.view(WORLD.shape).log_softmax(-1)) * credit)[i].sum(),
                STUDENT.flatten(),
            )
            for i in range(len(WORLD))
        ]
    )
    chance = WORLD.log_probs(STUDENT).exp()
    mean, variance = score_moments(WORLD, STUDENT, credit)
    torch.testing.assert_close(mean.flatten(), chance @ samples, atol=1e-13, rtol=0)
    expected = chance @ samples.square().sum(1) - (chance @ samples).square().sum()
    assert variance == pytest.approx(expected.item())


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="must have one shape"):
        teacher_returns(OWN, TAUGHT[:2], WORLD.mask)


def test_what_the_policy_never_writes_has_no_say():
    world = completions(token_tree(2, 2, lambda text: float(len(text))))
    teacher = torch.tensor([[0.4, 0.6], [0.3, 0.7]], dtype=torch.float64).log()
    ruled_out, next_to_it = (
        torch.tensor([[0.5, 0.5], [never, 1.0]], dtype=torch.float64).log() for never in (0.0, 1e-300)
    )
    found, expected = (
        score_moments(
            world, table, teacher_returns(world.token_log_probs(table), world.token_log_probs(teacher), world.mask)
        )
        for table in (ruled_out, next_to_it)
    )
    torch.testing.assert_close(found[0], expected[0])
    assert found[1] == pytest.approx(expected[1]) and expected[1] > 0
