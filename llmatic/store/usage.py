"""What was used, in the database: sums by hour and by day, key, model, operation and whether a batch did it.

Owns the SQL. Functions take a connection with an open transaction: give them to `Database.read` or `write`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Table,
    cast,
    func,
    literal_column,
    null,
    select,
)

from llmatic.store.tables import usage, usage_days
from llmatic.store.upserts import upsert

Group = Literal["key_id", "owner", "model", "operation", "is_batch"]

HOUR_US: Final = 3_600_000_000
DAY_US: Final = 24 * HOUR_US
_KEY: Final = ("key_id", "model", "operation", "is_batch")
_GROUPS: Final = ("key_id", "owner", "model", "operation", "is_batch")
_SUMS: Final = ("n_requests", "input_tokens", "cached_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one key used of one model in the hour that begins at `hour` (microseconds since 1970)."""

    hour: int
    key_id: str
    model: str
    operation: str
    is_batch: bool
    owner: str
    n_requests: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which rows are wanted: hours from `since` on, before `until`; of each kind those named, None: all."""

    since: int
    until: int
    operations: Collection[str] | None = None
    key_ids: Collection[str] | None = None
    owners: Collection[str] | None = None
    models: Collection[str] | None = None
    is_batch: bool | None = None


class UsageSum(NamedTuple):  # quicker to make than a dataclass: a page has thousands
    """A sum; None for what it is not grouped by. `bucket`: when it begins, in microseconds since 1970."""

    bucket: int
    n_requests: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    key_id: str | None = None
    owner: str | None = None
    model: str | None = None
    operation: str | None = None
    is_batch: bool | None = None


def add_usage(rows: Sequence[UsageRow]) -> Callable[[Connection], None]:
    """Add the rows to what is there. No two of them may be of the same hour, key, model, operation, batch."""
    # In one order everywhere, so that no two servers wait for each other.
    ordered = sorted(rows, key=lambda row: (row.hour, *(getattr(row, name) for name in _KEY)))
    hours = [{name: getattr(row, name) for name in UsageRow.__dataclass_fields__} for row in ordered]
    days = [{**row, "day": row["hour"] // DAY_US * DAY_US} for row in hours]

    def work(connection: Connection) -> None:
        for table, time, values in ((usage, "hour", hours), (usage_days, "day", days)):
            new = upsert(connection, table)
            sums = {name: table.c[name] + new.excluded[name] for name in _SUMS}
            added = new.on_conflict_do_update(index_elements=[time, *_KEY], set_=sums)
            names = [column.name for column in table.columns]
            connection.execute(added, [{name: row[name] for name in names} for row in values])

    return work


def sum_usage(
    wanted: UsageFilter, *, width_us: int, group_by: Sequence[Group] = ()
) -> Callable[[Connection], list[UsageSum]]:
    """Sums over stretches of `width_us`, whole hours, in the order of time and then of the groups."""
    assert width_us % HOUR_US == 0
    are_days = not any(time % DAY_US for time in (width_us, wanted.since, wanted.until))
    table, time = (usage_days, usage_days.c.day) if are_days else (usage, usage.c.hour)
    # The column itself is in the order of the key. Else the width is written out: PostgreSQL takes two
    # parameters for two values, and then the groups for others.
    is_plain = width_us == (DAY_US if are_days else HOUR_US)
    bucket: ColumnElement[int] = time - time % literal_column(str(width_us), BigInteger)
    bucket = (time if is_plain else bucket).label("bucket")
    groups = [table.c[name] for name in group_by]
    # SUM over integers is a decimal in PostgreSQL.
    sums = [cast(func.sum(table.c[name]), BigInteger) for name in _SUMS]
    told = [table.c[name] if name in group_by else null() for name in _GROUPS]
    statement = _filtered(select(bucket, *sums, *told), table, time, wanted)
    statement = statement.group_by(bucket, *groups).order_by(bucket, *groups)
    return lambda connection: [UsageSum._make(row) for row in connection.execute(statement)]


def _filtered(
    statement: Select[Any], table: Table, time: ColumnElement[int], wanted: UsageFilter
) -> Select[Any]:
    statement = statement.where(time >= wanted.since, time < wanted.until)
    for name, names in (
        ("operation", wanted.operations),
        ("key_id", wanted.key_ids),
        ("owner", wanted.owners),
        ("model", wanted.models),
    ):
        if names is not None:
            statement = statement.where(table.c[name].in_(names))
    if wanted.is_batch is not None:
        statement = statement.where(table.c.is_batch == wanted.is_batch)
    return statement
