"""The work on one batch, from wherever it stands to its end.

Owns the order of a batch's states. It can stop at any await and be begun again, here or on another server:
what counts is in the database. Every change is void once another server has claimed the batch. Event loop's
thread.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import orjson

from llmatic.config import BatchSettings
from llmatic.core.errors import InvalidRequest, LlmaticError
from llmatic.core.limits import Limits
from llmatic.core.principal import Principal
from llmatic.services.batches.answering import LineAnswers
from llmatic.services.batches.finishing import done_lines, write_files
from llmatic.services.batches.inputs import InputGone, input_slices
from llmatic.services.batches.journal import Journal, LeaseLost, part_key
from llmatic.services.batches.lines import (
    GONE,
    BatchError,
    LineCheck,
    NumberedLine,
    too_large,
    too_long,
    written_errors,
)
from llmatic.services.batches.ports import Operations, Place
from llmatic.services.batches.results import CANCELLED, EXPIRED
from llmatic.services.batches.slots import FairSlots
from llmatic.store.batches import (
    ENDED,
    BatchRecord,
    Status,
    change_batch,
    drop_parts,
    get_batch,
    list_parts,
)
from llmatic.store.blobs import Blobs
from llmatic.store.database import Database
from llmatic.store.files import FileRecord, get_file

LAST_WRITE_S: Final = 5.0
KEY_PREFIX: Final = "key_"  # so `services.keys` calls those of the database


@dataclass(frozen=True, slots=True)
class Means:
    """What all batches of a server are run with. `now`: microseconds since 1970."""

    database: Database
    blobs: Blobs
    operations: Operations
    rules: BatchSettings
    slots: Callable[[Place], FairSlots]
    now: Callable[[], int]


class BatchRun:
    """One claimed batch. `run` it once; `interrupt` makes it look whether it was cancelled or has expired."""

    def __init__(self, means: Means, batch: BatchRecord) -> None:
        self.batch = batch
        self._means = means
        self._principal = principal_of(batch)
        self._interrupted = asyncio.Event()
        self._answers = LineAnswers(means.operations, batch.endpoint, self._principal)

    @property
    def key_id(self) -> str | None:
        """The API key that made the batch, if that is one of the database."""
        return self._principal.id if self._principal.id.startswith(KEY_PREFIX) else None

    def revoke(self) -> None:
        """The key opens nothing any more: what is not being answered will not be."""
        self._answers.is_revoked = True

    def interrupt(self) -> None:
        """Stop answering lines."""
        self._interrupted.set()

    async def run(self) -> None:
        """To the end. Raises LeaseLost, and LlmaticError if it must be begun again later."""
        batch = self.batch
        if batch.status == "validating":
            await self._validate()
        else:
            # A server that died may have written one more part than it told.
            leftover = part_key(batch.id, batch.generation - 1, batch.n_parts)
            await asyncio.to_thread(self._means.blobs.delete, leftover)
        if self.batch.status == "in_progress":
            await self._work()
        if self.batch.status in ("finalizing", "cancelling"):
            await self._finish()
        if self.batch.status in ENDED:
            await self._clean()

    async def _validate(self) -> None:
        if self._has_expired():
            await self._move("validating", {"status": "expired", "expired_at": self._means.now()})
            return
        check = LineCheck(self.batch.endpoint, self._model_of, max_lines=self._means.rules.max_lines)
        faults = await self._faults(check)
        if self._interrupted.is_set():
            self._interrupted.clear()
            await self._look_again()
            if self.batch.status == "validating":
                await self._validate()
        elif faults:
            await self._fail("validating", faults)
        else:
            values = {"in_progress_at": self._means.now(), "n_total": check.n_lines, "model": check.model_id}
            await self._move("validating", {"status": "in_progress", **values})

    async def _faults(self, check: LineCheck) -> list[BatchError]:
        """What is wrong with the input; nothing of meaning once interrupted."""
        means, batch = self._means, self.batch
        file = await means.database.read(get_file(batch.owner, batch.input_file_id))
        if file is None:
            return [GONE]
        if file.size_bytes > means.rules.max_file_bytes:
            return [too_large(means.rules.max_file_bytes)]
        try:
            async with aclosing(input_slices(means.blobs, batch.input_file_id)) as found:
                async for lines in found:
                    check.add(lines)
                    if check.is_hopeless or self._interrupted.is_set():
                        return check.errors
        except InputGone:
            return [GONE]
        except InvalidRequest as error:
            return [*check.errors, too_long(error)]
        check.end()
        return check.errors

    async def _work(self) -> None:
        means, batch = self._means, self.batch
        done = done_lines(await means.database.read(list_parts(batch.id)))
        while self.batch.status == "in_progress":
            if batch.n_total == len(done) or self._has_expired():
                await self._move("in_progress", {"status": "finalizing", "finalizing_at": means.now()})
                return
            try:
                await self._answer(done)
            except InputGone:
                await self._fail("in_progress", [GONE])
                return
            done = done_lines(await means.database.read(list_parts(batch.id)))
            assert batch.n_total == len(done) or self._interrupted.is_set(), "every line has a result"
            self._interrupted.clear()
            await self._look_again()

    async def _answer(self, done: set[int]) -> None:
        """Answer what is not done, until interrupted; every answer is safe when this returns."""
        means, batch = self._means, self.batch
        journal = Journal(means.database, means.blobs, batch.id, batch.generation, batch.n_parts)
        feeding = asyncio.create_task(self._feed(journal, done))
        keeping = asyncio.create_task(journal.keep())
        stopping = asyncio.create_task(self._interrupted.wait())
        try:
            await asyncio.wait((feeding, keeping, stopping), return_when=asyncio.FIRST_COMPLETED)
            await _cancelled(feeding, stopping)
            journal.close()
            await asyncio.shield(keeping)  # also to be waited for if this task is cancelled now
        except asyncio.CancelledError:
            await _cancelled(feeding, stopping)
            journal.close()
            await asyncio.wait((keeping,), timeout=LAST_WRITE_S)
            raise
        finally:
            await _cancelled(keeping)
            self.batch = replace(batch, n_parts=journal.n_parts)
        if not feeding.cancelled():
            _raise_first(feeding.exception())

    async def _feed(self, journal: Journal, done: set[int]) -> None:
        """Hand out lines as slots become free. Raises InputGone, Unavailable."""
        batch, place = self.batch, self._place()
        slots = self._means.slots(place)

        async def answer(item: NumberedLine) -> None:
            journal.add(await self._answers.answer(item))

        async with asyncio.TaskGroup() as group:
            async with aclosing(input_slices(self._means.blobs, batch.input_file_id)) as found:
                async for lines in found:
                    for item in lines:
                        if item[0] in done:
                            continue
                        await journal.room()
                        n = min(slots.n, place.n_slots(len(item[1])))
                        await slots.take(batch.owner, n)
                        # Given back also by a task that is cancelled before it begins.
                        task = group.create_task(answer(item))
                        task.add_done_callback(lambda _, n=n: slots.give(batch.owner, n))  # type: ignore[misc]

    async def _finish(self) -> None:
        means, batch = self._means, self.batch
        parts = await means.database.read(list_parts(batch.id))
        n_missing = batch.n_total - len(done_lines(parts))
        outcome: Status = (
            "cancelled" if batch.status == "cancelling" else "expired" if n_missing else "completed"
        )
        why = CANCELLED if outcome == "cancelled" else EXPIRED
        output, errors = await write_files(
            means.database, means.blobs, batch, parts, why if n_missing else None, means.now()
        )
        values = {
            "status": outcome,
            f"{outcome}_at": means.now(),
            "output_file_id": None if output is None else output.id,
            "error_file_id": None if errors is None else errors.id,
        }
        await self._move(batch.status, values, [file for file in (output, errors) if file is not None])

    async def _fail(self, status: Status, errors: list[BatchError]) -> None:
        """With what was finished, if anything was."""
        means, batch = self._means, self.batch
        parts = await means.database.read(list_parts(batch.id))
        files = await write_files(means.database, means.blobs, batch, parts, None, means.now())
        values = {
            "status": "failed",
            "failed_at": means.now(),
            "errors": written_errors(errors),
            "output_file_id": None if files[0] is None else files[0].id,
            "error_file_id": None if files[1] is None else files[1].id,
        }
        await self._move(status, values, [file for file in files if file is not None])

    async def _clean(self) -> None:
        means, batch = self._means, self.batch
        for part in await means.database.read(list_parts(batch.id)):
            if part.blob is not None:
                await asyncio.to_thread(means.blobs.delete, part.blob)
        await means.database.write(drop_parts(batch.id, batch.generation))

    async def _move(
        self, status: Status, values: Mapping[str, Any], files: list[FileRecord] | None = None
    ) -> None:
        """Change the batch if it is in `status`; what it is afterwards is in `batch`. Raises LeaseLost."""
        batch = self.batch
        work = change_batch(batch.id, batch.generation, status, values, files or ())
        if await self._means.database.write(work):
            self.batch = replace(batch, **values)
        else:
            await self._look_again()

    async def _look_again(self) -> None:
        batch = self.batch
        found = await self._means.database.read(get_batch(batch.owner, batch.id))
        if found is None or found.generation != batch.generation:
            raise LeaseLost(batch.id)
        self.batch = found

    def _has_expired(self) -> bool:
        return self._means.now() >= self.batch.expires_at

    def _model_of(self, body: dict[str, Any]) -> str:
        return self._means.operations.place(self.batch.endpoint, body, self._principal).model_id

    def _place(self) -> Place:
        model_id = self.batch.model or ""
        try:
            return self._means.operations.place(self.batch.endpoint, {"model": model_id}, self._principal)
        except LlmaticError:
            return Place(model_id, 1)  # it was served when the batch was checked; every line will say so


def principal_of(batch: BatchRecord) -> Principal:
    """Who made it, with the rights of that time."""
    found = orjson.loads(batch.caller)
    models, limits = found["models"], found["limits"]
    return Principal(
        found["id"],
        batch.owner,
        frozenset(found["scopes"]),
        None if models is None else frozenset(models),
        None if limits is None else Limits.of(limits),
    )


def written_principal(principal: Principal) -> str:
    """What `principal_of` reads."""
    models = None if principal.models is None else sorted(principal.models)
    limits = None if principal.limits is None else asdict(principal.limits)
    written = {"id": principal.id, "scopes": sorted(principal.scopes), "models": models, "limits": limits}
    return orjson.dumps(written).decode()


def _raise_first(error: BaseException | None) -> None:
    """A group of one kind of errors is that error."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if error is not None:
        raise error


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel them, and wait until they have ended, however they did."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
