from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from llmatic.core.errors import ContextLengthExceeded, InvalidRequest
from llmatic.core.types import Adapter, ChatPrompt, GenerationRequest, Prompt, SamplingParams, TextPrompt
from llmatic.engines.llama.forms import FREE
from llmatic.engines.llama.intake import Intake, Prepared

TEXT = TextPrompt("x")
CHAT = ChatPrompt(({"role": "user", "content": "x"},))


def prepare(n_prompt: int = 3, prompt: Prompt = TEXT, **fields: Any) -> Prepared:
    reading = SimpleNamespace(ids=tuple(range(n_prompt)), rendered="", prefill="", segments=())
    reader = cast(Any, SimpleNamespace(read=lambda *_: reading, echo=lambda *_: "x"))
    forms = cast(Any, SimpleNamespace(read=lambda *_, **__: FREE))
    request = GenerationRequest(id="r", prompt=prompt, **fields)
    adapters = cast(Any, SimpleNamespace(pin=lambda given: given, identity=lambda given: b"x" * len(given)))
    return Intake(reader, forms, adapters, n_context=100, n_vocab=50).prepare(request, datetime.now(UTC))


def test_no_limit_means_to_the_end_of_the_context() -> None:
    assert prepare(30).max_tokens == 70


@pytest.mark.parametrize(("n_prompt", "max_tokens"), [(30, 70), (100, 0), (1, 0)])
def test_what_just_fits(n_prompt: int, max_tokens: int) -> None:
    assert prepare(n_prompt, max_tokens=max_tokens).max_tokens == max_tokens


@pytest.mark.parametrize(
    ("n_prompt", "max_tokens", "expected"), [(30, 500, 70), (99, 2, 1), (30, 5, 5), (100, 0, 0)]
)
def test_what_does_not_fit_is_shortened_if_asked_for(n_prompt: int, max_tokens: int, expected: int) -> None:
    assert prepare(n_prompt, max_tokens=max_tokens, shortens=True).max_tokens == expected


def test_nothing_is_left_to_shorten_to() -> None:
    with pytest.raises(ContextLengthExceeded, match="your messages resulted in 100 tokens"):
        prepare(100, CHAT, max_tokens=5, shortens=True)


@pytest.mark.parametrize(
    ("n_prompt", "prompt", "max_tokens", "message", "param"),
    [
        (
            90, TextPrompt("x"), 16,
            "This model's maximum context length is 100 tokens, however you requested 106 tokens (90 in your "
            "prompt; 16 for the completion). Please reduce your prompt; or completion length.", None,
        ),
        (
            120, CHAT, None,
            "This model's maximum context length is 100 tokens. However, your messages resulted in 120 tokens. "
            "Please reduce the length of the messages.", "messages",
        ),
        (
            90, CHAT, 20,
            "This model's maximum context length is 100 tokens. However, you requested 110 tokens (90 in the "
            "messages, 20 in the completion). Please reduce the length of the messages or completion.", "messages",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit(
    n_prompt: int, prompt: Prompt, max_tokens: int | None, message: str, param: str | None
) -> None:
    with pytest.raises(ContextLengthExceeded) as caught:
        prepare(n_prompt, prompt, max_tokens=max_tokens)
    assert caught.value.message == message
    assert caught.value.param == param
    assert caught.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    ("sampling", "param"),
    [
        ({"logit_bias": ((50, 1.0),)}, "logit_bias"),
        ({"logit_bias": ((-1, 1.0),)}, "logit_bias"),
        ({"logit_bias": ((2**70, 1.0),)}, "logit_bias"),
        ({"logit_bias": ((1, float("nan")),)}, "logit_bias"),
        ({"logit_bias": ((1, 1e300),)}, "logit_bias"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"min_p": float("nan")}, "min_p"),
        ({"top_k": -1}, "top_k"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"presence_penalty": float("nan")}, "presence_penalty"),
        ({"n_logprobs": 101}, "logprobs"),
    ],
    ids=str,
)
def test_parameters_that_would_do_harm(sampling: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        prepare(sampling=SamplingParams(**sampling))
    assert caught.value.param == param


@pytest.mark.parametrize("fields", [{"n_choices": 0}, {"n_choices": 129}, {"max_tokens": -1}], ids=str)
def test_counts_out_of_range(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        prepare(**fields)


def test_echo_is_made_only_when_asked_for() -> None:
    assert prepare().echo == ""
    assert prepare(echo=True).echo == "x"


def test_modules_below_the_backend_do_not_import_llama_cpp() -> None:
    """The pure modules stay pure."""
    import llmatic.engines.llama as package

    assert package.__file__
    folder = Path(package.__file__).parent
    users = {p.name for p in folder.glob("*.py") if "import llama_cpp" in p.read_text(encoding="utf-8")}
    wrappers = {"adapters.py", "backend.py", "encoder_context.py", "interruption.py", "llama_batch.py"}
    assert users == {*wrappers, "log.py", "model.py", "vocabulary.py"}


def test_the_namespace_is_of_adapters_and_salt() -> None:
    adapter = Adapter("a.gguf")
    found = [
        prepare(adapters=adapters, cache_salt=salt).namespace
        for adapters in ((), (adapter,))
        for salt in ("", "a", "b")
    ]
    assert len(set(found)) == 6
