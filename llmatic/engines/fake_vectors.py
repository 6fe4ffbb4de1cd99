"""What the fake engine makes of texts. Words are tokens; texts that share words are alike.

Owns the rows of one request as a pure function of it: any thread, no clock, no state.
"""

import zlib
from collections.abc import Iterator, Sequence
from math import sqrt
from struct import pack

from llmatic.core.encoding import Encoded, EncodeEvent, EncodeRequest
from llmatic.core.errors import ContextLengthExceeded, InvalidRequest
from llmatic.core.types import EncoderInfo, Finished, Started, Usage

ROWS_PER_EVENT = 64


def script(request: EncodeRequest, n_context: int, info: EncoderInfo) -> Iterator[EncodeEvent]:
    """Every event of the request, in order; raises InvalidRequest on the first step."""
    if (request.dimensions or 0) > info.n_columns:
        raise InvalidRequest(
            f"Invalid value for 'dimensions' = {request.dimensions}. "
            f"Must be less than or equal to {info.n_columns}.",
            param="dimensions",
        )
    inputs: Sequence[Sequence[object]] = request.token_ids or [text.split() for text in request.texts]
    query = (request.query or "").split()
    counts = [len(words) + len(query) for words in inputs]
    if request.too_long == "truncate":
        counts = [min(count, n_context) for count in counts]
    if max(counts) > n_context:
        raise ContextLengthExceeded(
            f"This model's maximum context length is {n_context} tokens, however you requested "
            f"{max(counts)} tokens ({max(counts)} in your prompt; 0 for the completion). "
            "Please reduce your prompt; or completion length.",
            param=request.param,
        )
    yield Started(sum(counts))
    n_columns = request.dimensions or info.n_columns
    for first in range(0, len(inputs), ROWS_PER_EVENT):
        rows = tuple(range(first, min(len(inputs), first + ROWS_PER_EVENT)))
        made = [_row(inputs[row], query, info, n_columns) for row in rows]
        yield Encoded(rows, pack(f"<{len(rows) * n_columns}f", *(value for row in made for value in row)))
    yield Finished(Usage(sum(counts), 0))


def _row(words: Sequence[object], query: list[str], info: EncoderInfo, n_columns: int) -> list[float]:
    if info.task == "rank":
        return [len(set(words) & set(query)) / max(1, len(set(query)))]
    if info.task == "classify":
        return [0.9 if label in words else 0.1 for label in info.labels]
    counts = [1.0 if column == 0 else 0.0 for column in range(n_columns)]
    for word in words:
        counts[zlib.crc32(str(word).encode()) % n_columns] += 1.0
    length = sqrt(sum(count * count for count in counts))
    return [count / length for count in counts]
