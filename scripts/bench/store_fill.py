"""Makes a database, fills it with `store_rows`, and gives it a key that may do everything. Blocks."""

import asyncio
from collections.abc import Iterable

from llmatic.services.keys import Keys
from llmatic.store import tables
from llmatic.store.database import open_database
from scripts.bench import store_rows
from scripts.bench.bulk import Bulk, filling, in_parts
from scripts.bench.store_rows import DAY_US, HOUR_US, OWNER, MadeRun, Sizes

_TABLES = (
    *(tables.api_keys, tables.files, tables.responses, tables.response_items, tables.conversations),
    *(tables.conversation_items, tables.runs, tables.run_bodies, tables.run_labels, tables.interactions),
    *(tables.batches, tables.usage, tables.usage_days),
)


def fill(url: str, secret: str, sizes: Sizes) -> str:
    """Returns the key. `secret`: the server's `auth.secret`."""
    _made(url)
    with filling(url, _TABLES) as bulk:
        for table, rows in (
            (tables.files, store_rows.files(sizes)),
            (tables.file_totals, store_rows.file_totals(sizes)),
            (tables.batches, store_rows.batches(sizes)),
            (tables.responses, store_rows.responses(sizes)),
            (tables.response_items, store_rows.response_items(sizes)),
            (tables.conversations, store_rows.conversations(sizes)),
            (tables.conversation_items, store_rows.conversation_items(sizes)),
            (tables.interactions, store_rows.interactions(sizes)),
            (tables.api_keys, store_rows.keys(sizes)),
            (tables.usage, store_rows.usage(sizes, HOUR_US)),
            (tables.usage_days, store_rows.usage(sizes, DAY_US)),
        ):
            bulk.copy(table, rows)
        _fill_runs(bulk, store_rows.runs(sizes))
    return asyncio.run(_key(url, secret))


def _fill_runs(bulk: Bulk, made: Iterable[MadeRun]) -> None:
    for some in in_parts(made):
        bulk.copy(tables.runs, [run.run for run in some])
        bulk.copy(tables.run_bodies, [run.body for run in some])
        bulk.copy(tables.run_labels, [row for run in some for row in run.labels])


def _made(url: str) -> None:
    asyncio.run(open_database(url).close())


async def _key(url: str, secret: str) -> str:
    database = open_database(url)
    try:
        keys = Keys(database, secret.encode())
        scopes = ("inference", "files", "training", "admin")
        return (await keys.create("bench", owner=OWNER, scopes=scopes))[1]
    finally:
        await database.close()
