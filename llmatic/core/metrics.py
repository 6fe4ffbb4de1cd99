"""What is counted, under the names that /metrics shows.

Owns the counters of one server process in a registry of its own (no global one). Never decides when
something is counted: the API does, and the engines count for themselves (see `engine_metrics`). Every label
set is bound once and kept, so that counting costs well under a microsecond. Runs on the event loop's thread;
the counters themselves may be touched from any.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from llmatic.core.engine_metrics import EngineCollector, EngineStates

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FIRST_TOKEN_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_REQUEST_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class ModelMetrics:
    """The counters of one model, already bound to its name."""

    def __init__(
        self,
        prompt_tokens: Counter,
        cached_tokens: Counter,
        completion_tokens: Counter,
        first_token: Histogram,
    ) -> None:
        self._prompt_tokens = prompt_tokens
        self._cached_tokens = cached_tokens
        self._completion_tokens = completion_tokens
        self._first_token = first_token

    def observe_first_token(self, seconds: float) -> None:
        """Time from the request's arrival to its first event with text."""
        self._first_token.observe(seconds)

    def count_tokens(self, *, prompt: int, cached: int, completion: int) -> None:
        """Tokens of a finished call, `cached` of them prompt tokens that were not computed anew."""
        self._prompt_tokens.inc(prompt)
        self._cached_tokens.inc(cached)
        self._completion_tokens.inc(completion)


class Metrics:
    """Everything that the server counts."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "llmatic_requests", "Answered requests.", ("route", "status"), registry=self._registry
        )
        self._duration = Histogram(
            "llmatic_request_seconds",
            "Time from the first byte of a request to the last of its answer.",
            ("route",),
            buckets=_REQUEST_S,
            registry=self._registry,
        )
        self._tokens = Counter(
            "llmatic_tokens",
            "Tokens read from prompts, prompt tokens found in the cache, tokens written.",
            ("model", "kind"),
            registry=self._registry,
        )
        self._first_token = Histogram(
            "llmatic_time_to_first_token_seconds",
            "Time from a request's arrival to its first text.",
            ("model",),
            buckets=_FIRST_TOKEN_S,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "llmatic_requests_in_flight", "Requests being served.", registry=self._registry
        )
        self.runs = Counter(
            "llmatic_runs",
            "Requests that were recorded as runs, that there was no room for, that could not be written.",
            ("outcome",),
            registry=self._registry,
        )
        self._bound_requests: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._bound_models: dict[str, ModelMetrics] = {}

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """One answered request; status 499 stands for a client that hung up before the answer."""
        bound = self._bound_requests.get((route, status))
        if bound is None:
            bound = (self._requests.labels(route, str(status)), self._duration.labels(route))
            self._bound_requests[route, status] = bound
        bound[0].inc()
        bound[1].observe(seconds)

    def model(self, model_id: str) -> ModelMetrics:
        """The counters of one registered model (never a name that a client made up)."""
        bound = self._bound_models.get(model_id)
        if bound is None:
            bound = ModelMetrics(
                self._tokens.labels(model_id, "prompt"),
                self._tokens.labels(model_id, "prompt_cached"),
                self._tokens.labels(model_id, "completion"),
                self._first_token.labels(model_id),
            )
            self._bound_models[model_id] = bound
        return bound

    def watch_engines(self, read: EngineStates) -> None:
        """Show the engines' own figures by model, as `read` returns the pool's states at the time."""
        self._registry.register(EngineCollector(read))

    def render(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
