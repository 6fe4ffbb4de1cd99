"""What a chat template makes of messages: text written by hand, from each family's own documentation."""

from datetime import UTC, datetime
from typing import Any

import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.engines.chat import ChatTemplate, InvalidTemplate, template_source

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
SYSTEM = {"role": "system", "content": "Be brief."}
HELLO = {"role": "user", "content": "Hello"}
HI = {"role": "assistant", "content": "Hi!"}

LLAMA_3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' "
    "+ message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 "
    "== 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}"
    "{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + "
    "message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI_3 = (
    "{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}{{'<|system|>\n' + "
    "message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + "
    "'<|end|>\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
CHATML = template_source("chatml")


def render(source: str, *messages: dict[str, Any], bos: str = "<s>", eos: str = "</s>", **more: Any) -> str:
    return ChatTemplate(source, bos=bos, eos=eos).render(messages, now=NOW, **more)


@pytest.mark.parametrize(
    ("source", "messages", "expected"),
    [
        (
            CHATML,
            [SYSTEM, HELLO],
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            LLAMA_3,
            [SYSTEM, HELLO],
            "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (MISTRAL, [HELLO, HI, HELLO], "<s>[INST] Hello [/INST]Hi!</s>[INST] Hello [/INST]"),
        (
            GEMMA,
            [HELLO, HI, HELLO],
            "<s><start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model\nHi!<end_of_turn>\n"
            "<start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model\n",
        ),
        (PHI_3, [SYSTEM, HELLO], "<|system|>\nBe brief.<|end|>\n<|user|>\nHello<|end|>\n<|assistant|>\n"),
    ],
    ids=["chatml", "llama-3", "mistral", "gemma", "phi-3"],
)
def test_families(source: str, messages: list[dict[str, Any]], expected: str) -> None:
    assert render(source, *messages) == expected


def test_without_generation_prompt() -> None:
    assert render(PHI_3, HELLO, HI, add_generation_prompt=False).endswith("Hi!<|end|>\n</s>")


@pytest.mark.parametrize(
    ("source", "messages", "words"),
    [
        (GEMMA, [SYSTEM, HELLO], "System role not supported"),
        (MISTRAL, [HELLO, HELLO], "Conversation roles must alternate user/assistant/user/assistant/..."),
    ],
)
def test_refusal_in_the_templates_own_words(source: str, messages: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        render(source, *messages)
    assert (caught.value.message, caught.value.param) == (words, "messages")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "{{ messages[0].name.first }}",
            "that these messages do not have: 'dict object' has no attribute 'name'",
        ),
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ("{{ nothing.at_all }}", "'nothing' is undefined"),
        ("{{ messages.append(1) }}", "may not do"),
        ("{{ ''.__class__.__mro__ }}", "may not do"),
        ("{% include 'other' %}", "no loader"),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "recurses too deeply"),
    ],
)
def test_a_template_that_breaks_down_is_a_clear_refusal(source: str, words: str) -> None:
    with pytest.raises(
        InvalidRequest, match="The model's chat template cannot render these messages: "
    ) as caught:
        render(source, HELLO)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("ok\n{% if %}", "llama.jinja, line 2: Expected an expression, got 'end of statement block'"),
        ("{{ x | no_such_filter }}", "llama.jinja, line 1: No filter named 'no_such_filter'."),
        ("{% for x in y %}", "llama.jinja, line 1: Unexpected end of template."),
        ("{{" + "(" * 100_000, "llama.jinja"),
        ("x" * 1_000_001, "llama.jinja: longer than 1000000 characters"),
    ],
)
def test_a_template_that_does_not_compile(source: str, words: str) -> None:
    with pytest.raises(InvalidTemplate) as caught:
        ChatTemplate(source, bos="", eos="", name="llama.jinja")
    assert caught.value.message.startswith(words)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ strftime_now('%d %b %Y') }}", "20 Nov 2026"),
        ("{{ {'b': '<é>', 'a': [1]} | tojson }}", '{"b": "<é>", "a": [1]}'),
        ("{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}", '{"a":2,"b":1}'),
        ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
        ("{{ 'é' | tojson(ensure_ascii=true) }}", '"\\u00e9"'),
        ("{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}"
         "{{ i }}{% endfor %}", "02"),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}!", "Hello!"),
        ("{{ tools is none }} {{ documents is none }} {{ enable_thinking is defined }}", "True True False"),
        ("  {% if true %}\n  x\n  {% endif %}\ny", "  x\ny"),
        ("{{ date_string or 'none' }}", "none"),
        ("{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ loop.last }}{% endfor %}", "1/1True"),
        ("{{ 'a' ~ 1 ~ none }}{{ 'x=%s' % 3 }}{{ '{:>4}'.format(7) }}{{ 'ab' * 2 }}", "a1Nonex=3   7abab"),
    ],
)  # fmt: skip
def test_the_dialect_of_transformers(source: str, expected: str) -> None:
    assert render(source, HELLO) == expected


