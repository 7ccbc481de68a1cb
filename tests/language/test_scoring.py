import copy
import math

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from policy_gradients.estimators.log_probs import kl_divergence, log_probs_and_entropy
from policy_gradients.language.models import frozen_copy, load_model
from policy_gradients.language.rollout import generate
from policy_gradients.language.scoring import CompletionScorer, TokenScores, hidden_states, plain_perplexity

PROMPTS = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14]]
END = [1, 2]


@pytest.fixture(scope="module")
def rollout(any_model):
    numbers = torch.rand(12, 9, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rollout = generate(any_model, PROMPTS, 4, numbers, [*END, *range(20, 60)], pad_id=0)
    assert len(set(rollout.mask.sum(1).tolist())) > 2  # ragged, or the tests below prove little
    return rollout


def reference_of(model):
    reference = frozen_copy(model)
    generator = torch.Generator().manual_seed(1)
    for parameter in reference.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return reference


def plain_scores(model, reference, rollout, temperature):
    """Each completion alone behind its whole prompt: no cache, no sharing, no padding, full logits."""
    shape = rollout.mask.shape
    rows = {"log_probs": [], "entropy": [], "kl": [], "ref_log_probs": []}
    for row in range(shape[0]):
        prompt = PROMPTS[row // rollout.num_generations]
        completion = rollout.completion_ids[row, : int(rollout.mask[row].sum())]
        ids = torch.cat([torch.tensor(prompt), completion]).unsqueeze(0)
        logits = model(ids).logits[0, len(prompt) - 1 : -1] / temperature
        with torch.no_grad():
            reference_logits = reference(ids).logits[0, len(prompt) - 1 : -1] / temperature
        log_probs, entropy = log_probs_and_entropy(logits.float(), completion)
        kl = kl_divergence(logits.float().log_softmax(-1), reference_logits.float().log_softmax(-1))
        ref_log_probs, _ = log_probs_and_entropy(reference_logits.float(), completion)
        found = {"log_probs": log_probs, "entropy": entropy, "kl": kl, "ref_log_probs": ref_log_probs}
        for name, values in found.items():
            rows[name].append(torch.cat([values, values.new_zeros(shape[1] - len(values))]))
    return TokenScores(**{name: torch.stack(values) for name, values in rows.items()})


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_shared_prefix_and_chunks_equal_the_plain_forward_in_value_and_gradient(any_model, rollout, temperature):
    reference = reference_of(any_model)
    scorer = CompletionScorer(any_model, chunk_size=7)
    gradients = []
    for score in (
        lambda: scorer(rollout, temperature, reference),
        lambda: plain_scores(any_model, reference, rollout, temperature),
    ):
        scores = score()
        any_model.zero_grad()
        weights = torch.linspace(-1, 1, scores.log_probs.numel()).view_as(scores.log_probs)
        (weights * (scores.log_probs + 0.3 * scores.entropy + 0.2 * scores.kl)).sum().backward()
        gradients.append((scores, [p.grad.clone() for p in any_model.parameters() if p.grad is not None]))
    (shared, shared_gradients), (plain, plain_gradients) = gradients
    assert not shared.ref_log_probs.requires_grad
    for name in ("log_probs", "entropy", "kl", "ref_log_probs"):
        torch.testing.assert_close(getattr(shared, name), getattr(plain, name), atol=1e-5, rtol=1e-5)
    assert len(shared_gradients) == len(plain_gradients)
    for a, b in zip(shared_gradients, plain_gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_without_a_reference_the_divergence_is_zero(any_model, rollout):
    scores = CompletionScorer(any_model)(rollout)
    assert (scores.kl == 0).all()
    assert (scores.log_probs[rollout.mask == 0] == 0).all()


def test_a_reference_that_has_read_the_rollout_need_not_read_it_again(any_model, rollout):
    reference = frozen_copy(any_model)
    with torch.no_grad():
        next(reference.base_model.parameters()).mul_(1.5)
        wanted = CompletionScorer(any_model)(rollout, 1.0, reference, True)
        known = hidden_states(reference, rollout)
        there = CompletionScorer(any_model)(rollout, 1.0, reference, True, reference_hidden=known)
        elsewhere = CompletionScorer(any_model)(rollout, 1.0, reference, True, reference_hidden=[2 * x for x in known])
    assert wanted.kl.sum() > 0
    assert torch.equal(there.kl, wanted.kl) and torch.equal(there.prompt_kl, wanted.prompt_kl)
    assert not torch.equal(elsewhere.kl, wanted.kl) and not torch.equal(elsewhere.prompt_kl, wanted.prompt_kl)


def test_the_divergence_on_the_prompts_equals_that_of_each_prompt_alone_in_value_and_gradient(any_model, rollout):
    reference = reference_of(any_model)
    gradients = []
    shared = CompletionScorer(any_model, chunk_size=7)(rollout, 0.7, reference, with_prompts=True).prompt_kl
    width = shared.shape[1]
    rows = []
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        with torch.no_grad():
            reference_log_pi = (reference(ids).logits[0].float() / 0.7).log_softmax(-1)
        kl = kl_divergence((any_model(ids).logits[0].float() / 0.7).log_softmax(-1), reference_log_pi)
        rows.append(torch.cat([kl.new_zeros(width - len(prompt)), kl]))
    alone = torch.stack(rows)
    torch.testing.assert_close(shared, alone, atol=1e-5, rtol=1e-5)
    for kl in (shared, alone):
        any_model.zero_grad()
        (torch.linspace(0.5, 1, kl.numel()).view_as(kl) * kl).sum().backward()
        gradients.append([p.grad.clone() for p in any_model.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_asking_for_the_prompts_changes_nothing_else(any_model, rollout):
    reference, scorer = reference_of(any_model), CompletionScorer(any_model, chunk_size=7)
    plain, more = scorer(rollout, 1.0, reference), scorer(rollout, 1.0, reference, with_prompts=True)
    assert plain.prompt_kl is None
    for name in ("log_probs", "entropy", "kl"):
        torch.testing.assert_close(getattr(plain, name), getattr(more, name), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_trainer_finds_the_log_probs_that_the_sampler_drew_with(any_model, temperature):
    numbers = torch.rand(12, 9, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    rollout = generate(any_model, PROMPTS, 4, numbers, [*END, *range(20, 60)], 0, temperature)
    torch.testing.assert_close(CompletionScorer(any_model)(rollout, temperature).log_probs, rollout.log_probs)


def test_a_critic_sees_the_state_that_each_token_is_chosen_in(any_model, rollout):
    scores = CompletionScorer(any_model, critic=lambda _, hidden: hidden.sum(-1))(rollout)
    for row in (0, 5):
        prompt = PROMPTS[row // rollout.num_generations]
        ids = torch.tensor([[*prompt, *rollout.completion_ids[row, : int(rollout.mask[row].sum())].tolist()]])
        states = any_model.base_model(ids).last_hidden_state[0, len(prompt) - 1 : -1].sum(-1)
        torch.testing.assert_close(scores.values[row, : len(states)], states)
        assert (scores.values[row, len(states) :] == 0).all()


def test_a_policy_is_at_no_distance_from_itself(any_model, rollout):
    scores = CompletionScorer(any_model)(rollout, 1.0, frozen_copy(any_model))
    assert scores.kl.abs().max().item() < 1e-6


def test_perplexity_against_one_text_at_a_time(any_model, tokenizer):
    texts = ["The river is long.", "A city in the north of the country, known since 1204.", "It was."]
    total = count = 0.0
    for text in texts:
        ids = torch.tensor([tokenizer.encode(text)])  # no BOS: nothing predicts the first
        with torch.no_grad():
            log_probs = any_model(ids).logits[0, :-1].log_softmax(-1)
        total -= log_probs.gather(1, ids[0, 1:, None]).sum().item()
        count += ids.shape[1] - 1
    assert plain_perplexity(any_model, tokenizer, texts, batch_size=2) == pytest.approx(
        math.exp(total / count), rel=1e-9
    )


def test_the_padding_token_moves_no_perplexity():
    model, tokenizer = load_model("tiny")
    texts = ["The river is long.", "In 1917 the 3rd regiment crossed 12 rivers, or so they say."]
    found = plain_perplexity(model, tokenizer, texts)
    tokenizer.pad_token = "<|im_end|>"
    assert plain_perplexity(model, tokenizer, texts) == found


def test_perplexity_scores_the_first_token_after_a_bos_alone(any_model, tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    texts = ["The river is long.", "It is."]

    def by_hand(start):
        total, count = 0.0, 0
        for text in texts:
            ids = torch.tensor([[*start, *tokenizer.encode(text, add_special_tokens=False)]])
            log_probs = any_model(ids).logits[0, :-1].float().log_softmax(-1).gather(1, ids[0, 1:].unsqueeze(1))
            total, count = total - log_probs.sum().item(), count + len(log_probs)
        return math.exp(total / count)

    assert plain_perplexity(any_model, tokenizer, texts) == pytest.approx(by_hand([]), rel=1e-5)
    tokenizer.bos_token = "<|im_start|>"
    assert plain_perplexity(any_model, tokenizer, texts) == pytest.approx(by_hand([]), rel=1e-5)  # it puts none there
    processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
    tokenizer.backend_tokenizer.post_processor = processor
    assert plain_perplexity(any_model, tokenizer, texts) == pytest.approx(by_hand([1]), rel=1e-5)
    tokenizer.backend_tokenizer.post_processor = None
    with pytest.raises(ValueError, match="none has a token that another one predicts"):
        plain_perplexity(any_model, tokenizer, [""])
