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
from llmatic.api.search_parts import (
    DEFAULT_MAX_FOUND,
    Texts,
    from_file,
    search,
    search_reply,
    texts_of_file,
)
from llmatic.core.errors import InvalidRequest
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
    max_examples: int = body.get("max_examples", DEFAULT_MAX_FOUND)
    given = await _examples(context, body, caller, max_examples)
    labels = label_set(body.get("labels"), [("", label) for label in given.all_labels])
    request = _request(body, labels, caller)
    # Examples of other labels than those to choose from would only mislead.
    kept = [place for place, label in enumerate(given.labels) if normal_label(label) in labels]
    given = given.only(kept)
    examples = [(text, normal_label(label)) for text, label in zip(given.texts, given.labels, strict=True)]
    found = await search(context, body, caller, given.texts, query_param="query", param="examples")
    best = found.ranking.best(max_examples)
    info = await context.pool.loaded(spec.id)

    def request_with(chosen: tuple[int, ...]) -> GenerationRequest:
        prompt = classification_prompt(body["query"], [examples[index] for index in chosen], labels)
        return replace(request, prompt=TextPrompt(prompt))

    fitted = await answers_that_fit(
        partial(context.pool.generate, spec.id),
        request_with,
        balanced(best, [label for _, label in examples]),
        [len(text) for text in given.texts],
        info.n_context,
        caller.meter.reporter("completions", spec.id),
    )
    parts = {
        "object": "classification",
        "search_model": found.model,
        "label": read_label(fitted.choices[0].text, labels),
        "selected_examples": [
            given.entry(body, index, found, label=examples[index][1]) for index in fitted.chosen
        ],
        **given.file_part(body),
    }
    return search_reply(body, spec, info, request.id, fitted, parts)


async def _examples(context: ApiContext, body: Body, caller: Caller, max_examples: int) -> Texts:
    """Those of the request, or the nearest ones of its file; their labels as they are written."""
    if not from_file(body, "examples"):
        texts, labels = map(list, zip(*body["examples"], strict=True))
        return Texts(texts, range(len(texts)), labels, all_labels=labels)
    wanted = set(map(normal_label, body.get("labels", ())))
    given = await texts_of_file(
        context,
        body,
        caller,
        purpose="classifications",
        query=body["query"],
        count=max_examples,
        wants=lambda document: not wanted or normal_label(document.label or "") in wanted,
    )
    if not given.all_labels:
        raise InvalidRequest("No line of the file has a label with text.", param="file")
    return given


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
