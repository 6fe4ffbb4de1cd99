"""Writes replies of /embeddings, key for key as OpenAI does.

Base64 is 32-bit floats, little-endian, as the engines give them; numbers are written with as few digits as
tell those floats apart. A reply is made in parts, so that the event loop may turn between them, and put
together once, because it is large. Pure; any thread.
"""

from binascii import b2a_base64
from collections.abc import Iterator
from typing import Any

import orjson

from llmatic.services.encoding import Rows

ROWS_PER_PART = 128


def base64_parts(rows: Rows) -> Iterator[list[bytes]]:
    """The items of `data` with their vectors in base64, some rows at a time."""
    for part in _ranges(rows.n_rows):
        pieces = []
        for index in part:
            pieces.append(_before(index))
            pieces.append(b2a_base64(rows.row(index), newline=False))
            pieces.append(b'"}')
        yield pieces


def float_parts(rows: Rows) -> Iterator[list[bytes]]:
    """The items of `data` with their vectors as lists of numbers, some rows at a time."""
    import numpy as np  # slow to import, and base64 is what most clients ask for

    matrix = np.frombuffer(rows.data, dtype="<f4").reshape(rows.n_rows, rows.n_columns)
    for part in _ranges(rows.n_rows):
        items = [{"object": "embedding", "index": index, "embedding": matrix[index]} for index in part]
        comma = b"," if part.start else b""
        yield [comma, orjson.dumps(items, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]]


def whole(pieces: list[bytes], model: str, n_tokens: int, tier: str | None) -> bytes:
    """The body around the items. `tier` None: the request named none, and OpenAI's reply has no such key."""
    rest: dict[str, Any] = {"model": model, "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens}}
    if tier is not None:
        rest["service_tier"] = tier
    return b"".join([b'{"object":"list","data":[', *pieces, b"],", orjson.dumps(rest)[1:]])


def _before(index: int) -> bytes:
    return b'%b{"object":"embedding","index":%d,"embedding":"' % (b"," if index else b"", index)


def _ranges(n_rows: int) -> Iterator[range]:
    for first in range(0, n_rows, ROWS_PER_PART):
        yield range(first, min(n_rows, first + ROWS_PER_PART))
