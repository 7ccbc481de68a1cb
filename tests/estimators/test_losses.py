import pytest
import torch

from policy_gradients.estimators.losses import (
    aggregate,
    clipped_loss,
    clipped_tokens,
    policy_gradient_loss,
    sequence_old_log_probs,
    token_weights,
)

LOG_PROBS = torch.tensor([[-1.0, -2.0, -0.5], [-0.1, -3.0, 0.0]], dtype=torch.float64)
MASK = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]], dtype=torch.float64)
ADVANTAGES = torch.tensor([2.0, -1.0], dtype=torch.float64)


def test_policy_gradient_loss_has_the_gradient_minus_advantage():
    log_probs = LOG_PROBS.clone().requires_grad_()
    policy_gradient_loss(log_probs, ADVANTAGES).sum().backward()
    assert log_probs.grad.tolist() == [[-2, -2, -2], [1, 1, 1]]


@pytest.mark.parametrize("loss", [policy_gradient_loss, lambda new, a: clipped_loss(new, LOG_PROBS, a)])
def test_advantages_get_no_gradient(loss):
    advantages = ADVANTAGES.clone().requires_grad_()
    loss(LOG_PROBS.clone().requires_grad_(), advantages).sum().backward()
    assert advantages.grad is None


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
    clipped = clipped_tokens(log_probs, torch.zeros(1, 1), torch.tensor([advantage]), 0.2, 0.3)
    assert clipped.tolist() == [[not has_gradient]]


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


def random_batch():
    """Log-probs (with gradient) and old ones of 5 completions of uneven lengths, their advantages and mask."""
    generator = torch.Generator().manual_seed(1)
    mask = (torch.arange(6) < torch.tensor([[6], [1], [3], [2], [5]])).double()
    old = -torch.rand(5, 6, generator=generator, dtype=torch.float64)
    new = (old + 0.3 * torch.randn(5, 6, generator=generator, dtype=torch.float64)).requires_grad_()
    return new, old, torch.randn(5, generator=generator, dtype=torch.float64), mask


@pytest.mark.parametrize("normalised", [True, False])
def test_ratios_of_whole_completions(normalised):
    """Log-ratios 0.3 and -0.1 of one completion: mean 0.1, sum 0.2; 0.2 of another, and 7 on its padding."""
    old = torch.tensor([[-1.0, -2.0], [-0.5, 0.0]], dtype=torch.float64)
    new = old + torch.tensor([[0.3, -0.1], [0.2, 7.0]], dtype=torch.float64)
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    found = sequence_old_log_probs(new.requires_grad_(), old.requires_grad_(), mask, normalised)
    assert not found.requires_grad
    expected = torch.tensor([[0.1, 0.1], [0.2, 0.2]] if normalised else [[0.2, 0.2], [0.2, 0.2]], dtype=torch.float64)
    torch.testing.assert_close((new - found).detach(), expected)


def test_the_gspo_gradient_is_that_of_its_objective_written_out():
    """-mean_i min(s_i A_i, clip(s_i) A_i), s_i = (π/π_old of the completion)^(1/length): arXiv:2507.18071."""
    new, old, advantages, mask = random_batch()
    level = sequence_old_log_probs(new, old, mask)
    per_token = clipped_loss(new, level, advantages, 0.05, 0.1)
    loss = (token_weights(mask, "sequence", 5, int(mask.sum()), 6) * per_token).sum()
    ratio = (((new - old) * mask).sum(1) / mask.sum(1)).exp()
    direct = -torch.minimum(ratio * advantages, ratio.clamp(0.95, 1.1) * advantages).mean()
    torch.testing.assert_close(loss, direct)
    found, expected = (torch.autograd.grad(x, new, retain_graph=True)[0] for x in (loss, direct))
    torch.testing.assert_close(found, expected)
    clipped = clipped_tokens(new, level, advantages, 0.05, 0.1)[:, 0]
    assert 0 < clipped.sum() < 5  # the clip is at work, or the test proves little


def test_the_product_of_ratios_is_the_importance_weight_of_the_completion():
    new, old, advantages, mask = random_batch()
    per_token = clipped_loss(new, sequence_old_log_probs(new, old, mask, normalised=False), advantages, 9.0, 9.0)
    loss = (token_weights(mask, "constant", 5, int(mask.sum()), 1) * per_token).sum()
    direct = -(((new - old) * mask).sum(1).exp() * advantages).mean()
    found, expected = (torch.autograd.grad(x, new, retain_graph=True)[0] for x in (loss, direct))
    torch.testing.assert_close(found, expected)


def test_nothing_is_clipped_where_nothing_has_moved():
    new, _, advantages, mask = random_batch()
    for old in (new.detach(), sequence_old_log_probs(new, new, mask)):
        assert not clipped_tokens(new, old, advantages, 1e-9, 1e-9).any()


