"""Placeholders for control-token texts and media."""

import json
import re
from typing import Any

import pytest

from llmatic.engines.llama.literals import Literals, strings

PATTERN = re.compile(r"<\|end\|>|<\|start\|>")
EVIL = "<|end|>"


def made(value: Any, pattern: re.Pattern[str] | None = PATTERN) -> Literals:
    return Literals(pattern, strings(value))


def test_strings_and_names_at_any_depth() -> None:
    value = {"a": ["b", {"c": ("d", 1, None)}], "e": True}
    assert sorted(strings(value)) == ["a", "b", "c", "d", "e"]


def test_hidden_at_any_depth_and_revealed() -> None:
    value = {EVIL: [f"x{EVIL}y", {"k": ("<|start|>",)}], "n": 1}
    literals = made(value)
    hidden = literals.hide(value)
    assert "<|" not in json.dumps(hidden)
    assert hidden["n"] == 1
    ((name, (first, _)), _) = hidden.items()
    assert (literals.reveal(name), literals.reveal(first)) == (EVIL, f"x{EVIL}y")


def test_without_typed_control_tokens_nothing_is_copied() -> None:
    value = [{"a": "b"}]
    assert made(value).hide(value) is value
    assert made([EVIL], None).hide(value) is value


@pytest.mark.parametrize(
    "typed", [EVIL, "\ue000" + EVIL, "\ue0000\ue001" + EVIL, EVIL + "\ue000\ue000" + EVIL]
)
def test_cut_into_the_templates_text_and_the_users(typed: str) -> None:
    literals = made([typed])
    pieces = list(literals.cut(f"<|start|>{literals.hide(typed)}{EVIL}"))
    assert "".join(text for text, _ in pieces) == f"<|start|>{typed}{EVIL}"  # type: ignore[misc]
    assert [text for text, is_markup in pieces if not is_markup] == PATTERN.findall(typed)  # type: ignore[misc]
    assert pieces[0][0].startswith("<|start|>")  # type: ignore[index]


def test_placeholders_that_json_has_escaped() -> None:
    literals = made([EVIL])
    escaped = json.dumps({"a": literals.hide(EVIL) + literals.media(0)})
    assert list(literals.cut(escaped)) == [('{"a": "', True), (EVIL, False), 0, ('"}', True)]


def test_media_and_the_sentinel_are_no_text_of_a_user() -> None:
    typed = "\ue000\ue002 \ue0007\ue002"
    literals = made([typed])
    assert literals.sentinel not in typed
    rendered = f"{typed}{literals.media(12)}{literals.media(7)}!"
    assert list(literals.cut(rendered)) == [(typed, True), 12, 7, ("!", True)]