def test_further_names_reach_the_template() -> None:
    source = "{{ enable_thinking }} {{ date_string }}"
    assert (
        render(source, HELLO, template_kwargs={"enable_thinking": False}, date_string="today")
        == "False today"
    )


@pytest.mark.parametrize(
    "name", ["messages", "tools", "bos_token", "add_generation_prompt", "raise_exception", "range", "namespace",
             "llmatic budget", "_private", ""],
)  # fmt: skip
def test_reserved_names_are_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        render(CHATML, HELLO, template_kwargs={name: 1})
    assert caught.value.message == f"chat_template_kwargs may not set '{name}'."


def test_names_of_parameters_are_free_for_templates() -> None:
    assert render("{{ now }} {{ self_made }}", HELLO, template_kwargs={"now": 1, "self_made": 2}) == "1 2"


def test_text_parts_are_joined_for_a_template_that_reads_strings() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert "user\none\ntwo<|im_end|>" in render(CHATML, {"role": "user", "content": parts})


def test_text_becomes_a_part_for_a_template_that_reads_only_parts() -> None:
    source = "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}"
    assert render(source, HELLO) == "Hello"


def test_a_template_that_needs_a_list_of_tools_gets_an_empty_one() -> None:
    assert render("{% for t in tools %}{{ t }}{% endfor %}{{ messages[0].content }}", HELLO) == "Hello"


@pytest.mark.parametrize(("source", "role"), [(CHATML, "system"), ("{# developer #}" + CHATML, "developer")])
def test_developer_is_system_unless_the_template_knows_it(source: str, role: str) -> None:
    assert render(source, {**SYSTEM, "role": "developer"}, HELLO).startswith(f"<|im_start|>{role}\nBe brief.")


def test_developer_is_system_if_the_template_only_mentions_the_word() -> None:
    source = "{% set x = 'developer' %}{% for m in messages %}{% if m.role in ['system', 'user'] %}" + (
        "{{ m.role }}:{{ m.content }} {% endif %}{% endfor %}"
    )
    assert render(source, {**SYSTEM, "role": "developer"}, HELLO) == "system:Be brief. user:Hello "


def test_tools_reach_the_template() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    source = "{{ tools | tojson if tools else 'none' }}{{ messages[0].content }}"
    assert render(source, HELLO, tools=[tool]) == '[{"type": "function", "function": {"name": "f"}}]Hello'
    assert render(source, HELLO, tools=()) == "noneHello"


def test_tools_under_the_name_that_firefunction_reads() -> None:
    source = "{{ functions }} {{ datetime }} {{ messages[0].content }}"
    assert render(source, HELLO, tools=[{"a": 1}]) == (
        '[\n    {\n        "a": 1\n    }\n] Nov 20 2026 09:30:00 GMT Hello'
    )


def test_an_attempt_is_none_where_rendering_is_refused_or_fails() -> None:
    template = ChatTemplate("{{ messages[1].content }}", bos="", eos="")
    assert template.attempt([HELLO, HI]) == "Hi!"
    assert template.attempt([HELLO]) is None
    assert ChatTemplate("{{ raise_exception('no') }}", bos="", eos="").attempt([HELLO]) is None


def test_messages_are_left_as_they_were() -> None:
    message = {"role": "developer", "content": [{"type": "text", "text": "x"}]}
    before = {**message}
    render(CHATML, message)
    assert message == before
