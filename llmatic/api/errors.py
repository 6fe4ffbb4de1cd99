"""Errors as OpenAI writes them: the body with its four keys, and the headers that go with a status.

Pure functions. Never logs and never sends. Any thread.
"""

import math

import orjson

from llmatic.core.errors import (
    Forbidden,
    InvalidRequest,
    LlmaticError,
    MethodNotAllowed,
    NotFound,
    QueueFull,
    QuotaExceeded,
    RateLimited,
    TokensLimited,
    Unavailable,
)

Headers = list[tuple[bytes, bytes]]

SERVER_FAULT = "The server had an error while processing your request. Sorry about that!"


class ClientGone(Exception):
    """The client hung up: nothing can be said to it any more."""


class WrongMethod(MethodNotAllowed):
    """The path exists, the method does not; `allow` lists those that do."""

    def __init__(self, message: str, *, allow: str, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.allow = allow


class UnsatisfiableRange(InvalidRequest):
    """Bytes are wanted that the object, which has `size` of them, does not have."""

    status = 416

    def __init__(self, message: str, *, size: int) -> None:
        super().__init__(message)
        self.size = size


def error_object(error: LlmaticError) -> dict[str, dict[str, str | None]]:
    """The wire form of an error, all four keys present."""
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }


def error_body(error: LlmaticError) -> bytes:
    """The body of an error reply."""
    return orjson.dumps(error_object(error))


def error_headers(error: LlmaticError) -> Headers:
    """What a status needs beside its body: when to come back, whether to, which methods, which scheme."""
    headers: Headers = []
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
        if isinstance(error, RateLimited) and not isinstance(error, QueueFull):
            headers.append((b"retry-after-ms", b"%d" % math.ceil(error.retry_after_s * 1000)))
    elif isinstance(error, TokensLimited | QuotaExceeded):
        # Too large, or used up for today: official clients would repeat it twice for nothing.
        headers.append((b"x-should-retry", b"false"))
    elif error.status >= 500 and not isinstance(error, Unavailable):
        # Official clients repeat every 5xx twice; a fault of ours is not cured by that.
        headers.append((b"x-should-retry", b"false"))
    if isinstance(error, WrongMethod):
        headers.append((b"allow", error.allow.encode("ascii")))
    if isinstance(error, UnsatisfiableRange):
        headers.append((b"content-range", b"bytes */%d" % error.size))
    if error.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="llmatic"'))
    if error.status == 413:
        headers.append((b"connection", b"close"))
    return headers


def server_fault() -> LlmaticError:
    """What a client is told of an exception that nobody foresaw."""
    return LlmaticError(SERVER_FAULT)


def invalid_url(method: str, path: str) -> NotFound:
    """OpenAI's words for a path that does not exist."""
    return NotFound(f"Invalid URL ({method} {path})")


def missing_scope(scope: str) -> Forbidden:
    """OpenAI's words for a key that may not do this."""
    return Forbidden(
        f"You have insufficient permissions for this operation. Missing scopes: {scope}. "
        "Check that the API key or token that you use has the necessary scopes."
    )


def wrong_method(method: str, path: str, allow: tuple[str, ...]) -> WrongMethod:
    """OpenAI's words for a path that does not take this method."""
    listed = ", ".join(allow)
    if allow[0] == "POST":
        return WrongMethod("Only POST requests are accepted.", allow=listed, code="method_not_supported")
    return WrongMethod(
        f"Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)",
        allow=listed,
    )
