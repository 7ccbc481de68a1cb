import pytest
import torch

from policy_gradients.language.rollout import completion_mask, generate, pad_left, positions, sample

PROMPTS = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14]]
END = [1, 2]


def uniforms(rows, columns, seed=0):
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@torch.no_grad()
def plain_generate(model, prompt, numbers, end=END):
    """One prompt, no cache, no batch: what `generate` must agree with."""
    ids = list(prompt)
    for number in numbers:
        logits = model(torch.tensor([ids])).logits[0, -1]
        token = sample(logits, number, 1.0)[0].item()
        ids.append(token)
        if token in end:
            break
    return ids[len(prompt) :]


def test_cached_batched_generation_equals_the_plain_one(any_model):
    numbers = uniforms(6, 20)
    rollout = generate(any_model, PROMPTS, 2, numbers, END, pad_id=0)
    for row in range(6):
        expected = plain_generate(any_model, PROMPTS[row // 2], numbers[row])
        length = int(rollout.mask[row].sum())
        assert rollout.completion_ids[row, :length].tolist() == expected
        assert rollout.finished[row].item() == (expected[-1] in END)


def test_it_stays_equal_when_most_completions_have_ended_early(any_model):
    numbers, end = uniforms(24, 12, seed=5), [*END, *range(20, 130)]
    rollout = generate(any_model, PROMPTS, 8, numbers, end, pad_id=0)
    lengths = rollout.mask.sum(1).tolist()
    assert len(set(lengths)) > 5  # so that the cache is made smaller again and again
    for row in range(24):
        expected = plain_generate(any_model, PROMPTS[row // 8], numbers[row], end)
        assert rollout.completion_ids[row, : int(lengths[row])].tolist() == expected


def test_a_completion_does_not_depend_on_its_batch(any_model):
    numbers = uniforms(6, 12)
    whole = generate(any_model, PROMPTS, 2, numbers, END, pad_id=0)
    alone = generate(any_model, PROMPTS[1:2], 2, numbers[2:4], END, pad_id=0)
    part = whole.slice_prompts(1, 2)
    assert part.completion_ids.tolist() == alone.completion_ids.tolist()
    assert part.prompt_ids.tolist() == alone.prompt_ids.tolist() == [PROMPTS[1]]
    assert part.mask.tolist() == alone.mask.tolist()
    torch.testing.assert_close(part.log_probs, alone.log_probs)


def test_finished_rows_leave_and_the_cap_holds(any_model):
    all_tokens_end = generate(any_model, PROMPTS, 3, uniforms(9, 7), list(range(400)), pad_id=0)
    assert all_tokens_end.completion_ids.shape == (9, 1)
    assert all_tokens_end.finished.all()
    none_ends = generate(any_model, PROMPTS, 3, uniforms(9, 7), [399], pad_id=0)
    capped = ~none_ends.finished
    assert none_ends.completion_ids.shape == (9, 7)
    assert (none_ends.mask[capped].sum(1) == 7).all()


def test_sampling_inverts_the_cumulative_distribution():
    logits = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64).log()
    draws = [sample(logits, torch.tensor(u), 1.0)[0].item() for u in (0.0, 0.199, 0.201, 0.699, 0.701, 0.9999999)]
    assert draws == [0, 0, 1, 1, 2, 2]


def test_sampling_frequencies_are_exact_on_a_grid_of_uniforms():
    """A fine grid in place of random numbers: frequencies follow softmax(logits / temperature) to the grid's width."""
    logits = torch.tensor([1.0, -0.5, 0.3, 2.0])
    grid = (torch.arange(20_000) + 0.5) / 20_000
    for temperature in (0.5, 1.0, 2.0):
        draws, log_probs = sample(logits.expand(20_000, 4), grid, temperature)
        frequencies = torch.bincount(draws, minlength=4) / 20_000
        torch.testing.assert_close(frequencies, (logits / temperature).softmax(-1), atol=1e-4, rtol=0)
        torch.testing.assert_close(log_probs, (logits / temperature).log_softmax(-1)[draws])


def test_mask_ends_with_the_first_end_token():
    ids = torch.tensor([[5, 2, 7, 2], [5, 6, 7, 8], [1, 1, 1, 1]])
    assert completion_mask(ids, torch.tensor(END)).tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]


def test_positions_ignore_left_padding():
    _, mask = pad_left(PROMPTS, 0)
    assert positions(mask).tolist() == [[0, 1, 2, 3, 4], [0, 0, 0, 0, 1], [0, 0, 0, 1, 2]]


@pytest.mark.parametrize(
    ("prompts", "rows", "temperature", "message"),
    [
        ([], 0, 1.0, "non-empty"),
        ([[1], []], 4, 1.0, "non-empty"),
        (PROMPTS, 5, 1.0, "rows"),
        (PROMPTS, 6, 0.0, "above 0"),
    ],
)
def test_bad_input(any_model, prompts, rows, temperature, message):
    with pytest.raises(ValueError, match=message):
        generate(any_model, prompts, 2, uniforms(rows, 4), END, 0, temperature)


def test_a_logits_processor_sees_what_was_written_and_decides_what_is_drawn(any_model):
    """Its rows are those that are still decoding; the log-probs are those of what it makes."""
    numbers, seen = uniforms(6, 8), []

    def odd_tokens_alone(completion_ids, logits):
        seen.append(completion_ids)
        return logits.masked_fill(torch.arange(logits.shape[-1]) % 2 == 0, -torch.inf)

    rollout = generate(any_model, PROMPTS, 2, numbers, END, 0, logits_processor=odd_tokens_alone)
    lengths = rollout.mask.sum(1)
    assert [each.shape[1] for each in seen] == list(range(len(seen)))
    for t, written in enumerate(seen):
        assert torch.equal(written, rollout.completion_ids[lengths > t, :t])
    drawn = rollout.completion_ids[rollout.mask.bool()]
    assert (drawn % 2 == 1).all() and len(drawn) > 6
    row, ids = 0, PROMPTS[0]
    for t in range(int(lengths[row])):
        logits = any_model(torch.tensor([ids])).logits[0, -1].clone()
        logits[::2] = -torch.inf
        token = rollout.completion_ids[row, t].item()
        assert rollout.log_probs[row, t].item() == pytest.approx(logits.log_softmax(-1)[token].item(), abs=1e-5)
        ids = [*ids, token]
