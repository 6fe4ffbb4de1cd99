"""Sounds from outside: what is taken, and what is refused before it is decoded."""

import struct

import numpy as np
import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.engines.llama.media.sounds import check_sound
from tests.engines.llama.small_vision import wave

FRAME = b"\xff\xfb\x90\x00" + bytes(413)  # 1152 silent samples at 44.1 kHz, 128 kbit/s


def wav(kind: int, channels: int, rate: int, bits: int, samples: bytes, *, extra: bytes = b"") -> bytes:
    layout = struct.pack("<HHIIHH", kind, channels, rate, 1, 1, bits)
    body = b"WAVE" + b"fmt " + struct.pack("<I", 16) + layout + extra
    body += b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body


def check(data: bytes, *, max_s: float = 10.0) -> bytes:
    return check_sound(data, max_s=max_s, param="here")


def test_a_wav_file_stays_as_it_is() -> None:
    assert check(wave(1)) == wave(1)


def test_what_is_not_needed_is_left_out() -> None:
    extra = b"LIST" + struct.pack("<I", 5) + b"hello\0"
    samples = np.zeros(8000, "<i2").tobytes()
    found = check(wav(1, 1, 16000, 16, samples, extra=extra) + b"trailing")
    assert len(found) == 44 + len(samples)
    assert found[36:40] == b"data"


def test_a_stream_that_claims_more_than_there_is_ends_with_the_file() -> None:
    data = bytearray(wave(1, 1.0))
    data[40:44] = b"\xff\xff\xff\xff"
    assert check(bytes(data))[40:44] == struct.pack("<I", 32000)


@pytest.mark.parametrize(("kind", "bits"), [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)])
def test_samples_of_every_usual_kind(kind: int, bits: int) -> None:
    assert check(wav(kind, 2, 48000, bits, bytes(2 * bits // 8 * 48000)))


@pytest.mark.parametrize(
    ("kind", "channels", "rate", "bits"),
    [
        (2, 1, 16000, 4),
        (1, 0, 16000, 16),
        (1, 9, 16000, 16),
        (1, 1, 1, 8),
        (1, 1, 10**6, 16),
        (1, 1, 16000, 12),
    ],
)
def test_odd_headers_are_refused(kind: int, channels: int, rate: int, bits: int) -> None:
    with pytest.raises(InvalidRequest, match="not a valid wav file") as caught:
        check(wav(kind, channels, rate, bits, bytes(40000)))
    assert (caught.value.param, caught.value.code) == ("here", "invalid_audio_format")


@pytest.mark.parametrize("size", [12, 20, 30, 43])
def test_headers_that_are_cut_off_are_refused(size: int) -> None:
    with pytest.raises(InvalidRequest, match=r"not a valid wav file|too short"):
        check(wave(1)[:size])


def test_frames_of_an_mp3_file_are_counted_and_the_rest_is_left_out() -> None:
    tag = b"ID3\4\0\0" + bytes([0, 0, 1, 0]) + bytes(128)
    assert check(tag + FRAME * 20 + b"junk" + FRAME * 20 + b"TAG" + bytes(125)) == FRAME * 40


@pytest.mark.parametrize("data", [b"ID3" + bytes(100), FRAME, b"\xff\xfb" + bytes(1000), b"\xff" * 1000])
def test_an_mp3_file_without_frames_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"not a valid mp3 file|no supported format"):
        check(data)


@pytest.mark.parametrize("data", [wave(1, 2.0), FRAME * 80])
def test_long_sounds_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"at most 1\.5 seconds") as caught:
        check(data, max_s=1.5)
    assert caught.value.code == "audio_too_long"


@pytest.mark.parametrize("data", [wave(1, 0.05), wave(1, 0.0), FRAME * 3])
def test_short_sounds_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"at least 0\.1 seconds"):
        check(data)


@pytest.mark.parametrize("data", [b"", b"OggS" + bytes(100), b"fLaC" + bytes(100), b"RIFF1234AVI "])
def test_other_formats_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="no supported format"):
        check(data)
