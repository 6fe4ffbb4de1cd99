"""Responses in the database: what was answered, and the items that went in and came out.

Owns the SQL. Functions take a connection with an open transaction: give them to `Database.read` or `write`. A
response is followed back to those that it continues in one query.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import CTE, ColumnElement, Connection, Row, delete, insert, literal, or_, select, update

from llmatic.store.paging import Order
from llmatic.store.tables import conversation_items, conversations, response_items, responses

UNFINISHED: Final = ("queued", "in_progress")
MAX_DEPTH: Final = 100_000
_IDS_AT_ONCE: Final = 500  # databases limit the parameters of a statement


@dataclass(frozen=True, slots=True)
class ResponseRecord:
    """A response without its items. Times in microseconds since 1970.

    `body`: OpenAI's object as JSON, whose `status` and `output` are elsewhere. `n_events`: of its stream.
    `lease_until`: of an unfinished one, until when whoever makes it has promised to say that it still does.
    """

    id: str
    owner: str
    status: str
    previous_id: str | None
    body: str
    n_events: int
    created_at: int
    expires_at: int | None = None
    lease_until: int | None = None


@dataclass(frozen=True, slots=True)
class ItemRow:
    """One item, as JSON."""

    id: str
    data: str


@dataclass(frozen=True, slots=True)
class Chain:
    """What a response builds upon.

    `ids`: of the responses, newest first. `status`: of the newest. `items`: of all of them, oldest first, at
    most as many as asked for, the newest ones; `is_cut`: there are more. `missing`: a response that is no
    longer there, which ends the chain too early.
    """

    ids: tuple[str, ...]
    status: str
    items: tuple[str, ...]
    is_cut: bool = False
    missing: str | None = None


def add_response(
    record: ResponseRecord, inputs: Sequence[ItemRow], outputs: Sequence[ItemRow] = ()
) -> Callable[[Connection], None]:
    """Insert it and its items."""

    def work(connection: Connection) -> None:
        values = {name: getattr(record, name) for name in ResponseRecord.__dataclass_fields__}
        connection.execute(insert(responses).values(values))
        _add_items(connection, record.id, inputs, outputs)

    return work


def finish_response(record: ResponseRecord, outputs: Sequence[ItemRow]) -> Callable[[Connection], bool]:
    """The end of one that was added unfinished; False, and nothing is changed, if it has ended or is gone."""
    values = {name: getattr(record, name) for name in ("status", "body", "n_events", "lease_until")}
    ended = (
        update(responses)
        .where(responses.c.id == record.id, responses.c.status.in_(UNFINISHED))
        .values(values)
    )

    def work(connection: Connection) -> bool:
        if not connection.execute(ended).rowcount:
            return False
        n_inputs = select(response_items.c.position).where(response_items.c.response_id == record.id)
        last = connection.execute(n_inputs.order_by(response_items.c.position.desc()).limit(1)).scalar()
        _add_items(connection, record.id, (), outputs, first=0 if last is None else last + 1)
        return True

    return work


def set_status(response_id: str, status: str) -> Callable[[Connection], bool]:
    """Of an unfinished one; whether there was such a one. If it has ended, so has the lease."""
    values: dict[str, Any] = {"status": status}
    if status not in UNFINISHED:
        values["lease_until"] = None
    changed = update(responses).where(responses.c.id == response_id, responses.c.status.in_(UNFINISHED))
    return lambda connection: connection.execute(changed.values(values)).rowcount > 0


def get_response(
    owner: str, response_id: str, now: int
) -> Callable[[Connection], tuple[ResponseRecord, list[str]] | None]:
    """One response of the owner and its output."""

    def work(connection: Connection) -> tuple[ResponseRecord, list[str]] | None:
        row = connection.execute(
            select(responses).where(responses.c.id == response_id, *_visible(owner, now))
        ).first()
        if row is None:
            return None
        wanted = select(response_items.c.data).where(
            response_items.c.response_id == response_id, response_items.c.is_output
        )
        output = connection.execute(wanted.order_by(response_items.c.position)).scalars()
        return _record(row), list(output)

    return work


def input_page(
    owner: str, response_id: str, *, now: int, limit: int, order: Order, after: str | None
) -> Callable[[Connection], list[str] | None]:
    """At most `limit` items of the input; None if there is no such response or no item `after`."""

    def work(connection: Connection) -> list[str] | None:
        found = select(responses.c.id).where(responses.c.id == response_id, *_visible(owner, now))
        if connection.execute(found).first() is None:
            return None
        mine = (response_items.c.response_id == response_id, response_items.c.is_output.is_(False))
        place = response_items.c.position
        wanted = select(response_items.c.data).where(*mine)
        if after is not None:
            last = connection.execute(select(place).where(*mine, response_items.c.item_id == after)).scalar()
            if last is None:
                return None
            wanted = wanted.where(place < last if order == "desc" else place > last)
        wanted = wanted.order_by(place.desc() if order == "desc" else place.asc()).limit(limit)
        return list(connection.execute(wanted).scalars())

    return work


def get_chain(
    owner: str, response_id: str, *, now: int, max_items: int
) -> Callable[[Connection], Chain | None]:
    """Everything that a response that continues this one builds upon; None if this one is not there."""

    def work(connection: Connection) -> Chain | None:
        chain = _chain(owner, response_id, now)
        rows = connection.execute(
            select(chain.c.id, chain.c.previous_id, chain.c.status).order_by(chain.c.depth)
        ).all()
        if not rows:
            return None
        items = (
            select(response_items.c.data)
            .join(chain, chain.c.id == response_items.c.response_id)
            .order_by(chain.c.depth, response_items.c.position.desc())
            .limit(max_items + 1)
        )
        found = list(connection.execute(items).scalars())
        ids = tuple(row.id for row in rows)
        kept = tuple(reversed(found[:max_items]))
        return Chain(ids, rows[0].status, kept, len(found) > max_items, rows[-1].previous_id)

    return work


def keep_longer(ids: Sequence[str], expires_at: int, if_before: int) -> Callable[[Connection], None]:
    """Let those of the responses that expire before `if_before` expire at `expires_at`."""

    def work(connection: Connection) -> None:
        for some in _in_parts(ids):
            late = update(responses).where(responses.c.id.in_(some), responses.c.expires_at < if_before)
            connection.execute(late.values(expires_at=expires_at))

    return work


def drop_response(owner: str, response_id: str) -> Callable[[Connection], bool]:
    """Forget it and its items; whether there was one."""
    gone = delete(responses).where(responses.c.owner == owner, responses.c.id == response_id)
    return lambda connection: connection.execute(gone).rowcount > 0


def drop_expired(now: int, limit: int) -> Callable[[Connection], int]:
    """Forget responses whose time is over, at most `limit`; how many those were."""

    def work(connection: Connection) -> int:
        old = select(responses.c.id).where(responses.c.expires_at <= now).order_by(responses.c.expires_at)
        # Another server may be at it too.
        ids = list(connection.execute(old.limit(limit).with_for_update(skip_locked=True)).scalars())
        if ids:
            connection.execute(delete(responses).where(responses.c.id.in_(ids)))
        return len(ids)

    return work


def renew_leases(ids: Sequence[str], until: int) -> Callable[[Connection], set[str]]:
    """Promise to go on until then; those of them that are still wanted."""

    def work(connection: Connection) -> set[str]:
        wanted: set[str] = set()
        for some in _in_parts(ids):
            mine = responses.c.id.in_(some) & responses.c.status.in_(UNFINISHED)
            connection.execute(update(responses).where(mine).values(lease_until=until))
            wanted.update(connection.execute(select(responses.c.id).where(mine)).scalars())
        return wanted

    return work


def fail_abandoned(now: int) -> Callable[[Connection], int]:
    """Those whose lease is over have failed: whoever made them is gone. How many those were."""
    gone = (
        update(responses)
        .where(responses.c.lease_until < now, responses.c.status.in_(UNFINISHED))
        .values(status="failed", lease_until=None)
    )
    return lambda connection: connection.execute(gone).rowcount


def find_items(owner: str, ids: Sequence[str], now: int) -> Callable[[Connection], dict[str, str]]:
    """The owner's items by id, of responses and of conversations."""

    def work(connection: Connection) -> dict[str, str]:
        found: dict[str, str] = {}
        for some in _in_parts(ids):
            talked = (
                select(conversation_items.c.item_id, conversation_items.c.data)
                .join(conversations, conversations.c.id == conversation_items.c.conversation_id)
                .where(conversation_items.c.item_id.in_(some), conversations.c.owner == owner)
            )
            answered = (
                select(response_items.c.item_id, response_items.c.data)
                .join(responses, responses.c.id == response_items.c.response_id)
                .where(response_items.c.item_id.in_(some), *_visible(owner, now))
            )
            for wanted in (talked, answered):
                found.update((row.item_id, row.data) for row in connection.execute(wanted))
        return found

    return work


