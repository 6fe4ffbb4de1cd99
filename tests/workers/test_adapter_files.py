"""Models with a base: routed to its process, with their adapters."""

import asyncio
from pathlib import Path

import pytest

from llmatic.config import AdapterSpec, ModelSpec
from llmatic.core.errors import ConfigError, Unavailable
from tests.workers.adapting import shown
from tests.workers.conftest import Pools
from tests.workers.support import ENDLESS, Clock, ask, children, events_of, fake, text_of

pytestmark = pytest.mark.anyio

ENGINE = "tests.workers.adapting:Adapting"
BASE = ModelSpec("m", "", engine=ENGINE)


def derived(*paths: Path, model_id: str = "d", scale: float = 0.5) -> ModelSpec:
    adapters = tuple(AdapterSpec(str(path), scale) for path in paths)
    return ModelSpec(model_id, "", base="m", adapters=adapters)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path / "a.gguf", tmp_path / "b.gguf"


async def test_a_model_with_a_base_runs_in_its_process(
    nothing_left: None, pools: Pools, files: tuple[Path, Path]
) -> None:
    earlier = children()
    pool = await pools.start(BASE, derived(*files), ModelSpec("plain", "", base="m"))
    assert await text_of(pool, ask(), "d") == shown((path, 0.5) for path in files)
    assert await text_of(pool, ask(), "m") == await text_of(pool, ask(), "plain") == ""
    assert await text_of(pool, ask(), "d") == shown((path, 0.5) for path in files)
    assert children() - earlier == {pool.state("m")["pid"]} == {pool.state("d")["pid"]}
    assert set(pool.states()) == {"m", "d", "plain"}
    await pools.close()


async def test_adapters_of_a_model_with_a_source_are_always_on(
    pools: Pools, files: tuple[Path, Path]
) -> None:
    pool = await pools.start(ModelSpec("m", "", engine=ENGINE, adapters=(AdapterSpec(str(files[0])),)))
    assert await text_of(pool, ask()) == shown([(files[0], 1)])


async def test_info_names_the_adapters(pools: Pools, files: tuple[Path, Path]) -> None:
    pool = await pools.start(BASE, derived(*files))
    assert pool.info("d") is None
    await text_of(pool, ask())
    info, base = pool.info("d"), pool.info("m")
    assert info is not None
    assert base is not None
    assert (base.description, info.description) == ("adapting", "adapting + a.gguf + b.gguf")


async def test_readiness_is_the_bases(pools: Pools, files: tuple[Path, Path]) -> None:
    pool = await pools.start(ModelSpec("m", "", engine=ENGINE, preload=True), derived(*files))
    await text_of(pool, ask(), "d")
    assert pool.is_ready()
    assert pool.state("d")["state"] == "ready"


async def test_a_missing_file_fails_its_own_requests_until_it_is_there(pools: Pools, tmp_path: Path) -> None:
    late = tmp_path / "late.gguf"
    pool = await pools.start(BASE, derived(late))
    answers = await asyncio.gather(*(text_of(pool, ask(), "d") for _ in range(3)), return_exceptions=True)
    for answer in answers:
        assert isinstance(answer, Unavailable)
        assert answer.message.startswith("The model 'd' could not be loaded: ")
        assert answer.retry_after_s
    assert await text_of(pool, ask()) == ""
    late.write_bytes(b"")
    assert await text_of(pool, ask(), "d") == shown([(late, 0.5)])


async def test_one_that_gives_up_leaves_the_others_their_adapters(
    pools: Pools, files: tuple[Path, Path]
) -> None:
    pool = await pools.start(BASE, derived(*files))
    first, second = (asyncio.create_task(text_of(pool, ask(), "d")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == shown((path, 0.5) for path in files)
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_requests_of_any_name_keep_the_base_loaded(pools: Pools) -> None:
    clock = Clock()
    pool = await pools.start(fake(keep_alive_s=60.0), ModelSpec("d", "", base="m"), clock=clock)
    await text_of(pool, ask(), "d")
    clock.now += 59
    await text_of(pool, ask(), "d")
    clock.now += 59
    pool.check()
    assert pool.state("m")["state"] == "ready"
    events = pool.generate("d", ENDLESS)
    await anext(events)
    clock.now += 3600
    pool.check()
    assert pool.state("m")["state"] == "ready"
    await events.aclose()
    clock.now += 61
    pool.check()
    assert pool.state("d")["state"] == "unloading"


async def test_the_worker_is_told_where_its_draft_is(pools: Pools) -> None:
    big = ModelSpec("m", "", engine=ENGINE, draft="small")
    pool = await pools.start(big, ModelSpec("small", "/small.gguf"))
    assert await text_of(pool, ask()) == "/small.gguf"
    assert pool.state("small")["state"] == "stopped"


@pytest.mark.parametrize(
    "spec", [ModelSpec("d", "", base="nobody"), ModelSpec("d", "x", draft="nobody"), derived(model_id="m")]
)
async def test_others_must_exist(pools: Pools, spec: ModelSpec) -> None:
    with pytest.raises(ConfigError, match="is no model with a source of its own"):
        await pools.start(spec)


async def test_a_lost_worker_costs_no_adapters(pools: Pools, files: tuple[Path, Path]) -> None:
    pool = await pools.start(BASE, derived(*files))
    await events_of(pool, ask(), "d")
    pid = pool.state("m")["pid"]
    pool._supervisors["m"]._worker.kill("test")  # type: ignore[union-attr]
    while pool.state("m")["pid"] == pid:
        await asyncio.sleep(0)
    assert await text_of(pool, ask(), "d") == shown((path, 0.5) for path in files)
