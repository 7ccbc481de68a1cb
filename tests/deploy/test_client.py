import socket
import time

import pytest

pytest.importorskip("httpx")

from policy_gradients.cli_deploy import load_table
from policy_gradients.deploy.client import Client, Refused, TooSlow, Unreachable, base_url, parse_answer, parse_counters
from policy_gradients.deploy.loadtest import Load, Timing, cache_share, load_test, summary
from policy_gradients.deploy.needs import DeployError, need
from policy_gradients.evaluation.load_statistics import percentile


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_nobody_there_is_said_in_one_line_that_helps():
    with pytest.raises(Unreachable, match=r"nobody answers at http://127.0.0.1:\d+ .* `policy-gradients serve DIR`"):
        Client(f"http://127.0.0.1:{free_port()}", retries=1)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", ""])
def test_an_address_without_a_scheme_is_named(url):
    with pytest.raises(DeployError, match="must look like http://"):
        base_url(url)


@pytest.mark.parametrize("url", ["http://a:1", "http://a:1/", "http://a:1/v1", "http://a:1/v1/"])
def test_an_address_may_end_in_v1(url):
    assert base_url(url) == "http://a:1"


def test_a_wrong_model_is_named_beside_those_that_are_there(server_of):
    with pytest.raises(DeployError, match="serves policy, not 'gpt-9'"):
        Client(server_of(lambda handler: None), "gpt-9")


def test_a_server_of_something_else_is_found_out(server_of):
    url = server_of(lambda handler: None)
    with pytest.raises(Refused, match="answered 404"):
        Client(url + "/elsewhere")


def fail(handler):
    handler.send_response(500)
    handler.send_header("Content-Length", "4")
    handler.end_headers()
    handler.wfile.write(b"boom")


def test_a_500_is_tried_again_and_then_told(server_of):
    seen = []

    def answer(handler):
        seen.append(1)
        fail(handler)

    with Client(server_of(answer), retries=2) as client, pytest.raises(Refused, match="answered 500: boom"):
        client.complete("a", 1)
    assert len(seen) == 3


def test_a_slow_server_is_given_up_in_time(server_of):
    with Client(server_of(lambda handler: time.sleep(5)), timeout=0.3) as client:
        begun = time.monotonic()
        with pytest.raises(TooSlow, match=r"no whole answer in 0\.3 s"):
            client.complete("a", 1)
        assert time.monotonic() - begun < 4  # not the server's five seconds, and no second try


def dribble(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(50):
        handler.wfile.write(b'data: {"choices": [{"text": "a"}]}\n\n')
        handler.wfile.flush()
        time.sleep(0.1)


def test_a_server_that_never_comes_to_an_end_is_given_up_too(server_of):
    with Client(server_of(dribble), timeout=0.5) as client, pytest.raises(TooSlow):
        list(client.stream("a", 1))


def test_a_stream_that_breaks_in_the_middle_is_no_answer(server_of):
    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b'data: {"choices": [{"text": "a", "finish_reason": null}]}\n\n')

    with Client(server_of(answer)) as client, pytest.raises(Unreachable, match="in the middle"):
        list(client.stream("a", 1))


@pytest.mark.parametrize("body", [b"{}", b"[]", b"no json", b'{"choices": []}'])
def test_nonsense_is_no_completion(server_of, body):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    with Client(server_of(answer)) as client, pytest.raises(DeployError, match="something else than"):
        client.complete("a", 1)


def test_tokens_are_read_in_every_form():
    llamacpp = {"text": "a", "finish_reason": "stop", "logprobs": {"content": [{"id": 5, "logprob": -0.5}]}}
    vllm = {"text": "a", "finish_reason": "length", "token_ids": [5], "logprobs": {"token_logprobs": [-0.5]}}
    plain = {"message": {"content": "a"}, "finish_reason": "stop"}
    first, second, third = (parse_answer({"choices": [c]}, 0.0, "u") for c in (llamacpp, vllm, plain))
    assert (first.token_ids, first.log_probs, first.finished) == ([5], [-0.5], True)
    assert (second.token_ids, second.log_probs, second.finished) == ([5], [-0.5], False)
    assert (third.text, third.token_ids, third.log_probs) == ("a", None, None)


def test_a_server_that_fails_every_time_is_reported_by_the_load_test(server_of, monkeypatch):
    monkeypatch.setattr("policy_gradients.deploy.loadtest._characters_per_token", lambda client, load: 2.0)
    load = Load(concurrency=(1, 2), requests=4, prompt_tokens=8, shared_tokens=4, retries=0, timeout=5)
    report = load_test(server_of(fail), load)
    assert "every request failed: status 500" in report["stopped"]
    assert "the first error: status 500: http" in load_table(report)
    assert report["levels"][0]["errors"] == {"status 500": 4} and len(report["levels"]) == 1


def test_counters_are_summed_over_labels():
    text = '# HELP x\nhits{model="a"} 2\nhits{model="b"} 3.5\nother 1e2\nnot a number\n'
    assert parse_counters(text) == {"hits": 5.5, "other": 100.0}


def test_the_share_of_the_cache_is_that_of_both_servers_counters():
    llamacpp = {"llamacpp:prompt_tokens_cached_total": 75.0, "llamacpp:prompt_tokens_total": 25.0}
    vllm = {"vllm:prefix_cache_hits_total": 75.0, "vllm:prefix_cache_queries_total": 100.0}
    for after in (llamacpp, vllm):
        assert cache_share([], dict.fromkeys(after, 0.0), after)["share"] == 0.75
    timing = Timing(1.0, 0.5, 3, 100, 25, 0)
    assert cache_share([timing], {}, {}) == {"share": 0.25, "tokens": 25, "from": "answers"}


def test_percentiles_are_values_that_were_measured():
    assert [percentile(range(1, 101), p) for p in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert percentile([7.0], 0.01) == 7.0


def test_failed_requests_do_not_count_as_fast_ones():
    level = summary([Timing(2.0, 1.0, 10, 5, 0, 0), Timing(0.001, float("nan"), 0, 0, 0, 2, "status 500: boom")], 2.0)
    assert level["latency_ms"]["p50"] == 2000 and level["tokens_per_second"] == 5
    assert level["errors"] == {"status 500": 1} and level["retries"] == 2
    assert level["first_error"] == "status 500: boom"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"concurrency": (0,)}, "concurrency"),
        ({"requests": 0}, "requests"),
        ({"shared_tokens": 128}, "shared_tokens"),
        ({"prefixes": ("warm",)}, "prefixes"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_a_load_that_makes_no_sense_is_refused(wrong, said):
    with pytest.raises(DeployError, match=said):
        Load(**wrong)


def test_a_missing_package_is_one_line_with_the_extra():
    with pytest.raises(DeployError, match=r"pip install 'policy-gradients\[deploy\]'"):
        need("no_such_package_at_all", "this test")
