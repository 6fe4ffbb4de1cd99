from pathlib import Path

import pytest

from llmatic.config import RecordingSettings, load_settings
from llmatic.core.errors import ConfigError


def load(tmp_path: Path, text: str, **environ: str) -> RecordingSettings:
    path = tmp_path / "config.yaml"
    path.write_text(f"models: {{}}\nrecording:\n{text}")
    return load_settings(path, environ).recording


def test_what_is_recorded(tmp_path: Path) -> None:
    text = "  enabled: true\n  owners: [a, key_b]\n  models: [m]\n  share: 0.5\n  redact: ['\\S+@\\S+']\n  retention: 7d\n"
    found = load(tmp_path, text)
    assert found == RecordingSettings(
        True, ("a", "key_b"), ("m",), 0.5, (r"\S+@\S+",), retention_s=7 * 86400.0
    )


def test_forever_and_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, "  retention: never\n").retention_s is None
    assert load(tmp_path, "  enabled:\n") == RecordingSettings()


@pytest.mark.parametrize(
    "line",
    [
        "retention: 0",
        "retention: soon",
        "share: 2",
        "redact: ['(']",
        "redact: x",
        "owner: [a]",
        "models: ['/']",
    ],
)
def test_mistakes_name_the_key(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match=line.split(":", maxsplit=1)[0]):
        load(tmp_path, f"  {line}\n")


def test_variables(tmp_path: Path) -> None:
    found = load(tmp_path, "  enabled: false\n", LLMATIC_RECORDING__ENABLED="true")
    assert found.enabled
