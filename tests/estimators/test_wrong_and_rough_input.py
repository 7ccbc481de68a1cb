"""What users hand over first: 0/1 rewards, masked actions, NaN on padding, equal rewards, shapes that broadcast."""

import math

import pytest
import torch

import policy_gradients
from policy_gradients import estimators as e

INF, NAN = math.inf, math.nan
REWARDS = [[1, 0, 0, 1], [1, 1, 0, 0]]
MASK = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
PADDED = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.25, NAN]])
CLEAN = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.25, 0.0]])


@pytest.mark.parametrize("dtype", [torch.bool, torch.long, torch.int8])
@pytest.mark.parametrize(
    "call",
    [
        e.group_advantages,
        lambda r: e.group_advantages(r, "leave_one_out", "std"),
        e.leave_one_out,
        lambda r: e.running_mean(0.5, r),
        lambda r: e.discounted_returns(r, 0.9),
        lambda r: e.generalized_advantages(r, torch.zeros(2, 4), 0.9, 0.8),
        lambda r: e.policy_gradient_loss(-torch.ones(2, 4), r),
        lambda r: e.clipped_loss(-torch.ones(2, 4), -torch.ones(2, 4), r),
        lambda r: e.with_terminal_reward(r[:, 0], torch.ones(2, 3)),
        lambda r: torch.tensor(e.entropy_weight(0.1, r, "variance")),
        lambda r: e.gpomdp(torch.ones(2, 4, 3), r, 0.5),
        lambda r: e.score_gradient(torch.ones(2, 4, 3), r[:, 0]),
    ],
)
def test_whole_numbers_and_truth_values_are_rewards(call, dtype):
    rewards = torch.tensor(REWARDS)
    torch.testing.assert_close(call(rewards.to(dtype)), call(rewards.float()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("epsilon", [0.0, 1e-8, 1e-4])
def test_equal_rewards_give_exact_zeros(dtype, epsilon):
    """30 times 0.9 in float32 has a mean off by rounding: it made -1.8e-3, -0.93 and NaN of zero."""
    for size in (2, 3, 7, 30):
        rewards = torch.full((2, size), 0.9, dtype=dtype)
        for baseline in ("mean", "leave_one_out", "batch_mean"):
            for scale in ("none", "std", "batch_std", "batch_reward_std", "mean"):
                advantages = e.group_advantages(rewards, baseline, scale, epsilon)
                assert advantages.dtype == dtype and (advantages == 0).all(), (baseline, scale)


def test_scales_of_trl_and_maxrl():
    """TRL divides by the standard deviation of the rewards; MaxRL by the mean, with 0 where nothing passes."""
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0], [3.0, 3.0, 3.0, 0.0], [0.0] * 4])
    centred = rewards - rewards.mean(1, keepdim=True)
    found = e.group_advantages(rewards, "mean", "batch_reward_std")
    torch.testing.assert_close(found, centred / (rewards.std() + 1e-4))
    assert e.group_advantages(rewards, "mean", "mean").tolist()[::2] == [[3, -1, -1, -1], [0] * 4]
    with pytest.raises(ValueError, match="must not be negative with scale 'mean'"):
        e.group_advantages(-rewards, "mean", "mean")
    with pytest.raises(ValueError, match="epsilon"):
        e.group_advantages(rewards, "mean", "std", -1.0)
    with pytest.raises(ValueError, match="epsilon must be above 0 here"):
        e.group_advantages(torch.ones(1, 4), "none", "std", 0.0)


