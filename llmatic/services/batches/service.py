"""Batches: made, listed, cancelled, and worked on by whichever server comes first.

Owns which batches run here and for how long they are ours. Of the servers on one database each batch is
worked on by one, which says every few seconds that it is still alive; when it no longer does, another one
goes on from what is safe. Event loop's thread.
"""

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import orjson
import structlog

from llmatic.config import BatchSettings
from llmatic.core.errors import Conflict, InvalidRequest, LlmaticError, NotFound
from llmatic.core.principal import Principal
from llmatic.services.batches.journal import LeaseLost
from llmatic.services.batches.ports import Operations, Place
from llmatic.services.batches.run import BatchRun, Means, written_principal
from llmatic.services.batches.slots import FairSlots
from llmatic.store.batches import (
    BatchRecord,
    add_batch,
    claim_batch,
    ending_batches,
    get_batch,
    list_batches,
    release_batches,
    renew_leases,
    request_cancel,
    waiting_batches,
)
from llmatic.store.blobs import Blobs
from llmatic.store.database import Database
from llmatic.store.files import get_file
from llmatic.store.keys import is_locked_out

MICROSECONDS: Final = 1_000_000
WINDOWS_S: Final[Mapping[str, int]] = {"24h": 24 * 3600}
PURPOSE: Final = "batch"
BUSY_TICK_S: Final = 1.0
IDLE_TICK_S: Final = 5.0
ENDED_AT_ONCE: Final = 100
RETRY_S: Final = 5.0  # after the database or the storage could not be used
FAULT_RETRY_S: Final = 60.0  # after a fault of ours

_log = structlog.get_logger("llmatic.batches")


