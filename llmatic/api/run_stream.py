"""GET /runs/{run_id}/stream: listen to a run.

Owns which runs are executed here, and what is sent to those who listen: a run that waits is begun by them,
one that is being executed is told from its beginning on, one that has ended in one piece. Event loop's
thread.
"""

import asyncio
from contextlib import aclosing
from typing import Final

import orjson
from starlette.types import Receive, Scope, Send

from llmatic.api.abilities import require_writer
from llmatic.api.context import ApiContext
from llmatic.api.endpoint import ReplyTask, caller_of, principal_of
from llmatic.api.errors import Headers
from llmatic.api.replies import Answer
from llmatic.api.run_execution import call_of
from llmatic.api.run_live import Begun, LiveRun, close_frame, message_frame, taken_over
from llmatic.api.run_texts import texts_of
from llmatic.api.sse import KEEP_ALIVE, watch
from llmatic.services.composing import OF_RUN
from llmatic.services.terms import Caller
from llmatic.store.runs import RunBody, RunRecord

POLL_S: Final = 1.0
ENDED: Final = ("completed", "failed")

_HEADERS: Final[Headers] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class RunStream:
    """ASGI endpoint of GET /runs/{run_id}/stream."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._live: dict[str, LiveRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises LlmaticError for all that goes wrong before the first byte."""
        context = self._context.seen_by(principal_of(scope))
        context.contract.check_query("streamRun", scope.get("query_string", b""))
        if scope["method"] == "HEAD":  # which executes nothing
            owner, run_id = principal_of(scope).owner, scope["path_params"]["run_id"]
            await context.stored.runs.get(owner, run_id)
            await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
            await send({"type": "http.response.body", "body": b""})
            return
        listener = _Listener(self, context, caller_of(context, scope), send)
        reader = ReplyTask(listener.listen(scope["path_params"]["run_id"]))
        watcher = asyncio.get_running_loop().create_task(watch(receive, reader))
        try:
            await reader.result()
        finally:
            watcher.cancel()

    def find(self, run_id: str) -> LiveRun | None:
        """A run that is executed here."""
        return self._live.get(run_id)

    def begin(self, context: ApiContext, begun: Begun) -> LiveRun:
        """Execute a run here."""
        run_id = begun.record.id
        live = self._live[run_id] = LiveRun(context, begun)
        task = asyncio.get_running_loop().create_task(live.work())
        self._tasks.add(task)

        def end(done: asyncio.Task[None]) -> None:
            self._tasks.discard(done)
            del self._live[run_id]

        task.add_done_callback(end)
        return live


class _Listener:
    """Somebody who listens to a run."""

    def __init__(self, stream: RunStream, context: ApiContext, caller: Caller, send: Send) -> None:
        self._stream = stream
        self._context = context
        self._caller = caller
        self._send = send
        self._is_open = False

    async def listen(self, run_id: str) -> Answer:
        """Send all of it. Raises LlmaticError before the first byte."""
        while True:
            record, texts = await self._context.stored.runs.get_with_body(
                self._caller.principal.owner, run_id
            )
            if record.status in ENDED:
                await self._replay(record, texts)
                return Answer(b"")
            live = self._stream.find(run_id) or await self._begun(record, texts)
            if live is not None:
                await self._follow(live)
                return Answer(b"")
            if self._stream.find(run_id) is None:
                # Another server executes it, or it has just ended.
                await self._write(KEEP_ALIVE)
                await asyncio.sleep(POLL_S)

    async def _begun(self, record: RunRecord, texts: RunBody) -> LiveRun | None:
        """The run, begun here; None if somebody else was quicker."""
        context, caller, runs = self._context, self._caller, self._context.stored.runs
        if taken_over(record, runs.now()) is None:
            return None
        body = {name: value for name, value in orjson.loads(texts.request).items() if name != OF_RUN}
        spec = context.registry.resolve(record.model)
        await require_writer(context, spec)
        call, requests = await call_of(context, body, spec, record.id, caller)
        begun = await runs.change(record.owner, record.id, lambda found: taken_over(found, runs.now()))
        if begun is None:
            return None
        return self._stream.begin(context, Begun(begun, texts, call, requests, spec, caller))

    async def _follow(self, live: LiveRun) -> None:
        with live.listening():
            if not self._is_open:
                await live.told.started()
            async with aclosing(live.told.read(self._context.settings.sse_keep_alive_s)) as frames:
                async for some in frames:
                    await self._write(some or KEEP_ALIVE)
        await self._end()

    async def _replay(self, record: RunRecord, texts: RunBody) -> None:
        """A run that has ended: its text in one piece."""
        found = [] if texts.reply is None else texts_of(record.kind, orjson.loads(texts.reply))
        if found and found[0]:
            await self._write(message_frame(found[0]))
        await self._write(close_frame(record, texts))
        await self._end()

    async def _write(self, frames: bytes) -> None:
        if not self._is_open:
            self._is_open = True
            await self._send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        await self._send({"type": "http.response.body", "body": frames, "more_body": True})

    async def _end(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})
