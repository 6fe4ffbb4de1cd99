import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import orjson
import pytest

from llmatic.config import StoreSettings
from llmatic.core.errors import EngineFailed, InvalidRequest, QueueFull
from llmatic.core.types import Delta, Finished, Started, Usage
from tests.api.conftest import WAIT_S, Serve, Served
from tests.api.running import eventually, frames, make, playing, refusal, saying
from tests.fakes import Gate


@pytest.fixture
def own(serve: Serve, tmp_path: Any) -> Served:
    return serve(store=StoreSettings(folder=str(tmp_path)))


def test_a_run_is_streamed_to_its_listener_and_kept(api: Served) -> None:
    made = make(api, stream=True, tags=["streamed"])
    assert (made["status"], made["result"]) == ("created", [])
    assert api.pool.requests == []
    assert api.http.get(f"/api/v1/runs/{made['id']}").json() == made
    path = f"/api/v1/runs/{made['id']}/stream"
    pieces, run = frames(api.http.get(path).text)
    assert "".join(pieces) == "Hello wörld!"
    assert (run["status"], run["result"]) == ("completed", [{"type": "text", "value": "Hello wörld!"}])
    assert run["chunks"] == len(pieces)
    assert api.http.get(f"/api/v1/runs/{made['id']}").json() == run
    again, same = frames(api.http.get(path).text)
    assert (again, same) == (["Hello wörld!"], run)
    assert len(api.pool.requests) == 1


def test_who_comes_late_hears_it_from_its_beginning(api: Served) -> None:
    gate = Gate()
    api.pool.script = playing(
        Started(3), Delta(0, "x", 1), gate, Delta(0, "y", 1, (), "stop"), Finished(Usage(3, 2))
    )
    path = f"/api/v1/runs/{make(api, stream=True)['id']}/stream"
    with ThreadPoolExecutor() as threads, api.http.stream("GET", path) as first:
        assert gate.reached.wait(WAIT_S)
        with api.http.stream("GET", path) as second:
            told = second.iter_text()
            assert next(told) == 'data: "x"\n\n'
            third = threads.submit(api.http.get, path)
            gate.open()
            pieces, run = frames('data: "x"\n\n' + "".join(told))
        assert frames("".join(first.iter_text())) == (pieces, run)
        assert third.result().text.endswith(close_of(run))
    assert (pieces, run["status"]) == (["x", "y"], "completed")
    assert len(api.pool.requests) == 1


def close_of(run: dict[str, Any]) -> str:
    return f"event: close\ndata: {orjson.dumps(run).decode()}\n\n"


def test_a_run_goes_on_while_anybody_listens(api: Served) -> None:
    gate = Gate()
    api.pool.script = playing(
        Started(3), Delta(0, "x", 1), gate, Delta(0, "y", 1, (), "stop"), Finished(Usage(3, 2))
    )
    path = f"/api/v1/runs/{make(api, stream=True)['id']}/stream"
    with api.http.stream("GET", path) as stays:
        told = stays.iter_text()
        assert next(told) == 'data: "x"\n\n'
        with api.http.stream("GET", path) as goes:
            assert next(goes.iter_text()) == 'data: "x"\n\n'
        gate.open()
        pieces, run = frames("".join(told))
    assert (pieces, run["status"]) == (["y"], "completed")
    assert not api.pool.cancelled.is_set()


def test_a_run_that_found_no_room_can_be_listened_to_later(api: Served) -> None:
    api.pool.script = playing(QueueFull("The queue is full.", retry_after_s=1.0))
    made = make(api, stream=True)
    path = f"/api/v1/runs/{made['id']}"
    refusal(api.http.get(f"{path}/stream"), 429)
    assert api.http.get(path).json()["status"] == "created"
    api.pool.reset()
    assert frames(api.http.get(f"{path}/stream").text)[1]["status"] == "completed"


def test_a_run_that_the_engine_refuses_has_failed(api: Served) -> None:
    api.pool.script = playing(InvalidRequest("It is too long.", param="messages"))
    path = f"/api/v1/runs/{make(api, stream=True)['id']}"
    refusal(api.http.get(f"{path}/stream"), 400)
    run = eventually(lambda: next((r for r in [api.http.get(path).json()] if r["status"] == "failed"), None))
    assert run["error"]["message"] == "It is too long."
    assert frames(api.http.get(f"{path}/stream").text) == ([], run)


