"""Runs in the database: what was asked of a model and what it answered.

Owns the SQL. What lists show is in `runs`; the texts are in `run_bodies`, which lists never touch;
`run_labels` finds runs by their tags and the like. Functions take a connection with an open transaction: give
them to `Database.read` or `write`.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    delete,
    func,
    insert,
    select,
    update,
)

from llmatic.store.json_texts import parsed
from llmatic.store.paging import Order, beyond, following, ordered
from llmatic.store.tables import run_bodies, run_labels, runs
from llmatic.store.upserts import upsert

USUAL: Final = "completed"
RARE: Final = 5000


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run without its texts. Times in microseconds since 1970.

    `kind`: "chat", "completion", or "run" for what was executed as a run. `is_stored`: one of OpenAI's stored
    completions. `interaction`: the id of the interaction that was executed. `summary`: all else that lists
    show, as JSON has it; `tags` (a list), `metadata` (a mapping) and `parent` in it can be searched for.
    """

    id: str
    owner: str
    key_id: str
    kind: str
    is_stored: bool
    model: str
    status: str
    created_at: int
    updated_at: int
    expires_at: int | None = None
    interaction: str | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)


_NAMES: Final = tuple(RunRecord.__dataclass_fields__)
_ALL: Final[tuple[Any, ...]] = tuple(runs.c[name] for name in _NAMES)
_MADE: Final[Callable[..., RunRecord]] = RunRecord  # by place: a page has a thousand


