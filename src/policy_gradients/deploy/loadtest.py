"""How a server behaves under load: latency, time to the first token, throughput, errors, cache hits; over HTTP."""

import math
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from policy_gradients.deploy.client import BACKOFF, Client, Refused, TooSlow, Unreachable
from policy_gradients.deploy.needs import DeployError
from policy_gradients.evaluation.load_statistics import cached_share, percentile
from policy_gradients.language.text import shipped_articles

PREFIXES = ("unshared", "shared")


@dataclass(frozen=True)
class Load:
    """What is asked of the server. Every prompt is sent once: a repeated one would measure its cache, not the server.

    Attributes:
        concurrency: clients at the same time, one level after the other; each asks again as soon as it has its answer.
        requests: of each level, for each kind of prefix.
        prompt_tokens: about so many a prompt, as the server counts them.
        shared_tokens: of these, about so many are the same in all prompts of the kind `shared`.
        prefixes: which kinds: `unshared` (nothing in common), `shared`.
        max_tokens: of an answer; it may end before.
        timeout: seconds that one answer may take, in all.
        retries: after a broken connection before the first token, or a fault of the server (5xx).
        temperature: of the requests.
    """

    concurrency: tuple[int, ...] = (1, 4, 16)
    requests: int = 32
    prompt_tokens: int = 128
    shared_tokens: int = 100
    prefixes: tuple[str, ...] = PREFIXES
    max_tokens: int = 32
    timeout: float = 60.0
    retries: int = 2
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.concurrency or min(self.concurrency) < 1:
            raise DeployError(f"concurrency must be numbers from 1 up, such as 1,4,16; got {self.concurrency}")
        for name in ("requests", "prompt_tokens", "max_tokens"):
            if getattr(self, name) < 1:
                raise DeployError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.shared_tokens < self.prompt_tokens:
            raise DeployError(
                f"shared_tokens must lie in [0, {self.prompt_tokens}), below prompt_tokens; got {self.shared_tokens}"
            )
        if unknown := set(self.prefixes) - set(PREFIXES):
            raise DeployError(f"prefixes are {' and '.join(PREFIXES)}, got {', '.join(sorted(unknown))}")
        if self.timeout <= 0 or self.retries < 0:
            raise DeployError(f"timeout must be above 0 and retries at least 0, got {self.timeout} and {self.retries}")


@dataclass(frozen=True)
class Timing:
    """One request, in seconds from when it was first sent, retries included.

    Attributes:
        first_token: NaN for a request that failed.
        tokens: that came back.
        prompt_tokens, cached_tokens: as the server counted them, 0 if it did not.
        error: why there is no answer, "" if there is one.
    """

    latency: float
    first_token: float
    tokens: int
    prompt_tokens: int
    cached_tokens: int
    retries: int
    error: str = ""


def load_test(
    url: str,
    load: Load | None = None,
    model: str | None = None,
    on_request: Callable[[dict[str, Any]], None] = lambda row: None,
) -> dict[str, Any]:
    """Measure a server at each level of concurrency, with prompts that share a prefix and with such that do not.

    Two requests go before, with texts of their own: they warm the server up and leave nothing in its cache that a
    measured prompt could use.

    Args:
        on_request: called after each request, in this thread, with its numbers.

    Returns:
        `levels`, one for each concurrency and prefix, with every request's times; `stopped`: None, or why the rest was
        not measured: the server is gone.

    Raises:
        DeployError: nobody answers there, or it refuses what is asked.
    """
    load = load or Load()
    levels: list[dict[str, Any]] = []
    stopped = None
    with Client(url, model, load.timeout, load.retries) as client:
        prompts = _Prompts(load, _characters_per_token(client, load))
        done = 0
        for prefix in load.prefixes:
            for concurrency in load.concurrency:
                asked = [prompts.next(prefix) for _ in range(load.requests)]
                before, begun, timings = client.counters(), time.perf_counter(), []
                for timing in _run(client, load, asked, concurrency):
                    timings.append(timing)
                    done += 1
                    on_request({"request": done, "concurrency": concurrency, "prefix": prefix, **vars(timing)})
                seconds = time.perf_counter() - begun
                level = {"prefix": prefix, "concurrency": concurrency, **summary(timings, seconds)}
                level |= {"cache": cache_share(timings, before, client.counters())}
                levels.append(level)
                stopped = _why_stopped(timings, load.requests)
                if stopped:
                    break
            if stopped:
                break
        return {
            "server": client.url, "model": client.model, "load": vars(load), "levels": levels, "stopped": stopped,
        }  # fmt: skip


def _characters_per_token(client: Client, load: Load) -> float:
    """How much text makes a token here; asking warms the server up."""
    texts = [article["text"] for article in shipped_articles("heldout")[:2]]
    answers = [client.complete(text[:300], load.max_tokens, temperature=load.temperature) for text in texts]
    counted = [answer.prompt_tokens or 0 for answer in answers]
    return sum(len(text[:300]) for text in texts) / sum(counted) if all(counted) else 4.0


class _Prompts:
    """Texts that begin differently, none twice; those with a shared prefix begin alike and then differ."""

    def __init__(self, load: Load, characters: float):
        articles = [article["text"] for article in shipped_articles("heldout")]
        self._length = max(1, round(load.prompt_tokens * characters))
        shared = round(load.shared_tokens * characters)
        self._prefix = _stretched(articles[2], shared) if shared else ""
        self._articles, self._next = articles[3:], 0

    def next(self, prefix: str) -> str:
        start = self._prefix if prefix == "shared" else ""
        number, self._next = self._next, self._next + 1
        article = self._articles[number % len(self._articles)]
        turn = number // len(self._articles)
        # after the last article, the same ones from a later place on: still nothing in common from the first word
        words = article.split()
        offset = turn * 7 % max(len(words), 1)
        fresh = (f"{turn} " if turn else "") + " ".join(words[offset:] + words[:offset])
        return start + _stretched(fresh, self._length - len(start))


