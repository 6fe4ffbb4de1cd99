"""What a request's fields mean to the engine: defaults of the model, limits, stop texts, sampling.

Takes bodies that the contract has checked (types and ranges hold, nulls are gone), under OpenAI's names
and the documented extensions. Pure; any thread.
"""

from collections.abc import Mapping
from typing import Any

from llmatic.core.errors import InvalidRequest
from llmatic.core.types import SamplingParams

Body = Mapping[str, Any]

DEFAULT_COMPLETION_TOKENS = 16

MAX_TOKEN_ID = 2**31 - 1

_TEMPERATURE = 1.0
_TOP_P = 1.0


def sampling_params(body: Body, defaults: Body, *, n_logprobs: int | None) -> SamplingParams:
    """Sampling of a request; absent fields come from the model's `sampling:`, then from OpenAI's defaults.

    Raises InvalidRequest for a key of `logit_bias` that cannot be a token id.
    """

    def number(name: str, default: float) -> float:
        value = body.get(name)
        return float(defaults.get(name, default) if value is None else value)

    repetition = body.get("repetition_penalty", body.get("repeat_penalty"))
    if repetition is None:
        repetition = defaults.get("repetition_penalty", defaults.get("repeat_penalty", 1.0))
    seed = body.get("seed", defaults.get("seed"))
    bias = body.get("logit_bias")
    return SamplingParams(
        temperature=number("temperature", _TEMPERATURE),
        top_p=number("top_p", _TOP_P),
        top_k=max(0, int(number("top_k", 0))),
        min_p=number("min_p", 0.0),
        presence_penalty=number("presence_penalty", 0.0),
        frequency_penalty=number("frequency_penalty", 0.0),
        repetition_penalty=float(repetition),
        logit_bias=_logit_bias(bias) if bias else (),
        seed=None if seed is None else int(seed),
        n_logprobs=n_logprobs,
    )


def stop_texts(body: Body, defaults: Body) -> tuple[str, ...]:
    """The texts that end a choice; a single one may be given plain."""
    stop = body.get("stop")
    if stop is None:
        stop = defaults.get("stop", ())
    return (stop,) if isinstance(stop, str) else tuple(stop)


def min_tokens(body: Body, defaults: Body) -> int:
    """How many tokens a choice has before it may end."""
    value = body.get("min_tokens")
    return int(defaults.get("min_tokens", 0) if value is None else value)


def completion_limit(body: Body, defaults: Body) -> int:
    """`max_tokens` of /completions: 16 unless the request or the model says otherwise."""
    value = body.get("max_tokens")
    return int(defaults.get("max_tokens", DEFAULT_COMPLETION_TOKENS) if value is None else value)


def chat_limit(body: Body, defaults: Body) -> int | None:
    """`max_completion_tokens` or its old name; None is up to the end of the context.

    Raises InvalidRequest if both are given.
    """
    new, old = body.get("max_completion_tokens"), body.get("max_tokens")
    if new is not None and old is not None:
        raise InvalidRequest(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            code="invalid_parameter_combination",
        )
    value = new if new is not None else old
    if value is None:
        value = defaults.get("max_tokens", defaults.get("max_completion_tokens"))
    return None if value is None else int(value)


def reasoning_budget(body: Body) -> int | None:
    """How many tokens may be thought before the answer proper; None: no limit."""
    value = body.get("thinking_budget_tokens", body.get("thinking_token_budget", -1))
    return None if value < 0 else int(value)


def _logit_bias(bias: Mapping[str, Any]) -> tuple[tuple[int, float], ...]:
    pairs = []
    for key, value in bias.items():
        if not (key.isascii() and key.isdigit() and len(key) <= 10 and int(key) <= MAX_TOKEN_ID):
            raise InvalidRequest(
                f"Invalid key in 'logit_bias': {key}. You should only be submitting non-negative integers.",
                param="logit_bias",
            )
        pairs.append((int(key), float(value)))
    return tuple(pairs)
