"""Requests one after another on a connection that stays open, as an SDK's client sends them. One thread.

The client must stay cheap beside the server: requests are bytes made beforehand, bodies are joined and not
parsed. For streams there is `sse`.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from scripts.bench import servers
from scripts.bench.problem import Problem

TIMEOUT_S = 300.0
T = TypeVar("T")


class Connection(asyncio.Protocol):
    """An open connection; `ask` may not be called again before it has returned."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._parts: list[bytes] = []
        self._status, self._missing = 0, -1

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """A connection to a server on this machine."""
        loop = asyncio.get_running_loop()
        transport, connection = await loop.create_connection(cls, servers.HOST, port)
        connection._transport = transport
        return connection

    _transport: asyncio.Transport

    async def ask(self, request: bytes) -> bytes:
        """The body of the reply; raises Problem if its status is not 200 or nothing comes."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        status, body = await asyncio.wait_for(self._answer, TIMEOUT_S)
        if status != 200:
            raise Problem(f"the server answered {status}: {body[:300].decode(errors='replace')}")
        return body

    def close(self) -> None:
        """Hang up."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """asyncio's call: collect until the body is whole."""
        if self._missing < 0:
            head, mark, data = b"".join([*self._parts, data]).partition(b"\r\n\r\n")
            if not mark:
                self._parts = [head]
                return
            self._parts = []
            self._status, self._missing = read_head(head)
        self._parts.append(data)
        self._missing -= len(data)
        if self._missing <= 0:
            body, self._parts, self._missing = b"".join(self._parts), [], -1
            if self._answer is not None and not self._answer.done():
                self._answer.set_result((self._status, body))

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's call: whoever waits gets a Problem."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Problem(f"the server closed the connection: {exc}"))


def read_head(head: bytes) -> tuple[int, int]:
    """(status, length of the body) of a reply's head; raises Problem if it tells no length."""
    first, *lines = head.lower().split(b"\r\n")
    lengths = [line.partition(b":")[2] for line in lines if line.startswith(b"content-length:")]
    if not lengths:
        raise Problem("the server's reply has no Content-Length")
    return int(first.split(b" ", 2)[1]), int(lengths[0])


def http_request(path: str, body: bytes) -> bytes:
    """The bytes of a POST after which the connection stays open."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {servers.HOST}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer x\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run it on the quickest event loop there is, so that the client takes little from the server."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
