"""JSON Lines files: what each purpose wants of every line.

Owns the rules and their words. Never opens a file. Pure; any thread.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from llmatic.core.errors import InvalidRequest

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
HINT_CHARACTERS: Final = 20

_BOM: Final = b"\xef\xbb\xbf"

# Purpose → the fields that every line must have, with the type of each. A batch reports its bad lines itself.
_FIELDS: Final[Mapping[str, Mapping[str, type]]] = {
    "fine-tune": {},
    "search": {"text": str},
    "answers": {"text": str},
    "classifications": {"text": str, "label": str},
}
_NOUNS: Final[Mapping[type, str]] = {str: "a string"}
_DECODERS: Final = {
    purpose: msgspec.json.Decoder(msgspec.defstruct("Line", list(fields.items())))
    for purpose, fields in _FIELDS.items()
}


def needs_lines(purpose: str) -> bool:
    """Whether files of this purpose are JSON Lines."""
    return purpose in _FIELDS


def check_lines(purpose: str, chunks: Iterable[bytes]) -> int:
    """How many lines the file has, but for blank ones. Raises InvalidRequest naming the first bad one."""
    n_lines = 0
    for number, line in lines_of(chunks):
        check_line(purpose, number, line)
        n_lines += 1
    if not n_lines:
        raise InvalidRequest("The file is empty: it must hold at least one line of JSON.", param="file")
    return n_lines


def check_line(purpose: str, number: int, line: bytes) -> None:
    """Raises InvalidRequest. What is not asked for is checked and not built: a line may be long, and hundreds
    of thousands of objects would hold up the event loop.
    """
    try:
        line.decode("utf-8")
        _DECODERS[purpose].decode(line)
    except msgspec.ValidationError as error:
        raise _refusal(number, line, _reason(purpose, line, str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _refusal(number, line, "is not valid JSON") from None


def lines_of(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Every line that is not blank, with its number from 1 on. Raises InvalidRequest for one too long."""
    pieces: list[bytes] = []  # of the line that is not whole yet
    n_bytes, number = 0, 1
    for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            pieces.append(end)
            if stripped := _stripped(b"".join(pieces), number):
                yield number, stripped
            pieces.clear()
            n_bytes, number = 0, number + 1
        pieces.append(rest)
        n_bytes += len(rest)
        if n_bytes > MAX_LINE_BYTES:
            raise InvalidRequest(
                f"Line {number} of the file is longer than {MAX_LINE_BYTES} bytes.", param="file"
            )
    if stripped := _stripped(b"".join(pieces), number):
        yield number, stripped


def _stripped(line: bytes, number: int) -> bytes:
    return (line.removeprefix(_BOM) if number == 1 else line).strip()


def _reason(purpose: str, line: bytes, words: str) -> str:
    if not line.startswith(b"{"):
        return "is not a JSON object"
    fields = _FIELDS[purpose]
    name = next((name for name in fields if f"`{name}`" in words or f"`$.{name}`" in words), "")
    return f"has no field '{name}' that is {_NOUNS[fields[name]]}" if name else "is not as it should be"


def _refusal(number: int, line: bytes, reason: str) -> InvalidRequest:
    start = line[: HINT_CHARACTERS * 4].decode("utf-8", "replace")[:HINT_CHARACTERS]
    return InvalidRequest(
        "Expected file to have JSONL format, where every line is a valid JSON dictionary. "
        f'Line {number} {reason} (HINT: line starts with: "{start}").',
        param="file",
    )
