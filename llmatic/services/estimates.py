"""How many tokens a request will take, before anybody has counted them.

A guess from the characters of its texts and what it asks for at most, as OpenAI's limits make one; the truth
is settled when the request has ended. Takes bodies that the contract has checked. Pure; any thread.
"""

from collections.abc import Mapping
from typing import Any, Final

CHARACTERS_PER_TOKEN: Final = 4
TOKENS_PER_MEDIUM: Final = 85  # OpenAI's for a picture in low detail

_COMPLETION_DEFAULT: Final = 16
_LIMITS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_MEDIA: Final = frozenset({"image_url", "input_audio", "input_image", "image", "file_data", "source"})
# Fields that are not read by any model.
_SILENT: Final = frozenset(
    {"model", "user", "metadata", "stop", "logit_bias", "encoding_format", "prompt_cache_key"}
)


def estimate(body: Mapping[str, Any]) -> int:
    """Tokens of the prompt and the longest completion together, at least 1."""
    n_prompt = 0
    for name, value in body.items():
        if name not in _SILENT:
            n_prompt += _n_tokens(value)
    return max(1, n_prompt + _n_completion(body))


def _n_tokens(value: Any) -> int:
    """Of a value that may hold texts, or lists of token ids."""
    if isinstance(value, str):
        return -(-len(value) // CHARACTERS_PER_TOKEN)
    if isinstance(value, list):
        if value and isinstance(value[0], int):
            return len(value)
        return sum(map(_n_tokens, value))
    if isinstance(value, dict):
        n_tokens = 0
        for name, item in value.items():
            n_tokens += TOKENS_PER_MEDIUM if name in _MEDIA else _n_tokens(item)
        return n_tokens
    return 0


def _n_completion(body: Mapping[str, Any]) -> int:
    """What is asked for at most; where nothing is said, nothing that would be known."""
    limits = [body[name] for name in _LIMITS if isinstance(body.get(name), int)]
    prompt = body.get("prompt")
    is_several = isinstance(prompt, list) and bool(prompt) and not isinstance(prompt[0], int)
    n_prompts = len(prompt) if is_several and prompt is not None else 1
    if not limits and prompt is None:
        return 0
    n_choices = max(_count(body.get("n")), _count(body.get("best_of")))
    return (limits[0] if limits else _COMPLETION_DEFAULT) * n_choices * n_prompts


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 1
