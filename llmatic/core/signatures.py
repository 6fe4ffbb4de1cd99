"""What an encoded picture or sound is, by its first bytes. Pure; any thread."""

from typing import Literal

PictureFormat = Literal["png", "jpeg", "gif", "webp"]
SoundFormat = Literal["wav", "mp3"]
_PICTURES: tuple[tuple[bytes, PictureFormat], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
)


def picture_format(data: bytes) -> PictureFormat | None:
    """None for anything that OpenAI does not take."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((form for head, form in _PICTURES if data.startswith(head)), None)


def sound_format(data: bytes) -> SoundFormat | None:
    """None for anything that OpenAI does not take. An MP3 file begins with ID3 tags or with a frame."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    is_frame = len(data) > 1 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2
    return "mp3" if data[:3] == b"ID3" or is_frame else None