@dataclass(frozen=True, slots=True)
class RunBody:
    """The texts of a run, as JSON: the request's body, and the reply's if there was one."""

    request: str
    reply: str | None = None


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs are wanted; None: whatever it is. `labels`: all of them, as `tag_label` makes them."""

    model: str | None = None
    status: str | None = None
    interaction: str | None = None
    is_stored: bool | None = None
    labels: tuple[str, ...] = ()


def tag_label(tag: str) -> str:
    """The label of runs with the tag."""
    return _label("tag", tag)


def metadata_label(key: str, value: str) -> str:
    """The label of stored completions with this in their metadata."""
    return _label("metadata", key, value)


def parent_label(run_id: str) -> str:
    """The label of runs that have this parent."""
    return _label("parent", run_id)


def add_runs(made: Sequence[tuple[RunRecord, RunBody]]) -> Callable[[Connection], None]:
    """Insert them; those that are already there stay as they are."""

    def work(connection: Connection) -> None:
        if not made:
            return
        rows = [_values(record) for record, _ in made]
        bodies = [{"run_id": run.id, "request": body.request, "reply": body.reply} for run, body in made]
        labels = [row for record, _ in made for row in _label_rows(record)]
        for table, values in ((runs, rows), (run_bodies, bodies), (run_labels, labels)):
            if values:
                connection.execute(_insert_new(connection, table), values)

    return work


def get_run(owner: str, run_id: str) -> Callable[[Connection], RunRecord | None]:
    """One run of the owner."""
    return lambda connection: _get(connection, owner, run_id)


def get_run_with_body(owner: str, run_id: str) -> Callable[[Connection], tuple[RunRecord, RunBody] | None]:
    """One run of the owner, and its texts."""
    wanted = (
        select(*_ALL, run_bodies.c.request, run_bodies.c.reply)
        .join(run_bodies, run_bodies.c.run_id == runs.c.id)
        .where(runs.c.id == run_id, runs.c.owner == owner)
    )

    def work(connection: Connection) -> tuple[RunRecord, RunBody] | None:
        row = connection.execute(wanted).first()
        return None if row is None else (_record(row), RunBody(row.request, row.reply))

    return work


def list_runs(
    owner: str,
    wanted: RunFilter,
    *,
    limit: int,
    offset: int = 0,
    order: Order = "desc",
    after: str | None = None,
) -> Callable[[Connection], list[RunRecord] | None]:
    """At most `limit` runs; None if there is no run `after`."""

    def work(connection: Connection) -> list[RunRecord] | None:
        query = _query(connection, owner, wanted, order)
        if after is not None:
            last = _get(connection, owner, after)
            if last is None:
                return None
            query = _after(query, wanted, order, (last.created_at, last.id))
        if not wanted.labels and not offset:
            return [_record(row) for row in connection.execute(query.with_only_columns(*_ALL).limit(limit))]
        # The page's ids come from an index alone, so that rows that are skipped are never read; nor are whole
        # rows put in order, which costs more than to find the page once more.
        query = query.limit(limit).offset(offset)
        ids = connection.execute(query).scalars().all()
        page = query.subquery()
        rows = connection.execute(select(*_ALL).join(page, page.c[0] == runs.c.id))
        found = {row.id: _record(row) for row in rows}
        return [found[run_id] for run_id in ids if run_id in found]

    return work


def read_runs(
    owner: str, wanted: RunFilter, *, limit: int, after: tuple[int, str] | None = None
) -> Callable[[Connection], list[tuple[RunRecord, RunBody]]]:
    """At most `limit` runs with their texts, oldest first.

    `after`: the time and the id of the last one that was read, which may be gone meanwhile.
    """

    def work(connection: Connection) -> list[tuple[RunRecord, RunBody]]:
        query = _query(connection, owner, wanted, "asc")
        if after is not None:
            query = _after(query, wanted, "asc", after)
        whole = (
            select(*_ALL, run_bodies.c.request, run_bodies.c.reply)
            .join(run_bodies, run_bodies.c.run_id == runs.c.id)
            .where(runs.c.id.in_(query.limit(limit)))
        )
        rows = connection.execute(ordered(whole, runs, "asc"))
        return [(_record(row), RunBody(row.request, row.reply)) for row in rows]

    return work


def bodies_of(ids: Sequence[str]) -> Callable[[Connection], dict[str, RunBody]]:
    """The texts of these runs, by id."""
    wanted = select(run_bodies).where(run_bodies.c.run_id.in_(ids))
    return lambda connection: {
        row.run_id: RunBody(row.request, row.reply) for row in connection.execute(wanted)
    }


def change_run(
    owner: str,
    run_id: str,
    change: Callable[[RunRecord], RunRecord | None],
    reply: str | None = None,
    request: str | None = None,
) -> Callable[[Connection], RunRecord | None]:
    """The run as `change` makes it, and with other texts if they are given.

    None if there is no such run, or if `change` says None and nothing is changed. Nobody else changes it
    meanwhile.
    """

    def work(connection: Connection) -> RunRecord | None:
        before = _get(connection, owner, run_id, locks=True)
        after = None if before is None else change(before)
        if before is None or after is None:
            return None
        connection.execute(update(runs).where(runs.c.id == run_id).values(_values(after)))
        old, new = _labels(before), _labels(after)
        if old and _beside_labels(before) != _beside_labels(after):
            mine = run_labels.c.run_id == run_id
            connection.execute(update(run_labels).where(mine).values(_beside_labels(after)))
        if old != new:
            connection.execute(
                delete(run_labels).where(run_labels.c.run_id == run_id, run_labels.c.label.in_(old - new))
            )
            added = [row for row in _label_rows(after) if row["label"] not in old]
            if added:
                connection.execute(insert(run_labels), added)
        texts = {name: text for name, text in (("reply", reply), ("request", request)) if text is not None}
        if texts:
            connection.execute(update(run_bodies).where(run_bodies.c.run_id == run_id).values(texts))
        return after

    return work


def drop_run(owner: str, run_id: str, *, is_stored: bool | None = None) -> Callable[[Connection], bool]:
    """Forget it; whether there was one. `is_stored`: only if it is, or is not, a stored completion."""
    gone = delete(runs).where(runs.c.id == run_id, runs.c.owner == owner)
    if is_stored is not None:
        gone = gone.where(runs.c.is_stored == int(is_stored))
    return lambda connection: connection.execute(gone).rowcount > 0


def drop_expired_runs(now: int, limit: int) -> Callable[[Connection], int]:
    """Forget runs whose time is over, at most `limit`; how many they were."""

    def work(connection: Connection) -> int:
        old = select(runs.c.id).where(runs.c.expires_at <= now).order_by(runs.c.expires_at).limit(limit)
        # Another server may be at it too.
        ids = list(connection.execute(old.with_for_update(skip_locked=True)).scalars())
        if ids:
            connection.execute(delete(runs).where(runs.c.id.in_(ids)))
        return len(ids)

    return work


def _query(connection: Connection, owner: str, wanted: RunFilter, order: Order) -> Select[Any]:
    """The ids, in order. With labels the rarest one leads; its index has the order of creation too."""
    if not wanted.labels:
        return ordered(select(runs.c.id).where(runs.c.owner == owner, *_conditions(wanted)), runs, order)
    first, *others = _rarest_first(connection, owner, wanted)
    lead = run_labels.alias("lead")
    query = select(lead.c.run_id).where(lead.c.owner == owner, lead.c.label == first)
    query = query.where(*_led(connection, owner, first, lead, wanted))
    for label in others:
        also = run_labels.alias()
        same = select(also.c.run_id).where(also.c.run_id == lead.c.run_id, also.c.label == label)
        query = query.where(same.exists())
    if wanted.is_stored is not None:
        is_stored = runs.c.is_stored == int(wanted.is_stored)
        query = query.where(select(runs.c.id).where(runs.c.id == lead.c.run_id, is_stored).exists())
    columns = (lead.c.created_at, lead.c.run_id)
    return query.order_by(*(column.desc() if order == "desc" else column.asc() for column in columns))


def _after(query: Select[Any], wanted: RunFilter, order: Order, last: tuple[int, str]) -> Select[Any]:
    if not wanted.labels:
        return following(query, runs, order, *last)
    lead = query.get_final_froms()[0]
    return query.where(*beyond(lead.c.created_at, lead.c.run_id, order, *last))


def _conditions(wanted: RunFilter) -> list[ColumnElement[bool]]:
    pairs = (
        (runs.c.model, wanted.model),
        (runs.c.status, wanted.status),
        (runs.c.interaction, wanted.interaction),
        (runs.c.is_stored, None if wanted.is_stored is None else int(wanted.is_stored)),
    )
    return [column == value for column, value in pairs if value is not None]


def _rarest_first(connection: Connection, owner: str, wanted: RunFilter) -> list[str]:
    """The labels by how many runs have them."""
    labels = wanted.labels
    if len(labels) == 1:
        return list(labels)
    return sorted(labels, key={label: _n_runs(connection, owner, label) for label in labels}.__getitem__)


def _led(
    connection: Connection, owner: str, label: str, lead: FromClause, wanted: RunFilter
) -> list[ColumnElement[bool]]:
    """The conditions on the label's rows, of which an index is used for the rarest one."""
    asked = {"model": wanted.model, "interaction": wanted.interaction, "odd_status": wanted.status}
    usual = []
    if wanted.status == USUAL:
        del asked["odd_status"]
        usual.append(lead.c.odd_status.is_(None))
    given = {name: value for name, value in asked.items() if value is not None}
    first = min(given, default=None)
    if len(given) > 1:
        first = min(
            given, key=lambda name: _n_runs(connection, owner, label, run_labels.c[name] == given[name])
        )
    # Neither database looks up an expression in an index of the column.
    columns = {name: lead.c[name] if name == first else func.coalesce(lead.c[name], "") for name in given}
    return usual + [columns[name] == value for name, value in given.items()]


