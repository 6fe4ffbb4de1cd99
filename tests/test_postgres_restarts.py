"""A server whose PostgreSQL crashes, restarts and stays away under load, and comes back: no restart of the
server, nothing lost, and whatever needs no database goes on."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select

from llmatic.store.database import open_database
from llmatic.store.tables import runs
from scripts.postgres import Postgres
from tests.keepers import WAIT_S, Client, Progress, close_all, connection, finish, look
from tests.kept_things import CHAT, good
from tests.lives import lives

N_CLIENTS = 4
N_BEFORE = 40  # acknowledged writes before each fault, and after it
N_REFUSED = 20
N_CHATS = 20  # answered while the database is away


class Talker:
    """One with a key of the database, who only chats, and must never notice anything."""

    def __init__(self, url: str, key: str) -> None:
        self.answered = Progress()
        self.error: Exception | None = None
        self._http = httpx2.Client(base_url=url, timeout=WAIT_S, headers={"x-api-key": key})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._talk)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(WAIT_S)
        self._http.close()

    def _talk(self) -> None:
        try:
            while not self._stop.wait(0.01):
                good(self._http.post("/v1/chat/completions", json=CHAT))
                self.answered.add()
        except Exception as error:
            self.error = error


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    yield postgres.fresh_url()
    if not postgres.is_running():
        postgres.start()


def test_restarts_under_load(postgres: Postgres, url: str, tmp_path: Path) -> None:
    with lives() as born:
        born.start(tmp_path, url, remembered_s=0.1, records=True)
        with connection(born.urls[0]) as http:
            key = good(http.post("/v1/organization/admin_api_keys", json={"name": "talker"}))
        done, refused = Progress(), Progress()
        talker = Talker(born.urls[0], key["value"])
        clients = [Client(born.urls[0], seed, done, refusals=refused) for seed in range(N_CLIENTS)]
        try:
            for mode in ("immediate", "fast", "immediate"):
                done.wait(done.n + N_BEFORE)
                postgres.stop(mode)
                refused.wait(refused.n + N_REFUSED)
                talker.answered.wait(talker.answered.n + N_CHATS)
                postgres.start()
                done.wait(done.n + N_BEFORE)
                look(born.urls[0], clients)
        finally:
            talker.close()
            close_all(clients)
        assert talker.error is None
        finish(born.urls[0], clients)
        assert_recorded(url, key["id"], talker.answered.n)


def assert_recorded(url: str, key_id: str, n: int) -> None:
    """Also what was said while nothing could be written down, once it could."""
    wanted = select(func.count()).select_from(runs).where(runs.c.key_id == key_id)
    database = open_database(url)
    waited = threading.Event()
    found: Any = None
    for _ in range(100):
        found = database.read_now(lambda connection: connection.execute(wanted).scalar_one())
        if found >= n:
            break
        waited.wait(0.1)
    database.close_now()
    assert found == n
