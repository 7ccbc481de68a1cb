"""Real servers of a policy, started by name, watched, and ended for certain."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policy_gradients.deploy import guard
from policy_gradients.deploy.needs import INSTALL, DeployError, installed, need

GRACE = 10.0  # seconds that a server gets to end by itself
HOST = "127.0.0.1"  # nobody else's machine, unless told


@dataclass(frozen=True)
class ServerOptions:
    """How to serve; what a server has no such option for, it ignores.

    Attributes:
        name: of the model, in requests.
        threads: of computation; None: the cores that are free to this process, but one for the server and its client.
            More threads than free cores make llama.cpp several times slower.
        parallel: completions written at the same time; others wait in line.
        context: tokens of one sequence; 0: the model's own limit.
        prefix_cache: keep keys and values of prompts for later ones that begin alike.
        extra: arguments for the server as they are, such as ("--dtype", "half").
        python: another interpreter to start it with, such as that of an environment for vLLM alone.
    """

    name: str = "policy"
    host: str = HOST
    port: int = 8000
    threads: int | None = None
    parallel: int = 4
    context: int = 0
    prefix_cache: bool = True
    extra: tuple[str, ...] = ()
    python: str | None = None

    def free_threads(self) -> int:
        """`threads`, or what None means here."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.threads or max(1, cores - 1)


def _llamacpp(path: Path, options: ServerOptions) -> list[str]:
    command = [sys.executable, "-m", "policy_gradients.deploy.llamacpp_server", str(path)]
    command += ["--host", options.host, "--port", str(options.port), "--name", options.name]
    command += ["--threads", str(options.free_threads()), "--parallel", str(options.parallel)]
    command += ["--context", str(options.context)]
    return [*command, *(() if options.prefix_cache else ("--no-prefix-cache",)), *options.extra]


def _vllm(path: Path, options: ServerOptions) -> list[str]:
    command = [options.python or sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(path)]
    command += ["--host", options.host, "--port", str(options.port), "--served-model-name", options.name]
    command += ["--max-num-seqs", str(options.parallel)]
    command += ["--max-model-len", str(options.context)] if options.context else []
    return [*command, "--enable-prefix-caching" if options.prefix_cache else "--no-enable-prefix-caching",
            *options.extra]  # fmt: skip


def _transformers(path: Path, options: ServerOptions) -> list[str]:
    command = [options.python or sys.executable, "-m", "transformers.cli.transformers", "serve", str(path)]
    return [*command, "--host", options.host, "--port", str(options.port), *options.extra]


@dataclass(frozen=True)
class Kind:
    """A server program: what it reads, what it needs, and how it is called."""

    reads: str
    needs: tuple[str, ...]
    how_to_install: str
    command: Callable[[Path, ServerOptions], list[str]]
    start_seconds: float = 60.0


SERVERS = {
    "llamacpp": Kind("gguf", ("xllamacpp",), INSTALL, _llamacpp),
    "vllm": Kind(
        "hf", ("vllm",), "in an environment of its own: pip install vllm, then --python ITS/bin/python", _vllm, 600.0
    ),
    "transformers": Kind(
        "hf", ("fastapi", "uvicorn", "openai"), "pip install 'transformers[serving]'", _transformers, 180.0
    ),
}  # fmt: skip


def kind_of(server: str) -> Kind:
    """The server program of that name.

    Raises:
        DeployError: there is none.
    """
    if server not in SERVERS:
        raise DeployError(f"server must be one of {', '.join(SERVERS)}, got {server!r}")
    return SERVERS[server]


