"""What a model does: its engine's word if it was ever loaded, else what its files tell.

Owns nothing. Event loop's thread; files are read in another.
"""

import asyncio

from llmatic.config import ModelSpec
from llmatic.core.ports import EnginePool
from llmatic.services.capabilities import Kind, KnownCapabilities


async def kind_of(pool: EnginePool, capabilities: KnownCapabilities, spec: ModelSpec) -> Kind | None:
    """What `spec` does, without loading it; None: its worker knows, or it does more than one thing."""
    if spec.adapters:  # they change what a model writes; there are none for what it encodes
        return "write"
    info = pool.info(spec.id)
    if info is not None and info.encoder is not None:
        return None if info.writes else info.encoder.task
    if info is not None:
        return "write"
    return await asyncio.to_thread(capabilities.kind, spec)