def _stretched(text: str, length: int) -> str:
    return (text + " ") * (length // (len(text) + 1) + 1) if len(text) < length else text[: max(length, 1)]


def _run(client: Client, load: Load, prompts: Sequence[str], concurrency: int) -> Iterator[Timing]:
    """Timings as they come in. So many clients in threads of their own; they give up together when nobody answers."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for prompt in prompts:
        waiting.put(prompt)
    done: queue.SimpleQueue[Timing | BaseException | None] = queue.SimpleQueue()
    gone = threading.Event()

    def work() -> None:
        try:
            while not gone.is_set():
                try:
                    prompt = waiting.get_nowait()
                except queue.Empty:
                    break
                done.put(_one(client, load, prompt))
        except BaseException as error:
            done.put(error)
        finally:
            done.put(None)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(concurrency, len(prompts)))]
    for thread in threads:
        thread.start()
    running, in_a_row = len(threads), 0
    try:
        while running:
            said = done.get()
            if said is None:
                running -= 1
            elif isinstance(said, BaseException):
                raise said
            else:
                in_a_row = in_a_row + 1 if said.error.startswith(_GONE) else 0
                if in_a_row >= max(3, concurrency):
                    gone.set()
                yield said
    finally:
        gone.set()


_GONE = "unreachable"


def _one(client: Client, load: Load, prompt: str) -> Timing:
    begun, retries = time.perf_counter(), 0
    while True:
        first, pieces, usage = math.nan, 0, {}
        try:
            for piece in client.stream(prompt, load.max_tokens, temperature=load.temperature):
                if piece.text:
                    pieces += 1
                    if math.isnan(first):
                        first = time.perf_counter() - begun
                usage = piece.usage or usage
        except DeployError as error:
            again = isinstance(error, Unreachable) or (isinstance(error, Refused) and error.status >= 500)
            if again and retries < load.retries and not pieces:
                retries += 1
                time.sleep(BACKOFF * 2 ** (retries - 1))
                continue
            return Timing(time.perf_counter() - begun, math.nan, 0, 0, 0, retries, f"{_kind(error)}: {error}")
        latency = time.perf_counter() - begun
        details = usage.get("prompt_tokens_details") or {}
        return Timing(
            latency, latency if math.isnan(first) else first, usage.get("completion_tokens", pieces),
            usage.get("prompt_tokens", 0), details.get("cached_tokens") or 0, retries,
        )  # fmt: skip


def _kind(error: DeployError) -> str:
    if isinstance(error, Refused):
        return f"status {error.status}"
    return _GONE if isinstance(error, Unreachable) else "timeout" if isinstance(error, TooSlow) else "broken answer"


def _why_stopped(timings: Sequence[Timing], asked: int) -> str | None:
    failed = [timing.error for timing in timings if timing.error]
    if failed and len(failed) == len(timings):
        return f"every request failed: {failed[-1]}"
    if len(timings) < asked:
        return f"the server is gone after {len(timings) - len(failed)} answers at this level: {failed[-1]}"
    return None


def summary(timings: Sequence[Timing], seconds: float) -> dict[str, Any]:
    """The numbers of one level; times in milliseconds, of the requests that were answered.

    Args:
        seconds: from the first request to the last answer.
    """
    good = [timing for timing in timings if not timing.error]
    latencies, firsts = [1e3 * t.latency for t in good], [1e3 * t.first_token for t in good]
    return {
        "requests": len(timings),
        "errors": dict(Counter(t.error.partition(":")[0] for t in timings if t.error)),
        "first_error": next((t.error for t in timings if t.error), None),
        "retries": sum(t.retries for t in timings),
        "seconds": seconds,
        "latency_ms": {f"p{p}": percentile(latencies, p / 100) for p in (50, 95, 99)},
        "first_token_ms": {f"p{p}": percentile(firsts, p / 100) for p in (50, 95, 99)},
        "tokens_per_second": sum(t.tokens for t in good) / seconds,
        "requests_per_second": len(good) / seconds,
        "prompt_tokens": sum(t.prompt_tokens for t in good) / max(len(good), 1),
        "answer_tokens": sum(t.tokens for t in good) / max(len(good), 1),
        "latencies_ms": latencies,
        "first_tokens_ms": firsts,
    }


# name of what was taken from the cache -> what was computed (llama.cpp), or looked up in all (vLLM)
_COUNTERS = {
    "llamacpp:prompt_tokens_cached_total": ("llamacpp:prompt_tokens_total", False),
    "vllm:prefix_cache_hits_total": ("vllm:prefix_cache_queries_total", True),
}


def cache_share(timings: Sequence[Timing], before: dict[str, float], after: dict[str, float]) -> dict[str, Any]:
    """Share of prompt tokens that came from the prefix cache: from the server's counters, else from its answers.

    The counters are the server's: they count all its clients.
    """
    for cached, (other, is_all) in _COUNTERS.items():
        if cached in after and other in after:
            first, last = ({"cached": c.get(cached, 0.0), "computed": c.get(other, 0.0)} for c in (before, after))
            for reading in (first, last) if is_all else ():
                reading["computed"] -= reading["cached"]
            hits = last["cached"] - first["cached"]
            return {"share": cached_share(first, last), "tokens": hits, "from": "counters"}
    hits, total = sum(t.cached_tokens for t in timings), sum(t.prompt_tokens for t in timings)
    return {"share": hits / total if total else None, "tokens": hits, "from": "answers"}
