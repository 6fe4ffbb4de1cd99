"""Anthropic's streams over a socket: late failures, silence, clients that hang up, many at once."""

import http.client
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmatic.core.errors import EngineFailed, QueueFull
from llmatic.core.types import Delta, Finished, GenerationRequest, Started, Usage
from tests.api.conftest import WAIT_S, Serve, Served
from tests.api.test_streams import gated
from tests.api.wire import messages_events, open_stream
from tests.contract_check import component
from tests.fakes import SPEC, Gate, Step

BODY = {"model": SPEC.id, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
PATH = "/v1/messages"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (EngineFailed("The engine died."), 500, "api_error"),
        (QueueFull("Too many."), 529, "overloaded_error"),
        (ZeroDivisionError("secret"), 500, "api_error"),
    ],
)
def test_late_failure(api: Served, error: Exception, status: int, kind: str, stream: bool) -> None:
    def script(request: GenerationRequest) -> Iterable[Step]:
        yield Started(3)
        yield Delta(0, "Hel", 1)
        yield error

    api.pool.script = script
    reply = api.http.post(PATH, json=BODY | {"stream": stream})
    assert "secret" not in reply.text
    if stream:
        assert reply.status_code == 200
        events = messages_events(reply.text)
        kinds = [event["type"] for event in events]
        assert kinds == ["message_start", "content_block_start", "content_block_delta", "error"]
        component("MessageErrorResponse").validate(events[-1])
        assert events[-1]["error"]["type"] == kind
    else:
        assert reply.status_code == status
        assert reply.json()["error"]["type"] == kind


@pytest.mark.parametrize("stream", [True, False])
def test_hanging_up_cancels(api: Served, stream: bool) -> None:
    gate = Gate()
    api.pool.script = gated(gate)  # type: ignore[assignment]
    with open_stream(api, PATH, stream=stream, max_tokens=9):
        assert gate.reached.wait(WAIT_S)
        assert not api.pool.cancelled.is_set()
    assert api.pool.cancelled.wait(WAIT_S)
    assert api.pool.n_open == 0


def test_hanging_up_while_tokens_are_counted(api: Served) -> None:
    gate = Gate()
    api.pool.script = lambda request: [gate, Started(3)]
    with open_stream(api, "/v1/messages/count_tokens"):
        assert gate.reached.wait(WAIT_S)
    assert api.pool.cancelled.wait(WAIT_S)
    assert api.pool.n_open == 0


def test_pings_while_nothing_comes(serve: Serve) -> None:
    served = serve(sse_keep_alive_s=0.02)
    gate = Gate()
    served.pool.script = gated(gate)  # type: ignore[assignment]
    with open_stream(served, PATH, stream=True, max_tokens=9) as connection:
        reply = http.client.HTTPResponse(connection)
        reply.begin()
        lines: list[bytes] = []
        while lines.count(b'data: {"type":"ping"}\n') < 2:
            lines.append(reply.readline())
        gate.open()
        rest = reply.read()
    assert lines[0] == b"event: message_start\n"
    assert rest.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')


def test_many_at_once_keep_their_own(api: Served) -> None:
    def script(request: GenerationRequest) -> Iterable[Step]:
        words = str(request.prompt.messages[0]["content"])  # type: ignore[union-attr]
        yield Started(3)
        for letter in words:
            yield Delta(0, letter, 1)
        yield Delta(0, "", 1, (), "stop")
        yield Finished(Usage(3, len(words) + 1))

    api.pool.script = script

    def ask(number: int) -> str:
        content = f"{number} ü \u2028 \U0001f600\u0000 {'x' * number}"
        body = BODY | {"messages": [{"role": "user", "content": content}], "stream": number % 2 == 0}
        reply = api.http.post(PATH, json=body)
        if number % 2:
            found = reply.json()["content"][0]["text"]
        else:
            deltas = [
                event["delta"].get("text", "") for event in messages_events(reply.text) if "delta" in event
            ]
            found = "".join(deltas)
        assert found == content
        return str(found)

    with ThreadPoolExecutor(16) as threads:
        assert len(set(threads.map(ask, range(40)))) == 40
