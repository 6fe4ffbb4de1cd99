import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from llmatic.api.errors import ClientGone
from llmatic.api.multipart import CHUNK_BYTES, MAX_FIELD_BYTES, Form, read_form
from llmatic.core.errors import InvalidRequest

pytestmark = pytest.mark.anyio

HEADERS = [(b"content-type", b'multipart/form-data; boundary="b1"')]


class Sink:
    def __init__(self) -> None:
        self.names: list[str] = []
        self.data = b""
        self.n_writes = 0

    async def begin(self, filename: str) -> None:
        self.names.append(filename)

    async def write(self, *pieces: bytes | memoryview) -> None:
        self.data += b"".join(pieces)
        self.n_writes += 1


def part(name: str, data: bytes, filename: str | None = None) -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--b1\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + data + b"\r\n"


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b1--\r\n"


async def read(data: bytes, *, step: int = 1 << 16, headers: Any = HEADERS) -> tuple[Form, Sink]:
    pieces = [data[k : k + step] for k in range(0, len(data), step)] or [b""]

    def messages() -> Iterator[dict[str, Any]]:
        for k, piece in enumerate(pieces):
            yield {"type": "http.request", "body": piece, "more_body": k < len(pieces) - 1}

    coming = messages()

    async def receive() -> dict[str, Any]:
        return next(coming, {"type": "http.disconnect"})

    sink = Sink()
    return await read_form({"headers": headers}, receive, sink), sink


@pytest.mark.parametrize("step", [1, 7, 1000, 1 << 16])
async def test_fields_and_a_file_in_any_order_and_any_cut(step: int) -> None:
    file = bytes(range(256)) * 3 + b"\r\n--b\r\n--b1x"
    for parts in ([part("purpose", b"batch"), part("file", file, "a.jsonl")],) * 2:
        form, sink = await read(body(*parts), step=step)
        assert (form.text("purpose"), form.files, sink.names, sink.data) == (
            "batch",
            ["file"],
            ["a.jsonl"],
            file,
        )
        parts.reverse()


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("данные 数据.jsonl", "данные 数据.jsonl"),
        ("a%22b", 'a"b'),
        ("", "upload"),
        ("../../etc/x", "../../etc/x"),
    ],
)
async def test_names_of_files(sent: str, seen: str) -> None:
    _, sink = await read(body(part("file", b"x", sent)))
    assert sink.names == [seen]


async def test_an_empty_file_and_lists() -> None:
    form, sink = await read(body(part("file", b"", "e"), part("k[]", b"1"), part("k[]", b"2")))
    assert (sink.names, sink.data) == (["e"], b"")
    assert form.fields == {"k": ["1", "2"]}
    assert form.text("nothing") is None


async def test_a_large_file_comes_in_chunks() -> None:
    _, sink = await read(body(part("file", b"x" * CHUNK_BYTES * 5, "f")))
    assert len(sink.data) == CHUNK_BYTES * 5
    assert 4 <= sink.n_writes <= 7


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no form",
        body(part("purpose", b"x"))[:-8],
        body(part("a", b"x" * (MAX_FIELD_BYTES + 1))),
        body(*(part(f"f{k}", b"") for k in range(65))),
        body(part("file", b"", "a"), part("file", b"", "b")),
        body(part("a", b"\xff\xfe")),
        b"--b1\r\nX: y\r\n\r\nz\r\n--b1--\r\n",
        body(part("purpose", b"batch"), part("purpose", b"evals")),
        body(
            b'--b1\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n'
            b"Content-Transfer-Encoding: base64\r\n\r\neA==\r\n"
        ),
    ],
)
async def test_what_is_no_form_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        await read(data)


async def test_plain_transfer_encodings_change_nothing() -> None:
    head = b'--b1\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n'
    for name in (b"binary", b"8bit", b"7BIT"):
        _, sink = await read(body(head + b"Content-Transfer-Encoding: " + name + b"\r\n\r\neA==\r\n"))
        assert sink.data == b"eA=="


async def test_a_boundary_that_is_too_long_is_refused() -> None:
    headers = [(b"content-type", b"multipart/form-data; boundary=" + b"b" * 1000)]
    with pytest.raises(InvalidRequest, match="Boundary length 1000"):
        await read(body(part("a", b"x")), headers=headers)


async def test_a_client_that_says_no_more_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmatic.api.multipart.STALL_S", 0.01)
    coming = iter([{"type": "http.request", "body": part("a", b"x"), "more_body": True}])

    async def receive() -> dict[str, Any]:
        found = next(coming, None)
        return found if found is not None else await asyncio.Future()

    with pytest.raises(InvalidRequest, match=r"nothing more of it in 0\.01 s"):
        await read_form({"headers": HEADERS}, receive, Sink())


@pytest.mark.parametrize(
    "value", [b"", b"application/json", b"multipart/form-data", b"multipart/form-data; boundary="]
)
async def test_a_type_without_a_boundary_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidRequest, match="multipart/form-data"):
        await read(body(part("a", b"x")), headers=[(b"content-type", value)])


async def test_a_client_that_hangs_up() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        await read_form({"headers": HEADERS}, receive, Sink())
