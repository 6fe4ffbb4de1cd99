"""A response while it is made: from the engine's events to the frames of a stream and to what is kept.

Owns the life of one response: it is kept before its end is told; it ends once, also when it fails, is given
up or cannot be kept. Those who read its frames come and go; what is told is the same for all. Event loop's
thread, a task of its own.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress
from typing import Any, Final

import structlog

from llmatic.api.broadcast import Broadcast
from llmatic.api.errors import ClientGone, server_fault
from llmatic.api.response_job import ResponseJob
from llmatic.api.response_object import Frames, ended, failed, terminal
from llmatic.api.response_output import ResponseOutput
from llmatic.api.response_request import reworded
from llmatic.api.taping import response_outcome, response_tape
from llmatic.core.errors import ContextLengthExceeded, InvalidRequest, LlmaticError, NotFound, Unavailable
from llmatic.core.types import Delta, GenerationRequest, Usage
from llmatic.services.background import in_the_end
from llmatic.services.generation import Generation
from llmatic.services.response_fitting import shortened

STOPPED: Final = "The response was given up."

_log = structlog.get_logger("llmatic.api")


class ResponseRun:
    """Makes one response. `started_s`: of the event loop's clock, when the request came.

    `keeps_frames`: they can be read more than once, from the first on. Await `work` in a task.
    """

    def __init__(self, job: ResponseJob, *, started_s: float, keeps_frames: bool) -> None:
        self.job = job
        self._started_s = started_s
        self._is_told = job.is_background or bool(job.body.get("stream"))
        self._output = ResponseOutput(
            n_top=job.wanted.n_top, summarises=job.wanted.summarises, seals=job.wanted.seals
        )
        self._writer = Frames(obfuscate=job.wanted.obfuscates)
        self.told = Broadcast(keeps=keeps_frames)
        self._task: asyncio.Task[Any] | None = None
        self._error: BaseException | None = None
        self._generation: Generation | None = None
        self._tape = response_tape(job)
        self.body = job.head

    @property
    def size_bytes(self) -> int:
        """Of the frames that are remembered."""
        return self.told.size_bytes

    def cancel(self) -> None:
        """Stop making it."""
        self.give_up(Unavailable(STOPPED, retry_after_s=5.0))

    def give_up(self, error: BaseException) -> None:
        """Stop making it, because of `error`, which is what is told of it."""
        if self._error is None and not self.told.has_ended:
            self._error = error
            if self._task is not None:
                self._task.cancel()

    async def work(self) -> None:
        """Make it. Raises nothing: see `told.failure`."""
        self._task = asyncio.current_task()
        error: BaseException
        try:
            if self._error is not None:
                raise asyncio.CancelledError
            with self.job.context.calls.admit(self):
                await self._make()
            return
        except asyncio.CancelledError:
            if self._error is None:  # whoever runs the task wants it gone
                self._error = Unavailable(STOPPED)
            error = self._error
        except InvalidRequest as refusal:
            error = reworded(refusal, self.job.body)
        except LlmaticError as known:
            error = known
        except Exception as fault:
            _log.exception("response_failed", response=self.job.id)
            error = fault
        finally:
            self._task = None
            self._count()
        try:
            await self._fail(error)
        finally:
            self.told.end()

    async def result(self) -> dict[str, Any]:
        """The finished object. Raises what went wrong."""
        await self.told.ended()
        return self.body

    async def _make(self) -> None:
        job = self.job
        try:
            usage = await self._generate(job.request)
        except ContextLengthExceeded as refusal:
            if not job.truncates or self.told.has_started:
                raise
            shorter = await shortened(self._open, job.items, job.request_with, refusal, job.room)
            usage = await self._generate(shorter)
        reason = self._output.finish_reason
        self._write(self._output.close(is_whole=reason != "length"))
        body = ended(job.head, self._output.items, reason, usage, int(time.time()))
        await self._end(body)

    async def _generate(self, request: GenerationRequest) -> Usage:
        """All of the output. Raises what the engine raises."""
        generation = self._generation = Generation(self._open, (request,))
        usage = Usage(0, 0)
        async with generation:
            await self._begin()
            is_first = True
            while (events := await generation.batch()) is not None:
                if self._tape is not None:
                    self._tape.n_chunks += len(events)
                for _, event in events:
                    if isinstance(event, Delta):
                        self._write(self._output.add(event))
                    else:
                        usage = event.usage
                if is_first and self._is_told:
                    is_first = False
                    elapsed_s = asyncio.get_running_loop().time() - self._started_s
                    self._metrics.observe_first_token(elapsed_s)
        return usage

    async def _begin(self) -> None:
        """The engine has accepted it."""
        self.told.start()
        if self.job.is_background:
            with suppress(Unavailable):  # it is made all the same, and called queued meanwhile
                await self.job.context.stored.responses.started(self.job.id)
        else:
            self._write([{"type": "response.created", "response": self.job.head}])
        self._write([{"type": "response.in_progress", "response": self.job.head}])

    def begin_queued(self) -> None:
        """It is made in the background and waits for its turn."""
        queued = self.job.head | {"status": "queued"}
        self._write([{"type": kind, "response": queued} for kind in ("response.created", "response.queued")])

    async def _end(self, body: dict[str, Any]) -> None:
        """Keep it, then tell. Raises what keeping raises."""
        job, responses = self.job, self.job.context.stored.responses
        n_events = self._writer.n_written + 1
        if job.is_background:
            if not await in_the_end(lambda: responses.end(job.kept(body), n_events)):
                body = await self._as_kept()
        elif job.head["store"] or job.head["conversation"] is not None:
            await responses.keep(job.kept(body), n_events)
        self._tell(body)

    async def _fail(self, error: BaseException) -> None:
        self.told.failure = error
        if self._tape is not None:
            self._tape.was_given_up = isinstance(error, ClientGone)
            self._tape.fail(error)
        if isinstance(error, ClientGone) or not (self.told.has_started or self.job.is_background):
            return
        known = error if isinstance(error, LlmaticError) else server_fault()
        self._write(self._output.close(is_whole=False))
        body = failed(self.job.head, self._output.items, known)
        responses, kept = self.job.context.stored.responses, self.job.kept(body)
        try:
            if self.job.is_background and not await responses.end(kept, self._writer.n_written + 1):
                body = await self._as_kept()
            elif not self.job.is_background and kept.stores and self._is_told:
                await responses.keep(kept, self._writer.n_written + 1)
        except LlmaticError as unkept:
            _log.warning("failed_response_not_kept", response=self.job.id, error=unkept.message)
        self._tell(body)

    async def _as_kept(self) -> dict[str, Any]:
        """It has ended already: it was cancelled, perhaps deleted, or given up while its end was kept."""
        try:
            owner = self.job.caller.principal.owner
            return (await self.job.context.stored.responses.get(owner, self.job.id))[0]
        except NotFound:
            return self.job.head | {"status": "cancelled"}

    def _tell(self, body: dict[str, Any]) -> None:
        self.body = body
        if self._tape is not None:
            if body["status"] in ("completed", "incomplete"):
                reason = self._output.finish_reason
                self._tape.keep_nowait(lambda: response_outcome(body, reason))
            else:
                self._tape.fail(asyncio.CancelledError())
        self._write([terminal(body)])
        self.told.end()

    def _write(self, events: Iterable[dict[str, Any]]) -> None:
        if not self._is_told:
            deque(events, maxlen=0)  # the output grows as they are made
            return
        self.told.tell(self._writer.write(events))

    def _open(self, request: GenerationRequest) -> AsyncGenerator[Any, None]:
        return self.job.context.pool.generate(self.job.spec.id, request)

    @property
    def _metrics(self) -> Any:
        return self.job.context.metrics.model(self.job.spec.id)

    def _count(self) -> None:
        if (generation := self._generation) is not None:
            self.job.caller.meter.count_generation(self.job.spec.id, generation)
