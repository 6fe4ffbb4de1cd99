"""Clients that keep things on a server, and see that they are kept whatever happens to it."""

import random
import threading
from contextlib import ExitStack

import httpx2

from tests.kept_things import KINDS, Away, Thing
from tests.lives import OPERATOR

WAIT_S = 30.0
MOST_GONE = 20


class Progress:
    """How much was acknowledged so far, by anybody."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.n = 0

    def add(self) -> None:
        with self._changed:
            self.n += 1
            self._changed.notify_all()

    def wait(self, n: int) -> None:
        """Until there is so much."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.n >= n, WAIT_S)


class Client:
    """One who makes, changes and forgets things, in one life after the other, until closed.

    `refusals`: counts the answers that the database is away; None: there must be none.
    """

    def __init__(self, url: str, seed: int, progress: Progress, *, refusals: Progress | None = None) -> None:
        self.kept: list[Thing] = []
        self.gone: list[Thing] = []
        self.error: Exception | None = None
        self.acting = threading.Lock()
        self._http = connection(url)
        self._rng = random.Random(seed)
        self._progress = progress
        self._refusals = refusals
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def require_no_error(self) -> None:
        """Raises what it met that nobody may meet."""
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self._stop.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        self._http.close()

    def _work(self) -> None:
        while not self._stop.is_set() and self.error is None:
            with self.acting:
                try:
                    self._act()
                except httpx2.TransportError:
                    continue  # killed: it may have happened or not
                except Away as error:
                    if self._refusals is None:
                        self.error = error
                    else:
                        self._refusals.add()
                    continue
                except Exception as error:
                    self.error = error
            self._progress.add()

    def _act(self) -> None:
        kind = self._rng.choice(KINDS)
        mine = [thing for thing in self.kept if thing.kind is kind]
        if len(mine) < 2 or self._rng.random() < 0.3:
            self.kept.append(kind.make(self._http, self._rng))
            return
        thing = self._rng.choice(mine)
        self.kept.remove(thing)  # until it is acknowledged nobody knows how it is
        if kind.can_change and self._rng.random() < 0.5:
            kind.change(self._http, thing, self._rng)
            self.kept.append(thing)
        else:
            kind.forget(self._http, thing)
            self.gone.append(thing)


def connection(url: str) -> httpx2.Client:
    return httpx2.Client(base_url=url, timeout=WAIT_S, headers={"authorization": f"Bearer {OPERATOR}"})


def look(url: str, clients: list[Client]) -> None:
    """Everything must be as it was said to be. What was looked at once as gone is not looked at again."""
    with ExitStack() as held, connection(url) as http:
        for client in clients:
            held.enter_context(client.acting)
        for client in clients:
            client.require_no_error()
            for thing in client.kept:
                thing.kind.check(http, thing)
            for thing in client.gone[-MOST_GONE:]:
                thing.kind.check_gone(http, thing)
        for kind in KINDS:
            kind.check_all(http)


def finish(url: str, clients: list[Client]) -> None:
    """Whatever is still under way comes to its end."""
    with connection(url) as http:
        for client in clients:
            client.require_no_error()
            for thing in client.kept:
                thing.kind.end(http, thing)


def close_all(clients: list[Client]) -> None:
    """Raises what any of them met that nobody may meet."""
    for client in clients:
        client.close()
    for client in clients:
        client.require_no_error()
