"""From a checked body of /responses to all that is needed to make the response.

Owns the order: the context is loaded, the items are brought into their kept form, the prompt is put together.
Event loop's thread.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmatic.api.abilities import require_writer
from llmatic.api.chat_media import with_media
from llmatic.api.context import ApiContext
from llmatic.api.response_object import begun
from llmatic.api.response_request import (
    Wanted,
    check_combination,
    generation_request,
    items_of,
    reworded,
    wanted,
)
from llmatic.config import ModelSpec
from llmatic.core.errors import InvalidRequest, ModelNotFound
from llmatic.core.types import GenerationRequest
from llmatic.services.response_items import Item, kept, new_id
from llmatic.services.responses import MICROSECONDS, Context, Kept
from llmatic.services.terms import Caller

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ResponseJob:
    """A response that is to be made. `head`: OpenAI's object before there is any output."""

    context: ApiContext
    body: Body
    caller: Caller
    spec: ModelSpec
    before: Context
    inputs: list[dict[str, Any]]
    request: GenerationRequest
    head: dict[str, Any]
    wanted: Wanted
    created_at: int

    @property
    def id(self) -> str:
        """Of the response."""
        return self.request.id

    @property
    def is_background(self) -> bool:
        """It is made whether or not anybody waits."""
        return bool(self.body.get("background"))

    @property
    def truncates(self) -> bool:
        """The oldest items are left out where the prompt is too long."""
        return self.body.get("truncation") == "auto"

    @property
    def items(self) -> tuple[Item, ...]:
        """All that the model is told, oldest first."""
        return (*self.before.items, *self.inputs)

    @property
    def room(self) -> int:
        """About how many tokens the prompt may have; 0 as long as the model's context is not known."""
        info = self.context.pool.info(self.spec.id)
        return 0 if info is None else info.n_context - (self.request.max_tokens or 0)

    async def request_with(self, items: Sequence[Item]) -> GenerationRequest:
        """The request with these items only. Raises InvalidRequest."""
        return await _request(self.context, self.body, items, self.spec, self.id, self.caller)

    def kept(self, body: dict[str, Any]) -> Kept:
        """The response as it is to be kept, when `body` is its object."""
        conversation = self.head["conversation"]
        return Kept(
            owner=self.caller.principal.owner,
            body=body,
            inputs=self.inputs,
            created_at=self.created_at,
            context=self.before,
            conversation_id=None if conversation is None else conversation["id"],
            stores=self.head["store"],
        )


async def job_of(context: ApiContext, body: Body, caller: Caller) -> ResponseJob:
    """What a checked body asks for. Raises InvalidRequest, NotFound, Forbidden, Unavailable."""
    check_combination(body)
    spec = resolved(context, body["model"])
    await require_writer(context, spec)
    before, inputs = await _material(context, body, caller.principal.owner)
    if body.get("conversation") is not None:
        context.stored.responses.check_room(before, len(inputs))
    created_at = int(time.time() * MICROSECONDS)
    response_id = new_id("resp")
    request = await _request(context, body, (*before.items, *inputs), spec, response_id, caller)
    created = created_at // MICROSECONDS
    head = begun(body, request, response_id=response_id, created=created, model=spec.id)
    return ResponseJob(context, body, caller, spec, before, inputs, request, head, wanted(body), created_at)


async def counting_request(
    context: ApiContext, body: Body, caller: Caller
) -> tuple[ModelSpec, GenerationRequest]:
    """The request whose prompt is to be counted. Raises as `job_of`."""
    check_combination(body)
    spec = resolved(context, body["model"])
    await require_writer(context, spec)
    before, inputs = await _material(context, body, caller.principal.owner)
    request = await _request(context, body, (*before.items, *inputs), spec, new_id("resp"), caller)
    return spec, request


def resolved(context: ApiContext, model: str) -> ModelSpec:
    """The model, or a refusal in the words of this operation."""
    try:
        return context.registry.resolve(model)
    except ModelNotFound:
        raise InvalidRequest(
            f"The requested model '{model[:100]}' does not exist.", param="model", code="model_not_found"
        ) from None


async def _material(context: ApiContext, body: Body, owner: str) -> tuple[Context, list[dict[str, Any]]]:
    """What came before, and the new items in their kept form."""
    responses, may_cut = context.stored.responses, body.get("truncation") == "auto"
    before = Context()
    if (previous := body.get("previous_response_id")) is not None:
        before = await responses.continued(owner, previous, may_cut=may_cut)
    elif (conversation := body.get("conversation")) is not None:
        name = conversation if isinstance(conversation, str) else conversation["id"]
        before = await responses.talked(owner, name, may_cut=may_cut)
    return before, kept(await responses.resolved(owner, items_of(body)))


async def _request(
    context: ApiContext,
    body: Body,
    items: Sequence[Item],
    spec: ModelSpec,
    request_id: str,
    caller: Caller,
) -> GenerationRequest:
    request = generation_request(body, items, spec, request_id, caller)
    try:
        return (await with_media((request,), context.media, context.pool.info(spec.id)))[0]
    except InvalidRequest as error:
        raise reworded(error, body) from None
