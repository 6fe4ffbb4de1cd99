"""What a worker prints, line by line.

Owns the tail of the last lines, which explains a crash, and passes each line on. Never interprets them.
Runs in the server's loop.
"""

import asyncio
from collections import deque
from collections.abc import Callable

TAIL_LINES = 80
MAX_LINE_BYTES = 8192


class OutputLines(asyncio.Protocol):
    """Reads the pipe that is the worker's stdout and stderr."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._partial = b""
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Cut into lines; an endless line is cut at MAX_LINE_BYTES."""
        *lines, self._partial = (self._partial + data).replace(b"\r", b"\n").split(b"\n")
        if len(self._partial) > MAX_LINE_BYTES:
            lines, self._partial = [*lines, self._partial], b""
        for line in lines:
            self._take(line)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The last line may lack its end."""
        self._take(self._partial)
        self._partial = b""
        self.ended.set_result(None)

    def _take(self, line: bytes) -> None:
        text = line[:MAX_LINE_BYTES].decode("utf-8", "replace").rstrip()
        if text:
            self.tail.append(text)
            self._on_line(text)
