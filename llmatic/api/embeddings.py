"""POST /embeddings: from a checked body to the bytes of the reply. Event loop's thread."""

import asyncio
import sys
from functools import partial
from importlib import import_module
from typing import Any

from llmatic.api.abilities import require_encoder
from llmatic.api.context import ApiContext
from llmatic.api.embedding_render import base64_parts, float_parts, whole
from llmatic.api.ids import object_id
from llmatic.api.replies import Answer, model_answer
from llmatic.services.embedding import embed_request
from llmatic.services.encoding import Rows, encode_rows
from llmatic.services.terms import Caller, service_tier


async def serve_embeddings(context: ApiContext, body: dict[str, Any], caller: Caller) -> Answer:
    """One vector for each input. Raises ModelNotFound, Forbidden, and what the engine raises."""
    spec = context.registry.resolve(body["model"])
    await require_encoder(context, spec, "embed")
    request = embed_request(body, object_id("embd"), caller)
    spent = caller.meter.reporter("embeddings", spec.id)
    rows = await encode_rows(partial(context.pool.encode, spec.id), request, spent)
    pieces = await _pieces(rows, is_base64=body.get("encoding_format") == "base64")
    tier = service_tier(body) if "service_tier" in body else None
    return model_answer(whole(pieces, spec.id, rows.n_prompt_tokens, tier), spec.id)


async def _pieces(rows: Rows, *, is_base64: bool) -> list[bytes]:
    """The items of `data`; other requests get their turn while a long list of them is written."""
    if not is_base64 and "numpy" not in sys.modules:
        await asyncio.to_thread(import_module, "numpy")
    pieces: list[bytes] = []
    for part in (base64_parts if is_base64 else float_parts)(rows):
        if pieces:
            await asyncio.sleep(0)
        pieces += part
    return pieces
