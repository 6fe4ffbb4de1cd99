"""API keys in the database: rows of `api_keys` and nothing of the keys themselves but a keyed digest.

Owns the SQL. Functions take a connection with an open transaction: give them to `Database.read` or `write`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, or_, select, update

from llmatic.core.principal import Scope
from llmatic.store.paging import Order, following, ordered
from llmatic.store.tables import api_keys

_USABLE = api_keys.c.revoked_at.is_(None)
# Made once: requests wait for it.
_BY_DIGEST = select(api_keys).where(api_keys.c.digest == bindparam("digest"))


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key without its secret. Times in microseconds since 1970; `hint` is what may be shown of it.

    `limits`: what `services.limits` reads; empty for none. `models` None: all. `used_at`: to the minute.
    """

    id: str
    owner: str
    name: str
    digest: str
    hint: str
    scopes: tuple[Scope, ...]
    models: tuple[str, ...] | None
    limits: Mapping[str, int]
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    used_at: int | None = None

    def is_usable(self, now: int) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def add_key(record: KeyRecord) -> Callable[[Connection], None]:
    """Insert it. Raises AlreadyThere if the digest is."""

    def work(connection: Connection) -> None:
        connection.execute(
            insert(api_keys).values(
                id=record.id,
                owner=record.owner,
                digest=record.digest,
                hint=record.hint,
                created_at=record.created_at,
                revoked_at=record.revoked_at,
                used_at=record.used_at,
                **_changeable(record),
            )
        )

    return work


def change_key(
    key_id: str, change: Callable[[KeyRecord], KeyRecord]
) -> Callable[[Connection], KeyRecord | None]:
    """Write what `change` makes of a key's name, rights, limits and end. None if there is no such key."""
    wanted = select(api_keys).where(api_keys.c.id == key_id).with_for_update()

    def work(connection: Connection) -> KeyRecord | None:
        row = connection.execute(wanted).first()
        if row is None:
            return None
        new = change(_record(row))
        connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(**_changeable(new)))
        return new

    return work


def find_key(digest: str) -> Callable[[Connection], KeyRecord | None]:
    """The key with this digest, usable or not."""

    def work(connection: Connection) -> KeyRecord | None:
        row = connection.execute(_BY_DIGEST, {"digest": digest}).first()
        return None if row is None else _record(row)

    return work


def get_key(key_id: str) -> Callable[[Connection], KeyRecord | None]:
    """The key with this id."""
    return lambda connection: _first(connection, api_keys.c.id == key_id)


def list_keys(
    limit: int, after: str | None = None, order: Order = "desc", *, with_revoked: bool = True
) -> Callable[[Connection], list[KeyRecord]]:
    """At most `limit`; after the key with the id `after`, none if there is no such key."""

    def work(connection: Connection) -> list[KeyRecord]:
        wanted = ordered(select(api_keys).limit(limit), api_keys, order)
        if not with_revoked:
            wanted = wanted.where(_USABLE)
        if after is not None:
            last = _first(connection, api_keys.c.id == after)
            if last is None:
                return []
            wanted = following(wanted, api_keys, order, last.created_at, last.id)
        return [_record(row) for row in connection.execute(wanted)]

    return work


def revoke_key(key_id: str, now: int) -> Callable[[Connection], KeyRecord | None]:
    """Make it unusable; the earlier time stays if it already is. None if there is no such key."""

    def work(connection: Connection) -> KeyRecord | None:
        change = update(api_keys).where(api_keys.c.id == key_id, _USABLE).values(revoked_at=now)
        connection.execute(change)
        return _first(connection, api_keys.c.id == key_id)

    return work


def replace_key(key_id: str, new: KeyRecord, now: int, until: int) -> Callable[[Connection], bool]:
    """Add the new one, and let the old one open nothing from `until` on, or from when it would have anyway.

    False, and nothing is changed, if it opens nothing already.
    """

    def work(connection: Connection) -> bool:
        old = _first(connection, api_keys.c.id == key_id)
        if old is None or not old.is_usable(now):
            return False
        ends = {"revoked_at": now} if until <= now else {"expires_at": min(until, old.expires_at or until)}
        connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(**ends))
        add_key(new)(connection)
        return True

    return work


def touch_key(key_id: str, now: int) -> Callable[[Connection], None]:
    """Remember that it was used."""
    change = update(api_keys).where(api_keys.c.id == key_id).values(used_at=now)

    def work(connection: Connection) -> None:
        connection.execute(change)

    return work


def has_key(usable_at: int | None = None) -> Callable[[Connection], bool]:
    """Whether there is any key, or any that opens the door at that time."""
    wanted = select(api_keys.c.id).limit(1)
    if usable_at is not None:
        lives = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > usable_at)
        wanted = wanted.where(_USABLE, lives)
    return lambda connection: connection.execute(wanted).first() is not None


def is_locked_out(key_id: str, now: int) -> Callable[[Connection], bool]:
    """Whether the key was revoked or forgotten, and no key of its owner's opens the door in its place."""
    mine = api_keys.c.id == key_id
    lives = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now)

    def work(connection: Connection) -> bool:
        found = connection.execute(select(api_keys.c.owner, api_keys.c.revoked_at).where(mine)).first()
        if found is None or found.revoked_at is None:
            return found is None
        others = select(api_keys.c.id).where(api_keys.c.owner == found.owner, _USABLE, lives).limit(1)
        return connection.execute(others).first() is None

    return work


def drop_key(key_id: str) -> Callable[[Connection], None]:
    """Delete the row, if it is there."""
    gone = delete(api_keys).where(api_keys.c.id == key_id)

    def work(connection: Connection) -> None:
        connection.execute(gone)

    return work


def _changeable(record: KeyRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "scopes": json.dumps(record.scopes),
        "models": None if record.models is None else json.dumps(record.models),
        "limits": json.dumps(dict(record.limits)),
        "expires_at": record.expires_at,
    }


def _first(connection: Connection, condition: Any) -> KeyRecord | None:
    row = connection.execute(select(api_keys).where(condition)).first()
    return None if row is None else _record(row)


def _record(row: Row[Any]) -> KeyRecord:
    return KeyRecord(
        id=row.id,
        owner=row.owner,
        name=row.name,
        digest=row.digest,
        hint=row.hint,
        scopes=tuple(json.loads(row.scopes)),
        models=None if row.models is None else tuple(json.loads(row.models)),
        limits=json.loads(row.limits or "{}"),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        used_at=row.used_at,
    )
