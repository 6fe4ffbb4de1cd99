"""What the configuration may say of GGUF encoders, and how it goes with the file's header."""

from typing import Any

import pytest

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError
from llmatic.engines.llama.encoder_options import pooling_of, read_options, task_of
from llmatic.gguf_header import GgufHeader


def spec_of(options: dict[str, Any] | None = None, **keys: Any) -> ModelSpec:
    return ModelSpec(id="m", engine="llama", source="m.gguf", options=options or {}, **keys)


def header_of(architecture: str = "bert", **facts: Any) -> GgufHeader:
    return GgufHeader(3, 1000, architecture, "", "F16", 10, 512, 100, None, **facts)


def test_defaults() -> None:
    options = read_options(spec_of())
    assert (options.pooling, options.normalize, options.n_rows) == (None, True, 256)
    assert options.encoder.too_long == "refuse"


def test_everything_at_once() -> None:
    options = read_options(
        spec_of(
            {"pooling": "cls", "normalize": False, "ubatch": 512, "mmap": False, "too_long": "truncate"},
            context=300,
            gpu_layers=2,
            parallel=100,
        )
    )
    assert (options.pooling, options.normalize, options.n_rows) == ("cls", False, 512)
    assert options.loading.mmap is False
    assert (options.encoder.too_long, options.encoder.max_length) == ("truncate", 300)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pooling": "none"}, "'pooling' must be one of mean, cls, last, rank, not 'none'"),
        ({"normalize": "yes"}, "'normalize' must be true or false"),
        ({"ubatch": 0}, "'ubatch' must be a number of tokens"),
        ({"poolin": "mean"}, "did you mean 'pooling'"),
        ({"backend": "torch"}, "no option 'backend'"),
        ({"task": "write"}, "'task' must be one of embed, rank, classify"),
        ({"type_k": "q8_0"}, "no option 'type_k'"),
    ],
)
def test_wrong_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_options(spec_of(options))


def test_keys_of_models_that_write() -> None:
    with pytest.raises(ConfigError, match="chat_template"):
        read_options(spec_of(chat_template="{{ x }}"))


def test_the_option_wins_over_the_file() -> None:
    assert task_of(spec_of(), header_of("llama")) is None
    assert task_of(spec_of({"task": "embed"}), header_of("llama")) == "embed"
    assert task_of(spec_of(), header_of()) == "embed"
    assert task_of(spec_of({"task": "rank"}), header_of()) == "rank"


@pytest.mark.parametrize(
    ("option", "facts", "task", "pooling"),
    [
        (None, {"pooling": "mean"}, "embed", "mean"),
        ("cls", {"pooling": "mean"}, "embed", "cls"),
        ("last", {"pooling": "none"}, "embed", "last"),
        ("mean", {"pooling": "rank", "has_classifier": True}, "embed", "mean"),
        (None, {"has_classifier": True}, "rank", "rank"),
        ("rank", {"has_classifier": True, "labels": ("yes", "no")}, "rank", "rank"),
        (None, {"has_classifier": True, "labels": ("a", "b")}, "classify", "rank"),
    ],
)
def test_pooling(option: str | None, facts: dict[str, Any], task: Any, pooling: str) -> None:
    spec = spec_of({"pooling": option} if option else {})
    assert pooling_of(spec, read_options(spec), header_of(**facts), task) == pooling


@pytest.mark.parametrize(
    ("option", "facts", "task", "words"),
    [
        (None, {}, "embed", "set the option 'pooling'"),
        (None, {"pooling": "rank"}, "embed", "set the option 'pooling'"),
        ("rank", {"pooling": "mean"}, "embed", "set the option 'pooling'"),
        (None, {"pooling": "mean"}, "rank", "holds no classifier, so it cannot rank"),
        ("mean", {"has_classifier": True}, "rank", "'pooling' must be rank"),
        (None, {"has_classifier": True, "labels": ("a", "b")}, "rank", "gives the 2 classes a, b"),
        (None, {"has_classifier": True}, "classify", "gives one score"),
    ],
)
def test_what_the_file_cannot_do(option: str | None, facts: dict[str, Any], task: Any, words: str) -> None:
    spec = spec_of({"pooling": option} if option else {})
    with pytest.raises(ConfigError, match=words):
        pooling_of(spec, read_options(spec), header_of(**facts), task)
