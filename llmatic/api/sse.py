"""Turns the events of a call into server-sent events.

Owns the way a stream is sent: status 200 only after the engine has accepted the call; all chunks that are
ready go out in one write; a comment keeps the line alive while nothing comes; a late failure is one error
event and no `[DONE]`. Never builds chunks itself. Event loop's thread, the request's own task.

This is plain ASGI. Packages for server-sent events cost two to three times as much per token and cut
running streams at shutdown.
"""

import asyncio
from dataclasses import replace
from typing import Protocol

from starlette.types import Receive, Send

from llmatic.api.errors import ClientGone, Headers, error_body, server_fault
from llmatic.core.errors import LlmaticError
from llmatic.core.metrics import ModelMetrics
from llmatic.core.types import Delta, Usage
from llmatic.services.generation import Call, Generation, Tagged, total

KEEP_ALIVE = b": keep-alive\n\n"

_UNCOUNTED = Usage(0, 0)
_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class Chunks(Protocol):
    """Renders the events of one reply; every method returns whole frames, or nothing.

    `usage_on_all`: `delta` wants the true usage so far; else it may be given any. `keep_alive` says nothing
    and keeps the line open.
    """

    usage_on_all: bool
    keep_alive: bytes

    def opening(self, n_choices: int, usage: Usage) -> bytes:
        """What comes before any text."""
        ...

    def delta(self, index: int, delta: Delta, usage: Usage) -> bytes:
        """More of choice `index`; `usage` is the count so far."""
        ...

    def closing(self, usage: Usage) -> bytes:
        """What comes at the end, `[DONE]` included."""
        ...

    def failure(self, error: LlmaticError) -> bytes:
        """What comes instead of the rest when it fails."""
        ...


class DataChunks:
    """What all of OpenAI's streams have in common, apart from those of responses."""

    keep_alive: bytes = KEEP_ALIVE

    def failure(self, error: LlmaticError) -> bytes:
        """One event of data, and no `[DONE]`."""
        return b"data: %b\n\n" % error_body(error)


class KeepAlive:
    """Nudges a generation that has been silent for `interval_s`; costs nothing per token.

    One timer runs for the whole stream. `touch` says that something was sent.
    """

    def __init__(self, generation: Generation, interval_s: float) -> None:
        self._generation = generation
        self._interval_s = interval_s
        self._is_silent = True
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(interval_s, self._fire)

    def touch(self) -> None:
        """Something was sent: wait for another interval."""
        self._is_silent = False

    def stop(self) -> None:
        """No more nudges."""
        self._timer.cancel()

    def _fire(self) -> None:
        if self._is_silent:
            self._generation.nudge()
        self._is_silent = True
        self._timer = self._loop.call_later(self._interval_s, self._fire)


class EventStream:
    """Sends one generation as server-sent events."""

    def __init__(self, generation: Generation, chunks: Chunks, *, n_prompts: int, n_choices: int) -> None:
        self._generation = generation
        self._chunks = chunks
        self._n_prompts = n_prompts
        self._n_choices = n_choices
        self._n_sent_tokens = 0
        self._ended = _UNCOUNTED  # of the prompts whose end was rendered

    @property
    def usage(self) -> Usage:
        """Token counts of what was rendered so far; more may have come meanwhile.

        What was cached or predicted is told at the end of a prompt and not counted before.
        """
        n_prompt = self._generation.n_prompt_tokens
        return replace(self._ended, n_prompt_tokens=n_prompt, n_completion_tokens=self._n_sent_tokens)

    async def send(
        self, send: Send, *, headers: Headers, keep_alive_s: float, metrics: ModelMetrics, started_s: float
    ) -> None:
        """Send all of it.

        A failure becomes an event of the stream; one that nobody foresaw is raised as well, to be logged.
        Raises ClientGone if the client hangs up.
        """
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS + headers})
        keep_alive = KeepAlive(self._generation, keep_alive_s)
        try:
            opening = self._chunks.opening(self._n_prompts * self._n_choices, self.usage)
            if opening:
                await send({"type": "http.response.body", "body": opening, "more_body": True})
            await self._send_batches(send, keep_alive, metrics, started_s)
        except LlmaticError as error:
            await self._send_failure(send, error)
        except ClientGone:
            raise
        except Exception:
            await self._send_failure(send, server_fault())
            raise
        finally:
            keep_alive.stop()

    async def _send_batches(
        self, send: Send, keep_alive: KeepAlive, metrics: ModelMetrics, started_s: float
    ) -> None:
        is_first = True
        batch = self._generation.batch
        while (events := await batch()) is not None:
            if not events:
                await send({"type": "http.response.body", "body": self._chunks.keep_alive, "more_body": True})
                continue
            frames = self._render(events)
            if frames:
                keep_alive.touch()
                await send({"type": "http.response.body", "body": frames, "more_body": True})
                if is_first:
                    is_first = False
                    metrics.observe_first_token(asyncio.get_running_loop().time() - started_s)
        closing = self._chunks.closing(self._ended)
        await send({"type": "http.response.body", "body": closing})

    def _render(self, events: list[Tagged]) -> bytes:
        frames = []
        for prompt, event in events:
            if isinstance(event, Delta):
                self._n_sent_tokens += event.n_tokens
                index = prompt * self._n_choices + event.index
                usage = self.usage if self._chunks.usage_on_all else _UNCOUNTED
                frames.append(self._chunks.delta(index, event, usage))
            else:
                self._ended = total((self._ended, event.usage))
        return b"".join(frames)

    async def _send_failure(self, send: Send, error: LlmaticError) -> None:
        await send({"type": "http.response.body", "body": self._chunks.failure(error)})


async def watch(receive: Receive, call: Call) -> None:
    """Give the call up as soon as the client hangs up. Run it as a task beside the reply."""
    while (await receive())["type"] != "http.disconnect":
        pass
    call.give_up(ClientGone())
