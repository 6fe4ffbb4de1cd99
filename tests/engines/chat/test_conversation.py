"""What a client's messages become before a template sees them."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.core.types import ChatPrompt, ToolUse
from llmatic.engines.chat.conversation import arrange
from llmatic.engines.chat.traits import Traits

USER = {"role": "user", "content": "Hello"}
WEATHER = {"city": "Paris", "days": 3}
OBJECTS = Traits(calls="template", arguments="objects")


def call(id: str = "call_1", name: str = "weather", arguments: Any = WEATHER) -> dict[str, Any]:
    written = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": id, "type": "function", "function": {"name": name, "arguments": written}}


def calling(*calls: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls or [call()]), **more}


def result(id: str = "call_1", content: Any = "sunny") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


def arranged(*messages: Mapping[str, Any], traits: Traits = OBJECTS) -> list[dict[str, Any]]:
    return [dict(message) for message in arrange(ChatPrompt(messages), traits).messages]


def test_plain_messages_are_passed_as_they_are() -> None:
    prompt = ChatPrompt((USER, {"role": "assistant", "content": "Hi"}, USER))
    assert arrange(prompt, OBJECTS).messages is prompt.messages


def test_arguments_become_objects_and_results_get_names() -> None:
    _, asked, answer = arranged(USER, calling(), result())
    assert asked["tool_calls"][0]["function"] == {"name": "weather", "arguments": WEATHER}
    assert answer == {"role": "tool", "tool_call_id": "call_1", "content": "sunny", "name": "weather"}


@pytest.mark.parametrize(
    ("traits", "arguments", "expected"),
    [
        (OBJECTS, "", {}),
        (OBJECTS, " {} ", {}),
        (Traits(), "", "{}"),
        (Traits(), '{"a":1 }', '{"a":1 }'),
        (Traits(), "not JSON", "not JSON"),
    ],
)
def test_arguments(traits: Traits, arguments: str, expected: Any) -> None:
    (asked,) = arranged(calling(call(arguments=arguments)), traits=traits)
    assert asked["tool_calls"][0]["function"]["arguments"] == expected


@pytest.mark.parametrize("arguments", ["{", "[1]", '"text"', "[" * 100_000, "1" * 5000, "null null"])
def test_arguments_that_are_no_object(arguments: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        arranged(USER, calling(call(), call(arguments=arguments)))
    assert caught.value.param == "messages[1].tool_calls[1].function.arguments"


@pytest.mark.parametrize("broken", [{}, {"function": None}, {"function": {"arguments": "{}"}}, "call"])
def test_a_call_of_nothing(broken: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        arranged(calling(broken))
    assert caught.value.param == "messages[0].tool_calls[0].function"


@pytest.mark.parametrize(("traits", "content"), [(OBJECTS, ""), (Traits(null_content=True), None)])
@pytest.mark.parametrize("given", [{"content": None}, {"content": ""}, {"content": []}])
def test_content_of_a_message_that_only_calls(
    traits: Traits, content: str | None, given: dict[str, Any]
) -> None:
    (asked,) = arranged(calling(**given), traits=traits)
    assert asked["content"] == content


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"content": None}, ""),
        ({"content": None, "refusal": "No."}, "No."),
        ({"content": None, "tool_calls": []}, ""),
        ({"content": None, "tool_calls": None, "function_call": None}, ""),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, [{"type": "text", "text": "No."}]),
    ],
)
def test_messages_without_calls_have_content_and_no_empty_calls(
    message: dict[str, Any], content: Any
) -> None:
    assert arranged({"role": "assistant", **message}) == [{"role": "assistant", "content": content}]


def test_deprecated_functions_become_tools() -> None:
    asked, answer = arranged(
        {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}},
        {"role": "function", "name": "weather", "content": "sunny"},
    )
    (made,) = asked["tool_calls"]
    assert made == {
        "id": made["id"],
        "type": "function",
        "function": {"name": "weather", "arguments": {}},
    }
    assert "function_call" not in asked
    assert answer == {"role": "tool", "tool_call_id": made["id"], "name": "weather", "content": "sunny"}


def test_the_field_of_a_deprecated_call_is_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        arranged(
            {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{"}}
        )
    assert caught.value.param == "messages[0].function_call.arguments"


def test_short_ids_are_made_the_same_way_everywhere() -> None:
    traits = Traits(calls="template", ids="short")
    asked, first, second = arranged(
        calling(call("call_12345678901"), call("abcDEF123")),
        result("abcDEF123"),
        result("call_12345678901"),
        traits=traits,
    )
    ids = [made["id"] for made in asked["tool_calls"]]
    assert ids[1] == first["tool_call_id"] == "abcDEF123"
    assert ids[0] == second["tool_call_id"]
    assert len(ids[0]) == 9
    assert ids[0].isalnum()
    assert arranged(calling(call("call_12345678901")), traits=traits)[0]["tool_calls"][0]["id"] == ids[0]


def test_ids_by_position() -> None:
    asked, answer = arranged(
        calling(call("x"), call("y", "time")), result("y"), traits=Traits(calls="template", ids="position")
    )
    assert [made["id"] for made in asked["tool_calls"]] == ["functions.weather:0", "functions.time:1"]
    assert (answer["tool_call_id"], answer["name"]) == ("functions.time:1", "time")


def test_one_call_in_each_message_with_its_result() -> None:
    traits = Traits(calls="template", arguments="objects", one_call_each=True, reasoning="thinking")
    split = arranged(
        USER,
        calling(call("a"), call("b", "time"), content="I look.", reasoning_content="Hm."),
        result("b", "noon"),
        result("a"),
        result("c", "stray"),
        USER,
        traits=traits,
    )
    shapes = [
        (message["role"], [made["id"] for made in message.get("tool_calls", [])] or message["content"])
        for message in split
    ]
    assert shapes == [
        ("user", "Hello"),
        ("assistant", ["a"]),
        ("tool", "sunny"),
        ("assistant", ["b"]),
        ("tool", "noon"),
        ("tool", "stray"),
        ("user", "Hello"),
    ]
    assert [message.get("content") for message in split if "tool_calls" in message] == ["I look.", ""]
    assert [message.get("thinking") for message in split if "tool_calls" in message] == ["Hm.", None]


def test_words_get_a_message_of_their_own_where_calls_beside_them_are_lost() -> None:
    traits = Traits(calls="template", calls_alone=True, null_content=True)
    words, asked = arranged(calling(content="I look."), traits=traits)
    assert words == {"role": "assistant", "content": "I look."}
    assert (asked["content"], len(asked["tool_calls"])) == (None, 1)


@pytest.mark.parametrize("given", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("thinking", {"content": "Hi", "thinking": "Hm."}),
        ("reasoning_content", {"content": "Hi", "reasoning_content": "Hm."}),
        ("content", {"content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Hi"}]}),
        ("", {"content": "Hi"}),
    ],
)
def test_thoughts_stand_where_the_template_reads_them(
    given: str, wanted: str, expected: dict[str, Any]
) -> None:
    message = {"role": "assistant", "content": "Hi", given: "Hm."}
    assert arranged(message, traits=Traits(reasoning=wanted)) == [{"role": "assistant", **expected}]


def test_thoughts_and_words_together_where_beside_calls_only_one_of_them_may_stand() -> None:
    traits = Traits(calls="template", reasoning="thinking", reasoning_or_content=True)
    (asked,) = arranged(calling(content="I look.", reasoning="Hm."), traits=traits)
    assert (asked["thinking"], asked["content"]) == ("Hm.\n\nI look.", "")
    (said,) = arranged({"role": "assistant", "content": "Hi", "reasoning": "Hm."}, traits=traits)
    assert (said["thinking"], said["content"]) == ("Hm.", "Hi")


def test_tools_have_what_templates_look_for() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    use = ToolUse(
        (
            {"type": "function", "function": {"name": "a", "parameters": schema, "strict": True}},
            {"type": "function", "function": {"name": "b", "description": "B", "parameters": None}},
        )
    )
    tools = arrange(ChatPrompt((USER,), tools=use), OBJECTS).tools
    assert [tool["function"] for tool in tools] == [
        {"description": "", "name": "a", "parameters": schema},
        {"description": "B", "name": "b", "parameters": {"type": "object", "properties": {}}},
    ]


def test_a_message_with_calls_cannot_be_continued() -> None:
    with pytest.raises(InvalidRequest) as caught:
        arrange(ChatPrompt((USER, calling()), continues=True), OBJECTS)
    assert caught.value.param == "messages[1].tool_calls"


def test_messages_are_left_as_they_were() -> None:
    messages = (calling(reasoning="Hm."), result(content=[{"type": "text", "text": "sunny"}]))
    before = json.dumps(messages)
    arranged(*messages, traits=Traits(calls="template", arguments="objects", reasoning="thinking"))
    assert json.dumps(messages) == before
