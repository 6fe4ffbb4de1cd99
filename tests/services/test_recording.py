import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from llmatic.config import RecordingSettings
from llmatic.core.errors import EngineFailed, InvalidRequest, Unavailable
from llmatic.core.metrics import Metrics
from llmatic.core.principal import Principal
from llmatic.core.types import (
    CallDelta,
    ChatPrompt,
    Delta,
    Event,
    Finished,
    GenerationRequest,
    Started,
    ToolUse,
    Usage,
)
from llmatic.services.choices import Folding
from llmatic.services.composing import Outcome
from llmatic.services.recording import Recorder
from llmatic.services.tapes import Ask, Tape, TapedGeneration
from llmatic.store.database import Database, open_database
from llmatic.store.runs import RunRecord, get_run_with_body

pytestmark = pytest.mark.anyio

ANN = Principal("key_1", "ann")
REQUEST = GenerationRequest("chatcmpl-1", ChatPrompt((), tools=ToolUse(())))
ALL = RecordingSettings(enabled=True)


class Gone:
    """A database that cannot be reached, for as long as it is said to be."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.is_gone = True
        self.n_tries = 0
        self.tried = asyncio.Event()

    async def write(self, work: Callable[..., Any]) -> Any:
        self.n_tries += 1
        self.tried.set()
        if self.is_gone:
            raise Unavailable("gone")
        return await self._database.write(work)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncGenerator[Database, None]:
    opened = open_database(f"sqlite:///{tmp_path}/llmatic.db")
    yield opened
    await opened.close()


def recorder_of(database: Any, settings: RecordingSettings = ALL, **parts: Any) -> Recorder:
    return Recorder(database, settings, Metrics(), **parts)


def render(folding: Folding) -> Outcome:
    choice = folding.choices()[0]
    calls = [
        {"id": c.id, "function": {"name": c.name, "arguments": c.arguments}} for c in choice.calls.values()
    ]
    message = {"content": choice.text, "tool_calls": calls}
    body = {
        "choices": [{"message": message, "finish_reason": choice.finish_reason}],
        "usage": {"prompt_tokens": 3},
    }
    return Outcome(orjson.dumps(body), choice.finish_reason, 3, 2)


def tape_of(recorder: Recorder, text: str = "Hi", name: str = "chatcmpl-1", **more: Any) -> Tape:
    ask = Ask(
        name, "chat", {"messages": [{"role": "user", "content": text}], "temperature": 0}, "m", ANN, **more
    )
    return Tape(recorder, ask)


async def events(*last: Event | Exception) -> AsyncGenerator[Event, None]:
    yield Started(3)
    yield Delta(0, "Гей", 1)
    for event in last:
        if isinstance(event, Exception):
            raise event
        yield event


ENDS = (Delta(0, "!", 1, (), "stop"), Finished(Usage(3, 2)))


async def play(tape: Tape, *last: Event | Exception, rendered: Any = render) -> list[Any]:
    seen: list[Any] = []
    async with TapedGeneration(
        lambda _: events(*last), (REQUEST,), tape, Folding(1, 1, 1), rendered
    ) as generation:
        while (batch := await generation.batch()) is not None:
            seen += batch
    return seen


async def kept(
    database: Database, name: str = "chatcmpl-1", owner: str = "ann"
) -> tuple[RunRecord, Any, Any]:
    found = await database.read(get_run_with_body(owner, name))
    assert found is not None
    record, body = found
    return record, orjson.loads(body.request), None if body.reply is None else orjson.loads(body.reply)


def outcomes(recorder: Recorder) -> dict[str, float]:
    found = {}
    for line in recorder._metrics.render().decode().splitlines():
        if line.startswith("llmatic_runs_total"):
            found[line.split('"')[1]] = float(line.split()[-1])
    return found


async def test_what_was_promised_is_there_when_the_events_end(database: Database) -> None:
    recorder = recorder_of(database, RecordingSettings())
    await play(tape_of(recorder, is_promised=True), *ENDS)
    record, request, reply = await kept(database)
    assert (record.owner, record.key_id, record.status, record.is_stored) == (
        "ann",
        "key_1",
        "completed",
        True,
    )
    assert request["messages"][0]["content"] == "Hi"
    assert reply["choices"][0]["message"]["content"] == "Гей!"
    assert record.summary["finish_reason"] == "stop"
    assert record.summary["usage"] == {"prompt_tokens": 3, "completion_tokens": 2}
    assert record.summary["config"] == {"temperature": 0}
    assert record.expires_at == record.created_at + 30 * 86400 * 1_000_000


async def test_others_are_written_in_the_background_and_at_the_end(database: Database) -> None:
    recorder = recorder_of(database)
    for k in range(250):
        await play(tape_of(recorder, name=f"chatcmpl-{k}"), *ENDS)
    recorder.open()
    await recorder.close()
    assert outcomes(recorder) == {"recorded": 250}
    await kept(database, "chatcmpl-0")
    await kept(database, "chatcmpl-249")


async def test_a_failure_is_recorded_with_its_reason(database: Database) -> None:
    recorder = recorder_of(database)
    with pytest.raises(EngineFailed):
        await play(tape_of(recorder), EngineFailed("it died"))
    recorder.open()
    await recorder.close()
    record, _, reply = await kept(database)
    assert (record.status, record.is_stored, reply) == ("failed", False, None)
    assert record.summary["error"]["message"] == "it died"


async def test_calls_have_the_same_ids_in_the_stream_and_in_the_record(database: Database) -> None:
    recorder = recorder_of(database)
    calls = (CallDelta(0, "f"), CallDelta(0, arguments="{}"), CallDelta(1, "g", "own"))
    seen = await play(
        tape_of(recorder, is_promised=True), Delta(0, "", 1, (), "tool_calls", "", calls), ENDS[1]
    )
    sent = [call.id for _, event in seen for call in getattr(event, "calls", ()) if call.name]
    _, _, reply = await kept(database)
    assert sent[1] == "own"
    assert sent[0].startswith("call_")
    assert [call["id"] for call in reply["choices"][0]["message"]["tool_calls"]] == sent
    assert len(set(sent)) == 2


async def test_the_database_may_be_gone_for_a_while(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmatic.services.recording.RETRY_S", (0.0, 0.0))
    gone = Gone(database)
    recorder = recorder_of(gone)
    await play(tape_of(recorder), *ENDS)
    await play(tape_of(recorder, name="chatcmpl-2", is_promised=True), *ENDS)  # answered all the same
    gone.tried.clear()
    recorder.open()
    await gone.tried.wait()
    gone.is_gone = False
    await recorder.close()
    assert outcomes(recorder) == {"recorded": 2}
    await kept(database)
    await kept(database, "chatcmpl-2")


async def test_what_finds_no_room_is_dropped_and_counted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmatic.services.recording.MAX_WAITING", 2)
    recorder = recorder_of(database)
    for k in range(3):
        await play(tape_of(recorder, name=f"chatcmpl-{k}"), *ENDS)
    assert outcomes(recorder) == {"dropped": 1}
    monkeypatch.setattr("llmatic.services.recording.MAX_WAITING_BYTES", 10)
    other = recorder_of(database)
    await play(tape_of(other, "x" * 11), *ENDS)
    assert outcomes(other) == {"dropped": 1}


async def test_what_is_too_large_is_left_out_unless_it_was_promised(database: Database) -> None:
    recorder = recorder_of(database, RecordingSettings(enabled=True, max_bytes=1024))
    await play(tape_of(recorder, "x" * 5000), *ENDS)
    await play(tape_of(recorder, "ї" * 1000, name="chatcmpl-2"), *ENDS)  # known only when it is written
    await play(tape_of(recorder, "x" * 5000, name="chatcmpl-3", is_promised=True), *ENDS)
    recorder.open()
    await recorder.close()
    assert outcomes(recorder) == {"dropped": 2, "recorded": 1}
    await kept(database, "chatcmpl-3")


async def test_secrets_are_not_kept(database: Database) -> None:
    recorder = recorder_of(database, RecordingSettings(redact=("Гей", "Hi"), mark="##"))
    await play(tape_of(recorder, is_promised=True), *ENDS)
    _, request, reply = await kept(database)
    assert request["messages"][0]["content"] == "##"
    assert reply["choices"][0]["message"]["content"] == "##!"


async def test_old_runs_are_forgotten(database: Database) -> None:
    now = 1000.0
    recorder = recorder_of(database, RecordingSettings(retention_s=10), clock=lambda: now)
    for k in range(3):
        await play(tape_of(recorder, name=f"chatcmpl-{k}", is_promised=True), *ENDS)
    assert await recorder.sweep() == 0
    now = 1010.0
    assert await recorder.sweep() == 3
    assert await database.read(get_run_with_body("ann", "chatcmpl-0")) is None
    forever = recorder_of(database, RecordingSettings(retention_s=None))
    await play(tape_of(forever, is_promised=True), *ENDS)
    assert (await kept(database))[0].expires_at is None


@pytest.mark.parametrize(
    ("settings", "is_wanted"),
    [
        ({}, False),
        ({"enabled": True}, True),
        ({"enabled": True, "owners": ("ann",)}, True),
        ({"enabled": True, "owners": ("key_1",)}, True),
        ({"enabled": True, "owners": ("bob",)}, False),
        ({"enabled": True, "models": ("m",)}, True),
        ({"enabled": True, "models": ("other",)}, False),
        ({"enabled": True, "share": 0.5}, False),
        ({"enabled": True, "share": 0.7}, True),
        ({"enabled": True, "share": 0.0}, False),
    ],
)
async def test_whom_the_configuration_means(settings: dict[str, Any], is_wanted: bool) -> None:
    recorder = recorder_of(None, RecordingSettings(**settings), draw=lambda: 0.6)
    assert recorder.wants(ANN, "m") is is_wanted


async def test_what_the_database_never_takes_does_not_hold_up_the_rest(database: Database) -> None:
    class Picky(Gone):
        async def write(self, work: Callable[..., Any]) -> Any:
            self.n_tries += 1
            rows = inspect.getclosurevars(work).nonlocals["made"]
            if any(record.id == "chatcmpl-1" for record, _ in rows):
                raise InvalidRequest("cannot be stored")
            return await self._database.write(work)

    recorder = recorder_of(Picky(database))
    for k in range(3):
        await play(tape_of(recorder, name=f"chatcmpl-{k}"), *ENDS)
    await play(tape_of(recorder, is_promised=True), *ENDS)
    recorder.open()
    await recorder.close()
    assert outcomes(recorder) == {"recorded": 2, "failed": 2}
    await kept(database, "chatcmpl-0")
    await kept(database, "chatcmpl-2")


async def test_a_stop_while_the_database_is_away_tries_once_more(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmatic.services.recording.RETRY_S", (3600.0, 3600.0))
    gone = Gone(database)
    recorder = recorder_of(gone)
    await play(tape_of(recorder), *ENDS)
    recorder.open()
    await gone.tried.wait()
    gone.is_gone = False
    await recorder.close()
    assert outcomes(recorder) == {"recorded": 1}
    await kept(database)


async def test_what_finds_no_database_at_the_end_is_counted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmatic.services.recording.CLOSE_S", 0.0)
    recorder = recorder_of(Gone(database))
    await play(tape_of(recorder), *ENDS)
    recorder.open()
    await recorder.close()
    assert outcomes(recorder) == {"dropped": 1}


async def test_one_bad_record_does_not_take_others_with_it(database: Database) -> None:
    recorder = recorder_of(database)

    def broken(_: Folding) -> Outcome:
        raise ZeroDivisionError

    await play(tape_of(recorder, name="chatcmpl-bad"), *ENDS, rendered=broken)
    await play(tape_of(recorder), *ENDS)
    recorder.open()
    await recorder.close()
    assert outcomes(recorder) == {"recorded": 1, "failed": 1}
    await kept(database)
