"""The way of every operation that takes a file in a form: read → check → reply, or nothing is left of the
file.

Owns the life of the file until the operation keeps it. Event loop's thread.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from starlette.types import Receive, Scope, Send

from llmatic.api.context import ApiContext
from llmatic.api.endpoint import ReplyTask, caller_of, principal_of
from llmatic.api.multipart import MAX_FIELD_BYTES, MAX_FIELDS, FileSink, read_form
from llmatic.api.replies import Answer, send_bytes
from llmatic.services.terms import Caller

# What of a body may not be the file's.
OVERHEAD_BYTES = (MAX_FIELDS + 1) * (MAX_FIELD_BYTES + 8 * 1024)


class Intake(FileSink, Protocol):
    """A file on its way in."""

    def expect(self, size_bytes: int) -> None:
        """At least so much will come. Raises what `write` would."""
        ...

    async def discard(self) -> None:
        """Nothing of it is left, unless it was kept."""
        ...


IntakeT = TypeVar("IntakeT", bound=Intake)
# context, path parameters, caller → where the file goes
OpenIntake = Callable[[ApiContext, Mapping[str, str], Caller], Awaitable[IntakeT]]
# context, the file, checked fields, caller → reply
ServeForm = Callable[[ApiContext, IntakeT, dict[str, Any], Caller], Awaitable[Answer]]


class FormEndpoint(Generic[IntakeT]):
    """ASGI endpoint of one operation that takes a form with a file and answers with a whole reply."""

    def __init__(
        self, context: ApiContext, operation_id: str, opens: OpenIntake[IntakeT], serve: ServeForm[IntakeT]
    ) -> None:
        self._context = context
        self._operation_id = operation_id
        self._opens = opens
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises LlmaticError for all that goes wrong, ClientGone."""
        context = self._context.seen_by(principal_of(scope))
        reply = ReplyTask(self._answer(context, scope, receive))
        with context.calls.admit(reply):
            answer = await reply.result()
        await send_bytes(
            send, answer.body, status=answer.status, content_type=answer.content_type, headers=answer.headers
        )

    async def _answer(self, context: ApiContext, scope: Scope, receive: Receive) -> Answer:
        caller = caller_of(context, scope)
        intake = await self._opens(context, scope["path_params"], caller)
        try:
            intake.expect(_length(scope) - OVERHEAD_BYTES)
            form = await read_form(scope, receive, intake)
            fields = context.contract.check_form(self._operation_id, form.pairs(), form.files)
            return await self._serve(context, intake, fields, caller)
        finally:
            await intake.discard()


def _length(scope: Scope) -> int:
    """Of the body, if it is told."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0
