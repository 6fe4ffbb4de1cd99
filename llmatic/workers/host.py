"""The worker process: one engine behind one inherited socket. `python -m llmatic.workers.host --fd N`.

Owns the engine, its life and the numbers of the running requests. The main thread loads the engine and then
waits for the end; a reader thread, made nice, takes frames; events leave from the engine's own thread. It
never outlives the server: the end of file on the socket ends the process at once, whatever the engine does.
"""

import argparse
import asyncio
import faulthandler
import gc
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from dataclasses import replace
from typing import Any

from llmatic.core.encoding import EncodeRequest
from llmatic.core.errors import EngineFailed, InvalidRequest, LlmaticError, cannot_encode, cannot_write
from llmatic.core.ports import Holdable, Request, StepEngine, StepEvents
from llmatic.core.priority import nice_this_thread
from llmatic.core.types import EngineInfo, Finished, GenerationRequest, SamplingParams, TextPrompt
from llmatic.engines import load_engine
from llmatic.workers import protocol, wire
from llmatic.workers.adapter import StepAdapter
from llmatic.workers.orphans import die_with_parent, no_core_dump
from llmatic.workers.writer import FrameWriter

FLUSH_TIMEOUT_S = 5.0
SWITCH_INTERVAL_S = 0.0005
WARM_UP_ID = "warm-up"
EXIT_REFUSED = 3
EXIT_PROTOCOL = 4


