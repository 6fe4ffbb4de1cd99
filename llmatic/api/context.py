"""What the endpoints are built from. Filled by the composition root, read-only afterwards."""

from dataclasses import dataclass

from llmatic.api.auth import Authenticator
from llmatic.api.validation import Contract
from llmatic.config import ServerSettings
from llmatic.core.metrics import Metrics
from llmatic.core.ports import EnginePool
from llmatic.registry import Registry
from llmatic.services.capabilities import KnownCapabilities
from llmatic.services.generation import RunningCalls
from llmatic.services.media import MediaLoader


@dataclass(frozen=True, slots=True)
class ApiContext:
    """The parts that requests are served with."""

    settings: ServerSettings
    registry: Registry
    pool: EnginePool
    contract: Contract
    metrics: Metrics
    authenticator: Authenticator
    calls: RunningCalls
    capabilities: KnownCapabilities
    media: MediaLoader
