"""Streams over a socket: late failures, silence, clients that hang up, shutting down, many at once."""

import http.client
import socket
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import openai
import pytest

from llmatic.core.errors import EngineFailed
from llmatic.core.types import ChatPrompt, Delta, Finished, GenerationRequest, Started, Usage
from tests.api.conftest import WAIT_S, Serve, Served
from tests.api.wire import events, open_stream
from tests.fakes import SPEC, Gate, Step


def gated(gate: Gate) -> object:
    """Accepted at once, silent until the gate opens, then one word."""

    def script(request: GenerationRequest) -> Iterable[Step]:
        yield Started(3)
        yield gate
        yield Delta(0, "word", 1, (), "length")
        yield Finished(Usage(3, 1))

    return script


@pytest.mark.parametrize("stream", [True, False])
def test_late_failure(api: Served, stream: bool) -> None:
    def script(request: GenerationRequest) -> Iterable[Step]:
        yield Started(3)
        yield Delta(0, "Hel", 1)
        yield EngineFailed("The engine died.")

    api.pool.script = script
    reply = api.chat(stream=stream)
    error = {"message": "The engine died.", "type": "server_error", "param": None, "code": None}
    if stream:
        assert reply.status_code == 200
        assert events(reply.text)[-2]["choices"][0]["delta"] == {"content": "Hel"}
        assert events(reply.text)[-1] == {"error": error}
        with pytest.raises(openai.APIError, match="The engine died"):
            list(
                api.sdk().chat.completions.create(
                    model=SPEC.id, messages=[{"role": "user", "content": "Hi"}], stream=True
                )
            )
    else:
        assert reply.status_code == 503
        assert reply.json() == {"error": error}


def test_late_fault_is_hidden(api: Served) -> None:
    def script(request: GenerationRequest) -> Iterable[Step]:
        yield Started(3)
        yield Delta(0, "Hel", 1)
        yield ZeroDivisionError("secret")

    api.pool.script = script
    text = api.chat(stream=True).text
    assert "secret" not in text
    assert events(text)[-1]["error"]["type"] == "server_error"


def test_engine_that_stops_without_an_end(api: Served) -> None:
    api.pool.script = lambda request: [Started(3), Delta(0, "Hel", 1)]
    assert api.chat().status_code == 503
    assert "error" in events(api.chat(stream=True).text)[-1]


@pytest.mark.parametrize("stream", [True, False])
def test_hanging_up_cancels(api: Served, stream: bool) -> None:
    gate = Gate()
    api.pool.script = gated(gate)  # type: ignore[assignment]
    with open_stream(api, stream=stream):
        assert gate.reached.wait(WAIT_S)
        assert not api.pool.cancelled.is_set()
    assert api.pool.cancelled.wait(WAIT_S)
    assert api.pool.n_open == 0
    assert api.chat(model="nope").status_code == 404


def test_hanging_up_within_the_body_is_no_fault_of_the_server(serve: Serve) -> None:
    served = serve()
    parts = urlsplit(served.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=WAIT_S) as connection:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 100\r\n\r\n"
        connection.sendall(head.encode() + b'{"model":')
    while 'route="/v1/completions",status=' not in (text := served.http.get("/metrics").text):
        pass
    assert 'route="/v1/completions",status="499"' in text
    assert not served.pool.requests


@pytest.mark.parametrize("stream", [True, False])
def test_hanging_up_before_the_start_cancels(api: Served, stream: bool) -> None:
    gate = Gate()
    api.pool.script = lambda request: [gate, Started(3)]
    with open_stream(api, stream=stream):
        assert gate.reached.wait(WAIT_S)
    assert api.pool.cancelled.wait(WAIT_S)


def test_one_failure_cancels_the_other_prompts(api: Served) -> None:
    gate = Gate()

    def script(request: GenerationRequest) -> Iterable[Step]:
        yield Started(3)
        if request.id.endswith("-1"):
            yield EngineFailed("died")
        yield gate

    api.pool.script = script
    assert api.completion(prompt=["a", "b", "c"]).status_code == 503
    assert api.pool.n_open == 0


def test_keep_alive_while_nothing_comes(serve: Serve) -> None:
    served = serve(sse_keep_alive_s=0.02)
    gate = Gate()
    served.pool.script = gated(gate)  # type: ignore[assignment]
    with open_stream(served, stream=True) as connection:
        reply = http.client.HTTPResponse(connection)
        reply.begin()
        lines: list[bytes] = []
        while lines.count(b": keep-alive\n") < 2:
            lines.append(reply.readline())
        gate.open()
        rest = reply.read()
    assert rest.endswith(b"data: [DONE]\n\n")
    assert b"word" in rest


def test_text_that_is_ready_goes_out_in_one_write(api: Served) -> None:
    gate = Gate()

    def script(request: GenerationRequest) -> Iterable[Step]:
        yield Started(3)
        yield gate
        for _ in range(50):
            yield Delta(0, "x", 1)
        yield Delta(0, "", 0, (), "stop")
        yield Finished(Usage(3, 50))

    api.pool.script = script
    with open_stream(api, stream=True) as connection:
        assert gate.reached.wait(WAIT_S)
        gate.open()
        reply = http.client.HTTPResponse(connection)
        reply.begin()
        text = reply.read().decode()
    assert sum(chunk["choices"][0]["delta"].get("content") == "x" for chunk in events(text)[:-1]) == 50


def test_many_streams_do_not_mix(api: Served) -> None:
    def script(request: GenerationRequest) -> Iterable[Step]:
        assert isinstance(request.prompt, ChatPrompt)
        name = request.prompt.messages[0]["content"]
        yield Started(1)
        for part in range(20):
            yield Delta(0, f"{name}:{part} ", 1)
        yield Delta(0, "", 1, (), "stop")
        yield Finished(Usage(1, 21))

    def ask(k: int) -> str:
        text = api.chat(messages=[{"role": "user", "content": f"r{k}"}], stream=True).text
        return "".join(c["choices"][0]["delta"].get("content", "") for c in events(text)[:-1])

    api.pool.script = script
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(ask, range(64)))
    assert answers == ["".join(f"r{k}:{part} " for part in range(20)) for k in range(64)]


def test_draining(serve: Serve) -> None:
    served = serve(drain_timeout_s=WAIT_S)
    gate = Gate()
    served.pool.script = gated(gate)  # type: ignore[assignment]
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(served.chat, stream=True)
        assert gate.reached.wait(WAIT_S)
        served.app.drain()
        refused = served.completion()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert served.http.get("/healthz").is_success
        assert served.http.get("/readyz").json()["status"] == "draining"
        gate.open()
        assert events(running.result().text)[-1] == "[DONE]"
    served.stop()
    assert served.pool.closed.is_set()


@pytest.mark.parametrize("stream", [True, False])
def test_what_outlasts_the_drain_is_told(serve: Serve, stream: bool) -> None:
    served = serve()
    gate = Gate()
    served.pool.script = gated(gate)  # type: ignore[assignment]
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(served.chat, stream=stream)
        assert gate.reached.wait(WAIT_S)
        stopping = threading.Thread(target=served.stop)
        gate_loop = gate._loop
        assert gate_loop is not None
        gate_loop.call_soon_threadsafe(served.app.give_up)
        reply = running.result()
    error = events(reply.text)[-1] if stream else reply.json()
    assert error["error"]["message"] == "The server is shutting down."
    assert reply.status_code == (200 if stream else 503)
    stopping.start()
    stopping.join(WAIT_S)
