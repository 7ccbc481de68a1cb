import pytest
import torch

from policy_gradients.estimators.state_values import StateValues
from policy_gradients.language.checker_states import CheckerStates
from policy_gradients.language.rules import LastNumberIsPrime, length_and_digits

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
    values = StateValues(states.num_states)
    values.counts += 1e6
    values.sums = values.counts * torch.rand(2, states.num_states, generator=torch.Generator().manual_seed(0))
    text = "born in 19"
    [q] = states.action_values(torch.tensor([RULE.state(text)]), values)
    going, ended = values.estimates()
    for token in range(0, len(tokenizer), 7):
        after = RULE.state(text + tokenizer.decode([token], skip_special_tokens=True))
        worth = ended[RULE.state(text)] if token in states.end_ids.tolist() else going[after]
        assert q[token] == worth, tokenizer.decode([token])
    assert q[tokenizer.eos_token_id] == ended[RULE.state(text)]
    assert q[len(tokenizer) + 3] == going[RULE.state(text)]  # a token without text leads nowhere


def test_tokens_of_one_kind_are_few(states):
    assert states.after.shape[1] < 20


def test_a_rule_without_states_is_refused(tokenizer):
    with pytest.raises(ValueError, match="last-number-prime has no states"):
        CheckerStates(LastNumberIsPrime(), tokenizer, len(tokenizer), [0])
