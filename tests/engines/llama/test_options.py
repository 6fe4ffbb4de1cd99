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
        {"kv_unified": "sometimes"},
        {"gap_target": "soon"},
        {"gap_target": 0},
        {"cache_kept": 1.5},
        {"cache_ram": -1},
        {"cache_ram": "much"},
        {"cache_disk": "1 parsec"},
        {"cache_dir": ""},
        {"speculation": "wild"},
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


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"cache_ram": "2GiB"}, "cache_ram_bytes", 2 << 30),
        ({"cache_ram": "500KB"}, "cache_ram_bytes", 500_000),
        ({"cache_ram": 0}, "cache_ram_bytes", 0),
        ({"cache_disk": "1.5kiB"}, "cache_disk_bytes", 1536),
        ({"gap_target": "80ms"}, "gap_target_s", 0.08),
        ({"gap_target": 0.2}, "gap_target_s", 0.2),
        ({"speculation": False}, "speculation", "off"),
    ],
    ids=str,
)
def test_units_are_read(given: dict[str, object], field: str, value: object) -> None:
    assert getattr(read_options(spec(**given)), field) == value


def test_deterministic_pieces_of_prompts_need_a_batch_for_them() -> None:
    with pytest.raises(ConfigError, match="at least 32"):
        read_options(ModelSpec(id="m", source="x", parallel=4, deterministic=True, options={"batch": 16}))
