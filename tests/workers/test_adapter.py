"""Plain engines behind the step interface: what they yield, raise, and never finish."""

import asyncio
from collections.abc import AsyncGenerator
from queue import SimpleQueue

import pytest

from llmatic.config import ModelSpec
from llmatic.core.errors import EngineFailed, InvalidRequest, LlmaticError
from llmatic.core.ports import EngineEvent, StepEvents
from llmatic.core.types import Delta, Event, Finished, GenerationRequest, Started, TextPrompt, Usage
from llmatic.engines.fake import FakeEngine
from llmatic.workers.adapter import StepAdapter

pytestmark = pytest.mark.anyio


class Odd(FakeEngine):
    """Does what its prompt says."""

    def __init__(self) -> None:
        super().__init__(ModelSpec("m", "", engine="fake"))
        self.cleaned_up: SimpleQueue[str] = SimpleQueue()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        order = request.id
        if order == "refuse":
            raise InvalidRequest("no")
        try:
            yield Started(1)
            if order == "raise":
                raise KeyError("surprise")
            while order == "go on":
                await asyncio.sleep(0.001)
                yield Delta(0, "x", 1)
            if order == "finish":
                yield Finished(Usage(1, 0))
        finally:
            self.cleaned_up.put(order)


class Recorder:
    """A started adapter around an `Odd` engine, and what came out of it."""

    def __init__(self) -> None:
        self.odd = Odd()
        self.engine = StepAdapter(self.odd)
        self._seen: SimpleQueue[tuple[str, EngineEvent | LlmaticError]] = SimpleQueue()
        self.engine.start(self._on_step)

    def _on_step(self, events: StepEvents) -> None:
        for event in events:
            self._seen.put(event)

    def submit(self, order: str) -> None:
        self.engine.submit(GenerationRequest(order, TextPrompt("")))

    def next(self) -> EngineEvent | LlmaticError:
        return self._seen.get(timeout=30)[1]

    def end_of(self, order: str) -> EngineEvent | LlmaticError:
        self.submit(order)
        while not isinstance(event := self.next(), Finished | LlmaticError):
            continue
        return event


async def test_every_request_ends_once_whatever_the_engine_does(capfd: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder()
    assert recorder.end_of("finish") == Finished(Usage(1, 0))
    assert isinstance(recorder.end_of("refuse"), InvalidRequest)
    assert "KeyError: 'surprise'" in str(recorder.end_of("raise"))
    assert "without finishing" in str(recorder.end_of("stop early"))
    await recorder.engine.close()


async def test_cancelling_closes_the_generator() -> None:
    recorder = Recorder()
    recorder.submit("go on")
    assert recorder.next() == Started(1)
    recorder.engine.cancel("go on")
    assert recorder.odd.cleaned_up.get(timeout=30) == "go on"
    recorder.engine.cancel("unknown")
    await recorder.engine.close()


async def test_closing_fails_what_runs() -> None:
    recorder = Recorder()
    recorder.submit("go on")
    assert recorder.next() == Started(1)
    await recorder.engine.close()
    while isinstance(event := recorder.next(), Delta):
        continue
    assert isinstance(event, EngineFailed)


async def test_the_heartbeat_tells_since_when_the_loop_is_stuck() -> None:
    recorder = Recorder()
    n_steps, busy_since = recorder.engine.heartbeat()
    assert busy_since is None
    assert recorder.end_of("finish")  # the loop has turned since
    again, busy_since = recorder.engine.heartbeat()
    assert again > n_steps
    assert busy_since is None
    await recorder.engine.close()
