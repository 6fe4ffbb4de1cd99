import asyncio
import traceback
from dataclasses import replace
from typing import Any

import pytest

from llmatic.core.errors import InvalidRequest, NotFound
from llmatic.core.limits import NAMES, Limits
from llmatic.services.keys import MICROSECONDS, REMEMBERED_S, Keys, masked
from llmatic.store.database import Database, open_database
from llmatic.store.errors import AlreadyThere
from llmatic.store.keys import add_key

pytestmark = pytest.mark.anyio


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(database: Database, clock: Clock) -> Keys:
    return Keys(database, b"secret", clock=clock)


async def test_a_key_is_recognised_and_not_kept(keys: Keys, database: Database) -> None:
    record, key = await keys.create("laptop", scopes=("files",), models=("a", "b"))
    found = await keys.recognise(key)
    assert found is not None
    assert (found.id, found.owner, found.scopes) == (record.id, record.id, frozenset({"files"}))
    assert found.may_use("b")
    assert not found.may_use("c", "d")
    assert await keys.recognise(key) == found
    for wrong in (
        key + "x",
        key[:-1] + ("a" if key[-1] != "a" else "b"),
        "",
        "sk-other",
        "sk-llmatic-\udcff",
    ):
        assert await keys.recognise(wrong) is None
    rows = await database.read(
        lambda connection: connection.exec_driver_sql("SELECT * FROM api_keys").fetchall()
    )
    assert key not in repr(rows)
    assert record.hint == masked(key)


async def test_what_fails_is_told_without_what_was_written(keys: Keys, database: Database) -> None:
    """Errors of the database end in logs."""
    record, _ = await keys.create("k")
    with pytest.raises(AlreadyThere) as caught:
        await database.write(add_key(replace(record, name=".".join("secret"))))
    told = "".join(traceback.format_exception(caught.value))
    assert "api_keys" in told
    assert record.digest not in told
    assert "s.e.c.r.e.t" not in told


async def test_another_secret_knows_no_key_of_ours(keys: Keys, database: Database) -> None:
    _, key = await keys.create("k")
    assert await Keys(database, b"other").recognise(key) is None


async def test_a_revoked_key_opens_nothing_at_once(keys: Keys) -> None:
    record, key = await keys.create("k")
    await keys.recognise(key)
    revoked = await keys.revoke(record.id)
    assert replace(revoked, used_at=None) == replace(record, revoked_at=revoked.revoked_at)
    assert await keys.recognise(key) is None
    assert (await keys.revoke(record.id)).revoked_at == revoked.revoked_at
    assert not await keys.open_any()
    assert await keys.exist()


async def test_a_key_expires_also_while_it_is_remembered(keys: Keys, clock: Clock) -> None:
    record, key = await keys.create("k", lifetime_s=1.0)
    assert record.expires_at == record.created_at + MICROSECONDS
    assert await keys.recognise(key) is not None
    assert await keys.open_any()
    clock.now += 1.0
    assert await keys.recognise(key) is None
    assert not await keys.open_any()
    assert await keys.exist()


async def test_a_key_is_replaced_by_one_with_the_same_rights(keys: Keys, clock: Clock) -> None:
    old, old_key = await keys.create(
        "k", scopes=("files",), models=("a",), limits={"queue_share": 5}, lifetime_s=100.0
    )
    assert await keys.recognise(old_key)
    clock.now += 50.0
    new, new_key = await keys.rotate(old.id, keep_s=10.0)
    found = [await keys.recognise(key) for key in (old_key, new_key)]
    assert [who and (who.owner, who.scopes, who.models, who.limits) for who in found] == [
        (old.id, frozenset({"files"}), frozenset({"a"}), Limits(queue_share=5))
    ] * 2
    assert new.expires_at == new.created_at + 100 * MICROSECONDS
    clock.now += 10.0
    assert await keys.recognise(old_key) is None
    assert await keys.recognise(new_key) is not None
    newest, newest_key = await keys.rotate(new.id)
    assert await keys.recognise(new_key) is None
    assert await keys.recognise(newest_key) is not None
    for gone in (old, new):
        with pytest.raises(InvalidRequest, match="opens nothing any more"):
            await keys.rotate(gone.id)
    with pytest.raises(NotFound):
        await keys.rotate("key_none")
    made = {record.id for record in await keys.page(9)}
    assert made == {old.id, new.id, newest.id}


async def test_a_rotated_key_does_not_live_longer_than_it_would_have(keys: Keys) -> None:
    old, _ = await keys.create("k", lifetime_s=5.0)
    await keys.rotate(old.id, keep_s=3600.0)
    assert (await keys.get(old.id)).expires_at == old.expires_at


