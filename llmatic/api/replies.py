"""Sends bodies that are already bytes. Pure ASGI; event loop's thread."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from starlette.types import Receive, Scope, Send

from llmatic.api.errors import Headers

JSON = b"application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole reply that nothing has to be waited for."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: Headers = field(default_factory=list)


def model_headers(model_id: str) -> Headers:
    """What names the model that was asked; its id may hold characters that a header cannot."""
    return [(b"openai-model", quote(model_id).encode("ascii"))]


def model_answer(body: bytes, model_id: str) -> Answer:
    """The whole reply of a model."""
    return Answer(body, headers=model_headers(model_id))


class View:
    """ASGI endpoint of something that can be answered at once from the request's scope."""

    def __init__(self, render: Callable[[Scope], Answer]) -> None:
        self._render = render

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send what `render` says. Raises what it raises."""
        answer = self._render(scope)
        await send_bytes(
            send,
            answer.body,
            status=answer.status,
            content_type=answer.content_type,
            headers=answer.headers,
        )


class SlowView:
    """ASGI endpoint of something that is answered from the request's scope once it is known."""

    def __init__(self, render: Callable[[Scope], Awaitable[Answer]]) -> None:
        self._render = render

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send what `render` says. Raises what it raises."""
        answer = await self._render(scope)
        await send_bytes(
            send,
            answer.body,
            status=answer.status,
            content_type=answer.content_type,
            headers=answer.headers,
        )


async def send_bytes(
    send: Send, body: bytes, *, status: int = 200, content_type: bytes = JSON, headers: Headers | None = None
) -> None:
    """One whole reply."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", content_type),
                (b"content-length", b"%d" % len(body)),
                *(headers or ()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
