"""The one place where everything that models do for callers is let in, counted and charged.

Owns what a request is charged with, and by whose account: /metrics, the limits and the usage are fed from
here and nowhere else. Event loop's thread.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from llmatic.core.metrics import Metrics
from llmatic.core.principal import EVERYBODY, Principal
from llmatic.core.types import Usage
from llmatic.registry import Registry
from llmatic.services.estimates import estimate
from llmatic.services.generation import Generation
from llmatic.services.ledger import Ledger
from llmatic.services.limit_words import headers
from llmatic.services.limiter import Account, Admission, Queue
from llmatic.services.usage import Operation

Body = Mapping[str, Any]

_NO_HEADERS: Final[list[tuple[bytes, bytes]]] = []


class Metering:
    """Makes the meters of requests."""

    def __init__(self, registry: Registry, metrics: Metrics, ledger: Ledger) -> None:
        self.registry = registry
        self.metrics = metrics
        self.ledger = ledger
        self.limiter = ledger.limiter
        self.usage = ledger.usage
        self.clocks = ledger.clocks

    def meter(self, principal: Principal) -> "Meter":
        """Of a request that somebody waits for."""
        return Meter(self, principal, self.limiter.account(principal))

    def background(self, principal: Principal, *, is_batch: bool) -> "Meter":
        """Of work that nobody waits for: of the limits, only the day's tokens count."""
        return Meter(self, principal, None, is_batch=is_batch)

    def headers(self, principal: Principal) -> list[tuple[bytes, bytes]]:
        """What is left to the caller, as every reply says it; none for one who has no such limits."""
        account = self.limiter.account(principal)
        if account is None:
            return _NO_HEADERS
        now = self.clocks.now()
        states = [
            (bucket.limit, bucket.level(now), bucket.reset_s(now)) if bucket.limit else None
            for bucket in (account.requests, account.tokens)
        ]
        return headers(states[0], states[1])


class Meter:
    """Of one request, which may use several models. Without a metering it counts nothing."""

    __slots__ = ("_account", "_admission", "_is_batch", "_metering", "_n_tokens", "_outlives", "_principal")

    def __init__(
        self,
        metering: Metering | None,
        principal: Principal,
        account: Account | None,
        *,
        is_batch: bool = False,
    ) -> None:
        self._metering = metering
        self._principal = principal
        self._account = account
        self._is_batch = is_batch
        self._admission: Admission | None = None
        self._outlives = False
        self._n_tokens = 0

    @contextmanager
    def admitted(self, body: Body) -> Iterator[None]:
        """Let the request in for as long as the context lasts, and charge it what was counted meanwhile.

        Raises RateLimited, TokensLimited, QuotaExceeded; then nothing is charged.
        """
        metering, account = self._metering, self._account
        if metering is None or account is None:
            yield
            return
        model, queue = self._model(metering.registry, str(body.get("model", "the model")))
        n_tokens = estimate(body) if account.tokens.limit else 0
        clocks = metering.clocks
        self._admission = metering.limiter.admit(account, model, n_tokens, queue, clocks.now(), clocks.day)
        try:
            yield
        finally:
            if not self._outlives:
                self._settle()

    def outlive(self) -> Callable[[], None]:
        """Let an admitted request go on after the context, until what this returns is called."""
        self._outlives = True
        return self._settle

    def count(
        self, operation: Operation, model: str, *, prompt: int, cached: int = 0, completion: int = 0
    ) -> None:
        """A model, by its id, has read and written so many tokens for the caller.

        `cached` of the prompt's were not computed anew. Call it once for each request to a model, however
        that has ended; one that came to nothing is none.
        """
        metering = self._metering
        if metering is None or not (prompt or completion):
            return
        metering.metrics.model(model).count_tokens(prompt=prompt, cached=cached, completion=completion)
        metering.usage.count(
            self._principal,
            model,
            operation,
            metering.clocks.wall(),
            prompt=prompt,
            cached=cached,
            completion=completion,
            is_batch=self._is_batch,
        )
        if self._admission is not None:
            self._n_tokens += prompt + completion
        elif (account := metering.limiter.account_of_old(self._principal)) is not None:
            # Work in the background may outlive the account that it began with.
            metering.limiter.charge_day(account, prompt + completion, metering.clocks.day)

    def count_generation(self, model: str, generation: Generation) -> None:
        """`count` what a generation has read and written until now."""
        self.count(
            "completions",
            model,
            prompt=generation.n_prompt_tokens,
            cached=generation.n_cached_tokens,
            completion=generation.n_completion_tokens,
        )

    def reporter(self, operation: Operation, model: str) -> Callable[[Usage], None]:
        """`count` for whoever knows nothing but the usage."""

        def report(usage: Usage) -> None:
            self.count(
                operation,
                model,
                prompt=usage.n_prompt_tokens,
                cached=usage.n_cached_tokens,
                completion=usage.n_completion_tokens,
            )

        return report

    def check_quota(self) -> None:
        """Raise QuotaExceeded if the tokens of the day are used up."""
        metering = self._metering
        account = None if metering is None else metering.limiter.account_of_old(self._principal)
        if metering is not None and account is not None:
            metering.limiter.check_quota(account, metering.clocks.day)

    def _settle(self) -> None:
        """Once, whoever calls it how often."""
        admission, self._admission = self._admission, None
        if admission is not None and self._metering is not None:
            clocks = self._metering.clocks
            self._metering.limiter.settle(admission, self._n_tokens, clocks.now(), clocks.day)
            self._n_tokens = 0

    def _model(self, registry: Registry, name: str) -> tuple[str, Queue | None]:
        """The model's id and where its requests wait; the name as it is for one that there is not."""
        if not registry.knows(name):
            return name, None
        spec = registry.resolve(name)
        if not self._principal.may_use(spec.id, *spec.aliases):
            return name, None
        worker = spec if spec.base is None else registry.resolve(spec.base)
        return spec.id, Queue(worker.id, worker.max_queue)


UNMETERED: Final = Meter(None, EVERYBODY, None)
