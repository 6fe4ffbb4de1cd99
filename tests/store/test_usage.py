import random
from dataclasses import replace

import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.core.principal import Principal
from llmatic.services.ledger import Clocks, Ledger
from llmatic.services.limiter import Limiter
from llmatic.services.usage import UsageCounter
from llmatic.services.usage_report import UsageQuery, usage_page
from llmatic.store.database import Database
from llmatic.store.usage import HOUR_US, UsageFilter, UsageRow, add_usage, sum_usage

pytestmark = pytest.mark.anyio

DAY_US = 24 * HOUR_US
ROW = UsageRow(5 * HOUR_US, "key_a", "m", "completions", False, "ann", 1, 10, 5, 3)
ALL = UsageFilter(0, 2**60)
DAY_S = 86_400


async def test_rows_are_added_up(database: Database) -> None:
    other = replace(ROW, key_id="key_b", owner="bob", input_tokens=1)
    await database.write(add_usage([ROW, other]))
    await database.write(add_usage([other, ROW]))
    rows = await database.read(sum_usage(ALL, width_us=HOUR_US, group_by=("key_id", "owner", "is_batch")))
    assert [(row.key_id, row.owner, row.is_batch, row.n_requests, row.input_tokens) for row in rows] == [
        ("key_a", "ann", False, 2, 20),
        ("key_b", "bob", False, 2, 2),
    ]
    (both,) = await database.read(sum_usage(ALL, width_us=DAY_US))
    assert (both.n_requests, both.input_tokens, both.cached_tokens, both.output_tokens) == (4, 22, 20, 12)
    assert (both.bucket, both.key_id, both.model, both.is_batch) == (0, None, None, None)


async def test_sums_are_those_of_a_plain_count(database: Database) -> None:
    chance = random.Random(7)
    rows = {}
    for _ in range(500):
        row = UsageRow(
            chance.randrange(100) * HOUR_US,
            f"key_{chance.randrange(5)}",
            chance.choice("mn"),
            chance.choice(["completions", "embeddings"]),
            chance.random() < 0.3,
            "ann",
            chance.randrange(9),
            chance.randrange(10**12),
            chance.randrange(100),
            chance.randrange(100),
        )
        rows[row.hour, row.key_id, row.model, row.operation, row.is_batch] = row
    await database.write(add_usage(list(rows.values())))
    wanted = UsageFilter(24 * HOUR_US, 72 * HOUR_US, ("completions",), ("key_1", "key_2"), is_batch=True)
    found = await database.read(sum_usage(wanted, width_us=DAY_US, group_by=("model", "key_id")))
    expected: dict[tuple[int, str, str], int] = {}
    for row in rows.values():
        is_wanted = (
            wanted.since <= row.hour < wanted.until and row.operation == "completions" and row.is_batch
        )
        if is_wanted and row.key_id in ("key_1", "key_2"):
            key = (row.hour // DAY_US * DAY_US, row.model, row.key_id)
            expected[key] = expected.get(key, 0) + row.input_tokens
    assert {(row.bucket, row.model, row.key_id): row.input_tokens for row in found} == expected
    assert [(row.bucket, row.model, row.key_id) for row in found] == sorted(expected)


def counted(database: Database, now: float) -> Ledger:
    return Ledger(database, Limiter({}), UsageCounter(), clocks=Clocks(lambda: 0.0, lambda: now))


async def test_pages_of_buckets(database: Database) -> None:
    ledger = counted(database, 10 * DAY_S + 7200.0)
    ann = Principal("key_a", "ann")
    for day in (0, 2, 2, 9, 10):
        ledger.usage.count(ann, "m", "completions", day * DAY_S + 5000.0, prompt=10, cached=4, completion=2)
    query = UsageQuery("completions", start=1000, limit=4, group_by=("key_id",))
    first = await usage_page(database, ledger, query)
    assert [(bucket.start, bucket.end) for bucket in first.buckets] == [
        (day * DAY_S, (day + 1) * DAY_S) for day in range(4)
    ]
    assert [[item.n_requests for item in bucket.sums] for bucket in first.buckets] == [[1], [], [2], []]
    assert first.next_begin == 4 * DAY_S
    seen = [bucket.start for bucket in first.buckets]
    begin: int | None = first.next_begin
    while begin is not None:
        page = await usage_page(database, ledger, replace(query, begin=begin))
        seen += [bucket.start for bucket in page.buckets]
        begin = page.next_begin
    assert seen == [day * DAY_S for day in range(11)]


async def test_hours_and_ends(database: Database) -> None:
    ledger = counted(database, 10.0 * DAY_S)
    ledger.usage.count(
        Principal("key_a", "ann"), "m", "embeddings", 7500.0, prompt=10, cached=0, completion=0, is_batch=True
    )
    page = await usage_page(database, ledger, UsageQuery("embeddings", 3600, 10_801, "1h"))
    assert [(bucket.start, len(bucket.sums)) for bucket in page.buckets] == [
        (3600, 0),
        (7200, 1),
        (10_800, 0),
    ]
    assert page.next_begin is None
    nothing = await usage_page(database, ledger, UsageQuery("completions", 3600, 10_800, "1h"))
    assert all(not bucket.sums for bucket in nothing.buckets)
    with pytest.raises(InvalidRequest, match="'end_time': it must be after 'start_time'"):
        await usage_page(database, ledger, UsageQuery("completions", 3600, 3600))
    with pytest.raises(InvalidRequest, match="Expected a value <= 31 with a bucket_width of 1d"):
        await usage_page(database, ledger, UsageQuery("completions", 0, limit=32))
    assert (
        len((await usage_page(database, ledger, UsageQuery("completions", 0, width="1h", limit=168))).buckets)
        == 168
    )


async def test_days_are_what_their_hours_are_together(database: Database) -> None:
    hours = range(20, 80, 7)
    for turn in range(3):
        rows = [
            replace(ROW, hour=hour * HOUR_US, key_id=f"key_{hour % 2}", n_requests=1 + turn) for hour in hours
        ]
        await database.write(add_usage(rows))
    expected: dict[tuple[int, str], int] = {}
    for hour in hours:
        place = (hour // 24 * DAY_US, f"key_{hour % 2}")
        expected[place] = expected.get(place, 0) + 6
    for until in (4 * DAY_US, 4 * DAY_US + HOUR_US):  # summed up from days, and from hours
        found = await database.read(sum_usage(UsageFilter(0, until), width_us=DAY_US, group_by=("key_id",)))
        assert {(row.bucket, row.key_id): row.n_requests for row in found} == expected
