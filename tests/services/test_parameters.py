"""Defaults and limits of request fields."""

from typing import Any

import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.core.types import SamplingParams
from llmatic.services.parameters import (
    chat_limit,
    completion_limit,
    min_tokens,
    reasoning_budget,
    sampling_params,
    stop_texts,
)


def test_defaults_are_openais() -> None:
    assert sampling_params({}, {}, n_logprobs=None) == SamplingParams()


def test_model_defaults_fill_what_is_absent() -> None:
    defaults = {"temperature": 0.2, "top_k": 20, "repeat_penalty": 1.3, "seed": 5}
    sampling = sampling_params({"temperature": 0.9}, defaults, n_logprobs=3)
    assert (sampling.temperature, sampling.top_k) == (0.9, 20)
    assert (sampling.repetition_penalty, sampling.seed, sampling.n_logprobs) == (1.3, 5, 3)


def test_top_k_below_zero_is_off() -> None:
    assert sampling_params({"top_k": -1}, {}, n_logprobs=None).top_k == 0


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"repetition_penalty": 1.1, "repeat_penalty": 1.2}, 1.1),
        ({"repeat_penalty": 1.2}, 1.2),
        ({}, 1.0),
    ],
)
def test_names_of_the_repetition_penalty(body: dict[str, Any], expected: float) -> None:
    assert sampling_params(body, {}, n_logprobs=None).repetition_penalty == expected


@pytest.mark.parametrize("key", ["AI", "-1", "1.5", "", "99999999999", "²", "2147483648"])
def test_logit_bias_keys_are_token_ids(key: str) -> None:
    with pytest.raises(InvalidRequest, match="You should only be submitting non-negative integers"):
        sampling_params({"logit_bias": {key: 1}}, {}, n_logprobs=None)


@pytest.mark.parametrize(
    ("body", "expected"), [({}, ("d",)), ({"stop": "x"}, ("x",)), ({"stop": ["x", "y"]}, ("x", "y"))]
)
def test_stop_texts(body: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert stop_texts(body, {"stop": "d"}) == expected


def test_limits() -> None:
    assert completion_limit({}, {}) == 16
    assert completion_limit({}, {"max_tokens": 50}) == 50
    assert completion_limit({"max_tokens": 0}, {"max_tokens": 50}) == 0
    assert chat_limit({}, {}) is None
    assert chat_limit({"max_tokens": 3}, {}) == 3
    assert chat_limit({"max_completion_tokens": 4}, {"max_tokens": 50}) == 4
    with pytest.raises(InvalidRequest):
        chat_limit({"max_tokens": 3, "max_completion_tokens": 3}, {})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, None),
        ({"thinking_budget_tokens": -1}, None),
        ({"thinking_budget_tokens": 0}, 0),
        ({"thinking_token_budget": 7}, 7),
        ({"thinking_budget_tokens": -1, "thinking_token_budget": 7}, None),
    ],
)
def test_reasoning_budget(body: dict[str, Any], expected: int | None) -> None:
    assert reasoning_budget(body) == expected


def test_min_tokens_of_the_request_come_before_those_of_the_model() -> None:
    assert min_tokens({}, {}) == 0
    assert min_tokens({}, {"min_tokens": 2}) == 2
    assert min_tokens({"min_tokens": 0}, {"min_tokens": 2}) == 0
