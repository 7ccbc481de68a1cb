import copy

import pytest
import torch

from policy_gradients.language.attention import DecodingAttention, Grid, PackedAttention, run_packed


def test_a_row_goes_into_the_rectangle_and_back():
    mask = torch.tensor([[False, True, True], [True, True, True]])
    row = torch.arange(1.0, 11.0).view(5, 2).requires_grad_()
    padded = Grid(mask).pad(row)
    assert padded.shape == (2, 3, 2) and (padded[0, 0] == 0).all()
    assert torch.equal(Grid(mask).pack(padded), row)
    padded.pow(2).sum().backward()
    assert torch.equal(row.grad, 2 * row)


@torch.no_grad()
def test_a_row_of_sequences_equals_each_alone_and_the_model_works_as_before(any_model):
    sequences = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14]]
    before = [any_model.base_model(torch.tensor([ids])).last_hidden_state[0] for ids in sequences]
    mask = torch.tensor([[5 - column <= len(ids) for column in range(5)] for ids in sequences])
    ids, positions = (torch.tensor([x for s in sequences for x in part(s)]) for part in (list, lambda s: range(len(s))))
    packed = run_packed(any_model.base_model, ids, positions, PackedAttention(mask))
    torch.testing.assert_close(packed, torch.cat(before))
    after = [any_model.base_model(torch.tensor([ids])).last_hidden_state[0] for ids in sequences]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_attention_of_another_kind_is_refused(any_model):
    if not hasattr(any_model.config, "sliding_window") or any_model.config.sliding_window is not None:
        pytest.skip("only Qwen2 has the setting")
    model = copy.deepcopy(any_model)
    model.base_model.layers[0].self_attn.sliding_window = 4
    ids, places = torch.arange(5, 10), torch.arange(5)
    with pytest.raises(ValueError, match=r"Attention looks back sliding_window=4 tokens.* up to 5 tokens"):
        run_packed(model.base_model, ids, places, PackedAttention(torch.ones(1, 5).bool()))
    inside = [run_packed(m.base_model, ids[:4], places[:4], PackedAttention(torch.ones(1, 4).bool())) for m in
              (model, any_model)]  # fmt: skip
    assert torch.equal(*inside)


def test_gaps_close_once_they_are_half_of_the_rectangle():
    cache = DecodingAttention(torch.ones(2, 3, dtype=torch.bool), group=4, room=5)
    keys = torch.randn(6, 2, 8)
    cache.prefill(0, torch.randn(6, 4, 8), keys, keys)
    cache.start()
    own = torch.arange(8.0).view(8, 1, 1).expand(8, 2, 8)  # each completion's keys are its number
    cache.decode(0, torch.randn(8, 4, 8), own, own)
    going = torch.tensor([0, 2, 3, 4, 6])
    cache.start(going)
    assert cache.size == (2, 4)  # three of eight are gone: not yet
    cache.start(torch.tensor([1, 2, 4]))  # 2, 3 and 6 go on
    assert cache.size == (2, 2)
    assert cache.own_cache[0][0][cache.prompt_of, 0, cache.place_of, 0, 0].tolist() == [2.0, 3.0, 6.0]
    cache.start(torch.tensor([2]))
    assert cache.size == (1, 1) and cache.own_cache[0][0][0, 0, 0, 0, 0] == 6.0
    assert torch.equal(cache.prompt_cache[0][0][0], keys[3:].transpose(0, 1))
