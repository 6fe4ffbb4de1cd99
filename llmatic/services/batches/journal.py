"""Results of lines on their way to the disk, some at a time.

Owns what is finished but not yet safe, and the writing of it in parts: a small part goes into the database, a
large one into a blob that the database names. A line counts as done once its part is written, so that each
comes once into an output or error file, however often the server dies. Event loop's thread; blobs are written
in others.
"""

import asyncio
import contextlib
from collections import Counter
from typing import Final

import structlog

from llmatic.core.errors import LlmaticError
from llmatic.services.batches import line_numbers
from llmatic.services.batches.results import Result
from llmatic.store.batches import Part, add_part
from llmatic.store.blobs import Blobs
from llmatic.store.database import Database
from llmatic.store.errors import AlreadyThere

FLUSH_S: Final = 0.5
FLUSH_BYTES: Final = 4 * 1024 * 1024
MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
INLINE_BYTES: Final = 64 * 1024
FIRST_RETRY_S: Final = 0.5
LONGEST_RETRY_S: Final = 10.0

_log = structlog.get_logger("llmatic.batches")


class LeaseLost(Exception):
    """Another server works on the batch now."""


def part_key(batch_id: str, generation: int, number: int) -> str:
    """The name of a part's blob. Each claim has names of its own, so that nobody overwrites another's."""
    return f"{batch_id}-{generation}-{number}"


class Journal:
    """The results of one batch. `keep` runs beside whoever adds; `close` ends it."""

    def __init__(
        self, database: Database, blobs: Blobs, batch_id: str, generation: int, n_parts: int
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._batch_id = batch_id
        self._generation = generation

        self._waiting: list[Result] = []
        self._n_waiting_bytes = 0
        self._is_closing = False
        self._any = asyncio.Event()
        self._urgent = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.n_parts = n_parts

    def add(self, result: Result) -> None:
        """From now on the line is on its way."""
        self._waiting.append(result)
        self._n_waiting_bytes += len(result.text)
        self._any.set()
        if self._n_waiting_bytes >= FLUSH_BYTES:
            self._urgent.set()
        if self._n_waiting_bytes >= MAX_WAITING_BYTES:
            self._room.clear()

    async def room(self) -> None:
        """Wait until not too much is on its way."""
        await self._room.wait()

    def close(self) -> None:
        """Let `keep` write what there is, and return."""
        self._is_closing = True
        self._any.set()
        self._urgent.set()

    async def keep(self) -> None:
        """Write whatever is added until closed; while that is impossible, try again. Raises LeaseLost."""
        while True:
            await self._any.wait()
            if not self._waiting:
                if self._is_closing:
                    return
                self._any.clear()
                continue
            if not self._urgent.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._urgent.wait(), FLUSH_S)
            results, self._waiting = self._waiting, []
            if not self._is_closing:
                self._urgent.clear()
            await self._write(results)
            self._n_waiting_bytes -= sum(len(result.text) for result in results)
            if self._n_waiting_bytes < MAX_WAITING_BYTES:
                self._room.set()

    async def _write(self, results: list[Result]) -> None:
        delay_s = FIRST_RETRY_S
        while True:
            try:
                is_ours = await self._tried(results)
            except AlreadyThere:
                # Only the holder writes parts: it was our own write, and its acknowledgement was lost.
                is_ours = True
            except LlmaticError as error:
                _log.warning(
                    "batch_results_wait", batch=self._batch_id, n_lines=len(results), why=error.message
                )
                await asyncio.sleep(delay_s)
                delay_s = min(LONGEST_RETRY_S, delay_s * 2)
                continue
            if not is_ours:
                raise LeaseLost(self._batch_id)
            self.n_parts += 1
            return

    async def _tried(self, results: list[Result]) -> bool:
        texts = [result.text for result in results if result.is_completed]
        n_output_bytes = sum(map(len, texts))
        data = b"".join([*texts, *(result.text for result in results if not result.is_completed)])
        lines = line_numbers.written(result.number for result in results)
        part = Part(self._batch_id, self.n_parts, lines, n_output_bytes, data=data)
        if len(data) > INLINE_BYTES:
            blob = part_key(self._batch_id, self._generation, self.n_parts)
            await asyncio.to_thread(_put, self._blobs, blob, data)
            part = Part(self._batch_id, self.n_parts, lines, n_output_bytes, blob=blob)
        return await self._database.write(add_part(self._generation, part, _counts(results)))


def _counts(results: list[Result]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for result in results:
        counts["n_completed" if result.is_completed else "n_failed"] += 1
        counts["n_input_tokens"] += result.tokens.n_input
        counts["n_cached_tokens"] += result.tokens.n_cached
        counts["n_output_tokens"] += result.tokens.n_output
        counts["n_reasoning_tokens"] += result.tokens.n_reasoning
    return counts


def _put(blobs: Blobs, key: str, data: bytes) -> None:
    writer = blobs.create(key)
    try:
        writer.write(data)
        writer.commit()
    finally:
        writer.discard()
