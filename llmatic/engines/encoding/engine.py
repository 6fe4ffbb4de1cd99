"""The engine of every encoder: one loaded model, many requests at once.

Owns its threads. The engine's thread computes slices and is the only one that calls the backend's `compute`
and `close`; the intake reads texts beside it. What was read and what is cancelled comes in by an inbox that
is looked into between slices; an idle engine sleeps on it. All events of a slice leave in one call.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import numpy as np

from llmatic.config import ModelSpec
from llmatic.core.encoding import Encoded, EncodeRequest
from llmatic.core.errors import EngineFailed, LlmaticError, QueueFull
from llmatic.core.ports import EngineEvent, Request, StepEvents
from llmatic.core.types import EngineInfo, Finished, Priority, Started, Usage
from llmatic.engines.encoding.backend import EncoderBackend, Item, Matrix
from llmatic.engines.encoding.calibration import calibrate
from llmatic.engines.encoding.demands import cut, misfit
from llmatic.engines.encoding.intake import Intake
from llmatic.engines.encoding.queue import Job, Part, Slice, SliceQueue, pieces_of
from llmatic.engines.encoding.sizing import Budgets, FixedSizes, LearnedSizes
from llmatic.engines.encoding.stats import Counts

_LOG = logging.getLogger(__name__)
CAREFUL_S = 60.0
_CLOSED = "The model is being unloaded."

Events = list[tuple[str, EngineEvent | LlmaticError]]


@dataclass(slots=True, eq=False)
class _Held:
    """A request that has not ended. `n_waiting`: tokens of it that were read and not taken yet."""

    request: EncodeRequest
    arrival: int
    n_tokens: int = 0
    n_waiting: int = 0
    is_told: bool = False


class EncoderEngine:
    """A StepEngine."""

    def __init__(self, spec: ModelSpec, backend: EncoderBackend, *, batch_tokens: int | None = None) -> None:
        """Owns `backend` from now on. Without `batch_tokens` it is timed first, for half a second or so.

        Raises what the backend raises then.
        """
        self._spec = spec
        self._backend = backend
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._held: dict[str, _Held] = {}
        self._untold: list[_Held] = []
        self._lock = threading.Lock()
        self._is_closing = False
        self._is_idle = threading.Event()  # what reads needs the backend no more
        self._n_arrived = 0
        self._held_until = -math.inf
        self._step_began: float | None = None
        self._on_step: Callable[[StepEvents], None] = _nobody
        self._counts = Counts()
        ready: SimpleQueue[SliceQueue | BaseException] = SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, args=(ready, batch_tokens), name=f"engine-{spec.id}", daemon=True
        )
        self._thread.start()
        queue = ready.get()
        if isinstance(queue, BaseException):
            raise queue
        self._intake = Intake(
            backend.read,
            on_progress=self._count,
            on_items=self._enqueue,
            on_refusal=self._refuse,
            name=f"intake-{spec.id}",
        )

    @property
    def info(self) -> EngineInfo:
        """What was loaded."""
        return self._backend.info

    def start(self, on_step: Callable[[StepEvents], None]) -> None:
        """Deliver the events of each slice by `on_step`; refusals also come from other threads."""
        self._on_step = on_step

    def submit(self, request: Request) -> None:
        """Queue a request; whatever becomes of it arrives as events. From any thread."""
        assert isinstance(request, EncodeRequest), "`info` says that it writes nothing"
        refusal = self._hold(request)
        if refusal is None:
            self._intake.submit(request)
        else:
            self._on_step([(request.id, refusal)])

    def cancel(self, request_id: str) -> None:
        """Forget a request before the next slice. From any thread; unknown ids are ignored."""
        if self._held.pop(request_id, None) is not None:
            self._intake.drop(request_id)
            self._inbox.put(lambda: self._queue.remove(request_id))

    def hold(self, seconds: float) -> None:
        """For so long compute nothing that nobody waits for; 0 ends that. From any thread."""
        self._held_until = time.monotonic() + seconds
        self._inbox.put(_look)

    def stats(self) -> Mapping[str, float]:
        """Gauges and counters. From any thread; each figure is right, together they may be a slice apart."""
        held = list(self._held.values())
        n_waiting = sum(one.n_waiting for one in held)
        return {**self._backend.stats(), **self._counts.figures(len(held), n_waiting)}

    def heartbeat(self) -> tuple[int, float | None]:
        """Slices done, and since when the running one runs (None: idle). From any thread."""
        return self._counts.n_slices, self._step_began

    async def close(self) -> None:
        """Fail what is held, free the model. Idempotent."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with self._lock:
            self._is_closing = True
        self._inbox.put(None)
        self._intake.close()
        self._is_idle.set()
        self._thread.join()

    # where requests come in: the submitting thread and the intake's

    def _hold(self, request: EncodeRequest) -> LlmaticError | None:
        """Note the request, unless it is refused."""
        assert self.info.encoder is not None, "an encoder's backend says so"
        assert request.n_rows, "the API refuses requests for nothing"
        if (refusal := misfit(request, self.info.encoder)) is not None:
            return refusal
        with self._lock:
            if self._is_closing:
                return EngineFailed(_CLOSED)
            if request.id in self._held:
                raise ValueError(f"request id {request.id!r} is in use")
            if len(self._held) >= self._spec.parallel + self._spec.max_queue:
                return self._full()
            self._n_arrived += 1
            self._held[request.id] = _Held(request, self._n_arrived)
        return None

    def _full(self) -> QueueFull:
        self._counts.n_refused += 1
        n_waiting = sum(one.n_waiting for one in list(self._held.values()))
        wait_s = max(1.0, self._counts.wait_s(n_waiting))
        return QueueFull("The model is overloaded. Please retry later.", retry_after_s=wait_s)

    def _count(self, request: EncodeRequest, n_tokens: int) -> None:
        """More of a request was read. Raises QueueFull if too much waits, unless it is all its own."""
        held = self._held.get(request.id)
        if held is None:
            return  # cancelled
        held.n_tokens += n_tokens
        held.n_waiting = held.n_tokens
        everyone = list(self._held.values())
        n_waiting = sum(one.n_waiting for one in everyone)
        if n_waiting > self._spec.max_queue_tokens and n_waiting > held.n_waiting:
            raise self._full()

    def _enqueue(self, request: EncodeRequest, items: list[Item]) -> None:
        held = self._held.get(request.id)
        if held is not None:
            job = Job(request.id, request.client, request.priority, held.arrival, pieces_of(items))
            self._inbox.put(lambda: self._push(held, job))

    def _refuse(self, request: EncodeRequest, error: LlmaticError) -> None:
        if self._held.pop(request.id, None) is not None:
            self._on_step([(request.id, error)])

    # the engine's thread

    def _run(self, ready: "SimpleQueue[SliceQueue | BaseException]", batch_tokens: int | None) -> None:
        try:
            try:
                self._budgets = self._sizes(batch_tokens)
                self._queue = SliceQueue(self._budgets)
            except BaseException as error:  # carried to the thread that waits for it
                ready.put(error)
                return
            ready.put(self._queue)
            self._serve()
            self._is_idle.wait()
        finally:
            self._backend.close()

    def _sizes(self, batch_tokens: int | None) -> Budgets:
        if batch_tokens is not None:
            return FixedSizes(batch_tokens)
        info = self._backend.info
        return LearnedSizes(
            calibrate(
                self._backend.compute, time.perf_counter, n_context=info.n_context, n_vocab=info.n_vocab
            )
        )

    def _serve(self) -> None:
        try:
            while self._read_inbox(wait_s=self._idle_s()) and not self._is_closing:
                if len(self._queue) and not self._idle_s():
                    self._step(self._queue.take(is_careful=self._is_careful()))
        finally:
            with self._lock:
                self._is_closing = True
            left = [name for name in list(self._held) if self._held.pop(name, None) is not None]
            if left:
                self._on_step([(request_id, EngineFailed(_CLOSED)) for request_id in left])

    def _idle_s(self) -> float | None:
        """For how long there is nothing to do unless something comes in; None: for ever."""
        priority = self._queue.priority
        if priority is None:
            return None
        return max(0.0, self._held_until - time.monotonic()) if priority >= Priority.BATCH else 0.0

    def _is_careful(self) -> bool:
        """What is next is in the background, and others were in a hurry not long ago."""
        return self._queue.priority == Priority.BATCH and time.monotonic() < self._held_until + CAREFUL_S

    def _read_inbox(self, *, wait_s: float | None) -> bool:
        """Do everything that has come in; False if the engine is to close."""
        while True:
            try:
                message = self._inbox.get(block=wait_s != 0.0, timeout=wait_s)
            except Empty:
                return True
            if message is None:
                return False
            message()
            wait_s = 0.0

    def _push(self, held: _Held, job: Job) -> None:
        if self._held.get(job.id) is held:  # not cancelled meanwhile
            held.n_waiting = job.n_left
            self._counts.n_prompt += held.n_tokens
            self._untold.append(held)
            self._queue.push(job)

    def _step(self, taken: Slice) -> None:
        """Compute a slice and tell of it. Whatever fails, the engine goes on."""
        self._step_began = began = time.monotonic()
        self._begin(taken)
        events: Events = []
        try:
            matrix = self._compute(taken)
            for part, first in zip(taken.parts, _starts(taken.parts), strict=True):
                self._answer(events, part, matrix[first : first + len(part.pieces)])
        except Exception:
            _LOG.exception("a slice of model '%s' failed", self._spec.id)
            for part in taken.parts:
                self._queue.remove(part.job.id)
            failure = "The model failed while it served this request."
            events = [(part.job.id, EngineFailed(failure)) for part in taken.parts]
        else:
            self._budgets.observe(taken.n_padded, time.monotonic() - began)
        self._step_began = None
        self._counts.observe(taken, time.monotonic() - began)
        self._tell([event for event in events if event[0] in self._held])

    def _compute(self, taken: Slice) -> Matrix:
        items = taken.items
        encoder = self.info.encoder
        assert encoder is not None
        matrix = np.asarray(self._backend.compute(items), dtype="<f4")
        if matrix.shape != (len(items), encoder.n_columns):
            raise ValueError(f"the backend made {matrix.shape} of {len(items)} items")
        if not np.isfinite(matrix).all():
            raise ValueError("the backend made numbers that are not finite")
        return matrix

    def _answer(self, events: Events, part: Part, block: Matrix) -> None:
        """The events of one part of a slice. `block`: shape [len(part.pieces), n_columns]."""
        if (held := self._holder(part.job)) is None:
            return  # cancelled
        if not held.is_told:
            held.is_told = True
            events.append((part.job.id, Started(held.n_tokens)))
        rows = tuple(row for piece in part.pieces for row in piece.rows)
        if len(rows) > len(part.pieces):
            block = np.repeat(block, [len(piece.rows) for piece in part.pieces], axis=0)
        events.append((part.job.id, Encoded(rows, cut(block, held.request.dimensions).tobytes())))
        self._counts.n_texts += len(rows)
        if part.is_last:
            events.append((part.job.id, Finished(Usage(held.n_tokens, 0))))

    def _begin(self, taken: Slice) -> None:
        """Who was accepted and must wait learns it now; the others learn it with their first rows."""
        served = {part.job.id for part in taken.parts}
        self._counts.n_running = len(served)
        for part in taken.parts:
            if (held := self._holder(part.job)) is not None:
                held.n_waiting = part.job.n_left
        untold, self._untold = self._untold, []
        waiting = [one for one in untold if one.request.id in self._held and one.request.id not in served]
        for one in waiting:
            one.is_told = True
        self._tell([(one.request.id, Started(one.n_tokens)) for one in waiting])

    def _holder(self, job: Job) -> _Held | None:
        """Whose job it is; None if that was cancelled, even if another goes by its id now."""
        held = self._held.get(job.id)
        return held if held is not None and held.arrival == job.arrival else None

    def _tell(self, events: Events) -> None:
        if events:
            for request_id, event in events:
                if isinstance(event, Finished | LlmaticError):
                    self._held.pop(request_id, None)
            self._on_step(events)


def _starts(parts: Sequence[Part]) -> list[int]:
    """In which row of a slice each part begins."""
    starts = [0]
    for part in parts[:-1]:
        starts.append(starts[-1] + len(part.pieces))
    return starts


def _look() -> None:
    """There is something new to see elsewhere."""


def _nobody(events: StepEvents) -> None:
    """Nobody listens yet."""
