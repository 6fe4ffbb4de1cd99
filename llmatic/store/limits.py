"""What of the limits is used, in the database: rows of `limit_states`, one for each caller.

Owns the SQL, and the one rule by which several servers share a row: whoever saves adds what the others have
put there since it last looked. Functions take a connection with an open transaction: give them to
`Database.read` or `write`. Rows are locked in the order of their ids, so that no two servers wait for each
other.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from llmatic.store.tables import limit_states
from llmatic.store.upserts import upsert

N_AT_ONCE = 500  # ids in one statement


@dataclass(frozen=True, slots=True)
class LimitState:
    """What is used at `updated_at` (microseconds since 1970). `day`: days since 1970, UTC."""

    id: str
    requests: float
    tokens: float
    day: int
    day_tokens: int
    updated_at: int


def load_states(since: int) -> Callable[[Connection], list[LimitState]]:
    """Those that were changed at `since` or later."""
    wanted = select(limit_states).where(limit_states.c.updated_at >= since)
    return lambda connection: [LimitState(*row) for row in connection.execute(wanted)]


def merge_states(
    ids: Sequence[str], merge: Callable[[Mapping[str, LimitState]], Iterable[LimitState]]
) -> Callable[[Connection], None]:
    """Put what `merge` makes of the rows of `ids`, as they are, in their place. At most N_AT_ONCE ids."""
    assert len(ids) <= N_AT_ONCE
    ordered = sorted(ids)

    def work(connection: Connection) -> None:
        # First the rows that are missing, or two servers that both find none would not wait for each other.
        new = [_values(LimitState(name, 0.0, 0.0, 0, 0, 0)) for name in ordered]
        connection.execute(upsert(connection, limit_states).on_conflict_do_nothing(), new)
        locked = select(limit_states).where(limit_states.c.id.in_(ordered)).order_by(limit_states.c.id)
        found = {row.id: LimitState(*row) for row in connection.execute(locked.with_for_update())}
        merged = upsert(connection, limit_states)
        changes = {name: merged.excluded[name] for name in _COLUMNS if name != "id"}
        rows = sorted((_values(state) for state in merge(found)), key=lambda row: str(row["id"]))
        if rows:
            connection.execute(merged.on_conflict_do_update(index_elements=["id"], set_=changes), rows)

    return work


def drop_states(before: int) -> Callable[[Connection], int]:
    """Forget those that were last changed before; how many."""
    old = delete(limit_states).where(limit_states.c.updated_at < before)
    return lambda connection: connection.execute(old).rowcount


_COLUMNS = tuple(LimitState.__dataclass_fields__)


def _values(state: LimitState) -> dict[str, str | int | float]:
    return {name: getattr(state, name) for name in _COLUMNS}
