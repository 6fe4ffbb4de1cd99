"""Whatever a family's grammar of an answer allows, its parser reads calls from whose arguments fit."""

import json
import random
from typing import Literal

import pytest

from llmatic.core.types import ChatPrompt, ToolUse
from llmatic.engines.chat.answer import plan_answer
from llmatic.engines.chat.families import FAMILIES, Family
from tests.engines.chat.reading import read
from tests.engines.chat.syntax.test_walks import SCHEMAS, closers_of, function_of, schema_of
from tests.engines.chat.syntax.walking import Bytes, walk


@pytest.mark.parametrize("mode", ["auto", "required"])
@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_random_answers(family: Family, mode: Literal["auto", "required"]) -> None:
    vocabulary = Bytes()
    closers = [family.thinking.close] if family.thinking else ["<|end|>"]
    n_read = 0
    for n in range(len(SCHEMAS)):
        tool = {"type": "function", "function": {"name": f"f{n}", "parameters": schema_of(n)}}
        prompt = ChatPrompt(({"role": "user", "content": "Q"},), tools=ToolUse((tool,), mode))
        plan = plan_answer(family, prompt, None, "Q\nA:", vocabulary.mark)
        assert plan.grammar is not None
        assert plan.make_parser is not None
        some = closers + (
            closers_of(family.calls, n) + [*family.calls.opens] * 2 if family.calls else ['"', "}"]
        )
        text = walk(vocabulary, plan.grammar, random.Random(f"{family.name} {mode} {n}"), some)
        if text is None:
            continue
        answer = read(plan.make_parser(), [text])
        assert read(plan.make_parser(), list(text)) == answer
        assert answer.calls or mode == "auto", text
        for call in answer.calls:
            assert (call.name, call.is_whole) == (f"f{n}", True), text
            function_of(n)[1].validate(json.loads(call.arguments))
        n_read += 1
    assert n_read > len(SCHEMAS) // 2
