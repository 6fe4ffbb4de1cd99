import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatic.workers import protocol
from llmatic.workers.protocol import FrameReader, FrameTooLarge, ProtocolError, Unsendable, encode

json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(frames=st.lists(st.lists(json_like, max_size=4), max_size=5), cuts=st.lists(st.integers(1, 40)))
def test_any_frames_in_any_pieces_come_out_whole(frames: list[list[object]], cuts: list[int]) -> None:
    stream = b"".join(encode(protocol.EVENTS, *frame) for frame in frames)
    reader, found, at = FrameReader(), [], 0
    for size in [*cuts, len(stream)]:
        found += list(reader.feed(stream[at : at + size]))
        at += size
    found += list(reader.feed(stream[at:]))
    assert found == [[protocol.EVENTS, *frame] for frame in frames]


@given(st.binary(max_size=60))
def test_garbage_is_a_protocol_error_or_waits_for_more(data: bytes) -> None:
    try:
        frames = list(FrameReader().feed(data))
    except ProtocolError:
        return
    assert all(isinstance(frame[0], int) for frame in frames)


def test_an_absurd_length_is_refused_before_it_is_read() -> None:
    with pytest.raises(FrameTooLarge):
        list(FrameReader().feed(b"\xff\xff\xff\x7f"))


def test_a_frame_over_the_cap_is_not_sent() -> None:
    with pytest.raises(FrameTooLarge):
        encode(protocol.SUBMIT, b"x" * protocol.MAX_FRAME_BYTES)


@pytest.mark.parametrize("value", [10**30, "\ud800", object()])
def test_what_msgpack_cannot_carry(value: object) -> None:
    with pytest.raises(Unsendable):
        encode(protocol.SUBMIT, value)
