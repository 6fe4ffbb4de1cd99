"""Keys of the database at the door: when it closes, who is told what while the database is gone."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmatic.api.auth import ANONYMOUS, Authenticator
from llmatic.config import AuthSettings, StoreSettings
from llmatic.core.errors import Unauthorized, Unavailable
from llmatic.services.key_memory import GRACE_S
from llmatic.services.keys import PREFIX, REMEMBERED_S, Keys
from llmatic.services.stored import open_keys
from llmatic.store.database import Database, open_database
from tests.api.conftest import Serve, Served

pytestmark = pytest.mark.anyio


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[Database, Keys]]:
    database, keys = open_keys(StoreSettings(folder=str(tmp_path)), AuthSettings())
    yield database, keys
    asyncio.run(database.close())


def gone(*_: Any) -> Any:
    raise Unavailable("The server's database cannot be used at the moment.", retry_after_s=1.0)


async def test_the_first_key_closes_the_door_soon_and_for_good(opened: tuple[Database, Keys]) -> None:
    _, keys = opened
    clock = Clock()
    door = Authenticator((), keys, clock=clock)
    assert (await door.identify(None, None)).id == ANONYMOUS
    assert (await door.identify(b"Bearer anything", None)).id == ANONYMOUS
    record, key = await keys.create("k")
    clock.now += REMEMBERED_S
    with pytest.raises(Unauthorized):
        await door.identify(None, None)
    for headers in (
        (b"Bearer " + key.encode(), None),
        (b"Api-Key " + key.encode(), None),
        (None, key.encode()),
    ):
        assert (await door.identify(*headers)).id == record.id
    await keys.revoke(record.id)
    clock.now += REMEMBERED_S
    for sent in (None, key.encode()):
        with pytest.raises(Unauthorized):
            await door.identify(None, sent)
    assert not door.was_open
    await keys.close()


async def test_the_first_key_is_known_at_once(opened: tuple[Database, Keys]) -> None:
    _, keys = opened
    door = Authenticator((), keys, clock=Clock())
    assert (await door.identify(None, None)).id == ANONYMOUS
    record, key = await keys.create("k")
    assert (await door.identify(None, key.encode())).id == record.id
    with pytest.raises(Unauthorized):
        await door.identify(None, None)
    await keys.close()


async def test_wrong_keys_ask_the_database_once_or_never(
    opened: tuple[Database, Keys], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, keys = opened
    await keys.create("k")
    door = Authenticator((), keys)
    with pytest.raises(Unauthorized):
        await door.identify(None, b"x")
    asked = []
    read = database.read

    async def counted(work: Any) -> Any:
        asked.append(work)
        return await read(work)

    monkeypatch.setattr(database, "read", counted)
    for key in (
        b"sk-proj-" + b"a" * 40,
        PREFIX.encode() + b"a" * 39,
        b"\xff" * 51,
        PREFIX.encode() + b"\xd9\xa0" * 20,
    ):
        with pytest.raises(Unauthorized):
            await door.identify(None, key)
    assert asked == []
    for _ in range(3):
        with pytest.raises(Unauthorized, match=r"sk-llmat\*"):
            await door.identify(None, PREFIX.encode() + b"a" * 40)
    assert len(asked) == 1


async def test_without_the_database_nobody_is_called_a_liar(
    opened: tuple[Database, Keys], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, keys = opened
    _, known = await keys.create("known")
    _, other = await keys.create("other")
    configured = b"k" * 20
    door = Authenticator((configured.decode(),), keys)
    assert await keys.recognise(known)
    await keys.close()
    monkeypatch.setattr(database, "read", gone)
    assert await door.identify(None, known.encode())  # remembered
    assert await door.identify(None, configured)
    with pytest.raises(Unavailable):
        await door.identify(None, other.encode())
    with pytest.raises(Unauthorized):
        await door.identify(None, b"no key of ours")
    with pytest.raises(Unavailable):  # nobody knows whether there is a key
        await Authenticator((), keys).identify(None, None)


async def test_who_was_let_in_is_let_in_for_a_while_without_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    database = open_database(f"sqlite:///{tmp_path}/llmatic.db")
    keys = Keys(database, b"s" * 32, clock=clock)
    door = Authenticator((), keys, clock=clock)
    assert (await door.identify(None, None)).id == ANONYMOUS
    _, lasting = await keys.create("lasting")
    _, short = await keys.create("short", lifetime_s=60)
    revoked, gone_key = await keys.create("revoked")
    for key in (lasting, short, gone_key):
        assert await keys.recognise(key)
    await keys.revoke(revoked.id)
    await keys.close()
    monkeypatch.setattr(database, "read", gone)
    clock.now += 59
    assert (await door.identify(None, None)).id == ANONYMOUS  # nobody could learn of a key meanwhile
    assert await keys.recognise(lasting)
    assert await keys.recognise(short)
    with pytest.raises(Unavailable):
        await keys.recognise(gone_key)
    clock.now += 2
    with pytest.raises(Unavailable):
        await keys.recognise(short)
    assert await keys.recognise(lasting)
    clock.now += GRACE_S
    with pytest.raises(Unavailable):
        await keys.recognise(lasting)
    with pytest.raises(Unavailable):
        await door.identify(None, None)
    monkeypatch.undo()
    assert await keys.recognise(lasting)
    with pytest.raises(Unauthorized):
        await door.identify(None, None)
    await keys.close()
    await database.close()


async def test_a_use_that_cannot_be_noted_is_no_failure(
    opened: tuple[Database, Keys], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, keys = opened
    _, key = await keys.create("k")
    monkeypatch.setattr(database, "write", gone)
    assert await keys.recognise(key)
    await keys.close()


async def test_a_key_revoked_while_it_was_looked_up_is_not_remembered(
    opened: tuple[Database, Keys], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, keys = opened
    record, key = await keys.create("k")
    read = database.read

    async def slow(work: Any) -> Any:
        found = await read(work)
        monkeypatch.setattr(database, "read", read)
        await keys.revoke(record.id)
        return found

    monkeypatch.setattr(database, "read", slow)
    await keys.recognise(key)
    assert await keys.recognise(key) is None
    await keys.close()


@pytest.fixture
def own(serve: Serve, tmp_path: Path) -> Served:
    return serve(store=StoreSettings(folder=str(tmp_path)))


def test_pages_without_a_key_are_served_without_the_database(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StoreSettings(folder=str(tmp_path))
    database, keys = open_keys(store, AuthSettings())
    asyncio.run(keys.create("k"))
    database.close_now()
    own = serve(store=store)
    monkeypatch.setattr(own.stored.database, "read", gone)
    for path in ("/", "/healthz", "/readyz", "/openapi.yaml"):
        assert own.http.get(path).is_success
    assert own.http.get("/v1/models").status_code == 401
    reply = own.http.get("/v1/models", headers={"x-api-key": PREFIX + "w" * 40})
    assert reply.status_code == 503
    assert reply.headers["retry-after"] == "1"


def test_every_way_to_send_a_key_says_which_is_wrong(own: Served) -> None:
    key, wrong = own.make_key("ключ 🔑"), PREFIX + "w" * 40
    ways = [("authorization", "Bearer {}"), ("authorization", "Api-Key {}"), ("x-api-key", "{}")]
    for name, form in ways:
        assert own.http.get("/v1/models", headers={name: form.format(key)}).is_success
        reply = own.http.get("/v1/models", headers={name: form.format(wrong)})
        error = reply.json()["error"]
        assert (reply.status_code, error["code"]) == (401, "invalid_api_key")
        assert error["message"].startswith(f"Incorrect API key provided: sk-llmat{'*' * 39}wwww.")


def test_two_servers_of_one_database(serve: Serve, tmp_path: Path) -> None:
    here, there = (serve(store=StoreSettings(folder=str(tmp_path))) for _ in range(2))
    key = here.make_key("k", scopes=("admin",))
    headers = {"x-api-key": key}
    made = here.http.post("/v1/organization/admin_api_keys", json={"name": "n"}, headers=headers).json()
    theirs = {"x-api-key": made["value"]}
    assert there.http.get("/v1/models", headers=theirs).is_success
    path = f"/v1/organization/admin_api_keys/{made['id']}"
    assert there.http.delete(path, headers=headers).is_success
    assert there.http.get("/v1/models", headers=theirs).status_code == 401
    assert here.http.get(path, headers=headers).status_code == 404
    assert here.http.get("/v1/models", headers=theirs).status_code == 401  # it was never asked there before