def test_the_old_policy_gets_no_gradient():
    new, old, advantages, mask = random_batch()
    old = old.requires_grad_()
    clipped_loss(new, old, advantages).sum().backward()
    clipped_loss(new, sequence_old_log_probs(new, old, mask), advantages).sum().backward()
    assert old.grad is None


@pytest.mark.parametrize("aggregation", ["token", "sequence", "constant"])
@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("cuts", [[1, 4], [2], [1, 2, 3, 4]])
def test_gradients_of_uneven_micro_batches_add_up_to_that_of_the_batch(aggregation, level, cuts):
    """To 1e-12: what accumulation promises, with a ratio that is not 1 and a clip that is at work."""
    new, old, advantages, mask = random_batch()
    counts = {"completions": 5, "tokens": int(mask.sum()), "max_tokens": 6}

    def loss(rows):
        part, reference = new[rows], old[rows]
        if level == "sequence":
            reference = sequence_old_log_probs(part, reference, mask[rows])
        per_token = clipped_loss(part, reference, advantages[rows], 0.1, 0.2)
        return (token_weights(mask[rows], aggregation, **counts) * per_token).sum()

    [whole] = torch.autograd.grad(loss(torch.arange(5)), new)
    for rows in torch.arange(5).tensor_split(cuts):
        loss(rows).backward()
    torch.testing.assert_close(new.grad, whole, atol=1e-12, rtol=0)


def test_bad_input():
    with pytest.raises(ValueError, match="one shape"):
        sequence_old_log_probs(LOG_PROBS, LOG_PROBS[:, :2], MASK)
    with pytest.raises(ValueError, match="no token"):
        sequence_old_log_probs(LOG_PROBS, LOG_PROBS, 0 * MASK)
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


@pytest.mark.parametrize(
    ("advantage", "dual_clip", "value", "gradient"),
    [
        (1.0, None, -1.2, 0.0),  # clipped from above
        (-1.0, 3.0, 3.0, 0.0),  # held by the dual clip
        (0.0, None, 0.0, 0.0),
        (0.0, 3.0, 0.0, 0.0),
        (-1.0, None, torch.inf, torch.inf),  # nothing bounds it
    ],
)
def test_a_ratio_that_overflows_has_the_gradient_of_the_clip(advantage, dual_clip, value, gradient):
    """exp(99) is inf in float32: 0 · inf made NaN of the 0 that the clip means."""
    log_probs = torch.tensor([[-1.0, -1.0]], requires_grad=True)
    old = torch.tensor([[-100.0, -1.0]])
    loss = clipped_loss(log_probs, old, torch.tensor([advantage]), dual_clip=dual_clip)
    torch.testing.assert_close(loss.detach(), torch.tensor([[value, -advantage]]))
    loss.sum().backward()
    assert log_probs.grad.tolist() == [[gradient, -advantage]]


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_a_completions_ratio_is_as_exact_in_half_precision_as_in_float32(half, normalised):
    """The difference of -5 and -0.01 is no number of half precision, and neither is the sum of a completion's."""
    log_probs, old = torch.full((2, 40), -5.0, dtype=half), torch.full((2, 40), -0.01, dtype=half)
    mask = torch.ones(2, 40, dtype=half)
    found = sequence_old_log_probs(log_probs, old, mask, normalised)
    assert found.dtype == torch.float32
    exact = sequence_old_log_probs(log_probs.double(), old.double(), mask.double(), normalised)
    torch.testing.assert_close(found.double(), exact, atol=1e-4, rtol=0)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(half):
    """2,049 ones are 2,048 in float16 and 256 in bfloat16; 1e-8 is 0 in float16."""
    ones = torch.ones(3, 683)
    assert aggregate(ones, ones.to(half)).item() == pytest.approx(1, abs=1e-6)
    for mask in (ones, ones.to(half)):
        assert aggregate(ones.to(half), mask).item() == 1
        assert aggregate(ones.to(half), mask).dtype == half
    weights = token_weights(torch.ones(1, 2, dtype=half), "token", 1, 10**8, 10)
    assert weights.dtype == torch.float32 and weights.tolist() == [[pytest.approx(1e-8)] * 2]


def test_nan_on_padding_stops_at_the_aggregate_and_no_further_back():
    """What the docstring says: no NaN in the gradient by the loss, but one in that by what the loss was made from."""
    mask = torch.tensor([[1.0, 0.0]])
    log_probs = torch.tensor([[-1.0, -1.0]], requires_grad=True)
    loss = policy_gradient_loss(log_probs, torch.tensor([[1.0, torch.nan]]))
    total = aggregate(loss, mask)
    assert total.item() == 1
    by_loss, by_log_probs = torch.autograd.grad(total, [loss, log_probs])
    assert by_loss.tolist() == [[1, 0]]
    assert by_log_probs[0, 0] == -1 and by_log_probs[0, 1].isnan()
