from typing import Any

import pytest

from llmatic.services.estimates import TOKENS_PER_MEDIUM, estimate

TALK = [{"role": "user", "content": "x" * 38}]  # and two words of four characters: role's and type's
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10_000}}


@pytest.mark.parametrize(
    ("body", "n_tokens"),
    [
        ({"model": "m" * 100, "input": "x" * 9, "user": "u" * 100}, 3),
        ({"input": ["x" * 8, "x" * 9]}, 5),
        ({"input": [1, 2, 3]}, 3),
        ({"input": [[1, 2, 3], [4]]}, 4),
        ({"input": []}, 1),
        ({"messages": TALK}, 11),
        ({"messages": TALK, "max_tokens": 100}, 111),
        ({"messages": TALK, "max_completion_tokens": 100, "max_tokens": 5, "n": 3}, 311),
        ({"prompt": "x" * 4}, 17),
        ({"prompt": ["x" * 4, "y" * 4], "max_tokens": 10, "n": 2, "best_of": 3}, 62),
        ({"prompt": [1, 2, 3], "max_tokens": 10}, 13),
        ({"messages": [{"content": [PICTURE]}]}, TOKENS_PER_MEDIUM + 3),
        ({"input": {"a": None, "b": 1.5, "c": True}}, 1),
    ],
)
def test_estimates(body: dict[str, Any], n_tokens: int) -> None:
    assert estimate(body) == n_tokens
