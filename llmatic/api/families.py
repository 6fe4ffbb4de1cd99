"""The families of the API: paths whose clients read errors in a form of their own.

Owns which family a request belongs to. A family is one object that writes its errors and its standing
headers; a further one is a class and a line in the table below. How a family's streams tell of a late failure
is the business of what writes their chunks (`sse.Chunks`). Pure; any thread.
"""

import re
from typing import Final, Protocol

from llmatic.api.composable_errors import ComposableFamily
from llmatic.api.errors import Headers, error_body
from llmatic.api.message_errors import AnthropicFamily
from llmatic.core.errors import LlmaticError


class Family(Protocol):
    """How errors look, and what every reply carries."""

    def status(self, error: LlmaticError) -> int:
        """The HTTP status of an error."""
        ...

    def error_body(self, error: LlmaticError, request_id: str) -> bytes:
        """The body of an error reply."""
        ...

    def headers(self, request_id: str) -> Headers:
        """What every reply carries, errors and others."""
        ...


class OpenAIFamily:
    """Everything that no other family claims."""

    _VERSION = (b"openai-version", b"2020-10-01")

    def status(self, error: LlmaticError) -> int:
        """The error's own."""
        return error.status

    def error_body(self, error: LlmaticError, _request_id: str) -> bytes:
        """`{"error": {"message", "type", "param", "code"}}`."""
        return error_body(error)

    def headers(self, _request_id: str) -> Headers:
        """The version of the API that is spoken."""
        return [self._VERSION]


OPENAI: Final[Family] = OpenAIFamily()
ANTHROPIC: Final[Family] = AnthropicFamily()
COMPOSABLE: Final[Family] = ComposableFamily()

_PLACES: Final[tuple[tuple[re.Pattern[str], Family], ...]] = (
    (re.compile(r"(?:/v1|/oaiv1)?/messages(?:/|$)"), ANTHROPIC),
    (re.compile(r"/api/v1(?:/|$)"), COMPOSABLE),
)


def family_of(path: str, anthropic_version: bytes | None) -> Family:
    """The family of a request by its path, known or not.

    Who sends `anthropic-version` reads Anthropic's replies on every path, those of the models included.
    """
    if anthropic_version is not None:
        return ANTHROPIC
    for place, family in _PLACES:
        if place.match(path):
            return family
    return OPENAI
