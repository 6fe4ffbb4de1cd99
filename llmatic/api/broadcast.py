"""What one task makes and others read meanwhile: the frames of a stream, and how it began and ended.

Readers come and go, at any time; whoever makes the frames never waits for them. Event loop's thread.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence


class Broadcast:
    """The frames of one stream, told to all who read. `keeps`: they can be read again, from the first on."""

    def __init__(self, *, keeps: bool = True) -> None:
        self._keeps = keeps
        self._frames: list[bytes] = []
        self._n_dropped = 0
        self._wake = asyncio.Event()
        self.size_bytes = 0
        self.has_started = False
        self.has_ended = False
        self.failure: BaseException | None = None

    def start(self) -> None:
        """The work has been accepted."""
        self.has_started = True
        self._wake.set()

    def tell(self, frames: Sequence[bytes]) -> None:
        """More of the stream."""
        if frames:
            self._frames += frames
            if self._keeps:
                self.size_bytes += sum(map(len, frames))
            self._wake.set()

    def end(self) -> None:
        """Nothing comes any more. Idempotent."""
        self.has_ended = True
        self._wake.set()

    async def started(self) -> None:
        """Returns once the work has been accepted. Raises what went wrong instead."""
        while not (self.has_started or self.has_ended):
            await self._changed()
        if not self.has_started and self.failure is not None:
            raise self.failure

    async def ended(self) -> None:
        """Returns at the end. Raises what went wrong."""
        while not self.has_ended:
            await self._changed()
        if self.failure is not None:
            raise self.failure

    async def read(self, nudge_s: float, first: int = 0) -> AsyncGenerator[bytes, None]:
        """The frames from number `first` on, as many at a time as there are, to the end.

        An empty text means that nothing came for `nudge_s`.
        """
        at = first
        while True:
            at = max(at, self._n_dropped)
            ready = self._frames[at - self._n_dropped :]
            if ready:
                at += len(ready)
                if not self._keeps:
                    self._n_dropped += len(self._frames)
                    self._frames.clear()
                yield b"".join(ready)
            elif self.has_ended:
                return
            else:
                try:
                    async with asyncio.timeout(nudge_s):
                        await self._changed()
                except TimeoutError:
                    yield b""

    async def _changed(self) -> None:
        self._wake.clear()
        await self._wake.wait()
