"""One streamed reply over a raw socket: bytes in, time-stamped SSE events out. One thread.

The client must stay cheap beside the server: events are kept as bytes and parsed when all is over.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

DONE = b"[DONE]"


@dataclass
class Reply:
    """All that came back for one request. Times are `time.perf_counter()` seconds.

    `error` says what broke: another status than 200, an error event, an early end, a time-out.
    `events` are the payloads of the data lines with their times of arrival, `[DONE]` left out.
    """

    sent_s: float = 0.0
    end_s: float = 0.0
    status: int = 0
    done: int = 0
    cut: bool = False
    error: str | None = None
    body: bytes = b""
    events: list[tuple[float, bytes]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """True for a stream that ran to its one `[DONE]` without an error."""
        return self.status == 200 and self.done == 1 and self.error is None

    @cached_property
    def parsed(self) -> list[tuple[float, dict[str, Any]]]:
        """The events as JSON objects."""
        return [(at, json.loads(payload)) for at, payload in self.events]

    @property
    def usage(self) -> dict[str, Any]:
        """The last usage block; empty if none came."""
        return next((event["usage"] for _, event in reversed(self.parsed) if event.get("usage")), {})

    @property
    def text(self) -> str:
        """What was written, of all choices in order of arrival."""
        return "".join(text for _, text in self._texts())

    @property
    def first_s(self) -> float | None:
        """Seconds from sending to the first piece of text."""
        return next((at - self.sent_s for at, text in self._texts() if text), None)

    @property
    def gaps_s(self) -> list[float]:
        """Seconds between neighbouring pieces of text."""
        times = [at for at, text in self._texts() if text]
        return [b - a for a, b in itertools.pairwise(times)]

    def _texts(self) -> Iterator[tuple[float, str]]:
        for at, event in self.parsed:
            for choice in event.get("choices", ()):
                yield at, choice.get("text") or (choice.get("delta") or {}).get("content") or ""


class _Exchange(asyncio.Protocol):
    """Sends one request, reads until the server closes; `cut_after` events it hangs up itself."""

    def __init__(self, request: bytes, reply: Reply, cut_after: int | None) -> None:
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.started: asyncio.Event = asyncio.Event()
        self._request, self._reply, self._cut_after = request, reply, cut_after
        self._head, self._chunked, self._sse = True, False, False
        self._raw, self._line, self._left = b"", b"", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._reply.sent_s = time.perf_counter()
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if self._head:
            self._raw += data
            if b"\r\n\r\n" not in self._raw:
                return
            head, _, data = self._raw.partition(b"\r\n\r\n")
            self._read_head(head.lower())
            self._raw = b""
        body = self._unchunk(data) if self._chunked else data
        if self._sse:
            self._read_lines(body, now)
        else:
            self._reply.body += body

    def connection_lost(self, exc: Exception | None) -> None:
        reply = self._reply
        reply.end_s = time.perf_counter()
        if reply.error is None and not reply.cut:
            if reply.status != 200:
                reply.error = f"status {reply.status}: {reply.body[:200].decode(errors='replace')}"
            elif self._sse and not reply.done:
                reply.error = f"the stream ended without [DONE]{f': {exc}' if exc else ''}"
        if not self.finished.done():
            self.finished.set_result(None)

    def close(self) -> None:
        self._transport.abort()

    def _read_head(self, head: bytes) -> None:
        self._head = False
        words = head.split(b" ", 2)
        self._reply.status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        self._chunked = b"transfer-encoding: chunked" in head
        self._sse = b"text/event-stream" in head

    def _unchunk(self, data: bytes) -> bytes:
        self._raw += data
        parts = []
        while self._raw:
            if not self._left:
                size, mark, rest = self._raw.partition(b"\r\n")
                if not mark:
                    break
                if not size:
                    self._raw = rest
                    continue
                self._left, self._raw = int(size.split(b";")[0], 16), rest
                if not self._left:
                    break
            part, self._raw = self._raw[: self._left], self._raw[self._left :]
            self._left -= len(part)
            parts.append(part)
        return b"".join(parts)

    def _read_lines(self, data: bytes, now: float) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        reply = self._reply
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            payload = line[5:].strip()
            if payload == DONE:
                reply.done += 1
                continue
            reply.events.append((now, payload))
            self.started.set()
            if payload.startswith(b'{"error"'):
                reply.error = payload.decode(errors="replace")
            if self._cut_after is not None and len(reply.events) >= self._cut_after:
                reply.cut = True
                self._transport.abort()
                return


def http_request(path: str, body: bytes, host: str, key: str) -> bytes:
    """The bytes of a POST that asks for the connection to be closed after the reply."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


async def exchange(
    host: str,
    port: int,
    request: bytes,
    *,
    timeout_s: float,
    cut_after: int | None = None,
    on_start: asyncio.Event | None = None,
    until: asyncio.Event | None = None,
) -> Reply:
    """Send `request`, collect the reply. Never raises for what a server does: `Reply.error` tells.

    `cut_after` so many events, or when `until` is set, the client hangs up; the reply is then `cut`.
    """
    reply = Reply(sent_s=time.perf_counter())
    loop = asyncio.get_running_loop()
    try:
        _, protocol = await loop.create_connection(lambda: _Exchange(request, reply, cut_after), host, port)
    except OSError as error:
        reply.error, reply.end_s = f"could not connect: {error}", time.perf_counter()
        return reply
    if on_start is not None:
        protocol.started = on_start
    hang_up = asyncio.create_task(_hang_up(protocol, reply, until)) if until is not None else None
    try:
        await asyncio.wait_for(asyncio.shield(protocol.finished), timeout_s)
    except TimeoutError:
        reply.error = f"no end within {timeout_s:g} s"
        protocol.close()
        await protocol.finished
    finally:
        if hang_up is not None:
            hang_up.cancel()
    return reply


async def _hang_up(protocol: _Exchange, reply: Reply, until: asyncio.Event) -> None:
    await until.wait()
    reply.cut = True
    protocol.close()