def _chain(owner: str, response_id: str, now: int) -> CTE:
    first = select(responses.c.id, responses.c.previous_id, responses.c.status, literal(0).label("depth"))
    chain = first.where(responses.c.id == response_id, *_visible(owner, now)).cte("chain", recursive=True)
    older = (
        select(responses.c.id, responses.c.previous_id, responses.c.status, chain.c.depth + 1)
        .join(chain, responses.c.id == chain.c.previous_id)
        .where(*_visible(owner, now), chain.c.depth < MAX_DEPTH)
    )
    return chain.union_all(older)


def _visible(owner: str, now: int) -> tuple[ColumnElement[bool], ...]:
    return (
        responses.c.owner == owner,
        or_(responses.c.expires_at.is_(None), responses.c.expires_at > now),
    )


def _add_items(
    connection: Connection,
    response_id: str,
    inputs: Sequence[ItemRow],
    outputs: Sequence[ItemRow],
    first: int = 0,
) -> None:
    items = [(False, item) for item in inputs] + [(True, item) for item in outputs]
    if items:
        rows = [
            {
                "response_id": response_id,
                "position": first + index,
                "item_id": item.id,
                "is_output": is_output,
                "data": item.data,
            }
            for index, (is_output, item) in enumerate(items)
        ]
        connection.execute(insert(response_items), rows)


def _in_parts(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + _IDS_AT_ONCE] for start in range(0, len(ids), _IDS_AT_ONCE)]


def _record(row: Row[Any]) -> ResponseRecord:
    return ResponseRecord(**{name: getattr(row, name) for name in ResponseRecord.__dataclass_fields__})
