"""The commands of notebook 10: export, serve, loadtest, and evaluate --server."""

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any


def add_deploy_parsers(commands: Any) -> None:
    """export, serve and loadtest."""
    _export_parser(commands)
    _serve_parser(commands)
    _loadtest_parser(commands)


def _export_parser(commands: Any) -> None:
    export = commands.add_parser(
        "export", help="write the policy in a server's format, and check that it is the policy"
    )
    export.add_argument("directory", help="what train wrote, a model folder, or a model's name such as tiny (untuned)")
    export.add_argument("--format", choices=("gguf", "hf", "bnb8"), default="gguf",
                        help="gguf: llama.cpp; hf: vLLM, transformers; bnb8: 8 bits, bitsandbytes [gguf]")  # fmt: skip
    export.add_argument("--dtype", help="gguf: f32, f16, q8_0, q4_0; hf and bnb8: f32, f16, bf16 [f32]")
    export.add_argument("--output", type=Path, help="an empty or new folder [DIR/export/FORMAT-DTYPE, replaced]")
    export.set_defaults(run=_export)


def _export(parsed: argparse.Namespace) -> int:
    from policy_gradients.deploy.export import export_policy

    written = export_policy(parsed.directory, parsed.format, parsed.dtype, parsed.output)
    check = (
        "not checked: xllamacpp is not installed"
        if written.difference != written.difference
        else f"read back, its log-probs differ from the policy's by {written.difference:.1g} nats at most"
    )
    print(f"{written.path}  {written.megabytes:.1f} MB; {check}")
    if not written.cuts_text_alike:
        print(
            "llama.cpp cannot cut text into this policy's tokens: send prompts as token ids, as evaluate --server does"
        )
    return 0


def _serve_parser(commands: Any) -> None:
    serve = commands.add_parser("serve", help="a real server of the policy, with an OpenAI-compatible API")
    serve.add_argument("directory", help="as for export; or an export's folder, or a GGUF file")
    serve.add_argument("--server", default="llamacpp", help="llamacpp, vllm or transformers [llamacpp]")
    serve.add_argument("--dtype", help="of the export that is served, such as q8_0 [f32]")
    serve.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in [127.0.0.1]")
    serve.add_argument("--port", type=int, default=8000, help="0: any that is free [8000]")
    serve.add_argument("--name", default="policy", help="of the model in requests [policy]")
    serve.add_argument("--threads", type=int, help="of computation, llamacpp [the free cores but one]")
    serve.add_argument("--parallel", type=int, default=4, help="completions written at the same time [4]")
    serve.add_argument("--context", type=int, default=0, help="tokens of a sequence [the model's limit]")
    serve.add_argument("--no-prefix-cache", action="store_true", help="compute every prompt from its first token")
    serve.add_argument("--python", help="another interpreter, such as that of an environment with vLLM in it")
    serve.add_argument("--start-seconds", type=float, help="how long to wait for it [60; vllm 600; transformers 180]")
    serve.add_argument("--log", type=Path, metavar="FILE", help="what the server prints [a temporary file]")
    serve.add_argument(
        "--extra", nargs=argparse.REMAINDER, default=[], metavar="…", help="the rest: options of the server"
    )
    serve.set_defaults(run=_serve)


def _serve(parsed: argparse.Namespace) -> int:
    # SIGTERM ends it as Ctrl-C does, from the first moment: a server that starts is one to end
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _serve_until_interrupted(parsed)
    except KeyboardInterrupt:
        print("stopped", flush=True)
        return 0


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _serve_until_interrupted(parsed: argparse.Namespace) -> int:
    from policy_gradients.deploy.export import served_path
    from policy_gradients.deploy.needs import DeployError
    from policy_gradients.deploy.servers import ServerOptions, require_free_port, require_server, start_server

    options = ServerOptions(
        parsed.name, parsed.host, parsed.port, parsed.threads, parsed.parallel, parsed.context,
        not parsed.no_prefix_cache, tuple(parsed.extra), parsed.python,
    )  # fmt: skip
    require_server(parsed.server, options)
    require_free_port(options)  # before an export that takes a minute
    path, new = served_path(parsed.directory, parsed.server, parsed.dtype)
    if new:
        print(f"exported to {path}", flush=True)
    with start_server(path, parsed.server, options, parsed.log, parsed.start_seconds) as server:
        print(f"{parsed.server} serves {server.model} at {server.url}/v1 after {server.started_in:.2f} s, "
              f"{server.megabytes():.0f} MB; Ctrl-C ends it")  # fmt: skip
        print(example_request(path, server.url, server.model), flush=True)
        while server.alive():
            time.sleep(0.2)
        raise DeployError(f"the server ended by itself; it said last: {server.last_words()}")


