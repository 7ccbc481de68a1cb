"""All completions of a token tree: their probabilities, and back from a distribution to a policy's table."""

import math

import pytest
import torch

from policy_gradients.oracle.completions import completions
from policy_gradients.oracle.exact import Oracle
from policy_gradients.worlds.small import chain, token_tree

TREE = token_tree(3, 3, lambda text: float(text.count(0)))
ALL = completions(TREE)
TABLE = torch.randn(ALL.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log_softmax(-1)


def test_every_text_once():
    assert len(ALL) == 1 + 2 + 4 + 8 == len(set(ALL.texts))
    assert {(2,), (0, 2), (1, 1, 2), (1, 0, 1)} <= set(ALL.texts) and (0, 0, 0, 2) not in ALL.texts
    assert ALL.each(lambda text: text[-1] == 2).sum() == 7


def test_probabilities_are_the_products_of_their_tokens():
    at = ALL.texts.index((1, 0, 2))
    prefixes = [TREE.prefixes.index(prefix) for prefix in ((), (1,), (1, 0))]
    by_hand = sum(TABLE[state, token].item() for state, token in zip(prefixes, (1, 0, 2), strict=True))
    assert ALL.log_probs(TABLE)[at].item() == pytest.approx(by_hand)
    assert ALL.log_probs(TABLE).exp().sum().item() == pytest.approx(1)
    short = ALL.token_log_probs(TABLE)[ALL.texts.index((2,))]
    assert short.tolist() == [TABLE[0, 2].item(), 0, 0]
    several = torch.stack([TABLE, TABLE.flip(-1)])
    torch.testing.assert_close(ALL.log_probs(several)[1], ALL.log_probs(TABLE.flip(-1)))
    oracle = Oracle(TREE, lambda t: t.view(ALL.shape), TABLE.flatten())
    assert (ALL.log_probs(TABLE).exp() @ ALL.each(lambda text: text.count(0))).item() == pytest.approx(oracle.objective)


def test_visits_are_the_oracle_s():
    pi = ALL.log_probs(TABLE).exp()
    oracle = Oracle(TREE, lambda t: t.view(ALL.shape), TABLE.flatten())
    torch.testing.assert_close(ALL.visits(pi), oracle.visits.unsqueeze(1) * TABLE.exp())


def test_a_distribution_has_a_policy():
    torch.testing.assert_close(ALL.table(ALL.log_probs(TABLE).exp()), TABLE)
    wanted = torch.rand(len(ALL), generator=torch.Generator().manual_seed(1), dtype=torch.float64).softmax(0)
    torch.testing.assert_close(ALL.log_probs(ALL.table(wanted)).exp(), wanted)


def test_what_is_never_reached_gets_all_tokens_alike():
    sure = ALL.each(lambda text: text == (2,))
    table = ALL.table(sure)
    assert table[0].exp().tolist() == [0, 0, 1]
    assert table[1].tolist() == pytest.approx([-math.log(3)] * 3)


def test_a_world_without_an_end_is_refused():
    with pytest.raises(ValueError, match="horizon"):
        completions(chain())
