import struct
from collections.abc import AsyncGenerator

import pytest

from llmatic.core.encoding import Encoded, EncodeEvent, EncodeRequest
from llmatic.core.errors import EngineFailed
from llmatic.core.types import Finished, Started, Usage
from llmatic.services.encoding import encode_rows

pytestmark = pytest.mark.anyio

REQUEST = EncodeRequest("e", "embed", ("a", "b", "c"))


async def play(*events: EncodeEvent) -> AsyncGenerator[EncodeEvent, None]:
    for event in events:
        yield event


def part(*rows: int) -> Encoded:
    return Encoded(rows, b"".join(struct.pack("<2f", row, row + 0.5) for row in rows))


async def test_rows_come_in_any_order() -> None:
    events = (Started(9), part(2), part(1, 0), Finished(Usage(9, 0)))
    rows = await encode_rows(lambda _: play(*events), REQUEST)
    assert rows.values() == [[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]]
    assert rows.row(1) == struct.pack("<2f", 1.0, 1.5)
    assert (rows.n_rows, rows.n_columns, rows.n_prompt_tokens) == (3, 2, 9)


async def test_an_answer_that_lacks_rows_is_the_engines_failure() -> None:
    with pytest.raises(EngineFailed, match="without finishing"):
        await encode_rows(lambda _: play(Started(9), part(0, 1), Finished(Usage(9, 0))), REQUEST)


async def test_the_generator_is_closed_when_it_fails() -> None:
    closed = []

    async def failing() -> AsyncGenerator[EncodeEvent, None]:
        try:
            yield Started(1)
            raise EngineFailed("gone")
        finally:
            closed.append(True)

    with pytest.raises(EngineFailed, match="gone"):
        await encode_rows(lambda _: failing(), REQUEST)
    assert closed == [True]
