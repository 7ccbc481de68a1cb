"""How the `tiny` model was made: next-token prediction on the shipped text, from random weights, reproducibly.

Half of the corpus are plain articles, half are dialogues: an instruction and a sentence, answered by the text that
follows it. The instruction states a length ("Write exactly 64 characters."), but the answers are 58 to 70 characters
long: so `tiny` has a loose idea of the length, and hits it by chance. Answers with a digit are sought out, or one
completion in seven would hold one, and the rule would be met too seldom to learn from in minutes. The digit clause is
stated at random, whatever the answer holds: what it means is for reinforcement learning to find out.

The model was made in two stages. In the first, answers end with a word. A policy that has to hit 64 characters can then
wait for a word that happens to end there, or stop inside one, which the reference never does: five nats of divergence a
completion, for nothing that the rule asks for. So a short second stage has answers that are cut anywhere, as an excerpt
of so many characters is.

A token is a pair of characters. With ordinary byte-pair tokens a model of this size does not learn to count characters
(docs/choices.md); with pairs, a length is a position, which attention can see.
"""

import copy
import json
import math
import random
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from policy_gradients.language.export import export_model
from policy_gradients.language.files import require_place
from policy_gradients.language.models import load_model
from policy_gradients.language.prompts import instruction
from policy_gradients.language.rules import AllOf, DigitSum, ExactLength, Rule
from policy_gradients.language.scoring import plain_perplexity
from policy_gradients.language.text import shipped_articles, split_sentences
from policy_gradients.training.config import Checked, number
from policy_gradients.training.lock import LOCK, FolderLock

END_OF_TEXT, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (  # ChatML without a system turn, as Qwen2.5 writes it
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DIGIT = re.compile("[0-9]")
PAIRS = Regex(r"[\s\S]{1,2}")  # counted from the beginning of a text, and anew after each special token


@dataclass(frozen=True)
class PretrainConfig(Checked):
    """Everything that decides the weights. Tokens seen = steps · batch_size · block_size."""

    vocab_size: int = 1536
    hidden_size: int = 256
    num_layers: int = 4
    num_heads: int = 4
    num_key_value_heads: int = 2
    intermediate_size: int = 768
    block_size: int = 256
    batch_size: int = 32
    steps: int = number(3600, least=1, most=10**7)
    learning_rate: float = 3e-3  # after the warm-up it falls to zero, as a cosine
    warmup_steps: int = 100
    stated_length: int = 64  # the length that every instruction states …
    length_spread: int = 6  # … and how far, in characters, the answers may be off, uniformly
    digit_draws: int = 8  # places in an article that are tried for an answer with a digit; the last one is kept anyhow
    answer_end: Literal["word", "anywhere"] = "word"  # where an answer may stop
    excerpt_length: int = 90  # characters of the sentence that is to be continued
    weight_decay: float = 0.1
    seed: int = number(0, least=0, most=2**31 - 1)
    compile: bool = True  # with torch.compile, which needs a C++ compiler: a step takes two thirds of the time


SECOND_STAGE = PretrainConfig(steps=240, learning_rate=5e-4, warmup_steps=20, answer_end="anywhere", seed=1)


def train_tokenizer(texts: list[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE whose words are pairs of characters: frequent pairs are one token, and any string round-trips."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(PAIRS, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[END_OF_TEXT, IM_START, IM_END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=IM_END,
        pad_token=END_OF_TEXT,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )


def continuation(sentences: list[str], config: PretrainConfig, rng: random.Random) -> tuple[str, str] | None:
    """A sentence's beginning and the text that follows the sentence, up to some point; None if that is too short.

    Where the answer ends can be told from a count of characters alone, and only roughly.
    """
    i = rng.randrange(1, len(sentences))
    length, spread = config.stated_length, config.length_spread
    text, longest = " ".join(sentences[i:]), rng.randint(length - spread, length + spread)
    answer = cut_at_word(text, longest) if config.answer_end == "word" else text[:longest]
    whole = config.answer_end == "word" or len(answer) == longest
    fits = whole and abs(len(answer) - length) <= spread
    return (sentences[i - 1][: config.excerpt_length], answer) if fits else None


def cut_at_word(text: str, characters: int) -> str:
    """The longest run of whole words of `text` within that many characters; at least one word."""
    if len(text) <= characters:
        return text
    end = text.rfind(" ", 0, characters + 1)
    return text[:end] if end > 0 else text.split(" ", 1)[0]


def dialogue(tokenizer: PreTrainedTokenizerFast, excerpt: str, answer: str, rule: Rule) -> str:
    """The instruction, an excerpt and an answer in the chat template."""
    user = {"role": "user", "content": f"{instruction(rule)}\n{excerpt}"}
    messages = [user, {"role": "assistant", "content": answer}]
    return tokenizer.apply_chat_template(messages, tokenize=False).rstrip("\n")


def blocks(tokenizer: PreTrainedTokenizerFast, config: PretrainConfig) -> Iterator[list[int]]:
    """Endless rows of `block_size` ids; each row starts with a whole document, the last one is cut."""
    rng = random.Random(config.seed)
    articles = [split_sentences(article["text"]) for article in shipped_articles("train")]
    length = ExactLength(config.stated_length)
    rules = (length, AllOf((length, DigitSum(3))))
    while True:
        documents = [" ".join(sentences) for sentences in articles]
        for sentences in (s for s in articles if len(s) > 1 for _ in range(2)):
            drawn = [continuation(sentences, config, rng) for _ in range(config.digit_draws)]
            if pairs := [pair for pair in drawn if pair is not None]:
                pair = next((pair for pair in pairs if DIGIT.search(pair[1])), pairs[-1])
                documents.append(dialogue(tokenizer, *pair, rng.choice(rules)))
        rng.shuffle(documents)
        row: list[int] = []
        for ids in tokenizer(documents, add_special_tokens=False)["input_ids"]:
            row += [*ids, tokenizer.pad_token_id]
            if len(row) >= config.block_size:
                yield row[: config.block_size]
                row = []


def learning_rate(step: int, config: PretrainConfig) -> float:
    """Linear warm-up, then a cosine to zero."""
    warm = min(1.0, (step + 1) / config.warmup_steps)
    return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / config.steps))


