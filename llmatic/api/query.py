"""Operations without a body: what stands after the question mark of their address, checked, then served.

Owns the way of a request; what a parameter may be is the contract's word. Event loop's thread.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from llmatic.api.context import ApiContext
from llmatic.api.endpoint import caller_of, principal_of
from llmatic.api.replies import Answer, send_bytes
from llmatic.services.terms import Caller

Query = Mapping[str, Any]
# context, path parameters, query, caller → reply
ServeQuery = Callable[[ApiContext, Mapping[str, str], Query, Caller], Awaitable[Answer]]


class QueryEndpoint:
    """ASGI endpoint of one operation that takes no body and answers with a whole reply."""

    def __init__(self, context: ApiContext, operation_id: str, serve: ServeQuery) -> None:
        self._context = context
        self._operation_id = operation_id
        self._serve = serve

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Serve one request. Raises LlmaticError for all that goes wrong."""
        context = self._context.seen_by(principal_of(scope))
        query = context.contract.check_query(self._operation_id, scope.get("query_string", b""))
        answer = await self._serve(context, scope["path_params"], query, caller_of(context, scope))
        await send_bytes(
            send, answer.body, status=answer.status, content_type=answer.content_type, headers=answer.headers
        )
