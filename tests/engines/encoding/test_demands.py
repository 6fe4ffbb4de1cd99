"""What an encoder is asked for beside rows, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from llmatic.core.types import EncoderInfo
from llmatic.engines.encoding.demands import cut, misfit
from tests.engines.encoding.fake_backend import ask

PLAIN = EncoderInfo("embed", 384)
NESTED = replace(PLAIN, has_dimensions=True)
PROMPTED = replace(PLAIN, prompts={"query": "query: ", "document": ""})


@pytest.mark.parametrize(
    ("encoder", "dimensions", "words"),
    [
        (PLAIN, None, None),
        (PLAIN, 384, None),
        (PLAIN, 383, "does not support specifying dimensions"),
        (PLAIN, 385, "less than or equal to 384"),
        (NESTED, 1, None),
        (NESTED, 385, "less than or equal to 384"),
    ],
)
def test_dimensions(encoder: EncoderInfo, dimensions: int | None, words: str | None) -> None:
    refusal = misfit(ask("a", "x", dimensions=dimensions), encoder)
    if words is None:
        assert refusal is None
    else:
        assert refusal is not None
        assert words in refusal.message
        assert refusal.param == "dimensions"


@pytest.mark.parametrize("input_type", ["query", "document"])
def test_input_types(input_type: str) -> None:
    assert misfit(ask("a", "x", input_type=input_type), PROMPTED) is None
    refusal = misfit(ask("a", "x", input_type=input_type), PLAIN)
    assert refusal is not None
    assert "'prompts'" in refusal.message
    assert refusal.param == "input_type"


def test_cutting_makes_unit_vectors() -> None:
    block = np.array([[3, 4, 12], [0, 0, 5]], dtype=np.float32)
    assert cut(block, 2).tolist() == [[np.float32(0.6), np.float32(0.8)], [0.0, 0.0]]
    assert cut(block, 2).dtype == np.float32


@pytest.mark.parametrize("n_columns", [None, 3])
def test_whole_rows_stay_as_they_are(n_columns: int | None) -> None:
    block = np.array([[3, 4, 12]], dtype=np.float32)
    assert cut(block, n_columns).tolist() == [[3, 4, 12]]
