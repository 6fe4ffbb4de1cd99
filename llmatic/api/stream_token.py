"""The key in the address of a run's stream, for browsers, whose EventSource sends no headers.

Owns where a key may stand besides the headers: nowhere else. Pure; event loop's thread.
"""

import re
from typing import Final
from urllib.parse import parse_qsl

_PLACE: Final = re.compile(r"/api/v1/runs/[^/]+/stream\Z")


def token_in_query(path: str, query: bytes) -> bytes | None:
    """`access_token` as an Authorization header would have it, if this is such a stream."""
    if not query or not _PLACE.match(path):
        return None
    for name, value in parse_qsl(query.decode("latin-1")):
        if name == "access_token" and value:
            return b"Bearer " + value.encode("utf-8")
    return None
