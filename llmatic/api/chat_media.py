"""Pictures and sounds of a chat request on their way to the engine.

Owns the moment at which they are fetched: after the request was checked, before it is queued. Event loop's
thread.
"""

from collections.abc import Sequence
from dataclasses import replace

from llmatic.core.types import ChatPrompt, EngineInfo, GenerationRequest
from llmatic.services.media import MediaLoader, has_media, refuse_unseen


async def with_media(
    requests: Sequence[GenerationRequest], loader: MediaLoader, info: EngineInfo | None
) -> tuple[GenerationRequest, ...]:
    """The requests with their media fetched and decoded from text. Raises InvalidRequest.

    `info`: of the engine, if it is known; what it cannot see or hear is then not fetched.
    """
    return tuple([await _with_media(request, loader, info) for request in requests])


async def _with_media(
    request: GenerationRequest, loader: MediaLoader, info: EngineInfo | None
) -> GenerationRequest:
    prompt = request.prompt
    if not isinstance(prompt, ChatPrompt) or not has_media(prompt.messages):
        return request
    if info is not None:
        refuse_unseen(prompt.messages, info)
    messages, media = await loader.load(prompt.messages)
    return replace(request, prompt=replace(prompt, messages=messages, media=media))
