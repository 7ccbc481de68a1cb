import pytest
import torch

from policy_gradients.estimators.log_probs import expected_value, kl_divergence, log_probs_and_entropy
from policy_gradients.estimators.projection import projection_divergence, soft_target
from policy_gradients.language.chunked import StateCredit, score_tokens
from policy_gradients.training.budget import LiveTensors

TOKENS, WIDTH, VOCABULARY = 23, 8, 50


def inputs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden, head = (torch.randn(n, WIDTH, generator=generator).mul(0.5).requires_grad_() for n in (TOKENS, VOCABULARY))
    return hidden, head, torch.randint(VOCABULARY, (TOKENS,), generator=generator)


def plain(hidden, head, actions, reference_hidden, reference_head, temperature):
    logits = hidden @ head.T / temperature
    log_probs, entropy = log_probs_and_entropy(logits, actions)
    if reference_hidden is None:
        return log_probs, entropy, torch.zeros_like(entropy), log_probs.detach()
    reference = reference_hidden @ reference_head.T / temperature
    kl = kl_divergence(logits.log_softmax(-1), reference.log_softmax(-1))
    return log_probs, entropy, kl, log_probs_and_entropy(reference, actions)[0]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("with_reference", [True, False])
@pytest.mark.parametrize("chunk_size", [1, 7, None])
def test_values_and_gradients_are_those_of_the_plain_way(temperature, with_reference, chunk_size):
    hidden, head, actions = inputs()
    reference = [x.detach() for x in inputs(1)[:2]] if with_reference else [None, None]
    weights = torch.randn(3, TOKENS, generator=torch.Generator().manual_seed(2))
    found = []
    for scores in (
        score_tokens(hidden, head, actions, *reference, temperature, chunk_size),
        plain(hidden, head, actions, *reference, temperature),
    ):
        assert not scores[3].requires_grad
        loss = sum((w * x).sum() for w, x in zip(weights, scores[:3], strict=True))
        found.append([*scores[:4], *torch.autograd.grad(loss, [hidden, head])])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_a_frozen_head_gets_no_gradient():
    hidden, head, actions = inputs()
    score_tokens(hidden, head.detach(), actions)[0].sum().backward()
    (expected,) = torch.autograd.grad(plain(hidden, head, actions, None, None, 1.0)[0].sum(), [hidden])
    torch.testing.assert_close(hidden.grad, expected)
    assert head.grad is None