@dataclass
class RunningServer:
    """A server that answers; a context manager that ends it.

    Attributes:
        url: such as http://127.0.0.1:8000.
        model: its name in requests.
        started_in: seconds from the start of the process until it answered.
        log: file with all that it printed.
    """

    url: str
    model: str
    started_in: float
    log: Path
    pid: int
    _guard: Any = field(repr=False)
    _own_log: bool = field(default=False, repr=False)

    def alive(self) -> bool:
        """Whether its process still runs."""
        return self._guard.poll() is None

    def megabytes(self) -> float:
        """Resident memory of the server and all that it started, in 10⁶ bytes."""
        psutil = need("psutil", "the memory of a server")
        with contextlib.suppress(psutil.NoSuchProcess):
            own = psutil.Process(self.pid)
            return sum(process.memory_info().rss for process in [own, *own.children(recursive=True)]) / 1e6
        return 0.0

    def last_words(self) -> str:
        """The last line of its log that says anything."""
        return last_words(self.log)

    def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL after a grace; returns when it is gone."""
        _stop(self._guard)
        if self._own_log:
            with contextlib.suppress(OSError):
                self.log.unlink()

    def __enter__(self) -> "RunningServer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def start_server(
    path: Path,
    server: str = "llamacpp",
    options: ServerOptions | None = None,
    log: Path | None = None,
    start_seconds: float | None = None,
) -> RunningServer:
    """Start a server of a GGUF file or a model folder, and wait until it answers.

    Args:
        path: what this server reads (`SERVERS[server].reads`); see `served_path` for a run's folder.
        options: port 0 takes a free one.
        log: where its output goes; None: a temporary file.
        start_seconds: how long to wait; None: 60 for llama.cpp, 600 for vLLM, 180 for transformers.

    Raises:
        DeployError: the server is not installed, the port is taken, it died while starting (with what it said last),
            or it does not answer in time. Nothing is left running.
    """
    kind, options = kind_of(server), options or ServerOptions()
    require_server(server, options)
    options = require_free_port(options)
    own_log = log is None
    if log is None:
        handle, name = tempfile.mkstemp(prefix=f"{server}-", suffix=".log")
        os.close(handle)
        log = Path(name)
    begun = time.perf_counter()
    process = _start(kind.command(Path(path), options), log)
    url = f"http://{_address(options.host)}:{options.port}"
    try:
        pid = int(process.stdout.readline() or 0)
        seconds = kind.start_seconds if start_seconds is None else start_seconds
        _await(process, url, seconds, log, server)
        took = time.perf_counter() - begun
        model = str(path) if server == "transformers" else options.name
        return RunningServer(url, model, took, log, pid, process, own_log)
    except BaseException:  # Ctrl-C while it starts, too
        _stop(process)
        raise


def require_server(server: str, options: ServerOptions) -> None:
    """Raise DeployError unless a server of that name is known, and installed where it would be started."""
    kind = kind_of(server)
    for package in kind.needs:
        if not installed(package, options.python if server != "llamacpp" else None):
            raise DeployError(
                f"the server {server} needs the package {package}, which is not installed: {kind.how_to_install}"
            )


def _start(command: Sequence[str], log: Path) -> Any:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, guard.__file__, str(GRACE), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env=environment,
        )


def _stop(process: Any) -> None:
    with contextlib.suppress(OSError, ValueError):
        process.stdin.close()
    try:
        process.wait(GRACE + 5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def require_free_port(options: ServerOptions) -> ServerOptions:
    """The options, with a port that nobody listens on in place of 0.

    Raises:
        DeployError: it is taken, or not ours to take.
    """
    if not 0 <= options.port <= 65535:
        raise DeployError(f"port must lie in [0, 65535], got {options.port}")
    try:
        family = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise DeployError(f"host {options.host!r} is no address of this machine ({error})") from None
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":  # a port that was in use a minute ago is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((options.host, options.port))
        except OSError as error:
            raise DeployError(
                f"port {options.port} of {options.host} cannot be used ({error.strerror}); choose another one with "
                "--port, or 0 for any that is free"
            ) from None
        return ServerOptions(**{**vars(options), "port": probe.getsockname()[1]})


def _address(host: str) -> str:
    """Where to reach a server that listens on `host`."""
    if host in ("0.0.0.0", ""):
        return HOST
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host


def _await(process: Any, url: str, seconds: float, log: Path, server: str) -> None:
    httpx = need("httpx", "asking a server whether it is ready")
    end = time.monotonic() + seconds
    with httpx.Client(timeout=2.0, trust_env=False) as client:
        while True:
            if process.poll() is not None:
                raise DeployError(
                    f"the server {server} ended while it started, with status {process.returncode}; it said last: "
                    f"{last_words(log)} (all of it: {log})"
                )
            with contextlib.suppress(httpx.HTTPError):
                if client.get(f"{url}/health").status_code == 200:
                    return
            if time.monotonic() > end:
                raise DeployError(
                    f"the server {server} does not answer after {seconds:g} s; it said last: {last_words(log)} "
                    f"(all of it: {log})"
                )
            time.sleep(0.02)


def last_words(log: Path) -> str:
    """The last line of a log that says anything."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "nothing"
    said = [line.strip() for line in lines if line.strip()]
    return said[-1][-300:] if said else "nothing"
