import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from llmatic.store.database import Database
from llmatic.store.runs import (
    RunBody,
    RunFilter,
    RunRecord,
    add_runs,
    bodies_of,
    change_run,
    drop_expired_runs,
    drop_run,
    get_run,
    get_run_with_body,
    list_runs,
    metadata_label,
    parent_label,
    read_runs,
    tag_label,
    with_summary,
)

pytestmark = pytest.mark.anyio

RUN = RunRecord(
    id="run_0",
    owner="ann",
    key_id="key_1",
    kind="run",
    is_stored=False,
    model="m",
    status="completed",
    created_at=100,
    updated_at=100,
    summary={"tags": ["a\0b", "їжак 🦔"], "metadata": {"k": "v" * 512, "": ""}, "parent": "run_p"},
)
BODY = RunBody('{"messages":["\\u0000 ї"]}', '{"choices":[]}')


async def found(
    database: Database, wanted: RunFilter, owner: str = "ann", **page: object
) -> list[str] | None:
    page.setdefault("limit", 100)
    records = await database.read(list_runs(owner, wanted, **page))  # type: ignore[arg-type]
    return None if records is None else [record.id for record in records]


async def test_a_run_comes_back_as_it_was_and_only_to_its_owner(database: Database) -> None:
    await database.write(add_runs([(RUN, BODY)]))
    assert await database.read(get_run("ann", "run_0")) == RUN
    assert await database.read(get_run_with_body("ann", "run_0")) == (RUN, BODY)
    assert await database.read(bodies_of(["run_0", "run_1"])) == {"run_0": BODY}
    for read in (get_run("bob", "run_0"), get_run_with_body("bob", "run_0")):
        assert await database.read(read) is None
    assert await found(database, RunFilter(), "bob") == []
    assert not await database.write(drop_run("bob", "run_0"))
    assert not await database.write(drop_run("ann", "run_0", is_stored=True))
    assert await database.write(drop_run("ann", "run_0"))
    assert await database.read(get_run_with_body("ann", "run_0")) is None
    assert await database.read(bodies_of(["run_0"])) == {}
    assert await found(database, RunFilter(labels=(parent_label("run_p"),))) == []


async def test_writing_again_changes_nothing(database: Database) -> None:
    await database.write(add_runs([(RUN, BODY)]))
    other = replace(RUN, id="run_1")
    await database.write(add_runs([(replace(RUN, model="other"), RunBody("{}")), (other, BODY)]))
    assert await database.read(get_run_with_body("ann", "run_0")) == (RUN, BODY)
    assert await database.read(get_run("ann", "run_1")) == other
    await database.write(add_runs([]))


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_with_filters_miss_nothing_and_repeat_nothing(database: Database, order: str) -> None:
    made = [
        replace(
            RUN,
            id=f"run_{k:02}",
            model=f"m{k % 2}",
            status="failed" if k % 5 == 0 else "completed",
            is_stored=k % 2 == 0,
            interaction="int_1" if k % 3 == 0 else None,
            created_at=100 + k // 4,
            summary={"tags": [f"t{k % 2}", f"u{k % 3}"], "metadata": {"n": str(k % 4)}},
        )
        for k in range(40)
    ]
    await database.write(add_runs([(record, BODY) for record in made]))
    made.sort(key=lambda record: (record.created_at, record.id), reverse=order == "desc")
    cases: list[tuple[RunFilter, Callable[[int], object]]] = [
        (RunFilter(), lambda k: True),
        (RunFilter(model="m1"), lambda k: k % 2 == 1),
        (RunFilter(status="failed", model="m1"), lambda k: k % 10 == 5),
        (RunFilter(is_stored=True), lambda k: k % 2 == 0),
        (RunFilter(interaction="int_1", status="completed"), lambda k: k % 3 == 0 and k % 5),
        (RunFilter(labels=(tag_label("t1"),)), lambda k: k % 2 == 1),
        (RunFilter(labels=(tag_label("t1"), tag_label("u2"))), lambda k: k % 2 == 1 and k % 3 == 2),
        (RunFilter(model="m0", labels=(metadata_label("n", "2"),)), lambda k: k % 4 == 2),
        (RunFilter(labels=(tag_label("n"),)), lambda k: False),
        (RunFilter(model="m1", interaction="int_1"), lambda k: k % 6 == 3),
        (RunFilter(model="m1", interaction="int_1", status="completed"), lambda k: k % 6 == 3 and k % 5),
        (RunFilter(status="failed", labels=(tag_label("t1"),)), lambda k: k % 10 == 5),
        (RunFilter(status="completed", labels=(tag_label("t1"),)), lambda k: k % 2 and k % 5),
        (RunFilter(interaction="int_1", labels=(tag_label("t1"),)), lambda k: k % 6 == 3),
        (RunFilter(model="m1", status="completed", labels=(tag_label("t1"),)), lambda k: k % 2 and k % 5),
        (
            RunFilter(model="m1", status="failed", interaction="int_1", labels=(tag_label("t1"),)),
            lambda k: k % 30 == 15,
        ),
        (
            RunFilter(model="m1", status="completed", interaction="int_1", labels=(tag_label("t1"),)),
            lambda k: k % 6 == 3 and k % 5,
        ),
        (
            RunFilter(model="m1", status="failed", labels=(tag_label("u0"), tag_label("t1"))),
            lambda k: k % 30 == 15,
        ),
        (RunFilter(is_stored=False, labels=(tag_label("u0"),)), lambda k: k % 6 == 3),
        (RunFilter(labels=(metadata_label("n", "1"),)), lambda k: False),  # of those that are not stored
    ]
    for wanted, fits in cases:
        expected = [record.id for record in made if fits(int(record.id[4:]))]
        seen: list[str] = []
        while page := await found(database, wanted, limit=7, order=order, after=seen[-1] if seen else None):
            seen += page
        assert seen == expected
        assert await found(database, wanted, order=order, limit=5, offset=3) == expected[3:8]
    assert await found(database, RunFilter(), after="run_99") is None


