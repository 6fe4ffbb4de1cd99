"""GET and HEAD /files/{file_id}/content: the bytes of a file, or a range of them (RFC 9110, section 14).

Owns the headers that go with them; whatever a file is or is called, no browser runs it. Event loop's thread;
the bytes are read in another, a piece ahead of what the client takes.
"""

import re
from contextlib import aclosing
from typing import Final
from urllib.parse import quote

from starlette.types import Receive, Scope, Send

from llmatic.api.context import ApiContext
from llmatic.api.endpoint import ReplyTask, principal_of, watched
from llmatic.api.errors import Headers, UnsatisfiableRange
from llmatic.api.replies import Answer
from llmatic.store.files import FileRecord

_RANGE: Final = re.compile(r"\s*bytes\s*=\s*([0-9]{0,99})\s*-\s*([0-9]{0,99})\s*", re.IGNORECASE)
_UNSAFE: Final = re.compile(r"[^ !#$&+.0-9A-Z^_`a-z~(),\'@{}=\[\]-]")
# What makes a path of a name, or another name of it to the eye: line breaks and changes of direction.
_MISLEADING: Final = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_DONE: Final = Answer(b"")


class FileContent:
    """ASGI endpoint of the operation."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises LlmaticError before the first byte, ClientGone."""
        context = self._context
        context.contract.check_query("downloadFile", scope["query_string"])
        owner = principal_of(scope).owner
        record = await context.stored.files.get(owner, scope["path_params"]["file_id"])
        if is_known(scope["headers"], record):
            headers = [(b"etag", _tag(record).encode("ascii"))]
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        span = wanted_span(scope["headers"], record)
        if scope["method"] == "HEAD":
            await _start(send, record, span)
            await send({"type": "http.response.body", "body": b""})
        else:
            await watched(context, receive, ReplyTask(self._send(send, record, span)))

    async def _send(self, send: Send, record: FileRecord, span: tuple[int, int] | None) -> Answer:
        start, end = span or (0, record.size_bytes)
        async with aclosing(self._context.stored.files.stream(record, start, end)) as chunks:
            data = await anext(chunks, b"")
            await _start(send, record, span)
            while data:
                await send({"type": "http.response.body", "body": data, "more_body": True})
                data = await anext(chunks, b"")
        await send({"type": "http.response.body", "body": b""})
        return _DONE


def wanted_span(headers: Headers, record: FileRecord) -> tuple[int, int] | None:
    """The first byte and the one after the last, None for all. Raises UnsatisfiableRange.

    Several ranges at once, and what is no range of bytes, are answered with the whole file, as is a range of
    another file than this (If-Range).
    """
    found = {name: value.decode("latin-1") for name, value in headers if name in (b"range", b"if-range")}
    parts = _RANGE.fullmatch(found.get(b"range", ""))
    if parts is None or not (parts[1] or parts[2]) or found.get(b"if-range", _tag(record)) != _tag(record):
        return None
    size = record.size_bytes
    if not parts[1]:
        start, end = max(0, size - int(parts[2])), size
    else:
        start, end = int(parts[1]), min(size, int(parts[2]) + 1) if parts[2] else size
        if parts[2] and int(parts[2]) < start:
            return None
    if start >= size or start >= end:
        raise UnsatisfiableRange(
            f"The range '{found[b'range']}' is not in the file, which has {size} bytes.", size=size
        )
    return start, end


def is_known(headers: Headers, record: FileRecord) -> bool:
    """Whether the client says that it has the file (If-None-Match)."""
    known = b",".join(value for name, value in headers if name == b"if-none-match").decode("latin-1")
    return any(tag.strip().removeprefix("W/") in ("*", _tag(record)) for tag in known.split(","))


def disposition(filename: str) -> str:
    """A file to be saved, under a name that is safe in a header and in a folder (RFC 6266, RFC 8187)."""
    name = _MISLEADING.sub("_", filename).strip(". ") or "file"
    plain = _UNSAFE.sub("_", name)
    extended = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'attachment; filename="{plain}"{extended}'


async def _start(send: Send, record: FileRecord, span: tuple[int, int] | None) -> None:
    start, end = span or (0, record.size_bytes)
    headers = [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", b"%d" % (end - start)),
        (b"content-disposition", disposition(record.filename).encode("ascii")),
        (b"accept-ranges", b"bytes"),
        (b"etag", _tag(record).encode("ascii")),
        (b"x-content-type-options", b"nosniff"),
    ]
    if span is not None:
        headers.append((b"content-range", f"bytes {start}-{end - 1}/{record.size_bytes}".encode("ascii")))
    await send({"type": "http.response.start", "status": 200 if span is None else 206, "headers": headers})


def _tag(record: FileRecord) -> str:
    """A file never changes."""
    return f'"{record.id}"'
