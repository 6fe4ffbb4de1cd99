"""Every error that a caller of llmatic can meet.

    LlmaticError                  500 server_error
    ├── InvalidRequest            400 invalid_request_error
    │   └── ContextLengthExceeded 400 code context_length_exceeded
    ├── Unauthorized              401
    ├── Forbidden                 403
    ├── NotFound                  404
    │   └── ModelNotFound         404 code model_not_found
    ├── MethodNotAllowed          405
    ├── Conflict                  409
    ├── PayloadTooLarge           413
    ├── InsufficientStorage       507 the disk is full
    ├── RateLimited               429
    │   ├── QueueFull             429 the engine's queue
    │   ├── TokensLimited         429 type tokens
    │   └── QuotaExceeded         429 insufficient_quota
    ├── Unavailable               503 overloaded, draining, loading failed: try again
    │   └── EngineFailed          503 the worker died or hung while it served the request
    └── ConfigError               a wrong configuration; stops the start, never seen over HTTP

Status, type and code are class attributes; the words are the API's. Third-party errors are translated
into this tree where they arise. `to_wire`/`from_wire` carry an error over the worker's socket.
"""

from typing import Any, ClassVar

from llmatic.core.types import EncodeTask


class LlmaticError(Exception):
    """Base of all; `message` is meant for the client, `param` names the field at fault."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str | None = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        if code is not None:
            self.code = code

    def to_wire(self) -> dict[str, Any]:
        """A plain mapping from which `from_wire` makes an equal error in another process."""
        return {
            "kind": type(self).__name__,
            "message": self.message,
            "param": self.param,
            "code": self.code,
            "retry_after_s": self.retry_after_s,
        }


class InvalidRequest(LlmaticError):
    """The request cannot be served as it stands."""

    status = 400
    type = "invalid_request_error"


class ContextLengthExceeded(InvalidRequest):
    """Prompt plus wanted completion do not fit the model's context."""

    code = "context_length_exceeded"


class Unauthorized(LlmaticError):
    """No key, or a wrong one."""

    status = 401
    type = "invalid_request_error"


class Forbidden(LlmaticError):
    """The caller is known, or its origin is, and may not do this."""

    status = 403
    type = "invalid_request_error"


class NotFound(LlmaticError):
    """No such path or object."""

    status = 404
    type = "invalid_request_error"


class ModelNotFound(NotFound):
    """No model or alias of that name."""

    code = "model_not_found"


class MethodNotAllowed(LlmaticError):
    """The path exists, the method does not."""

    status = 405
    type = "invalid_request_error"


class Conflict(LlmaticError):
    """The object is not in a state in which this can be done to it."""

    status = 409
    type = "invalid_request_error"


class PayloadTooLarge(LlmaticError):
    """The body is larger than the configured cap."""

    status = 413
    type = "invalid_request_error"


class InsufficientStorage(LlmaticError):
    """There is no room on the disk; nothing of what was to be stored is there."""

    status = 507


class RateLimited(LlmaticError):
    """Too much at once; `retry_after_s` says when to come back."""

    status = 429
    type = "requests"
    code = "rate_limit_exceeded"


class QueueFull(RateLimited):
    """The model's waiting queue is full."""


class TokensLimited(RateLimited):
    """Too many tokens in a stretch of time; without `retry_after_s` waiting does not help."""

    type = "tokens"


class QuotaExceeded(RateLimited):
    """What the caller may use in a longer time is used up."""

    type = "insufficient_quota"
    code = "insufficient_quota"


class Unavailable(LlmaticError):
    """Not now: draining, overloaded, or the model could not be loaded."""

    status = 503


class EngineFailed(Unavailable):
    """The worker process died, hung or reported an internal fault during the request."""


class ConfigError(LlmaticError):
    """A configuration that cannot be used; the message names file, line and the nearest valid key."""


def cannot_write(model_id: str) -> Forbidden:
    """OpenAI's words for text wanted of a model that writes none."""
    return Forbidden(f"You are not allowed to sample from this model: '{model_id}' writes no text.")


def cannot_encode(model_id: str, task: EncodeTask) -> Forbidden:
    """OpenAI's words for vectors wanted of a model that makes none, and ours for scores and classes."""
    wanted = {"embed": "generate embeddings from", "rank": "rank with", "classify": "classify with"}[task]
    made = {"embed": "makes no embeddings", "rank": "ranks nothing", "classify": "knows no classes"}[task]
    return Forbidden(f"You are not allowed to {wanted} this model: '{model_id}' {made}.")


def _tree(root: type[LlmaticError]) -> dict[str, type[LlmaticError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


def from_wire(wire: dict[str, Any]) -> LlmaticError:
    """The error that `to_wire` described; an unknown kind becomes `EngineFailed`."""
    kind = _tree(LlmaticError).get(str(wire.get("kind")), EngineFailed)
    return kind(
        str(wire.get("message", "")),
        param=wire.get("param"),
        code=wire.get("code"),
        retry_after_s=wire.get("retry_after_s"),
    )
