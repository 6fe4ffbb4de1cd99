"""Ranks documents by their relevance to a query, with a model that ranks or one that embeds.

Owns what relevance is (a ranking model's score, or the cosine of two vectors, 0 where it is negative) and
which models can tell it. Owns no state: whoever awaits `rank_documents` may be cancelled, and the work with
it. Never knows HTTP and never renders. Event loop's thread.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from typing import Any, Literal

from llmatic.config import ModelSpec
from llmatic.core.encoding import EncodeRequest, TooLong
from llmatic.core.errors import ContextLengthExceeded, EngineFailed, InvalidRequest, cannot_encode
from llmatic.core.ports import EnginePool
from llmatic.core.types import EngineInfo, Priority, Usage
from llmatic.registry import Registry
from llmatic.services.capabilities import Kind, KnownCapabilities
from llmatic.services.encoding import OpenEncoding, Rows, encode_rows
from llmatic.services.kinds import kind_of
from llmatic.services.similarity import cosines
from llmatic.services.terms import Caller

DEFAULT_SEARCH_MODEL = "ada"

RankingTask = Literal["embed", "rank"]

# Enough to tell float32 numbers near 1 apart, which is where a sure ranking model's scores are.
_RELEVANCE_DIGITS = 8

# Measured with all-MiniLM-L6-v2: of 30 pairs of a query and a text that answers it every cosine is above
# 0.44, of their 870 wrong pairs every one below 0.30. A ranking model's score of 0.4 is about as undecided.
_SIMILAR, _SIMILAR_SCORE, _HIGHEST_SCORE = 0.4, 200.0, 300.0


@dataclass(frozen=True, slots=True)
class Ranking:
    """`scores`: the relevance of every document, 0 to 1, in the documents' order."""

    scores: tuple[float, ...]
    n_prompt_tokens: int

    def best(self, count: int | None = None) -> tuple[int, ...]:
        """The indexes of the `count` most relevant documents (None: all), best first, ties as they came."""
        order = sorted(range(len(self.scores)), key=self.scores.__getitem__, reverse=True)
        return tuple(order[:count])


async def rank_documents(
    pool: EnginePool,
    spec: ModelSpec,
    query: str,
    documents: Sequence[str],
    caller: Caller,
    *,
    request_id: str,
    query_param: str = "query",
    param: str = "documents",
    too_long: TooLong | None = None,
    priority: Priority = Priority.DEFAULT,
) -> Ranking:
    """How relevant each document is to the query. A document that is empty or blank has the relevance 0.

    What was computed is told to the caller's meter.

    The model is loaded if need be. `query_param` and `param` are the request's names of query and documents,
    for refusals. Raises InvalidRequest for a blank query, Forbidden for models that neither rank nor embed,
    and what the engine raises.
    """
    if not query.strip():
        raise InvalidRequest(
            f"Invalid '{query_param}': there is nothing in it to search for.", param=query_param
        )
    info = await engine_info(pool, spec)
    open_stream = partial(pool.encode, spec.id)
    request = EncodeRequest(
        request_id,
        "rank",
        tuple(documents),
        query=query,
        too_long=too_long,
        param=param,
        query_param=query_param,
        client=caller.client,
        priority=priority,
    )
    spent: list[Usage] = []
    try:
        match info.encoder.task if info.encoder is not None else None:
            case "rank":
                rows = await encode_rows(open_stream, request, spent.append)
                values, n_tokens = [row[0] for row in rows.values()], rows.n_prompt_tokens
            case "embed":
                values, n_tokens = await _similarities(open_stream, request, query, info, spent)
            case _:
                raise cannot_encode(spec.id, "rank")
    finally:
        caller.meter.count("rerank", spec.id, prompt=sum(usage.n_prompt_tokens for usage in spent))
    return _ranking(documents, values, n_tokens)


async def engine_info(pool: EnginePool, spec: ModelSpec) -> EngineInfo:
    """What the engine says of itself; the model is loaded if it never was. Raises Unavailable."""
    info = pool.info(spec.id)
    return info if info is not None else await pool.loaded(spec.id)


def search_score(relevance: float) -> float:
    """Relevance on the scale of the search operation: 0 to 300, above 200 what is plainly similar."""
    if relevance <= _SIMILAR:
        score = _SIMILAR_SCORE * relevance / _SIMILAR
    else:
        rest = (relevance - _SIMILAR) / (1.0 - _SIMILAR)
        score = _SIMILAR_SCORE + (_HIGHEST_SCORE - _SIMILAR_SCORE) * rest
    return _rounded(score, 6)


