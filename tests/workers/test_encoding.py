"""Encode requests through a real worker process around the fake engine."""

import asyncio
import struct
from contextlib import aclosing
from functools import partial

import pytest

from llmatic.core.encoding import Encoded, EncodeEvent, EncodeRequest
from llmatic.core.errors import ContextLengthExceeded, Forbidden
from llmatic.core.types import Finished, Started
from llmatic.services.encoding import encode_rows
from llmatic.workers.pool import ProcessPool
from tests.workers.conftest import Pools
from tests.workers.support import ask, events_of, fake

pytestmark = pytest.mark.anyio


def embed(*texts: str, dimensions: int | None = None) -> EncodeRequest:
    return EncodeRequest("e", "embed", texts, dimensions=dimensions)


async def encoded(pool: ProcessPool, request: EncodeRequest) -> list[EncodeEvent]:
    async with aclosing(pool.encode("m", request)) as events:
        return [event async for event in events]


async def test_rows_arrive_in_slices_and_are_counted(nothing_left: None, pools: Pools) -> None:
    pool = await pools.start(fake(encodes="embed", dimensions=4))
    events = await encoded(pool, embed(*(f"text {k}" for k in range(130))))
    parts = [event for event in events if isinstance(event, Encoded)]
    assert events[0] == Started(260)
    assert isinstance(events[-1], Finished)
    assert events[-1].usage.n_prompt_tokens == 260
    assert [len(part.rows) for part in parts] == [64, 64, 2]
    assert sorted(row for part in parts for row in part.rows) == list(range(130))
    assert all(len(part.data) == len(part.rows) * 4 * 4 for part in parts)
    await pools.close()


async def test_concurrent_requests_get_their_own_rows(pools: Pools) -> None:
    pool = await pools.start(fake(encodes="embed"))
    run = partial(encode_rows, partial(pool.encode, "m"))
    texts = [f"text number {k}" for k in range(40)]
    alone = [(await run(embed(text))).data for text in texts]
    together = await asyncio.gather(*(run(embed(text)) for text in texts))
    assert [rows.data for rows in together] == alone
    assert len(set(alone)) > 1


async def test_token_ids_and_pairs_survive_the_socket(pools: Pools) -> None:
    pool = await pools.start(fake(encodes="rank"))
    request = EncodeRequest("r", "rank", ("a b", "c d"), query="a b")
    parts = [event for event in await encoded(pool, request) if isinstance(event, Encoded)]
    assert struct.unpack("<2f", parts[0].data) == (1.0, 0.0)
    other = await pools.start(fake(encodes="embed", dimensions=2))
    ids = await encode_rows(
        partial(other.encode, "m"), EncodeRequest("t", "embed", token_ids=((1, 2), (1, 2), (3,)))
    )
    assert ids.row(0) == ids.row(1)
    assert ids.n_prompt_tokens == 5


async def test_a_model_is_asked_for_what_it_does_only(pools: Pools) -> None:
    writer, encoder = await pools.start(fake()), await pools.start(fake(encodes="embed"))
    with pytest.raises(Forbidden, match="not allowed to generate embeddings from this model"):
        await encoded(writer, embed("x"))
    with pytest.raises(Forbidden, match="not allowed to sample from this model"):
        await events_of(encoder, ask())
    with pytest.raises(Forbidden, match="not allowed to rank with this model"):
        await encoded(encoder, EncodeRequest("r", "rank", ("x",), query="y"))
    assert (await encoder.loaded("m")).encoder is not None
    assert encoder.state("m")["restarts"] == writer.state("m")["restarts"] == 0


async def test_a_refusal_comes_before_any_row(pools: Pools) -> None:
    pool = await pools.start(fake(encodes="embed", context=3))
    with pytest.raises(ContextLengthExceeded, match="maximum context length is 3 tokens"):
        await encoded(pool, embed("short", "this one is too long"))
    assert len(await encoded(pool, embed("short"))) == 3


async def test_what_a_worker_is_asked_for_says_what_it_is_once_it_is_loaded(pools: Pools) -> None:
    pool = await pools.start(fake(encodes="classify", labels=["good", "bad"]))
    assert pool.info("m") is None
    info = await pool.loaded("m")
    assert info == pool.info("m")
    assert info.encoder is not None
    assert info.encoder.labels == ("good", "bad")
    assert not info.writes
