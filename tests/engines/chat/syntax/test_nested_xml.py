"""Calls whose arguments are trees of tags."""

import json

import pytest

from llmatic.engines.chat.syntax.nested_xml import MINIMAX_M3
from tests.engines.chat.reading import Answer
from tests.engines.chat.syntax.sections import call, function, is_refused, read_pieces, read_section
from tests.engines.chat.syntax.walking import Bytes, grammar_of

N = "]<]minimax[>["
FREE = {"type": "object", "properties": {}, "required": [], "additionalProperties": {}}
ENTRY = {
    "type": "object",
    "properties": {"id": {"type": "integer"}, "label": {"type": "string"}},
    "required": ["id"],
}
F = function(
    "f",
    {
        "s": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "entries": {"type": "array", "items": ENTRY},
        "limit": {"anyOf": [{"type": "integer"}, {"type": "object", "properties": {"max": {"type": "integer"}}, "required": ["max"]}]},
        "label": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "free": FREE,
    },
    ["s"],
)  # fmt: skip


def element(name: str, value: str) -> str:
    """An element as the template writes it."""
    return f"{N}<{name}>{value}{N}</{name}>"


def section(*calls: str, name: str = "f") -> str:
    """A section behind its opener, as the template writes it."""
    return (
        "\n" + "".join(f'{N}<invoke name="{name}">{one}{N}</invoke>\n' for one in calls) + f"{N}</tool_call>"
    )


TREES = [
    (element("s", "a\n<b>\"c'\n"), {"s": "a\n<b>\"c'\n"}),
    (
        element("s", "") + element("tags", element("item", "x") + element("item", "")),
        {"s": "", "tags": ["x", ""]},
    ),
    (
        element("s", "")
        + element("entries", element("item", element("id", "1") + element("label", "1")) + element("item", element("id", "2"))),
        {"s": "", "entries": [{"id": 1, "label": "1"}, {"id": 2}]},
    ),
    (element("s", "") + element("limit", "5"), {"s": "", "limit": 5}),
    (element("s", "") + element("limit", element("max", "10")), {"s": "", "limit": {"max": 10}}),
    (element("s", "") + element("tags", "") + element("entries", ""), {"s": "", "tags": [], "entries": []}),
    (element("s", "") + element("label", "null"), {"s": "", "label": None}),
    (element("s", "") + element("label", "none"), {"s": "", "label": "none"}),
    (
        element("s", "") + element("free", '{"a": ["</free>"]}'),
        {"s": "", "free": {"a": ["</free>"]}},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("written", "arguments"), TREES)
def test_reads_trees_and_the_grammar_allows_them(written: str, arguments: object) -> None:
    text = section(written)
    answer, rest = read_section(MINIMAX_M3, (F,), text + "rest")
    assert rest == "rest"
    assert [json.loads(read.arguments) for read in answer.calls] == [arguments]
    for vocabulary in (Bytes(), Bytes([N])):
        assert vocabulary.allows(grammar_of(MINIMAX_M3, [F], vocabulary.mark, MINIMAX_M3.opens[0]), text)


@pytest.mark.parametrize(
    "written",
    [
        "",
        element("t", ""),
        element("s", "") + element("limit", "five"),
        element("s", "") + element("tags", element("item", "") * 3),
        element("s", "") + element("entries", element("item", element("label", "x"))),
        f"{N}<s>{N}</t>",
    ],
)
def test_the_grammar_refuses_other_trees(written: str) -> None:
    vocabulary = Bytes([N])
    lark = grammar_of(MINIMAX_M3, [F], vocabulary.mark, MINIMAX_M3.opens[0])
    assert not vocabulary.allows(lark, section(written))


def test_several_calls_and_one() -> None:
    one = element("s", "x")
    answer, rest = read_section(MINIMAX_M3, (F,), section(one, one))
    assert (answer.calls, rest) == ((call("f", '{"s": "x"}'),) * 2, "")
    vocabulary = Bytes([N])
    several = grammar_of(MINIMAX_M3, [F], vocabulary.mark, MINIMAX_M3.opens[0])
    assert vocabulary.allows(several, section(one, one))
    single = grammar_of(MINIMAX_M3, [F], vocabulary.mark, MINIMAX_M3.opens[0], is_parallel=False)
    assert vocabulary.allows(single, section(one))
    assert not vocabulary.allows(single, section(one, one))


def test_a_function_nobody_knows_is_read_by_the_looks_of_its_tags() -> None:
    tree = element("o", element("k", "1") + element("l", element("item", "x") + element("item", "true")))
    answer, _ = read_section(MINIMAX_M3, (F,), section(tree, name="g"))
    assert answer.calls == (call("g", '{"o": {"k": 1, "l": ["x", true]}}'),)


def test_json_may_hold_the_closing_tag() -> None:
    text = section(element("s", "") + element("free", f'{{"a": "{N}</free>"}}'))
    answer, _ = read_section(MINIMAX_M3, (F,), text)
    assert json.loads(answer.calls[0].arguments) == {"s": "", "free": {"a": f"{N}</free>"}}
    assert Bytes().allows(grammar_of(MINIMAX_M3, [F], Bytes().mark, MINIMAX_M3.opens[0]), text)


@pytest.mark.parametrize("text", ["hello", f'\n{N}<invoke name="f', f"\n{N}<call>", '<invoke name="f">'])
def test_what_is_no_call_stays_text(text: str) -> None:
    assert is_refused(read_section(MINIMAX_M3, (F,), text), text)


def test_a_call_that_goes_wrong_is_read_as_far_as_it_is_right() -> None:
    text = f'\n{N}<invoke name="f">{element("s", "x")}{N}<tags>{N}<item>y{N}</item>then'
    answer, rest = read_section(MINIMAX_M3, (F,), text + f"{N}</tags>")
    assert answer == Answer(calls=(call("f", '{"s": "x", "tags": ["y"]}'),))
    assert rest == f"then{N}</tags>"


@pytest.mark.parametrize("key", ["<>", "</s>"])
def test_a_tag_that_is_none_ends_the_call(key: str) -> None:
    text = f'\n{N}<invoke name="f">{N}{key}x'
    assert read_section(MINIMAX_M3, (F,), text) == (Answer(calls=(call("f", "{}"),)), f"{N}{key}x")


def test_a_call_that_is_cut_off_has_no_end() -> None:
    text = f'\n{N}<invoke name="f">{N}<entries>{N}<item>{N}<id>1'
    assert read_section(MINIMAX_M3, (F,), text) == (
        Answer(calls=(call("f", '{"entries": [{"id": 1', is_whole=False),)),
        None,
    )


def test_deep_trees_end_in_text() -> None:
    text = section(f"{N}<a>" * 500 + f"{N}</a>" * 500, name="g")
    answer, _ = read_pieces(MINIMAX_M3, (F,), [text], MINIMAX_M3.opens[0])
    assert answer.calls[0].name == "g"
