from typing import Any

import pytest

from llmatic.config import ModelSpec
from llmatic.config.settings import AdapterSpec
from llmatic.core.errors import ConfigError
from llmatic.engines.encoding.options import EncoderOptions, read_encoder_options

SUM = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def read(keys: dict[str, Any] | None = None, **options: Any) -> EncoderOptions:
    spec = ModelSpec(id="m", source="x", engine="sentence", options=options, **(keys or {}))
    return read_encoder_options(spec, engine="sentence")


def test_defaults() -> None:
    assert read() == EncoderOptions()


def test_every_option_is_taken() -> None:
    given = read(
        task="rank",
        backend="openvino",
        precision="bf16",
        device="cpu",
        too_long="truncate",
        token_vocabulary="own",
        prompts={"query": "q: "},
        matryoshka=True,
        sha256={"model.safetensors": SUM.upper()},
        batch_tokens=300,
        max_length=128,
    )
    assert given == EncoderOptions(
        "rank", "openvino", "bf16", "cpu", "truncate", "own", {"query": "q: "}, True,
        {"model.safetensors": SUM}, 300, 128,
    )  # fmt: skip


def test_context_is_the_longest_input() -> None:
    assert read({"context": 64}).max_length == 64
    assert read({"context": 64}, max_length=64).max_length == 64
    with pytest.raises(ConfigError, match="differ"):
        read({"context": 64}, max_length=128)


@pytest.mark.parametrize(
    "wrong",
    [
        {"task": "sing"},
        {"backend": "onnx"},
        {"precision": "f64"},
        {"precision": 8},
        {"device": "cuda:1"},
        {"too_long": "split"},
        {"too_long": None},
        {"token_vocabulary": ""},
        {"token_vocabulary": 7},
        {"prompts": {"passage": "p"}},
        {"prompts": ["query"]},
        {"prompts": {"query": 1}},
        {"matryoshka": 1},
        {"sha256": {"a": "12"}},
        {"sha256": SUM},
        {"batch_tokens": 0},
        {"max_length": True},
    ],
)
def test_wrong_values_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"model 'm': option '{next(iter(wrong))}' must be "):
        read(**wrong)


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no option 'to_long'; did you mean 'too_long'"):
        read(to_long="truncate")
    with pytest.raises(ConfigError, match="no option 'trust_remote_code'; known options: backend, "):
        read(trust_remote_code=True)


@pytest.mark.parametrize(
    "foreign",
    [
        {"gpu_layers": 0},
        {"chat_template": "x"},
        {"chat_format": "llama-3"},
        {"draft": "d"},
        {"projector": "p.gguf"},
        {"adapters": (AdapterSpec("a"),)},
        {"sampling": {"temperature": 0}},
        {"deterministic": True},
    ],
)
def test_keys_for_models_that_write_are_refused_by_name(foreign: dict[str, Any]) -> None:
    name = next(iter(foreign))
    with pytest.raises(ConfigError, match=f"'{name}' means nothing"):
        read(foreign)


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"context": 0}])
def test_numbers_must_be_positive(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must be positive"):
        read(wrong)


def test_an_engine_may_have_fewer_and_further_options_and_keys() -> None:
    spec = ModelSpec(id="m", source="x", gpu_layers=9, options={"mmap": True, "too_long": "truncate"})
    given = read_encoder_options(
        spec, engine="llama", lacks=("backend",), others=("mmap",), keys=("gpu_layers",)
    )
    assert given == EncoderOptions(too_long="truncate")
    spec = ModelSpec(id="m", source="x", options={"backend": "torch", "mmap": True})
    with pytest.raises(ConfigError, match="the llama encoder has no option 'backend'"):
        read_encoder_options(spec, engine="llama", lacks=("backend",), others=("mmap",))
