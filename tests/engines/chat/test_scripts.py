"""Answers as models of each family write them, in every cutting: calls, content and thoughts come out whole.

`scripts.json` has one answer for each family: what stands behind the end of a `prompt`; `calls` of two functions.
"""

import json
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from llmatic.core.types import ChatPrompt, ToolUse
from llmatic.engines.chat.answer import plan_answer
from llmatic.engines.chat.detection import family_named
from llmatic.engines.chat.events import AnswerParser
from llmatic.engines.chat.families import FAMILIES
from tests.engines.chat.reading import read, read_in_every_way
from tests.engines.chat.test_families_golden import ARGUMENTS, NAMES, TOOLS

SCRIPTS: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("scripts.json").read_text(encoding="utf-8")
)
LONGEST_MARKER = 32  # of which a beginning may be read as text where nothing follows
BY_FAMILY = {script["family"]: script for script in SCRIPTS}


def parsers_of(script: dict[str, Any], *, tools: bool = True) -> Callable[[], AnswerParser]:
    """What makes parsers for the script's answer."""
    mentioned = "[THINK]" if "[THINK]" in script["raw"] else "<think>"
    family = family_named(script["family"], mentioned if script["thinks"] else "")
    prompt = ChatPrompt(({"role": "user", "content": "Q"},), tools=ToolUse(TOOLS) if tools else None)
    make_parser = plan_answer(family, prompt, None, script["prompt"], json.dumps).make_parser
    assert make_parser is not None
    return make_parser


def test_every_family_has_a_script() -> None:
    assert {family.name for family in FAMILIES} - BY_FAMILY.keys() == {"function-gemma"}


@pytest.mark.parametrize("family", BY_FAMILY)
def test_whole_in_every_cutting(family: str) -> None:
    script = BY_FAMILY[family]
    answer = read_in_every_way(parsers_of(script), script["raw"])
    assert (answer.content.strip(), answer.thought) == (script["content"], script["thought"])
    calls = [(call.name, json.loads(call.arguments)) for call in answer.calls if call.is_whole]
    assert calls == list(zip(NAMES, ARGUMENTS, strict=True))[: script["calls"]]
    assert all(call.is_whole for call in answer.calls)


@pytest.mark.parametrize("family", BY_FAMILY)
def test_cut_off_anywhere_nothing_is_made_up(family: str) -> None:
    """The calls and the thought in the beginning of an answer are beginnings of those in the whole."""
    script = BY_FAMILY[family]
    make_parser = parsers_of(script)
    whole = read(make_parser(), [script["raw"]])
    for end in range(len(script["raw"])):
        begun = read(make_parser(), [script["raw"][:end]])
        assert begun.thought.startswith(whole.thought) or whole.thought.startswith(begun.thought)
        assert len(begun.calls) <= len(whole.calls)
        for call, full in zip(begun.calls, whole.calls, strict=False):
            assert (call.name, call.id) == (full.name, full.id)
            pairs = zip(call.arguments, full.arguments, strict=False)
            known = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            assert known >= len(call.arguments) - LONGEST_MARKER


def test_without_tools_calls_are_content() -> None:
    script = BY_FAMILY["hermes"]
    answer = read(parsers_of(script, tools=False)(), [script["raw"]])
    assert answer.calls == ()
    assert "<tool_call>" in answer.content
