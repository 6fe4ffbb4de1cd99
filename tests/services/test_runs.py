from dataclasses import replace
from pathlib import Path

import pytest

from llmatic.services.runs import Runs
from llmatic.store.database import open_database
from llmatic.store.runs import RunBody, RunFilter, RunRecord, add_runs

pytestmark = pytest.mark.anyio

RUN = RunRecord("run_0", "ann", "key_1", "chat", True, "m", "completed", 100, 100)


async def test_all_that_fit_are_read_out_though_some_go_meanwhile(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/llmatic.db")
    runs = Runs(database)
    made = [replace(RUN, id=f"run_{k}", created_at=100 + k // 2) for k in range(10)]
    await database.write(add_runs([(record, RunBody(f'"{record.id}"')) for record in made]))
    seen = []
    async for record, body in runs.each("ann", RunFilter(model="m"), together=3):
        assert body.request == f'"{record.id}"'
        seen.append(record)
        await runs.delete("ann", record.id)
    assert seen == made
    assert [found async for found in runs.each("ann", RunFilter(), together=3)] == []
    await database.close()