def example_request(path: Path, url: str, model: str) -> str:
    """A curl command that works."""
    from policy_gradients.deploy.export import example_prompt

    prompt = example_prompt(path, url, model)
    body = json.dumps({"model": model, "prompt": prompt, "max_tokens": 40, "temperature": 1}).replace("'", "\\u0027")
    return f"curl {url}/v1/completions -H 'Content-Type: application/json' -d '{body}'"


def _loadtest_parser(commands: Any) -> None:
    test = commands.add_parser("loadtest", help="latency, time to the first token, tokens/s and cache hits of a server")
    test.add_argument("url", help="such as http://127.0.0.1:8000")
    test.add_argument("--model", help="name in requests [the server's only one]")
    test.add_argument("--concurrency", default="1,4,16", help="clients at the same time, level by level [1,4,16]")
    test.add_argument("--requests", type=int, default=32, help="of each level and each kind of prefix [32]")
    test.add_argument("--prompt-tokens", type=int, default=128, help="about so many a prompt [128]")
    test.add_argument("--shared-tokens", type=int, default=100, help="of these, alike in all, where shared [100]")
    test.add_argument("--prefixes", default="unshared,shared", help="[unshared,shared]")
    test.add_argument("--max-tokens", type=int, default=32, help="of an answer [32]")
    test.add_argument("--timeout", type=float, default=60.0, help="seconds for one answer [60]")
    test.add_argument("--json", type=Path, metavar="FILE", help="write every number")
    test.add_argument("--figure", type=Path, metavar="FILE", help="draw it, as PNG")
    test.set_defaults(run=_loadtest)


def _loadtest(parsed: argparse.Namespace) -> int:
    from policy_gradients.deploy.loadtest import Load, load_test
    from policy_gradients.evaluation.evaluate import write_report

    try:
        levels = tuple(int(level) for level in parsed.concurrency.split(","))
    except ValueError:
        raise ValueError(f"--concurrency must be numbers such as 1,4,16; got {parsed.concurrency!r}") from None
    load = Load(
        levels, parsed.requests, parsed.prompt_tokens, parsed.shared_tokens, tuple(parsed.prefixes.split(",")),
        parsed.max_tokens, parsed.timeout,
    )  # fmt: skip
    report = load_test(parsed.url, load, parsed.model)
    if parsed.json:
        write_report(report, parsed.json)
    if parsed.figure:
        from policy_gradients.course.figures import save
        from policy_gradients.course.load_figures import under_load

        save(under_load(report), parsed.figure)
    print(load_table(report))
    if report["stopped"]:
        print(f"error: {report['stopped']}", file=sys.stderr)
        return 1
    return 0


def load_table(report: dict[str, Any]) -> str:
    """One line a level."""
    lines = [f"{report['model']} at {report['server']}; milliseconds",
             f"{'prefix':9}{'clients':>8}{'p50':>8}{'p95':>8}{'p99':>8}{'first p50':>10}{'p95':>8}"
             f"{'tokens/s':>10}{'cache':>7}{'errors':>7}{'retries':>8}"]  # fmt: skip
    for level in report["levels"]:
        late, first, share = level["latency_ms"], level["first_token_ms"], level["cache"]["share"]
        lines.append(
            f"{level['prefix']:9}{level['concurrency']:8d}{late['p50']:8.0f}{late['p95']:8.0f}{late['p99']:8.0f}"
            f"{first['p50']:10.1f}{first['p95']:8.1f}{level['tokens_per_second']:10.0f}"
            f"{'–' if share is None else f'{share:.0%}':>7}{sum(level['errors'].values()):7d}{level['retries']:8d}"
        )
    if report["levels"]:
        means = [report["levels"][0][key] for key in ("prompt_tokens", "answer_tokens")]
        lines.append(f"a prompt has {means[0]:.0f} tokens, an answer {means[1]:.0f}, in the mean of the first level")
    if said := next((level["first_error"] for level in report["levels"] if level["first_error"]), None):
        lines.append(f"the first error: {said}")
    return "\n".join(lines)


