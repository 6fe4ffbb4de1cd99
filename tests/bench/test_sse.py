"""The load generator's reader against replies that arrive in awkward pieces, over a real socket."""

import asyncio
from collections.abc import Sequence

import pytest

from scripts.bench.sse import Reply, exchange, http_request

pytestmark = pytest.mark.anyio
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = (
    b'data: {"id":"a","choices":[{"index":0,"text":"He"}]}\n\n',
    b': keep-alive\n\ndata: {"id":"a","choices":[{"index":0,"text":"llo"}]}\n\n',
    b'data: {"id":"a","choices":[],"usage":{"completion_tokens":2}}\n\ndata: [DONE]\n\n',
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def reply_to(
    pieces: Sequence[bytes],
    *,
    close: bool = True,
    timeout_s: float = 10,
    cut_after: int | None = None,
    until: asyncio.Event | None = None,
) -> Reply:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if not close:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        request = http_request("/v1/completions", b"", host, "x")
        return await exchange(host, port, request, timeout_s=timeout_s, cut_after=cut_after, until=until)


@pytest.mark.parametrize("step", [1, 7, 10_000])
async def test_a_stream_is_the_same_however_it_is_cut(step: int) -> None:
    whole = HEAD + b"".join(map(chunk, EVENTS)) + b"0\r\n\r\n"
    reply = await reply_to([whole[i : i + step] for i in range(0, len(whole), step)])
    assert reply.complete
    assert reply.text == "Hello"
    assert reply.usage == {"completion_tokens": 2}
    assert len(reply.events) == 3
    assert len(reply.gaps_s) == 1
    assert reply.first_s is not None


async def test_a_line_may_be_spread_over_two_chunks() -> None:
    data = b"".join(EVENTS)
    reply = await reply_to([HEAD, chunk(data[:20]), chunk(data[20:]), b"0\r\n\r\n"])
    assert reply.complete
    assert reply.text == "Hello"


async def test_an_error_event_is_an_error() -> None:
    reply = await reply_to(
        [HEAD, chunk(EVENTS[0]), chunk(b'data: {"error":{"message":"died"}}\n\n'), b"0\r\n\r\n"]
    )
    assert not reply.complete
    assert "died" in (reply.error or "")


async def test_a_stream_without_done_is_an_error() -> None:
    reply = await reply_to([HEAD, chunk(EVENTS[0])])
    assert not reply.complete
    assert "[DONE]" in (reply.error or "")


async def test_a_refusal_keeps_its_status_and_body() -> None:
    reply = await reply_to([b'HTTP/1.1 429 Too Many\r\nContent-Type: application/json\r\n\r\n{"error":{}}'])
    assert (reply.status, reply.body) == (429, b'{"error":{}}')
    assert not reply.complete


async def test_silence_ends_with_the_time_out() -> None:
    reply = await reply_to([HEAD], close=False, timeout_s=0.01)
    assert (reply.error or "").startswith("no end within")


async def test_a_client_can_hang_up_after_some_events() -> None:
    reply = await reply_to([HEAD, chunk(EVENTS[0])], close=False, cut_after=1)
    assert reply.cut
    assert reply.error is None


async def test_a_client_can_hang_up_when_it_likes() -> None:
    until = asyncio.Event()
    until.set()
    reply = await reply_to([], close=False, until=until)
    assert reply.cut
    assert reply.error is None


async def test_nobody_there_is_an_error_not_an_exception() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    server.close()
    await server.wait_closed()
    reply = await exchange(host, port, b"", timeout_s=1)
    assert (reply.error or "").startswith("could not connect")
