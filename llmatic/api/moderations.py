"""POST /moderations: from a checked body to the bytes of the reply. Event loop's thread.

Two shapes: today's, and that of the API's version 1.2.0, which a model's name asks for that begins with
`text-moderation`.
"""

from typing import Any

import orjson

from llmatic.api.context import ApiContext
from llmatic.api.ids import object_id
from llmatic.api.replies import Answer, model_answer
from llmatic.core.moderation import CATEGORIES, LEGACY_CATEGORIES, PICTURED
from llmatic.services.moderation import DEFAULT_MODEL, Judgement, Moderation, moderator
from llmatic.services.terms import Caller

LEGACY_NAMES = "text-moderation"


async def serve_moderation(context: ApiContext, body: dict[str, Any], caller: Caller) -> Answer:
    """One result for each input. Raises ModelNotFound, InvalidRequest, and what the engine raises."""
    name = body.get("model", DEFAULT_MODEL)
    spec = moderator(context.registry, name)
    reply_id = object_id("modr")
    judged = await Moderation(context.pool, context.media, spec, caller, reply_id).judge(body["input"])
    render = legacy_result if name.startswith(LEGACY_NAMES) else result
    reply = {"id": reply_id, "model": spec.id, "results": [render(item) for item in judged.results]}
    return model_answer(orjson.dumps(reply), spec.id)


def result(judgement: Judgement) -> dict[str, Any]:
    """Today's shape."""
    return {
        "flagged": bool(judgement.flagged),
        "categories": {category: category in judgement.flagged for category in CATEGORIES},
        "category_scores": {category: judgement.scores[category] for category in CATEGORIES},
        "category_applied_input_types": {
            category: [kind for kind in judgement.kinds if kind == "text" or category in PICTURED]
            if category in judgement.judged
            else []
            for category in CATEGORIES
        },
    }


def legacy_result(judgement: Judgement) -> dict[str, Any]:
    """The shape of version 1.2.0. What is flagged is flagged, though its category has no name there."""
    return {
        "flagged": bool(judgement.flagged),
        "categories": {
            category: not judgement.flagged.isdisjoint(today) for category, today in LEGACY_CATEGORIES.items()
        },
        "category_scores": {
            category: max(judgement.scores[item] for item in today)
            for category, today in LEGACY_CATEGORIES.items()
        },
    }
