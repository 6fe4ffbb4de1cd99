"""The input of a batch, read a slice at a time in a thread.

Owns nothing but the reading. Event loop's thread.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator

from llmatic.services.batches.lines import NumberedLine, slices
from llmatic.services.jsonl import lines_of
from llmatic.store.blobs import Blobs


class InputGone(Exception):
    """The file was deleted."""


async def input_slices(blobs: Blobs, file_id: str) -> AsyncGenerator[list[NumberedLine], None]:
    """All lines with their numbers. Raises InputGone, InvalidRequest for a line too long, Unavailable."""
    opened = slices(lines_of(_chunks(blobs, file_id)))
    while (found := await asyncio.to_thread(next, opened, None)) is not None:
        yield found


def _chunks(blobs: Blobs, file_id: str) -> Iterator[bytes]:
    """Opens the blob in the thread that reads it."""
    try:
        reader = blobs.read(file_id)
    except KeyError:
        raise InputGone(file_id) from None
    try:
        yield from reader
    finally:
        reader.close()
