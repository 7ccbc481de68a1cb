from collections import Counter

import torch

from policy_gradients.training.batches import prompt_indices, sampling_uniforms


def test_every_prompt_once_an_epoch_in_an_order_of_its_own():
    epochs = [[i for step in range(5 * e, 5 * e + 5) for i in prompt_indices(20, 4, step, seed=0)] for e in range(3)]
    assert all(Counter(epoch) == Counter(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_batch_may_cross_epochs_and_exceed_them():
    assert Counter(prompt_indices(3, 7, 0, seed=1)[:6]) == dict.fromkeys(range(3), 2)


def test_numbers_are_a_function_of_seed_and_step():
    assert torch.equal(sampling_uniforms(4, 5, 2, seed=1), sampling_uniforms(4, 5, 2, seed=1))
    different = [sampling_uniforms(4, 5, step, seed) for step in range(4) for seed in range(4)]
    assert len({tuple(x.flatten().tolist()) for x in different}) == 16
    assert all(((x >= 0) & (x < 1)).all() for x in different)
