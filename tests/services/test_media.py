"""Media in messages: what becomes of them, and what is refused."""

import base64
from typing import Any
from urllib.parse import quote

import pytest

from llmatic.config import MediaSettings
from llmatic.core.errors import InvalidRequest
from llmatic.core.types import EngineInfo, Media
from llmatic.services.media import MediaLoader, has_media, refuse_unseen

pytestmark = pytest.mark.anyio
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
JPEG = b"\xff\xd8\xff\xe0" + b"jpeg"
WEBP = b"RIFF1234WEBPVP8 "
WAV = b"RIFF1234WAVEfmt "
MP3 = b"\xff\xfb\x90\x00" + b"mp3"


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def image(data: bytes = PNG, kind: str = "image/png", **more: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{coded(data)}", **more}}


def audio(data: bytes = WAV, form: str = "wav") -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": coded(data), "format": form}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


async def load(*parts: dict[str, Any], **settings: Any) -> tuple[list[Any], tuple[Media, ...]]:
    loader = MediaLoader(MediaSettings(**settings))
    messages, media = await loader.load([{"role": "user", "content": list(parts), "name": "ann"}])
    assert messages[0]["role"] == "user"
    assert messages[0]["name"] == "ann"
    return messages[0]["content"], media


async def test_messages_without_media_stay_as_they_are() -> None:
    messages = (
        {"role": "user", "content": "hello"},
        {"role": "user", "content": [text("x")]},
        {"role": "tool"},
    )
    assert not has_media(messages)
    assert await MediaLoader(MediaSettings()).load(messages) == (messages, ())


async def test_media_are_taken_out_in_order() -> None:
    parts = (text("a"), image(), text("b"), audio(), image(JPEG, "image/jpeg", detail="low"))
    content, media = await load(*parts)
    assert content == [
        text("a"),
        {"type": "media", "index": 0},
        text("b"),
        {"type": "media", "index": 1},
        {"type": "media", "index": 2},
    ]
    assert media == (Media("image", PNG), Media("audio", WAV), Media("image", JPEG, "low"))


async def test_indices_run_over_all_messages() -> None:
    loader = MediaLoader(MediaSettings())
    messages, media = await loader.load([{"role": "user", "content": [image()]} for _ in range(6)])
    assert [message["content"][0]["index"] for message in messages] == list(range(6))
    assert len(media) == 6


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64," + coded(PNG),
        "DATA:image/PNG;charset=utf-8;BASE64," + coded(PNG),
        "data:image/png;base64," + coded(PNG).rstrip("="),
        "data:image/png;base64," + "\n".join(coded(PNG)),
        "data:image/png;base64," + base64.urlsafe_b64encode(PNG).decode(),
        "data:image/png;base64," + quote(coded(PNG), safe=""),
        "data:image/png," + quote(PNG, safe=""),
    ],
    ids=["plain", "capitals", "unpadded", "lines", "urlsafe", "quoted base64", "quoted"],
)
async def test_data_urls_in_every_spelling(url: str) -> None:
    _, media = await load({"type": "image_url", "image_url": {"url": url}})
    assert media == (Media("image", PNG),)


async def test_a_url_may_stand_for_the_object() -> None:
    _, media = await load({"type": "image_url", "image_url": image(WEBP, "image/webp")["image_url"]["url"]})
    assert media[0].data == WEBP


async def test_long_data_urls_are_decoded_too() -> None:
    data = PNG + bytes(1_000_000)
    assert (await load(image(data)))[1][0].data == data


@pytest.mark.parametrize(
    ("part", "message", "code"),
    [
        (image(b"hello"), "unsupported image", "invalid_image_format"),
        (image(WAV), "unsupported image", "invalid_image_format"),
        (image(JPEG), "the content is jpeg, not image/png", "invalid_image_format"),
        (image(PNG, "image/tiff"), "the content is png, not image/tiff", "invalid_image_format"),
        (image(PNG, "text/html"), "Invalid image URL", "invalid_image_url"),
        (image(b""), "Invalid base64 image_url", "invalid_base64"),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,%%%"}},
            "Invalid base64",
            "invalid_base64",
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,abc!"}},
            "Invalid base",
            "invalid_base64",
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64"}},
            "Invalid image",
            "invalid_image_url",
        ),
        (
            {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
            "Invalid image",
            "invalid_image_url",
        ),
        (
            {"type": "image_url", "image_url": {"url": "ftp://example.org/x"}},
            "Invalid image",
            "invalid_image_url",
        ),
        ({"type": "image_url", "image_url": {"url": ""}}, "Invalid image URL", "invalid_image_url"),
        ({"type": "image_url", "image_url": {"url": coded(PNG)}}, "Invalid image URL", "invalid_image_url"),
    ],
)
async def test_pictures_that_are_refused(part: dict[str, Any], message: str, code: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        await load(text("x"), part)
    assert caught.value.code == code
    assert caught.value.param == "messages.[0].content.[1].image_url.url"
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (audio(WAV, "mp3"), "not a valid mp3 file"),
        (audio(MP3, "wav"), "not a valid wav file"),
        (audio(PNG), "not a valid wav file"),
        ({"type": "input_audio", "input_audio": {"data": "****", "format": "wav"}}, "Invalid base64 audio"),
    ],
)
async def test_sounds_that_are_refused(part: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        await load(part)
    assert caught.value.param == "messages.[0].content.[0].input_audio.data"


async def test_too_many_and_too_large() -> None:
    with pytest.raises(InvalidRequest, match="Too many images or sounds: 5, where at most 4"):
        await load(*[image()] * 5, max_items=4)
    with pytest.raises(InvalidRequest, match="at most 2000 bytes") as caught:
        await load(image(PNG + bytes(2000)), max_bytes=2000)
    assert caught.value.code == "media_too_large"
    with pytest.raises(InvalidRequest, match="at most 2000 bytes"):
        await load(audio(WAV + bytes(2000)), max_bytes=2000)
    with pytest.raises(InvalidRequest, match="bytes together"):
        await load(*[image(PNG + bytes(9_000_000))] * 8)


async def test_addresses_are_refused_unless_configured() -> None:
    with pytest.raises(InvalidRequest, match=r"media\.hosts") as caught:
        await load({"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}})
    assert caught.value.code == "invalid_image_url"


def test_models_that_see_nothing_are_asked_nothing() -> None:
    info = EngineInfo(1, 1, 1, 1, True, False, "fp")
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "x"},
        {"role": "user", "content": [text("y"), image()]},
    ]
    with pytest.raises(InvalidRequest) as caught:
        refuse_unseen(messages, info)
    assert caught.value.message == "Invalid content type. image_url is only supported by certain models."
    assert caught.value.param == "messages.[1].content.[1].type"
    refuse_unseen(messages, EngineInfo(1, 1, 1, 1, True, False, "fp", has_vision=True))
    with pytest.raises(InvalidRequest, match="input_audio is only supported"):
        refuse_unseen([{"role": "user", "content": [audio()]}], info)