@pytest.mark.parametrize("baseline", ["none", "mean", "leave_one_out", "batch_mean"])
@pytest.mark.parametrize("scale", ["none", "std", "batch_std", "batch_reward_std", "mean"])
def test_groups_by_number_are_the_groups(baseline, scale):
    rewards = torch.rand(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([7, 2, 5]).repeat_interleave(4)
    found = e.group_advantages_by_id(rewards.flatten()[order], ids[order], baseline, scale)
    torch.testing.assert_close(found, e.group_advantages(rewards, baseline, scale).flatten()[order])


def test_uneven_groups():
    rewards, ids = torch.tensor([1, 0, 3, 5, 7]), torch.tensor([4, 4, 9, 9, 9])
    assert e.group_advantages_by_id(rewards, ids).tolist() == [0.5, -0.5, -2, 0, 2]
    with pytest.raises(ValueError, match=r"groups: .*\[9\] have 1"):
        e.group_advantages_by_id(rewards[:3], ids[:3])


@pytest.mark.parametrize(
    "value",
    [
        lambda z: e.entropy(z.log_softmax(-1)),
        lambda z: e.kl_divergence(z.log_softmax(-1), torch.tensor([0.2, 0.3, 0.5]).double().log()),
        lambda z: e.kl_divergence(z.log_softmax(-1), torch.tensor([0.4, 0.6, 0.0]).double().log()),
        lambda z: e.log_probs_and_entropy(z, torch.tensor(0))[0],
        lambda z: e.log_probs_and_entropy(z, torch.tensor(0))[1],
        lambda z: e.expected_value(z.log_softmax(-1), torch.tensor([1.0, 2.0, NAN]).double()),
        lambda z: e.projection_divergence(z.log_softmax(-1), torch.tensor([0.4, 0.6, 0.0]).double().log()),
    ],
)
def test_a_ruled_out_action_is_as_if_it_were_not_there(value):
    """The gradient by its logit is 0, that of the others is the limit of a logit that falls without end."""
    grads = []
    for last in (-INF, -60.0):
        logits = torch.tensor([0.3, -0.5, last], dtype=torch.float64, requires_grad=True)
        loss = value(logits) if last == -INF else torch.nan_to_num(value(logits))
        grads.append((loss.detach(), torch.autograd.grad(loss, logits)[0]))
    assert torch.isfinite(grads[0][0]) and torch.isfinite(grads[0][1]).all() and grads[0][1][2] == 0
    if torch.isfinite(grads[1][1]).all() and grads[1][0] != 0 and grads[1][0] < 1e9:
        torch.testing.assert_close(grads[0], grads[1])


@pytest.mark.parametrize(
    "call",
    [
        lambda x: e.discounted_returns(x, 0.9, MASK),
        lambda x: e.generalized_advantages(x, x, 0.9, 0.8, MASK),
        lambda x: e.lambda_returns(x, x, 0.9, 0.8, MASK),
        lambda x: e.n_step_returns(x, x, 2, 0.9, MASK),
        lambda x: e.shape_rewards(x, x, 0.9, MASK),
        lambda x: e.value_loss(x, x + 1, MASK),
        lambda x: e.importance_weights(x, 0 * x, MASK),
        lambda x: e.divergence_to_go(x, MASK),
        lambda x: torch.stack(e.divergence_parts(x, MASK)),
        lambda x: e.sequence_old_log_probs(x, 0 * x, MASK)[:, :2],
        lambda x: e.aggregate(x, MASK, "sequence"),
        lambda x: e.masked_whiten(x, MASK),
        lambda x: e.masked_var(x, MASK, 1),
        lambda x: e.score_gradient(x.unsqueeze(-1), x, MASK),
    ],
)
def test_what_stands_on_padding_does_not_count(call):
    padded = PADDED.clone().requires_grad_()
    found = call(padded)
    torch.testing.assert_close(found, call(CLEAN.clone()), check_stride=False)
    if found.requires_grad:
        assert torch.isfinite(torch.autograd.grad(found.sum(), padded)[0]).all()


P = torch.full((2, 3), -1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: e.clipped_tokens(P, P[:, :1], torch.ones(2)), "old_log_probs"),
        (lambda: e.clipped_tokens(P, P, torch.ones(2), -0.1), "clip_low"),
        (lambda: e.kl_divergence(P, P[:, :1]), "log_ref"),
        (lambda: e.projection_divergence(P, P[:1]), "log_target"),
        (lambda: e.divergence_to_go(P, MASK[:, :1]), "mask"),
        (lambda: e.divergence_to_go(P, 0.5 * MASK), "zeros and ones"),
        (lambda: e.token_weights(NAN * MASK, "token", 2, 5, 3), "zeros and ones"),
        (lambda: e.token_weights(0.5 * MASK, "token", 2, 5, 3), "zeros and ones"),
        (lambda: e.token_weights(MASK, "token", 1, 5, 3), "completions"),
        (lambda: e.token_weights(MASK, "token", 2, 4, 3), "tokens must count"),
        (lambda: e.token_weights(MASK[0], "token", 2, 5, 3), "mask must have shape"),
        (lambda: e.aggregate(P, MASK, empty="skip"), "empty must be"),
        (lambda: e.entropy_weight(0.0, P, "varience"), "schedule"),
        (lambda: e.entropy_weight(0.1, P, "variance", epsilon=-1.0), "epsilon"),
        (lambda: e.discounted_returns(torch.tensor(1.0)), "rewards must have at least 1"),
        (lambda: e.discounted_returns(P, mask=torch.ones(2, 1)), "mask"),
        (lambda: e.discounted_returns([1.0, 2.0]), "rewards must be a tensor, got list"),
        (lambda: e.zero_variance_share(torch.ones(3)), "rewards must have shape"),
        (lambda: e.log_probs_and_entropy(P, torch.tensor([0, 3])), r"actions .* must lie in \[0, 3\)"),
        (lambda: e.log_probs_and_entropy(P, torch.tensor([0.0, 1.0])), "actions .* whole numbers"),
        (lambda: e.log_probs_and_entropy(P * INF, torch.tensor([0, 1])), "every action is ruled out"),
        (lambda: e.leave_one_out(P, dim=5), "dim must be"),
        (lambda: e.StateValues(2).update(torch.tensor([[5]]), torch.ones(1, 1), torch.ones(1, 1)), "states"),
        (lambda: e.soft_target(P, P, 0.0), "temperature"),
        (lambda: e.clipped_loss(P, P, torch.ones(2), dual_clip=1.0), "dual_clip"),
        (lambda: e.reverse_cumsum(torch.zeros(2, 0), 0.5), "values must not be empty"),
    ],
)
def test_nonsense_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_gaps_and_dones():
    """Tool tokens in the middle, padding in front: as if they were not there. A row of two episodes: as two rows."""
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.rand(2, 4, 5, generator=generator, dtype=torch.float64)
    places = torch.tensor([1, 2, 5, 6, 8])
    wide = torch.full((2, 4, 9), NAN, dtype=torch.float64)
    wide[..., places] = torch.stack([rewards, values])
    mask = torch.zeros(4, 9, dtype=torch.float64)
    mask[:, places] = 1
    dones = torch.tensor([0, 0, 1, 0, 1]).expand(4, 5)
    for function in (e.generalized_advantages, e.lambda_returns):
        found = function(*wide, 0.9, 0.8, mask, gaps=True)
        torch.testing.assert_close(found[:, places], function(rewards, values, 0.9, 0.8))
        assert (found[mask == 0] == 0).all()
        two = function(rewards, values, 0.9, 0.8, bootstrap=torch.ones(4), dones=dones)
        apart = [function(rewards[:, part], values[:, part], 0.9, 0.8) for part in (slice(3), slice(3, 5))]
        torch.testing.assert_close(two, torch.cat(apart, dim=1))
    with pytest.raises(ValueError, match="no first step"):
        e.generalized_advantages(*wide, 0.9, 0.8, mask)


