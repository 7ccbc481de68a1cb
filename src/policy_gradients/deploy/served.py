"""Is what is served the policy that was trained? The same table over HTTP as in process, and what is wrong by name."""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from policy_gradients.deploy.client import Answer, Client, Refused
from policy_gradients.deploy.needs import DeployError
from policy_gradients.deploy.sampling import END_LOST, SamplerTest
from policy_gradients.evaluation.evaluate import Row, Subject, judge_texts, load_subject, sample_completions
from policy_gradients.evaluation.load_statistics import server_divergence
from policy_gradients.evaluation.statistics import mean_interval
from policy_gradients.language.models import best_device, end_token_ids, load_model
from policy_gradients.language.rewards import Completion, decode
from policy_gradients.training.batches import prompt_indices
from policy_gradients.training.presets import PRESETS, preset
from policy_gradients.training.sources import make_task

ROUTES = ("tokens", "text", "chat")
ASKS = 8  # of one prompt
PLACE = "⁂message⁂"
DIFFERENT = 0.5  # nats a completion: above it, weights are said to be others


def evaluate_server(
    policy: str | Path | Subject,
    url: str,
    model: str | None = None,
    num_prompts: int = 100,
    seed: int = 1,
    route: str = "tokens",
    fields: Mapping[str, Any] | None = None,
    concurrency: int = 4,
    timeout: float = 60.0,
    progress: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Ask a server for one completion of each held-out prompt, and hold them against the policy in this process.

    Args:
        policy: a run's folder, or a preset's name, for its untuned model; or a loaded one.
        route: how prompts get there: `tokens` (as token ids: what the policy would do), `text` (the rendered prompt,
            which the server cuts into tokens) or `chat` (the message, which the server puts into its template).
        fields: of each request, beside the temperature of training and top_p = 1, which any client may set: what a
            server does unasked, it also does here.
        concurrency: requests at the same time.
        timeout: seconds that one answer may take.

    Returns:
        The report: `in_process` and `served` (pass rate with interval, distinct completions, …); `kl`, the divergence
        of the served model from the policy in nats a completion (k3, from the server's own log-probs; None without
        them), `pass_rate_bound`, by how much it can move the pass rate (Pinsker); `findings`, what is wrong, by name.

    Raises:
        DeployError: the server cannot be reached, has no such model, is too slow, or dies on the way.
    """
    if route not in ROUTES:
        raise DeployError(f"route must be one of {', '.join(ROUTES)}, got {route!r}")
    subject = policy if isinstance(policy, Subject) else subject_of(policy)
    heldout, config = subject.task.heldout, subject.config
    if not 1 <= num_prompts <= len(heldout):
        raise DeployError(f"num_prompts must lie in [1, {len(heldout)}], the held-out rows; got {num_prompts}")
    if concurrency < 1:
        raise DeployError(f"concurrency must be at least 1, got {concurrency}")
    rows = [heldout[i] for i in prompt_indices(len(heldout), num_prompts, 0, seed)]
    prompts = [subject.task.prompt(subject.tokenizer, row, config.max_prompt_tokens) for row in rows]
    with Client(url, model, timeout) as client:
        progress(f"{num_prompts} completions of {client.model} at {client.url}")
        asked = {"temperature": config.temperature, "top_p": 1.0, **(fields or {})}
        ask = _Ask(client, subject, route, config.max_new_tokens, asked)
        answers = _all(ask, [*prompts, *[prompts[0]] * ASKS], seed, concurrency)
        counts = _Counts(client, subject.tokenizer, prompts[0])
        notes = _text_findings(client, subject, prompts[0], counts)
    answers, repeated = answers[:num_prompts], answers[num_prompts:]
    progress("the same in process")
    own = [c for r in sample_completions(subject, rows, 1, seed) for c in decode(subject.tokenizer, r)]
    progress("the server's tokens, scored in process")
    scored = score_answers(subject, prompts, answers)
    findings = _findings(prompts, answers, scored, ask.route, counts)
    return {
        "task": subject.task.name, "num_prompts": num_prompts, "seed": seed, "route": ask.route, "fields": asked,
        "server": client.url, "model": client.model,
        "in_process": _rates(subject, rows, own),
        "served": _rates(subject, rows, [Completion(a.text, a.finished) for a in answers]),
        "distinct_of_one_prompt": len({answer.text for answer in repeated}), "asked_of_one_prompt": ASKS,
        "kl": scored["kl"], "kl_standard_error": scored["kl_standard_error"],
        "pass_rate_bound": None if scored["kl"] is None else min(1.0, math.sqrt(max(scored["kl"], 0.0) / 2)),
        "sampler_gains": scored["test"].gains,
        "findings": findings + [note for note in notes if route != "chat" or not note.startswith("sent as a chat")],
    }  # fmt: skip


def subject_of(policy: str | Path) -> Subject:
    """The tuned policy of a run's folder, or the untuned model of a preset with that preset's task."""
    if Path(policy).is_dir():
        return load_subject(Path(policy))
    if str(policy) not in PRESETS:
        raise DeployError(f"{policy} is neither a run's folder nor a preset ({', '.join(PRESETS)})")
    config = preset(str(policy))
    model, tokenizer = load_model(config.model)
    return Subject(model.to(best_device()), tokenizer, make_task(config), config)


class _Ask:
    """Asks for one completion, in the richest form that the server understands."""

    def __init__(self, client: Client, subject: Subject, route: str, max_tokens: int, fields: Mapping[str, Any]):
        self.client, self.subject, self.route, self.max_tokens = client, subject, route, max_tokens
        self.fields = {**fields, "logprobs": 1, "return_token_ids": True}

    def adapt(self, prompt: Sequence[int]) -> None:
        """Try one request; a server that refuses token ids and log-probs (transformers) is asked for text alone."""
        try:
            self(prompt, 0)
        except Refused as refusal:
            self._plainly(prompt, refusal)

    def _plainly(self, prompt: Sequence[int], refusal: Refused) -> None:
        for extra in ("logprobs", "return_token_ids", "top_logprobs"):
            self.fields.pop(extra, None)
        self.route = "text" if self.route == "tokens" else self.route
        try:
            self(prompt, 0)
        except Refused:
            raise refusal from None

    def __call__(self, prompt: Sequence[int], seed: int) -> Answer:
        fields = {**self.fields, "seed": seed}
        if self.route == "tokens":
            return self.client.complete(prompt, self.max_tokens, **fields)
        text = rendered(self.subject.tokenizer, prompt)
        if self.route == "text":
            return self.client.complete(text, self.max_tokens, **fields)
        if "logprobs" in fields:
            fields |= {"logprobs": True, "top_logprobs": 1}
        return self.client.chat(message_of(self.subject.tokenizer, text), self.max_tokens, **fields)


def _all(ask: _Ask, prompts: Sequence[Sequence[int]], seed: int, concurrency: int) -> list[Answer]:
    ask.adapt(prompts[0])
    answers: list[Answer] = []
    with ThreadPoolExecutor(concurrency) as pool:
        waiting = [pool.submit(ask, prompt, seed * 1_000_000 + i) for i, prompt in enumerate(prompts)]
        try:
            answers.extend(future.result() for future in waiting)
        except DeployError as error:
            raise type(error)(*_said_after(error, len(answers), len(prompts))) from None
        finally:
            for future in waiting:
                future.cancel()
    return answers


def _said_after(error: DeployError, done: int, of: int) -> tuple[Any, ...]:
    message = f"after {done} of {of} answers: {error}"
    return (message, error.status) if isinstance(error, Refused) else (message,)


def rendered(tokenizer: Any, prompt: Sequence[int]) -> str:
    """The text of a prompt, template included."""
    return tokenizer.decode(list(prompt), skip_special_tokens=False, clean_up_tokenization_spaces=False)


def message_of(tokenizer: Any, text: str) -> str:
    """The user's message in a rendered prompt.

    Raises:
        DeployError: the model has no chat template, so that a server has no chat for it.
    """
    if not tokenizer.chat_template:
        raise DeployError("this model has no chat template; take the route text or tokens")
    opening, _, closing = in_template(tokenizer, PLACE).partition(PLACE)
    return text.removeprefix(opening).removesuffix(closing)


def in_template(tokenizer: Any, message: str) -> str:
    """A user's message, as the chat template writes it for the model to answer."""
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": message}], tokenize=False, add_generation_prompt=True
    )