def pretrain(config: PretrainConfig, output_dir: Path, start_from: Path | None = None, log_every: int = 50) -> None:
    """Train tokenizer and model; writes the model folder and `pretrain.json` (config and log).

    Args:
        start_from: what an earlier stage wrote: its tokenizer and weights instead of new ones.

    Raises:
        ValueError: `start_from` holds no such model; `output_dir` is a file, is not empty, or another process writes
            to it.
        OSError: `output_dir` cannot be written to.
    """
    if output_dir.exists() and not output_dir.is_dir():
        raise ValueError(f"{output_dir} is a file; the model is written to a folder")
    require_place(output_dir)
    FolderLock(output_dir).refuse_if_held()
    if output_dir.exists() and any(file.name != LOCK for file in output_dir.iterdir()):
        raise ValueError(f"output folder {output_dir} is not empty; choose another")
    model, tokenizer = _beginning(config, start_from)  # before there is a folder, for this may be refused
    output_dir.mkdir(parents=True, exist_ok=True)
    with FolderLock(output_dir):
        log: list[dict[str, Any]] = []
        for row in optimise(model, tokenizer, config, log_every):
            log.append(row)
            print(json.dumps(row), flush=True)
            if "heldout_perplexity" in row:  # half precision: half the download, no measurable difference
                export_model(copy.deepcopy(model).to(torch.float16), tokenizer, output_dir)
                text = json.dumps({"config": asdict(config), "log": log}, indent=1)
                (output_dir / "pretrain.json").write_text(text + "\n", encoding="utf-8")


def _beginning(config: PretrainConfig, start_from: Path | None) -> tuple[Any, PreTrainedTokenizerFast]:
    """What training starts from: an earlier stage's model and tokenizer, or new ones."""
    torch.manual_seed(config.seed)
    if start_from is not None:
        model, tokenizer = load_model(str(start_from))
        return model.train(), tokenizer
    example = AllOf((ExactLength(64), DigitSum(3)))
    stated = [f"user\n{instruction(example)}\nassistant\n"] * 2000
    tokenizer = train_tokenizer([a["text"] for a in shipped_articles("train")] + stated, config.vocab_size)
    return new_model(tokenizer, config), tokenizer


def new_model(tokenizer: PreTrainedTokenizerFast, config: PretrainConfig) -> Qwen2ForCausalLM:
    """Random weights in Qwen2's architecture, so that the T4's code path is the same."""
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_key_value_heads,
            intermediate_size=config.intermediate_size,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def optimise(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, config: PretrainConfig, log_every: int
) -> Iterator[dict[str, Any]]:
    """Next-token prediction; yields a log row every `log_every` steps, with held-out perplexity at every tenth."""
    decayed = [p for p in model.parameters() if p.ndim == 2]
    other = [p for p in model.parameters() if p.ndim != 2]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": other, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True)
    forward = torch.compile(model) if config.compile else model
    rows = blocks(tokenizer, config)
    heldout = [a["text"] for a in shipped_articles("heldout")]
    start = time.monotonic()
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        ids = torch.tensor([next(rows) for _ in range(config.batch_size)])
        with torch.autocast("cpu", torch.bfloat16):
            loss = forward(ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % log_every == 0 or step + 1 == config.steps:
            row = {"step": step + 1, "loss": loss.item(), "seconds": time.monotonic() - start}
            if (step + 1) % (10 * log_every) == 0 or step + 1 == config.steps:
                row["heldout_perplexity"] = plain_perplexity(model.eval(), tokenizer, heldout)
                model.train()
            yield row