def _n_runs(connection: Connection, owner: str, label: str, *conditions: ColumnElement[bool]) -> int:
    """How many have the label. Costs little, as nobody counts further than RARE."""
    some = select(run_labels.c.run_id).where(run_labels.c.owner == owner, run_labels.c.label == label)
    some = some.where(*conditions).limit(RARE)
    return int(connection.execute(select(func.count()).select_from(some.subquery())).scalar_one())


def _get(connection: Connection, owner: str, run_id: str, *, locks: bool = False) -> RunRecord | None:
    wanted = select(*_ALL).where(runs.c.id == run_id, runs.c.owner == owner)
    row = connection.execute(wanted.with_for_update() if locks else wanted).first()
    return None if row is None else _record(row)


def _insert_new(connection: Connection, table: Any) -> Any:
    """An insert that leaves out what is there, so that it may be repeated."""
    return upsert(connection, table).on_conflict_do_nothing()


def _label(*parts: str) -> str:
    # Of one length whatever the text is: an index has its limits, and a column cannot hold every character.
    text = json.dumps(parts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _labels(record: RunRecord) -> set[str]:
    summary = record.summary
    found = {tag_label(tag) for tag in summary.get("tags") or ()}
    if record.is_stored:
        found |= {metadata_label(key, value) for key, value in (summary.get("metadata") or {}).items()}
    if summary.get("parent"):
        found.add(parent_label(summary["parent"]))
    return found


def _label_rows(record: RunRecord) -> Iterable[dict[str, Any]]:
    for label in sorted(_labels(record)):
        yield {
            "run_id": record.id,
            "label": label,
            "owner": record.owner,
            "created_at": record.created_at,
            **_beside_labels(record),
        }


def _beside_labels(record: RunRecord) -> dict[str, str | None]:
    odd_status = None if record.status == USUAL else record.status
    return {"model": record.model, "interaction": record.interaction, "odd_status": odd_status}


def _values(record: RunRecord) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in _NAMES}
    return values | {"is_stored": int(record.is_stored), "summary": json.dumps(dict(record.summary))}


def _record(row: Any) -> RunRecord:
    return _MADE(*row[:4], bool(row[4]), *row[5:11], parsed(row[11]))


def with_summary(record: RunRecord, now: int, **changes: Any) -> RunRecord:
    """The record with some keys of its summary changed, at the time `now`."""
    return replace(record, summary={**record.summary, **changes}, updated_at=now)
