import pytest
import torch

from policy_gradients.deploy.sampling import END_LOST, SamplerTest, min_p, top_k, top_p
from policy_gradients.evaluation.load_statistics import k3

ROWS, WORDS, END = 3000, 30, [3]


def found(setting, temperature=1.0):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(ROWS, WORDS, generator=generator)
    tokens = torch.multinomial(setting(logits.clone()).softmax(-1), 1, generator=generator).squeeze(1)
    test = SamplerTest(temperature, END)
    test.add(logits, tokens)
    return test.named()


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        (lambda x: top_k(x, 1), "greedy"),
        (lambda x: min_p(x, 0.05), "min_p 0.05"),
        (lambda x: top_p(x, 0.9), "top_p 0.9"),
        (lambda x: min_p(top_p(top_k(x, 40), 0.95), 0.05) / 0.8, "llama.cpp's own defaults"),
        (lambda x: x / 0.5, "temperature 0.5 where training sampled at 1"),
        (lambda x: x.index_fill(-1, torch.tensor(END), -torch.inf), END_LOST[:20]),
    ],
)
def test_each_wrong_setting_is_named_from_the_tokens_alone(setting, named):
    assert found(setting).startswith(named)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.3])
def test_the_policy_s_own_tokens_are_not_suspected(temperature):
    assert found(lambda x: x / temperature, temperature) is None


def test_k3_of_equal_log_probs_is_nothing_and_its_mean_is_the_divergence():
    generator = torch.Generator().manual_seed(1)
    own, served = torch.randn(2, 6, generator=generator).double().log_softmax(-1)
    assert k3(own, own).abs().max() == 0
    exact = (served.exp() * (served - own)).sum()
    torch.testing.assert_close((served.exp() * k3(own, served)).sum(), exact)
