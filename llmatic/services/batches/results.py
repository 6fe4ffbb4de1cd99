"""What became of a line, and the line of a file that tells of it.

Owns the form of output and error files. Pure but for the random ids; any thread.
"""

import os
from dataclasses import dataclass
from typing import Any, Final

import orjson

from llmatic.services.batches.ports import Body

EXPIRED: Final = ("batch_expired", "This request could not be executed before the completion window expired.")
CANCELLED: Final = ("batch_cancelled", "The batch was cancelled before this request was executed.")


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a line has used."""

    n_input: int = 0
    n_cached: int = 0
    n_output: int = 0
    n_reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """An answered line: its number in the input, and the whole line for the output or the error file."""

    number: int
    is_completed: bool
    text: bytes
    tokens: Tokens = Tokens()


def completed(number: int, custom_id: str, request_id: str, body: bytes) -> Result:
    """A line that was answered with 200. `body`: JSON without line breaks."""
    return Result(number, True, _answered(custom_id, 200, request_id, body), tokens_of(body))


def failed(number: int, custom_id: str, request_id: str, status: int, body: bytes) -> Result:
    """A line that was refused or went wrong."""
    return Result(number, False, _answered(custom_id, status, request_id, body))


def unexecuted(custom_id: str, reason: tuple[str, str]) -> bytes:
    """The line for the error file that tells why there was no answer."""
    code, message = reason
    return b'{"id":%b,"custom_id":%b,"response":null,"error":%b}\n' % (
        _new_id(),
        orjson.dumps(custom_id),
        orjson.dumps({"code": code, "message": message}),
    )


def tokens_of(body: bytes) -> Tokens:
    """What a reply says of its usage, by whichever names."""
    usage: Any = orjson.loads(body).get("usage")
    if not isinstance(usage, dict):
        return Tokens()
    read = _details(usage, "prompt_tokens_details", "input_tokens_details")
    made = _details(usage, "completion_tokens_details", "output_tokens_details")
    return Tokens(
        n_input=_count(usage, "prompt_tokens", "input_tokens"),
        n_cached=_count(read, "cached_tokens"),
        n_output=_count(usage, "completion_tokens", "output_tokens"),
        n_reasoning=_count(made, "reasoning_tokens"),
    )


def _count(usage: Body, *names: str) -> int:
    return next((int(usage[name]) for name in names if usage.get(name) is not None), 0)


def _details(usage: Body, *names: str) -> Body:
    return next((usage[name] for name in names if isinstance(usage.get(name), dict)), {})


def _answered(custom_id: str, status: int, request_id: str, body: bytes) -> bytes:
    assert b"\n" not in body, "replies are rendered on one line"
    return (
        b'{"id":%b,"custom_id":%b,"response":{"status_code":%d,"request_id":"%b","body":%b},"error":null}\n'
        % (_new_id(), orjson.dumps(custom_id), status, request_id.encode("ascii"), body)
    )


def _new_id() -> bytes:
    return b'"batch_req_%b"' % os.urandom(16).hex().encode("ascii")