async def test_what_is_said_of_a_key_changes_and_nothing_else(keys: Keys, clock: Clock) -> None:
    limits = {"queue_share": 5, "tokens_per_day": 7}
    made, key = await keys.create(
        "k", owner="ann", scopes=("files",), models=("a",), limits=limits, lifetime_s=9.0
    )
    assert await keys.recognise(key)
    clock.now += 1.0
    changes: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"name": " ключ "}, {"name": "ключ"}),
        ({"scopes": ("inference", "files")}, {"scopes": ("inference", "files")}),
        ({"models": ()}, {"models": ()}),
        ({"models": None}, {"models": None}),
        (
            {"limits": {"tokens_per_day": None, "requests_per_minute": 3}},
            {"limits": {"queue_share": 5, "requests_per_minute": 3}},
        ),
        ({"lifetime_s": 60.0}, {"expires_at": int((clock.now + 60) * MICROSECONDS)}),
        ({"lifetime_s": None}, {"expires_at": None}),
        ({}, {}),
    ]
    expected = made
    for wanted, found in changes:
        expected = replace(expected, **found)
        changed = await keys.change(made.id, wanted)
        assert replace(changed, used_at=None) == expected
        assert replace(await keys.get(made.id), used_at=None) == expected
        who = await keys.recognise(key)  # which is not remembered as it was
        assert who is not None
        assert (who.scopes, who.models) == (
            frozenset(expected.scopes),
            None if expected.models is None else frozenset(expected.models),
        )
        assert who.limits == Limits.of(expected.limits)


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        ({"name": " "}, "name"),
        ({"scopes": ()}, "scopes"),
        ({"models": ("",)}, "models"),
        ({"limits": {"rpm": None}}, "rpm"),
        ({"limits": {"queue_share": 101}}, "queue_share"),
        ({"lifetime_s": 0.0}, "expires_in_seconds"),
    ],
)
async def test_what_a_key_cannot_be_given_changes_nothing(
    keys: Keys, wanted: dict[str, Any], param: str
) -> None:
    made, _ = await keys.create("k")
    with pytest.raises(InvalidRequest) as refused:
        await keys.change(made.id, {"name": "other", **wanted})
    assert refused.value.param == param
    assert await keys.get(made.id) == made


async def test_a_key_that_has_expired_may_be_prolonged_but_not_one_that_was_revoked(
    keys: Keys, clock: Clock
) -> None:
    made, key = await keys.create("k", lifetime_s=5.0)
    clock.now += 5.0
    assert await keys.recognise(key) is None
    await keys.change(made.id, {"lifetime_s": 5.0})
    assert await keys.recognise(key) is not None
    await keys.revoke(made.id)
    with pytest.raises(InvalidRequest, match="was revoked"):
        await keys.change(made.id, {"name": "n"})
    with pytest.raises(NotFound):
        await keys.change("key_none", {"name": "n"})


async def test_two_changes_at_once_both_hold(keys: Keys) -> None:
    made, _ = await keys.create("k")
    wanted = {name: k for k, name in enumerate(NAMES, 1)}
    await asyncio.gather(*(keys.change(made.id, {"limits": {name: k}}) for name, k in wanted.items()))
    assert (await keys.get(made.id)).limits == wanted


async def test_only_keys_that_open_nothing_are_forgotten(keys: Keys) -> None:
    record, key = await keys.create("k")
    with pytest.raises(InvalidRequest, match="revoke it first"):
        await keys.forget(record.id)
    assert await keys.recognise(key) is not None
    await keys.revoke(record.id)
    assert (await keys.forget(record.id)).id == record.id
    assert not await keys.exist()
    with pytest.raises(NotFound):
        await keys.forget(record.id)


async def test_another_server_sees_a_revocation_soon(url: str, clock: Clock) -> None:
    here, there = (Keys(open_database(url), b"secret", clock=clock) for _ in range(2))
    record, key = await here.create("k")
    assert await there.recognise(key) is not None
    await here.revoke(record.id)
    assert await there.recognise(key) is not None
    clock.now += REMEMBERED_S
    assert await there.recognise(key) is None
    for server in (here, there):
        await server.close()
        await server._database.close()


async def test_pages_go_from_new_to_old(keys: Keys, clock: Clock) -> None:
    made = []
    for number in range(7):
        clock.now += number % 2  # some of the same time
        made.append((await keys.create(f"k{number}"))[0])
    expected = sorted(made, key=lambda record: (record.created_at, record.id), reverse=True)
    seen: list[str] = []
    after = None
    while page := await keys.page(3, after):
        seen += [record.id for record in page]
        after = page[-1].id
    assert seen == [record.id for record in expected]
    assert await keys.page(3, "nobody") == []
    with pytest.raises(NotFound, match="No such API key"):
        await keys.get("nobody")
