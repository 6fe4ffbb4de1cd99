"""POST /answers: search the documents, put the best into a prompt, let the model answer.

Event loop's thread.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from llmatic.api.abilities import require_writer
from llmatic.api.context import ApiContext
from llmatic.api.ids import object_id
from llmatic.api.replies import Answer
from llmatic.api.search_parts import (
    DEFAULT_MAX_FOUND,
    Texts,
    from_file,
    search,
    search_reply,
    texts_of_file,
)
from llmatic.config import ModelSpec
from llmatic.core.types import GenerationRequest, TextPrompt
from llmatic.services.answer_prompt import MARKS, answer_prompt, read_answer
from llmatic.services.fitting import answers_that_fit
from llmatic.services.parameters import completion_limit, min_tokens, sampling_params, stop_texts
from llmatic.services.terms import Caller, with_terms

Body = dict[str, Any]


async def serve_answers(context: ApiContext, body: Body, caller: Caller) -> Answer:
    """Answers from documents. Raises ModelNotFound, Forbidden, InvalidRequest, and what the engines raise."""
    spec = context.registry.resolve(body["model"])
    await require_writer(context, spec)
    request = _request(body, spec, caller)
    max_rerank: int = body.get("max_rerank", DEFAULT_MAX_FOUND)
    if from_file(body, "documents"):
        given = await texts_of_file(
            context, body, caller, purpose="answers", query=body["question"], count=max_rerank
        )
    else:
        given = Texts(body["documents"], range(len(body["documents"])))
    documents = given.texts
    found = await search(context, body, caller, documents, query_param="question", param="documents")
    best = found.ranking.best(max_rerank)
    info = await context.pool.loaded(spec.id)

    def request_with(chosen: tuple[int, ...]) -> GenerationRequest:
        shown = [documents[index] for index in chosen]
        prompt = answer_prompt(body["question"], body["examples"], body["examples_context"], shown)
        return replace(request, prompt=TextPrompt(prompt))

    fitted = await answers_that_fit(
        partial(context.pool.generate, spec.id),
        request_with,
        [index for index in best if documents[index].strip()],
        [len(document) for document in documents],
        info.n_context,
        caller.meter.reporter("completions", spec.id),
    )
    parts = {
        "object": "answer",
        "search_model": found.model,
        "answers": [read_answer(choice.text) for choice in fitted.choices],
        "selected_documents": [given.entry(body, index, found) for index in fitted.chosen],
        **given.file_part(body),
    }
    return search_reply(body, spec, info, request.id, fitted, parts)


def _request(body: Body, spec: ModelSpec, caller: Caller) -> GenerationRequest:
    """All but the prompt. OpenAI's temperature here is 0, whatever the model's own default."""
    request = GenerationRequest(
        id=object_id("cmpl"),
        prompt=TextPrompt(""),
        sampling=sampling_params({"temperature": 0, **body}, spec.sampling, n_logprobs=body.get("logprobs")),
        n_choices=body.get("n", 1),
        max_tokens=completion_limit(body, spec.sampling),
        min_tokens=min_tokens(body, spec.sampling),
        stop=stop_texts(body, {"stop": MARKS, **spec.sampling}),
    )
    return with_terms([request], body, caller)[0]
