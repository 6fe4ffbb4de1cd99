"""One worker process as the server sees it, from its start to its burial.

Owns the server's end of the socket, the mailboxes of the requests under way and the watchdog. Never decides
whether to start, restart or unload (see `supervisor`). Runs in the server's event loop.
"""

import asyncio
import signal
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, cast

import structlog

from llmatic.config import ModelSpec
from llmatic.core.encoding import Encoded
from llmatic.core.errors import InvalidRequest, LlmaticError, PayloadTooLarge, from_wire
from llmatic.core.ports import Request
from llmatic.core.types import EngineInfo, Event
from llmatic.workers import protocol, wire
from llmatic.workers.output import OutputLines
from llmatic.workers.spawner import Spawned, Spawner
from llmatic.workers.watchdog import Watchdog

EXIT_WAIT_S = 1.0
LAST_WORDS_S = 0.3
PROGRESS_INTERVAL_S = 1.0

Clock = Callable[[], float]

log = structlog.get_logger("llmatic.workers")


class Mailbox:
    """The events of one request that its consumer has not taken yet."""

    __slots__ = ("_waiter", "events", "lost", "n_taken", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.events: deque[Any] = deque()
        self.n_taken = 0
        self.lost = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, event: Any) -> None:
        """Add a wire event; wakes the consumer once, however many events follow in this turn of the loop."""
        self.events.append(event)
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    async def next(self) -> Event | Encoded:
        """The next event, in order; raises the error that ends the request."""
        if not self.events:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        event = wire.event_from_wire(self.events.popleft())
        self.n_taken += 1
        if isinstance(event, LlmaticError):
            self.n_taken -= 1
            raise event
        return event