def test_a_discount_for_each_step():
    gamma = torch.tensor([[0.5, 1.0, 0.0]])
    assert e.discounted_returns(torch.tensor([[1.0, 2.0, 4.0]]), gamma).tolist() == [[4, 6, 4]]
    lam = e.lambda_returns(torch.tensor([[1, 2]]), torch.tensor([[10.0, 20.0]]), 0.5, 0.5)
    assert lam.tolist() == [[1 + 0.5 * (0.5 * 20 + 0.5 * 2), 2]]


def test_cispo_dual_clip_and_empty_completions():
    new = torch.tensor([[8.0, 2.0]]).log().requires_grad_()
    old, bad = torch.zeros(1, 2), torch.tensor([-1.0])
    torch.testing.assert_close(e.clipped_loss(new, old, bad, dual_clip=3.0), torch.tensor([[3.0, 2.0]]))
    assert e.clipped_tokens(new, old, bad, dual_clip=3.0).tolist() == [[True, False]]
    [gradient] = torch.autograd.grad(e.cispo_loss(new, old, -bad).sum(), new)
    torch.testing.assert_close(gradient, torch.tensor([[-5.0, -2.0]]))
    mask = torch.tensor([[1, 1], [0, 0]])
    loss = torch.tensor([[2.0, 4.0], [NAN, 1.0]])
    assert e.aggregate(loss, mask, "sequence", empty="zero").item() == 1.5
    with pytest.raises(ValueError, match="1 completions have no token"):
        e.aggregate(loss, mask)


def test_masked_statistics():
    assert e.masked_mean(PADDED, MASK).item() == pytest.approx(0.55)
    seen = PADDED[MASK > 0]
    torch.testing.assert_close(e.masked_var(PADDED, MASK), seen.var())
    white = e.masked_whiten(PADDED, MASK)
    torch.testing.assert_close(white[MASK > 0], (seen - seen.mean()) / (seen.var() + 1e-8).sqrt())
    assert (e.masked_whiten(torch.full((2, 30), 0.9), torch.ones(2, 30), epsilon=0.0) == 0).all()


def softmax_arms(seed):
    """Float32 (π, F, ∇J) of a softmax bandit of 3 to 10 arms, and F⁻¹∇J in float64: the centred advantages."""
    generator = torch.Generator().manual_seed(seed)
    logits, values = 1.5 * torch.randn(2, 3 + seed % 8, generator=generator)
    p, exact_p = logits.softmax(0), logits.double().softmax(0)
    gradient = p * (values - (p * values).sum())
    return p, e.fisher_matrix(torch.eye(len(p)) - p, p), gradient, values.double() - values.double().mean(), exact_p


