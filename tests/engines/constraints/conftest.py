"""The embedded model's vocabulary, read once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmatic.engines.llama.grammar_vocabulary import grammar_tokenizer
from llmatic.engines.llama.model import Model
from llmatic.engines.llama.options import Options
from tests.engines.constraints.walking import Walker

MODEL = Path(__file__).parents[3] / "models" / "llmatic-tiny.gguf"


@pytest.fixture(scope="session")
def walker() -> Iterator[Walker]:
    model = Model(MODEL, Options())
    yield Walker(model.vocabulary, grammar_tokenizer(model.vocabulary))
    model.close()
