"""Requests as they are recorded: from the first event to what is handed to the recorder.

Owns what one recording holds on to: the request, the pieces of its answer, how it ended. All that costs time
is left to the recorder, which does it later. Event loop's thread.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, Self

from llmatic.core.errors import LlmaticError
from llmatic.core.principal import Principal
from llmatic.core.types import CallDelta, ChatPrompt, Delta, Finished, GenerationRequest
from llmatic.services.choices import Folding
from llmatic.services.composing import Outcome, Taken, weight
from llmatic.services.generation import Generation, OpenStream, Tagged
from llmatic.services.recording import Recorder
from llmatic.store.runs import RunRecord

CHUNK_BYTES: Final = 200
CALL_PREFIXES: Final = {"message": "toolu_"}


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as it is to be recorded. `body`: what was asked, checked; nobody changes it any more.

    `kind` as in `RunRecord`. `details` goes into the run's summary: tags, source, interaction and the like.
    """

    id: str
    kind: str
    body: dict[str, Any]
    model: str
    principal: Principal
    is_promised: bool = False
    interaction: str | None = None
    details: dict[str, Any] | None = None


class Tape:
    """One request's recording: how it ended, once. `n_chunks` counts the pieces of its answer."""

    def __init__(self, recorder: Recorder, ask: Ask) -> None:
        self._recorder = recorder
        self._ask = ask
        self._created_at = recorder.now()
        self._started_s = time.perf_counter()
        self.n_chunks = 0
        self.taken: Taken | None = None
        self.was_given_up = False

    @property
    def kind(self) -> str:
        """Of the request."""
        return self._ask.kind

    async def keep(self, outcome: Callable[[], Outcome], problem: dict[str, Any] | None = None) -> None:
        """The answer is whole. Returns at once, or when it is written if that is due. Raises nothing.

        `problem`: why the answer is none for whoever asked. `outcome` is called later, in another thread.
        """
        if self.taken is None:
            await self._recorder.put(self._taken(outcome, problem))

    def keep_nowait(self, outcome: Callable[[], Outcome]) -> None:
        """The answer is whole, and nobody was promised that it is kept."""
        if self.taken is None:
            self._recorder.put_nowait(self._taken(outcome, None))

    def fail(self, error: BaseException) -> None:
        """There will be no answer."""
        if self.taken is None:
            self._recorder.put_nowait(self._taken(None, error_summary(error, was_given_up=self.was_given_up)))

    def _taken(self, outcome: Callable[[], Outcome] | None, problem: dict[str, Any] | None) -> Taken:
        ask = self._ask
        summary: dict[str, Any] = {
            **(ask.details or {}),
            "execution_ms": round((time.perf_counter() - self._started_s) * 1000, 3),
            "n_chunks": self.n_chunks,
        }
        if problem is not None:
            summary["error"] = problem
        record = RunRecord(
            id=ask.id,
            owner=ask.principal.owner,
            key_id=ask.principal.id,
            kind=ask.kind,
            is_stored=ask.kind == "chat" and problem is None,
            model=ask.model,
            interaction=ask.interaction,
            status="completed" if problem is None else "failed",
            created_at=self._created_at,
            updated_at=self._recorder.now(),
            expires_at=self._recorder.expiry(self._created_at),
            summary=summary,
        )
        # A piece holds a few words, and what the engine said of them.
        size = weight(ask.body) + CHUNK_BYTES * self.n_chunks
        self.taken = Taken(record, ask.body, size, outcome, is_promised=ask.is_promised)
        return self.taken


# From the whole answer to how it looked to the client.
Render = Callable[[Folding], Outcome]


class TapedGeneration(Generation):
    """A generation that is recorded as it goes. `render` is called after the end, in another thread."""

    def __init__(
        self,
        open_stream: OpenStream,
        requests: tuple[GenerationRequest, ...],
        tape: Tape,
        folding: Folding,
        render: Render,
    ) -> None:
        super().__init__(open_stream, requests)
        self._tape = tape
        self._folding = folding
        self._render = render
        self._batches: list[list[Tagged]] = []
        self._call_prefix = CALL_PREFIXES.get(tape.kind, "call_")
        prompt = requests[0].prompt
        self._may_call = isinstance(prompt, ChatPrompt) and prompt.tools is not None

    async def __aenter__(self) -> Self:
        try:
            return await super().__aenter__()
        except BaseException as error:
            self._tape.fail(error)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._tape.fail(error)
        await super().__aexit__(kind, error, trace)

    def give_up(self, error: BaseException) -> None:
        """As `Generation.give_up`."""
        self._tape.was_given_up = True
        super().give_up(error)

    async def batch(self) -> list[Tagged] | None:
        """As `Generation.batch`; None only after the recording was kept."""
        try:
            events = await super().batch()
        except BaseException as error:
            self._tape.fail(error)
            raise
        if events is None:
            await self._tape.keep(self._outcome)
            return None
        if self._may_call and any(_lacks_id(event) for _, event in events):
            # Calls get their ids here, so that the reply and the record agree.
            events = [_identified(event, self._call_prefix) for event in events]
        self._batches.append(events)  # no more than that while the client waits
        self._tape.n_chunks += len(events)
        return events

    def _outcome(self) -> Outcome:
        for events in self._batches:
            self._folding.add(events)
        self._batches = []
        return self._render(self._folding)


def error_summary(error: BaseException, *, was_given_up: bool = False) -> dict[str, Any]:
    """What a run says of its failure. `was_given_up`: nobody waited for it any more."""
    if isinstance(error, LlmaticError):
        return {"code": error.code or error.type, "message": error.message[:2000], "status": error.status}
    if was_given_up or not isinstance(error, Exception):
        return {"code": "cancelled", "message": "The client hung up before the end."}
    return {"code": "server_error", "message": "The server had an error while processing the request."}


def _lacks_id(event: Delta | Finished) -> bool:
    return isinstance(event, Delta) and bool(event.calls) and any(c.name and not c.id for c in event.calls)


def _identified(tagged: Tagged, prefix: str) -> Tagged:
    """Calls that the model gave no id get one."""
    prompt, event = tagged
    if not isinstance(event, Delta) or not event.calls:
        return tagged
    return prompt, replace(event, calls=tuple(_identified_call(call, prefix) for call in event.calls))


def _identified_call(call: CallDelta, prefix: str) -> CallDelta:
    return replace(call, id=f"{prefix}{secrets.token_hex(12)}") if call.name and not call.id else call