@torch.no_grad()
def score_answers(subject: Subject, prompts: Sequence[Sequence[int]], answers: Sequence[Answer]) -> dict[str, Any]:
    """The policy's own view of the server's tokens.

    Returns:
        `kl` with its standard error, k3 in nats a completion at temperature 1, where servers report log-probs; `test`,
        the likelihood of each sampler; `argmax_share`; `ended_inside`, how many completions go on after an end token.
    """
    ends = end_token_ids(subject.model, subject.tokenizer)
    test, divergences = SamplerTest(subject.config.temperature, ends), []
    greedy = tokens = inside = 0
    told = any(answer.token_ids is not None for answer in answers)
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = answer.token_ids
        if ids is None and told:
            continue
        if ids is None:  # the server never tells: the text, cut again
            ids = subject.tokenizer.encode(answer.text, add_special_tokens=False) + ends[-1:] * answer.finished
        if not ids:
            continue
        inside += any(i in ends for i in ids[:-1])
        logits = next_logits(subject.model, prompt, ids)
        chosen = torch.tensor(ids, device=logits.device)
        test.add(logits, chosen)
        greedy += int((logits.argmax(-1) == chosen).sum())
        tokens += len(ids)
        if answer.log_probs is not None and answer.token_ids is not None and len(answer.log_probs) == len(ids):
            own = logits.double().log_softmax(-1).gather(-1, chosen.unsqueeze(-1)).squeeze(-1).cpu()
            divergences.append(server_divergence(own, torch.tensor(answer.log_probs, dtype=torch.double)).item())
    kl, error = mean_interval(divergences) if divergences else (None, None)
    return {
        "kl": kl, "kl_standard_error": error, "test": test, "argmax_share": greedy / max(tokens, 1), "tokens": tokens,
        "ended_inside": inside, "told": len(divergences),
    }  # fmt: skip


