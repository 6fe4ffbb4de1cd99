from typing import Any

import pytest

from llmatic.config.keys import RECORDING
from llmatic.config.tree import At, Table, parse
from llmatic.core.errors import ConfigError
from llmatic.services.redaction import Redaction

EMAIL = r"[\w.]+@[\w.]+"


def test_texts_are_redacted_wherever_they_are_and_ids_are_not() -> None:
    redaction = Redaction((EMAIL, r"(?i)secret\s*=\s*\S+"), r"[\1x]")
    value: dict[str, Any] = {
        "id": "run@run.x",
        "messages": [
            {"role": "user", "content": "Їжак: a.b@c.de, SECRET = 7"},
            {"content": [{"text": "x@y.z"}]},
        ],
        "metadata": {"k@k.k": [1, 2.5, None, True, "m@m.m"], "id": "ann@x.y"},
    }
    assert redaction.json(value) == {
        "id": "run@run.x",
        "messages": [{"role": "user", "content": r"Їжак: [\1x], [\1x]"}, {"content": [{"text": r"[\1x]"}]}],
        "metadata": {r"[\1x]": [1, 2.5, None, True, r"[\1x]"], "id": r"[\1x]"},
    }
    assert value["messages"][1] == {"content": [{"text": "x@y.z"}]}


def test_a_pattern_that_matches_everything_leaves_the_form() -> None:
    value = {
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Гей\n\0"}, "finish_reason": "stop"}
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"city": "Paris"}}],
    }
    assert Redaction(("(?s).+",), "#").json(value) == {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "#"}, "finish_reason": "stop"}],
        "tools": [{"type": "function", "function": {"name": "#", "parameters": {"#": "#"}}}],
        "content": [{"type": "tool_use", "id": "toolu_1", "name": "#", "input": {"#": "#"}}],
    }


def test_without_patterns_nothing_is_copied() -> None:
    value = {"a": ["b@c.d"]}
    assert Redaction().json(value) is value


def test_a_pattern_that_would_hang_others_takes_its_time_only_once() -> None:
    text = "x" * 200_000
    assert Redaction(("(x+x+)+y",)).text(text) == text


@pytest.mark.parametrize("pattern", ["(", "(?=a)", r"(a)\1", "a*", ""])
def test_what_is_no_pattern_stops_the_start(pattern: str) -> None:
    node = parse(f"redact: ['{pattern}']", At("x.yaml"))
    assert isinstance(node, Table)
    with pytest.raises(ConfigError, match="redact"):
        RECORDING["redact"].read(node.values["redact"], "recording.redact")
