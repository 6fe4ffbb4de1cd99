"""Interactions in the database: named prompt templates and their versions.

Owns the SQL. Functions take a connection with an open transaction: give them to `Database.read` or `write`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Connection, Select, delete, func, insert, select, update

from llmatic.store.json_texts import parsed
from llmatic.store.paging import ordered
from llmatic.store.tables import interactions

Status = Literal["draft", "published", "archived"]

_PLAIN: Final = (
    *("id", "owner", "name", "version", "status", "parent", "revision"),
    *("created_by", "updated_by", "created_at", "updated_at"),
)


@dataclass(frozen=True, slots=True)
class InteractionRecord:
    """One version of an interaction. Times in microseconds since 1970.

    `definition`: its prompts, result schema, model and all else that its author wrote. `parent`: the version
    that it was made from. `revision` counts its changes.
    """

    id: str
    owner: str
    name: str
    version: int
    status: Status
    definition: Mapping[str, Any]
    revision: int
    created_by: str
    updated_by: str
    created_at: int
    updated_at: int
    parent: str | None = None


_ALL: Final[tuple[Any, ...]] = tuple(interactions.c[name] for name in InteractionRecord.__dataclass_fields__)
_MADE: Final[Callable[..., InteractionRecord]] = InteractionRecord  # by place: a page has a thousand


@dataclass(frozen=True, slots=True)
class InteractionFilter:
    """Which versions are wanted; None: whatever it is."""

    name: str | None = None
    status: str | None = None
    version: int | None = None


def add_interaction(record: InteractionRecord) -> Callable[[Connection], None]:
    """Insert it. Raises AlreadyThere if the owner has this version of this name."""

    def work(connection: Connection) -> None:
        connection.execute(insert(interactions).values(_values(record)))

    return work


def get_interaction(owner: str, interaction_id: str) -> Callable[[Connection], InteractionRecord | None]:
    """One version of the owner's."""
    return lambda connection: _get(connection, owner, interaction_id)


def list_interactions(
    owner: str, wanted: InteractionFilter, *, limit: int, offset: int = 0
) -> Callable[[Connection], list[InteractionRecord]]:
    """Newest first, at most `limit`."""
    query = ordered(_query(owner, wanted), interactions, "desc").limit(limit).offset(offset)
    return lambda connection: [_record(row) for row in connection.execute(query)]


def newest_interaction(
    owner: str, wanted: InteractionFilter
) -> Callable[[Connection], InteractionRecord | None]:
    """The one with the highest version of those that fit."""
    query = _query(owner, wanted).order_by(interactions.c.version.desc()).limit(1)

    def work(connection: Connection) -> InteractionRecord | None:
        row = connection.execute(query).first()
        return None if row is None else _record(row)

    return work


def newest_version(owner: str, name: str) -> Callable[[Connection], int]:
    """The highest version of this name; 0 if there is none."""
    wanted = select(func.coalesce(func.max(interactions.c.version), 0)).where(
        interactions.c.owner == owner, interactions.c.name == name
    )
    return lambda connection: int(connection.execute(wanted).scalar_one())


def count_interactions(owner: str) -> Callable[[Connection], int]:
    """How many versions the owner has."""
    wanted = select(func.count()).select_from(interactions).where(interactions.c.owner == owner)
    return lambda connection: int(connection.execute(wanted).scalar_one())


def change_interaction(
    owner: str, interaction_id: str, change: Callable[[InteractionRecord], tuple[InteractionRecord, ...]]
) -> Callable[[Connection], tuple[InteractionRecord, ...] | None]:
    """What `change` makes of it: first the version itself, then new ones. None if there is no such version.

    Nobody else changes it meanwhile. Raises what `change` raises, AlreadyThere.
    """

    def work(connection: Connection) -> tuple[InteractionRecord, ...] | None:
        before = _get(connection, owner, interaction_id, locks=True)
        if before is None:
            return None
        changed, *new = made = change(before)
        connection.execute(
            update(interactions).where(interactions.c.id == interaction_id).values(_values(changed))
        )
        for record in new:
            connection.execute(insert(interactions).values(_values(record)))
        return made

    return work


def drop_interaction(owner: str, interaction_id: str) -> Callable[[Connection], bool]:
    """Forget it; whether there was one."""
    gone = delete(interactions).where(interactions.c.owner == owner, interactions.c.id == interaction_id)
    return lambda connection: connection.execute(gone).rowcount > 0


def _query(owner: str, wanted: InteractionFilter) -> Select[Any]:
    query = select(*_ALL).where(interactions.c.owner == owner)
    for column in ("name", "status", "version"):
        value = getattr(wanted, column)
        if value is not None:
            query = query.where(interactions.c[column] == value)
    return query


def _get(
    connection: Connection, owner: str, interaction_id: str, *, locks: bool = False
) -> InteractionRecord | None:
    wanted = select(*_ALL).where(interactions.c.id == interaction_id, interactions.c.owner == owner)
    row = connection.execute(wanted.with_for_update() if locks else wanted).first()
    return None if row is None else _record(row)


def _values(record: InteractionRecord) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in _PLAIN}
    return values | {"definition": json.dumps(dict(record.definition))}


def _record(row: Any) -> InteractionRecord:
    return _MADE(*row[:5], parsed(row[5]), *row[6:])
