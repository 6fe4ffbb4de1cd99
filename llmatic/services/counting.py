"""How many tokens a prompt has, as the engine counts them.

Owns nothing: the request is given up as soon as the engine has read it, before it is computed. Never knows
HTTP. Event loop's thread.
"""

from contextlib import aclosing

from llmatic.core.errors import EngineFailed
from llmatic.core.types import GenerationRequest, Started
from llmatic.services.generation import OpenStream


async def count_prompt_tokens(open_stream: OpenStream, request: GenerationRequest) -> int:
    """Tokens of the request's prompt, media and templates included. Raises what the engine raises."""
    async with aclosing(open_stream(request)) as events:
        async for event in events:
            if isinstance(event, Started):
                return event.n_prompt_tokens
    raise EngineFailed("The engine ended the request without reading it.")