async def test_runs_are_read_out_with_their_texts(database: Database) -> None:
    made = [replace(RUN, id=f"run_{k}", model=f"m{k % 2}", created_at=100 + k // 3) for k in range(9)]
    await database.write(add_runs([(record, BODY) for record in reversed(made)]))
    await database.write(add_runs([(replace(RUN, id="run_x", owner="bob"), BODY)]))
    tagged = RunFilter(labels=(tag_label("їжак 🦔"),))
    for wanted, expected in ((RunFilter(), made), (RunFilter(model="m1"), made[1::2]), (tagged, made)):
        seen: list[tuple[RunRecord, RunBody]] = []
        while page := await database.read(
            read_runs(
                "ann", wanted, limit=2, after=(seen[-1][0].created_at, seen[-1][0].id) if seen else None
            )
        ):
            assert len(page) <= 2
            seen += page
        assert seen == [(record, BODY) for record in expected]
    await database.write(drop_run("ann", "run_4"))
    rest = await database.read(read_runs("ann", RunFilter(), limit=9, after=(101, "run_4")))
    assert [record for record, _ in rest] == made[5:]


async def test_texts_come_back_whatever_is_in_them(database: Database) -> None:
    odd = "\0\ud800\uffff\u2028🦔\x7f"
    summary = {"tags": [odd], "metadata": {odd: odd}, "parent": odd, "error": {"message": odd}}
    large = RunBody(json.dumps({"messages": [odd]}), json.dumps("ї🦔\0" * 1_000_000))
    record = replace(RUN, is_stored=True, summary=summary)
    await database.write(add_runs([(record, large)]))
    assert await database.read(get_run_with_body("ann", "run_0")) == (record, large)
    for label in (tag_label(odd), metadata_label(odd, odd), parent_label(odd)):
        assert await found(database, RunFilter(labels=(label,))) == ["run_0"]


async def test_labels_follow_changes(database: Database) -> None:
    await database.write(add_runs([(RUN, BODY)]))
    changed = await database.write(
        change_run("ann", "run_0", lambda run: with_summary(run, 200, tags=["new", "їжак 🦔"]), '{"x":1}')
    )
    assert changed is not None
    assert changed.updated_at == 200
    assert await found(database, RunFilter(labels=(tag_label("new"),))) == ["run_0"]
    assert await found(database, RunFilter(labels=(tag_label("їжак 🦔"),))) == ["run_0"]
    assert await found(database, RunFilter(labels=(tag_label("a\0b"),))) == []
    assert await database.read(get_run_with_body("ann", "run_0")) == (changed, replace(BODY, reply='{"x":1}'))
    assert await database.write(change_run("ann", "run_0", lambda _: None, "{}")) is None
    assert await database.write(change_run("bob", "run_0", lambda run: run)) is None
    for status in ("failed", "completed"):
        assert await found(database, RunFilter(status=status, labels=(tag_label("new"),))) == (
            ["run_0"] if status == "completed" else []
        )
    await database.write(change_run("ann", "run_0", lambda run: replace(run, status="failed")))
    assert await found(database, RunFilter(status="failed", labels=(tag_label("new"),))) == ["run_0"]
    await database.write(change_run("ann", "run_0", lambda _: changed))
    assert await database.read(get_run("ann", "run_0")) == changed


async def test_what_is_old_goes_in_batches(database: Database) -> None:
    for k in range(5):
        record = replace(RUN, id=f"run_{k}", expires_at=None if k == 4 else 100 + k)
        await database.write(add_runs([(record, BODY)]))
    assert await database.write(drop_expired_runs(102, 2)) == 2
    assert await database.write(drop_expired_runs(102, 2)) == 1
    assert await database.write(drop_expired_runs(102, 2)) == 0
    assert await found(database, RunFilter()) == ["run_4", "run_3"]
    assert await found(database, RunFilter(labels=(parent_label("run_p"),))) == ["run_4", "run_3"]
