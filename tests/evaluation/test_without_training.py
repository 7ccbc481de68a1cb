"""Constrained decoding: always right under a mask; the exact posterior where the table knows all there is to know."""

import itertools
import math

import pytest
import torch

from policy_gradients.evaluation.evaluate import Subject
from policy_gradients.evaluation.without_training import decode_steered, steerings
from policy_gradients.language.checker_states import CheckerStates
from policy_gradients.language.constrained import ConstrainedDecoding, MeanTransitions, chances, reachable
from policy_gradients.language.models import end_token_ids
from policy_gradients.language.rewards import rule_reward
from policy_gradients.language.rules import parse_rule
from policy_gradients.training.presets import preset
from policy_gradients.training.sources import make_task
from tests.conftest import micro_model


class Letters:
    """Token i is the letter or digit at place i; the last one ends."""

    alphabet = "ab3"

    def __len__(self):
        return 4

    def batch_decode(self, rows, **options):
        return ["".join(self.alphabet[i] for i in row if i < 3) for row in rows]


@pytest.fixture
def checker():
    return CheckerStates(parse_rule("length=3&digits%3=0"), Letters(), 4, [3])


def steer(checker, log_h, accepted, logits):
    """The chance of every completion under steering of a model whose logits do not look at the text."""
    decoding = ConstrainedDecoding(checker, Letters(), log_h, accepted)
    found = {}
    for length in range(len(log_h) - 1):
        for tokens in itertools.product(range(3), repeat=length):
            chance, so_far = 1.0, torch.zeros(1, 0, dtype=torch.long)
            for token in (*tokens, 3):
                pi = decoding(so_far, logits.unsqueeze(0)).softmax(-1)[0]
                chance *= pi[token].item()
                if chance == 0:
                    break
                so_far = torch.cat([so_far, torch.tensor([[token]])], 1)
            found[tokens] = chance
    return found


def test_chances_are_the_models_own_posterior_where_the_state_says_all(checker):
    """Of a model that does not look at its text the table is exact: π(y | passes), enumerated, and KL = −ln p."""
    logits = torch.tensor([0.3, -0.2, 0.1, -0.5])
    pi = logits.softmax(-1).double()
    accepted = checker.end_rewards(rule_reward(parse_rule("length=3&digits%3=0")))
    transitions = (pi.float() @ checker.one_hot).expand(checker.num_states, -1)
    log_h = chances(checker, accepted, transitions, max_tokens=4)
    wanted = {
        tokens: math.prod(pi[i].item() for i in (*tokens, 3))
        for tokens in itertools.product(range(3), repeat=3)
        if 2 in tokens
    }
    p = sum(wanted.values())
    assert log_h[-1, checker.start].exp() == pytest.approx(p, rel=1e-6)
    found = {tokens: chance for tokens, chance in steer(checker, log_h, accepted, logits).items() if chance > 0}
    assert found.keys() == wanted.keys()
    for tokens, chance in wanted.items():
        assert found[tokens] == pytest.approx(chance / p, rel=1e-5)
    kl = sum(q * math.log(q / wanted[tokens]) for tokens, q in found.items())
    assert kl == pytest.approx(-math.log(p), rel=1e-5)


def test_a_mask_is_always_right_and_further_from_the_model(checker):
    logits = torch.tensor([0.3, -0.2, -1.0, -0.5])
    accepted = checker.end_rewards(rule_reward(parse_rule("length=3&digits%3=0")))
    found = steer(checker, reachable(checker, accepted, 4), accepted, logits)
    passing = {tokens for tokens in found if len(tokens) == 3 and 2 in tokens}
    assert sum(found[tokens] for tokens in passing) == pytest.approx(1.0, abs=1e-6)
    pi = logits.softmax(-1)
    p = {tokens: math.prod(pi[i].item() for i in (*tokens, 3)) for tokens in passing}
    kl = sum(found[t] * math.log(found[t] / p[t]) for t in passing)
    assert kl > -math.log(sum(p.values())) + 0.01