class Batches:
    """The batches of all owners. `start` when the models can be used, `close` before they cannot."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        rules: BatchSettings,
        *,
        clock: Callable[[], float] = time.time,
        busy_tick_s: float = BUSY_TICK_S,
        idle_tick_s: float = IDLE_TICK_S,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._rules = rules
        self._clock = clock
        self._busy_tick_s = busy_tick_s
        self._idle_tick_s = idle_tick_s
        self._holder = f"server_{secrets.token_hex(12)}"
        self._slots: dict[str, FairSlots] = {}
        self._running: dict[str, tuple[BatchRun, asyncio.Task[None]]] = {}
        self._nudged = asyncio.Event()
        self._means: Means | None = None
        self._watching: asyncio.Task[None] | None = None

    async def create(
        self,
        principal: Principal,
        *,
        input_file_id: str,
        endpoint: str,
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        output_lifetime_s: int | None = None,
    ) -> BatchRecord:
        """A new batch, which will be checked and then worked on. Raises NotFound, InvalidRequest."""
        now = self._now()
        file = await self._database.read(get_file(principal.owner, input_file_id))
        if file is None or not file.is_there(now):
            raise NotFound(f"No such File object: {input_file_id}", param="input_file_id")
        if file.purpose != PURPOSE:
            raise InvalidRequest(
                f"The file '{input_file_id}' has the purpose '{file.purpose}', but the input of a batch must "
                f"be a file with the purpose '{PURPOSE}'.",
                param="input_file_id",
            )
        record = BatchRecord(
            id=f"batch_{secrets.token_hex(16)}",
            owner=principal.owner,
            caller=written_principal(principal),
            endpoint=endpoint,
            input_file_id=input_file_id,
            completion_window=completion_window,
            created_at=now,
            expires_at=now + WINDOWS_S[completion_window] * MICROSECONDS,
            metadata=None if metadata is None else orjson.dumps(dict(metadata)).decode(),
            output_lifetime_s=output_lifetime_s,
        )
        await self._database.write(add_batch(record))
        self._nudged.set()
        return record

    async def get(self, owner: str, batch_id: str) -> BatchRecord:
        """Raises NotFound."""
        return _found(await self._database.read(get_batch(owner, batch_id)), batch_id)

    async def page(self, owner: str, *, limit: int, after: str | None = None) -> list[BatchRecord]:
        """Newest first, at most `limit`. Raises NotFound if there is no batch `after`."""
        found = await self._database.read(list_batches(owner, limit=limit, after=after))
        if found is None:
            raise NotFound(f"No batch found with id '{after}'.", param="after")
        return found

    async def cancel(self, owner: str, batch_id: str) -> BatchRecord:
        """The batch, on its way to being cancelled. Raises NotFound, Conflict if it is too late for that."""
        found = _found(await self._database.write(request_cancel(owner, batch_id, self._now())), batch_id)
        if found.status not in ("cancelling", "cancelled"):
            raise Conflict(f"Cannot cancel a batch with status '{found.status}'.")
        if batch_id in self._running:
            self._running[batch_id][0].interrupt()
        self._nudged.set()
        return found

    def start(self, operations: Operations) -> None:
        """From now on work on batches, also on those that other servers left."""
        self._means = Means(
            self._database, self._blobs, operations, self._rules, slots=self._slots_for, now=self._now
        )
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stop working; what is finished is made safe, the rest left to whoever comes next. Idempotent."""
        if self._watching is None:
            return
        tasks = [self._watching, *(task for _, task in self._running.values())]
        ids, self._watching = list(self._running), None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._release(ids)

    async def _watch(self) -> None:
        renewed_at = 0.0
        while True:
            self._nudged.clear()
            try:
                now = self._clock()  # what is renewed lasts from here, however long that takes
                is_due = now - renewed_at >= self._rules.lease_s / 3
                if self._running:
                    await self._look_after(is_due=is_due)
                    renewed_at = now if is_due else renewed_at
                await self._claim()
            except LlmaticError as error:
                _log.warning("batches_wait", why=error.message)
            except Exception:
                _log.exception("batches_failed")
            self._nudged.clear()
            with contextlib.suppress(TimeoutError):
                tick_s = self._busy_tick_s if self._running else self._idle_tick_s
                await asyncio.wait_for(self._nudged.wait(), tick_s)

    async def _look_after(self, *, is_due: bool) -> None:
        """Learn what others did to the batches that run here; say that we are alive if it is time."""
        known = {batch_id: run.batch.generation for batch_id, (run, _) in self._running.items()}
        work = renew_leases(self._holder, self._until() if is_due else None)
        held = await (self._database.write(work) if is_due else self._database.read(work))
        now = self._now()
        for batch_id, generation in known.items():
            if batch_id not in self._running:
                continue
            run, task = self._running[batch_id]
            if run.batch.generation != generation:
                continue  # begun anew meanwhile
            if batch_id not in held or held[batch_id][0] != generation:
                task.cancel()
            elif held[batch_id][1] == "cancelling" or now >= run.batch.expires_at:
                run.interrupt()
            elif is_due:
                await self._look_at_key(run)

    async def _look_at_key(self, run: BatchRun) -> None:
        key_id = run.key_id
        if key_id is not None and await self._database.read(is_locked_out(key_id, self._now())):
            run.revoke()

    async def _claim(self) -> None:
        """Begin what waits: what is to be ended at once, the rest as far as there is room, owner by owner."""
        for batch_id in await self._database.read(ending_batches(self._now(), ENDED_AT_ONCE)):
            await self._begin(batch_id)
        while len(self._running) < self._rules.max_running:
            waiting = await self._database.read(waiting_batches(self._now()))
            if not waiting:
                return
            n_running = Counter(run.batch.owner for run, _ in self._running.values())
            await self._begin(min(waiting, key=lambda found: n_running[found[0]])[1])

    async def _begin(self, batch_id: str) -> None:
        assert self._means is not None, "start comes first"
        if batch_id in self._running:
            # Our lease ran out while we could not renew it; what runs here is void once it is claimed.
            task = self._running[batch_id][1]
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        now = self._now()
        batch = await self._database.write(claim_batch(batch_id, self._holder, now, self._until()))
        if batch is not None:
            run = BatchRun(self._means, batch)
            await self._look_at_key(run)
            self._running[batch_id] = run, asyncio.create_task(self._guarded(run))

    async def _guarded(self, run: BatchRun) -> None:
        batch_id, retry_s = run.batch.id, None
        try:
            await run.run()
        except LeaseLost:
            _log.info("batch_taken_over", batch=batch_id)
        except LlmaticError as error:
            _log.warning("batch_waits", batch=batch_id, why=error.message)
            retry_s = RETRY_S
        except Exception:
            _log.exception("batch_failed", batch=batch_id)
            retry_s = FAULT_RETRY_S
        finally:
            del self._running[batch_id]
        if retry_s is not None:
            await self._release([batch_id], self._now() + int(retry_s * MICROSECONDS))
        self._nudged.set()

    async def _release(self, ids: list[str], at: int = 0) -> None:
        if not ids:
            return
        try:
            await self._database.write(release_batches(self._holder, ids, at))
        except LlmaticError as error:
            _log.warning("batches_not_released", why=error.message)  # the lease runs out

    def _slots_for(self, place: Place) -> FairSlots:
        return self._slots.setdefault(place.model_id, FairSlots(place.n_at_once))

    def _until(self) -> int:
        return self._now() + int(self._rules.lease_s * MICROSECONDS)

    def _now(self) -> int:
        return int(self._clock() * MICROSECONDS)


def _found(record: BatchRecord | None, batch_id: str) -> BatchRecord:
    if record is None:
        raise NotFound(f"No batch found with id '{batch_id}'.", param="batch_id")
    return record
