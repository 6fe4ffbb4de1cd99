"""How a model whose template has no place for tools is told of them, and of what happened."""

from typing import Any

import pytest

from llmatic.core.types import ChatPrompt, ToolUse
from llmatic.engines.chat.conversation import arrange
from llmatic.engines.chat.traits import Traits
from llmatic.engines.chat.written import EXAMPLE, write_out
from tests.engines.chat.test_conversation import USER, call, calling, result

SYSTEM = {"role": "system", "content": "Be brief."}
PARTS = [{"type": "text", "text": "Look:"}, {"type": "media", "index": 0}]
TOOLS = ToolUse(({"type": "function", "function": {"name": "weather", "description": "«Weather»"}},))
LISTED = '{"name": "weather", "description": "«Weather»", "parameters": {"type": "object", "properties": {}}}'
GENERIC = Traits()
BLOCK = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris", "days": 3}}\n</tool_call>'
RESPONSE = '<tool_response>\n{"name": "weather", "content": "sunny"}\n</tool_response>'


def written(*messages: Any, traits: Traits = GENERIC, tools: ToolUse | None = None) -> list[Any]:
    conversation = write_out(arrange(ChatPrompt(messages, tools=tools), traits), traits)
    assert not conversation.tools or traits.presents_tools
    return [(message["role"], message["content"]) for message in conversation.messages]


def test_the_system_message_lists_the_tools_and_shows_a_call() -> None:
    (role, text), asked = written(SYSTEM, USER, tools=TOOLS)
    assert (role, asked) == ("system", ("user", "Hello"))
    assert text.startswith("Be brief.\n\n# Tools\n")
    assert LISTED in text
    assert text.endswith(EXAMPLE)


def test_a_system_message_is_made_if_there_is_none() -> None:
    assert [role for role, _ in written(USER, tools=TOOLS)] == ["system", "user"]


def test_the_first_question_tells_of_tools_where_there_is_no_system_message() -> None:
    ((role, text),) = written(USER, traits=Traits(system=False), tools=TOOLS)
    assert role == "user"
    assert text.startswith("# Tools")
    assert text.endswith(f"{EXAMPLE}\n\nHello")


def test_the_templates_own_way_of_calling_is_shown() -> None:
    traits = Traits(calls="template", results=True, call_example="[CALL]function_name{…}")
    (_, text), _ = written(USER, traits=traits, tools=TOOLS)
    assert text.endswith("[CALL]function_name{…}")


def test_tools_that_the_template_lists_are_left_to_it() -> None:
    traits = Traits(presents_tools=True, calls="template", results=True)
    assert written(USER, traits=traits, tools=TOOLS) == [("user", "Hello")]


def test_calls_are_text_of_the_message_and_results_the_users() -> None:
    assert written(USER, calling(), result(), {"role": "assistant", "content": "Fine."}) == [
        ("user", "Hello"),
        ("assistant", BLOCK),
        ("user", RESPONSE),
        ("assistant", "Fine."),
    ]


def test_several_results_and_the_next_question_are_one_message() -> None:
    two = calling(call("a"), call("b", "time", {}), content="I look.")
    assert written(two, result("a"), result("b", [{"type": "text", "text": "noon"}]), USER) == [
        (
            "assistant",
            f'I look.\n{BLOCK}\n<tool_call>\n{{"name": "time", "arguments": {{}}}}\n</tool_call>',
        ),
        (
            "user",
            f'{RESPONSE}\n<tool_response>\n{{"name": "time", "content": "noon"}}\n</tool_response>\n\nHello',
        ),
    ]


def test_parts_stay_parts() -> None:
    ((_, content),) = written({**USER, "content": PARTS}, traits=Traits(system=False), tools=TOOLS)
    assert content[1:] == PARTS
    assert content[0]["text"].startswith("# Tools")


@pytest.mark.parametrize(
    ("way", "arguments", "text"),
    [
        ("granite", '{"a":1}', '<|tool_call|>[{"name": "weather", "arguments": {"a":1}}]'),
        (
            "python",
            '{"s": "é\\"", "n": 1.5, "t": true, "z": null, "l": [false, {"k": []}]}',
            '<|tool_call_start|>[weather(s="é\\"", n=1.5, t=True, z=None, l=[False, {"k": []}])]<|tool_call_end|>',
        ),
    ],
)
def test_calls_in_the_way_of_a_model(way: Any, arguments: str, text: str) -> None:
    kind: Any = "objects" if way == "python" else "text"
    traits = Traits(presents_tools=True, calls=way, results=True, arguments=kind)
    assert written(calling(call(arguments=arguments)), result(), traits=traits) == [
        ("assistant", text),
        ("tool", "sunny"),
    ]
