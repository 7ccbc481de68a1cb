"""How the `tiny` model was made: next-token prediction on the shipped text, from random weights, reproducibly.

Two stages, as for a real instruct model. *Pretraining*: half plain articles, half dialogues of the form instruction +
sentence → the sentence that follows. *Instruction tuning*: mostly dialogues, whose answers are the text that follows,
cut at a word's end. The instruction states a length ("Write exactly 64 characters."), but the answers are 56 to 72 long: so
`tiny` has a loose idea of the length, and hits it by chance. The digit clause is stated at random, whatever the text
holds: what it means is for reinforcement learning to find out.
"""

import copy
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from policy_gradients.language.prompts import instruction
from policy_gradients.language.rules import AllOf, DigitSum, ExactLength
from policy_gradients.language.scoring import plain_perplexity
from policy_gradients.language.text import shipped_articles, split_sentences

END_OF_TEXT, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (  # ChatML without a system turn, as Qwen2.5 writes it
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Words with their leading space, digits one by one (as Qwen2 does, so that a digit is a token), the rest.
PRE_TOKENIZER = Regex(r"'(?:s|t|re|ve|m|ll|d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?!\S)|\s+")


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides the weights. Tokens seen = steps · batch_size · block_size."""

    vocab_size: int = 1536
    hidden_size: int = 256
    num_layers: int = 4
    num_heads: int = 4
    num_key_value_heads: int = 2
    intermediate_size: int = 768
    block_size: int = 256
    batch_size: int = 32
    steps: int = 1500
    learning_rate: float = 3e-3
    decay_steps: int = 3600  # the cosine of the first stage would reach zero here
    warmup_steps: int = 200
    sentence_noise: float = 8.0  # standard deviation, in characters, of the stated length: first stage
    tuning_steps: int = 1000
    tuning_batch_size: int = 16
    tuning_learning_rate: float = 1.5e-3  # falls linearly to zero
    tuning_warmup_steps: int = 50
    tuning_stated: int = 64  # second stage: the length that every instruction states …
    tuning_spread: int = 8  # … and how far, in characters, the answers may be off, uniformly
    weight_decay: float = 0.1
    seed: int = 0


def train_tokenizer(texts: list[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE with Qwen2's pre-tokeniser: any string round-trips, each digit is one token."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(PRE_TOKENIZER, behavior="isolated"),
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


def next_sentence(sentences: list[str], config: PretrainConfig, rng: random.Random) -> tuple[str, str, int]:
    """First stage: a sentence, the one that follows, and a stated length around the true one."""
    weights = [1.0 if len(s) <= 110 else 0.3 for s in sentences[1:]]
    [i] = rng.choices(range(1, len(sentences)), weights)
    return sentences[i - 1], sentences[i], round(len(sentences[i]) + rng.gauss(0, config.sentence_noise))


def continuation(sentences: list[str], config: PretrainConfig, rng: random.Random) -> tuple[str, str, int]:
    """Second stage: a sentence, the text that follows it up to some word's end, and the one length ever stated.

    The answer is about that long. Where it ends can be told from a count of characters alone, and only roughly.
    """
    i = rng.randrange(1, len(sentences))
    stated, spread = config.tuning_stated, config.tuning_spread
    answer = cut_at_word(" ".join(sentences[i:]), rng.randint(stated - spread, stated + spread))
    return sentences[i - 1], answer, stated


def cut_at_word(text: str, characters: int) -> str:
    """The longest run of whole words of `text` within that many characters; at least one word."""
    if len(text) <= characters:
        return text
    end = text.rfind(" ", 0, characters + 1)
    return text[:end] if end > 0 else text.split(" ", 1)[0]


def dialogue(tokenizer: PreTrainedTokenizerFast, excerpt: str, answer: str, stated: int, digits: bool) -> str:
    """The instruction, an excerpt and an answer in the chat template."""
    length = ExactLength(max(1, stated))
    rule = AllOf((length, DigitSum(3))) if digits else length
    user = {"role": "user", "content": f"{instruction(rule)}\n{excerpt}"}
    messages = [user, {"role": "assistant", "content": answer}]
    return tokenizer.apply_chat_template(messages, tokenize=False).rstrip("\n")


def blocks(tokenizer: PreTrainedTokenizerFast, config: PretrainConfig, tuning: bool) -> Iterator[list[int]]:
    """Endless rows of `block_size` ids; each row starts with a whole document, the last one is cut."""
    rng = random.Random(config.seed + tuning)
    articles = [split_sentences(article["text"]) for article in shipped_articles("train")]
    long_enough = [sentences for sentences in articles if len(sentences) > 1]
    make, repeats = (continuation, 6) if tuning else (next_sentence, 2)
    while True:
        documents = [" ".join(sentences) for sentences in articles]
        for sentences in (s for s in long_enough for _ in range(repeats)):
            excerpt, answer, stated = make(sentences, config, rng)
            digits = rng.random() < 0.5
            if not tuning or abs(len(answer) - stated) <= config.tuning_spread:  # the text may have been too short
                documents.append(dialogue(tokenizer, excerpt, answer, stated, digits))
        rng.shuffle(documents)
        row: list[int] = []
        for ids in tokenizer(documents, add_special_tokens=False)["input_ids"]:
            row += [*ids, tokenizer.pad_token_id]
            if len(row) >= config.block_size:
                yield row[: config.block_size]
                row = []


def pretraining_rate(step: int, config: PretrainConfig) -> float:
    """Linear warm-up, then a cosine."""
    warm = min(1.0, (step + 1) / config.warmup_steps)
    return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / config.decay_steps))


def tuning_rate(step: int, config: PretrainConfig) -> float:
    """Linear warm-up, then a straight line to zero."""
    warm = min(1.0, (step + 1) / config.tuning_warmup_steps)
    return config.tuning_learning_rate * warm * (1 - step / config.tuning_steps)


def pretrain(config: PretrainConfig, output_dir: Path, log_every: int = 50) -> None:
    """Train tokenizer and model, both stages; writes the model folder and `pretrain.json` (config and log)."""
    torch.manual_seed(config.seed)
    output_dir.mkdir(parents=True, exist_ok=True)
    articles = [a["text"] for a in shipped_articles("train")]
    example = AllOf((ExactLength(64), DigitSum(3)))
    tokenizer = train_tokenizer(articles + [f"user\n{instruction(example)}\nassistant\n"] * 2000, config.vocab_size)
    tokenizer.save_pretrained(output_dir)
    model = new_model(tokenizer, config)
    log: list[dict[str, Any]] = []
    for tuning in (False, True):
        for row in train_stage(model, tokenizer, config, tuning, log_every):
            log.append(row)
            print(json.dumps(row), flush=True)
            if "heldout_perplexity" in row:
                save_pretrained_model(model, config, log, output_dir)


def save_pretrained_model(model: Qwen2ForCausalLM, config: PretrainConfig, log: list, output_dir: Path) -> None:
    """Half-precision weights (half the download, no measurable difference) and the log."""
    copy.deepcopy(model).to(torch.float16).save_pretrained(output_dir)
    (output_dir / "pretrain.json").write_text(json.dumps({"config": asdict(config), "log": log}, indent=1) + "\n")


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


def train_stage(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, config: PretrainConfig, tuning: bool, log_every: int
) -> Iterator[dict[str, Any]]:
    """Next-token prediction; yields a log row every `log_every` steps, with held-out perplexity at every tenth."""
    decayed = [p for p in model.parameters() if p.ndim == 2]
    other = [p for p in model.parameters() if p.ndim != 2]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": other, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95))
    rows = blocks(tokenizer, config, tuning)
    batch_size = config.tuning_batch_size if tuning else config.batch_size
    heldout = [a["text"] for a in shipped_articles("heldout")]
    steps, rate = (config.tuning_steps, tuning_rate) if tuning else (config.steps, pretraining_rate)
    start = time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, config)
        ids = torch.tensor([next(rows) for _ in range(batch_size)])
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % log_every == 0 or step + 1 == steps:
            stage = "tuning" if tuning else "pretraining"
            row = {"stage": stage, "step": step + 1, "loss": loss.item(), "seconds": time.monotonic() - start}
            if (step + 1) % (10 * log_every) == 0 or step + 1 == steps:
                row["heldout_perplexity"] = plain_perplexity(model.eval(), tokenizer, heldout)
                model.train()
            yield row
