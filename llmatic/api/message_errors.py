"""Errors as Anthropic writes them.

Owns the statuses, types and sentences in which they differ from OpenAI's. Pure; any thread.
"""

from typing import Any

import orjson

from llmatic.api.errors import Headers
from llmatic.core.errors import (
    ContextLengthExceeded,
    EngineFailed,
    InvalidRequest,
    LlmaticError,
    QueueFull,
    Unavailable,
)

OVERLOADED = 529

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    OVERLOADED: "overloaded_error",
}
# Upon these the SDKs ask again without the field.
_CODES = {"thread": "thread_unsupported_request"}
_SENTENCES = {
    "missing_required_parameter": "Field required",
    "unknown_parameter": "Extra inputs are not permitted",
}


class AnthropicFamily:
    """A `families.Family`."""

    def status(self, error: LlmaticError) -> int:
        """429 is a limit of the caller's, 529 a server that is too busy, 500 a worker that died."""
        if isinstance(error, EngineFailed):
            return 500
        return OVERLOADED if isinstance(error, QueueFull | Unavailable) else error.status

    def error_body(self, error: LlmaticError, request_id: str) -> bytes:
        """`{"type": "error", "error": {"type", "message"}, "request_id"}`."""
        return orjson.dumps(self.error_object(error) | {"request_id": request_id})

    def error_object(self, error: LlmaticError) -> dict[str, Any]:
        """The same without the request's id, as streams have it."""
        status = self.status(error)
        kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
        written: dict[str, Any] = {"type": kind, "message": _message(error)}
        code = _CODES.get(error.param or "") if error.code == "unsupported_parameter" else None
        if code is not None:
            written["details"] = {"error_code": code}
        return {"type": "error", "error": written}

    def headers(self, request_id: str) -> Headers:
        """The id, where Anthropic's SDKs look for it."""
        return [(b"request-id", request_id.encode("ascii"))]


def _message(error: LlmaticError) -> str:
    """What is wrong, and where, for which Anthropic's errors have no field of their own."""
    if isinstance(error, ContextLengthExceeded):
        # By this beginning clients tell that they must shorten the conversation.
        return f"prompt is too long: {error.message}"
    if not isinstance(error, InvalidRequest) or not error.param:
        return error.message
    place = dotted(error.param)
    sentence = _SENTENCES.get(error.code or "")
    if sentence is not None:
        return f"{place}: {sentence}"
    is_named = place in error.message or error.param in error.message
    return error.message if is_named else f"{place}: {error.message}"


def dotted(param: str) -> str:
    """`messages.0.content` for `messages[0].content`."""
    return param.replace(".[", ".").replace("[", ".").replace("]", "")