class Host:
    """One engine, one socket, one life."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._writer = FrameWriter(sock)
        self._specs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._warm: queue.SimpleQueue[LlmaticError | None] = queue.SimpleQueue()
        self._engine: StepEngine | None = None
        self._model_id = ""
        self._numbers: dict[str, int] = {}
        self._ids: dict[int, str] = {}

    def run(self) -> int:
        """Serve until the server says CLOSE; returns the exit code. At end of file the process just ends."""
        threading.Thread(target=self._read, name="llmatic-reader", daemon=True).start()
        try:
            self._engine = self._load()
        except LlmaticError as error:
            return self._refuse(error)
        except Exception as error:  # whatever it is, it is why the model is not there
            traceback.print_exc()
            return self._refuse(EngineFailed(f"{type(error).__name__}: {error}"))
        gc.collect()
        gc.freeze()
        self._writer.send(protocol.encode(protocol.READY, protocol.VERSION, wire.to_plain(self._engine.info)))
        self._closing.wait()
        asyncio.run(self._engine.close())  # however long that takes: the server ends it if it takes too long
        self._writer.flush(FLUSH_TIMEOUT_S)
        return 0

    def _load(self) -> StepEngine:
        self._progress(None, "starting")
        spec = wire.spec_from_wire(self._specs.get())
        self._model_id = spec.id
        loaded = load_engine(spec, self._progress)
        engine = loaded if isinstance(loaded, StepEngine) else StepAdapter(loaded)
        self._progress(1.0, "warming up")
        engine.start(self._on_step)
        engine.submit(_warm_up(engine.info))
        failure = self._warm.get()
        if failure is not None and not isinstance(failure, InvalidRequest):
            raise failure
        return engine

    def _refuse(self, error: LlmaticError) -> int:
        self._writer.send(protocol.encode(protocol.REFUSED, error.to_wire()))
        self._writer.flush(FLUSH_TIMEOUT_S)
        return EXIT_REFUSED

    def _progress(self, fraction: float | None, phase: str) -> None:
        self._writer.send(protocol.encode(protocol.PROGRESS, fraction, phase))

    # the engine's thread

    def _on_step(self, events: StepEvents) -> None:
        numbers = self._numbers
        batch = []
        for request_id, event in events:
            number = numbers.get(request_id)
            if number is None:
                self._on_stray(request_id, event)
                continue
            batch.append(wire.event_to_wire(number, event))
            if isinstance(event, Finished | LlmaticError):
                self._forget(number)
        if batch:
            self._send_events(batch)

    def _on_stray(self, request_id: str, event: object) -> None:
        """An event of the warm-up, or of a request that was cancelled a moment ago."""
        if request_id == WARM_UP_ID and isinstance(event, Finished | LlmaticError):
            self._warm.put(event if isinstance(event, LlmaticError) else None)

    def _send_events(self, batch: list[wire.WireEvent]) -> None:
        try:
            self._writer.send(protocol.encode(protocol.EVENTS, batch))
        except (protocol.FrameTooLarge, protocol.Unsendable) as error:
            if len(batch) == 1:
                self._give_up(batch[0][0], str(error))
                return
            for event in batch:
                self._send_events([event])
        except BufferError as error:
            print(f"worker: {error}", file=sys.stderr, flush=True)
            os._exit(EXIT_PROTOCOL)

    def _give_up(self, number: int, reason: str) -> None:
        failure = EngineFailed(f"A part of the answer cannot be sent: {reason}.")
        self._writer.send(protocol.encode(protocol.EVENTS, [wire.event_to_wire(number, failure)]))
        self._cancel(number)

    def _cancel(self, number: int) -> None:
        request_id = self._forget(number)
        if request_id is not None and self._engine is not None:
            self._engine.cancel(request_id)

    def _forget(self, number: int) -> str | None:
        request_id = self._ids.pop(number, None)
        if request_id is not None:
            self._numbers.pop(request_id, None)
        return request_id

    # the reader's thread

    def _read(self) -> None:
        nice_this_thread()
        reader = protocol.FrameReader()
        try:
            while data := self._receive():
                for frame in reader.feed(data):
                    self._on_frame(frame)
        except Exception:  # the connection is of no use any more, and neither is this process
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(EXIT_PROTOCOL)
        os._exit(0)

    def _receive(self) -> bytes:
        try:
            return self._sock.recv(256 * 1024)
        except OSError:
            return b""

    def _on_frame(self, frame: list[Any]) -> None:
        kind = frame[0]
        if kind == protocol.SUBMIT:
            self._submit(frame[1], frame[2])
        elif kind == protocol.CANCEL:
            self._cancel(frame[1])
        elif kind == protocol.HOLD:
            self._hold(frame[1])
        elif kind == protocol.PING:
            self._pong(frame[1])
        elif kind == protocol.HELLO:
            if frame[1] != protocol.VERSION:
                raise protocol.ProtocolError(
                    f"the server speaks version {frame[1]}, this worker {protocol.VERSION}: restart it"
                )
            self._specs.put(frame[2])
        elif kind == protocol.CLOSE:
            self._closing.set()
        else:
            raise protocol.ProtocolError(f"a frame of unknown kind {kind}")

    def _hold(self, seconds: float) -> None:
        engine: object = self._engine
        if isinstance(engine, Holdable):
            engine.hold(seconds)

    def _submit(self, number: int, fields: dict[str, Any]) -> None:
        try:
            request = wire.request_from_wire(fields)
            assert self._engine is not None, "the server submits after READY"
            # Unique here: a late event of a cancelled request must not reach the next one of the same name.
            request = replace(request, id=f"{request.id}#{number}")
            self._check_kind(request, self._engine.info)
            self._numbers[request.id] = number
            self._ids[number] = request.id
            self._engine.submit(request)
        except LlmaticError as error:
            self._refuse_request(number, error)
        except Exception as error:  # one request must not end the worker; the log has the whole story
            traceback.print_exc()
            self._refuse_request(number, EngineFailed(f"The engine failed: {error!r}"))

    def _refuse_request(self, number: int, error: LlmaticError) -> None:
        self._forget(number)
        self._send_events([wire.event_to_wire(number, error)])

    def _check_kind(self, request: Request, info: EngineInfo) -> None:
        if not isinstance(request, EncodeRequest):
            if not info.writes:
                raise cannot_write(self._model_id)
        elif info.encoder is None or info.encoder.task != request.task:
            raise cannot_encode(self._model_id, request.task)

    def _pong(self, nonce: int) -> None:
        n_steps, began = self._engine.heartbeat() if self._engine is not None else (0, None)
        busy_s = None if began is None else max(0.0, time.monotonic() - began)
        stats = dict(self._engine.stats()) if self._engine is not None else {}
        self._writer.send(protocol.encode(protocol.PONG, nonce, n_steps, busy_s, stats))


def _warm_up(info: EngineInfo) -> Request:
    """A first small request, so that READY means that an answer was given."""
    if info.writes or info.encoder is None:
        greedy = SamplingParams(temperature=0.0)
        return GenerationRequest(WARM_UP_ID, TextPrompt("Hello"), greedy, max_tokens=1)
    query = "Hello" if info.encoder.task == "rank" else None
    return EncodeRequest(WARM_UP_ID, info.encoder.task, ("Hello",), query=query)


def main() -> None:
    """Set the process up and serve."""
    parser = argparse.ArgumentParser(description="A worker of llmatic; started by the server, not by hand.")
    parser.add_argument("--fd", type=int, required=True, help="inherited socket to the server")
    fd = parser.parse_args().fd
    os.set_inheritable(fd, False)
    die_with_parent()
    no_core_dump()
    faulthandler.enable()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    for ignored in (signal.SIGINT, signal.SIGTERM):  # the server decides, and drains first
        signal.signal(ignored, signal.SIG_IGN)
    code = Host(socket.socket(fileno=fd)).run()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