def add_server_options(evaluate: Any) -> None:
    """Options of `evaluate` that hold a server against the policy."""
    served = evaluate.add_argument_group(
        "hold a server against the policy (instead of the policy against its reference)"
    )
    served.add_argument("--server", metavar="URL", help="such as http://127.0.0.1:8000; DIR may be a preset (untuned)")
    served.add_argument("--model-name", help="name in requests [the server's only one]")
    served.add_argument("--route", choices=("tokens", "text", "chat"), default="tokens",
                        help="prompts as token ids, as text, or as a chat [tokens]")  # fmt: skip
    served.add_argument("--send", metavar="JSON", help="""more fields of each request, such as '{"min_p": 0.05}'""")
    served.add_argument("--timeout", type=float, default=60.0, help="seconds for one answer [60]")


def evaluate_served(parsed: argparse.Namespace) -> int:
    """`evaluate DIR --server URL`."""
    from policy_gradients.deploy.served import evaluate_server
    from policy_gradients.evaluation.evaluate import write_report

    fields = None
    if parsed.send:
        try:
            fields = json.loads(parsed.send)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            raise ValueError(f"--send must be a JSON object such as '{{\"min_p\": 0.05}}', got {parsed.send!r}")
    report = evaluate_server(
        parsed.directory, parsed.server, parsed.model_name, parsed.num_prompts, parsed.seed, parsed.route, fields,
        timeout=parsed.timeout, progress=lambda message: print(f"… {message}", file=sys.stderr),
    )  # fmt: skip
    if parsed.json:
        write_report(report, parsed.json)
    print(served_table(report))
    return 0


def served_table(report: dict[str, Any]) -> str:
    """The policy in process and as it is served, then what is wrong."""
    own, served, n = report["in_process"], report["served"], report["num_prompts"]

    def rate(side: dict[str, Any]) -> str:
        low, high = side["pass_rate_interval"]
        return f"{side['pass_rate']:.0%} [{low:.0%}, {high:.0%}]"

    rows = [("strict pass rate", rate(own), rate(served))]
    rows += [
        (f"  {name} rate", f"{own[key]:.0%}", f"{served[key]:.0%}")
        for name, key in (("length", "length_rate"), ("digit", "digit_rate"), ("finished", "finished_rate"))
        if own.get(key) == own.get(key) and own.get(key) is not None
    ]
    rows.append((f"distinct completions of {n}", str(own["distinct_completions"]), str(served["distinct_completions"])))
    asks = report["asked_of_one_prompt"]
    rows.append((f"distinct of one prompt, {asks} times", "", str(report["distinct_of_one_prompt"])))
    kl = "no log-probs" if report["kl"] is None else f"{report['kl']:.2g} ± {report['kl_standard_error']:.1g}"
    rows.append(("KL to the policy, nats a completion", "0", kl))
    lines = [
        f"{report['task']}, {n} held-out prompts, seed {report['seed']}, sent as {report['route']}",
        f"{report['model']} at {report['server']}",
        f"{'':36}{'in process':>18}{'served':>18}",
        *(f"{name:36}{a:>18}{b:>18}" for name, a, b in rows),
    ]
    if report["pass_rate_bound"] is not None:
        lines.append(f"so much KL moves a pass rate by {report['pass_rate_bound']:.1%} at most (Pinsker)")
    found = [f"found: {finding}" for finding in report["findings"]]
    return "\n".join([*lines, *(found or ["nothing found: as far as these completions tell, it is the policy"])])
