"""What llama.cpp would abort on is refused before it gets there; memory for long texts comes and goes."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from llmatic.engines.llama.encoder_context import EncoderContext, EncoderContexts, Shape
from llmatic.engines.llama.model import Model
from llmatic.engines.llama.options import Options
from tests.engines.llama.small_model import write_model

SHAPE = Shape(n_tokens=64, n_call=32, n_sequences=4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    model = Model(write_model(tmp_path_factory.mktemp("m") / "m.gguf", n_context=4096), Options())
    yield model
    model.close()


@pytest.fixture
def context(model: Model) -> Iterator[EncoderContext]:
    context = EncoderContext(model, Options(), SHAPE, pooling="last", n_columns=32, n_threads=1)
    yield context
    context.close()
    context.close()


def open_contexts(model: Model, **changes: Any) -> EncoderContexts:
    values: dict[str, Any] = {"n_context": 4096, "n_rows": 64, "pooling": "last", "is_causal": True}
    return EncoderContexts(model, Options(), n_columns=32, n_threads=1, **values | changes)


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [[1], []],
        [[1]] * 5,
        [[1] * 65],
        [[1] * 20, [1] * 13],
        [[-1]],
        [[1], [268]],
    ],
)
def test_what_llama_would_not_survive(context: EncoderContext, texts: Sequence[Sequence[int]]) -> None:
    with pytest.raises(ValueError, match=r"texts|tokens|token"):
        context.compute(texts)
    assert np.isfinite(context.compute([[1, 2], [3]])).all()


def test_a_text_in_several_calls_is_the_text_in_one(model: Model, context: EncoderContext) -> None:
    text = [7 * n % 256 for n in range(64)]
    whole = EncoderContext(model, Options(), Shape(64, 64, 1), pooling="last", n_columns=32, n_threads=1)
    try:
        assert np.allclose(context.compute([text]), whole.compute([text]), atol=0.05)
    finally:
        whole.close()
    assert np.abs(context.compute([text]) - context.compute([text[:-1]])).max() > 0.2


def test_the_room_for_long_texts_is_given_back(model: Model) -> None:
    contexts = open_contexts(model)
    long = [n % 256 for n in range(600)]
    try:
        first = contexts.compute([[1, 2], long, [3]])
        assert contexts.n_long == 1024
        assert np.allclose(contexts.compute([long])[0], first[1], atol=0.05)
        again = contexts.compute([[1, 2], [3]])
        assert contexts.n_long == 0
        assert np.allclose(again, first[[0, 2]], atol=0.05)
        with pytest.raises(ValueError, match="longer than the context"):
            contexts.compute([[1] * 4097])
    finally:
        contexts.close()


def test_a_text_longer_than_the_context_that_would_fit_a_call(model: Model) -> None:
    contexts = open_contexts(model, n_context=20)
    try:
        assert np.isfinite(contexts.compute([[1] * 20])).all()
        with pytest.raises(ValueError, match="longer than the context of 20"):
            contexts.compute([[1], [1] * 21])
    finally:
        contexts.close()


def test_a_longer_text_than_the_rows_of_a_call(model: Model) -> None:
    contexts = open_contexts(model, n_context=600, is_causal=False, pooling="mean")
    try:
        texts = [[n % 256 for n in range(length)] for length in (600, 70, 1, 64, 65, 512)]
        rows = contexts.compute(texts)
        alone = np.concatenate([contexts.compute([text]) for text in texts])
        assert contexts.n_long == 0
    finally:
        contexts.close()
    assert np.allclose(rows, alone, atol=0.05)
