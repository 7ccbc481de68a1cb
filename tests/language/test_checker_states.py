import json

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from policy_gradients.language.checker_states import CheckerStates, fewest_tokens, require_reachable
from policy_gradients.language.rewards import partial_reward, rule_reward
from policy_gradients.language.rules import (
    ExactLength,
    LastNumberIsPrime,
    length_and_digits,
    parse_rule,
    partial_credit,
    with_tolerance,
)
from policy_gradients.language.text import shipped_articles
from policy_gradients.language.tokens import decode_each
from policy_gradients.language.utf8 import UNFINISHED

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
    by_rule = torch.rand(2, RULE.num_states, generator=torch.Generator().manual_seed(0))
    rule_states = states.rule_states(torch.arange(states.num_states), RULE)
    going, ended = by_rule[:, rule_states]
    text = "born in 19"
    [q] = states.action_values(torch.tensor([RULE.state(text)]), going, ended)
    for token in range(len(tokenizer)):
        if token in states.end_ids.tolist():
            assert q[token] == ended[RULE.state(text)]
            continue
        after = RULE.state(text + tokenizer.decode([token], skip_special_tokens=True))
        assert q[token] == going[after], tokenizer.decode([token])
    assert q[len(tokenizer) + 3] == going[RULE.state(text)]  # a token without text leads nowhere


def test_every_state_has_a_text_that_leads_to_it(states):
    texts = states.texts[: RULE.num_states]
    wanted = list(range(RULE.num_states))
    wanted[1:4] = [None] * 3  # a digit sum without a character
    assert [None if text is None else RULE.state(text) for text in texts] == wanted
    # and where a character is unfinished, which counts: none of the texts is empty
    assert states.num_states == len(UNFINISHED) * RULE.num_states
    split = states.texts[RULE.num_states : 2 * RULE.num_states]
    wanted[0], wanted[5:8] = None, [None] * 3  # a single character, which is no digit
    assert [None if text is None else RULE.state(text) for text in split] == wanted
    assert all(text is None or text.endswith("\ufffd") for text in split)


def test_the_checker_says_what_ending_in_each_state_earns(states):
    wide = with_tolerance(RULE, 3)
    earned = states.end_rewards(partial_reward(wide))
    for text in ("In 1917 the 3rd regiment crossed 12 rivers, or so they say.", "x" * 64, "x" * 61 + "111", "12", ""):
        assert earned[RULE.state(text)] == pytest.approx(partial_credit(wide, text))
    strict = states.end_rewards(rule_reward(RULE))
    right = RULE.state("x" * 61 + "111")
    assert strict.nonzero().flatten().tolist() == [right + end * RULE.num_states for end in range(len(UNFINISHED))]


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
    assert states.after.shape[1] < 40


def test_a_rule_without_states_is_refused(tokenizer):
    with pytest.raises(ValueError, match="last-number-prime has no states"):
        CheckerStates(LastNumberIsPrime(), tokenizer, len(tokenizer), [0])


