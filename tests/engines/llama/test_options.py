import pytest

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError
from llmatic.engines.llama.options import Options, read_options
from llmatic.engines.llama.threads import default_threads


def spec(**options: object) -> ModelSpec:
    return ModelSpec(id="m", source="x", options=options)


def test_defaults() -> None:
    assert read_options(spec()) == Options()


def test_options_are_taken() -> None:
    given = read_options(spec(type_k="q8_0", mmap=False, tensor_split=[1, 2.5], split_mode="row", batch=64))
    assert given == Options(type_k="q8_0", mmap=False, tensor_split=(1, 2.5), split_mode="row", batch=64)


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no option 'mlok'; did you mean 'mlock'"):
        read_options(spec(mlok=True))


@pytest.mark.parametrize(
    "wrong",
    [
        {"type_k": "q9"},
        {"batch": 0},
        {"batch": True},
        {"batch": 10**9},
        {"mmap": 1},
        {"main_gpu": -1},
        {"tensor_split": [-1]},
        {"tensor_split": "1,2"},
        {"split_mode": "both"},
        {"threads_batch": 0},
    ],
    ids=str,
)
def test_wrong_values_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"option '{next(iter(wrong))}' must be"):
        read_options(spec(**wrong))


@pytest.mark.parametrize(
    "fields", [{"parallel": 0}, {"parallel": 257}, {"context": 0}, {"threads": 0}], ids=str
)
def test_wrong_sizes_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(fields))):
        read_options(ModelSpec(id="m", source="x", **fields))  # type: ignore[arg-type]


def test_a_batch_smaller_than_the_sequences_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least parallel"):
        read_options(ModelSpec(id="m", source="x", parallel=16, options={"batch": 8}))


def test_there_is_at_least_one_thread() -> None:
    assert default_threads() >= 1
