"""Words of the embedded model's vocabulary."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import llama_cpp
import pytest

from scripts.bench.vocabulary import BIAS, N_FORCED, words_of

Tokenise = Callable[[str], list[int]]
MODEL = Path(__file__).parents[2] / "models" / "llmatic-tiny.gguf"


@pytest.fixture(scope="module")
def tokenise() -> Iterator[Tokenise]:
    model = llama_cpp.Llama(str(MODEL), vocab_only=True, verbose=False)
    yield lambda text: model.tokenize(text.encode(), add_bos=False)
    model.close()


def test_text_of_words_is_read_as_one_token_each(tokenise: Tokenise) -> None:
    words = words_of(MODEL)
    text = words.prose(random.Random(1), 50)
    id_of = dict(zip(words.texts, words.ids, strict=True))
    assert tokenise(text) == [id_of[f" {word}"] for word in text.split()]


def test_forced_words_are_some_of_them() -> None:
    words = words_of(MODEL)
    assert len(words.forced) == N_FORCED
    assert set(words.forced.values()) == {BIAS}
    assert {int(token) for token in words.forced} <= set(words.ids)
