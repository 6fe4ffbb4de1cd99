"""The second stage's data: functions that are offered, the calls they ask for, and how answers are judged."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from scripts.tiny import evaluate_tools
from scripts.tiny.data import assistance, offers, structured
from scripts.tiny.data.example import Chat
from scripts.tiny.data.mixture import SECOND_TASKS, second_stream
from scripts.tiny.data.published import published
from scripts.tiny.rendering import question_and_answer, render

SEEDS = range(40)
KINDS = [pytest.param(kind, id=kind.__name__) for kind, _ in assistance.KINDS]
MAKERS = [assistance.one_call, assistance.several_calls, assistance.several_turns, assistance.call_answer]


def calls_of(chat: Chat) -> list[Any]:
    return [call["function"] for message in chat.messages for call in message.get("tool_calls", [])]


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_function_is_asked_has_its_required_arguments_in_the_order_of_its_parameters(
    kind: offers.Kind,
) -> None:
    for seed in SEEDS:
        rng = Random(seed)
        offer = kind(rng)
        ask = offer.ask(rng)
        assert ask.question
        assert len(ask.calls) == len(ask.results)
        for name, arguments in ask.calls:
            assert name == offer.name
            assert set(offer.required) <= set(arguments)
            assert [key for key in offer.properties if key in arguments] == list(arguments)
            for key, schema in offer.properties.items():
                if key in arguments and "enum" in schema:
                    assert arguments[key] in schema["enum"]  # type: ignore[operator]


@pytest.mark.parametrize("make", MAKERS)
def test_every_call_is_of_a_function_that_is_offered(make: Callable[[Random], Chat]) -> None:
    for seed in SEEDS:
        chat = make(Random(seed))
        functions: list[Any] = [tool["function"] for tool in chat.tools]
        offered = {f["name"]: f.get("parameters", {}).get("properties", {}) for f in functions}
        assert len(offered) == len(functions)
        for call in calls_of(chat):
            assert set(call["arguments"]) <= set(offered[call["name"]])


def test_a_strict_function_of_the_evaluation_has_what_strict_asks_for() -> None:
    strict = 0
    for chat in (chat for chats in evaluate_tools.examples(100).values() for chat in chats):
        for tool in chat.tools:
            function: Any = tool["function"]
            if function.get("strict"):
                parameters = function["parameters"]
                strict += 1
                assert parameters["additionalProperties"] is False
                assert parameters["required"] == list(parameters["properties"])
    assert strict


def test_a_conversation_with_functions_has_a_result_for_each_call() -> None:
    for seed in SEEDS:
        messages = assistance.several_turns(Random(seed)).messages
        for at, message in enumerate(messages[:-1]):
            n_calls = len(message.get("tool_calls", []))
            following = [m["role"] for m in messages[at + 1 : at + 1 + n_calls]]
            assert following == ["tool"] * n_calls


def test_a_question_that_needs_no_function_is_answered_in_words() -> None:
    for seed in SEEDS:
        assert "<tool_call>" not in question_and_answer(assistance.no_call(Random(seed)))[1]


@pytest.mark.parametrize("make", [structured.extract, structured.to_schema])
def test_structured_answers_are_json_objects(make: Callable[[Random], Chat]) -> None:
    for seed in SEEDS:
        assert isinstance(json.loads(question_and_answer(make(Random(seed)))[1]), dict)


def test_the_second_stage_has_the_tasks_of_the_first_and_its_own() -> None:
    examples = second_stream(Random(7))
    tasks = {next(examples).task for _ in range(4000)}
    assert {"say", "capital", "tool_call", "text_sum", "conversation"} <= tasks
    assert len(SECOND_TASKS) == len(
        tasks
        & {"one_call", "several_calls", "no_call", "call_answer", "several_turns", "extract", "to_schema"}
    )


def test_an_answer_is_read_as_the_calls_that_it_makes() -> None:
    for chat in [assistance.several_calls(Random(seed)) for seed in SEEDS]:
        assert evaluate_tools.calls_in(question_and_answer(chat)[1]) == evaluate_tools.wanted(chat)
    assert evaluate_tools.calls_in("Hello!") == []
    broken = '<tool_call>\n{"name": "add", "arguments": {"a": 1}\n</tool_call>'
    assert evaluate_tools.calls_in(broken) == [("", broken[12:-13])]
    assert evaluate_tools.calls_in('<tool_call>\n{"name": "add"') != []


def test_a_call_over_the_wire_is_compared_by_what_it_says() -> None:
    assert evaluate_tools.read("add", '{"b":2,"a":1}') == evaluate_tools.call("add", {"a": 1, "b": 2})
    assert evaluate_tools.read("add", '{"a":') == ("add", '{"a":')


def test_the_evaluation_ends_each_conversation_with_the_answer_to_a_question() -> None:
    parts = evaluate_tools.examples(20)
    assert parts == evaluate_tools.examples(20)
    assert {part: len(chats) for part, chats in parts.items()} == {
        "ordinary": len(published()) + 60,
        "varied": 80,
        "invented": 20,
    }
    for chat in (chat for chats in parts.values() for chat in chats):
        assert chat.messages[-2]["role"] == "user"
        assert chat.messages[-1]["role"] == "assistant"
        assert (chat.task in ("no_call", "tool_unused")) <= (evaluate_tools.wanted(chat) == [])


def test_messages_go_over_the_wire_with_ids_that_their_results_name() -> None:
    for seed in SEEDS:
        chat = assistance.call_answer(Random(seed))
        wired = evaluate_tools.wire(chat.messages)
        ids = [call["id"] for message in wired for call in message.get("tool_calls", [])]
        assert ids == [m["tool_call_id"] for m in wired if m["role"] == "tool"]
        assert render(chat)


def test_right_answers_are_counted_by_kind_and_by_part() -> None:
    perfect = evaluate_tools.whole(evaluate_tools.wanted, 3)
    assert all(tally.right == tally.total for tally in perfect)
    silent = evaluate_tools.whole(lambda _: [], 3)
    assert evaluate_tools.Tally("one_call", 0, 3) in silent
    assert evaluate_tools.Tally("no_call", 3, 3) in silent
    assert evaluate_tools.Tally("**varied**", sum(t.right for t in silent[5:9]), 12) in silent
    assert silent[-1] == evaluate_tools.Tally("**invented**", 0, 3)
    first = evaluate_tools.table({"a": perfect, "b": silent}).splitlines()[2]
    assert first.startswith(f"| published | {len(published())} | {len(published())} (100 %) | ")


def test_the_table_is_put_between_the_marks_of_the_page(tmp_path: Any) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{evaluate_tools.BEGIN}old{evaluate_tools.END}\nafter\n", encoding="utf-8")
    evaluate_tools.put(page, "new")
    text = page.read_text(encoding="utf-8")
    assert text == f"before\n{evaluate_tools.BEGIN}new{evaluate_tools.END}\nafter\n"
