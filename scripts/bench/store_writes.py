"""What writing costs in a full store: recordings, files under a quota, and forgetting what has expired.

In one process, by the functions that the server calls, on the database that `store_pages` has filled. While a
sweep forgets runs another writer adds one every ten milliseconds; how long it waits is what others feel.
"""

import asyncio
import statistics
import time
from dataclasses import dataclass
from typing import Any, Final

from llmatic.services.pacing import in_short_writes
from llmatic.store.database import Database, open_database
from llmatic.store.files import FileRecord, add_file
from llmatic.store.runs import RunBody, RunRecord, add_runs, drop_expired_runs, drop_run
from scripts.bench.store_rows import DAY_US, LOREM, MODELS, NOW_US, OWNER, Sizes, name, run_name

GROUP: Final = 100  # as the recorder writes them
N_GROUPS: Final = 30
N_SINGLE: Final = 50
QUOTA_BYTES: Final = 10**15
SWEEP_S: Final = 10.0
PAUSE_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Writes:
    """In milliseconds: a run in a group of a hundred, a file, a run's deletion, and another's write while
    `n_swept` runs are forgotten.
    """

    recorded_ms: float
    file_ms: float
    delete_ms: float
    sweep_wait_ms: float
    sweep_worst_ms: float
    n_swept: int


def measure(url: str, sizes: Sizes) -> Writes:
    """All of it; blocks. Makes every run expire, so it comes last."""
    return asyncio.run(_measure(url, sizes))


async def _measure(url: str, sizes: Sizes) -> Writes:
    database = open_database(url)
    try:
        recorded = [await _timed(database, add_runs(_new_runs(group))) for group in range(N_GROUPS)]
        files = [await _timed(database, add_file(_file(n), QUOTA_BYTES)) for n in range(N_SINGLE)]
        own = [number for number in range(1000, 1000 + 5 * N_SINGLE) if number % 20 != 19][:N_SINGLE]
        deleted = [await _timed(database, drop_run(OWNER, run_name(number))) for number in own]
        waits, n_swept = await _sweep(database, sizes)
    finally:
        await database.close()
    middle = statistics.median
    return Writes(
        round(middle(recorded) / GROUP, 3),
        round(middle(files), 2),
        round(middle(deleted), 2),
        round(middle(waits), 2),
        round(max(waits), 2),
        n_swept,
    )


async def _timed(database: Database, work: Any) -> float:
    started_s = time.perf_counter()
    await database.write(work)
    return (time.perf_counter() - started_s) * 1e3


async def _sweep(database: Database, sizes: Sizes) -> tuple[list[float], int]:
    """(milliseconds of each write of another meanwhile, runs that were forgotten)."""
    end_s = time.monotonic() + SWEEP_S
    later = NOW_US + 30 * DAY_US + sizes.runs
    n_swept = 0

    async def forget(n: int) -> int:
        nonlocal n_swept
        if time.monotonic() > end_s:
            return 0
        n_gone = await database.write(drop_expired_runs(later, n))
        n_swept += n_gone
        return n_gone

    sweep = asyncio.create_task(in_short_writes(forget))
    waits = []
    while time.monotonic() < end_s:
        waits.append(await _timed(database, add_file(_file(N_SINGLE + len(waits)), QUOTA_BYTES)))
        await asyncio.sleep(PAUSE_S)
    await sweep
    return waits, n_swept


def _new_runs(group: int) -> list[tuple[RunRecord, RunBody]]:
    return [_new_run(group * GROUP + number) for number in range(GROUP)]


def _new_run(number: int) -> tuple[RunRecord, RunBody]:
    at = NOW_US + number
    summary = {
        "tags": ["prod", f"experiment-{number % 1000}"],
        "metadata": {"user": f"u{number}", "env": "prod"},
    }
    body = RunBody('{"messages":[{"role":"user","content":"' + LOREM * 12 + '"}]}', '"' + LOREM * 9 + '"')
    run_id, model = name("chatcmpl-new", number), MODELS[number % 3]
    interaction = name("int_", number % 50) if number % 2 else None
    record = RunRecord(
        run_id, OWNER, "key_0", "chat", True, model, "completed", at, at, None, interaction, summary
    )
    return record, body


def _file(number: int) -> FileRecord:
    return FileRecord(name("file-new", number), OWNER, "a.jsonl", "batch", 1000, NOW_US + number)
