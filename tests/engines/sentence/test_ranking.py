"""Ranking by real models in real worker processes, and what the search scale was fitted to."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from llmatic.config import ModelSpec, WorkerSettings
from llmatic.core.encoding import TooLong
from llmatic.core.errors import ContextLengthExceeded
from llmatic.services.ranking import Ranking, rank_documents, search_score
from llmatic.services.terms import Caller
from llmatic.workers.pool import ProcessPool

pytestmark = pytest.mark.anyio

# Queries, and a text each that answers it or says the same.
PAIRS = {
    "the president": "White House",
    "How do I reset my password?": "To change your password, open Settings, choose Security and click Reset.",
    "capital of France": "Paris is the capital and largest city of France.",
    "What do pandas eat?": "The giant panda feeds almost entirely on bamboo shoots and leaves.",
    "cheap flights to Rome": "Low-cost airlines offer tickets to Italy's capital from 20 euros.",
    "symptoms of flu": "Influenza causes fever, cough, sore throat, muscle aches and fatigue.",
    "how to boil an egg": "Place the egg in boiling water for eight minutes, then cool it.",
    "speed of light": "Light travels through vacuum at 299,792 kilometres per second.",
    "return policy": "You may send back any item within 30 days for a full refund.",
    "dog training tips": "Reward your puppy with treats whenever it obeys a command.",
    "kubernetes pod restarts": "The container crashes in a loop and the cluster starts it again.",
    "He bought a new car.": "He purchased a new automobile yesterday.",
}


@pytest.fixture
async def pool(minilm_folder: Path, ranker_folder: Path) -> AsyncIterator[ProcessPool]:
    folders = {"embedder": minilm_folder, "ranker": ranker_folder}
    specs = {
        name: ModelSpec(name, str(folder), engine="sentence", threads=1, options={"backend": "torch"})
        for name, folder in folders.items()
    }
    pool = ProcessPool(specs, WorkerSettings(load_timeout_s=120))
    await pool.start()
    yield pool
    await pool.close()


async def rank(
    pool: ProcessPool, name: str, query: str, documents: Sequence[str], *, truncates: bool = False
) -> Ranking:
    too_long: TooLong | None = "truncate" if truncates else None
    spec = ModelSpec(name, "")
    return await rank_documents(
        pool, spec, query, documents, Caller(), request_id="rerank-x", too_long=too_long
    )


async def told_or_cut_off(pool: ProcessPool, name: str) -> None:
    """What is too long is a refusal that tells what it was, or loses its end if that is wanted."""
    long = "bamboo " * 600
    with pytest.raises(ContextLengthExceeded, match=r"documents\[1\]"):
        await rank(pool, name, "panda", ["short", long])
    with pytest.raises(ContextLengthExceeded, match=r"The query \('query'\) is too long"):
        await rank(pool, name, long, ["short", "shorter"])
    ranking = await rank(pool, name, "panda", ["short", long], truncates=True)
    assert len(ranking.scores) == 2


async def test_a_model_that_embeds(pool: ProcessPool) -> None:
    texts = list(PAIRS.values())
    for place, query in enumerate(PAIRS):
        ranking = await rank(pool, "embedder", query, texts)
        scores = [search_score(relevance) for relevance in ranking.scores]
        assert ranking.best(1) == (place,)
        assert scores[place] > 200
        assert max(scores[:place] + scores[place + 1 :]) < 160
    equal = await rank(
        pool, "embedder", "roses", ["a red rose", "a blue car", "a red rose", "", "a red rose"]
    )
    assert equal.scores[0] == equal.scores[2] == equal.scores[4] > equal.scores[1] > equal.scores[3] == 0.0
    await told_or_cut_off(pool, "embedder")


async def test_a_model_that_ranks(pool: ProcessPool) -> None:
    documents = ["The moon circles the earth.", "A bakery sells bread.", "\t"]
    ranking = await rank(pool, "ranker", "Where is bread baked?", documents)
    assert ranking.best() == (1, 0, 2)
    assert search_score(ranking.scores[1]) > 200 > search_score(ranking.scores[0]) > 0
    assert ranking.scores[2] == 0.0
    lone = await rank(pool, "ranker", "Where is bread baked?", documents[1:2])
    assert lone.scores == pytest.approx(ranking.scores[1:2], abs=1e-5)
    await told_or_cut_off(pool, "ranker")