TEXTS = [article["text"] for article in shipped_articles("heldout")]
SPECIAL = ["<unk>", "</s>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
PLAIN = {"special_tokens": SPECIAL, "show_progress": False}


def llama2_like():
    """Sentence pieces that fall back to bytes, with the first space put in and taken off again."""
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    spaces = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(spaces)
    made.train_from_iterator(
        TEXTS[:100],
        trainers.BpeTrainer(vocab_size=800, limit_alphabet=60, special_tokens=SPECIAL + BYTES, show_progress=False),
    )
    parts = json.loads(made.to_str())
    parts["added_tokens"] = parts["added_tokens"][:2]  # bytes belong to the vocabulary alone
    return Tokenizer.from_str(json.dumps(parts))


def trained(model, pre_tokenizer, decoder, trainer):
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizer
    if decoder is not None:
        made.decoder = decoder
    made.train_from_iterator(TEXTS[:100], trainer)
    return made


SUFFIX = {"end_of_word_suffix": "</w>"}
TOKENIZERS = {
    "byte-level BPE": lambda: trained(
        models.BPE(),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
        trainers.BpeTrainer(vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **PLAIN),
    ),
    "Metaspace BPE": lambda: trained(
        models.BPE(unk_token="<unk>"),
        pre_tokenizers.Metaspace(),
        decoders.Metaspace(),
        trainers.BpeTrainer(vocab_size=500, **PLAIN),
    ),
    "byte fallback": llama2_like,
    "Unigram": lambda: trained(
        models.Unigram(),
        pre_tokenizers.Metaspace(),
        decoders.Metaspace(),
        trainers.UnigramTrainer(vocab_size=300, unk_token="<unk>", **PLAIN),
    ),
    "WordPiece": lambda: trained(
        models.WordPiece(unk_token="<unk>"),
        pre_tokenizers.BertPreTokenizer(),
        decoders.WordPiece(),
        trainers.WordPieceTrainer(vocab_size=800, **PLAIN),
    ),
    "WordLevel": lambda: trained(
        models.WordLevel(unk_token="<unk>"),
        pre_tokenizers.Whitespace(),
        None,
        trainers.WordLevelTrainer(vocab_size=800, **PLAIN),
    ),
    "</w> BPE": lambda: trained(
        models.BPE(unk_token="<unk>", **SUFFIX),
        pre_tokenizers.Whitespace(),
        decoders.BPEDecoder(suffix="</w>"),
        trainers.BpeTrainer(vocab_size=500, **PLAIN, **SUFFIX),
    ),
}


def made(family):
    return PreTrainedTokenizerFast(
        tokenizer_object=TOKENIZERS[family](), eos_token="</s>", pad_token="</s>", unk_token="<unk>"
    )


@pytest.mark.parametrize("family", [family for family in TOKENIZERS if family != "</w> BPE"])
def test_the_table_counts_what_the_text_counts_whatever_the_tokenizer(family):
    """Prefixes that pass `length=20`: by the table and by the text, the same ones."""
    tokenizer, rule = made(family), ExactLength(20)
    states = CheckerStates(rule, tokenizer, len(tokenizer), [tokenizer.eos_token_id])
    earned = states.end_rewards(rule_reward(rule))
    passing = 0
    for text in TEXTS[100:300]:
        ids = tokenizer.encode(text, add_special_tokens=False)[:24]
        prefixes = [tokenizer.decode(ids[:t], skip_special_tokens=True) for t in range(len(ids) + 1)]
        [found] = states.before_tokens(torch.tensor([[*ids, 0]]))
        by_table = [bool(earned[state]) for state in found]
        by_text = [rule.check(prefix) for prefix in prefixes]
        assert by_table == by_text, text
        passing += sum(by_text)
    assert passing > 20


def test_a_tokenizer_without_an_exact_table_is_refused_with_a_count():
    """`a</w>` has a space behind it if anything follows."""
    tokenizer = made("</w> BPE")
    with pytest.raises(ValueError, match=r"not exact for this tokenizer: in \d+ of \d+ texts .* --credit completion"):
        CheckerStates(ExactLength(20), tokenizer, len(tokenizer), [tokenizer.eos_token_id])


def test_a_character_that_is_split_between_tokens_counts_once(tokenizer):
    states = CheckerStates(ExactLength(20), tokenizer, len(tokenizer), [tokenizer.eos_token_id])
    for text in ("é", "€", "👍🏽", "naïve 日本 x"):
        ids = tokenizer.encode(text)
        assert len(ids) > 1
        assert states.before_tokens(torch.tensor([[*ids, 0]]))[0, -1] == len(text)


@pytest.mark.parametrize("which", ["tiny's", "trained on text"])
def test_bytes_that_are_no_text_count_as_a_decoder_counts_them(which, tokenizer):
    """Any tokens in any order, as a policy may draw them: after each one, the state is that of the whole text."""
    tokenizer = tokenizer if which == "tiny's" else made("byte-level BPE")
    rule = length_and_digits(64)
    states = CheckerStates(rule, tokenizer, len(tokenizer), [tokenizer.eos_token_id])
    generator = torch.Generator().manual_seed(0)
    pieces = decode_each(tokenizer, [[i] for i in range(len(tokenizer))])
    broken = [i for i, piece in enumerate(pieces) if "\ufffd" in piece]
    for among in (broken, range(len(tokenizer))):
        among = torch.tensor(among)
        rows = among[torch.randint(len(among), (300, 24), generator=generator)]
        found = states.rule_states(states.before_tokens(torch.nn.functional.pad(rows, (0, 1))), rule)
        for ids, row in zip(rows.tolist(), found.tolist(), strict=True):
            wanted = [rule.state(text) for text in decode_each(tokenizer, [ids[:t] for t in range(len(ids) + 1)])]
            assert row == wanted, ids
    assert len(broken) > 100


def test_a_right_text_with_a_stray_byte_behind_it_earns_nothing(tokenizer):
    rule = ExactLength(10)
    states = CheckerStates(rule, tokenizer, len(tokenizer), [tokenizer.eos_token_id])
    earned = states.end_rewards(rule_reward(rule))
    ids = tokenizer.encode("3 flourish")
    pieces = decode_each(tokenizer, [[i] for i in range(len(tokenizer))])
    stray = [i for i, piece in enumerate(pieces) if piece == "\ufffd"]
    assert len(stray) > 100
    for token in stray:
        [found] = states.before_tokens(torch.tensor([[*ids, token, 0]]))
        assert earned[found[-2]] == 1 and earned[found[-1]] == 0
    # behind the first byte of a letter it is the letter: the tenth character
    [found] = states.before_tokens(torch.tensor([[*tokenizer.encode("3 flourisé"), 0]]))
    assert earned[found[-2:]].tolist() == [1, 1]


def test_a_rule_that_no_completion_can_reach_is_named_before_any_work(tokenizer):
    # every token of this tokenizer is one or two characters
    assert fewest_tokens(ExactLength(280), tokenizer, len(tokenizer)) == 141
    with pytest.raises(ValueError, match=r"max_new_tokens=40 can satisfy length=280&digits%3=0.* it takes 141"):
        require_reachable(length_and_digits(280), tokenizer, len(tokenizer), 40)
    require_reachable(length_and_digits(64), tokenizer, len(tokenizer), 33)
    for rule, cap in {
        "graphemes=280": 141, "last-number-prime": 2, "digits%97=96": 2, "-a": 1, "+a,+b": 3, "+STRASSE": 5,
        "length=20&+internationalisation": 11,
    }.items():  # fmt: skip
        require_reachable(parse_rule(rule), tokenizer, len(tokenizer), cap)
        if cap > 1:
            with pytest.raises(ValueError, match=f"max_new_tokens={cap - 1} can satisfy"):
                require_reachable(parse_rule(rule), tokenizer, len(tokenizer), cap - 1)
    states = CheckerStates(ExactLength(3), tokenizer, len(tokenizer), [tokenizer.eos_token_id])
    assert states.fewest_tokens(ExactLength(3).check) == 3  # two characters, one, the end
    assert states.fewest_tokens(lambda text: False) is None
