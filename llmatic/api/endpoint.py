"""The way of every operation with a JSON body: read → check → name the caller; and, not streamed, → reply.

Owns the life of a whole reply: the work on it ends when its client hangs up or the server must stop. What a
request means and how its reply looks is the operation's. Event loop's thread.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any

from starlette.types import Receive, Scope, Send

from llmatic.api.context import ApiContext
from llmatic.api.json_body import parse_json, read_body
from llmatic.api.replies import Answer, send_bytes
from llmatic.api.sse import watch
from llmatic.core.principal import Principal
from llmatic.services.terms import Caller

Body = dict[str, Any]
Serve = Callable[[ApiContext, Body, Caller], Awaitable[Answer]]


class ReplyTask:
    """A reply in the making, which can be given up; a `services.generation.Call`."""

    def __init__(self, work: Awaitable[Answer]) -> None:
        self._task = asyncio.ensure_future(work)
        self._error: BaseException | None = None

    async def result(self) -> Answer:
        """The reply. Raises what its making raised, or at once what `give_up` was given."""
        try:
            return await self._task
        except asyncio.CancelledError:
            if self._error is not None:
                raise self._error from None
            raise
        finally:
            self._task.cancel()

    def give_up(self, error: BaseException) -> None:
        """Make `result` raise `error` now; what it works on is cancelled."""
        if not self._task.done():
            self._error = error
            self._task.cancel()


class JsonEndpoint:
    """ASGI endpoint of one operation that takes a JSON body and answers with a whole reply.

    `owns_user`: the caller's identity replaces the request's `user` (the /oaiv1 family). What the path names
    becomes fields of the body, `engine_id` its `model`. `is_metered`: it is work for a model, to which the
    caller's limits apply.
    """

    def __init__(
        self,
        context: ApiContext,
        operation_id: str,
        serve: Serve,
        *,
        owns_user: bool = False,
        is_metered: bool = True,
    ) -> None:
        self._context = context
        self._is_metered = is_metered
        self._operation_id = operation_id
        self._serve = serve
        self._owns_user = owns_user

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises LlmaticError for all that goes wrong."""
        context = self._context.seen_by(principal_of(scope))
        body = await checked_body(context, self._operation_id, scope, receive, owns_user=self._owns_user)
        caller = caller_of(context, scope)
        with caller.meter.admitted(body) if self._is_metered else nullcontext():
            answer = await watched(context, receive, ReplyTask(self._serve(context, body, caller)))
        await send_bytes(
            send, answer.body, status=answer.status, content_type=answer.content_type, headers=answer.headers
        )


async def watched(context: ApiContext, receive: Receive, reply: ReplyTask) -> Answer:
    """The reply, unless its client hangs up or the server must stop. Raises what its making raised."""
    watcher = asyncio.get_running_loop().create_task(watch(receive, reply))
    try:
        with context.calls.admit(reply):
            return await reply.result()
    finally:
        watcher.cancel()


async def checked_body(
    context: ApiContext, operation_id: str, scope: Scope, receive: Receive, *, owns_user: bool
) -> Body:
    """The request's body, fit to be served. Raises InvalidRequest, PayloadTooLarge, ClientGone."""
    settings = context.settings
    raw = await read_body(scope, receive, settings.max_body_bytes)
    body = context.contract.check(operation_id, parse_json(raw, max_depth=settings.max_json_depth))
    for name, value in scope["path_params"].items():
        body["model" if name == "engine_id" else name] = value
    scope["llmatic.user"] = scope["llmatic.client"] if owns_user else _user(body)
    return body


def _user(body: Body) -> Any:
    """Whom the caller asks for; Anthropic's requests say it among their metadata."""
    return body.get("user") or (body.get("metadata") or {}).get("user_id")


def caller_of(context: ApiContext, scope: Scope) -> Caller:
    """Callers with different keys share computed prompts only if the server is told so."""
    principal = principal_of(scope)
    meter = context.metering.meter(principal)
    return Caller(principal.id, tenant_of(context, principal), principal, meter)


def tenant_of(context: ApiContext, principal: Principal) -> str:
    """Within which computed prompts are shared."""
    shares = context.settings.share_prompt_cache or principal.is_anonymous
    return "" if shares else principal.id


def principal_of(scope: Scope) -> Principal:
    """Who sent the request, whose path is not public."""
    principal: Principal = scope["llmatic.principal"]
    return principal
