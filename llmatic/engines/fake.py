"""An engine without a model: it answers with the words it was given. For tests and null-engine benches.

Owns when its predictable text (see `fake_text`) comes. Never computes anything. It is both kinds of engine
of `core.ports`: `generate` runs in the caller's loop, `start/submit/cancel` on a thread of its own that steps
like a real engine. The options `text`, `reasoning` and `calls` say what it answers (see `fake_chat`);
`encodes`, `dimensions` and `labels` make it an encoder instead (see `fake_vectors`); `token_delay_s`,
`fail_after`, `hang_after`, `abort_after` (in tokens of the whole engine), `load_s` and `load_error` make it
misbehave for the supervisor's tests.
"""

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmatic.config import ModelSpec
from llmatic.core.encoding import EncodeEvent, EncodeRequest
from llmatic.core.errors import ConfigError, EngineFailed, LlmaticError, QueueFull
from llmatic.core.ports import EngineEvent, Request, StepEvents
from llmatic.core.types import Delta, EncoderInfo, EncodeTask, EngineInfo, Event, Finished, GenerationRequest
from llmatic.engines import fake_vectors
from llmatic.engines.fake_chat import Said
from llmatic.engines.fake_text import N_VOCAB, script

StepEventList = list[tuple[str, EngineEvent | LlmaticError]]
Progress = Callable[[float | None, str], None]


@dataclass(frozen=True, slots=True)
class FakeOptions:
    """What `options:` of a fake model may hold."""

    text: str | None = None
    reasoning: str = ""
    calls: Sequence[Mapping[str, Any]] = ()
    token_delay_s: float = 0.0
    fail_after: int | None = None
    hang_after: int | None = None
    abort_after: int | None = None
    load_s: float = 0.0
    load_error: str | None = None
    encodes: EncodeTask | None = None
    dimensions: int = 16
    labels: Sequence[str] = ()

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> "FakeOptions":
        """Raises ConfigError for an option that does not exist."""
        unknown = sorted(set(options) - set(cls.__slots__))
        if unknown:
            raise ConfigError(f"Engine 'fake' has no option '{unknown[0]}'.", param="options")
        return cls(**options)

    @property
    def encoder(self) -> EncoderInfo | None:
        """How it encodes."""
        if self.encodes is None:
            return None
        n_columns = {"embed": self.dimensions, "rank": 1, "classify": len(self.labels)}[self.encodes]
        return EncoderInfo(self.encodes, n_columns, tuple(self.labels), has_dimensions=True)

    @property
    def said(self) -> Said:
        """What every answer says."""
        return Said(self.text, self.reasoning, tuple(self.calls))


