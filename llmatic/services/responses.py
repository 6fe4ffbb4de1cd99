"""Responses: kept, continued, found again, forgotten.

Owns the rules: who sees what, for how long, what a response builds upon, that the end of a response and what
it adds to its conversation are kept together or not at all, and that one whose maker is gone has failed.
Never makes a response. Event loop's thread.
"""

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from sqlalchemy import Connection

from llmatic.core.errors import InvalidRequest, NotFound
from llmatic.services.pacing import in_short_writes
from llmatic.services.response_items import Item, reference_ids, row
from llmatic.store import responses as table
from llmatic.store.conversations import ConversationFull, ConversationGone, append_items, item_page
from llmatic.store.database import Database
from llmatic.store.paging import Order
from llmatic.store.responses import ResponseRecord

MICROSECONDS: Final = 1_000_000
DAY_S: Final = 86_400
LEASE: Final = 30 * MICROSECONDS
STOPPED: Final = "The server stopped while it made this response."

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CONTINUABLE: Final = ("completed", "incomplete")


@dataclass(frozen=True, slots=True)
class ResponseLimits:
    """`keep_days`: for how long a response or one that continues it is kept, 0 for ever.

    `max_items`: of a conversation, and of what comes before a response.
    """

    keep_days: int = 30
    max_items: int = 10_000


@dataclass(frozen=True, slots=True)
class Context:
    """What a new response builds upon: items, oldest first. `ids`: of the responses that it continues."""

    items: tuple[Item, ...] = ()
    ids: tuple[str, ...] = ()
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """A response to be kept. `body`: OpenAI's object; `inputs` and its output as items in their kept form.

    `stores` False: only the conversation is told of it.
    """

    owner: str
    body: dict[str, Any]
    inputs: Sequence[Item]
    created_at: int
    context: Context = field(default_factory=Context)
    conversation_id: str | None = None
    stores: bool = True


