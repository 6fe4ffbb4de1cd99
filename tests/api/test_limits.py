"""Limits over HTTP: who is let in, what is charged, what every answer says. The clocks stand still."""

import time
from collections.abc import Callable
from typing import Any

import openai
import pytest

from llmatic.config import LimitSettings, ModelSpec, StoreSettings
from llmatic.core.errors import EngineFailed, QueueFull
from llmatic.core.limits import Limits
from llmatic.core.types import Delta, EncoderInfo, Finished, Started, Usage
from llmatic.services.ledger import Clocks, Ledger
from llmatic.services.metering import Metering
from tests.api.conftest import WAIT_S, Serve, Served
from tests.api.wire import open_stream
from tests.contract_check import assert_response_matches
from tests.fakes import N_PROMPT_TOKENS, SPEC, WORDS, Gate

N_TOKENS = N_PROMPT_TOKENS + len(WORDS) + 1
START = 20_000 * 86_400.0
MESSAGES: Any = [{"role": "user", "content": "Hi"}]


class Limited:
    """A server on a database of its own, and its clocks."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.now, self.wall = 1000.0, START
        self.metering: Metering = served.app.gateway._metering
        clocks = Clocks(lambda: self.now, lambda: self.wall)
        self.metering.clocks = self.metering.ledger.clocks = clocks

    @property
    def ledger(self) -> Ledger:
        return self.metering.ledger

    def key(self, **limits: int) -> str:
        return self.served.make_key("k", limits=limits)

    def chat(self, key: str, **fields: Any) -> Any:
        body = {"model": SPEC.id, "messages": MESSAGES, **fields}
        return self.post(key, "/v1/chat/completions", **body)

    def post(self, key: str, path: str, **fields: Any) -> Any:
        return self.served.http.post(path, json=fields, headers={"authorization": f"Bearer {key}"})

    def levels(self) -> list[tuple[float, float, int, int]]:
        """Requests, tokens, tokens of the day and what runs, of every account that has used anything."""
        found = [
            (it.requests.level(self.now), it.tokens.level(self.now), it.day_tokens, it.running)
            for it in list(self.ledger.limiter._accounts.values())
        ]
        return [levels for levels in found if any(levels)]

    def until(self, is_so: Callable[[], bool]) -> None:
        """Ask the server for its health until the loop has come so far."""
        deadline = time.monotonic() + WAIT_S
        while not is_so():
            assert time.monotonic() < deadline
            self.served.http.get("/healthz")


@pytest.fixture
def own(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Any:
    served: list[Served] = []

    def start(models: dict[str, ModelSpec] | None = None, **limits: Limits) -> Limited:
        store = StoreSettings(folder=str(tmp_path_factory.mktemp("own")))
        served.append(serve(models=models, store=store, limits=LimitSettings(**limits)))
        return Limited(served[-1])

    yield start
    for one in served:
        one.stop()


def ratelimit(reply: Any) -> dict[str, str]:
    return {
        name.removeprefix("x-ratelimit-"): value
        for name, value in reply.headers.items()
        if name.startswith("x-ratelimit-")
    }


def test_every_answer_says_what_is_left(own: Any) -> None:
    limited = own()
    key = limited.key(requests_per_minute=60, tokens_per_minute=6000)
    whole = limited.chat(key)
    assert ratelimit(whole) == {  # when the answer began it was an estimate
        "limit-requests": "60",
        "remaining-requests": "59",
        "reset-requests": "1s",
        "limit-tokens": "6000",
        "remaining-tokens": "5998",
        "reset-tokens": "20ms",
    }
    streamed = limited.chat(key, stream=True)
    assert (ratelimit(streamed)["remaining-requests"], streamed.text[-8:]) == ("58", "[DONE]\n\n")
    for reply in (
        limited.served.http.get("/v1/models", headers={"x-api-key": key}),
        limited.served.http.get("/v1/nowhere", headers={"x-api-key": key}),
        limited.chat(key, temperature="hot"),
        limited.chat(key, model="nope"),
    ):
        assert ratelimit(reply)["limit-tokens"] == "6000"
    limited.until(lambda: limited.levels()[0][3] == 0)
    assert limited.levels() == [
        (3.0, 2.0 * N_TOKENS, 2 * N_TOKENS, 0)
    ]  # the unknown model counts as a request
    assert ratelimit(limited.served.http.get("/v1/models")) == {}


def test_without_limits_there_are_no_headers(api: Served) -> None:
    assert ratelimit(api.chat()) == {}


def test_one_request_too_many(own: Any) -> None:
    limited = own()
    key = limited.key(requests_per_minute=2)
    for _ in range(2):
        assert limited.chat(key).status_code == 200
    limited.until(lambda: limited.levels()[0][3] == 0)
    reply = limited.chat(key, stream=True)
    assert reply.status_code == 429
    error = reply.json()["error"]
    assert error["message"].startswith(f"Rate limit reached for {SPEC.id} in organization key_")
    assert error["message"].endswith("Limit 2, Used 2, Requested 1. Please try again in 30s.")
    assert (error["type"], error["param"], error["code"]) == ("requests", None, "rate_limit_exceeded")
    assert (reply.headers["retry-after"], reply.headers["retry-after-ms"]) == ("30", "30000")
    assert ratelimit(reply) == {"limit-requests": "2", "remaining-requests": "0", "reset-requests": "1m0s"}
    assert len(limited.served.pool.requests) == 2
    assert_response_matches("createChatCompletion", 429, reply.content, headers=dict(reply.headers.items()))
    limited.now += 30.0
    assert limited.chat(key).status_code == 200
    with pytest.raises(openai.RateLimitError) as refused:
        limited.served.sdk(key).chat.completions.create(model=SPEC.id, messages=MESSAGES)
    assert refused.value.code == "rate_limit_exceeded"
    assert limited.chat(limited.key()).status_code == 200


def test_tokens_by_estimate(own: Any) -> None:
    limited = own()
    key = limited.key(tokens_per_minute=100)
    large = limited.chat(key, max_tokens=101)
    assert large.status_code == 429
    assert large.json()["error"]["message"].startswith(f"Request too large for {SPEC.id}")
    assert large.json()["error"]["type"] == "tokens"
    assert large.headers["x-should-retry"] == "false"
    assert "retry-after" not in large.headers
    gate = Gate()
    limited.served.pool.script = lambda _: [Started(7), Delta(0, "Hel", 1), gate, EngineFailed("gone")]
    with limited.served.http.stream(
        "POST",
        "/v1/chat/completions",
        json={"model": SPEC.id, "messages": MESSAGES, "max_tokens": 90, "stream": True},
        headers={"x-api-key": key},
    ) as reply:
        assert gate.reached.wait(WAIT_S)
        assert int(reply.headers["x-ratelimit-remaining-tokens"]) <= 10
        refused = limited.chat(key, max_tokens=50)
        assert "on tokens per min (TPM): Limit 100, Used 9" in refused.json()["error"]["message"]
        gate.open()
        assert b"error" in reply.read()
    limited.until(lambda: limited.levels()[0][3] == 0)
    assert limited.levels() == [(0.0, 8.0, 8, 0)]  # what was computed before it failed


@pytest.mark.parametrize("stream", [True, False])
def test_whoever_hangs_up_pays_what_was_computed(own: Any, stream: bool) -> None:
    limited = own()
    key = limited.key(tokens_per_minute=1000, concurrent_requests=1)
    gate = Gate()
    limited.served.pool.script = lambda _: [Started(7), Delta(0, "a", 3), gate]
    with open_stream(limited.served, headers={"x-api-key": key}, stream=stream, max_tokens=500):
        assert gate.reached.wait(WAIT_S)
    assert limited.served.pool.cancelled.wait(WAIT_S)
    limited.until(lambda: limited.levels()[0][3] == 0)
    assert limited.levels() == [(0.0, 10.0, 10, 0)]


def test_concurrent_requests_last_until_the_last_byte(own: Any) -> None:
    limited = own()
    key = limited.key(concurrent_requests=1)
    gate = Gate()
    limited.served.pool.script = lambda _: [Started(7), Delta(0, "a", 1), gate, Delta(0, "", 0, (), "stop")]
    with limited.served.http.stream(
        "POST",
        "/v1/chat/completions",
        json={"model": SPEC.id, "messages": MESSAGES, "stream": True},
        headers={"x-api-key": key},
    ) as reply:
        assert gate.reached.wait(WAIT_S)
        refused = limited.chat(key)
        assert refused.status_code == 429
        assert "on concurrent requests: Limit 1, Used 1, Requested 1" in refused.json()["error"]["message"]
        assert refused.headers["retry-after"] == "1"
        assert limited.post(key, "/v1/embeddings", model=SPEC.id, input="a").status_code == 429
        gate.open()
        reply.read()
    limited.until(lambda: not any(level[3] for level in limited.levels()))
    limited.served.pool.reset()
    assert limited.chat(key).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_made_in_the_background_is_charged_until_it_is_made(own: Any, stream: bool) -> None:
    limited = own()
    key = limited.key(concurrent_requests=1, tokens_per_minute=1000, requests_per_minute=10)
    gate = Gate()
    limited.served.pool.script = lambda _: [
        Started(7), Delta(0, "a", 3), gate, Delta(0, "", 0, (), "stop"), Finished(Usage(7, 3))
    ]  # fmt: skip
    body = {"model": SPEC.id, "input": "Hi", "background": True, "max_output_tokens": 500, "stream": stream}
    request = limited.served.http.build_request(
        "POST", "/v1/responses", json=body, headers={"x-api-key": key}
    )
    reply = limited.served.http.send(request, stream=stream)
    assert reply.status_code == 200
    assert gate.reached.wait(WAIT_S)
    reply.close()
    limited.until(lambda: limited.served.app.n_in_flight == 0)  # nobody waits for it
    ((_, tokens, _, running),) = limited.levels()
    assert (running, tokens >= 500) == (1, True)
    refused = limited.chat(key)
    assert "on concurrent requests: Limit 1, Used 1" in refused.json()["error"]["message"]
    gate.open()
    limited.until(lambda: limited.levels()[0][3] == 0)
    assert limited.levels() == [(1.0, 10.0, 10, 0)]
    limited.served.pool.reset()
    assert limited.chat(key).status_code == 200


def test_a_share_of_the_queue(own: Any) -> None:
    spec = ModelSpec(SPEC.id, "none", engine="fake", aliases=SPEC.aliases, max_queue=4)
    derived = ModelSpec("derived", "", base=spec.id)
    limited = own(models={spec.id: spec, derived.id: derived})
    key = limited.key(queue_share=25)
    gate = Gate()
    limited.served.pool.script = lambda _: [Started(7), Delta(0, "a", 1), gate]
    with limited.served.http.stream(
        "POST",
        "/v1/chat/completions",
        json={"model": SPEC.aliases[0], "messages": MESSAGES, "stream": True},
        headers={"x-api-key": key},
    ):
        assert gate.reached.wait(WAIT_S)
        refused = limited.chat(key)
        assert f"for {SPEC.id} " in refused.json()["error"]["message"]
        assert "its share of the model's queue: Limit 1, Used 1" in refused.json()["error"]["message"]
        assert limited.chat(key, model="derived").status_code == 429  # of the same process
        gate.open()


def test_the_day_is_used_up(own: Any) -> None:
    limited = own()
    key = limited.key(tokens_per_day=2 * N_TOKENS)
    for _ in range(2):
        assert limited.chat(key).status_code == 200
    limited.until(lambda: limited.levels()[0][3] == 0)
    reply = limited.chat(key)
    assert (reply.status_code, reply.headers["x-should-retry"]) == (429, "false")
    error = reply.json()["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    assert error["message"].startswith("You exceeded your current quota")
    limited.wall += 86_400.0
    assert limited.chat(key).status_code == 200


def test_refused_by_the_engine_costs_a_request_and_no_tokens(own: Any) -> None:
    limited = own()
    key = limited.key(requests_per_minute=10, tokens_per_minute=1000)
    limited.served.pool.script = lambda _: [QueueFull("full", retry_after_s=1.0)]
    assert limited.chat(key, max_tokens=100).status_code == 429
    limited.until(lambda: limited.levels()[0][3] == 0)
    assert limited.levels() == [(1.0, 0.0, 0, 0)]
    assert len(limited.ledger.usage) == 0


@pytest.mark.parametrize(
    ("path", "fields", "task"),
    [
        ("/v1/embeddings", {"input": ["a", "bc"]}, "embed"),
        ("/v1/rerank", {"query": "q", "documents": ["a", "b"]}, "embed"),
        ("/v1/rerank", {"query": "q", "documents": ["a", "b"]}, "rank"),
        ("/v1/edits", {"instruction": "i", "input": "a"}, None),
        ("/v1/completions", {"prompt": "Hi"}, None),
        ("/engines/gpt-4o-mini/completions", {"prompt": "Hi"}, None),
    ],
)
def test_every_operation_is_charged_what_it_says(own: Any, path: str, fields: Any, task: Any) -> None:
    limited = own()
    key = limited.key(tokens_per_minute=10_000)
    if task is not None:
        limited.served.pool.encoders = {SPEC.id: EncoderInfo(task, 1 if task == "rank" else 16)}
    body = fields if "engines" in path else {"model": SPEC.id, **fields}
    reply = limited.post(key, path, **body)
    assert reply.status_code == 200, reply.text
    limited.until(lambda: limited.levels()[0][3] == 0)
    n_tokens = reply.json()["usage"]["total_tokens"]
    assert n_tokens > 0
    assert limited.levels() == [(0.0, float(n_tokens), n_tokens, 0)]
    (row,) = limited.ledger.usage.take(10)
    assert (row.model, row.n_requests, row.input_tokens + row.output_tokens) == (SPEC.id, 1, n_tokens)


def test_defaults_by_kind(own: Any) -> None:
    limited = own(anonymous=Limits(requests_per_minute=7), keys=Limits(requests_per_minute=5))
    assert ratelimit(limited.served.chat())["limit-requests"] == "7"
    plain, better = limited.key(), limited.key(requests_per_minute=50)
    limited.served.app.gateway._authenticator._open_until = 0.0  # the door is looked at again
    assert ratelimit(limited.chat(plain))["limit-requests"] == "5"
    assert ratelimit(limited.chat(better))["limit-requests"] == "50"
    assert ratelimit(limited.chat(limited.key(requests_per_minute=0))) == {}


def test_a_restart_renews_nothing(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = StoreSettings(folder=str(tmp_path_factory.mktemp("own")))
    first = Limited(serve(store=store))
    first.wall = time.time()
    key = first.key(tokens_per_day=N_TOKENS)
    assert first.chat(key).status_code == 200
    first.served.stop()
    second = Limited(serve(store=store))
    second.wall = first.wall
    reply = second.chat(key)
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "insufficient_quota")
    second.wall += 86_400.0
    assert second.chat(key).status_code == 200
    second.served.stop()