class Pieces(Letters):
    """Tokens of different lengths: the cap on tokens rules texts out that the length would allow."""

    alphabet = ("a", "bb", "3")


@pytest.mark.parametrize("way", ["mask", "chances"])
def test_the_cap_on_tokens_is_part_of_what_can_still_be_met(way):
    """Of four characters in three tokens and an end, "aa" + "a3" is out of reach: no step may lead there."""
    rule = parse_rule("length=4&digits%3=0")
    checker = CheckerStates(rule, Pieces(), 4, [3])
    accepted = checker.end_rewards(rule_reward(rule))
    logits = torch.tensor([1.0, -0.5, 0.2, -0.3])
    pi = logits.softmax(-1)
    transitions = (pi @ checker.one_hot).expand(checker.num_states, -1)
    log_h = reachable(checker, accepted, 4) if way == "mask" else chances(checker, accepted, transitions, 4)
    found = steer(checker, log_h, accepted, logits)
    texts = {tokens: "".join(Pieces.alphabet[i] for i in tokens) for tokens in found}
    passing = {tokens for tokens, text in texts.items() if len(text) == 4 and "3" in text}
    assert sum(found[tokens] for tokens in passing) == pytest.approx(1.0, abs=1e-6)
    if way == "chances":
        prior = {tokens: math.prod(pi[i].item() for i in (*tokens, 3)) for tokens in passing}
        for tokens, p in prior.items():
            assert found[tokens] == pytest.approx(p / sum(prior.values()), rel=1e-5)


def test_what_can_no_longer_be_met_is_known_before_it_is_drawn(checker):
    accepted = checker.end_rewards(rule_reward(parse_rule("length=3&digits%3=0")))
    log_h = reachable(checker, accepted, 4)
    assert log_h[4, checker.start] == 0 and log_h[3, checker.start] == -torch.inf  # three letters and the end
    assert (log_h[0] == -torch.inf).all()


def test_counts_are_asked_for_only_after_there_are_some(checker):
    counted = MeanTransitions(checker)
    with pytest.raises(ValueError, match="no completions were counted"):
        counted.estimates()
    logits = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(counted(torch.zeros(2, 0, dtype=torch.long), logits), logits)
    rows = counted.estimates()
    torch.testing.assert_close(rows.sum(1), torch.ones(checker.num_states, dtype=torch.float64))
    first = (logits.softmax(-1) @ checker.one_hot).double()
    torch.testing.assert_close(rows[checker.start], first.mean(0))

    one = torch.zeros(1, 1, dtype=torch.long)  # "a" is written
    counted(one, torch.tensor([[9.0, 0.0, 0.0, 0.0]]))
    later = (torch.tensor([9.0, 0.0, 0.0, 0.0]).softmax(-1) @ checker.one_hot).double()
    everywhere = (first.sum(0) + later) / 3
    rows = counted.estimates()
    torch.testing.assert_close(rows[checker.start], (first.sum(0) + everywhere) / 3)
    torch.testing.assert_close(rows[checker.after[checker.start, checker.kind_of_token[0]]], (later + everywhere) / 2)


def test_a_random_model_always_passes_under_either(tokenizer):
    model = micro_model("qwen2", len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id).float()
    config = preset("tiny", rule="length=8&digits%3=0", max_new_tokens=12)
    task = make_task(config)
    reference = Subject(model, tokenizer, task, config)
    assert end_token_ids(model, tokenizer)
    for steering in steerings(reference, task.rows[:20], seed=0).values():
        report, texts = decode_steered(reference, task.heldout[:30], 0, steering)
        assert report["pass_rate"] == 1.0, texts
        assert 0 < report["kl_to_reference"] < 60


def test_untouched_is_at_no_distance(tokenizer):
    model = micro_model("qwen2", len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id).float()
    config = preset("tiny", rule="length=8&digits%3=0", max_new_tokens=12)
    task = make_task(config)
    report, _ = decode_steered(Subject(model, tokenizer, task, config), task.heldout[:10], 0, None)
    assert abs(report["kl_to_reference"]) < 1e-4
