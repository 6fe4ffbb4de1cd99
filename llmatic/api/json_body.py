"""Bodies as bytes, and bytes as JSON objects.

Owns the caps on size and nesting and what counts as JSON: UTF-8 (a byte order mark is skipped), one object,
no NaN, no lone surrogates. Never looks at Content-Type and never judges fields: that is `validation`'s work.
Runs on the event loop.
"""

from typing import Any

import orjson
from starlette.types import Receive, Scope

from llmatic.api.errors import ClientGone
from llmatic.core.errors import InvalidRequest, PayloadTooLarge

_BOM = b"\xef\xbb\xbf"
_COULD_NOT_PARSE = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
    "library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. "
    "{detail})"
)
_NAMES = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}


async def read_body(scope: Scope, receive: Receive, max_bytes: int) -> bytes:
    """The whole body. Raises PayloadTooLarge as soon as it is known to be longer than `max_bytes`.

    Raises ClientGone if the client hangs up before its end.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value[:20]) > max_bytes:
            raise body_too_large(max_bytes)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > max_bytes:
            raise body_too_large(max_bytes)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def parse_json(raw: bytes, *, max_depth: int) -> dict[str, Any]:
    """The object in `raw`, with at most `max_depth` levels of nesting, itself included.

    Of duplicate keys the last one counts. Raises InvalidRequest in OpenAI's words, with the reason added.
    """
    if raw.startswith(_BOM):
        raw = raw[len(_BOM) :]
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _unparsable(_reason(raw, error)) from None
    if type(body) is not dict:
        raise _unparsable(f"The body must be an object, but it is {_NAMES.get(type(body), 'null')}.")
    # Every level needs an opening bracket, so few brackets spare the walk.
    if raw.count(b"{") + raw.count(b"[") > max_depth:
        check_depth(body, max_depth)
    return body


def check_depth(body: dict[str, Any], max_depth: int) -> None:
    """Raises InvalidRequest if a body is nested more than so many levels deep, itself included."""
    if _is_deeper(body, max_depth):
        raise _unparsable(f"The body is nested more than {max_depth} levels deep.")


def _is_deeper(body: dict[str, Any], max_depth: int) -> bool:
    """Level by level, because recursion is what a hostile body is after."""
    level: list[Any] = [body]
    for _ in range(max_depth):
        below: list[Any] = []
        for container in level:
            if type(container) is list:
                # A prompt can be a list of very many numbers.
                kinds = set(map(type, container))
                if dict not in kinds and list not in kinds:
                    continue
                values = container
            else:
                values = container.values()
            for value in values:
                if type(value) is dict or type(value) is list:
                    below.append(value)
        if not below:
            return False
        level = below
    return True


def _reason(raw: bytes, error: orjson.JSONDecodeError) -> str:
    if not raw.strip():
        return "The body is empty."
    try:
        raw.decode()
    except UnicodeDecodeError as undecodable:
        return f"Byte {undecodable.start} is not UTF-8."
    return f"At line {error.lineno}, column {error.colno}: {error.msg[:100]}."


def _unparsable(detail: str) -> InvalidRequest:
    return InvalidRequest(_COULD_NOT_PARSE.format(detail=detail))


def body_too_large(max_bytes: int) -> PayloadTooLarge:
    """The refusal of a body over that size."""
    return PayloadTooLarge(f"The body of the request is larger than the {max_bytes} bytes that are accepted.")