class Worker(asyncio.Protocol):
    """A process that loads, then holds, one engine. Made by `launch`.

    `loaded` gives the engine's info, or raises why it did not load. `ended` is set once, when the process is
    gone, with its exit status (None: it could not be reaped in time); until then requests may be under way.
    """

    def __init__(self, spec: ModelSpec, spawned: Spawned, step_timeout_s: float, clock: Clock) -> None:
        loop = asyncio.get_running_loop()
        self.pid = spawned.pid
        self.loaded: asyncio.Future[EngineInfo] = loop.create_future()
        self.loaded.add_done_callback(_retrieve)
        self.ended: asyncio.Future[int | None] = loop.create_future()
        self.progress: tuple[float | None, str] = (None, "starting")
        self.progress_at = loop.time()
        self.stats: Mapping[str, float] = {}
        self.n_finished = 0
        self.killed_because: str | None = None
        self._log = log.bind(model=spec.id, pid=spawned.pid)
        self._output = OutputLines(lambda line: self._log.info("worker output", line=line))
        self._spawned = spawned
        self._watchdog = Watchdog(step_timeout_s, clock())
        self._clock = clock
        self._next_ping = 0.0
        self._next_progress_line = 0.0
        self._reader = protocol.FrameReader()
        self._boxes: dict[int, Mailbox] = {}
        self._n_submitted = 0
        self._lost: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._burial: asyncio.Task[None] | None = None

    @classmethod
    async def launch(cls, spec: ModelSpec, spawner: Spawner, step_timeout_s: float, clock: Clock) -> "Worker":
        """Start the process and tell it what to load; raises OSError if it cannot be started."""
        spawned = await spawner.spawn()
        worker = cls(spec, spawned, step_timeout_s, clock)
        loop = asyncio.get_running_loop()
        worker._burial = loop.create_task(worker._bury())
        try:
            await loop.create_unix_connection(lambda: worker, sock=spawned.sock)
        except BaseException:
            spawned.kill()
            spawned.sock.close()
            raise
        worker._send(protocol.HELLO, protocol.VERSION, wire.to_plain(spec))
        return worker

    @property
    def n_requests(self) -> int:
        """Requests under way."""
        return len(self._boxes)

    @property
    def last_words(self) -> tuple[str, ...]:
        """The last lines that the process printed."""
        return tuple(self._output.tail)

    def submit(self, request: Request) -> Mailbox:
        """Send a request; its events will be in the mailbox. Raises InvalidRequest, PayloadTooLarge."""
        self._n_submitted += 1
        number = self._n_submitted
        try:
            frame = protocol.encode(protocol.SUBMIT, number, wire.request_to_wire(request))
        except protocol.FrameTooLarge as error:
            raise PayloadTooLarge("The request is too large for the model's worker.") from error
        except (protocol.Unsendable, TypeError, RecursionError) as error:
            raise InvalidRequest(f"The request holds a value that cannot be processed: {error}.") from error
        box = self._boxes[number] = Mailbox(number)
        self._write(frame)
        return box

    def release(self, box: Mailbox) -> None:
        """The consumer is gone: cancel the request unless it has ended."""
        if self._boxes.pop(box.number, None) is not None:
            self._send(protocol.CANCEL, box.number)

    def hold(self, seconds: float) -> None:
        """For so long compute nothing that nobody waits for; 0 ends that."""
        self._send(protocol.HOLD, seconds)

    def fail_all(self, make_error: Callable[[], LlmaticError]) -> int:
        """End every request under way with an error; returns how many there were."""
        boxes, self._boxes = self._boxes, {}
        for box in boxes.values():
            box.lost = True
            box.put((box.number, wire.FAILED, make_error().to_wire()))
        return len(boxes)

    def check(self, now: float) -> None:
        """Due every second or so: ping, and kill the process if it hangs."""
        if not self.loaded.done():
            return  # loading has a time limit of its own
        reason = self._watchdog.check(now)
        if reason is not None:
            self.kill(reason)
        elif now >= self._next_ping:
            self._next_ping = now + self._watchdog.interval_s
            self._watchdog.on_ping(now)
            self._send(protocol.PING, 0)

    def kill(self, reason: str | None = None) -> None:
        """SIGKILL; `ended` follows."""
        self.killed_because = self.killed_because or reason
        self._spawned.kill()

    def ask_to_stop(self, grace_s: float) -> None:
        """Let the process end by itself, kill it if it does not; `ended` follows."""
        self._send(protocol.CLOSE)
        deadline = asyncio.get_running_loop().call_later(grace_s, self.kill)
        self.ended.add_done_callback(lambda _: deadline.cancel())

    async def stop(self, grace_s: float) -> None:
        """`ask_to_stop`, and return when the process is gone."""
        if not self.ended.done():
            self.ask_to_stop(grace_s)
            await asyncio.wait({self.ended})

    def why(self) -> str:
        """How the process ended, in a few words for clients: `signal 9`, `exit status 3`, `it hung…`."""
        if self.killed_because is not None:
            return self.killed_because
        code = self.ended.result() if self.ended.done() else None
        if code is None:
            return "no exit status"
        if code >= 0:
            return f"exit status {code}"
        names = {member.value: member.name for member in signal.Signals}
        return f"signal {-code}, {names[-code]}" if -code in names else f"signal {-code}"

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ours from here on."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is not a subclass

    def data_received(self, data: bytes) -> None:
        """Frames: events go to their mailboxes, the rest is rare."""
        try:
            for frame in self._reader.feed(data):
                if frame[0] == protocol.EVENTS:
                    self._deliver(frame[1])
                else:
                    self._on_control(frame)
        except (protocol.ProtocolError, LookupError, TypeError, ValueError) as error:
            self._log.error("worker sent nonsense", error=str(error))
            self.kill("it sent nonsense")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The process is gone or going."""
        if not self._lost.done():
            self._lost.set_result(None)

    def _deliver(self, events: list[Any]) -> None:
        boxes = self._boxes
        for event in events:
            number = event[0]
            box = boxes.get(number)
            if box is None:
                continue  # cancelled while the event was under way
            box.put(event)
            if event[1] <= wire.FINISHED:
                del boxes[number]
                self.n_finished += event[1] == wire.FINISHED
        self._watchdog.on_events()

    def _on_control(self, frame: list[Any]) -> None:
        kind = frame[0]
        if kind == protocol.PONG:
            self.stats = frame[4]
            self._watchdog.on_pong(self._clock(), frame[2], frame[3], len(self._boxes))
        elif kind == protocol.PROGRESS:
            self._on_progress(frame[1], str(frame[2]))
        elif kind == protocol.READY:
            if frame[1] != protocol.VERSION:
                raise protocol.ProtocolError(f"it speaks version {frame[1]} of the protocol")
            self.loaded.set_result(wire.info_from_wire(frame[2]))
        elif kind == protocol.REFUSED:
            self.loaded.set_exception(from_wire(frame[1]))
        else:
            raise protocol.ProtocolError(f"a frame of unknown kind {kind}")

    def _on_progress(self, fraction: float | None, phase: str) -> None:
        before, self.progress = self.progress, (fraction, phase)
        if before != self.progress:
            self.progress_at = asyncio.get_running_loop().time()
        now = self._clock()
        if phase != before[1] or now >= self._next_progress_line:
            self._next_progress_line = now + PROGRESS_INTERVAL_S
            percent = None if fraction is None else round(fraction * 100)
            self._log.info("loading", phase=phase, percent=percent)

    def _send(self, *frame: Any) -> None:
        self._write(protocol.encode(*frame))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def _bury(self) -> None:
        """Wait for the end of the process, its socket and its output; nothing of it is left afterwards."""
        exited = self._spawned.exited
        pipe = open(self._spawned.output_fd, "rb", buffering=0)  # noqa: SIM115 (the transport closes it)
        output, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: self._output, pipe)
        ends: set[asyncio.Future[Any]] = {self._lost, exited}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not exited.done():
            await asyncio.wait({exited}, timeout=LAST_WORDS_S)
            self._spawned.kill()
            await asyncio.wait({exited}, timeout=EXIT_WAIT_S)
        await asyncio.wait({self._lost, self._output.ended}, timeout=LAST_WORDS_S)
        if self._transport is not None:
            self._transport.abort()
        output.close()
        self.loaded.cancel()
        self.ended.set_result(exited.result() if exited.done() else None)


def _retrieve(loaded: "asyncio.Future[EngineInfo]") -> None:
    """Mark the reason as seen: a pool that closes during a load has no use for it."""
    if not loaded.cancelled():
        loaded.exception()
