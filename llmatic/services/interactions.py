"""Interactions: named prompt templates with a result schema, in versions.

Owns the life of a version: a draft is changed, published as it is (the draft goes on under the next number),
archived; what was published does not change any more. Event loop's thread; templates and schemas are looked
at in a process of their own.
"""

import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from llmatic.core.errors import Conflict, InvalidRequest, NotFound
from llmatic.core.principal import Principal
from llmatic.services.confined import Confined
from llmatic.store.database import Database
from llmatic.store.errors import AlreadyThere
from llmatic.store.interactions import (
    InteractionFilter,
    InteractionRecord,
    add_interaction,
    change_interaction,
    count_interactions,
    drop_interaction,
    get_interaction,
    list_interactions,
    newest_interaction,
    newest_version,
)

MICROSECONDS: Final = 1_000_000
MAX_PER_OWNER: Final = 10_000
MAX_NAMED: Final = 1000
MAX_VERSION: Final = 2**31 - 1

_ID: Final = re.compile(r"int_[0-9a-f]{24}\Z")
_OF_PUBLISHED: Final = frozenset({"status", "tags", "description", "visibility", "name"})
_SCHEMAS: Final = ("result_schema", "interaction_schema")

Changes = Mapping[str, Any]


class Interactions:
    """The interactions of all owners. `confined`: where what their authors wrote is followed."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self.confined = Confined()

    async def close(self) -> None:
        """End what follows templates. Idempotent."""
        await self.confined.close()

    async def create(
        self, principal: Principal, fields: Changes, parent: str | None = None
    ) -> InteractionRecord:
        """A new draft, version 1. Raises InvalidRequest, Conflict."""
        name = fields["name"]
        definition = {key: value for key, value in fields.items() if key not in ("name", "status")}
        await self._check(principal.owner, definition)
        await self._check_room(principal.owner)
        if await self._database.read(newest_version(principal.owner, name)):
            raise _taken(name)
        record = replace(self._fresh(principal, name, 1, definition), parent=parent)
        try:
            await self._database.write(add_interaction(record))
        except AlreadyThere:
            raise _taken(name) from None
        return record

    async def get(self, owner: str, interaction_id: str) -> InteractionRecord:
        """Raises NotFound."""
        found = None
        if _ID.match(interaction_id):
            found = await self._database.read(get_interaction(owner, interaction_id))
        if found is None:
            raise missing(interaction_id)
        return found

    async def page(
        self, owner: str, wanted: InteractionFilter, *, limit: int, offset: int = 0
    ) -> list[InteractionRecord]:
        """Newest first."""
        if wanted.name is not None and "\0" in wanted.name:
            return []
        return await self._database.read(list_interactions(owner, wanted, limit=limit, offset=offset))

    async def find(self, owner: str, reference: str) -> InteractionRecord:
        """By `Name`, `Name@3`, `Name@draft`, `Name@tag`, or an id.

        A name alone is its newest published version, or its draft if none was published; a tag is the newest
        published version that has it. Raises NotFound.
        """
        if _ID.match(reference):
            return await self.get(owner, reference)
        name, _, wanted = reference.partition("@")
        found = None
        if not wanted:
            found = await self._newest(owner, name, "published") or await self._newest(owner, name, "draft")
        elif wanted == "draft":
            found = await self._newest(owner, name, "draft")
        elif wanted.isascii() and wanted.isdigit():
            found = await self._newest(owner, name, version=min(int(wanted[:10]), MAX_VERSION))
        else:
            published = await self.page(owner, InteractionFilter(name, "published"), limit=MAX_NAMED)
            published.sort(key=lambda record: record.version, reverse=True)
            tagged = (record for record in published if wanted in record.definition.get("tags", ()))
            found = next(tagged, None)
        if found is None:
            raise missing(reference)
        return found

    async def update(self, principal: Principal, interaction_id: str, changes: Changes) -> InteractionRecord:
        """Change a draft, or what may be changed of another. Raises NotFound, InvalidRequest, Conflict."""
        await self._check(principal.owner, changes)
        await self._check_free(principal.owner, interaction_id, changes.get("name"))

        def changed(record: InteractionRecord) -> tuple[InteractionRecord, ...]:
            return (self._changed(record, changes, principal),)

        return (await self._change(principal.owner, interaction_id, changed, changes.get("name")))[0]

    async def publish(self, principal: Principal, interaction_id: str, changes: Changes) -> InteractionRecord:
        """A published copy of a draft, which goes on as the next version. Raises NotFound, InvalidRequest."""

        def published(draft: InteractionRecord) -> tuple[InteractionRecord, ...]:
            if draft.status != "draft":
                raise InvalidRequest(f"Only drafts can be published; this version is {draft.status}.")
            now = self._now()
            copy = replace(
                self._fresh(principal, draft.name, draft.version, {**draft.definition, **changes}),
                status="published",
                parent=draft.id,
            )
            copy = replace(copy, definition={**copy.definition, "last_published_at": now})
            draft = replace(
                draft,
                version=draft.version + 1,
                revision=draft.revision + 1,
                definition={**draft.definition, "last_published_at": now},
                updated_by=principal.id,
                updated_at=now,
            )
            return draft, copy

        await self._check_room(principal.owner)
        return (await self._change(principal.owner, interaction_id, published))[1]

    async def fork(self, principal: Principal, interaction_id: str, changes: Changes) -> InteractionRecord:
        """A draft of another name made of this version. Raises NotFound, InvalidRequest, Conflict."""
        source = await self.get(principal.owner, interaction_id)
        definition = {key: value for key, value in source.definition.items() if key != "last_published_at"}
        if not changes.get("keep_tags", True):
            definition["tags"] = []
        name = changes.get("name") or f"{source.name[:120]} copy"
        return await self.create(principal, {**definition, "name": name}, parent=source.id)

    async def delete(self, owner: str, interaction_id: str) -> None:
        """Forget this version; runs that were made with it stay. Raises NotFound."""
        if not _ID.match(interaction_id) or not await self._database.write(
            drop_interaction(owner, interaction_id)
        ):
            raise missing(interaction_id)

    async def _newest(
        self, owner: str, name: str, status: str | None = None, version: int | None = None
    ) -> InteractionRecord | None:
        if not name or "\0" in name:
            return None
        return await self._database.read(newest_interaction(owner, InteractionFilter(name, status, version)))

    async def _change(
        self,
        owner: str,
        interaction_id: str,
        change: Callable[[InteractionRecord], tuple[InteractionRecord, ...]],
        name: str | None = None,
    ) -> tuple[InteractionRecord, ...]:
        found = None
        if _ID.match(interaction_id):
            try:
                found = await self._database.write(change_interaction(owner, interaction_id, change))
            except AlreadyThere:
                raise _taken(name or interaction_id) from None
        if found is None:
            raise missing(interaction_id)
        return found

    def _changed(
        self, record: InteractionRecord, changes: Changes, principal: Principal
    ) -> InteractionRecord:
        if record.status != "draft":
            fixed = sorted(changes.keys() - _OF_PUBLISHED)
            if fixed or changes.get("name", record.name) != record.name:
                raise InvalidRequest(
                    f"A version that was published does not change: '{fixed[0] if fixed else 'name'}' can "
                    "only be changed in a draft.",
                    param=fixed[0] if fixed else "name",
                )
        status = changes.get("status", record.status)
        if status != record.status and "draft" in (status, record.status):
            raise InvalidRequest(
                f"A version cannot go from {record.status} to {status}: publish a draft, or fork a version.",
                param="status",
            )
        plain = {"name", "status"}
        return replace(
            record,
            name=changes.get("name", record.name),
            status=status,
            definition={**record.definition, **{k: v for k, v in changes.items() if k not in plain}},
            revision=record.revision + 1,
            updated_by=principal.id,
            updated_at=self._now(),
        )

    def _fresh(
        self, principal: Principal, name: str, version: int, definition: Mapping[str, Any]
    ) -> InteractionRecord:
        now = self._now()
        return InteractionRecord(
            id=f"int_{secrets.token_hex(12)}",
            owner=principal.owner,
            name=name,
            version=version,
            status="draft",
            definition=definition,
            revision=1,
            created_by=principal.id,
            updated_by=principal.id,
            created_at=now,
            updated_at=now,
        )

    async def _check_room(self, owner: str) -> None:
        """Raises InvalidRequest if the owner has too many versions."""
        if await self._database.read(count_interactions(owner)) >= MAX_PER_OWNER:
            raise InvalidRequest(f"You have {MAX_PER_OWNER} versions of interactions. Delete some.")

    async def _check_free(self, owner: str, interaction_id: str, name: str | None) -> None:
        """Raises Conflict if another interaction has the name."""
        if name is None or not await self._database.read(newest_version(owner, name)):
            return
        if (await self.get(owner, interaction_id)).name != name:
            raise _taken(name)

    async def _check(self, owner: str, definition: Changes) -> None:
        """Raises InvalidRequest naming the prompt or the schema that is none."""
        schemas = {name: definition[name] for name in _SCHEMAS if definition.get(name) is not None}
        await self.confined.check(owner, definition.get("prompts") or (), schemas)

    def _now(self) -> int:
        return int(self._clock() * MICROSECONDS)


def missing(reference: str) -> NotFound:
    """What is said of an interaction that is not there, or not the caller's."""
    return NotFound(f"Interaction not found: {reference[:200]}", param="interaction")


def _taken(name: str) -> Conflict:
    return Conflict(f"You already have an interaction called '{name[:200]}'.", param="name")
