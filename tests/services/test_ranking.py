"""Ranking with a pool that plays scripts."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from math import nan
from struct import pack
from typing import Any

import pytest

from llmatic.config import AdapterSpec, ModelSpec
from llmatic.core.encoding import Encoded, EncodeEvent, EncodeRequest
from llmatic.core.errors import (
    ContextLengthExceeded,
    EngineFailed,
    Forbidden,
    InvalidRequest,
    ModelNotFound,
    QueueFull,
)
from llmatic.core.types import EncoderInfo, EngineInfo, Finished, Priority, Started, Usage
from llmatic.registry import Registry
from llmatic.services.capabilities import Capabilities, Kind, KnownCapabilities
from llmatic.services.ranking import (
    Ranking,
    default_model,
    rank_documents,
    require_ranker,
    search_model,
    search_score,
)
from llmatic.services.terms import Caller
from tests.fakes import ENCODER, FakePool, Gate

pytestmark = pytest.mark.anyio

MODEL = ModelSpec(id="m", source="none", engine="fake")
RANKER = EncoderInfo("rank", 1)
DOCUMENTS = ("green grass", "red rose", "house and a red rose")


def pool_with(encoder: EncoderInfo | None) -> FakePool:
    pool = FakePool()
    if encoder is not None:
        pool.encoders[MODEL.id] = encoder
    return pool


async def rank(pool: FakePool, *documents: str, query: str = "red rose", **fields: Any) -> Ranking:
    return await rank_documents(pool, MODEL, query, documents, Caller("me"), request_id="r", **fields)


@pytest.mark.parametrize("query", ["", " ", "\n\t "])
async def test_a_blank_query_is_refused(pool: FakePool, query: str) -> None:
    with pytest.raises(InvalidRequest, match="nothing in it") as caught:
        await rank_documents(pool, MODEL, query, ["a"], Caller(), request_id="r", query_param="question")
    assert caught.value.param == "question"


async def test_a_ranking_model_reads_query_and_documents_together() -> None:
    pool = pool_with(RANKER)
    ranking = await rank(pool, *DOCUMENTS, query_param="q", param="texts", too_long="truncate")
    assert ranking.scores == (0.0, 1.0, 1.0)
    assert ranking.n_prompt_tokens == sum(len(document.split()) + 2 for document in DOCUMENTS)
    (request,) = pool.encode_requests
    assert request == EncodeRequest(
        "r",
        "rank",
        DOCUMENTS,
        query="red rose",
        too_long="truncate",
        param="texts",
        query_param="q",
        client="me",
    )


async def test_an_embedding_model_compares_vectors() -> None:
    pool = pool_with(ENCODER)
    ranking = await rank(pool, *DOCUMENTS, too_long="refuse", priority=Priority.FLEX)
    assert ranking.best() == (1, 2, 0)
    assert ranking.scores[1] == 1.0
    assert ranking.n_prompt_tokens == 2 + 2 + 2 + 5
    asked, documents = sorted(pool.encode_requests, key=lambda request: request.n_rows)
    assert (asked.task, asked.texts, asked.query, asked.param) == ("embed", ("red rose",), None, "query")
    assert (documents.task, documents.texts, documents.param) == ("embed", DOCUMENTS, "documents")
    assert asked.id != documents.id
    for request in (asked, documents):
        assert (request.client, request.too_long, request.priority) == ("me", "refuse", Priority.FLEX)


@pytest.mark.parametrize(
    ("prompts", "of_query", "of_documents"),
    [
        (None, None, None),
        ({"query": "query: ", "document": "passage: "}, "query", "document"),
        ({"query": "Represent this sentence: "}, "query", None),
        ({"clustering": "cluster: "}, None, None),
    ],
)
async def test_query_and_documents_get_the_prompts_that_the_model_has(
    prompts: dict[str, str] | None, of_query: str | None, of_documents: str | None
) -> None:
    pool = pool_with(replace(ENCODER, prompts=prompts))
    await rank(pool, "a", "b")
    asked, documents = sorted(pool.encode_requests, key=lambda request: request.n_rows)
    assert (asked.input_type, documents.input_type) == (of_query, of_documents)


def playing(*values: float, encoder: EncoderInfo = RANKER) -> FakePool:
    """A pool whose model gives these rows of one number."""

    def script(request: EncodeRequest) -> Iterator[EncodeEvent]:
        yield Started(3)
        yield Encoded(tuple(range(request.n_rows)), pack(f"<{request.n_rows}f", *values[: request.n_rows]))
        yield Finished(Usage(3, 0))

    pool = pool_with(encoder)
    pool.rows = script
    return pool


async def test_scores_are_within_their_range_and_have_the_digits_of_a_float32() -> None:
    ranking = await rank(playing(0.1, 1.0000001, -1e-8, 1e-5), "a", "b", "c", "d")
    assert ranking.scores == (0.1, 1.0, 0.0, 9.9999997e-06)
    sure = await rank(playing(1 - 2**-24, 1 - 2**-23), "a", "b")
    assert sure.scores == (0.99999994, 0.99999988)


async def test_a_negative_cosine_is_no_relevance() -> None:
    vectors = iter((1.0, -1.0))
    pool = playing(encoder=EncoderInfo("embed", 1))
    pool.rows = lambda request: [
        Started(1),
        Encoded((0,), pack("<f", next(vectors))),
        Finished(Usage(1, 0)),
    ]
    assert (await rank(pool, "opposite")).scores == (0.0,)


@pytest.mark.parametrize("encoder", [RANKER, ENCODER])
async def test_documents_without_text_are_not_relevant_and_keep_their_place(encoder: EncoderInfo) -> None:
    pool = pool_with(encoder)
    ranking = await rank(pool, "", "red rose", " \n\u3000", query="red rose")
    assert ranking.scores == (0.0, 1.0, 0.0)
    assert ("", "red rose", " \n\u3000") in [request.texts for request in pool.encode_requests]


async def test_a_score_that_is_no_number_is_the_models_failure() -> None:
    with pytest.raises(EngineFailed, match="not a number"):
        await rank(playing(0.5, nan), "a", "b")


@pytest.mark.parametrize("encoder", [None, EncoderInfo("classify", 2, labels=("a", "b"))])
async def test_models_of_other_kinds_are_refused(encoder: EncoderInfo | None) -> None:
    pool = pool_with(encoder)
    with pytest.raises(Forbidden, match="not allowed to rank with this model: 'm' ranks nothing"):
        await rank(pool, "a")
    assert pool.encode_requests == []


class Unloaded(FakePool):
    """A pool whose model is loaded when somebody needs it."""

    def __init__(self, encoder: EncoderInfo) -> None:
        super().__init__()
        self.loads = 0
        self._encoder = encoder

    def info(self, model_id: str) -> EngineInfo | None:
        return super().info(model_id) if self.loads else None

    async def loaded(self, model_id: str) -> EngineInfo:
        self.loads += 1
        self.encoders[model_id] = self._encoder
        return await super().loaded(model_id)


async def test_a_model_is_loaded_to_learn_its_kind() -> None:
    pool = Unloaded(RANKER)
    assert (await rank(pool, "red")).scores == (0.5,)
    assert (await rank(pool, "red")).scores == (0.5,)
    assert pool.loads == 1


@pytest.mark.parametrize("is_query", [True, False])
async def test_when_one_half_fails_the_other_does_not_go_on(is_query: bool) -> None:
    pool = pool_with(ENCODER)
    gate = Gate()
    error = ContextLengthExceeded("too long", param="x")
    pool.rows = lambda request: [error] if (request.texts == ("red rose",)) == is_query else [gate]
    with pytest.raises(ContextLengthExceeded) as raised:
        await rank(pool, "a", "b")
    assert raised.value.param == "x"
    assert raised.value.message == "too long" + (" The query ('query') is too long." if is_query else "")
    assert pool.n_open == 0


async def test_both_halves_may_fail() -> None:
    pool = pool_with(ENCODER)
    pool.rows = lambda _: [QueueFull("full")]
    with pytest.raises(QueueFull):
        await rank(pool, "a")
    assert pool.n_open == 0


@pytest.mark.parametrize("encoder", [RANKER, ENCODER])
async def test_cancelling_ends_the_work(encoder: EncoderInfo) -> None:
    pool = pool_with(encoder)
    gates: list[Gate] = []

    def script(_: EncodeRequest) -> Iterator[Gate]:
        gates.append(Gate())
        yield gates[-1]

    pool.rows = script
    task = asyncio.create_task(rank(pool, "a", "b"))
    n_wanted = 1 if encoder is RANKER else 2
    while len(gates) < n_wanted or not all(gate.reached.is_set() for gate in gates):
        await asyncio.sleep(0)
    assert pool.n_open == n_wanted
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pool.n_open == 0


def test_best_sorts_by_relevance_then_by_place() -> None:
    ranking = Ranking((0.2, 0.9, 0.2, 1.0), 0)
    assert ranking.best() == (3, 1, 0, 2)
    assert ranking.best(2) == (3, 1)
    assert ranking.best(9) == (3, 1, 0, 2)


def test_the_search_scale_goes_from_0_to_300_and_calls_similar_what_is_above_200() -> None:
    assert [search_score(value) for value in (0.0, 0.2, 0.4, 0.7, 1.0)] == [0.0, 100.0, 200.0, 250.0, 300.0]
    scores = [search_score(k / 1000) for k in range(1001)]
    assert scores == sorted(set(scores))
    assert search_score(1e-9) > search_score(9e-10) > 0
    assert search_score(0.6171429) == 236.19


class Known(KnownCapabilities):
    """Says of each model what the test says."""

    def __init__(self, registry: Registry, kinds: dict[str, str | None]) -> None:
        super().__init__(registry)
        self._kinds = kinds

    def of(self, spec: ModelSpec, info: EngineInfo | None = None) -> Capabilities:
        assert info is None
        return Capabilities(completion=True if self._kinds[spec.id] == "write?" else None)

    def kind(self, spec: ModelSpec) -> Kind | None:
        match self._kinds[spec.id]:
            case "embed" | "rank" | "classify" | "write" as kind:
                return kind
            case _:
                return None


class Nothing(FakePool):
    """A pool in which nothing is loaded."""

    def info(self, model_id: str) -> EngineInfo | None:
        return None


def parts(*kinds: str | None) -> tuple[Registry, FakePool, KnownCapabilities]:
    """Models `m0`, `m1`, … of these kinds, the last one also called `alias`."""
    specs = {f"m{k}": ModelSpec(id=f"m{k}", source="none", engine="fake") for k in range(len(kinds))}
    last = f"m{len(kinds) - 1}"
    specs[last] = replace(specs[last], aliases=("alias",))
    registry = Registry(specs, started=0)
    return registry, Nothing(), Known(registry, dict(zip(specs, kinds, strict=True)))


@pytest.mark.parametrize(
    ("kinds", "to_search", "to_rank"),
    [
        (["write", "rank", "embed", "embed"], "m2", "m1"),
        (["write", "embed", "rank"], "m1", "m2"),
        (["classify", "rank"], "m1", "m1"),
        (["write?", "embed"], "m1", "m1"),
        ([None, "embed"], "m1", "m1"),
        (["write?", None], "m1", "m1"),
    ],
)
async def test_the_default_model_is_the_first_of_the_best_kind(
    kinds: list[str | None], to_search: str, to_rank: str
) -> None:
    some = parts(*kinds)
    assert (await search_model(*some, None)).id == to_search
    assert (await search_model(*some, "ada")).id == to_search
    assert (await default_model(*some, prefers="rank", param="model")).id == to_rank


async def test_a_loaded_engine_speaks_for_itself() -> None:
    registry, _, known = parts("write", "write")
    pool = FakePool()
    pool.encoders["m1"] = ENCODER
    assert (await search_model(registry, pool, known, None)).id == "m1"


async def test_without_any_such_model_the_field_is_named() -> None:
    with pytest.raises(InvalidRequest, match="No model that embeds or ranks") as raised:
        await search_model(*parts("write", "write?", "classify"), None, param="search_model")
    assert raised.value.param == "search_model"


async def test_a_named_search_model_is_that_one() -> None:
    some = parts("embed", "rank")
    assert (await search_model(*some, "alias")).id == "m1"
    with pytest.raises(ModelNotFound):
        await search_model(*some, "babbage")
    with pytest.raises(Forbidden):
        await search_model(*parts("embed", "write"), "m1")


async def test_ada_may_be_the_name_of_a_model() -> None:
    _, pool, _ = parts("embed", "rank")
    specs = {name: ModelSpec(id=name, source="none", engine="fake") for name in ("m0", "ada")}
    registry = Registry(specs, started=0)
    known = Known(registry, {"m0": "embed", "ada": "rank"})
    assert (await search_model(registry, pool, known, "ada")).id == "ada"


async def test_who_is_known_to_neither_rank_nor_embed_is_refused_unloaded() -> None:
    registry, pool, known = parts("embed", "rank", "write?", None, "write", "classify")
    for name in ("m0", "m1", "m2", "m3"):
        await require_ranker(pool, known, registry.resolve(name))
    adapted = replace(registry.resolve("m0"), adapters=(AdapterSpec("adapter.gguf"),))
    for spec in (registry.resolve("m4"), registry.resolve("m5"), adapted):
        with pytest.raises(Forbidden):
            await require_ranker(pool, known, spec)