def test_all_logits_never_exist_at_once():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(512, WIDTH, generator=generator).requires_grad_()
    head = torch.randn(2000, WIDTH, generator=generator).requires_grad_()
    actions = torch.zeros(512, dtype=torch.long)
    logits = 4 * len(hidden) * len(head)
    with LiveTensors() as live:
        log_probs, entropy, *_ = score_tokens(hidden, head, actions, hidden.detach(), head.detach(), chunk_size=32)
        assert 0 < live.peak < logits / 3
        (log_probs + entropy).sum().backward()
        assert live.peak < logits / 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_products_are_low_and_results_are_not(dtype):
    hidden, head, actions = inputs()
    with torch.autocast("cpu", dtype):
        low = score_tokens(hidden, head, actions, hidden.detach(), head.detach())
    exact = plain(hidden, head, actions, hidden.detach(), head.detach(), 1.0)
    assert all(x.dtype == torch.float32 for x in low[:4])
    torch.testing.assert_close(low[0], exact[0], atol=0.1, rtol=0.02)
    assert low[2].abs().max() < 1e-6  # the same on both sides, rounded alike
    gradients = [torch.autograd.grad(x[0].sum() + x[1].sum(), [hidden, head]) for x in (low, exact)]
    for ours, theirs in zip(*gradients, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 0.05 * theirs.norm()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("with_reference", [True, False])
@pytest.mark.parametrize("chunk_size", [1, 7, None])
def test_the_expected_value_and_its_gradient_are_those_of_the_plain_way(temperature, with_reference, chunk_size):
    """Of the first 15 tokens; the others have no state."""
    hidden, head, actions = inputs()
    reference = [x.detach() for x in inputs(1)[:2]] if with_reference else [None, None]
    table = torch.randn(4, VOCABULARY, generator=torch.Generator().manual_seed(3))
    states, weights = torch.arange(15) % 4, torch.randn(15, generator=torch.Generator().manual_seed(2))
    credit = StateCredit(states, lambda chosen: table[chosen])
    scores = score_tokens(hidden, head, actions, *reference, temperature, chunk_size, credit)
    gain = scores.expected_value
    log_pi = (hidden @ head.T / temperature).log_softmax(-1)[:15]
    expected = expected_value(log_pi, table[states])
    torch.testing.assert_close(gain, expected, atol=1e-5, rtol=1e-5)
    ours, theirs = (
        torch.autograd.grad((weights * x).sum() + 0.3 * scores.entropy.sum(), [hidden, head], retain_graph=True)
        for x in (gain, expected)
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_without_states_there_is_no_expected_value():
    hidden, head, actions = inputs()
    scores = score_tokens(hidden, head, actions)
    assert scores.expected_value is None and scores.projection is None and scores.kind_probs is None


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk_size", [1, 7, None])
def test_the_projection_and_its_gradient_are_those_of_the_plain_way(temperature, chunk_size):
    """Of the first 15 tokens, beside an expected value and a divergence with gradients of their own."""
    hidden, head, actions = inputs()
    there, head_there = (x.detach() for x in inputs(1)[:2])
    table = torch.randn(4, VOCABULARY, generator=torch.Generator().manual_seed(3))
    kinds = torch.nn.functional.one_hot(torch.arange(VOCABULARY) % 3, 3).float()
    states, weights = torch.arange(15) % 4, torch.randn(3, 15, generator=torch.Generator().manual_seed(2))
    credit = StateCredit(states, lambda chosen: table[chosen], kinds, projection_temperature=0.5)
    scores = score_tokens(hidden, head, actions, there, head_there, temperature, chunk_size, credit)
    log_pi = (hidden @ head.T / temperature).log_softmax(-1)[:15]
    log_ref = (there @ head_there.T / temperature).log_softmax(-1)[:15]
    plain_projection = projection_divergence(log_pi, soft_target(log_ref, table[states], 0.5))
    plain_columns = (plain_projection, expected_value(log_pi, table[states]), kl_divergence(log_pi, log_ref))
    torch.testing.assert_close(scores.projection, plain_projection, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scores.kind_probs, log_pi.exp() @ kinds)
    assert not scores.kind_probs.requires_grad
    ours, theirs = (
        torch.autograd.grad(sum((w * x).sum() for w, x in zip(weights, columns, strict=True)), [hidden, head])
        for columns in ((scores.projection, scores.expected_value, scores.kl[:15]), plain_columns)
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_projection_without_a_reference_is_refused():
    hidden, head, actions = inputs()
    credit = StateCredit(torch.zeros(3, dtype=torch.long), lambda s: s, projection_temperature=1.0)
    with pytest.raises(ValueError, match="made from the reference"):
        score_tokens(hidden, head, actions, credit=credit)


def test_tokens_that_are_ruled_out_get_no_gradient_and_spoil_none():
    generator = torch.Generator().manual_seed(0)
    allowed = torch.randn(2, 4, 5, generator=generator)  # policy and reference, four tokens
    open_columns, actions = [0, 1, 3, 5, 6], torch.tensor([0, 2, 4, 1])
    states = torch.tensor([0, 1, 1, 0])
    q = torch.randn(2, 7, generator=generator)

    def scores(logits, reference, actions, q):
        credit = StateCredit(states, lambda s: q[s], projection_temperature=0.5)
        found = score_tokens(logits, None, actions, reference, None, chunk_size=3, credit=credit)
        return [found.log_probs, found.entropy, found.kl, found.expected_value, found.projection]

    masked = torch.full((2, 4, 7), -torch.inf)
    masked[..., open_columns] = allowed
    outcomes = []
    for both, chosen, values in (
        (masked, torch.tensor(open_columns)[actions], q),
        (allowed, actions, q[:, open_columns]),
    ):
        logits = both[0].clone().requires_grad_()
        found = scores(logits, both[1], chosen, values)
        sum((i + 1) * column.sum() for i, column in enumerate(found)).backward()
        outcomes.append((found, logits.grad))
    for with_mask, without in zip(outcomes[0][0], outcomes[1][0], strict=True):
        torch.testing.assert_close(with_mask, without)
    torch.testing.assert_close(outcomes[0][1][:, open_columns], outcomes[1][1])
    assert (outcomes[0][1][:, [2, 4]] == 0).all()