def test_singular_fishers_in_float32():
    """Without stops for rounding conjugate gradients were over 10 % off in 221 of these 250."""
    wrong = 0
    for seed in range(250):
        _, fisher, gradient, exact, _ = softmax_arms(seed)
        found = e.conjugate_gradient(lambda v, fisher=fisher: fisher @ v, gradient, 20)
        wrong += ((found - exact).norm() > 0.1 * exact.norm()).item()
        assert (e.natural_gradient(gradient, fisher) - exact).norm() < 1e-3 * exact.norm()
    assert wrong == 0


def test_a_part_of_g_that_no_step_reaches_spoils_nothing():
    """Any g, of which the Fisher of a softmax policy cannot reach the mean: the answer is the pseudo-inverse's.

    Without a second start conjugate gradients gave no step at all to 44 of these 250, and were over 10 % off in 234.
    """
    for seed in range(250):
        p, fisher, _, _, exact_p = softmax_arms(seed)
        g = torch.randn(len(p), generator=torch.Generator().manual_seed(seed))
        exact_fisher = torch.diag(exact_p) - torch.outer(exact_p, exact_p)
        exact = torch.linalg.pinv(exact_fisher, hermitian=True, rtol=1e-12) @ g.double()
        found = e.conjugate_gradient(lambda v, fisher=fisher: fisher @ v, g, 20)
        assert (found - exact).norm() < 0.1 * exact.norm()
        step = e.kl_step(g, found, 0.01).double()
        assert (0.5 * step @ exact_fisher @ step).item() == pytest.approx(0.01, rel=0.1)


def test_sharp_policies_keep_what_float32_can_tell():
    """A cut of 3 · size · ε takes directions for rounding that one of size · ε keeps."""
    scores = torch.tensor([[1.0, 2.0, 0.5], [0.3, -0.2, 1.0], [0.0, 1.0, 2.0]]) * torch.tensor([1.0, 1.0, 1e-3])
    fisher = e.fisher_matrix(scores)  # its smallest eigenvalue is 5 ε of the largest
    gradient = (scores * torch.tensor([[1.0], [-1.0], [0.5]])).mean(0)
    wide = e.fisher_matrix(scores.double())
    exact = torch.linalg.solve(wide, gradient.double())
    assert (e.natural_gradient(gradient, fisher) - exact).norm() < 0.2 * exact.norm()


def test_an_eigenvector_is_answered_once_and_left_alone():
    p = torch.full((4,), 0.25)
    fisher = torch.diag(p) - torch.outer(p, p)
    b = torch.tensor([0.3, -0.1, -0.4, 0.2000001])
    for iterations in (1, 10, 100):
        x = e.conjugate_gradient(lambda v: fisher @ v, b, iterations)
        torch.testing.assert_close(x, 4 * b, atol=1e-5, rtol=0)


def test_public_names():
    assert set(policy_gradients.__all__) == set(e.__all__) <= set(dir(policy_gradients))
    assert policy_gradients.clipped_loss is e.clipped_loss
    with pytest.raises(AttributeError, match="nothing"):
        policy_gradients.nothing  # noqa: B018


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_statistics_of_many_steps_in_half_precision(half):
    """70,000 is no number of float16, and bfloat16 counts to 256."""
    ones = torch.ones(1, 70_000, dtype=half)
    mixed = torch.tensor([[1.0, 3.0]], dtype=half).repeat(1, 35_000)
    for mask in (ones, ones.float()):
        assert e.masked_mean(ones, mask).item() == 1
        assert e.masked_var(mixed, mask).item() == 1
        assert e.value_loss(ones, mixed, mask).item() == 1
        assert e.masked_whiten(mixed, mask)[0, :2].tolist() == [-1, 1]
    assert e.masked_mean(torch.full((1001,), 3.0, dtype=half), torch.ones(1001)).item() == 3
    assert e.masked_mean(ones, ones).dtype == half
    assert e.score_gradient(ones[..., None, None, :2], ones[:, :1]).dtype == half


def test_scores_that_are_not_finite_are_refused_where_they_count():
    scores = torch.ones(2, 3, 1)
    scores[1, 2] = NAN
    with pytest.raises(ValueError, match=r"scores .* must be finite"):
        e.score_gradient(scores, torch.ones(2))
    assert e.score_gradient(scores, torch.ones(2), MASK).tolist() == [2.5]
