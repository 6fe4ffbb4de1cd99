"""Encoded pictures to pixels.

Owns what is accepted (PNG, JPEG, WebP and GIF, not animated) and how large it may be, which is checked before
a pixel is decoded. Decodes with Pillow, which reads formats in bounded pieces. Pure; blocks for milliseconds.
"""

from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from llmatic.core.errors import InvalidRequest

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
LOW_SIDE = 512
MAX_RATIO = 100
UNSUPPORTED = "You uploaded an unsupported image. Please make sure your image is valid."
Pixels = NDArray[np.uint8]
Image.MAX_IMAGE_PIXELS = None  # the limit here is lower than Pillow's, and is a refusal instead of a warning


def read_picture(
    data: bytes, *, max_pixels: int, detail: Literal["auto", "low", "high"] = "auto", param: str | None = None
) -> Pixels:
    """Rows of RGB pixels, uint8 [height, width, 3], turned as its EXIF data say, on white where transparent.

    `detail` "low": scaled down to fit 512 by 512. Raises InvalidRequest.
    """
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            _check_size(image, max_pixels, param)
            image.load()
            upright = ImageOps.exif_transpose(image)
            if detail == "low":
                upright.thumbnail((LOW_SIDE, LOW_SIDE), Image.Resampling.BICUBIC)
            return np.ascontiguousarray(_flatten(upright))
    except InvalidRequest:
        raise
    except UnidentifiedImageError as error:
        message = f"{UNSUPPORTED} Supported are PNG, JPEG, WebP and GIF."
        raise InvalidRequest(message, param=param, code="invalid_image_format") from error
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise InvalidRequest(UNSUPPORTED, param=param, code="invalid_image_format") from error


def _check_size(image: Image.Image, max_pixels: int, param: str | None) -> None:
    width, height = image.size
    if getattr(image, "is_animated", False):
        message = f"{UNSUPPORTED} Animated images are not supported."
        raise InvalidRequest(message, param=param, code="invalid_image_format")
    if width * height > max_pixels:
        raise InvalidRequest(
            f"The image is too large: {width} x {height} pixels, where at most {max_pixels} are allowed.",
            param=param,
            code="image_too_large",
        )
    if max(width, height) > MAX_RATIO * min(width, height):
        raise InvalidRequest(
            f"The image is too narrow: {width} x {height} pixels. One side may be at most {MAX_RATIO} times "
            "as long as the other.",
            param=param,
            code="invalid_image_format",
        )


def _flatten(image: Image.Image) -> Pixels:
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    elif image.mode.startswith("I"):
        image = _eight_bits(image)
    return np.asarray(image.convert("RGB"))


def _eight_bits(image: Image.Image) -> Image.Image:
    """A greyscale picture of 16 bits; Pillow's own conversion cuts values off at 255."""
    grey = np.asarray(image)
    return Image.fromarray((np.clip(grey, 0, 65535) >> 8).astype(np.uint8))
