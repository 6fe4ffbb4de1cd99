"""A model that writes anything its grammar allows: what it writes is calls, whole and right, in every family."""

import json
import random
from collections.abc import Iterator
from typing import Any, Literal

import jsonschema_rs
import numpy as np
import pytest

from llmatic.core.types import ChatPrompt, ToolUse
from llmatic.engines.chat.answer import AnswerPlan, plan_answer
from llmatic.engines.chat.detection import family_named
from llmatic.engines.chat.families import FAMILIES, Family
from tests.engines.chat.held import Grammars, grammars
from tests.engines.chat.reading import read

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "maxLength": 8},
        "kind": {"type": "string", "enum": ["a b", 'c"d', "<e>"]},
        "n": {"type": "integer", "minimum": -20, "maximum": 120},
        "flags": {"type": "array", "items": {"type": ["boolean", "null"]}, "maxItems": 3},
        "inner": {
            "type": "object",
            "properties": {"s": {"type": "string", "maxLength": 5}, "x": {"type": "integer"}},
            "required": ["s"],
            "additionalProperties": False,
        },
    },
    "required": ["text", "inner"],
    "additionalProperties": False,
}
EMPTY: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
FUNCTIONS = {"pick-one": SCHEMA, "now": EMPTY}
TOOLS = tuple(
    {"type": "function", "function": {"name": name, "description": "", "parameters": schema}}
    for name, schema in FUNCTIONS.items()
)
VALID = {name: jsonschema_rs.validator_for(schema) for name, schema in FUNCTIONS.items()}
MOST_TOKENS = 700


@pytest.fixture(scope="module")
def tiny() -> Iterator[Grammars]:
    yield from grammars()


def written(tiny: Grammars, lark: str, chance: random.Random, begun: str = "") -> str | None:
    """An answer that the grammar allows, drawn blindly behind `begun`; None: it did not come to an end."""
    matcher = tiny.compiler.compile(lark, param="tools").start()
    ids = tiny.vocabulary.tokenize(begun, parse_special=True)
    for token in ids:
        assert matcher.accepts(token), begun
    while len(ids) < MOST_TOKENS:
        if matcher.is_over or (matcher.is_complete and chance.random() < 0.7):
            return tiny.vocabulary.spell(ids).decode()
        bits = np.unpackbits(matcher.mask(), bitorder="little")[: tiny.vocabulary.n_tokens]
        allowed = [token for token in np.flatnonzero(bits).tolist() if token not in tiny.vocabulary.eog]
        if not allowed:
            return tiny.vocabulary.spell(ids).decode()
        token = chance.choice(allowed)
        assert matcher.accepts(token)
        ids.append(token)
    return None


def plan_of(tiny: Grammars, family: Family, mode: Literal["auto", "required"]) -> AnswerPlan:
    """How answers to a question with tools go, where thinking is over."""
    prompt = ChatPrompt(({"role": "user", "content": "Q"},), tools=ToolUse(TOOLS, mode))
    rendered = family.lead_in or (f"{family.thinking.open}{family.thinking.close}" if family.thinking else "")
    return plan_answer(family, prompt, None, rendered, tiny.mark)


def check(tiny: Grammars, plan: AnswerPlan, content: str, begun: str = "") -> None:
    """Whatever is written behind `begun` is `content` and calls."""
    assert plan.grammar is not None
    assert plan.make_parser is not None
    n_read = 0
    for seed in range(20):
        raw = written(tiny, plan.grammar, random.Random(seed), begun)
        if raw is None:
            continue
        answer = read(plan.make_parser(), [raw])
        assert read(plan.make_parser(), list(raw)) == answer, raw
        assert answer.calls, raw
        assert answer.content.strip() == content, raw
        for call in answer.calls:
            assert call.is_whole, raw
            VALID[call.name].validate(json.loads(call.arguments))
        n_read += 1
    assert n_read >= 3


@pytest.mark.parametrize("name", [family.name for family in FAMILIES])
def test_whatever_must_be_calls_is_calls(tiny: Grammars, name: str) -> None:
    check(tiny, plan_of(tiny, family_named(name), "required"), "")


@pytest.mark.parametrize("name", [family.name for family in FAMILIES])
def test_calls_follow_where_thinking_is_ended(tiny: Grammars, name: str) -> None:
    """The text that ends thinking when its budget is spent leads to the calls."""
    family = family_named(name, "<think>")
    prompt = ChatPrompt(({"role": "user", "content": "Q"},), tools=ToolUse(TOOLS, "required"))
    if family.thinking is None:
        plan = plan_answer(family, prompt, None, "<|start|>assistant", tiny.mark)
        begun = "<|channel|>analysis<|message|>"
    else:
        plan = plan_answer(family, prompt, None, family.thinking.open, tiny.mark)
        assert plan.is_thinking_open
        begun = ""
    check(tiny, plan, "", f"{begun}so\nit {plan.close_thinking}")


@pytest.mark.parametrize("name", [family.name for family in FAMILIES if not family.is_harmony])
def test_whatever_a_model_opens_is_calls(tiny: Grammars, name: str) -> None:
    family = family_named(name)
    assert family.calls is not None
    for opener in family.calls.opens:
        text = "" if family.counts_at_beginning(opener) else "Hi"
        check(
            tiny, plan_of(tiny, family, "auto"), text, f"{family.content_lead if text else ''}{text}{opener}"
        )
