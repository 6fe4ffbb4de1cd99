"""What the endpoints are built from. Filled by the composition root, read-only afterwards."""

from dataclasses import dataclass, replace

from llmatic.api.auth import Authenticator
from llmatic.api.validation import Contract
from llmatic.config import ServerSettings
from llmatic.core.metrics import Metrics
from llmatic.core.ports import EnginePool
from llmatic.core.principal import Principal
from llmatic.registry import Registry
from llmatic.services.batches.service import Batches
from llmatic.services.capabilities import KnownCapabilities
from llmatic.services.generation import RunningCalls
from llmatic.services.media import MediaLoader
from llmatic.services.metering import Metering
from llmatic.services.recording import Recorder
from llmatic.services.stored import Stored


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
    stored: Stored
    metering: Metering
    batches: Batches
    recorder: Recorder

    def seen_by(self, principal: Principal) -> "ApiContext":
        """The same with a registry of only those models that the principal may use."""
        registry = self.registry.seen_by(principal)
        return self if registry is self.registry else replace(self, registry=registry)
