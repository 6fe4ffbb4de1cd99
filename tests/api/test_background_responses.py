"""Responses that are made in the background: read while they are made, cancelled, deleted, left behind."""

import threading
from collections.abc import Iterable
from typing import Any

import pytest

from llmatic.config import StoreSettings
from llmatic.core.errors import QueueFull
from llmatic.core.types import Delta, Finished, GenerationRequest, Started, Usage
from llmatic.services.responses import LEASE, STOPPED, Responses
from tests.api.asking_responses import made, respond, streamed
from tests.api.conftest import WAIT_S, Serve, Served
from tests.api.wire import open_stream
from tests.fakes import Gate, Step
from tests.stream_check import response_events


def gated(*gates: Gate) -> Any:
    """A word for each gate, once it is open."""

    def script(request: GenerationRequest) -> Iterable[Step]:
        yield Started(3)
        for gate in gates:
            yield gate
            yield Delta(0, "word ", 1)
        yield Delta(0, "", 1, (), "stop")
        yield Finished(Usage(3, len(gates) + 1))

    return script


def state(api: Served, response_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api.http.get(f"/v1/responses/{response_id}").json()
    return found


def ended(api: Served, response_id: str) -> dict[str, Any]:
    """Its state once its stream has ended."""
    api.http.get(f"/v1/responses/{response_id}", params={"stream": True}).raise_for_status()
    return state(api, response_id)


def test_it_goes_on_without_its_client(api: Served) -> None:
    gate = Gate()
    api.pool.script = gated(gate)
    body = made(api, background=True)
    assert (body["status"], body["background"], body["output"]) == ("queued", True, [])
    assert gate.reached.wait(WAIT_S)
    assert state(api, body["id"])["status"] in ("queued", "in_progress")
    gate.open()
    final = ended(api, body["id"])
    assert (final["status"], final["output"][0]["content"][0]["text"]) == ("completed", "word ")
    made(api, previous_response_id=body["id"], input="More")


def test_its_events_begin_with_the_queue(api: Served) -> None:
    events = streamed(api, background=True)
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds[:4] == ["created", "queued", "in_progress", "output_item.added"]
    assert state(api, events[0]["response"]["id"]) == events[-1]["response"]


def test_a_stream_is_taken_up_again(api: Served) -> None:
    gates = Gate(), Gate()
    api.pool.script = gated(*gates)
    with open_stream(api, "/v1/responses", messages=None, input="Hi", stream=True, background=True) as line:
        gates[0].open()
        assert gates[1].reached.wait(WAIT_S)
        seen = b""
        while b"word " not in seen:
            seen += line.recv(65536)
    assert not api.pool.cancelled.is_set()
    response_id = seen.split(b'"id":"')[1].split(b'"')[0].decode()
    threading.Timer(0, gates[1].open).start()
    whole = response_events(api.http.get(f"/v1/responses/{response_id}", params={"stream": True}).text)
    assert whole[-1]["response"]["output"][0]["content"][0]["text"] == "word word "
    for after in (0, 5, len(whole) - 2, len(whole) - 1, 1000):
        params = {"stream": True, "starting_after": after}
        rest = api.http.get(f"/v1/responses/{response_id}", params=params).text
        frames = [frame for frame in rest.split("\n\n") if frame.startswith("event")]
        assert len(frames) == max(0, len(whole) - 1 - after)
    with api.sdk().responses.stream(response_id=response_id, starting_after=4) as stream:
        assert next(event.sequence_number for event in stream) == 5
        assert stream.get_final_response().output_text == "word word "


def test_cancelling(api: Served) -> None:
    gate = Gate()
    api.pool.script = gated(gate)
    body = made(api, background=True)
    assert gate.reached.wait(WAIT_S)
    for _ in range(2):
        cancelled = api.http.post(f"/v1/responses/{body['id']}/cancel").json()
        assert cancelled["status"] == "cancelled"
    assert api.pool.cancelled.wait(WAIT_S)
    events = response_events(
        api.http.get(f"/v1/responses/{body['id']}", params={"stream": True}).text, is_replayed=True
    )
    assert events[-1]["response"]["status"] == "cancelled"
    assert state(api, body["id"])["status"] == "cancelled"
    assert respond(api, previous_response_id=body["id"]).status_code == 400


def test_what_has_ended_stays_as_it_is(api: Served) -> None:
    body = made(api, background=True)
    final = ended(api, body["id"])
    assert api.http.post(f"/v1/responses/{body['id']}/cancel").json() == final


def test_deleting_gives_up(api: Served) -> None:
    gate = Gate()
    api.pool.script = gated(gate)
    body = made(api, background=True)
    assert gate.reached.wait(WAIT_S)
    assert api.http.delete(f"/v1/responses/{body['id']}").json() == {
        "id": body["id"],
        "object": "response",
        "deleted": True,
    }
    assert api.pool.cancelled.wait(WAIT_S)
    assert api.http.get(f"/v1/responses/{body['id']}").status_code == 404


def test_a_refusal_is_its_end(api: Served) -> None:
    api.pool.script = lambda request: [QueueFull("Full.")]
    final = ended(api, made(api, background=True)["id"])
    assert final["error"] == {"code": "rate_limit_exceeded", "message": "Full."}
    assert final["status"] == "failed"


def test_the_stop_of_the_server_ends_it(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = StoreSettings(folder=str(tmp_path_factory.mktemp("own")))
    gate, before = Gate(), serve(store=store)
    before.pool.script = gated(gate)
    body = made(before, background=True)
    assert gate.reached.wait(WAIT_S)
    before.stop()
    after = serve(store=store)
    final = state(after, body["id"])
    assert final["status"] == "failed"
    assert final["error"]["code"] == "server_error"


def test_one_that_nobody_makes_any_more_has_failed(
    serve: Serve, tmp_path_factory: pytest.TempPathFactory
) -> None:
    served = serve(store=StoreSettings(folder=str(tmp_path_factory.mktemp("own"))))
    gate = Gate()
    served.pool.script = gated(gate)
    body = made(served, background=True)
    assert gate.reached.wait(WAIT_S)
    responses = served.stored.responses
    clock = responses._clock
    responses._clock = lambda: clock() + 2 * LEASE / 1_000_000
    responses.before_abandoning = None  # as on another server
    final = state(served, body["id"])
    assert (final["status"], final["error"]["message"]) == ("failed", STOPPED)
    gate.open()
    assert ended(served, body["id"])["status"] == "failed"


def test_one_that_is_made_here_has_not(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Even if the database was away for so long that nobody could say so in time."""
    gate, served = Gate(), serve(store=StoreSettings(folder=str(tmp_path_factory.mktemp("own"))))
    served.pool.script = gated(gate)
    body = made(served, background=True)
    assert gate.reached.wait(WAIT_S)
    responses = served.stored.responses
    clock = responses._clock
    responses._clock = lambda: clock() + 2 * LEASE / 1_000_000
    assert state(served, body["id"])["status"] == "in_progress"
    gate.open()
    assert ended(served, body["id"])["status"] == "completed"


def test_another_server_tells_the_end_and_its_readers_are_calls(
    serve: Serve, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = StoreSettings(folder=str(tmp_path_factory.mktemp("own")))
    gate, maker, other = Gate(), serve(store=store), serve(store=store)
    maker.pool.script = gated(gate)
    body = made(maker, background=True)
    assert gate.reached.wait(WAIT_S)
    path = f"/v1/responses/{body['id']}"
    with other.http.stream("GET", path, params={"stream": True}) as reply:
        told = reply.iter_text()
        text = next(told)
        assert len(other.app.calls) == 1  # so that the server's stop ends them
        gate.open()
        text += "".join(told)
    events = response_events(text.replace(": keep-alive\n\n", ""), is_replayed=True)
    assert events[-1]["response"] == state(maker, body["id"])
    assert events[-1]["response"]["status"] == "completed"


def test_reading_one_that_has_ended_looks_for_no_abandoned_ones(
    api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = made(api)
    monkeypatch.setattr(Responses, "fail_abandoned", None)
    assert api.http.get(f"/v1/responses/{body['id']}").json() == body
