"""A real server that is killed at random points, hundreds of times, amid writes of every kind.

What it said is so must be so in the next life, what it said is gone must be gone, and whatever is to be seen
must be whole. What was under way when it was killed may have happened or not.
"""

import asyncio
import random
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, text

from llmatic.config import AuthSettings, StoreSettings
from llmatic.services.stored import open_stored
from llmatic.services.sweeping import MARK_KEY
from llmatic.store.tables import batch_parts, files, upload_parts
from tests.keepers import Client, Progress, close_all, finish, look
from tests.kept_things import KINDS
from tests.lives import lives

N_LIVES = {"sqlite": 200, "postgres": 30}
N_CLIENTS = 4
MOST_ACKNOWLEDGED = 30  # before a kill
LOOK_EVERY = 40


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_what_was_acknowledged_outlives_kill_9(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres").fresh_url() if store == "postgres" else None
    rng, progress = random.Random(7), Progress()
    with lives() as born:
        clients = [Client(born.urls[0], seed, progress) for seed in range(N_CLIENTS)]
        try:
            for n in range(N_LIVES[store]):
                life = born.start(tmp_path, url)
                # None: it is killed while it starts.
                progress.wait(progress.n + rng.randrange(MOST_ACKNOWLEDGED))
                if n % LOOK_EVERY == LOOK_EVERY - 1:
                    look(born.urls[0], clients)
                born.kill(life)
            born.start(tmp_path, url)
            look(born.urls[0], clients)
        finally:
            close_all(clients)
        finish(born.urls[0], clients)
    assert progress.n > 10 * N_LIVES[store]
    assert {thing.kind for client in clients for thing in (*client.kept, *client.gone)} == set(KINDS)
    asyncio.run(assert_blobs_and_records_agree(tmp_path, url))


async def assert_blobs_and_records_agree(folder: Path, url: str | None) -> None:
    stored = open_stored(StoreSettings(folder=str(folder), url=url), AuthSettings())
    await stored.sweeper.tidy(0)
    blobs = set(stored.blobs.older_than(0)) - {MARK_KEY}
    rows = (select(files.c.id), select(upload_parts.c.id), select(batch_parts.c.blob))

    def look(connection: Connection) -> set[str | None]:
        if url is None:
            assert connection.execute(text("PRAGMA integrity_check")).all() == [("ok",)]
            assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
        return {name for wanted in rows for name in connection.execute(wanted).scalars()}

    known = await stored.database.read(look)
    await stored.close()
    assert blobs == known - {None}
    assert list((folder / "blobs" / "incoming").iterdir()) == []
