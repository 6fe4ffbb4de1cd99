import orjson
import pytest
from starlette.types import Message, Scope

from llmatic.api.errors import ClientGone
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


class Upload:
    """A request whose body comes in the given chunks; without a last one the client hangs up."""

    def __init__(self, *chunks: bytes, length: str | None = None, is_whole: bool = True) -> None:
        headers = [] if length is None else [(b"content-length", length.encode())]
        self.scope: Scope = {"type": "http", "headers": headers}
        self._messages: list[Message] = [
            {"type": "http.request", "body": chunk, "more_body": not is_whole or chunk is not chunks[-1]}
            for chunk in chunks
        ]
        self._messages.append({"type": "http.disconnect"})
        self.n_read = 0

    async def receive(self) -> Message:
        self.n_read += 1
        return self._messages[self.n_read - 1]

    async def read(self, max_bytes: int) -> bytes:
        return await read_body(self.scope, self.receive, max_bytes)


@pytest.mark.anyio
async def test_a_body_is_read_to_its_end() -> None:
    assert await Upload(b"ab", b"", b"c", length="3").read(3) == b"abc"


@pytest.mark.anyio
async def test_a_chunked_body_is_refused_once_it_is_too_long() -> None:
    upload = Upload(b"ab", b"cd", b"ef")
    with pytest.raises(PayloadTooLarge, match="larger than the 3 bytes"):
        await upload.read(3)
    assert upload.n_read == 2


@pytest.mark.anyio
@pytest.mark.parametrize("length", ["4", "9" * 5000])
async def test_an_announced_length_is_refused_before_reading(length: str) -> None:
    upload = Upload(b"abcd", length=length)
    with pytest.raises(PayloadTooLarge):
        await upload.read(3)
    assert upload.n_read == 0


@pytest.mark.anyio
async def test_a_strange_length_is_left_to_the_server() -> None:
    assert await Upload(b"abc", length="-7").read(3) == b"abc"


@pytest.mark.anyio
async def test_a_client_that_hangs_up_amid_its_body_is_gone() -> None:
    with pytest.raises(ClientGone):
        await Upload(b"ab", is_whole=False).read(3)
