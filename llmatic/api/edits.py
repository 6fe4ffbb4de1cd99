"""POST /edits: a text changed as an instruction says. Event loop's thread."""

from functools import partial
from typing import Any

import orjson

from llmatic.api.abilities import require_writer
from llmatic.api.completion_render import usage_object
from llmatic.api.context import ApiContext
from llmatic.api.generate import now
from llmatic.api.ids import object_id
from llmatic.api.replies import Answer, model_answer
from llmatic.config import ModelSpec
from llmatic.core.errors import ContextLengthExceeded, InvalidRequest
from llmatic.core.types import GenerationRequest
from llmatic.services.answering import answers
from llmatic.services.edit_prompt import END_MARK, edit_prompt
from llmatic.services.parameters import chat_limit, min_tokens, sampling_params, stop_texts
from llmatic.services.terms import Caller, with_terms

Body = dict[str, Any]


async def serve_edits(context: ApiContext, body: Body, caller: Caller) -> Answer:
    """Edited texts. Raises ModelNotFound, Forbidden, InvalidRequest, and what the engine raises."""
    spec = context.registry.resolve(body["model"])
    await require_writer(context, spec)
    info = await context.pool.loaded(spec.id)
    request = _request(body, spec, caller, is_chat=info.has_chat_template)
    try:
        spent = caller.meter.reporter("completions", spec.id)
        choices, usage = await answers(partial(context.pool.generate, spec.id), [request], spent)
    except InvalidRequest as error:
        raise _reworded(error) from None
    reply = {
        "object": "edit",
        "created": now(),
        "choices": [
            {"text": choice.text, "index": choice.index, "finish_reason": choice.finish_reason}
            for choice in choices
        ],
        "usage": usage_object(usage),
    }
    return model_answer(orjson.dumps(reply), spec.id)


def _request(body: Body, spec: ModelSpec, caller: Caller, *, is_chat: bool) -> GenerationRequest:
    text = body.get("input", "")
    request = GenerationRequest(
        id=object_id("edit"),
        prompt=edit_prompt(body["instruction"], text, is_chat=is_chat),
        sampling=sampling_params(body, spec.sampling, n_logprobs=None),
        n_choices=body.get("n", 1),
        max_tokens=chat_limit(body, spec.sampling),
        min_tokens=min_tokens(body, spec.sampling),
        stop=stop_texts(body, spec.sampling) if is_chat else (END_MARK,),
        prediction=text,
    )
    return with_terms([request], body, caller)[0]


def _reworded(error: InvalidRequest) -> InvalidRequest:
    """The refusal as one of this operation, which has no messages and no prompt."""
    if isinstance(error, ContextLengthExceeded):
        return ContextLengthExceeded(error.message, param="input")
    if error.param in ("messages", "prompt"):
        return InvalidRequest(error.message, param="input", code=error.code)
    return error
