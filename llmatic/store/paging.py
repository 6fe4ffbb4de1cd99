"""Pages of a table in the order of creation.

Owns the one way that lists are cut: after a known row, by (created_at, id), never by counting rows. Pure.
"""

from typing import Any, Literal

from sqlalchemy import Column, ColumnElement, Select, Table, and_, or_

Order = Literal["asc", "desc"]


def ordered(wanted: Select[Any], table: Table, order: Order) -> Select[Any]:
    """`wanted` in the order of creation, equal times by id."""
    columns: tuple[Column[Any], ...] = (table.c.created_at, table.c.id)
    return wanted.order_by(*(column.desc() if order == "desc" else column.asc() for column in columns))


def following(wanted: Select[Any], table: Table, order: Order, created_at: int, row_id: str) -> Select[Any]:
    """`wanted` from the row after the given one on."""
    return wanted.where(*beyond(table.c.created_at, table.c.id, order, created_at, row_id))


def beyond(
    time: ColumnElement[int], name: ColumnElement[str], order: Order, created_at: int, row_id: str
) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The conditions for rows after the given one; the first is what PostgreSQL can look up in an index."""
    if order == "desc":
        return time <= created_at, or_(time < created_at, and_(time == created_at, name < row_id))
    return time >= created_at, or_(time > created_at, and_(time == created_at, name > row_id))
