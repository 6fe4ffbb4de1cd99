"""POST /rerank: from a checked body to the bytes of the reply.

One operation in two shapes: with `documents`, as Jina, Cohere and llama-server have it, and with `texts`, as
text-embeddings-inference has it, whose reply is a bare list. Event loop's thread.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from llmatic.api.context import ApiContext
from llmatic.api.ids import object_id
from llmatic.api.replies import Answer, model_answer
from llmatic.config import ModelSpec
from llmatic.core.encoding import TooLong
from llmatic.core.errors import InvalidRequest
from llmatic.services.embedding import too_long
from llmatic.services.ranking import Ranking, default_model, engine_info, rank_documents, require_ranker
from llmatic.services.terms import Caller, priority, service_tier

Body = Mapping[str, Any]


async def serve_rerank(context: ApiContext, body: dict[str, Any], caller: Caller) -> Answer:
    """The relevance of each document. Raises ModelNotFound, Forbidden, and what the engine raises."""
    field = _field(body)
    spec = await _model(context, body)
    reply_id = object_id("rerank")
    ranking = await rank_documents(
        context.pool,
        spec,
        body["query"],
        [document if isinstance(document, str) else document["text"] for document in body[field]],
        caller,
        request_id=reply_id,
        param=field,
        too_long=await _too_long(context, spec, body),
        priority=priority(body),
    )
    reply = _texts_reply(body, ranking) if field == "texts" else _reply(body, ranking, reply_id, spec.id)
    return model_answer(orjson.dumps(reply), spec.id)


def _field(body: Body) -> str:
    """The field that holds what is ranked."""
    if "texts" in body and "documents" in body:
        raise InvalidRequest("Send either 'documents' or 'texts', but not both.", param="texts")
    if "texts" in body:
        return "texts"
    if "model" not in body:
        raise InvalidRequest("you must provide a model parameter")
    if "documents" not in body:
        raise InvalidRequest(
            "Missing required parameter: 'documents'.", param="documents", code="missing_required_parameter"
        )
    return "documents"


async def _model(context: ApiContext, body: Body) -> ModelSpec:
    """The named one; clients of text-embeddings-inference, which has but one model, name none."""
    if "model" not in body:
        return await default_model(
            context.registry, context.pool, context.capabilities, prefers="rank", param="model"
        )
    spec = context.registry.resolve(body["model"])
    await require_ranker(context.pool, context.capabilities, spec)
    return spec


async def _too_long(context: ApiContext, spec: ModelSpec, body: Body) -> TooLong | None:
    """What happens to documents that are too long. Engines cut them at the end of the context only."""
    limit = body.get("max_tokens_per_doc")
    if limit is None:
        return too_long(body)
    if too_long(body) == "refuse":
        raise InvalidRequest("'truncate' forbids what 'max_tokens_per_doc' asks for.", param="truncate")
    longest = (await engine_info(context.pool, spec)).n_context
    if limit < longest:
        raise InvalidRequest(
            f"Unsupported value: 'max_tokens_per_doc' does not support {limit} with this model. Documents "
            f"are cut off at the end of its context only: expected a value >= {longest}.",
            param="max_tokens_per_doc",
            code="unsupported_value",
        )
    return "truncate"


def _reply(body: Body, ranking: Ranking, reply_id: str, model: str) -> dict[str, Any]:
    results: list[dict[str, Any]] = []
    for index in ranking.best(body.get("top_n")):
        result: dict[str, Any] = {"index": index, "relevance_score": ranking.scores[index]}
        if body.get("return_documents"):
            document = body["documents"][index]
            result["document"] = {"text": document} if isinstance(document, str) else document
        results.append(result)
    n_tokens = ranking.n_prompt_tokens
    reply = {
        "id": reply_id,
        "object": "list",
        "model": model,
        "results": results,
        "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
    }
    return reply | ({"service_tier": service_tier(body)} if "service_tier" in body else {})


def _texts_reply(body: Body, ranking: Ranking) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for index in ranking.best(body.get("top_n")):
        item: dict[str, Any] = {"index": index, "score": ranking.scores[index]}
        if body.get("return_text"):
            item["text"] = body["texts"][index]
        items.append(item)
    return items
