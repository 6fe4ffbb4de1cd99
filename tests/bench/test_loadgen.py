import json

import pytest

from scripts.bench.loadgen import Work, bodies, figures, loopback, quantile_ms
from scripts.bench.problem import Problem
from scripts.bench.sse import Reply


def stream(text: str, n_tokens: int, at: float = 1.0) -> Reply:
    events = [
        (at, json.dumps({"choices": [{"index": 0, "text": text}]}).encode()),
        (
            at,
            json.dumps(
                {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": n_tokens}}
            ).encode(),
        ),
    ]
    return Reply(sent_s=0.5, end_s=2.0, status=200, done=1, events=events)


def test_the_same_number_gives_the_same_prompts() -> None:
    assert list(bodies(Work(3, 1, rng=4))) == list(bodies(Work(3, 1, rng=4)))
    assert list(bodies(Work(3, 1, rng=4))) != list(bodies(Work(3, 1, rng=5)))


def test_extra_fields_reach_the_body() -> None:
    [body] = bodies(Work(1, 1, endpoint="chat/completions", extra={"top_k": 40, "temperature": 0}))
    sent = json.loads(body)
    assert (sent["top_k"], sent["temperature"], sent["ignore_eos"]) == (40, 0, True)
    assert sent["messages"][0]["content"].startswith("[0] ")
    assert "prompt" not in sent


def test_rates_count_the_tokens_that_the_server_reports() -> None:
    found = figures([stream("a", 30), stream("b", 10)], wall_s=2.0)
    assert (found.n_tokens, found.tokens_per_s, found.mean_prompt_tokens) == (40, 20.0, 5.0)
    assert found.first_ms_p50 == 500.0


def test_a_failed_stream_adds_no_tokens() -> None:
    broken = Reply(status=200, done=0, error="the stream ended without [DONE]")
    found = figures([stream("a", 30), broken], wall_s=1.0)
    assert (found.n_complete, found.n_failed, found.n_tokens) == (1, 1, 30)
    assert found.first_error == broken.error


def test_quantiles_of_nothing_are_zero() -> None:
    assert quantile_ms([], 0.5) == 0.0
    assert quantile_ms([0.003, 0.001, 0.002], 0.5) == 2.0


@pytest.mark.parametrize(
    "url", ["http://example.com:80/v1", "http://10.0.0.1:8000/v1", "http://127.0.0.1/v1", "x"]
)
def test_other_machines_are_refused(url: str) -> None:
    with pytest.raises(Problem):
        loopback(url)


def test_this_machine_is_taken() -> None:
    assert loopback("http://localhost:8000/v1/") == ("127.0.0.1", 8000, "/v1")
