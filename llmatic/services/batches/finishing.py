"""The end of a batch: its parts become an output and an error file.

Owns the copying and the names of the files. Both ids follow from the batch's, so that whoever repeats the end
after a crash writes the same files again instead of new ones. Event loop's thread; bytes are moved in others.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

import orjson

from llmatic.services.batches import line_numbers
from llmatic.services.batches.inputs import InputGone, input_slices
from llmatic.services.batches.lines import NumberedLine
from llmatic.services.batches.results import unexecuted
from llmatic.services.produced_files import ProducedFile
from llmatic.store.batches import BatchRecord, Part, part_data
from llmatic.store.blobs import Blobs
from llmatic.store.database import Database
from llmatic.store.files import FileRecord

PURPOSE: Final = "batch_output"


def done_lines(parts: Sequence[Part]) -> set[int]:
    """The numbers of the lines whose results are safe."""
    done: set[int] = set()
    for part in parts:
        found = line_numbers.read(part.lines)
        assert done.isdisjoint(found), "each line is done once"
        done |= found
    return done


def file_id(batch_id: str, kind: str) -> str:
    """The id of a batch's output or error file."""
    return "file-" + hashlib.sha256(f"{batch_id} {kind}".encode()).hexdigest()[:24]


async def write_files(
    database: Database,
    blobs: Blobs,
    batch: BatchRecord,
    parts: Sequence[Part],
    why_unexecuted: tuple[str, str] | None,
    now: int,
) -> tuple[FileRecord | None, FileRecord | None]:
    """The records of the output and the error file, to be added; None for one that would be empty.

    `why_unexecuted`: code and message for the lines that are not done, if there are any. Raises
    InsufficientStorage, Unavailable.
    """
    output, errors = (
        ProducedFile(blobs, file_id(batch.id, kind), f"{batch.id}_{kind}.jsonl")
        for kind in ("output", "error")
    )
    try:
        for part in parts:
            if part.blob is None:
                data = await database.read(part_data(batch.id, part.number))
                await asyncio.to_thread(_split, data, part.n_output_bytes, output, errors)
            else:
                await asyncio.to_thread(_copy, blobs, part.blob, part.n_output_bytes, output, errors)
        if why_unexecuted is not None:
            await _write_unexecuted(blobs, batch, done_lines(parts), why_unexecuted, errors)
        made = [
            await asyncio.to_thread(file.commit, batch.owner, PURPOSE, now, batch.output_lifetime_s)
            for file in (output, errors)
        ]
    finally:
        await asyncio.to_thread(_discard, output, errors)
    return made[0], made[1]


async def _write_unexecuted(
    blobs: Blobs, batch: BatchRecord, done: set[int], why: tuple[str, str], errors: ProducedFile
) -> None:
    try:
        async with aclosing(input_slices(blobs, batch.input_file_id)) as found:
            async for lines in found:
                await asyncio.to_thread(_tell, [line for line in lines if line[0] not in done], why, errors)
    except InputGone:
        return  # nobody can say any more what was asked


def _tell(lines: Sequence[NumberedLine], why: tuple[str, str], errors: ProducedFile) -> None:
    for _, line in lines:
        errors.write(unexecuted(orjson.loads(line)["custom_id"], why))


def _split(data: bytes, n_output_bytes: int, output: ProducedFile, errors: ProducedFile) -> None:
    output.write(data[:n_output_bytes])
    errors.write(data[n_output_bytes:])


def _copy(blobs: Blobs, key: str, n_output_bytes: int, output: ProducedFile, errors: ProducedFile) -> None:
    for file, start, end in ((output, 0, n_output_bytes), (errors, n_output_bytes, None)):
        reader = blobs.read(key, start, end)
        try:
            for chunk in reader:
                file.write(chunk)
        finally:
            reader.close()


def _discard(*files: ProducedFile) -> None:
    for file in files:
        file.discard()
