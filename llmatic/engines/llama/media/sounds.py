"""Encoded sounds, checked and cut down to what the decoder needs.

Owns what is accepted (WAV with PCM or float samples, MP3) and how long it may last, which is found out before
a sample is decoded. What is returned holds nothing but the frames that were counted, so that the decoder,
which would allocate whatever a header claims, cannot find others. Pure; blocks for milliseconds.
"""

import struct

from llmatic.core.errors import InvalidRequest
from llmatic.core.signatures import sound_format

MIN_S = 0.1
UNSUPPORTED = "The audio data is not a valid {} file."
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_FORMAT_PCM, _FORMAT_FLOAT, _FORMAT_EXTENSIBLE = 1, 3, 0xFFFE
_RATE_RANGE = (4000, 384_000)
_N_FRAMES_MIN = 2


def check_sound(data: bytes, *, max_s: float, param: str | None = None) -> bytes:
    """An equal file with nothing but its samples, `MIN_S` to `max_s` seconds long. Raises InvalidRequest."""
    form = sound_format(data)
    try:
        if form == "wav":
            seconds, plain = _plain_wav(data)
        elif form == "mp3":
            seconds, plain = _plain_mp3(data, max_s)
        else:
            raise InvalidRequest(
                "The audio data is of no supported format. Supported are WAV and MP3.",
                param=param,
                code="invalid_audio_format",
            )
    except (ValueError, struct.error) as error:
        raise InvalidRequest(UNSUPPORTED.format(form), param=param, code="invalid_audio_format") from error
    if seconds > max_s:
        raise InvalidRequest(
            f"The audio is too long: at most {max_s:g} seconds are allowed.",
            param=param,
            code="audio_too_long",
        )
    if seconds < MIN_S:
        raise InvalidRequest(
            f"The audio is too short: at least {MIN_S:g} seconds are needed.",
            param=param,
            code="audio_too_short",
        )
    return plain


def _plain_wav(data: bytes) -> tuple[float, bytes]:
    layout, samples, at = b"", b"", 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        body = data[at + 8 : at + 8 + size]
        if name == b"fmt ":
            layout = body
        elif name == b"data":
            samples = body  # a stream's header may claim more than there is
            break
        at += 8 + size + size % 2
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", layout)
    if kind == _FORMAT_EXTENSIBLE:
        kind = struct.unpack_from("<H", layout, 24)[0]
    allowed = {_FORMAT_PCM: (8, 16, 24, 32), _FORMAT_FLOAT: (32, 64)}.get(kind, ())
    if bits not in allowed or not 1 <= channels <= 8 or not _RATE_RANGE[0] <= rate <= _RATE_RANGE[1]:
        raise ValueError("such samples are not supported")
    width = channels * bits // 8
    samples = samples[: len(samples) // width * width]
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, kind, channels, rate, rate * width, width, bits)
    body = b"WAVE" + head + struct.pack("<4sI", b"data", len(samples)) + samples
    return len(samples) / width / rate, struct.pack("<4sI", b"RIFF", len(body)) + body


def _plain_mp3(data: bytes, max_s: float) -> tuple[float, bytes]:
    """Follows the headers of the frames (ISO 11172-3 layer III) until they end or last too long."""
    at = _after_id3(data)
    seconds, frames, kept = 0.0, [], None
    while at + 4 <= len(data) and seconds <= max_s:
        found = _mp3_frame(data, at)
        if found is None or (kept is not None and found[2] != kept):
            at = _next_sync(data, at + 1)
            continue
        size, duration, kept = found
        frames.append(data[at : at + size])
        seconds += duration
        at += size
    if len(frames) < _N_FRAMES_MIN:
        raise ValueError("no frames")
    return seconds, b"".join(frames)


def _after_id3(data: bytes) -> int:
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | (byte & 0x7F)
    return size + 10 + 10 * bool(data[5] & 0x10)


def _next_sync(data: bytes, at: int) -> int:
    found = data.find(b"\xff", at)
    return len(data) if found < 0 else found


def _mp3_frame(data: bytes, at: int) -> tuple[int, float, tuple[int, int]] | None:
    """Bytes, seconds, and (version, sample rate) of the frame at `at`; None if none begins there."""
    one, two, three = data[at], data[at + 1], data[at + 2]
    version, layer = two >> 3 & 3, two >> 1 & 3
    bitrate, rate = three >> 4, three >> 2 & 3
    if one != 0xFF or two & 0xE0 != 0xE0 or version == 1 or layer != 1 or rate == 3 or bitrate in (0, 15):
        return None
    hertz = _RATES[version][rate]
    n_samples = 1152 if version == 3 else 576
    kbits = (_KBITS_1 if version == 3 else _KBITS_2)[bitrate]
    size = n_samples // 8 * kbits * 1000 // hertz + (three >> 1 & 1)
    if at + size > len(data):
        return None
    return size, n_samples / hertz, (version, hertz)
