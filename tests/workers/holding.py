"""An engine that ends what nobody waits for when it was held and let go, and says so."""

from collections.abc import Callable, Mapping

from llmatic.config import ModelSpec
from llmatic.core.ports import Request, StepEvents
from llmatic.core.types import Delta, EngineInfo, Finished, Priority, Started, Usage


class Holding:
    """A StepEngine that is Holdable."""

    def __init__(self, _spec: ModelSpec) -> None:
        self.info = EngineInfo(100, 100, 10, 1, False, False, "fp", "holding")
        self._lines: list[str] = []
        self._was_held = False

    def start(self, on_step: Callable[[StepEvents], None]) -> None:
        self._on_step = on_step

    def submit(self, request: Request) -> None:
        if request.priority >= Priority.BATCH:
            self._lines.append(request.id)
            self._on_step([(request.id, Started(1))])
        else:
            self._say(request.id, "live")

    def hold(self, seconds: float) -> None:
        if seconds:
            self._was_held = True
        elif self._was_held:
            lines, self._lines = self._lines, []
            for line in lines:
                self._say(line, "held, let go")

    def cancel(self, request_id: str) -> None:
        if request_id in self._lines:
            self._lines.remove(request_id)

    def stats(self) -> Mapping[str, float]:
        return {}

    def heartbeat(self) -> tuple[int, float | None]:
        return 0, None

    async def close(self) -> None:
        """Nothing to free."""

    def _say(self, request_id: str, text: str) -> None:
        self._on_step([(request_id, Started(1)), (request_id, Delta(0, text, 1, (), "stop"))])
        self._on_step([(request_id, Finished(Usage(1, 1)))])
