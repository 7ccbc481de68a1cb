"""A client of an OpenAI-compatible server: one completion at a time, with the server's own tokens and log-probs."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policy_gradients.deploy.needs import DeployError, need

BACKOFF = 0.2  # seconds before the first retry; twice that before the next one


@dataclass(frozen=True)
class Answer:
    """One completion.

    Attributes:
        finished: whether the server ended it at an end token, not at the cap.
        token_ids: as sampled, the end token included where the server tells; None: it does not.
        log_probs: the server's own, one a token; None: it gives none.
        prompt_tokens: as the server counted them.
        cached_tokens: of the prompt, taken from the prefix cache.
    """

    text: str
    finished: bool
    token_ids: list[int] | None
    log_probs: list[float] | None
    prompt_tokens: int | None
    cached_tokens: int | None
    seconds: float


class Client:
    """Speaks with one server; every fault becomes one line that says what to do."""

    def __init__(self, url: str, model: str | None = None, timeout: float = 60.0, retries: int = 2):
        """
        Args:
            url: with or without `/v1`.
            model: name in requests; None: the only one that the server has.
            timeout: seconds that an answer may take, and that a connection may stay silent.
            retries: after a broken connection or a fault of the server (5xx); a refusal (4xx) is final.

        Raises:
            DeployError: nobody answers there, it is no such server, or it has no model of that name.
        """
        self._httpx = need("httpx", "speaking with a server")
        self.url, self.timeout, self.retries = base_url(url), timeout, retries
        # llama.cpp closes connections that the client would keep: each request opens its own
        limits = self._httpx.Limits(max_keepalive_connections=0)
        self._client = self._httpx.Client(timeout=timeout, limits=limits, trust_env=False)
        try:
            self.models = self._models()
        except Refused:
            if model is None:  # transformers cannot list a model that lies in a folder, but serves it
                raise
            self.models = []
        self.model = model or (self.models[0] if self.models else "")
        if self.models and self.model not in self.models and not Path(self.model).is_dir():
            raise DeployError(
                f"{self.url} serves {', '.join(self.models[:5])}, not {self.model!r}; choose with --model"
            )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: object) -> None:
        self._client.close()

    def _models(self) -> list[str]:
        answer = self.post_or_get("/v1/models", None)
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, list):
            raise DeployError(f"{self.url} answers, but /v1/models is not that of an OpenAI-compatible server")
        return [str(entry.get("id")) for entry in data if isinstance(entry, dict)]

    def complete(self, prompt: str | Sequence[int], max_tokens: int, **fields: Any) -> Answer:
        """`/v1/completions`: what the model writes after a prompt, as it is.

        Args:
            prompt: text, or token ids, which no tokenizer of the server can misread.
            fields: of the request, such as temperature; `logprobs=1` and `return_token_ids=True` ask for the tokens.
        """
        prompt = prompt if isinstance(prompt, str) else list(prompt)
        return self._answer("/v1/completions", {"prompt": prompt, "max_tokens": max_tokens, **fields})

    def chat(self, message: str, max_tokens: int, **fields: Any) -> Answer:
        """`/v1/chat/completions`: the answer to a user's message; the server applies its chat template."""
        messages = [{"role": "user", "content": message}]
        return self._answer("/v1/chat/completions", {"messages": messages, "max_tokens": max_tokens, **fields})

    def _answer(self, path: str, body: dict[str, Any]) -> Answer:
        begun = time.perf_counter()
        answer = self.post_or_get(path, {"model": self.model, **body})
        return parse_answer(answer, time.perf_counter() - begun, self.url)

    def tokenize(self, text: str) -> list[int] | None:
        """The server's own tokens of a text that holds control tokens; None: it does not tell."""
        bodies = ({"content": text, "add_special": True, "parse_special": True}, {"model": self.model, "prompt": text})
        for body in bodies:  # llama.cpp, vLLM
            try:
                tokens = self.post_or_get("/tokenize", body).get("tokens")
            except DeployError:
                continue
            if isinstance(tokens, list) and tokens and all(isinstance(token, int) for token in tokens):
                return tokens
        return None

    def counters(self) -> dict[str, float]:
        """What its `/metrics` counts, by name; of one name with several labels, the sum. Empty: it counts nothing."""
        try:
            text = self._request("/metrics", None).text
        except DeployError:
            return {}
        return parse_counters(text)

    def post_or_get(self, path: str, body: dict[str, Any] | None) -> Any:
        """JSON of a POST, or of a GET without a body.

        Raises:
            DeployError: no answer in time, a broken connection, a fault or a refusal, after all retries.
        """
        answer = self._request(path, body)
        try:
            return answer.json()
        except ValueError:
            raise DeployError(
                f"{self.url}{path} answered with something else than JSON: {_brief(answer.text)}"
            ) from None

    def _request(self, path: str, body: dict[str, Any] | None) -> Any:
        method = "GET" if body is None else "POST"
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(BACKOFF * 2 ** (attempt - 1))
            try:
                answer = self._client.request(method, self.url + path, json=body)
            except (self._httpx.TransportError, self._httpx.InvalidURL) as error:
                failure, again = self._failure(error), not isinstance(error, self._httpx.TimeoutException)
            else:
                if answer.status_code < 400:
                    return answer
                failure, again = _refusal(self.url + path, answer), answer.status_code >= 500
            if not again:
                break
        raise failure

    def stream(self, prompt: str, max_tokens: int, **fields: Any) -> Iterator["Piece"]:
        """`/v1/completions` piece by piece, as they come; one attempt.

        Raises:
            DeployError: as `complete`; also a connection that breaks in the middle, and an answer that takes more than
                `timeout` in all.
        """
        body = {"model": self.model, "prompt": prompt, "max_tokens": max_tokens, "stream": True, **fields}
        body["stream_options"] = {"include_usage": True}
        end, complete = time.monotonic() + self.timeout, False
        try:
            with self._client.stream("POST", f"{self.url}/v1/completions", json=body) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise _refusal(f"{self.url}/v1/completions", answer)
                for line in answer.iter_lines():
                    if time.monotonic() > end:
                        raise self._failure(self._httpx.ReadTimeout("slow"))
                    if line == "data: [DONE]":
                        complete = True
                    elif line.startswith("data:"):
                        piece = _piece(line[5:], self.url)
                        complete = complete or piece.last
                        yield piece
        except self._httpx.TransportError as error:
            raise self._failure(error) from None
        if not complete:
            raise Unreachable(f"{self.url} ended an answer in the middle; has the server died?")

    def _failure(self, error: Exception) -> "DeployError":
        if isinstance(error, self._httpx.TimeoutException):  # asking again would only lengthen the queue
            return TooSlow(
                f"{self.url} gave no whole answer in {self.timeout:g} s; raise the timeout, or ask for less at a time"
            )
        if isinstance(error, self._httpx.ConnectError | self._httpx.InvalidURL):
            return Unreachable(
                f"nobody answers at {self.url} ({error}); is a server running? `policy-gradients serve DIR` starts one"
            )
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        return Unreachable(f"{self.url} broke the connection ({said}); has the server died?")


