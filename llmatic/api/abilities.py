"""Turns requests away that the model's kind cannot serve, if that is known before it is loaded.

Owns no knowledge. Where it does not show before, nothing is raised here and the worker decides once the model
is loaded. Event loop's thread.
"""

from llmatic.api.context import ApiContext
from llmatic.config import ModelSpec
from llmatic.core.errors import cannot_encode, cannot_write
from llmatic.core.types import EncodeTask
from llmatic.services.kinds import kind_of


async def require_encoder(context: ApiContext, spec: ModelSpec, task: EncodeTask) -> None:
    """Raise Forbidden, in OpenAI's words, for a model that is known not to do `task`."""
    if await kind_of(context.pool, context.capabilities, spec) not in (None, task):
        raise cannot_encode(spec.id, task)


async def require_writer(context: ApiContext, spec: ModelSpec) -> None:
    """Raise Forbidden, in OpenAI's words, for a model that is known to write no text."""
    if await kind_of(context.pool, context.capabilities, spec) not in (None, "write"):
        raise cannot_write(spec.id)
