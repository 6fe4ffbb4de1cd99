"""The lines of a batch's input: read a slice at a time, and checked before the first of them is answered.

Owns what a line must be and the words for one that is not. Pure; any thread.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Final

import orjson

from llmatic.core.errors import InvalidRequest, LlmaticError, ModelNotFound

MAX_ERRORS: Final = 100
SLICE_LINES: Final = 64
SLICE_BYTES: Final = 1024 * 1024
ID_DIGEST_BYTES: Final = 16

NumberedLine = tuple[int, bytes]
FindModel = Callable[[dict[str, Any]], str]


@dataclass(frozen=True, slots=True)
class BatchError:
    """What is wrong with a batch as a whole, or with one line of it."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


def written_errors(errors: list[BatchError]) -> str:
    """As JSON."""
    return orjson.dumps([asdict(error) for error in errors]).decode()


def slices(lines: Iterator[NumberedLine]) -> Iterator[list[NumberedLine]]:
    """The lines in lists of some dozens, or fewer if they are long. Raises what `lines` raises."""
    while True:
        found: list[NumberedLine] = []
        size = 0
        for item in islice(lines, SLICE_LINES):
            found.append(item)
            size += len(item[1])
            if size >= SLICE_BYTES:
                break
        if not found:
            return
        yield found


class LineCheck:
    """Looks at every line of an input in turn; `errors` holds what was found, the first ones of many.

    `find_model`: the id of the model that a body would be answered by; raises LlmaticError. Of custom ids
    only digests are kept, so that 50,000 long ones take a megabyte.
    """

    def __init__(self, endpoint: str, find_model: FindModel, *, max_lines: int) -> None:
        self._endpoint = endpoint
        self._find_model = find_model
        self._max_lines = max_lines
        self._ids: set[bytes] = set()
        self._model_name: str | None = None
        self.model_id: str | None = None
        self.n_lines = 0
        self.errors: list[BatchError] = []

    @property
    def is_hopeless(self) -> bool:
        """Whether looking at further lines changes nothing."""
        return len(self.errors) >= MAX_ERRORS or self.n_lines > self._max_lines

    def add(self, lines: list[NumberedLine]) -> None:
        """Check some lines."""
        for number, line in lines:
            self.n_lines += 1
            if self.n_lines > self._max_lines:
                self.errors = [too_many(self._max_lines)]
            if self.is_hopeless:
                return
            fault = self._fault(line)
            if fault is not None:
                self.errors.append(BatchError(*fault, line=number))

    def end(self) -> None:
        """There are no further lines."""
        if not self.n_lines:
            self.errors.append(EMPTY)

    def _fault(self, line: bytes) -> tuple[str, str, str | None] | None:
        """Code, message and param of what is wrong."""
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            return "invalid_json_line", "This line is not parseable as valid JSON.", None
        if not isinstance(found, dict):
            return "invalid_json_line", "This line is not a JSON object.", None
        fault = _field_fault(found)
        if fault is not None:
            return fault
        if found["method"] != "POST":
            shown = found["method"][:40]
            return "invalid_value", f"Invalid value: '{shown}'. Supported values are: 'POST'.", "method"
        if found["url"] != self._endpoint:
            return (
                "invalid_url",
                "The URL provided for this request does not match the batch endpoint.",
                "url",
            )
        digest = hashlib.blake2b(found["custom_id"].encode(), digest_size=ID_DIGEST_BYTES).digest()
        if digest in self._ids:
            return "duplicate_custom_id", DUPLICATE, "custom_id"
        self._ids.add(digest)
        return self._model_fault(found["body"])

    def _model_fault(self, body: dict[str, Any]) -> tuple[str, str, str | None] | None:
        name = str(body.get("model"))
        try:
            model_id = self._find_model(body)
        except ModelNotFound:
            return (
                "model_not_found",
                f"The provided model '{name}' is not supported by the Batch API.",
                "body.model",
            )
        except LlmaticError as error:
            return error.code or "invalid_request", error.message, f"body.{error.param or 'model'}"
        if self.model_id is None:
            self.model_id, self._model_name = model_id, name
        elif model_id != self.model_id:
            return (
                "mismatched_model",
                f"The provided model '{name}' does not match the first model '{self._model_name}' found in "
                "this batch. Each batch must contain requests for a single model.",
                "body.model",
            )
        return None


def too_long(error: InvalidRequest) -> BatchError:
    """A line that is longer than any may be."""
    return BatchError("line_too_long", error.message)


def too_many(max_lines: int) -> BatchError:
    """More lines than a batch may have."""
    return BatchError(
        "too_many_tasks",
        f"The number of requests in the input file exceeds the maximum allowed value of {max_lines}.",
    )


def too_large(max_bytes: int) -> BatchError:
    """A file larger than a batch's may be."""
    return BatchError(
        "file_too_large", f"The input file exceeds the maximum allowed size of {max_bytes} bytes."
    )


DUPLICATE: Final = (
    "The custom_id for this request is a duplicate of another request. "
    "The custom_id parameter must be unique for each request in a batch."
)
EMPTY: Final = BatchError(
    "empty_file", "The input file is empty. Please ensure that the batch contains at least one request."
)
GONE: Final = BatchError(
    "input_file_deleted",
    "The input file was deleted before all of its requests were answered.",
    "input_file_id",
)

_KINDS: Final = (("custom_id", str), ("method", str), ("url", str), ("body", dict))
_NOUNS: Final = {str: "a string", dict: "an object"}


def _field_fault(found: dict[str, Any]) -> tuple[str, str, str | None] | None:
    for name, kind in _KINDS:
        value = found.get(name)
        if value is None or value == "":
            return "missing_required_parameter", f"Missing required parameter: '{name}'.", name
        if not isinstance(value, kind):
            return "invalid_type", f"Invalid type for '{name}': expected {_NOUNS[kind]}.", name
    return None
