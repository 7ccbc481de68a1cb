import pytest
import torch
from torch.testing import assert_close

from policy_gradients.estimators.natural import (
    compatible_critic,
    conjugate_gradient,
    fisher_matrix,
    fisher_vector_product,
    kl_step,
    natural_gradient,
)

GENERATOR = torch.Generator().manual_seed(0)
SCORES = torch.randn(3, 50, 6, dtype=torch.float64, generator=GENERATOR)  # three copies
WEIGHTS = torch.rand(3, 50, dtype=torch.float64, generator=GENERATOR)
GRADIENT = torch.randn(3, 6, dtype=torch.float64, generator=GENERATOR)
FISHER = fisher_matrix(SCORES)


def test_fisher_is_the_mean_outer_product_with_and_without_weights():
    assert_close(FISHER[1], sum(torch.outer(s, s) for s in SCORES[1]) / 50)
    weighted = fisher_matrix(SCORES, WEIGHTS)
    assert_close(weighted[2], sum(w * torch.outer(s, s) for w, s in zip(WEIGHTS[2], SCORES[2], strict=True)))
    for matrix, weights in ((FISHER, None), (weighted, WEIGHTS)):
        product = (matrix @ GRADIENT.unsqueeze(-1)).squeeze(-1)
        assert_close(fisher_vector_product(SCORES, GRADIENT, weights), product)


@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_three_roads_to_the_natural_gradient(damping):
    direction = natural_gradient(GRADIENT, FISHER, damping)
    back = (FISHER @ direction.unsqueeze(-1)).squeeze(-1) + damping * direction
    assert_close(back, GRADIENT)
    conjugate = conjugate_gradient(
        lambda v: fisher_vector_product(SCORES, v) + damping * v, GRADIENT, iterations=20, tolerance=1e-14
    )
    assert_close(conjugate, direction)


def test_conjugate_gradient_needs_one_iteration_for_each_eigenvalue():
    """Two different eigenvalues: exact after two iterations, not after one; copies that are done stand still."""
    diagonal = torch.tensor([1.0, 1.0, 5.0, 5.0], dtype=torch.float64)
    g = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0, 0, 1.0, 0], [0, 0, 0, 0]], dtype=torch.float64)
    assert_close(conjugate_gradient(lambda v: diagonal * v, g, iterations=2), g / diagonal)
    once = conjugate_gradient(lambda v: diagonal * v, g, iterations=1)
    assert (once - g / diagonal)[0].abs().max() > 0.1
    assert_close(once[1:], (g / diagonal)[1:])


def test_a_singular_fisher_gives_the_shortest_step():
    p = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    fisher = torch.diag(p) - torch.outer(p, p)  # of softmax: adding a constant to all logits changes nothing
    advantages = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    advantages = advantages - (p * advantages).sum()
    # ∇J = p·A, and F⁻¹∇J = A up to that constant
    assert_close(natural_gradient(p * advantages, fisher), advantages - advantages.mean())


def test_the_kl_sized_step_has_the_asked_size_to_second_order():
    direction = natural_gradient(GRADIENT, FISHER)
    step = kl_step(GRADIENT, direction, 0.02)
    assert_close(0.5 * torch.einsum("bp,bpq,bq->b", step, FISHER, step), torch.full((3,), 0.02, dtype=torch.float64))
    assert_close(torch.cosine_similarity(step, direction), torch.ones(3, dtype=torch.float64))
    assert_close(kl_step(7 * GRADIENT, 7 * direction, 0.02), step)
    assert (kl_step(0 * GRADIENT, 0 * direction, 0.02) == 0).all()