class Unreachable(DeployError):
    """Nobody is there, or not any longer."""


class TooSlow(DeployError):
    """An answer that did not come in time."""


class Refused(DeployError):
    """An answer that is an error: of the request (4xx) or of the server (5xx)."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Piece:
    """What one event of a stream brings: text, at the end what was counted, and whether it is the end."""

    text: str
    usage: dict[str, Any] | None
    last: bool


def _piece(data: str, url: str) -> Piece:
    try:
        event = json.loads(data)
        if "error" in event:
            raise DeployError(f"{url} broke off an answer: {_brief(str(event['error']))}")
        choice = (event.get("choices") or [{}])[0]
        return Piece(choice.get("text") or "", event.get("usage"), choice.get("finish_reason") is not None)
    except (ValueError, AttributeError, KeyError, IndexError, TypeError) as error:
        if isinstance(error, DeployError):
            raise
        raise DeployError(f"{url} sent something else than a completion: {_brief(data)}") from None


def _refusal(address: str, answer: Any) -> Refused:
    return Refused(f"{address} answered {answer.status_code}: {_brief(answer.text)}", answer.status_code)


def base_url(url: str) -> str:
    """The address without a final slash or `/v1`.

    Raises:
        DeployError: it does not begin with http:// or https://.
    """
    url = url.strip().rstrip("/").removesuffix("/v1").rstrip("/")
    scheme, _, rest = url.partition("://")
    if scheme not in ("http", "https") or not rest:
        raise DeployError(f"the server's address must look like http://127.0.0.1:8000, got {url!r}")
    return url


def parse_answer(answer: Any, seconds: float, url: str) -> Answer:
    """One completion in any of the forms that servers give it: llama.cpp, vLLM, transformers; of text, and of chat.

    Raises:
        DeployError: it is in none of them.
    """
    try:
        choice = answer["choices"][0]
        text = choice["text"] if "text" in choice else choice["message"]["content"] or ""
        reason = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise DeployError(f"{url} answered with something else than a completion: {_brief(str(answer))}") from None
    ids, log_probs = _tokens(choice)
    usage = answer.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    # llama.cpp is silent about tokens that are pieces of a character: what follows would be scored behind other tokens
    if ids is not None and usage.get("completion_tokens", len(ids)) != len(ids):
        ids = log_probs = None
    return Answer(
        text, reason == "stop", ids, log_probs, usage.get("prompt_tokens"), details.get("cached_tokens"), seconds
    )


def _tokens(choice: dict[str, Any]) -> tuple[list[int] | None, list[float] | None]:
    told = choice.get("logprobs") or {}
    if content := told.get("content"):  # llama.cpp, and the chat form
        log_probs = [float(token["logprob"]) for token in content]
        ids = [token["id"] for token in content] if all("id" in token for token in content) else None
        return ids or choice.get("token_ids"), log_probs
    log_probs = told.get("token_logprobs")
    return choice.get("token_ids"), None if log_probs is None else [float(value) for value in log_probs]


def parse_counters(text: str) -> dict[str, float]:
    """Prometheus text as numbers by name."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if not name or line.startswith("#"):
            continue
        try:
            number = float(value)
        except ValueError:
            continue
        name = name.partition("{")[0]
        found[name] = found.get(name, 0.0) + number
    return found


def _brief(text: str) -> str:
    return " ".join(text.split())[:200] or "nothing"
