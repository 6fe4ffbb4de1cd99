"""Recorded runs: found, listed, labelled, scored, forgotten.

Owns who may see one and what may be changed of it. Event loop's thread.
"""

import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Final

from llmatic.core.errors import InvalidRequest, NotFound
from llmatic.store.database import Database
from llmatic.store.paging import Order
from llmatic.store.runs import (
    RunBody,
    RunFilter,
    RunRecord,
    add_runs,
    bodies_of,
    change_run,
    drop_run,
    get_run,
    get_run_with_body,
    list_runs,
    read_runs,
    with_summary,
)

MICROSECONDS: Final = 1_000_000
MAX_OFFSET: Final = 10_000
READ_TOGETHER: Final = 50

_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")


class Runs:
    """The runs of all owners."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def add(self, record: RunRecord, body: RunBody) -> None:
        """Keep a run. Raises Unavailable, InsufficientStorage."""
        await self._database.write(add_runs([(record, body)]))

    async def get(self, owner: str, run_id: str) -> RunRecord:
        """Raises NotFound."""
        found = await self._database.read(get_run(owner, run_id)) if _ID.match(run_id) else None
        if found is None:
            raise missing(run_id)
        return found

    async def get_with_body(self, owner: str, run_id: str) -> tuple[RunRecord, RunBody]:
        """A run and its texts. Raises NotFound."""
        found = await self._database.read(get_run_with_body(owner, run_id)) if _ID.match(run_id) else None
        if found is None:
            raise missing(run_id)
        return found

    async def page(
        self,
        owner: str,
        wanted: RunFilter,
        *,
        limit: int,
        offset: int = 0,
        order: Order = "desc",
        after: str | None = None,
    ) -> list[RunRecord]:
        """At most `limit` runs. Raises NotFound if there is no run `after`."""
        found = None
        if after is None or _ID.match(after):
            if not all(map(_is_plain, (wanted.model, wanted.status, wanted.interaction))):
                return []
            found = await self._database.read(
                list_runs(owner, wanted, limit=limit, offset=offset, order=order, after=after)
            )
        if found is None:
            raise missing(str(after), "after")
        return found

    async def each(
        self, owner: str, wanted: RunFilter, *, together: int = READ_TOGETHER
    ) -> AsyncGenerator[tuple[RunRecord, RunBody], None]:
        """All runs that fit, with their texts, oldest first; some are read at a time.

        What is made meanwhile may come too; what is forgotten meanwhile does not stop it.
        """
        last: tuple[int, str] | None = None
        while True:
            page = await self._database.read(read_runs(owner, wanted, limit=together, after=last))
            for found in page:
                yield found
            if len(page) < together:
                return
            last = (page[-1][0].created_at, page[-1][0].id)

    async def bodies(self, records: Sequence[RunRecord]) -> Mapping[str, RunBody]:
        """The texts of these runs, by id."""
        return await self._database.read(bodies_of([record.id for record in records]))

    async def change(
        self,
        owner: str,
        run_id: str,
        change: Callable[[RunRecord], RunRecord | None],
        *,
        reply: str | None = None,
        request: str | None = None,
    ) -> RunRecord | None:
        """As `store.runs.change_run`."""
        return await self._database.write(change_run(owner, run_id, change, reply, request))

    async def annotate(
        self,
        owner: str,
        run_id: str,
        changes: Mapping[str, Any],
        evaluation: Mapping[str, Any] | None = None,
    ) -> RunRecord:
        """Change some keys of its summary; of an `evaluation` what is not said stays. Raises NotFound."""

        def changed(record: RunRecord) -> RunRecord:
            made = with_summary(record, self.now(), **changes)
            if evaluation is None:
                return made
            before = record.summary.get("evaluation") or {}
            return with_summary(made, made.updated_at, evaluation={**before, **evaluation})

        found = await self.change(owner, run_id, changed) if _ID.match(run_id) else None
        if found is None:
            raise missing(run_id)
        return found

    async def delete(self, owner: str, run_id: str, *, is_stored: bool | None = None) -> None:
        """Forget it. Raises NotFound."""
        if not _ID.match(run_id) or not await self._database.write(
            drop_run(owner, run_id, is_stored=is_stored)
        ):
            raise missing(run_id)

    def now(self) -> int:
        """Microseconds since 1970."""
        return int(self._clock() * MICROSECONDS)


def checked_offset(offset: int) -> int:
    """Raises InvalidRequest if so many rows would have to be skipped that it would take long."""
    if offset > MAX_OFFSET:
        raise InvalidRequest(
            f"Invalid 'offset': at most {MAX_OFFSET} can be skipped. Page through runs with 'after' instead: "
            "the id of the last run of the page before.",
            param="offset",
        )
    return offset


def missing(run_id: str, param: str = "id") -> NotFound:
    """What is said of a run that is not there, or not the caller's."""
    return NotFound(f"Run not found: {run_id[:100]}", param=param)


def _is_plain(text: str | None) -> bool:
    """Whether a column could hold it at all."""
    return text is None or "\0" not in text
