import re

import pytest

from llmatic.services.limit_words import duration, headers

_FORM = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.0001, "1ms"),
        (0.12, "120ms"),
        (0.9991, "1s"),
        (1.0, "1s"),
        (8.64, "8.64s"),
        (59.9999, "1m0s"),
        (90.0, "1m30s"),
        (360.0, "6m0s"),
        (172.8, "2m52.8s"),
        (3600.0, "1h0m0s"),
        (86399.5, "23h59m59.5s"),
        (-1.0, "0s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
    parts = _FORM.fullmatch(text)
    assert parts is not None
    hours, minutes, rest, ms = (float(part or 0) for part in parts.groups())
    assert 0 <= hours * 3600 + minutes * 60 + rest + ms / 1000 - max(0.0, seconds) < 0.00101


def test_headers() -> None:
    assert headers(None, None) == []
    assert dict(headers((60, 1.0, 1.0), (1000, 1500.2, 90.0))) == {
        b"x-ratelimit-limit-requests": b"60",
        b"x-ratelimit-remaining-requests": b"59",
        b"x-ratelimit-reset-requests": b"1s",
        b"x-ratelimit-limit-tokens": b"1000",
        b"x-ratelimit-remaining-tokens": b"0",
        b"x-ratelimit-reset-tokens": b"1m30s",
    }
