"""A real server where xllamacpp is installed: exported, started, asked, loaded, killed, ended."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import torch

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")

from policy_gradients.cli import main
from policy_gradients.deploy.client import Client
from policy_gradients.deploy.export import export_policy, model_of, served_difference, served_path
from policy_gradients.deploy.gguf_file import word_cutter
from policy_gradients.deploy.loadtest import Load, load_test
from policy_gradients.deploy.needs import DeployError
from policy_gradients.deploy.served import evaluate_server, subject_of
from policy_gradients.deploy.servers import ServerOptions, start_server
from policy_gradients.language.models import load_model

psutil = pytest.importorskip("psutil")
LOAD = {"requests": 6, "prompt_tokens": 40, "shared_tokens": 20, "max_tokens": 8, "timeout": 20}


@pytest.fixture(scope="module")
def gguf(run_folder):
    return export_policy(run_folder, "gguf").path


@pytest.fixture(scope="module")
def subject(run_folder):
    return subject_of(run_folder)


@pytest.fixture(scope="module")
def server(gguf):
    with start_server(gguf, options=ServerOptions(port=0, threads=1)) as running:
        yield running


def test_what_is_served_is_the_policy(server, subject):
    report = evaluate_server(subject, server.url, num_prompts=12)
    assert report["kl"] < 1e-4 and report["route"] == "tokens"
    assert report["served"]["distinct_completions"] == 12 == report["num_prompts"]
    assert not [finding for finding in report["findings"] if not finding.startswith("sent as")]


def test_a_greedy_server_is_named(server, subject):
    report = evaluate_server(subject, server.url, num_prompts=12, fields={"temperature": 0})
    assert report["distinct_of_one_prompt"] == 1
    assert any("greedy" in finding for finding in report["findings"])


def test_an_end_token_that_is_lost_is_named(run_folder, server):
    subject = subject_of(run_folder)
    head = subject.model.get_output_embeddings()  # as many ends as a trained policy has: the server has fewer
    end, forward = subject.tokenizer.eos_token_id, head.forward
    head.forward = lambda x: forward(x) + 7 * torch.nn.functional.one_hot(torch.tensor(end), head.out_features)
    report = evaluate_server(subject, server.url, num_prompts=12, fields={"ignore_eos": True})
    assert any(finding.startswith("the end token is lost") for finding in report["findings"])


def test_a_template_that_is_applied_twice_is_named(gguf, subject):
    once = subject.tokenizer.chat_template
    inner = "'<|im_start|>user\\n' + m.content + '<|im_end|>\\n<|im_start|>assistant\\n'"
    assert once.count("m.content") == 1
    extra = ("--chat-template", once.replace("m.content", inner))
    with start_server(gguf, options=ServerOptions(port=0, threads=1, extra=extra)) as server:
        report = evaluate_server(subject, server.url, num_prompts=4, route="chat")
    assert any(finding.startswith("the chat template is applied twice") for finding in report["findings"])


def test_eight_bits_are_another_policy_by_little_and_other_weights_by_much(run_folder, subject, tmp_path):
    found = {}
    for dtype in ("f16", "q8_0"):
        exported = export_policy(run_folder, "gguf", dtype, tmp_path / dtype)
        found[dtype] = exported.difference
    assert 0 < found["f16"] < found["q8_0"] < 1


def test_a_file_of_other_weights_is_refused(gguf, run_folder):
    model, tokenizer = load_model(model_of(run_folder))
    assert served_difference(gguf, model, tokenizer) < 1e-3
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.neg_()
    assert served_difference(gguf, model, tokenizer) > 1e-2


def test_load_is_measured_and_the_cache_counted(server):
    seen = []
    report = load_test(server.url, Load(concurrency=(1, 2), **LOAD), on_request=seen.append)
    assert report["stopped"] is None and len(seen) == 24 == sum(level["requests"] for level in report["levels"])
    for level in report["levels"]:
        assert not level["errors"] and level["tokens_per_second"] > 0
        assert 0 < level["first_token_ms"]["p50"] <= level["latency_ms"]["p50"] <= level["latency_ms"]["p95"]
        assert level["cache"]["from"] == "counters"
    shares = {(level["prefix"], level["concurrency"]): level["cache"]["share"] for level in report["levels"]}
    assert shares["unshared", 1] < 0.1 < shares["shared", 1]


def test_without_prefix_cache_nothing_is_taken_from_it(gguf):
    with start_server(gguf, options=ServerOptions(port=0, threads=1, prefix_cache=False)) as server:
        report = load_test(server.url, Load(concurrency=(1,), prefixes=("shared",), **LOAD))
    assert report["levels"][0]["cache"]["share"] == 0


def test_a_server_killed_in_the_middle_is_reported_and_hangs_nobody(gguf, subject):
    with start_server(gguf, options=ServerOptions(port=0, threads=1)) as server:

        def kill(row):
            if row["request"] == 3:
                os.kill(server.pid, signal.SIGKILL)

        report = load_test(server.url, Load(concurrency=(2,), **{**LOAD, "requests": 60}), on_request=kill)
        assert "the server is gone" in report["stopped"] and report["levels"][0]["requests"] < 60
        with pytest.raises(DeployError, match="nobody answers"):
            evaluate_server(subject, server.url, num_prompts=4)
        assert not server.alive()


def test_a_server_killed_under_an_evaluation_is_one_clear_line(gguf, subject):
    with start_server(gguf, options=ServerOptions(port=0, threads=1)) as server:
        timer = threading.Timer(0.3, os.kill, (server.pid, signal.SIGKILL))
        with pytest.raises(DeployError, match=r"after \d+ of 408 answers: .*"):
            evaluate_server(subject, server.url, num_prompts=400, progress=lambda _: timer.start())


def test_a_port_that_is_taken_is_named(gguf):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(DeployError, match=r"cannot be used .* choose another one with --port"):
            start_server(gguf, options=ServerOptions(port=other.getsockname()[1]))


def test_a_server_that_dies_at_start_says_its_last_words(tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF and nothing else")
    begun = set(psutil.Process().children(recursive=True))
    with pytest.raises(DeployError, match=r"ended while it started.*it said last: "):
        start_server(broken, options=ServerOptions(port=0))
    assert not set(psutil.Process().children(recursive=True)) - begun


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_serve_leaves_no_process_behind(gguf, number):
    command = [sys.executable, "-m", "policy_gradients", "serve", str(gguf), "--port", "0", "--threads", "1"]
    serving = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "llamacpp serves policy at http://127.0.0.1:" in serving.stdout.readline()
    assert serving.stdout.readline().startswith("curl http://127.0.0.1:")
    children = psutil.Process(serving.pid).children(recursive=True)
    assert len(children) == 2  # the guard and the server
    serving.send_signal(number)
    out, _ = serving.communicate(timeout=20)
    if number != signal.SIGKILL:
        assert (serving.returncode, out) == (0, "stopped\n")
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def test_an_export_is_made_once_and_again_for_other_weights(run_folder):
    path, _ = served_path(run_folder, "llamacpp")
    assert served_path(run_folder, "llamacpp") == (path, False)
    weights = next((run_folder / "model").glob("*.safetensors"))
    os.utime(weights, ns=(time.time_ns(), time.time_ns()))
    assert served_path(run_folder, "llamacpp") == (path, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "nowhere/at/all"], "neither a folder nor the name of a model"),
        (["export", "RUN", "--dtype", "int4"], "dtype of the format gguf must be one of"),
        (["export", "RUN", "--output", "RUN"], "holds something else than an export"),
        (["serve", "RUN", "--server", "ollama"], "server must be one of llamacpp, vllm, transformers"),
        (["serve", "RUN", "--server", "vllm"], "needs the package vllm, which is not installed"),
        (["serve", "RUN", "--host", "no.such.host.invalid"], "is no address of this machine"),
        (["loadtest", "localhost:8000"], "must look like http://"),
        (["loadtest", "http://127.0.0.1:9", "--concurrency", "one"], "must be numbers such as 1,4,16"),
        (["evaluate", "RUN", "--server", "http://127.0.0.1:9"], "nobody answers at http://127.0.0.1:9"),
        (["evaluate", "RUN", "--server", "http://127.0.0.1:9", "--send", "greedy"], "must be a JSON object"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, said, run_folder, capsys):
    assert main([str(run_folder) if argument == "RUN" else argument for argument in arguments]) == 2
    assert said in capsys.readouterr().err.strip().splitlines()[-1]


def test_the_road_end_to_end(run_folder, server, tmp_path, capsys):
    assert main(["export", str(run_folder), "--dtype", "q8_0", "--output", str(tmp_path / "q8")]) == 0
    figure, numbers = tmp_path / "load.png", tmp_path / "load.json"
    load = ["--concurrency", "1,2", "--requests", "3", "--prompt-tokens", "40", "--shared-tokens", "20"]
    assert main(["loadtest", server.url, *load, "--json", str(numbers), "--figure", str(figure)]) == 0
    assert figure.stat().st_size > 10_000 and numbers.exists()
    assert main(["evaluate", str(run_folder), "--server", server.url + "/v1", "--num-prompts", "6"]) == 0
    out = capsys.readouterr().out
    assert "log-probs differ from the policy's by" in out and "first p50" in out and "in process" in out


def test_a_wrong_model_name_is_found_before_anything_is_asked(server):
    with pytest.raises(DeployError, match="serves policy, not 'other'"):
        Client(server.url, "other")


def test_word_cutters_are_known_by_their_parts():
    level = {"type": "ByteLevel", "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    assert word_cutter(level) == "gpt-2"
    assert word_cutter({"type": "Sequence", "pretokenizers": [digits, level]}) == "smollm"
    assert word_cutter({"type": "Sequence", "pretokenizers": [{**digits, "individual_digits": False}, level]}) == ""
    assert word_cutter(None) == ""
