"""/responses: made, streamed, found again, stopped, forgotten.

Owns how each operation is answered. What a response is and how it is made is elsewhere. Event loop's thread.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

import orjson
from starlette.types import Receive, Scope, Send

from llmatic.api.context import ApiContext
from llmatic.api.endpoint import Body, ReplyTask, caller_of, checked_body, principal_of
from llmatic.api.errors import ClientGone, Headers
from llmatic.api.pages import page_object
from llmatic.api.query import Query
from llmatic.api.replies import Answer, model_headers, send_bytes
from llmatic.api.response_job import ResponseJob, counting_request, job_of
from llmatic.api.response_object import Frames, terminal
from llmatic.api.response_output import replayed
from llmatic.api.response_request import reworded
from llmatic.api.response_run import ResponseRun
from llmatic.api.sse import KEEP_ALIVE, watch
from llmatic.core.errors import InvalidRequest
from llmatic.services.counting import count_prompt_tokens
from llmatic.services.terms import Caller

POLL_S: Final = 1.0

_STREAM: Final[Headers] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
_UNFINISHED: Final = ("queued", "in_progress")


class CreateResponse:
    """ASGI endpoint of POST /responses. `owns_user`: the caller's identity replaces the request's `user`."""

    def __init__(self, context: ApiContext, *, owns_user: bool = False) -> None:
        self._context = context
        self._owns_user = owns_user

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises LlmaticError for all that goes wrong before the first byte."""
        started_s = asyncio.get_running_loop().time()
        context = self._context.seen_by(principal_of(scope))
        body = await checked_body(context, "createResponse", scope, receive, owns_user=self._owns_user)
        caller = caller_of(context, scope)
        with caller.meter.admitted(body):
            if body.get("background"):
                await _serve_background(context, body, caller, receive, send, started_s)
            else:
                await _serve(context, body, caller, receive, send, started_s)


class RetrieveResponse:
    """ASGI endpoint of GET /responses/{response_id}, whole or as the stream of its events."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises LlmaticError for all that goes wrong before the first byte."""
        context = self._context
        query = context.contract.check_query("getResponse", scope.get("query_string", b""))
        owner, response_id = principal_of(scope).owner, scope["path_params"]["response_id"]
        body, n_events = await context.stored.responses.get(owner, response_id)
        if not query.get("stream"):
            await send_bytes(send, orjson.dumps(body))
            return
        first = query.get("starting_after", -1) + 1
        run = context.stored.background.find(response_id)
        frames = (
            run.told.read(context.settings.sse_keep_alive_s, first)
            if isinstance(run, ResponseRun)
            else _replay(context, owner, body, n_events, first)
        )
        await _stream_to_reader(context, frames, receive, send)


async def serve_response(context: ApiContext, body: Body, caller: Caller) -> Answer:
    """A whole response, made while somebody waits, or its beginning in the background."""
    if body.get("background"):
        run = await _begin(context, body, caller, asyncio.get_running_loop().time())
        return _answer(run.job, run.body | {"status": "queued"})
    loop = asyncio.get_running_loop()
    run = ResponseRun(await job_of(context, body, caller), started_s=loop.time(), keeps_frames=False)
    task = loop.create_task(run.work())
    try:
        return _answer(run.job, await run.result())
    finally:
        run.give_up(ClientGone())
        await asyncio.wait({task})


async def serve_deletion(
    context: ApiContext, path: Mapping[str, str], _query: Query, caller: Caller
) -> Answer:
    """DELETE /responses/{response_id}."""
    response_id = path["response_id"]
    await context.stored.responses.delete(caller.principal.owner, response_id)
    context.stored.background.give_up(response_id)
    return Answer(orjson.dumps({"id": response_id, "object": "response", "deleted": True}))


async def serve_cancellation(
    context: ApiContext, path: Mapping[str, str], _query: Query, caller: Caller
) -> Answer:
    """POST /responses/{response_id}/cancel."""
    body = await context.stored.responses.cancel(caller.principal.owner, path["response_id"])
    if body["status"] == "cancelled":
        context.stored.background.give_up(path["response_id"])
    return Answer(orjson.dumps(body))


async def serve_input_items(
    context: ApiContext, path: Mapping[str, str], query: Query, caller: Caller
) -> Answer:
    """GET /responses/{response_id}/input_items."""
    limit = query.get("limit", 20)
    items = await context.stored.responses.input_page(
        caller.principal.owner,
        path["response_id"],
        limit=limit + 1,
        order=query.get("order", "desc"),
        after=query.get("after"),
    )
    return Answer(orjson.dumps(page_object(items, limit)))


