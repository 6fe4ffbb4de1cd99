"""The generator of llmatic-tiny's training data: the same for a seed, and always well formed."""

from __future__ import annotations

import json
import re
from itertools import islice
from random import Random
from typing import Any

import pytest

from scripts.tiny.data import arithmetic, copying, records, talk, tools
from scripts.tiny.data.example import Chat, Maker, Text
from scripts.tiny.data.mixture import ALL_TASKS, stream
from scripts.tiny.rendering import question_and_answer, render

SEEDS = range(40)
MAKERS = [pytest.param(maker, id=maker.__name__) for maker, *_ in ALL_TASKS]
TURN = re.compile(r"<\|im_start\|>(system|user|assistant)\n(.*?)<\|im_end\|>\n", re.DOTALL)


def test_one_seed_gives_the_same_examples_and_another_seed_gives_others() -> None:
    first, again, other = (list(islice(stream(Random(seed)), 50)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("maker", MAKERS)
def test_every_task_ends_with_an_answer_that_is_not_empty(maker: Maker) -> None:
    for seed in SEEDS:
        example = maker(Random(seed))
        _, answer = question_and_answer(example)
        assert answer or example.task == "fill_in"  # the line that is missing may be an empty one


@pytest.mark.parametrize("maker", MAKERS)
def test_every_conversation_renders_as_whole_chatml_turns(maker: Maker) -> None:
    for seed in SEEDS:
        example = maker(Random(seed))
        if isinstance(example, Chat):
            text = render(example)
            assert TURN.sub("", text) == ""
            assert TURN.findall(text)[-1][0] == "assistant"
            prompt, answer = question_and_answer(example)
            assert prompt + answer + "<|im_end|>\n" == text


@pytest.mark.parametrize("maker", [records.record, records.person, records.event])
def test_record_answers_are_json_objects(maker: Maker) -> None:
    for seed in SEEDS:
        assert json.loads(question_and_answer(maker(Random(seed)))[1])


@pytest.mark.parametrize("maker", [tools.tool_call, tools.tool_two_calls])
def test_tool_calls_name_an_offered_tool_and_only_its_parameters(maker: Maker) -> None:
    for seed in SEEDS:
        example = maker(Random(seed))
        assert isinstance(example, Chat)
        functions: list[Any] = [tool["function"] for tool in example.tools]
        offered = {f["name"]: f["parameters"]["properties"] for f in functions}
        bodies = re.findall(r"<tool_call>\n(.*?)\n</tool_call>", question_and_answer(example)[1])
        assert bodies
        for call in map(json.loads, bodies):
            assert call["arguments"]
            assert set(call["arguments"]) <= set(offered[call["name"]])


def test_sums_are_right() -> None:
    for seed in SEEDS:
        _, answer = question_and_answer(arithmetic.arithmetic(Random(seed)))
        if "=" in answer:
            sides = re.fullmatch(r"(\d+) ([-+*]) (\d+) = (-?\d+)", answer)
            assert sides
            a, sign, b, value = sides.groups()
            assert int(value) == {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[sign]


def test_repeating_is_exact_and_saying_begins_with_a_capital() -> None:
    for seed in SEEDS:
        prompt, answer = question_and_answer(copying.repeat(Random(seed)))
        assert answer in prompt
        _, said = question_and_answer(copying.say(Random(seed)))
        assert not said[0].islower()


def test_fill_in_the_middle_has_its_three_marks_once() -> None:
    marks = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
    examples = [e for e in islice(stream(Random(3)), 500) if e.task == "fill_in"]
    assert examples
    for example in examples:
        assert isinstance(example, Text)
        assert [example.prompt.count(mark) for mark in marks] == [1, 1, 1]


def test_what_it_cannot_do_gets_the_honest_answer() -> None:
    assert {question_and_answer(talk.unknown(Random(seed)))[1] for seed in SEEDS} == {talk.UNKNOWN}
