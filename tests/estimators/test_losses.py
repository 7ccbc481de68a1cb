import pytest
import torch

from policy_gradients.estimators.losses import clipped_loss, policy_gradient_loss, token_weights

LOG_PROBS = torch.tensor([[-1.0, -2.0, -0.5], [-0.1, -3.0, 0.0]], dtype=torch.float64)
MASK = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]], dtype=torch.float64)
ADVANTAGES = torch.tensor([2.0, -1.0], dtype=torch.float64)


def test_policy_gradient_loss_has_the_gradient_minus_advantage():
    log_probs = LOG_PROBS.clone().requires_grad_()
    policy_gradient_loss(log_probs, ADVANTAGES).sum().backward()
    assert log_probs.grad.tolist() == [[-2, -2, -2], [1, 1, 1]]


def test_the_clip_does_nothing_at_the_first_update():
    first, clipped = LOG_PROBS.clone().requires_grad_(), LOG_PROBS.clone().requires_grad_()
    policy_gradient_loss(first, ADVANTAGES).sum().backward()
    clipped_loss(clipped, clipped.detach(), ADVANTAGES).sum().backward()
    torch.testing.assert_close(first.grad, clipped.grad)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "has_gradient"),
    [
        (1.1, 1.0, -1.1, True),  # inside the clip
        (1.5, 1.0, -1.3, False),  # already better by more than clip_high: no more push
        (0.5, 1.0, -0.5, True),  # a good action that became rarer is always pulled back
        (0.5, -1.0, 0.8, False),  # already rarer by more than clip_low
        (1.5, -1.0, 1.5, True),  # a bad action that became likelier is always pushed down
    ],
)
def test_clip_literals(ratio, advantage, loss, has_gradient):
    log_probs = torch.tensor([[ratio]], dtype=torch.float64).log().requires_grad_()
    value = clipped_loss(log_probs, torch.zeros(1, 1, dtype=torch.float64), torch.tensor([advantage]), 0.2, 0.3)
    value.sum().backward()
    assert value.item() == pytest.approx(loss)
    assert bool(log_probs.grad.abs().item() > 0) == has_gradient


def test_token_weights_literals():
    arguments = {"completions": 2, "tokens": 5, "max_tokens": 4}
    assert token_weights(MASK, "token", **arguments).tolist() == [[0.2, 0.2, 0.2], [0.2, 0.2, 0]]
    torch.testing.assert_close(
        token_weights(MASK, "sequence", **arguments),
        torch.tensor([[1 / 6, 1 / 6, 1 / 6], [1 / 4, 1 / 4, 0]], dtype=torch.float64),
    )
    assert token_weights(MASK, "constant", **arguments).tolist() == [[0.125] * 3, [0.125, 0.125, 0]]


@pytest.mark.parametrize("aggregation", ["token", "sequence", "constant"])
@pytest.mark.parametrize("cuts", [[1, 4], [2], [1, 2, 3, 4]])
def test_uneven_micro_batches_add_up_to_the_batch(aggregation, cuts):
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(5, 6, generator=generator, dtype=torch.float64)
    mask = (torch.arange(6) < torch.tensor([[6], [1], [3], [2], [5]])).double()
    counts = {"completions": 5, "tokens": int(mask.sum()), "max_tokens": 6}
    whole = (token_weights(mask, aggregation, **counts) * losses).sum()
    parts = [
        (token_weights(m, aggregation, **counts) * part).sum()
        for m, part in zip(mask.tensor_split(cuts), losses.tensor_split(cuts), strict=True)
    ]
    torch.testing.assert_close(torch.stack(parts).sum(), whole, atol=1e-12, rtol=0)


def test_bad_input():
    with pytest.raises(ValueError, match=r"advantages \(3,\) do not match log_probs \(2, 3\)"):
        policy_gradient_loss(LOG_PROBS, torch.zeros(3))
    with pytest.raises(ValueError, match="differ"):
        clipped_loss(LOG_PROBS, LOG_PROBS[:, :2], ADVANTAGES)
    with pytest.raises(ValueError, match="negative"):
        clipped_loss(LOG_PROBS, LOG_PROBS, ADVANTAGES, clip_low=-0.1)
    with pytest.raises(ValueError, match="1 completions have no token"):
        token_weights(MASK * torch.tensor([[1.0], [0.0]]), "token", 2, 3, 3)
    with pytest.raises(ValueError, match="aggregation"):
        token_weights(MASK, "word", 2, 5, 3)
    with pytest.raises(ValueError, match="at least 1"):
        token_weights(MASK, "token", 2, 0, 3)
