"""Errors as clients of /api/v1 read them: `{"error", "status", "message"}`.

Owns the short names of statuses. Pure; any thread.
"""

from http import HTTPStatus

import orjson

from llmatic.api.errors import Headers
from llmatic.core.errors import LlmaticError


class ComposableFamily:
    """The family of runs and interactions."""

    def status(self, error: LlmaticError) -> int:
        """The error's own."""
        return error.status

    def error_body(self, error: LlmaticError, _request_id: str) -> bytes:
        """The status in words, as a number, and what is wrong; `details` names the field at fault."""
        return orjson.dumps(error_object(error))

    def headers(self, _request_id: str) -> Headers:
        """None."""
        return []


def error_object(error: LlmaticError) -> dict[str, str | int]:
    """The wire form of an error."""
    body: dict[str, str | int] = {
        "error": HTTPStatus(error.status).phrase,
        "status": error.status,
        "message": error.message,
    }
    return body | {"details": error.param} if error.param else body
