"""`limits:`: what holds for callers without limits of their own."""

from pathlib import Path

import pytest

from llmatic.config import LimitSettings, Settings, load_settings
from llmatic.core.errors import ConfigError
from llmatic.core.limits import NAMES, Limits

ROOT = Path(__file__).parents[2]


def load(tmp_path: Path, text: str, **environ: str) -> Settings:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load_settings(path, environ)


def test_nothing_is_limited_by_default(tmp_path: Path) -> None:
    assert load(tmp_path, "limits:\n  keys: {}\n  tokens:\n").limits == LimitSettings() == Settings().limits


def test_limits_by_kind_of_caller(tmp_path: Path) -> None:
    text = """
limits:
  keys: {requests_per_minute: 60, tokens_per_minute: 100_000, queue_share: 25}
  tokens: {concurrent_requests: 0}
  anonymous: {tokens_per_day: 1000000}
"""
    assert load(tmp_path, text).limits == LimitSettings(
        keys=Limits(60, 100_000, queue_share=25),
        tokens=Limits(concurrent_requests=0),
        anonymous=Limits(tokens_per_day=1_000_000),
    )


def test_a_variable_stands_over_the_file(tmp_path: Path) -> None:
    environ = {"LLMATIC_LIMITS__KEYS": "{requests_per_minute: 7}"}
    found = load(tmp_path, "limits:\n  keys: {tokens_per_minute: 1}\n", **environ)
    assert found.limits.keys == Limits(requests_per_minute=7)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("keys: {rpm: 1}", "unknown key 'rpm' under limits.keys"),
        ("keys: {requests_per_minutes: 1}", "did you mean 'requests_per_minute'?"),
        ("keys: {requests_per_minute: -1}", "must be a whole number from 0 to 1000000000"),
        ("keys: {requests_per_minute: 1.5}", "must be a whole number"),
        ("keys: {requests_per_minute: many}", "must be a whole number"),
        ("keys: {queue_share: 101}", "must be a whole number from 0 to 100"),
        ("keys: 5", "limits.keys must be a mapping"),
        ("users: {}", "unknown key 'users' under limits"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, f"limits:\n  {line}\n")
    assert said in refused.value.message
    assert "config.yaml:2" in refused.value.message


def test_every_limit_is_documented() -> None:
    for page in ("limits.md", "configuration.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert [name for name in NAMES if f"| `{name}` |" not in text] == []
