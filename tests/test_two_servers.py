"""Two real servers on one PostgreSQL are one world."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from scripts.postgres import Postgres
from tests.keepers import WAIT_S, connection
from tests.kept_things import CHAT, KINDS, Batches, Keys, Kind, Thing, good
from tests.lives import Lives, lives

SECRET = "the secret of both of them, which is long enough"
N_BATCHES = 12
LIMIT = 60


class Both:
    """Two servers, and somebody who speaks to both."""

    def __init__(self, born: Lives, folder: Path, url: str) -> None:
        self.born, self.folder, self.url = born, folder, url
        limits = {"requests_per_minute": LIMIT}
        self.servers = [
            born.start(folder, url, at=number, secret=SECRET, remembered_s=0.2, limits=limits)
            for number in range(2)
        ]
        self.first, self.second = (connection(server.url) for server in self.servers)


@pytest.fixture
def both(postgres: Postgres, tmp_path: Path) -> Iterator[Both]:
    with lives(2, errors=tmp_path / "errors") as born:
        opened = Both(born, tmp_path, postgres.fresh_url())
        yield opened
        opened.first.close()
        opened.second.close()


def eventually(is_so: Callable[[], bool]) -> None:
    """It need not be so at once."""
    waited, deadline = threading.Event(), time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline
        waited.wait(0.05)


def test_what_one_does_the_other_sees(both: Both) -> None:
    rng = random.Random(3)
    for kind in KINDS:
        thing = kind.make(both.first, rng)
        kind.check(both.second, thing)
        if kind.can_change:
            kind.change(both.second, thing, rng)
            kind.check(both.first, thing)
        kind.forget(both.first, thing)
        eventually(lambda kind=kind, thing=thing: is_gone(kind, both.second, thing))  # type: ignore[misc]


def is_gone(kind: Kind, http: httpx2.Client, thing: Thing) -> bool:
    """At once, but for keys, which are remembered for some seconds."""
    if not isinstance(kind, Keys):
        kind.check_gone(http, thing)
        return True
    sent = {"authorization": f"Bearer {thing.known['value']}"}
    return http.get("/v1/models", headers=sent).status_code == 401


def test_batches_are_done_once_also_when_one_of_them_dies(both: Both) -> None:
    rng, kind = random.Random(4), Batches()
    made = [kind.make(rng.choice([both.first, both.second]), rng) for _ in range(N_BATCHES)]
    both.born.kill(both.servers[0])
    for thing in made:
        kind.end(both.second, thing)


def test_what_is_used_on_one_counts_on_the_other(both: Both) -> None:
    key = good(both.first.post("/v1/organization/admin_api_keys", json={"name": "limited"}))
    sent = {"authorization": f"Bearer {key['value']}"}

    def remaining(http: httpx2.Client) -> int:
        reply = http.post("/v1/chat/completions", json=CHAT, headers=sent)
        assert reply.status_code == 200, reply.text
        return int(reply.headers["x-ratelimit-remaining-requests"])

    for _ in range(LIMIT // 2):
        remaining(both.first)
    # What leaks away meanwhile is less than what was asked for here in vain.
    n_asked = 0

    def knows() -> bool:
        nonlocal n_asked
        n_asked += 1
        threading.Event().wait(0.5)
        return remaining(both.second) < LIMIT - n_asked - LIMIT // 4

    eventually(knows)


def test_another_secret_is_told_at_the_start(both: Both) -> None:
    assert both.second.get("/v1/models").status_code == 200
    other = both.born.start(both.folder, both.url, secret="another secret, which is long enough too")
    assert os.waitstatus_to_exitcode(both.born.reap(other)) == 2
    words = (both.folder / "errors").read_text()
    assert "made with another secret" in words
    assert "auth.secret (LLMATIC_AUTH__SECRET)" in words
