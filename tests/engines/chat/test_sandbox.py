"""A template may not hang the engine or eat its memory, whatever it says."""

from datetime import UTC, datetime

import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.engines.chat import ChatTemplate

HELLO = [{"role": "user", "content": "Hello"}]
NOW = datetime(2026, 11, 20, tzinfo=UTC)
TOO_MUCH = "too long|too much|too large|too wide|more than"


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(10 ** 6) %}{% endfor %}",
        "{% set x = 'x' * 99999 %}{% for a in x %}{% for b in x %}{% endfor %}{% endfor %}",
        "{% macro m() %}{% for a in range(99999) %}x{% endfor %}{% endmacro %}{% for b in range(99999) %}{{ m() }}"
        "{% endfor %}",
        "{% for a in range(99) recursive %}{% if loop.depth < 3 %}{{ loop(range(99999)) }}{% endif %}{% endfor %}",
        "{{ 'x' * 10 ** 9 }}",
        "{{ [0] * 10 ** 9 }}",
        "{% set n = namespace(s='xxxxxxxx') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{% set n = namespace(s='xxxxxxxx') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
        "{% set big = 'x' * 9999999 %}{% for i in range(99) %}{{ big }}{% endfor %}",
        "{% set big = 'x' * 9999999 %}{% set y %}{% for i in range(99) %}{{ big }}{% endfor %}{% endset %}",
        "{{ ('x' * 99999).replace('x', 'y' * 99999) }}",
        "{{ ('x' * 99999) | replace('x', 'y' * 99999) }}",
        "{{ 9 ** 99999 }}",
        "{% set n = namespace(i=7) %}{% for i in range(99) %}{% set n.i = n.i * n.i %}{% endfor %}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{{ '{:999999999}'.format(1) }}",
        "{{ 'x'.ljust(999999999) }}",
        "{{ 'x' | center(999999999) }}",
        "{{ '\\t'.expandtabs(tabsize=999999999) }}",
        "{{ '%999999999d' | format(1) }}",
        "{{ [1] | slice(999999999) | list }}",
        "{{ 1.5 | round(999999999) }}",
        "{% set n = namespace(s='x' | safe) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
        "{{ [1] | tojson(indent=999999999) }}",
        "{{ strftime_now('%999999999Y') }}",
    ],
)
def test_work_is_bounded(source: str) -> None:
    template = ChatTemplate(source, bos="", eos="")
    with pytest.raises(InvalidRequest, match=TOO_MUCH):
        template.render(HELLO, now=datetime(2026, 1, 1, tzinfo=UTC))


def test_a_long_conversation_is_within_the_bounds() -> None:
    source = (
        "{% set ns = namespace(text='', seen=[]) %}{% for m in messages %}{% set ns.seen = ns.seen + [m.role] %}"
        "{% set ns.text = ns.text + '<' + m.role + '>' ~ m.content | trim %}{% endfor %}{{ ns.text }}"
    )
    messages = [{"role": "user", "content": "word " * 100}] * 1000
    text = ChatTemplate(source, bos="", eos="").render(messages, now=datetime(2026, 1, 1, tzinfo=UTC))
    assert text.count("<user>") == 1000


def test_large_numbers_are_fine_as_values() -> None:
    source = "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(12345678901) }} {{ none | default(7654321, true) }} {{ 10 | string }}"
    template = ChatTemplate(source, bos="", eos="")
    assert template.render(HELLO, now=datetime(2026, 1, 1, tzinfo=UTC)) == "12345678901 7654321 10"


def test_one_rendering_does_not_spend_the_next_ones_budget() -> None:
    template = ChatTemplate("{{ 'x' * 10000000 }}", bos="", eos="")
    for _ in range(3):
        assert len(template.render(HELLO, now=datetime(2026, 1, 1, tzinfo=UTC))) == 10_000_000


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "{% set own = [] %}{% set _ = own.append(1) %}{% set _ = own.append(2) %}{{ own.pop(0) }}{{ own }}",
            "1[2]",
        ),
        ("{% set ns = namespace(own=[]) %}{% set _ = ns.own.append('x') %}{{ ns.own | tojson }}", '["x"]'),
        (
            "{% set own = messages[:] %}{% set _ = own.append(1) %}{{ own | length }}{{ messages | length }}",
            "21",
        ),
    ],
)
def test_lists_that_a_template_made_may_grow(source: str, expected: str) -> None:
    assert ChatTemplate(source, bos="", eos="").render(HELLO, now=NOW) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{% set own = [] %}{% set _ = own.append(1) %}{{ messages.append(1) }}",
        "{% set own = [] %}{% set _ = own.append(1) %}{{ messages[0].content.pop() }}",
        "{% set own = [] %}{% set _ = own.append(1) %}{{ tools[0].function.list.append(1) }}",
        "{% set own = [] %}{% set _ = own.append(1) %}{{ kwarg.deep[0].append(1) }}",
        "{% set own = [] %}{% set _ = own.append(1) %}{{ (messages | first)['content'].append(1) }}",
        "{% set own = [] %}{% set _ = own.append(1) %}{{ own.extend([1]) }}",
        "{% set own = {} %}{{ own.update({'a': 1}) }}{# .append( #}",
        "{{ messages | attr('append') }}{{ (messages | attr('append'))(1) }}",
    ],
)
def test_what_a_template_is_given_stays_as_it_is(source: str) -> None:
    message = {"role": "user", "content": [{"type": "image"}]}
    tool = {"type": "function", "function": {"name": "f", "list": []}}
    with pytest.raises(InvalidRequest, match="may not do"):
        ChatTemplate(source, bos="", eos="").render([message], tools=[tool], now=NOW, kwarg={"deep": [[]]})
    assert (message["content"], tool["function"]) == ([{"type": "image"}], {"name": "f", "list": []})


def test_a_list_that_never_ends_is_stopped() -> None:
    source = "{% set own = [1] %}{% for _ in range(100000) %}{% for _ in range(100) %}" + (
        "{% set _ = own.append(1) %}{% endfor %}{% endfor %}"
    )
    with pytest.raises(InvalidRequest, match="runs for too long"):
        ChatTemplate(source, bos="", eos="").render(HELLO, now=NOW)


def test_tojson_writes_what_map_made() -> None:
    source = "{{ messages | map(attribute='content') | tojson }}"
    assert ChatTemplate(source, bos="", eos="").render(HELLO, now=NOW) == '["Hello"]'
    with pytest.raises(InvalidRequest, match="not JSON serializable"):
        ChatTemplate("{{ range | tojson }}", bos="", eos="").render(HELLO, now=NOW)


def test_nothing_is_written_without_end() -> None:
    template = ChatTemplate("{{ lipsum(n=10**7) | length }}", bos="", eos="")
    with pytest.raises(InvalidRequest, match="lipsum"):
        template.render([{"role": "user", "content": "x"}], now=NOW)
