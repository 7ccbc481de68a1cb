import pytest
import torch

from policy_gradients.language.checker_states import CheckerStates
from policy_gradients.language.rewards import partial_reward, rule_reward
from policy_gradients.language.rules import (
    ExactLength,
    LastNumberIsPrime,
    length_and_digits,
    partial_credit,
    with_tolerance,
)

RULE = length_and_digits(64)


@pytest.fixture(scope="module")
def states(tokenizer):
    # five tokens more than the tokenizer knows, as Qwen2.5's embeddings have
    return CheckerStates(RULE, tokenizer, len(tokenizer) + 5, [tokenizer.eos_token_id, tokenizer.pad_token_id])


def test_states_along_tokens_are_those_of_the_text_so_far(states, tokenizer):
    text = "In 1917 the 3rd regiment crossed 12 rivers, or so they say."
    ids = tokenizer.encode(text)
    found = states.before_tokens(torch.tensor([ids, ids]))
    wanted = [RULE.state(tokenizer.decode(ids[:t], clean_up_tokenization_spaces=False)) for t in range(len(ids))]
    assert found.tolist() == [wanted, wanted]
    assert len(set(wanted)) > 10


def test_every_next_token_is_worth_what_its_state_is_worth(states, tokenizer):
    going, ended = torch.rand(2, states.num_states, generator=torch.Generator().manual_seed(0))
    text = "born in 19"
    [q] = states.action_values(torch.tensor([RULE.state(text)]), going, ended)
    for token in range(0, len(tokenizer), 7):
        after = RULE.state(text + tokenizer.decode([token], skip_special_tokens=True))
        worth = ended[RULE.state(text)] if token in states.end_ids.tolist() else going[after]
        assert q[token] == worth, tokenizer.decode([token])
    assert q[tokenizer.eos_token_id] == ended[RULE.state(text)]
    assert q[len(tokenizer) + 3] == going[RULE.state(text)]  # a token without text leads nowhere


def test_every_state_has_a_text_that_leads_to_it(states):
    wanted = list(range(states.num_states))
    wanted[1:4] = [None] * 3  # a digit sum without a character
    assert [None if text is None else RULE.state(text) for text in states.texts] == wanted


def test_the_checker_says_what_ending_in_each_state_earns(states):
    wide = with_tolerance(RULE, 3)
    earned = states.end_rewards(partial_reward(wide))
    for text in ("In 1917 the 3rd regiment crossed 12 rivers, or so they say.", "x" * 64, "x" * 61 + "111", "12", ""):
        assert earned[RULE.state(text)] == pytest.approx(partial_credit(wide, text))
    strict = states.end_rewards(rule_reward(RULE))
    assert strict.sum() == 1 and strict[RULE.state("x" * 61 + "111")] == 1


def test_a_state_that_no_tokens_lead_to_has_no_text_and_earns_nothing():
    class Pairs:
        """A tokenizer whose every token is two letters."""

        def __len__(self):
            return 3

        def batch_decode(self, rows, **_):
            return ["ab" for _ in rows]

    states = CheckerStates(ExactLength(3), Pairs(), 3, [0])
    assert states.texts == ["", None, "ab", None, "abab", None, "ababab"]
    assert states.end_rewards(lambda completions: [1.0] * len(completions)).tolist() == [1, 0, 1, 0, 1, 0, 1]


def test_tokens_of_one_kind_are_few(states):
    assert states.after.shape[1] < 20


def test_a_rule_without_states_is_refused(tokenizer):
    with pytest.raises(ValueError, match="last-number-prime has no states"):
        CheckerStates(LastNumberIsPrime(), tokenizer, len(tokenizer), [0])
