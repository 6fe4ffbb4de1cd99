"""Frames on the socket between the server and a worker.

Owns the byte format: four bytes of length, little-endian, then one msgpack array `[kind, …]`. Never
reads or writes a socket. Pure; each end has a `FrameReader` of its own, used by one thread.

    server → worker                            worker → server
    HELLO   version, spec                      PROGRESS  fraction 0..1 | nil, phase
    SUBMIT  number, request                    READY     version, info
    CANCEL  number                             REFUSED   error (the engine did not load)
    PING    nonce                              EVENTS    [event, …] of one engine step
    HOLD    seconds                            PONG      nonce, n_steps, busy_s | nil, stats
    CLOSE

Numbers name requests on one connection and are never used twice. A request that was cancelled may still
have events under way; the server drops them.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

VERSION: Final = 4
MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
HEADER_BYTES: Final = 4

HELLO: Final = 0
SUBMIT: Final = 1
CANCEL: Final = 2
PING: Final = 3
CLOSE: Final = 4
HOLD: Final = 5
PROGRESS: Final = 10
READY: Final = 11
REFUSED: Final = 12
EVENTS: Final = 13
PONG: Final = 14

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder()


class ProtocolError(Exception):
    """The other end sent what no frame can be; the connection is of no more use."""


class FrameTooLarge(ProtocolError):
    """A frame over MAX_FRAME_BYTES, outgoing or announced by the other end."""


class Unsendable(ValueError):
    """A value that msgpack cannot carry: an integer beyond 64 bits, a lone surrogate, endless nesting."""


def encode(*frame: Any) -> bytes:
    """The bytes of the frame `[kind, …]`; raises Unsendable or FrameTooLarge."""
    try:
        body = _encoder.encode(frame)
    except (OverflowError, TypeError, ValueError, RecursionError) as error:
        raise Unsendable(str(error)) from error
    if len(body) > MAX_FRAME_BYTES:
        raise FrameTooLarge(f"a frame of {len(body)} bytes; the limit is {MAX_FRAME_BYTES}")
    return len(body).to_bytes(HEADER_BYTES, "little") + body


class FrameReader:
    """Cuts a byte stream into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = HEADER_BYTES

    def feed(self, data: bytes) -> Iterator[list[Any]]:
        """Every frame that `data` completes; raises ProtocolError. Exhaust it before feeding more."""
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return
            data, self._buffer = bytes(self._buffer), bytearray()
        view, start = memoryview(data), 0
        while len(data) - start >= HEADER_BYTES:
            size = int.from_bytes(data[start : start + HEADER_BYTES], "little")
            if size > MAX_FRAME_BYTES:
                raise FrameTooLarge(f"a frame of {size} bytes was announced; the limit is {MAX_FRAME_BYTES}")
            end = start + HEADER_BYTES + size
            if end > len(data):
                self._needed = HEADER_BYTES + size
                break
            yield _decode(view[start + HEADER_BYTES : end])
            start = end
        else:
            self._needed = HEADER_BYTES
        self._buffer += view[start:]


def _decode(body: memoryview) -> list[Any]:
    try:
        frame = _decoder.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ProtocolError(f"a frame that is not msgpack: {error}") from error
    if not isinstance(frame, list) or not frame or not isinstance(frame[0], int):
        raise ProtocolError("a frame that is not an array with a kind")
    return frame
