"""Forms with a file in them (RFC 7578), taken as they come: the file goes on in chunks, the fields are kept.

Owns the limits on fields, on waiting for more, and the reading of names and file names. Never holds a file in
memory. Event loop's thread; what is done with the file's chunks is the sink's.
"""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message as Headers
from email.utils import collapse_rfc2231_value
from typing import Final, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser
from starlette.types import Message, Receive, Scope

from llmatic.api.errors import ClientGone
from llmatic.core.errors import InvalidRequest
from llmatic.store.blobs import Piece

MAX_FIELDS: Final = 64
MAX_FIELD_BYTES: Final = 64 * 1024
CHUNK_BYTES: Final = 1024 * 1024
DEFAULT_FILENAME: Final = "upload"
# A client whose machine went away says nothing more; what came of its file must not lie here for ever.
STALL_S: Final = 120.0

# Those that leave the bytes as they are (RFC 2045, section 6); the others nobody sends any more.
_PLAIN_ENCODINGS: Final = frozenset({"7bit", "8bit", "binary"})
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class FileSink(Protocol):
    """Where the file of a form goes."""

    async def begin(self, filename: str) -> None:
        """The file begins; called once. Raises LlmaticError."""
        ...

    async def write(self, *pieces: Piece) -> None:
        """More of it. Raises LlmaticError."""
        ...


@dataclass(slots=True)
class Form:
    """Text fields by name, in order; `files` are the names of the fields that were files."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def pairs(self) -> list[tuple[str, str]]:
        """Every name with every of its values."""
        return [(name, text) for name, texts in self.fields.items() for text in texts]

    def text(self, name: str) -> str | None:
        """The last value of a field."""
        return self.fields[name][-1] if self.fields.get(name) else None


class _Parts:
    """The parser's callbacks: what of the current part is known and not yet passed on."""

    def __init__(self) -> None:
        self.form = Form()
        self.filename: str | None = None
        self.is_file_open = False
        self.pending: list[Piece] = []
        self.n_pending = 0
        self.is_complete = False
        self._name = ""
        self._is_file = False
        self._header = bytearray()
        self._value = bytearray()
        self._headers = Headers()
        self._text = bytearray()

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._headers = Headers()
        self._text = bytearray()

    def _end_header(self) -> None:
        name = self._header.decode("latin-1")
        # Clients write file names as they are, in UTF-8, not as RFC 2231 would have it.
        self._headers[name] = self._value.decode("utf-8", "replace").replace("\r", " ").replace("\n", " ")
        self._header.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        name = _parameter(self._headers, "name")
        filename = _parameter(self._headers, "filename")
        if name is None:
            raise InvalidRequest("A part of the form has no name.")
        encoding = self._headers.get("content-transfer-encoding", "binary")
        if encoding.strip().lower() not in _PLAIN_ENCODINGS:
            raise InvalidRequest(f"Parts in the encoding '{encoding[:40]}' are not taken.", param=name)
        self._name, self._is_file = name, filename is not None
        if not self._is_file:
            return
        if self.form.files:
            raise InvalidRequest("The form holds more than one file.", param=name)
        self.form.files.append(name)
        self.filename = _CONTROLS.sub("_", filename or DEFAULT_FILENAME)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.pending.append(memoryview(data)[start:end])
            self.n_pending += end - start
            return
        if len(self._text) + end - start > MAX_FIELD_BYTES:
            raise InvalidRequest(
                f"The field '{self._name}' is longer than {MAX_FIELD_BYTES} bytes.", param=self._name
            )
        self._text += data[start:end]

    def _end(self) -> None:
        if self._is_file:
            return
        if sum(map(len, self.form.fields.values())) >= MAX_FIELDS:
            raise InvalidRequest(f"The form has more than {MAX_FIELDS} fields.")
        try:
            text = self._text.decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidRequest(
                f"The field '{self._name}' is not text in UTF-8.", param=self._name
            ) from None
        name = self._name.removesuffix("[]")
        if name == self._name and name in self.form.fields:
            raise InvalidRequest(f"The field '{name}' is given more than once.", param=name)
        self.form.fields.setdefault(name, []).append(text)

    def _finish(self) -> None:
        self.is_complete = True


async def read_form(scope: Scope, receive: Receive, sink: FileSink) -> Form:
    """The form's fields; its file has gone to `sink`, which it is up to the caller to close.

    Raises InvalidRequest for what is no form, ClientGone, and what the sink raises.
    """
    parts = _Parts()
    with _refusing():
        parser = MultipartParser(_boundary(scope), parts.callbacks())  # type: ignore[arg-type]
    more = True
    while more:
        message = await _next(receive)
        with _refusing():
            parser.write(message.get("body", b""))
        more = message.get("more_body", False)
        if parts.filename is not None and not parts.is_file_open:
            parts.is_file_open = True
            await sink.begin(parts.filename)
        if parts.n_pending >= CHUNK_BYTES or not more:
            await _pass_on(parts, sink)
    if not parts.is_complete:
        raise InvalidRequest("The body is no whole form: its last boundary is missing.")
    return parts.form


async def _next(receive: Receive) -> Message:
    try:
        async with asyncio.timeout(STALL_S):
            message = await receive()
    except TimeoutError:
        raise InvalidRequest(f"The body stopped coming: nothing more of it in {STALL_S:g} s.") from None
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except FormParserError as error:
        raise InvalidRequest(f"The body is no form: {str(error).rstrip('.')}.") from None


async def _pass_on(parts: _Parts, sink: FileSink) -> None:
    if parts.pending:
        pieces, parts.pending, parts.n_pending = parts.pending, [], 0
        await sink.write(*pieces)


def _boundary(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"content-type":
            header = Headers()
            header["content-type"] = value.decode("latin-1")
            boundary = header.get_param("boundary")
            if header.get_content_type() == "multipart/form-data" and isinstance(boundary, str) and boundary:
                return boundary.encode("latin-1")
    raise InvalidRequest("The body must be a form: Content-Type must be multipart/form-data with a boundary.")


def _parameter(headers: Headers, name: str) -> str | None:
    found = headers.get_param(name, header="content-disposition")
    if isinstance(found, tuple):
        return collapse_rfc2231_value(found)
    return None if found is None else found.replace("%22", '"')
