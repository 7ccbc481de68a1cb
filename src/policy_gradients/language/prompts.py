"""From a rule and an excerpt of real text to the token ids of a prompt."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from policy_gradients.language.rules import Rule
from policy_gradients.language.templates import EndlessTemplate, render
from policy_gradients.language.tokens import control_ids, leading_ids, plain_text_ids

# for templates that put today's date into a prompt: a run is the same on every day
_FIXED_DATE = (
    "{% macro strftime_now(form) %}{% if form == '%Y-%m-%d' %}2025-01-01{% else %}01 Jan 2025{% endif %}{% endmacro %}"
)
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}  # for templates that demand one
_PLACE = "⁂excerpt⁂"


def instruction(rule: Rule) -> str:
    """What the model is asked to do, in one line."""
    return f"Continue this text. {rule.sentence}"


def prompt_ids(tokenizer: Any, rule: Rule, excerpt: str, max_tokens: int) -> list[int]:
    """Token ids of the chat prompt: the instruction, then as much of the excerpt as fits into `max_tokens` in all.

    The excerpt gives variety, the instruction says what is wanted; the checker never sees either. Both are text
    whatever they say: a text cannot end its own turn.

    Raises:
        ValueError: the instruction alone does not fit, or the chat template leaves the text out.
    """
    excerpt_ids = tokenizer.encode(excerpt, add_special_tokens=False)
    if not control_ids(tokenizer).isdisjoint(excerpt_ids):
        excerpt_ids = plain_text_ids(tokenizer, excerpt)
    room = max_tokens - len(_render(tokenizer, rule, ""))
    if room < 0:
        needed = max_tokens - room
        raise ValueError(f"max_tokens={max_tokens} is too small for the instruction, which takes {needed} tokens")
    while True:
        kept = excerpt
        if len(excerpt_ids) > room:  # a cut inside a character decodes to U+FFFD
            kept = tokenizer.decode(excerpt_ids[: max(room, 0)], clean_up_tokenization_spaces=False).rstrip("\ufffd")
        ids = _render(tokenizer, rule, kept)
        if len(ids) <= max_tokens:
            return ids
        room -= len(ids) - max_tokens  # tokens may merge differently at the cut


class Prompts(Sequence[list[int]]):
    """The prompts of many excerpts, each made when it is asked for: a run of some hundred steps meets few of 100,000.

    Raises:
        ValueError: there are no excerpts, or the instruction alone does not fit.
    """

    def __init__(self, tokenizer: Any, rule: Rule, excerpts: Sequence[str], max_tokens: int):
        if not excerpts:
            raise ValueError("there are no excerpts to make prompts from")
        self.tokenizer, self.rule, self.excerpts, self.max_tokens = tokenizer, rule, excerpts, max_tokens
        prompt_ids(tokenizer, rule, "", max_tokens)  # an instruction that does not fit shows at once

    def __len__(self) -> int:
        return len(self.excerpts)

    def __getitem__(self, index: int) -> list[int]:
        return prompt_ids(self.tokenizer, self.rule, self.excerpts[index], self.max_tokens)


def _render(tokenizer: Any, rule: Rule, excerpt: str) -> list[int]:
    return message_ids(tokenizer, f"{instruction(rule)}\n{excerpt}".rstrip())


def message_ids(tokenizer: Any, message: str) -> list[int]:
    """Token ids of what a user says, as the model expects to be asked. It is text whatever it says.

    Raises:
        ValueError: the chat template leaves the text out, or raises.
    """
    rendered, start = _in_template(tokenizer, message)
    return start + _text_between(tokenizer, rendered, _around(tokenizer), [message])


def conversation_ids(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """Token ids of chat messages, up to where the assistant answers. What they say is text, whatever it is.

    Args:
        tokenizer: one with a chat template.
        messages: with role and content.

    Raises:
        ValueError: a role that holds the name of a control token; the template refuses the messages, or leaves out what
            a user says, or writes a message with such a name otherwise than as it is.
    """
    control = control_ids(tokenizer)
    for role in {message["role"] for message in messages}:
        if not control.isdisjoint(tokenizer.encode(role, add_special_tokens=False)):
            raise ValueError(f"a role is a word such as user; {role[:60]!r} holds one of the model's control tokens")
    template = dated_template(tokenizer)
    marked = [{**message, "content": f"{_PLACE}{i}{_PLACE}"} for i, message in enumerate(messages)]
    try:
        rendered, skeleton = (render(tokenizer, each, template) for each in ([dict(m) for m in messages], marked))
    except Exception as error:  # whatever a template raises
        raise ValueError(f"the model's chat template refuses the messages ({error})") from None
    if any(m["role"] == "user" and m["content"].strip() not in rendered for m in messages):
        raise ValueError("the model's chat template drops the user's text: every prompt would be the same")
    parts, contents = [], []
    for i, message in enumerate(messages):
        before, found, after = skeleton.partition(f"{_PLACE}{i}{_PLACE}")
        if found:  # a template may leave out what was said before the last question
            parts.append(before)
            contents.append(message["content"])
            skeleton = after
    return _text_between(tokenizer, rendered, [*parts, skeleton], contents)


def _text_between(tokenizer: Any, rendered: str, parts: Sequence[str], contents: Sequence[str]) -> list[int]:
    """Token ids of what a template wrote: its own parts, and between them contents in which no token controls.

    Raises:
        ValueError: a content holds the name of a control token, and is not written as it is between these parts.
    """
    control = control_ids(tokenizer)
    ids = tokenizer.encode(rendered, add_special_tokens=False)
    apart = [tokenizer.encode(part, add_special_tokens=False) if part else [] for part in parts]
    if [i for i in ids if i in control] == [i for part in apart for i in part if i in control]:
        return ids
    # a content holds the name of a control token: it is encoded apart from the template, as text
    for trimmed in (contents, [content.strip() for content in contents]):
        if rendered == "".join(map("".join, itertools.zip_longest(parts, trimmed, fillvalue=""))):
            texts = [plain_text_ids(tokenizer, content) for content in trimmed]
            return [i for pair in itertools.zip_longest(apart, texts, fillvalue=[]) for each in pair for i in each]
    raise ValueError(
        "a message holds the name of one of the model's control tokens, and its chat template does not write messages "
        "as they are; take that text out"
    )


def _in_template(tokenizer: Any, message: str) -> tuple[str, list[int]]:
    """The text of a prompt, and what comes before its tokens.

    A base model (gpt2) has no template: plain text, which begins as the tokenizer begins texts, answered by continuing.
    """
    if tokenizer.chat_template is None:
        return f"{message}\n", leading_ids(tokenizer)
    user = {"role": "user", "content": message}
    parts = {"role": "user", "content": [{"type": "text", "text": message}]}
    template, failure = dated_template(tokenizer), None
    for messages in ([user], [SYSTEM, user], [parts]):
        try:
            text = render(tokenizer, messages, template)
        except EndlessTemplate:
            raise
        except Exception as error:  # templates raise what they like
            failure = failure or error
            continue
        if message.strip() in text:  # a template may take off what surrounds a message
            return text, []
    why = f"it raised {type(failure).__name__}: {failure}" if failure else "the user's text is not in what it writes"
    raise ValueError(f"the model's chat template makes no prompt of a user's message ({why}); choose another model")


def dated_template(tokenizer: Any) -> str:
    """The tokenizer's chat template, in which every day is the same."""
    template = tokenizer.chat_template
    return _FIXED_DATE + template if "strftime_now" in template else template


def _around(tokenizer: Any) -> tuple[str, str]:
    """What the template writes before and after a message."""
    opening, _, closing = _in_template(tokenizer, _PLACE)[0].partition(_PLACE)
    return opening, closing
