"""Pictures from outside: what is taken, and what is refused before it costs anything."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from llmatic.core.errors import InvalidRequest
from llmatic.engines.llama.media.pictures import Pixels, read_picture
from tests.engines.llama.small_vision import picture, pixels


def read(data: bytes, *, max_pixels: int = 1_000_000, **more: str) -> Pixels:
    return read_picture(data, max_pixels=max_pixels, param="here", **more)  # type: ignore[arg-type]


def png_of(width: int, height: int, body: bytes, *, bits: int = 8, colour: int = 2) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def file_of(image: Image.Image, form: str = "PNG", **more: object) -> bytes:
    file = BytesIO()
    image.save(file, form, **more)
    return file.getvalue()


@pytest.mark.parametrize(("form", "distance"), [("PNG", 0), ("JPEG", 50), ("WEBP", 50), ("GIF", 50)])
def test_formats(form: str, distance: int) -> None:
    found = read(picture(1, form=form).data)
    assert found.shape == (30, 40, 3)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - pixels(1)).max() <= distance


@pytest.mark.parametrize("form", ["TIFF", "BMP", "PPM"])
def test_other_formats_are_refused(form: str) -> None:
    with pytest.raises(InvalidRequest, match="unsupported image") as caught:
        read(file_of(Image.fromarray(pixels(1)), form))
    assert (caught.value.param, caught.value.code) == ("here", "invalid_image_format")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0 no",
    ],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="unsupported image"):
        read(data)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_truncated_files_are_refused(form: str, share: float) -> None:
    data = picture(1, form=form, width=200, height=200).data
    with pytest.raises(InvalidRequest, match="unsupported image"):
        read(data[: int(len(data) * share)])


def test_a_header_that_claims_too_much_is_refused_unread() -> None:
    bomb = png_of(60000, 60000, zlib.compress(b"\0" * 1000))
    with pytest.raises(InvalidRequest, match="too large: 60000 x 60000 pixels") as caught:
        read(bomb)
    assert caught.value.code == "image_too_large"


def test_data_beyond_the_picture_is_not_unpacked() -> None:
    rows = b"".join(b"\0" + pixels(1)[y].tobytes() for y in range(30))
    bomb = png_of(40, 30, zlib.compress(rows + b"\0" * 50_000_000))
    assert len(bomb) < 100_000
    assert np.array_equal(read(bomb), pixels(1))


def test_a_compressed_comment_that_unpacks_to_much_is_refused() -> None:
    text = zlib.compress(b"a" * 80_000_000)
    good = picture(1).data
    body = b"zTXt" + b"Comment\0\0" + text
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    at = good.index(b"IDAT") - 4
    with pytest.raises(InvalidRequest, match="unsupported image"):
        read(good[:at] + chunk + good[at:])


@pytest.mark.parametrize("size", [(1000, 1), (1, 500)])
def test_narrow_pictures_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidRequest, match="too narrow"):
        read(picture(1, width=size[0], height=size[1]).data)


def test_animations_are_refused() -> None:
    frames = [Image.fromarray(pixels(n)) for n in range(3)]
    data = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(InvalidRequest, match="Animated images are not supported"):
        read(data)


def test_transparency_shows_white() -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.putpixel((1, 2), (10, 20, 30, 255))
    found = read(file_of(image))
    assert found[0, 0].tolist() == [255, 255, 255]
    assert found[2, 1].tolist() == [10, 20, 30]


def test_a_photograph_is_turned_as_its_camera_was() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    found = read(file_of(Image.fromarray(pixels(1)), exif=exif))
    assert np.array_equal(found, np.rot90(pixels(1), -1))


def test_sixteen_bits_become_eight() -> None:
    body = b"".join(b"\0" + struct.pack(">4H", 0, 256, 32768, 65535) for _ in range(2))
    found = read(png_of(4, 2, zlib.compress(body), bits=16, colour=0))
    assert found[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "RGBA"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    form = "JPEG" if mode == "CMYK" else "PNG"
    found = read(file_of(Image.fromarray(pixels(1)).convert(mode), form))
    assert found.shape == (30, 40, 3)


def test_low_detail_is_scaled_down_and_high_is_not() -> None:
    data = picture(1, width=1000, height=600).data
    assert read(data, detail="low").shape == (307, 512, 3)
    assert read(data, detail="high").shape == (600, 1000, 3)
    assert read(picture(1).data, detail="low").shape == (30, 40, 3)
