"""What was used, in buckets of time: the pages of OpenAI's usage API.

Owns the cutting of time. A bucket is a whole hour or day in UTC, also at both ends of what is asked for.
Never renders. Event loop's thread.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from llmatic.core.errors import InvalidRequest
from llmatic.services.ledger import Ledger
from llmatic.services.usage import Operation
from llmatic.store.database import Database
from llmatic.store.usage import Group, UsageFilter, UsageSum, sum_usage

MICROSECONDS: Final = 1_000_000
WIDTHS_S: Final = {"1h": 3600, "1d": 86_400}
DEFAULT_LIMITS: Final = {"1h": 24, "1d": 7}
MAX_LIMITS: Final = {"1h": 168, "1d": 31}


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What is asked for. Times in seconds since 1970; `end` is exclusive, None: now."""

    operation: Operation
    start: int
    end: int | None = None
    width: str = "1d"
    limit: int | None = None
    begin: int | None = None  # of the page; None: the first
    group_by: tuple[Group, ...] = ()
    key_ids: Collection[str] | None = None
    owners: Collection[str] | None = None
    models: Collection[str] | None = None
    is_batch: bool | None = None


@dataclass(frozen=True, slots=True)
class UsageBucket:
    """A stretch of time, in seconds since 1970, and its sums by group."""

    start: int
    end: int
    sums: tuple[UsageSum, ...]


@dataclass(frozen=True, slots=True)
class UsagePage:
    """Buckets in the order of time; `next_begin`: of the next page, None if this is the last."""

    buckets: tuple[UsageBucket, ...]
    next_begin: int | None


async def usage_page(database: Database, ledger: Ledger, query: UsageQuery) -> UsagePage:
    """One page, with all that this server has counted. Raises InvalidRequest, Unavailable."""
    width_s = WIDTHS_S[query.width]
    end = query.end if query.end is not None else int(ledger.clocks.wall()) + 1
    if query.start >= end:
        raise InvalidRequest("Invalid 'end_time': it must be after 'start_time'.", param="end_time")
    begin = query.start if query.begin is None else max(query.begin, query.start)
    begin -= begin % width_s
    n_buckets = min(_limit(query), -(-(end - begin) // width_s))
    until = begin + n_buckets * width_s
    # Not to be cut off: what is being written would be written, and yet be counted again.
    await asyncio.shield(ledger.save())
    wanted = UsageFilter(
        begin * MICROSECONDS,
        until * MICROSECONDS,
        operations=(query.operation,),
        key_ids=query.key_ids,
        owners=query.owners,
        models=query.models,
        is_batch=query.is_batch,
    )
    found = await database.read(sum_usage(wanted, width_us=width_s * MICROSECONDS, group_by=query.group_by))
    sums: dict[int, list[UsageSum]] = {}
    for item in found:
        sums.setdefault(item.bucket // MICROSECONDS, []).append(item)
    buckets = tuple(
        UsageBucket(start, start + width_s, tuple(sums.get(start, ())))
        for start in range(begin, until, width_s)
    )
    return UsagePage(buckets, until if until < end else None)


def _limit(query: UsageQuery) -> int:
    if query.limit is None:
        return DEFAULT_LIMITS[query.width]
    most = MAX_LIMITS[query.width]
    if query.limit > most:
        raise InvalidRequest(
            f"Invalid 'limit': integer above maximum value. Expected a value <= {most} with a bucket_width "
            f"of {query.width}, but got {query.limit} instead.",
            param="limit",
            code="integer_above_max_value",
        )
    return query.limit
