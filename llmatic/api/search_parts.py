"""What /answers and /classifications have in common: search first, then complete.

Owns their fields about the search and the completion: which model searches, what of the completion the reply
holds, how what was found is shown. Event loop's thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from llmatic.api.completion_render import CompletionReply
from llmatic.api.context import ApiContext
from llmatic.api.generate import now
from llmatic.api.ids import object_id
from llmatic.api.replies import Answer, model_answer
from llmatic.config import ModelSpec
from llmatic.core.errors import InvalidRequest
from llmatic.core.types import EngineInfo
from llmatic.services.fitting import Fitted
from llmatic.services.ranking import (
    DEFAULT_SEARCH_MODEL,
    Ranking,
    rank_documents,
    search_model,
    search_score,
)
from llmatic.services.terms import Caller, priority, service_tier

# Of /answers' `max_rerank` and of /classifications' `max_examples`.
DEFAULT_MAX_FOUND = 200

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave. `model`: the id of the model that searched."""

    model: str
    ranking: Ranking

    def entry(self, index: int, text: str, **more: Any) -> dict[str, Any]:
        """One of the found texts, as replies show it, and `more` that they show of it."""
        score = search_score(self.ranking.scores[index])
        return {"document": index, "object": "search_result", "score": score, "text": text, **more}


def given_texts(body: Body, name: str) -> list[Any]:
    """The field that holds the texts to search, for which there is no file. Raises InvalidRequest."""
    texts: list[Any] | None = body.get(name)
    if texts is None:
        raise InvalidRequest(
            f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
        )
    return texts


async def search(
    context: ApiContext, body: Body, caller: Caller, texts: Sequence[str], *, query_param: str, param: str
) -> Found:
    """Rank texts, which the field `param` holds, by the field `query_param`.

    Texts too long for the search model are judged by their beginnings. Where there is no text, no model is
    needed, but a name that is given must be one. Raises ModelNotFound, InvalidRequest, Forbidden, and what
    the engine raises.
    """
    name: str = body.get("search_model", DEFAULT_SEARCH_MODEL)
    if not texts:
        is_any = name == DEFAULT_SEARCH_MODEL and not context.registry.knows(name)
        return Found(name if is_any else context.registry.resolve(name).id, Ranking((), 0))
    spec = await search_model(context.registry, context.pool, context.capabilities, name)
    ranking = await rank_documents(
        context.pool,
        spec,
        body[query_param],
        texts,
        caller,
        request_id=object_id("search"),
        query_param=query_param,
        param=param,
        too_long="truncate",
        priority=priority(body),
    )
    context.metrics.model(spec.id).count_tokens(prompt=ranking.n_prompt_tokens, cached=0, completion=0)
    return Found(spec.id, ranking)


def search_reply(
    context: ApiContext,
    body: Body,
    spec: ModelSpec,
    info: EngineInfo,
    completion_id: str,
    fitted: Fitted,
    parts: dict[str, Any],
) -> Answer:
    """The reply with `parts`, the completion or its id, and the prompt if it is wanted; counts the tokens."""
    usage = fitted.usage
    context.metrics.model(spec.id).count_tokens(
        prompt=usage.n_prompt_tokens, cached=usage.n_cached_tokens, completion=usage.n_completion_tokens
    )
    completion: Any = completion_id
    if "completion" in body.get("expand", ()) or "logprobs" in body:
        reply = CompletionReply(
            id=completion_id,
            created=now(),
            model=spec.id,
            fingerprint=info.fingerprint,
            with_logprobs="logprobs" in body,
            n_choices=len(fitted.choices),
            offsets=(len(fitted.prompt),),
            prefixes=("",),
            tier=service_tier(body) if "service_tier" in body else None,
        )
        completion = orjson.Fragment(reply.whole(fitted.choices, usage))
    whole = {**parts, "model": spec.id, "completion": completion}
    if body.get("return_prompt"):
        whole["prompt"] = fitted.prompt
    return model_answer(orjson.dumps(whole), spec.id)