def test_a_run_of_a_server_that_died_is_taken_over(own: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(own, stream=True)

    async def begin() -> None:
        runs = own.stored.runs
        await runs.change("anonymous", made["id"], lambda run: replace(run, status="processing"))

    asyncio.run(begin())
    path = f"/api/v1/runs/{made['id']}/stream"
    with own.http.stream("GET", path) as reply:
        told = reply.iter_text()
        assert next(told) == ": keep-alive\n\n"  # another server may be at it
        monkeypatch.setattr("llmatic.api.run_live.ABANDONED_US", 0)
        pieces, run = frames("".join(told))
    assert ("".join(pieces), run["status"]) == ("Hello wörld!", "completed")


def test_a_schema_holds_for_streams_too(api: Served) -> None:
    api.pool.script = saying('{"a": "x"}')
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    made = make(api, stream=True, result_schema=schema)
    _, run = frames(api.http.get(f"/api/v1/runs/{made['id']}/stream").text)
    assert (run["status"], run["error"]["code"]) == ("failed", "validation_error")
    assert run["result"] == [{"type": "json", "value": {"a": "x"}}]


def test_a_recorded_request_of_any_kind_can_be_listened_to(api: Served) -> None:
    made = api.chat(store=True).json()
    pieces, run = frames(api.http.get(f"/api/v1/runs/{made['id']}/stream").text)
    assert (pieces, run["kind"]) == (["Hello wörld!"], "chat")


def test_a_head_executes_nothing(api: Served) -> None:
    made = make(api, stream=True)
    path = f"/api/v1/runs/{made['id']}"
    assert api.http.head(f"{path}/stream").status_code == 200
    assert api.http.head("/api/v1/runs/run_0/stream").status_code == 404
    assert api.http.get(path).json()["status"] == "created"
    assert api.pool.requests == []


def test_tags_of_a_run_that_is_being_executed_can_be_changed(api: Served) -> None:
    gate = Gate()
    api.pool.script = playing(Started(3), gate, Delta(0, "x", 1, (), "stop"), Finished(Usage(3, 1)))
    path = f"/api/v1/runs/{make(api, stream=True, tags=['a'])['id']}"
    with ThreadPoolExecutor() as threads:
        listening = threads.submit(api.http.get, f"{path}/stream")
        assert gate.reached.wait(WAIT_S)
        api.http.put(path, json={"tags": ["b"], "evaluation": {"score": 1}, "metadata": {"k": "v"}})
        gate.open()
        frames(listening.result().text)
    run = api.http.get(path).json()
    assert (run["tags"], run["evaluation"], run["metadata"]) == (["b"], {"score": 1}, {"k": "v"})
    assert run["status"] == "completed"


def test_a_stream_that_fails_says_so_at_its_end(api: Served) -> None:
    api.pool.script = playing(Started(3), Delta(0, "x", 1), EngineFailed("it died"))
    made = make(api, stream=True)
    pieces, run = frames(api.http.get(f"/api/v1/runs/{made['id']}/stream").text)
    assert (pieces, run["status"], run["error"]["message"]) == (["x"], "failed", "it died")
    assert api.http.get(f"/api/v1/runs/{made['id']}").json() == run


def test_a_listener_that_hangs_up_ends_the_run(api: Served) -> None:
    gate = Gate()
    api.pool.script = playing(Started(3), Delta(0, "x", 1), gate)
    made = make(api, stream=True)
    with api.http.stream("GET", f"/api/v1/runs/{made['id']}/stream") as reply:
        assert next(reply.iter_text()) == 'data: "x"\n\n'
    assert api.pool.cancelled.wait(10)
    path = f"/api/v1/runs/{made['id']}"
    run = eventually(
        lambda: next((r for r in [api.http.get(path).json()] if r["status"] != "processing"), None)
    )
    assert (run["status"], run["error"]["code"]) == ("failed", "cancelled")
