from typing import Any

import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.engines.chat import ChatTemplate
from llmatic.engines.chat.plain_tools import plain_tools
from tests.engines.chat.test_template import HELLO, NOW

NEEDS_DESCRIPTIONS = (
    "{% for t in tools or [] %}{% for name, p in t.function.parameters.properties | items %}"
    "{{ name + ':' + p.type + ':' + p.description }} {% endfor %}{% endfor %}{{ messages[0].content }}"
)


def tool(**properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": None, "$defs": {}}
    return {"type": "function", "function": {"name": "f", "description": "F", "parameters": parameters}}


@pytest.mark.parametrize(
    ("schema", "plain"),
    [
        ({}, {"type": "string", "description": ""}),
        (True, {"type": "string", "description": ""}),
        ({"type": ["null", "integer"], "description": "n"}, {"type": "integer", "description": "n"}),
        (
            {"anyOf": [{"type": "null"}, {"type": "number", "description": "inner"}], "description": "n"},
            {"type": "number", "description": "n"},
        ),
        ({"$ref": "#/$defs/x"}, {"type": "string", "description": ""}),
        ({"type": "string", "enum": ["a"]}, {"type": "string", "description": "", "enum": ["a"]}),
        (
            {"type": "array", "items": {"type": "integer"}},
            {"type": "array", "description": "", "items": {"type": "integer", "description": ""}},
        ),
        (
            {"type": "object", "properties": {"b": {}}, "required": ["b"], "additionalProperties": False},
            {
                "type": "object",
                "description": "",
                "properties": {"b": {"type": "string", "description": ""}},
                "required": ["b"],
            },
        ),
    ],
)
def test_each_parameter_has_one_type_and_a_description(schema: Any, plain: dict[str, Any]) -> None:
    (made,) = plain_tools([tool(a=schema)])
    assert made["function"] == {
        "name": "f",
        "description": "F",
        "parameters": {"type": "object", "properties": {"a": plain}, "required": []},
    }


def test_deep_schemas_end() -> None:
    schema: dict[str, Any] = {}
    for _ in range(50):
        schema = {"type": "object", "properties": {"x": {"type": "array", "items": schema}}}
    assert str(plain_tools([tool(a=schema)])).count("'x'") < 10


def test_a_template_that_breaks_down_on_a_schema_gets_a_plain_one() -> None:
    template = ChatTemplate(NEEDS_DESCRIPTIONS, bos="", eos="")
    text = template.render([HELLO], tools=[tool(a={"type": ["null", "integer"]})], now=NOW)
    assert text == "a:integer: Hello"


def test_a_template_that_breaks_down_anyway_tells_its_first_failure() -> None:
    source = (
        "{% if tools %}{{ tools[0].function.parameters['$defs'].x.y }}{% endif %}{{ messages[0].content }}"
    )
    with pytest.raises(InvalidRequest, match="'dict object' has no attribute 'x'"):
        ChatTemplate(source, bos="", eos="").render([HELLO], tools=[tool()], now=NOW)


def test_what_the_template_refuses_stays_refused() -> None:
    source = "{% if tools %}{{ raise_exception('no tools') }}{% endif %}{{ messages[0].content }}"
    with pytest.raises(InvalidRequest, match=r"^no tools$"):
        ChatTemplate(source, bos="", eos="").render([HELLO], tools=[tool()], now=NOW)
