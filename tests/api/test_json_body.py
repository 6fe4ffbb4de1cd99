from collections.abc import AsyncIterator

import orjson
import pytest

from llmatic.api.json_body import parse_json, read_body
from llmatic.core.errors import InvalidRequest, PayloadTooLarge

DEPTH = 64


def nested(depth: int) -> bytes:
    """An object with `depth` levels in all."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"{}", {}),
        (b' \n{"a": 1.5, "b": [null, true, "\xc3\xa9"]}\r\n', {"a": 1.5, "b": [None, True, "é"]}),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'{"a":123456789012345678901}', {"a": 123456789012345678901.0}),
        (b'{"a":"' + b"[{" * 500 + b'"}', {"a": "[{" * 500}),
    ],
)
def test_an_object_is_parsed(raw: bytes, body: object) -> None:
    assert parse_json(raw, max_depth=DEPTH) == body


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "The body is empty."),
        (b" \n", "The body is empty."),
        (b"\xef\xbb\xbf", "The body is empty."),
        (b'{"a":1', "At line 1, column 7: unexpected end of data."),
        (b'{"a":1,}', "At line 1, column 7: trailing comma is not allowed."),
        (b'{"a":1}\n{"a":1}', "At line 2, column 1: unexpected content after document."),
        (b"model=x&prompt=y", "At line 1, column 1: unexpected character, expected a JSON value."),
        (b"[]", "The body must be an object, but it is an array."),
        (b'"x"', "The body must be an object, but it is a string."),
        (b"7", "The body must be an object, but it is a number."),
        (b"false", "The body must be an object, but it is a boolean."),
        (b"null", "The body must be an object, but it is null."),
        (b'{"a":"\xff"}', "Byte 6 is not UTF-8."),
        (b'{"a":"\xed\xa0\x80"}', "Byte 6 is not UTF-8."),
        ('{"a":1}'.encode("utf-16"), "Byte 0 is not UTF-8."),
        (nested(DEPTH + 1), "The body is nested more than 64 levels deep."),
    ],
)
def test_what_is_no_object_is_refused_with_the_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_json(raw, max_depth=DEPTH)
    assert refused.value.message == (
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your "
        "HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid "
        f"JSON. {reason})"
    )
    assert (refused.value.param, refused.value.code) == (None, None)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e400}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\ud800\\u0041"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        nested(100_000),
        b'{"a":"\x00"}',
        b'{"a":01}',
        b"{'a':1}",
        b"\x00" * 1000,
    ],
)
def test_hostile_bodies_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="We could not parse"):
        parse_json(raw, max_depth=DEPTH)


def test_nesting_up_to_the_cap_is_allowed() -> None:
    assert "a" in parse_json(nested(DEPTH), max_depth=DEPTH)


def test_width_is_not_depth() -> None:
    body = {"messages": [{"parts": [{"a": {}}]}] * 1000, "ids": [[1]] * 1000}
    assert parse_json(orjson.dumps(body), max_depth=6) == body


class Request:
    """A request whose body comes in the given chunks."""

    def __init__(self, *chunks: bytes, length: str | None = None) -> None:
        self.headers = {} if length is None else {"content-length": length}
        self._chunks = list(chunks)
        self.n_read = 0

    async def stream(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            self.n_read += 1
            yield chunk


@pytest.mark.anyio
async def test_a_body_is_read_to_its_end() -> None:
    assert await read_body(Request(b"ab", b"", b"c", length="3"), 3) == b"abc"


@pytest.mark.anyio
async def test_a_chunked_body_is_refused_once_it_is_too_long() -> None:
    request = Request(b"ab", b"cd", b"ef")
    with pytest.raises(PayloadTooLarge, match="larger than the 3 bytes"):
        await read_body(request, 3)
    assert request.n_read == 2


@pytest.mark.anyio
@pytest.mark.parametrize("length", ["4", "9" * 5000])
async def test_an_announced_length_is_refused_before_reading(length: str) -> None:
    request = Request(b"abcd", length=length)
    with pytest.raises(PayloadTooLarge):
        await read_body(request, 3)
    assert request.n_read == 0


@pytest.mark.anyio
async def test_a_strange_length_is_left_to_the_server() -> None:
    assert await read_body(Request(b"abc", length="-7"), 3) == b"abc"
