"""What is found out about small templates, each made to show one trait."""

from typing import Any

import pytest

from llmatic.engines.chat import ChatTemplate, template_source
from llmatic.engines.chat.probing import find_traits
from llmatic.engines.chat.traits import Traits

TOOLS = "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}"
TALK = "{% for m in messages %}<{{ m.role }}>{{ m.content or '' }}%s{% endfor %}"
CALLS = "{% for c in m.tool_calls or [] %}%s{% endfor %}"
NAMED = "[CALL]{{ c.function.name }}"
AS_JSON = NAMED + "{{ c.function.arguments | tojson }}"
AS_TEXT = NAMED + "{{ '' + c.function.arguments }}"
AS_BOTH = (
    NAMED
    + "{% if c.function.arguments is string %}{{ c.function.arguments }}{% else %}"
    + "{{ c.function.arguments | tojson }}{% endif %}"
)


def traits(calls: str, *, tools: str = TOOLS, **_: Any) -> Traits:
    source = tools + TALK.replace("%s", CALLS.replace("%s", calls) if calls else "")
    return find_traits(ChatTemplate(source, bos="<s>", eos="</s>"))


@pytest.mark.parametrize(("calls", "arguments"), [(AS_JSON, "objects"), (AS_TEXT, "text"), (AS_BOTH, "text")])
def test_arguments_as_the_template_writes_them(calls: str, arguments: str) -> None:
    found = traits(calls)
    assert (found.presents_tools, found.calls, found.arguments) == (True, "template", arguments)
    assert not found.is_generic


def test_a_dict_written_as_python_does_is_no_call() -> None:
    assert traits(NAMED + "{{ c.function.arguments }}").arguments == "text"


@pytest.mark.parametrize("calls", ["", "[CALL]{{ c.function.name }}"])
def test_a_template_that_does_not_write_calls_gets_all_in_the_generic_way(calls: str) -> None:
    found = traits(calls)
    assert found.is_generic
    assert not found.presents_tools


def test_a_template_without_a_list_of_tools_shows_how_it_calls() -> None:
    found = traits(AS_JSON + "[END]", tools="")
    assert (found.presents_tools, found.is_generic) == (False, False)
    assert found.call_example == '[CALL]function_name{"parameter": "value"}[END]'


def test_chatml_knows_nothing_of_tools() -> None:
    found = find_traits(ChatTemplate(template_source("chatml"), bos="", eos=""))
    assert found == Traits()


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ("{% if c.id | length != 9 %}{{ raise_exception('9!') }}{% endif %}" + AS_JSON, "short"),
        ("functions.{{ c.function.name }}:{{ loop.index0 }}{{ c.function.arguments | tojson }}", "any"),
    ],
)
def test_ids(calls: str, expected: str) -> None:
    assert traits(calls).ids == expected


def test_ids_that_results_repeat() -> None:
    call = "functions.{{ c.function.name }}:{{ loop.index0 }}{{ c.function.arguments | tojson }}"
    assert traits(call + "{% endfor %}{{ m.tool_call_id }}{% for _ in [] %}").ids == "position"


@pytest.mark.parametrize(
    "first",
    [
        "{% if loop.length > 1 %}{{ raise_exception('one!') }}{% endif %}%s",
        "{% if loop.first %}%s{% endif %}",
    ],
)
def test_one_call_each(first: str) -> None:
    assert traits(first.replace("%s", AS_JSON)).one_call_each
    assert not traits(AS_JSON).one_call_each


def test_calls_that_words_displace() -> None:
    assert traits("{% if not m.content %}" + AS_JSON + "{% endif %}").calls_alone
    assert not traits(AS_JSON).calls_alone


@pytest.mark.parametrize(("said", "expected"), [("{{ m.content or '' }}", True), ("{{ m.content }}", False)])
def test_null_content(said: str, expected: bool) -> None:
    source = TOOLS + TALK.replace("{{ m.content or '' }}", said).replace("%s", CALLS.replace("%s", AS_JSON))
    assert find_traits(ChatTemplate(source, bos="", eos="")).null_content is expected


@pytest.mark.parametrize(
    ("thought", "expected"),
    [
        ("{{ m.reasoning_content }}", "reasoning_content"),
        ("{{ m.thinking }}", "thinking"),
        ("{% if m.tool_calls and thinking %}{{ m.reasoning }}{% endif %}", "reasoning"),
        ("{% if loop.last and m.role == 'assistant' %}{{ m.reasoning }}{% endif %}", "reasoning"),
        ("", ""),
    ],
)
def test_where_thoughts_are_read_from(thought: str, expected: str) -> None:
    source = TOOLS + TALK.replace("%s", thought + CALLS.replace("%s", AS_JSON))
    assert find_traits(ChatTemplate(source, bos="", eos="")).reasoning == expected


def test_thoughts_in_parts_of_content() -> None:
    source = (
        "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
        "{{ p.thinking if p.type == 'thinking' else p.text }}{% endfor %}{% endif %}{% endfor %}"
    )
    assert find_traits(ChatTemplate(source, bos="", eos="")).reasoning == "content"
    dumping = "{% for m in messages %}{{ m.content | tojson }}{% endfor %}"
    assert find_traits(ChatTemplate(dumping, bos="", eos="")).reasoning == ""


def test_no_place_for_a_system_message() -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + TALK.replace(
        "%s", ""
    )
    assert not find_traits(ChatTemplate(refusing, bos="", eos="")).system
