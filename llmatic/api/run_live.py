"""A run that is executed while anybody listens.

Owns its life: it is begun by whoever listens first, told to all who listen, from its beginning on; it ends
when the model has finished, or when nobody listens any more. It is kept before its end is told. Event loop's
thread, a task of its own.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
import structlog

from llmatic.api.broadcast import Broadcast
from llmatic.api.context import ApiContext
from llmatic.api.errors import ClientGone
from llmatic.api.generate import Call
from llmatic.api.run_execution import opener, problem_of
from llmatic.api.run_render import run_object
from llmatic.api.taping import render_of
from llmatic.config import ModelSpec
from llmatic.core.errors import LlmaticError, RateLimited, Unavailable
from llmatic.core.types import Delta, GenerationRequest
from llmatic.services.choices import Folding
from llmatic.services.composing import OF_RUN, Outcome, Taken, composed
from llmatic.services.generation import Generation
from llmatic.services.tapes import error_summary
from llmatic.services.terms import Caller
from llmatic.store.runs import RunBody, RunRecord

BEAT_S: Final = 20.0
# After so long without a beat nobody executes a run any more that says it is being executed.
ABANDONED_US: Final = 60 * 1_000_000

_log = structlog.get_logger("llmatic.api")


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that is to be executed now, and all that is needed for it."""

    record: RunRecord
    texts: RunBody
    call: Call
    requests: tuple[GenerationRequest, ...]
    spec: ModelSpec
    caller: Caller


class LiveRun:
    """Executes one run. Await `work` in a task."""

    def __init__(self, context: ApiContext, begun: Begun) -> None:
        self._context = context
        self._begun = begun
        self._body: dict[str, Any] = orjson.loads(begun.texts.request)
        self._folding = Folding(1, 1, 1)
        self.told = Broadcast()
        self._n_listeners = 0
        self._n_chunks = 0
        self._started_s = time.perf_counter()
        self._task: asyncio.Task[Any] | None = None
        self._error: BaseException | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within it somebody listens; the run ends with the last who does."""
        self._n_listeners += 1
        try:
            yield
        finally:
            self._n_listeners -= 1
            if not self._n_listeners:
                self.give_up(ClientGone())

    def give_up(self, error: BaseException) -> None:
        """End it now, because of `error`."""
        if self._error is None and not self.told.has_ended:
            self._error = error
            if self._task is not None:
                self._task.cancel()

    async def work(self) -> None:
        """Execute it. Raises nothing."""
        context = self._context
        self._task = asyncio.current_task()
        beating = asyncio.get_running_loop().create_task(self._beat())
        error: BaseException
        try:
            if self._error is not None:
                raise asyncio.CancelledError
            with context.calls.admit(self), self._begun.caller.meter.admitted(self._body):
                outcome, problem = await self._make()
            self._task = None  # from here on it is told as it is
            await self._end(outcome, problem)
            return
        except asyncio.CancelledError:
            error = self._error or Unavailable("The run was given up.")
        except LlmaticError as known:
            error = known
        except Exception as fault:
            _log.exception("run_failed", run=self._begun.record.id)
            error = fault
        finally:
            self._task = None
            beating.cancel()
        try:
            await self._fail(error)
        finally:
            self.told.end()

    async def _make(self) -> tuple[Outcome, dict[str, Any] | None]:
        begun, context = self._begun, self._context
        generation = Generation(opener(context, begun.spec), begun.requests)
        try:
            async with generation:
                self.told.start()
                while (events := await generation.batch()) is not None:
                    self._folding.add(events)
                    text = "".join(event.text for _, event in events if isinstance(event, Delta))
                    if text:
                        self._n_chunks += 1
                        self.told.tell([message_frame(text)])
        finally:
            begun.caller.meter.count_generation(begun.spec.id, generation)
        own, choice = self._body.get(OF_RUN) or {}, self._folding.choices()[0]
        problem = await problem_of(context, begun.record.owner, own, choice)
        return render_of(context, begun.call, begun.spec)(self._folding), problem

    async def _fail(self, error: BaseException) -> None:
        self.told.failure = error
        may_be_tried_again = isinstance(error, RateLimited | Unavailable) and self._error is None
        if not self.told.has_started and may_be_tried_again:
            await self._change(lambda found: replace(found, status="created"))
            return
        await self._end(None, error_summary(error, was_given_up=isinstance(error, ClientGone)))

    async def _end(self, outcome: Outcome | None, problem: dict[str, Any] | None) -> None:
        """Keep the run as it has ended, if the database takes it; then tell it."""
        begun, context = self._begun, self._context
        elapsed_ms = round((time.perf_counter() - self._started_s) * 1000, 3)
        summary = {**begun.record.summary, "execution_ms": elapsed_ms, "n_chunks": self._n_chunks}
        record = replace(
            begun.record,
            status="completed" if problem is None else "failed",
            updated_at=context.recorder.now(),
            summary=summary if problem is None else {**summary, "error": problem},
        )
        taken = Taken(
            record, self._body, outcome=None if outcome is None else lambda: outcome, is_promised=True
        )
        made = await asyncio.to_thread(composed, taken, context.recorder.redaction, 0)
        assert made is not None, "it is promised"
        await self._change(lambda found: _ended(found, made[0]), made[1])
        self.told.tell([close_frame(*made)])
        self.told.end()

    async def _change(self, change: Any, texts: RunBody | None = None) -> RunRecord | None:
        record = self._begun.record
        reply, request = (None, None) if texts is None else (texts.reply, texts.request)
        try:
            return await self._context.stored.runs.change(
                record.owner, record.id, change, reply=reply, request=request
            )
        except LlmaticError as error:
            _log.warning("run_not_kept", run=record.id, error=error.message)
            return record

    async def _beat(self) -> None:
        """Say that it is still executed here; end it if it was deleted."""
        while True:
            await asyncio.sleep(BEAT_S)
            now = self._context.recorder.now()
            if await self._change(lambda found, now=now: replace(found, updated_at=now)) is None:
                self.give_up(ClientGone())


def taken_over(found: RunRecord, now: int) -> RunRecord | None:
    """The run, from now on being executed; None if somebody else does so, or has."""
    is_abandoned = found.status == "processing" and now - found.updated_at > ABANDONED_US
    if found.status != "created" and not is_abandoned:
        return None
    return replace(found, status="processing", updated_at=now)


def message_frame(text: str) -> bytes:
    """A piece of the text."""
    return b"data: %b\n\n" % orjson.dumps(text)


def close_frame(record: RunRecord, texts: RunBody) -> bytes:
    """The end, with the run."""
    return b"event: close\ndata: %b\n\n" % orjson.dumps(run_object(record, texts))


def _ended(found: RunRecord, made: RunRecord) -> RunRecord:
    """What was made of it; its tags, metadata and scores may have been changed meanwhile."""
    names = ("tags", "evaluation", "metadata", "updated_by")
    kept = {name: found.summary[name] for name in names if name in found.summary}
    return replace(made, summary={**made.summary, **kept})
