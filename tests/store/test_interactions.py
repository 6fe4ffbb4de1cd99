from dataclasses import replace

import pytest

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

pytestmark = pytest.mark.anyio

DRAFT = InteractionRecord(
    "int_0",
    "ann",
    "Вітання",
    1,
    "draft",
    {"prompts": [{"role": "user", "content": "\0 ї"}]},
    1,
    "k",
    "k",
    1,
    1,
)


async def test_each_owner_has_its_own_names(database: Database) -> None:
    await database.write(add_interaction(DRAFT))
    await database.write(add_interaction(replace(DRAFT, id="int_1", owner="bob")))
    with pytest.raises(AlreadyThere):
        await database.write(add_interaction(replace(DRAFT, id="int_2")))
    assert await database.read(get_interaction("ann", "int_0")) == DRAFT
    assert await database.read(get_interaction("bob", "int_0")) is None
    assert await database.read(count_interactions("ann")) == 1
    assert not await database.write(drop_interaction("bob", "int_0"))
    assert await database.write(drop_interaction("ann", "int_0"))
    assert await database.read(newest_version("ann", DRAFT.name)) == 0
    assert await database.read(newest_version("bob", DRAFT.name)) == 1


async def test_a_change_may_make_new_versions_or_nothing_at_all(database: Database) -> None:
    await database.write(add_interaction(DRAFT))

    def published(draft: InteractionRecord) -> tuple[InteractionRecord, ...]:
        return replace(draft, version=2), replace(draft, id="int_1", status="published")

    def twice(draft: InteractionRecord) -> tuple[InteractionRecord, ...]:
        return replace(draft, version=3), replace(draft, id="int_3", version=1)

    assert await database.write(change_interaction("bob", "int_0", published)) is None
    made = await database.write(change_interaction("ann", "int_0", published))
    assert made is not None
    with pytest.raises(AlreadyThere):
        await database.write(change_interaction("ann", "int_0", twice))
    wanted = InteractionFilter(name=DRAFT.name)
    assert await database.read(list_interactions("ann", wanted, limit=9)) == [made[1], made[0]]
    assert await database.read(newest_interaction("ann", wanted)) == made[0]
    assert await database.read(newest_interaction("bob", wanted)) is None
    wanted = InteractionFilter(status="published", version=1)
    assert await database.read(newest_interaction("ann", wanted)) == made[1]
    assert await database.read(list_interactions("ann", wanted, limit=9)) == [made[1]]
    assert await database.read(list_interactions("ann", InteractionFilter(), limit=9, offset=2)) == []