class FakeEngine:
    """See the module. `spec.context` defaults to 4096 tokens (words)."""

    def __init__(self, spec: ModelSpec, on_progress: Progress | None = None) -> None:
        self._options = FakeOptions.read(spec.options)
        self._spec = spec
        self._info = EngineInfo(
            n_context=spec.context or 4096,
            n_context_train=spec.context or 4096,
            n_vocab=N_VOCAB,
            n_parallel=spec.parallel,
            has_chat_template=True,
            has_infill=True,
            fingerprint="fp_fake",
            description="echoes what it is given",
            chat_format="fake",
            has_tools=True,
            has_reasoning=bool(self._options.reasoning),
            encoder=self._options.encoder,
            writes=self._options.encoder is None,
        )
        self._lock = threading.Condition()
        self._running: dict[str, Iterator[EngineEvent]] = {}
        self._waiting: deque[tuple[str, Iterator[EngineEvent]]] = deque()
        self._fresh: StepEventList = []
        self._on_step: Callable[[StepEvents], None] | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._n_tokens = 0
        self._n_steps = 0
        self._step_began: float | None = None
        self._load(on_progress)

    def _load(self, on_progress: Progress | None) -> None:
        for done in range(4):
            if on_progress is not None:
                on_progress(done / 4, "loading")
            time.sleep(self._options.load_s / 4)
        if self._options.load_error is not None:
            raise ConfigError(self._options.load_error)

    @property
    def info(self) -> EngineInfo:
        """What this engine pretends to have loaded."""
        return self._info

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """The scripted events, one loop turn (and `token_delay_s`) between them."""
        for event in script(request, self._info.n_context, self._options.said):
            self._misbehave(event)
            yield event
            await asyncio.sleep(self._options.token_delay_s)

    async def encode(self, request: EncodeRequest) -> AsyncGenerator[EncodeEvent, None]:
        """The scripted rows, one loop turn (and `token_delay_s`) between the events."""
        for event in self._rows(request):
            yield event
            await asyncio.sleep(self._options.token_delay_s)

    def start(self, on_step: Callable[[StepEvents], None]) -> None:
        """Start the stepping thread."""
        assert self._thread is None, "start is called once"
        self._on_step = on_step
        self._thread = threading.Thread(target=self._run, name="fake-engine", daemon=True)
        self._thread.start()

    def _rows(self, request: EncodeRequest) -> Iterator[EncodeEvent]:
        assert self._info.encoder is not None, "`info` says what is served"
        return fake_vectors.script(request, self._info.n_context, self._info.encoder)

    def _events(self, request: Request) -> Iterator[EngineEvent]:
        if isinstance(request, EncodeRequest):
            return self._rows(request)
        return script(request, self._info.n_context, self._options.said)

    def submit(self, request: Request) -> None:
        """Queue a request; at most `parallel` run at a time, `max_queue` wait."""
        with self._lock:
            n_open = len(self._running) + len(self._waiting)
            events = self._events(request)
            if n_open >= self._info.n_parallel + self._spec.max_queue:
                words = f"The model's queue is full: {len(self._waiting)} requests wait. Please try again."
                events = _refuse(QueueFull(words, retry_after_s=1.0))
            first = self._advance(events)
            self._fresh.append((request.id, first))
            if not isinstance(first, LlmaticError):
                self._waiting.append((request.id, events))
            self._lock.notify()

    def cancel(self, request_id: str) -> None:
        """Forget a request."""
        with self._lock:
            self._running.pop(request_id, None)
            self._waiting = deque(item for item in self._waiting if item[0] != request_id)

    def stats(self) -> Mapping[str, float]:
        """Requests running and waiting, tokens made so far."""
        return {
            "requests_running": len(self._running),
            "requests_waiting": len(self._waiting),
            "tokens_generated": self._n_tokens,
        }

    def heartbeat(self) -> tuple[int, float | None]:
        """Steps done and when the running one began."""
        return self._n_steps, self._step_began

    async def close(self) -> None:
        """Stop the thread; what still runs ends with EngineFailed."""
        with self._lock:
            self._closed = True
            self._lock.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 5.0)

    # the stepping thread

    def _run(self) -> None:
        while True:
            with self._lock:
                while not (self._running or self._waiting or self._fresh or self._closed):
                    self._lock.wait()
                if self._closed:
                    break
                while self._waiting and len(self._running) < self._info.n_parallel:
                    request_id, events = self._waiting.popleft()
                    self._running[request_id] = events
                running = list(self._running.items())
                fresh, self._fresh = self._fresh, []
            self._step_began = time.monotonic()
            self._emit([*fresh, *((request_id, self._advance(events)) for request_id, events in running)])
            if self._options.token_delay_s:
                time.sleep(self._options.token_delay_s)
            self._n_steps += 1
            self._step_began = None
        left = [*self._running, *(request_id for request_id, _ in self._waiting)]
        self._emit([(request_id, EngineFailed("The engine was closed.")) for request_id in left])

    def _emit(self, events: StepEventList) -> None:
        assert self._on_step is not None
        with self._lock:
            for request_id, event in events:
                if isinstance(event, Finished | LlmaticError):
                    self._running.pop(request_id, None)
        if events:
            self._on_step(events)

    def _advance(self, events: Iterator[EngineEvent]) -> EngineEvent | LlmaticError:
        try:
            event = next(events)
            self._misbehave(event)
        except LlmaticError as error:
            return error
        return event

    def _misbehave(self, event: EngineEvent) -> None:
        if not isinstance(event, Delta):
            return
        self._n_tokens += event.n_tokens
        options = self._options
        if options.abort_after is not None and self._n_tokens > options.abort_after:
            os.abort()
        if options.hang_after is not None and self._n_tokens > options.hang_after:
            time.sleep(86_400)
        if options.fail_after is not None and self._n_tokens > options.fail_after:
            raise EngineFailed("The fake engine was told to fail.")


def _refuse(error: LlmaticError) -> Iterator[EngineEvent]:
    yield from ()
    raise error