class Responses:
    """The responses of all owners."""

    def __init__(
        self, database: Database, limits: ResponseLimits, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._limits = limits
        self._clock = clock
        self.before_abandoning: Callable[[], Awaitable[None]] | None = None

    # what a response builds upon

    async def continued(self, owner: str, response_id: str, *, may_cut: bool) -> Context:
        """What a response that continues this one builds upon. Raises InvalidRequest, Unavailable."""
        known = is_id(response_id)
        wanted = table.get_chain(owner, response_id, now=self._now(), max_items=self._limits.max_items)
        chain = await self._database.read(wanted) if known else None
        missing = response_id if chain is None else chain.missing
        if chain is None or missing is not None:
            raise InvalidRequest(
                f"Previous response with id '{(missing or '')[:100]}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        if chain.status not in _CONTINUABLE:
            raise InvalidRequest(
                f"Previous response with id '{response_id}' cannot be continued: it is {chain.status}.",
                param="previous_response_id",
            )
        self._check_cut(chain.is_cut, may_cut=may_cut)
        return Context(_read(chain.items), chain.ids, chain.is_cut)

    async def talked(self, owner: str, conversation_id: str, *, may_cut: bool) -> Context:
        """The items of a conversation. Raises NotFound, InvalidRequest, Unavailable."""
        limit = self._limits.max_items
        try:
            if not is_id(conversation_id):
                raise ConversationGone
            page = item_page(owner, conversation_id, limit=limit + 1, order="desc")
            newest = await self._database.read(page) or []
        except ConversationGone:
            raise no_conversation(conversation_id) from None
        self._check_cut(len(newest) > limit, may_cut=may_cut)
        return Context(_read(reversed(newest[:limit])), (), len(newest) > limit)

    def check_room(self, context: Context, n_inputs: int) -> None:
        """Whether a conversation can take these inputs and an answer to them. Raises InvalidRequest."""
        if len(context.items) + n_inputs >= self._limits.max_items:
            raise conversation_full(self._limits.max_items)

    async def resolved(self, owner: str, items: Sequence[Item]) -> list[Item]:
        """The items, those in place of which there was only a name too. Raises NotFound."""
        names = reference_ids(items)
        if not names:
            return list(items)
        known = [name for name in names if is_id(name)]
        found = await self._database.read(table.find_items(owner, known, self._now()))
        for name in names:
            if name not in found:
                raise NotFound(
                    f"Item with id '{name[:100]}' not found. Items are not persisted when `store` is set to "
                    "false. Try again with `store` set to true, or remove this item from your input.",
                    param="input",
                )
        return [
            orjson.loads(found[item["id"]]) if item["type"] == "item_reference" else item for item in items
        ]

    # keeping

    async def keep(self, kept: Kept, n_events: int = 0) -> None:
        """Keep a response that has ended. Raises NotFound if its conversation is gone, InvalidRequest if that
        is full, InsufficientStorage, Unavailable; nothing of it is kept then.
        """
        record = self._record(kept, n_events)
        inputs, outputs = [row(item) for item in kept.inputs], [row(item) for item in kept.body["output"]]

        def work(connection: Connection) -> None:
            if kept.conversation_id is not None and record.status in _CONTINUABLE:
                append_items(kept.owner, kept.conversation_id, [*inputs, *outputs], self._limits.max_items)(
                    connection
                )
            if kept.stores:
                self._hold(kept)(connection)
                table.add_response(record, inputs, outputs)(connection)

        await self._written(work, kept.conversation_id)

    async def begin(self, kept: Kept) -> None:
        """Keep a response that is yet to be made. Whoever makes it renews its lease until the end."""
        record = self._record(kept, 0)
        inputs = [row(item) for item in kept.inputs]

        def work(connection: Connection) -> None:
            self._hold(kept)(connection)
            table.add_response(record, inputs)(connection)

        await self._database.write(work)

    async def started(self, response_id: str) -> None:
        """It is no longer queued."""
        await self._database.write(table.set_status(response_id, "in_progress"))

    async def end(self, kept: Kept, n_events: int) -> bool:
        """Keep the end of one that was begun; False if it was cancelled or forgotten meanwhile.

        Raises as `keep`.
        """
        record = self._record(kept, n_events)
        inputs, outputs = [row(item) for item in kept.inputs], [row(item) for item in kept.body["output"]]

        def work(connection: Connection) -> bool:
            if not table.finish_response(record, outputs)(connection):
                return False
            if kept.conversation_id is not None and record.status in _CONTINUABLE:
                append_items(kept.owner, kept.conversation_id, [*inputs, *outputs], self._limits.max_items)(
                    connection
                )
            return True

        return bool(await self._written(work, kept.conversation_id))

    # finding and forgetting

    async def get(self, owner: str, response_id: str) -> tuple[dict[str, Any], int]:
        """OpenAI's object and the number of its stream's events. Raises NotFound."""
        found = await self._get(owner, response_id)
        lease_until = None if found is None else found[0].lease_until
        if lease_until is not None and lease_until < self._now():
            await self.fail_abandoned()
            found = await self._get(owner, response_id)
        if found is None:
            raise no_response(response_id)
        return _object(*found), found[0].n_events

    async def input_page(
        self, owner: str, response_id: str, *, limit: int, order: Order, after: str | None
    ) -> list[Any]:
        """At most `limit` items of the input. Raises NotFound."""
        if not is_id(response_id):
            raise no_response(response_id)
        page = table.input_page(
            owner, response_id, now=self._now(), limit=limit, order=order, after=checked_after(after)
        )
        found = await self._database.read(page)
        if found is None:
            await self.get(owner, response_id)
            raise no_item(after or "", "after")
        return [orjson.loads(item) for item in found]

    async def delete(self, owner: str, response_id: str) -> None:
        """Forget it. Raises NotFound."""
        known = is_id(response_id)
        if not known or not await self._database.write(table.drop_response(owner, response_id)):
            raise no_response(response_id)

    async def cancel(self, owner: str, response_id: str) -> dict[str, Any]:
        """It is no longer wanted; one that has ended stays as it is. Raises NotFound, InvalidRequest."""
        body, _ = await self.get(owner, response_id)
        if not body.get("background"):
            raise InvalidRequest("Cannot cancel a synchronous response.", param="response_id")
        if body["status"] not in table.UNFINISHED:
            return body
        await self._database.write(table.set_status(response_id, "cancelled"))
        return (await self.get(owner, response_id))[0]

    async def sweep(self) -> int:
        """Forget what has expired; how many responses that were."""
        return await in_short_writes(lambda n: self._database.write(table.drop_expired(self._now(), n)))

    async def renew(self, ids: Sequence[str]) -> set[str]:
        """They are still being made; those of them that are still wanted."""
        return await self._database.write(table.renew_leases(ids, self._now() + LEASE))

    async def fail_abandoned(self) -> None:
        """Those that nobody makes any more have failed.

        Not those that are made here: their leases may be over because the database was away, and are renewed.
        """
        if self.before_abandoning is not None:
            await self.before_abandoning()
        await self._database.write(table.fail_abandoned(self._now()))

    async def _get(self, owner: str, response_id: str) -> tuple[ResponseRecord, list[str]] | None:
        if not is_id(response_id):
            return None
        return await self._database.read(table.get_response(owner, response_id, self._now()))

    def _record(self, kept: Kept, n_events: int) -> ResponseRecord:
        now = self._now()
        days = self._limits.keep_days
        body = {name: value for name, value in kept.body.items() if name not in ("output", "status")}
        is_unfinished = kept.body["status"] in table.UNFINISHED
        return ResponseRecord(
            id=kept.body["id"],
            owner=kept.owner,
            status=kept.body["status"],
            previous_id=kept.context.ids[0] if kept.context.ids else None,
            body=orjson.dumps(body).decode(),
            n_events=n_events,
            created_at=kept.created_at,
            expires_at=now + days * DAY_S * MICROSECONDS if days else None,
            lease_until=now + LEASE if is_unfinished else None,
        )

    def _hold(self, kept: Kept) -> Callable[[Connection], None]:
        """What a response builds upon is kept as long as itself; told at most once a day."""
        now, days = self._now(), self._limits.keep_days
        if not kept.context.ids or not days:
            return lambda _connection: None
        until = now + days * DAY_S * MICROSECONDS
        return table.keep_longer(kept.context.ids, until, until - DAY_S * MICROSECONDS)

    async def _written(self, work: Callable[[Connection], Any], conversation_id: str | None) -> Any:
        try:
            return await self._database.write(work)
        except ConversationGone:
            raise no_conversation(conversation_id or "") from None
        except ConversationFull:
            raise conversation_full(self._limits.max_items) from None

    def _check_cut(self, is_cut: bool, *, may_cut: bool) -> None:
        if is_cut and not may_cut:
            raise InvalidRequest(
                f"There are more than {self._limits.max_items} items before this response. Use "
                "'truncation': 'auto' to leave the oldest out.",
                param="input",
                code="context_length_exceeded",
            )

    def _now(self) -> int:
        return int(self._clock() * MICROSECONDS)


def is_id(text: str) -> bool:
    """Whether something could have that name."""
    return _ID.fullmatch(text) is not None


def checked_after(after: str | None) -> str | None:
    """The name of the item before a page. Raises NotFound for what is no name."""
    if after is not None and not is_id(after):
        raise no_item(after, "after")
    return after


def no_response(response_id: str) -> NotFound:
    """OpenAI's words."""
    return NotFound(f"Response with id '{response_id[:100]}' not found.")


def no_conversation(conversation_id: str) -> NotFound:
    """OpenAI's words."""
    return NotFound(f"Conversation with id '{conversation_id[:100]}' not found.")


def no_item(item_id: str, param: str | None = None) -> NotFound:
    """OpenAI's words."""
    return NotFound(f"Item with id '{item_id[:100]}' not found.", param=param)


def conversation_full(max_items: int) -> InvalidRequest:
    """It holds as much as it may."""
    return InvalidRequest(
        f"A conversation holds at most {max_items} items. Delete some of them, or begin a new one.",
        param="conversation",
    )


def _read(items: Any) -> tuple[Item, ...]:
    return tuple(orjson.loads(item) for item in items)


def _object(record: ResponseRecord, output: list[str]) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(record.body)
    made = {name: value for name, value in body.items() if name in ("id", "object", "created_at")}
    made |= {"status": record.status, **body, "output": [orjson.loads(item) for item in output]}
    if record.status == "failed" and made["error"] is None:
        made["error"] = {"code": "server_error", "message": STOPPED}
    return made