def next_logits(model: PreTrainedModel, prompt: Sequence[int], ids: Sequence[int]) -> Tensor:
    """Logits that each completion token was chosen from, (tokens, vocabulary): one sequence, no padding."""
    row = torch.tensor([[*prompt, *ids[:-1]]], device=model.device)
    return model(row).logits[0, len(prompt) - 1 :].float()


def _rates(subject: Subject, rows: Sequence[Row], completions: Sequence[Completion]) -> dict[str, Any]:
    report, _ = judge_texts(subject.task, rows, completions)
    marked = [subject.task.marked(row, c) for row, c in zip(rows, completions, strict=True)]
    return {**report, "completions": marked}


def _findings(
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Answer],
    scored: dict[str, Any],
    route: str,
    counts: "_Counts",
) -> list[str]:
    """What is wrong with the server, in words; nothing if it is the policy as far as this many tokens can tell."""
    found = []
    if wrong := _prompt_finding(prompts, answers, route, counts):
        found.append(wrong)
    kl = scored["kl"]
    # where weights or prompts differ, a likelihood moves by as much for that reason alone
    named = scored["test"].named(2 * (kl or 0.0) * len(answers))
    # a server that never ends scores what it writes instead with log-probs of its own: no slack for those
    lost = not found and not any(answer.finished for answer in answers) and scored["test"].named() == END_LOST
    if scored["ended_inside"]:
        found.append(
            f"the end token is lost: {scored['ended_inside']} of {len(answers)} completions go on after it "
            "(ignore_eos, or a wrong eos_token_id in the export)"
        )
    elif lost:
        found.append(f"{END_LOST} (ignore_eos, or a wrong eos_token_id in the export)")
    elif named:
        found.append(f"the server samples otherwise than the policy; {named}")
    if kl is not None and kl > DIFFERENT and not lost:
        why = "" if found else " (few bits a weight?)"
        found.append(f"other weights, or another prompt: KL {kl:.2g} nats a completion from the policy{why}")
    return found


def _prompt_finding(
    prompts: Sequence[Sequence[int]], answers: Sequence[Answer], route: str, counts: "_Counts"
) -> str | None:
    more = [
        answer.prompt_tokens - len(prompt)
        for prompt, answer in zip(prompts, answers, strict=True)
        if answer.prompt_tokens is not None
    ]
    if not any(more):
        return None
    if route == "tokens":
        return f"the server reads {more[0]:+d} tokens beside those that it was sent (a BOS of its own?)"
    return counts.why(answers[0].prompt_tokens)


class _Counts:
    """Tokens that the server makes of one prompt: as training rendered it, in the template twice, without template."""

    def __init__(self, client: Client, tokenizer: Any, prompt: Sequence[int]):
        self.prompt, text = list(prompt), rendered(tokenizer, prompt)
        self.cut = client.tokenize(text)

        def count(text: str) -> int:
            cut = client.tokenize(text) if self.cut is not None else None
            return len(cut if cut is not None else tokenizer.encode(text, add_special_tokens=False))

        self.once, self.twice, self.bare = count(text), None, None
        if tokenizer.chat_template:
            self.twice, self.bare = count(in_template(tokenizer, text)), count(message_of(tokenizer, text))

    def why(self, read: int | None) -> str | None:
        """Why a server reads so many tokens; None if they are as many as the policy was trained on."""
        if read is None or read == len(self.prompt):
            return None
        said = f"it reads {read} tokens where the policy was trained on {len(self.prompt)}"
        if self.twice is not None and read > self.once and abs(read - self.twice) < abs(read - self.once):
            return f"the chat template is applied twice: {said}"
        if self.bare is not None and read <= self.bare < self.once:
            return f"the chat template is missing: {said}"
        if read == self.once + 1:
            return f"one token too many is put before the text (a BOS?): {said}"
        return f"the server cuts text into other tokens than the policy's: {said}; send token ids"


def _text_findings(client: Client, subject: Subject, prompt: Sequence[int], counts: _Counts) -> list[str]:
    """Whether prompts would arrive as they are meant if they were sent as text, or as a chat: asked once each."""
    found = []
    if counts.cut is not None and counts.cut != list(prompt):
        found.append(
            f"sent as text: the server cuts the prompt into {len(counts.cut)} other tokens than the policy's "
            f"{len(prompt)}; send token ids"
        )
    if subject.tokenizer.chat_template:
        message = message_of(subject.tokenizer, rendered(subject.tokenizer, prompt))
        try:
            read = client.chat(message, 1).prompt_tokens
        except DeployError:
            return found
        wrong = counts.why(read)
        if wrong and not (found and read == counts.once):
            found.append(f"sent as a chat: {wrong}")
    return found