async def serve_input_tokens(context: ApiContext, body: Body, caller: Caller) -> Answer:
    """POST /responses/input_tokens."""
    spec, request = await counting_request(context, body, caller)
    try:
        n_tokens = await count_prompt_tokens(lambda asked: context.pool.generate(spec.id, asked), request)
    except InvalidRequest as error:
        raise reworded(error, body) from None
    return Answer(orjson.dumps({"object": "response.input_tokens", "input_tokens": n_tokens}))


async def _serve(
    context: ApiContext, body: Body, caller: Caller, receive: Receive, send: Send, started_s: float
) -> None:
    """While somebody waits: who hangs up ends it."""
    loop = asyncio.get_running_loop()
    run = ResponseRun(await job_of(context, body, caller), started_s=started_s, keeps_frames=False)
    task = loop.create_task(run.work())
    watcher = loop.create_task(watch(receive, run))
    try:
        if body.get("stream"):
            await run.told.started()
            frames = run.told.read(context.settings.sse_keep_alive_s)
            await _send_stream(send, frames, model_headers(run.job.spec.id))
            if isinstance(run.told.failure, ClientGone):
                raise run.told.failure
            return
        answer = _answer(run.job, await run.result())
    finally:
        watcher.cancel()
        run.give_up(ClientGone())
        await asyncio.wait({task})
    await send_bytes(send, answer.body, headers=answer.headers)


async def _serve_background(
    context: ApiContext, body: Body, caller: Caller, receive: Receive, send: Send, started_s: float
) -> None:
    """Whether or not anybody waits."""
    run = await _begin(context, body, caller, started_s)
    if body.get("stream"):
        await _stream_to_reader(context, run.told.read(context.settings.sse_keep_alive_s), receive, send)
    else:
        answer = _answer(run.job, run.job.head | {"status": "queued"})
        await send_bytes(send, answer.body, headers=answer.headers)


async def _begin(context: ApiContext, body: Body, caller: Caller, started_s: float) -> ResponseRun:
    """Kept as queued, and in the making from now on."""
    background = context.stored.background
    background.check_room()
    job = await job_of(context, body, caller)
    await context.stored.responses.begin(job.kept(job.head | {"status": "queued"}))
    run = ResponseRun(job, started_s=started_s, keeps_frames=True)
    run.begin_queued()
    # What was admitted lasts until it is made, whether or not anybody waits.
    background.start(job.id, run, _settled(run, caller.meter.outlive()))
    return run


async def _settled(run: ResponseRun, settle: Callable[[], None]) -> None:
    try:
        await run.work()
    finally:
        settle()


async def _stream_to_reader(
    context: ApiContext, frames: AsyncGenerator[bytes, None], receive: Receive, send: Send
) -> None:
    """Frames to somebody whose hanging up ends nothing else; the server's stop cuts them off."""
    reader = ReplyTask(_sent(send, frames))
    watcher = asyncio.get_running_loop().create_task(watch(receive, reader))
    try:
        with context.calls.admit(reader):
            await reader.result()
    finally:
        watcher.cancel()


async def _sent(send: Send, frames: AsyncGenerator[bytes, None]) -> Answer:
    await _send_stream(send, frames, [])
    return Answer(b"")


async def _send_stream(send: Send, frames: AsyncGenerator[bytes, None], headers: Headers) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _STREAM + headers})
    async with aclosing(frames):
        async for some in frames:
            await send({"type": "http.response.body", "body": some or KEEP_ALIVE, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _replay(
    context: ApiContext, owner: str, body: dict[str, Any], n_events: int, first: int
) -> AsyncGenerator[bytes, None]:
    """The events of a response that is not made here, once it has ended; its texts in one piece."""
    while body["status"] in _UNFINISHED:
        yield b""
        await asyncio.sleep(POLL_S)
        body, n_events = await context.stored.responses.get(owner, body["id"])
    begun = body | {"status": "in_progress", "output": [], "usage": None, "completed_at": None, "error": None}
    begun["incomplete_details"] = None
    writer = Frames()
    frames = writer.write(
        [{"type": f"response.{kind}", "response": begun} for kind in ("created", "in_progress")]
    )
    frames += writer.write(replayed(body["output"]))
    writer.n_written = max(writer.n_written, n_events - 1)
    frames.append(writer.write([terminal(body)])[0])
    yield b"".join(frames[first:-1]) if first < len(frames) - 1 else b""
    if first < writer.n_written:
        yield frames[-1]


def _answer(job: ResponseJob, body: dict[str, Any]) -> Answer:
    return Answer(orjson.dumps(body), headers=model_headers(job.spec.id))
