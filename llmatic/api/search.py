"""POST /engines/{engine_id}/search, of OpenAI's API until 2022: from a body to the bytes of the reply.

Event loop's thread.
"""

from typing import Any

import orjson

from llmatic.api.context import ApiContext
from llmatic.api.ids import object_id
from llmatic.api.replies import Answer, model_answer
from llmatic.api.search_parts import DEFAULT_MAX_FOUND, Found, from_file, texts_of_file
from llmatic.config import ModelSpec
from llmatic.services.ranking import rank_documents, require_ranker, search_score
from llmatic.services.terms import Caller


async def serve_search(context: ApiContext, body: dict[str, Any], caller: Caller) -> Answer:
    """A score for each document, in order. Raises ModelNotFound, Forbidden, and what the engine raises."""
    spec = context.registry.resolve(body["model"])
    if from_file(body, "documents"):
        return await _search_file(context, spec, body, caller)
    await require_ranker(context.pool, context.capabilities, spec)
    ranking = await rank_documents(
        context.pool, spec, body["query"], body["documents"], caller, request_id=object_id("search")
    )
    data = [
        {"object": "search_result", "document": index, "score": search_score(relevance)}
        for index, relevance in enumerate(ranking.scores)
    ]
    return _reply(spec, data)


async def _search_file(context: ApiContext, spec: ModelSpec, body: dict[str, Any], caller: Caller) -> Answer:
    """The file's best texts, best first, with the texts, which the client does not have."""
    await require_ranker(context.pool, context.capabilities, spec)
    count: int = body.get("max_rerank", DEFAULT_MAX_FOUND)
    given = await texts_of_file(context, body, caller, purpose="search", query=body["query"], count=count)
    ranking = await rank_documents(
        context.pool,
        spec,
        body["query"],
        given.texts,
        caller,
        request_id=object_id("search"),
        param="file",
        too_long="truncate",
    )
    found = Found(spec.id, ranking)
    return _reply(spec, [given.entry(body, index, found) for index in ranking.best()])


def _reply(spec: ModelSpec, data: list[dict[str, Any]]) -> Answer:
    reply = {"object": "list", "model": spec.id, "data": data}
    return model_answer(orjson.dumps(reply), spec.id)
