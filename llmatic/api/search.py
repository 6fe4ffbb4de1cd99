"""POST /engines/{engine_id}/search, of OpenAI's API until 2022: from a body to the bytes of the reply.

Event loop's thread.
"""

from typing import Any

import orjson

from llmatic.api.context import ApiContext
from llmatic.api.ids import object_id
from llmatic.api.replies import Answer, model_answer
from llmatic.core.errors import InvalidRequest
from llmatic.services.ranking import rank_documents, require_ranker, search_score
from llmatic.services.terms import Caller


async def serve_search(context: ApiContext, body: dict[str, Any], caller: Caller) -> Answer:
    """A score for each document, in order. Raises ModelNotFound, Forbidden, and what the engine raises."""
    spec = context.registry.resolve(body["model"])
    documents = body.get("documents")
    if documents is None:
        raise InvalidRequest(
            "Missing required parameter: 'documents'.", param="documents", code="missing_required_parameter"
        )
    await require_ranker(context.pool, context.capabilities, spec)
    ranking = await rank_documents(
        context.pool, spec, body["query"], documents, caller, request_id=object_id("search")
    )
    context.metrics.model(spec.id).count_tokens(prompt=ranking.n_prompt_tokens, cached=0, completion=0)
    reply = {
        "object": "list",
        "model": spec.id,
        "data": [
            {"object": "search_result", "document": index, "score": search_score(relevance)}
            for index, relevance in enumerate(ranking.scores)
        ],
    }
    return model_answer(orjson.dumps(reply), spec.id)