async def require_ranker(pool: EnginePool, capabilities: KnownCapabilities, spec: ModelSpec) -> None:
    """Raise Forbidden for a model that is known to neither rank nor embed, without loading it."""
    if await kind_of(pool, capabilities, spec) in ("write", "classify"):
        raise cannot_encode(spec.id, "rank")


async def search_model(
    registry: Registry,
    pool: EnginePool,
    capabilities: KnownCapabilities,
    name: str | None,
    *,
    param: str = "search_model",
) -> ModelSpec:
    """The model to search with: `name`, an id or an alias; of None the first that embeds, else that ranks.

    OpenAI's default, "ada", counts as None where no model is called so. Raises ModelNotFound, Forbidden for a
    model of another kind, or InvalidRequest if none of the right kinds is configured.
    """
    if name is None or (name == DEFAULT_SEARCH_MODEL and not registry.knows(name)):
        return await default_model(registry, pool, capabilities, prefers="embed", param=param)
    spec = registry.resolve(name)
    await require_ranker(pool, capabilities, spec)
    return spec


async def default_model(
    registry: Registry,
    pool: EnginePool,
    capabilities: KnownCapabilities,
    *,
    prefers: RankingTask,
    param: str,
) -> ModelSpec:
    """The first registered model that does `prefers`; else the first that does the other task.

    A model that may do either, which shows when it is loaded, comes last. Raises InvalidRequest if there is
    none.
    """
    found: dict[Kind | None, ModelSpec] = {}
    for spec in registry.specs():
        kind = await kind_of(pool, capabilities, spec)
        # A text model whose file is not here yet is of no known kind either; it must not be fetched for this.
        if kind is not None or not (await asyncio.to_thread(capabilities.of, spec)).completion:
            found.setdefault(kind, spec)
    for choice in (prefers, "rank" if prefers == "embed" else "embed", None):
        if choice in found:
            return found[choice]
    raise InvalidRequest("No model that embeds or ranks texts is configured on this server.", param=param)


async def _similarities(
    open_stream: OpenEncoding, request: EncodeRequest, query: str, info: EngineInfo, spent: list[Usage]
) -> tuple[list[float], int]:
    """The cosines of the query's vector and the documents', and how many tokens were read for them."""
    assert info.encoder is not None
    prompts: Mapping[str, str] = info.encoder.prompts or {}
    documents = replace(
        request,
        id=f"{request.id}-documents",
        task="embed",
        query=None,
        input_type="document" if "document" in prompts else None,
    )
    asked = replace(
        documents,
        id=f"{request.id}-query",
        texts=(query,),
        input_type="query" if "query" in prompts else None,
        param=request.query_param,
    )
    one, many = await _both(
        _query_rows(open_stream, asked, spent), encode_rows(open_stream, documents, spent.append)
    )
    values = await asyncio.to_thread(cosines, one.data, many.data)
    return values, one.n_prompt_tokens + many.n_prompt_tokens


async def _query_rows(open_stream: OpenEncoding, request: EncodeRequest, spent: list[Usage]) -> Rows:
    """The query's vector; a refusal tells the query from the documents."""
    try:
        return await encode_rows(open_stream, request, spent.append)
    except ContextLengthExceeded as error:
        message = f"{error.message} The query ('{request.param}') is too long."
        raise ContextLengthExceeded(message, param=error.param) from None


async def _both(first: Coroutine[Any, Any, Rows], second: Coroutine[Any, Any, Rows]) -> tuple[Rows, Rows]:
    """Both results; when one fails or the caller is cancelled, neither goes on."""
    tasks = [asyncio.ensure_future(first), asyncio.ensure_future(second)]
    try:
        one, other = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return one, other


def _ranking(documents: Sequence[str], values: Sequence[float], n_prompt_tokens: int) -> Ranking:
    if not all(map(isfinite, values)):
        raise EngineFailed("The model gave a score that is not a number.")
    scores = (
        _rounded(min(1.0, max(0.0, value)), _RELEVANCE_DIGITS) if document and not document.isspace() else 0.0
        for document, value in zip(documents, values, strict=True)
    )
    return Ranking(tuple(scores), n_prompt_tokens)


def _rounded(value: float, n_digits: int) -> float:
    """With so many significant digits: small numbers keep their order, unlike with so many decimals."""
    return float(f"{value:.{n_digits}g}")