def test_the_critic_is_the_weighted_least_squares_fit():
    truth = torch.randn(3, 6, dtype=torch.float64, generator=GENERATOR)
    returns = torch.einsum("bnp,bp->bn", SCORES, truth) + 4.0
    w, v = compatible_critic(SCORES, returns)
    assert_close(w, truth)
    assert_close(v, torch.full((3, 1), 4.0, dtype=torch.float64))
    keep = (torch.arange(50) < 30).double().expand(3, 50)
    spoilt = returns + 100 * (1 - keep)
    assert_close(compatible_critic(SCORES, spoilt, weights=keep)[0], truth)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fisher_matrix(SCORES[:, :0]), "scores must not be empty"),
        (lambda: fisher_matrix(SCORES, WEIGHTS[:2]), r"weights \(2, 50\).*scores \(3, 50, 6\)"),
        (lambda: natural_gradient(GRADIENT, FISHER[:, :5]), r"fisher \(3, 5, 6\).*gradient \(3, 6\)"),
        (lambda: natural_gradient(GRADIENT, FISHER, -1.0), "damping"),
        (lambda: natural_gradient(GRADIENT * torch.nan, FISHER), "gradient"),
        (lambda: conjugate_gradient(lambda v: v, GRADIENT, 0), "iterations"),
        (lambda: kl_step(GRADIENT, GRADIENT[:2], 0.1), "direction"),
        (lambda: kl_step(GRADIENT, GRADIENT, 0.0), "max_kl"),
        (lambda: compatible_critic(SCORES, WEIGHTS[:, :9]), r"returns \(3, 9\)"),
        (lambda: compatible_critic(SCORES, WEIGHTS, SCORES[:2]), r"features \(2, 50, 6\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("size", [1e-45, 1e-23, 1e20, 3e38])
def test_kl_steps_of_any_length(size):
    """g = d: √(2δ / d²) · d = √(2δ), where d² vanishes or overflows; and it has no scale of its own."""
    step = kl_step(torch.tensor([size]), torch.tensor([size]), 0.01)
    assert step.item() == pytest.approx(0.02**0.5)
    g, d = torch.tensor([[3.0, -1.0]]), torch.tensor([[2.0, 5.0]])
    big = 2.0**70
    assert_close(kl_step(g / big, d / big, 0.01), kl_step(g, d, 0.01))
    assert_close(kl_step(g * big, d / big, 0.01), kl_step(g, d, 0.01) / big, atol=0, rtol=1e-6)


def test_kl_steps_in_half_precision():
    wide = torch.tensor([300.0, 0.0])
    step = kl_step(wide.half(), wide.half(), 0.01)
    assert step.dtype == torch.float16
    assert_close(step.float(), torch.tensor([0.02**0.5, 0.0]), atol=1e-4, rtol=0)


def test_weights_of_another_precision_count_in_the_wider_one():
    found = fisher_matrix(SCORES.float(), WEIGHTS)
    assert found.dtype == torch.float64
    assert_close(found, fisher_matrix(SCORES.float().double(), WEIGHTS))
    assert fisher_matrix(SCORES, WEIGHTS.float()).dtype == torch.float64


ONES = torch.ones(2, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conjugate_gradient(lambda v: v * torch.nan, ONES[0]), r"product\(direction\) .* must be finite"),
        (lambda: conjugate_gradient(lambda v: v, ONES[0], 2.5), "iterations must be at least 1 and whole"),
        (lambda: natural_gradient(ONES[0], ONES.triu(), 0.1), "fisher .* must be symmetric"),
    ],
)
def test_what_has_no_answer_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_damping_below_rounding_inverts_no_zero():
    p = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    fisher, rewards = torch.diag(p) - torch.outer(p, p), torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)
    gradient = p * (rewards - p @ rewards)
    exact = rewards - rewards.mean()  # the shortest d with F d = g
    for dtype, dampings in ((torch.float64, (1e-300, 1e-18)), (torch.float32, (1e-9, 1e-8))):
        for damping in dampings:
            found = natural_gradient(gradient.to(dtype), fisher.to(dtype), damping)
            torch.testing.assert_close(found.double(), exact, atol=1e-4, rtol=0)


def test_parameters_of_another_scale_keep_their_weight_in_the_critic():
    """With the default of `lstsq`, samples · ε, one of 2,000 in float32 was taken for a zero."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2000, 2, generator=generator, dtype=torch.float64)
    returns = scores @ torch.tensor([1.0, 2.0], dtype=torch.float64)
    scores = scores * torch.tensor([1.0, 1e-4], dtype=torch.float64)
    weights, _ = compatible_critic(scores.float(), returns.float())
    assert weights.dtype == torch.float32
    assert weights.tolist() == [pytest.approx(1, rel=1e-3), pytest.approx(20_000, rel=1e-3)]


def test_a_large_curvature_is_no_flat_direction():
    found = conjugate_gradient(lambda v: 1e25 * torch.tensor([2.0, 1.0]) * v, torch.ones(2))
    torch.testing.assert_close(found * 1e25, torch.tensor([0.5, 1.0]))
