import itertools

import pytest
import torch

from policy_gradients.estimators.sharing import shared_rewards

D = torch.float64
EQUAL = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]], dtype=D)


def test_literals():
    rewards = torch.tensor([[1.0, 0.5], [2.0, 0.0]], dtype=D)
    # the first two share, the third is like none that earned anything
    assert shared_rewards(rewards, EQUAL).tolist() == [[0.5, 0.25], [2.0, 0.0]]
    halves = torch.eye(4, dtype=D) + 0.5 * (1 - torch.eye(4, dtype=D))
    expected = [[1 / 2, 0.5 / 2], [2.0 / 2, 0.0]]  # itself, and two that earned something, half like it each
    assert shared_rewards(rewards, halves).tolist() == expected
    torch.testing.assert_close(shared_rewards(rewards, EQUAL, 0.5)[0, 0], torch.tensor(0.5**0.5, dtype=D))
    assert shared_rewards(rewards, EQUAL, 0.0).equal(rewards)
    punished = torch.tensor([-1.0, 3.0, 0.0, -2.0], dtype=D)
    assert shared_rewards(punished, torch.ones(4, 4, dtype=D)).equal(punished)
    assert shared_rewards(rewards > 0, EQUAL).dtype == torch.get_default_dtype()


def test_the_gradient_is_that_of_a_kth_copy_worth_one_kth():
    """Of all batches of three completions of four texts, two of which pass: exact on both sides."""
    worth, theta = torch.tensor([1.0, 0.0, 0.6, 0.0], dtype=D), torch.tensor([0.3, -0.2, 0.9, 0.1], dtype=D)
    theta.requires_grad_()
    log_pi, batches = theta.log_softmax(0), list(itertools.product(range(4), repeat=3))
    objective, estimate = torch.zeros((), dtype=D), torch.zeros(4, dtype=D)
    for batch in batches:
        texts = torch.tensor(batch)
        chance = log_pi[texts].sum().exp()
        objective = objective + chance * sum(
            worth[y] * sum(1 / k for k in range(1, batch.count(y) + 1)) for y in set(batch)
        )
        shares = shared_rewards(worth[texts], (texts[:, None] == texts[None, :]).to(D))
        (scores,) = torch.autograd.grad(shares @ log_pi[texts], theta, retain_graph=True)
        estimate = estimate + chance.detach() * scores
    (gradient,) = torch.autograd.grad(objective, theta)
    assert gradient.norm() > 0.1
    torch.testing.assert_close(estimate, gradient, atol=1e-14, rtol=0)


@pytest.mark.parametrize(
    ("rewards", "alike", "sharing", "why"),
    [
        (torch.ones(4), EQUAL[:3], 1.0, "a row for each reward"),
        (torch.ones(4), EQUAL * 2, 1.0, r"in \[0, 1\]"),
        (torch.ones(4), torch.zeros(4, 4), 1.0, "ones on its diagonal"),
        (torch.ones(4), EQUAL, -1.0, "sharing"),
        (torch.tensor([1.0, float("nan"), 0, 0]), EQUAL, 1.0, "finite"),
    ],
)
def test_bad_input(rewards, alike, sharing, why):
    with pytest.raises(ValueError, match=why):
        shared_rewards(rewards, alike, sharing)
