"""POST /classifications: search the examples, put the best into a prompt, let the model choose a label.

Event loop's thread.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from llmatic.api.abilities import require_writer
from llmatic.api.context import ApiContext
from llmatic.api.ids import object_id
from llmatic.api.replies import Answer
from llmatic.api.search_parts import DEFAULT_MAX_FOUND, given_texts, search, search_reply
from llmatic.core.types import GenerationRequest, TextPrompt
from llmatic.services.classification import (
    LABEL_END,
    balanced,
    classification_prompt,
    label_constraint,
    label_limit,
    label_set,
    normal_label,
    read_label,
)
from llmatic.services.fitting import answers_that_fit
from llmatic.services.parameters import sampling_params
from llmatic.services.terms import Caller, with_terms

Body = dict[str, Any]


async def serve_classifications(context: ApiContext, body: Body, caller: Caller) -> Answer:
    """The label of a text. Raises ModelNotFound, Forbidden, InvalidRequest, and what the engines raise."""
    spec = context.registry.resolve(body["model"])
    await require_writer(context, spec)
    given: list[list[str]] = given_texts(body, "examples")
    labels = label_set(body.get("labels"), given)
    request = _request(body, labels, caller)
    # Examples of other labels than those to choose from would only mislead.
    pairs = [(text, normal_label(label)) for text, label in given]
    places = [place for place, (_, label) in enumerate(pairs) if label in labels]
    examples = [pairs[place] for place in places]
    texts = [text for text, _ in examples]
    found = await search(context, body, caller, texts, query_param="query", param="examples")
    best = found.ranking.best(body.get("max_examples", DEFAULT_MAX_FOUND))
    info = await context.pool.loaded(spec.id)

    def request_with(chosen: tuple[int, ...]) -> GenerationRequest:
        prompt = classification_prompt(body["query"], [examples[index] for index in chosen], labels)
        return replace(request, prompt=TextPrompt(prompt))

    fitted = await answers_that_fit(
        partial(context.pool.generate, spec.id),
        request_with,
        balanced(best, [label for _, label in examples]),
        [len(text) for text in texts],
        info.n_context,
    )
    parts = {
        "object": "classification",
        "search_model": found.model,
        "label": read_label(fitted.choices[0].text, labels),
        "selected_examples": [
            found.entry(index, examples[index][0], document=places[index], label=examples[index][1])
            for index in fitted.chosen
        ],
    }
    return search_reply(context, body, spec, info, request.id, fitted, parts)


def _request(body: Body, labels: tuple[str, ...], caller: Caller) -> GenerationRequest:
    """All but the prompt. The model's own defaults of sampling are for texts and do not hold for labels."""
    constraint = label_constraint(labels, param="labels" if "labels" in body else "examples")
    request = GenerationRequest(
        id=object_id("cmpl"),
        prompt=TextPrompt(""),
        sampling=sampling_params({"temperature": 0, **body}, {}, n_logprobs=body.get("logprobs")),
        max_tokens=label_limit(labels),
        stop=(LABEL_END,),
        constraint=constraint,
    )
    return with_terms([request], body, caller)[0]
