"""Answers of a random-weight model that are held to a form: it tries every wrong path."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.core.types import ChatPrompt, Constraint, GenerationRequest, SamplingParams, ToolUse
from llmatic.engines.llama.engine import LlamaEngine
from tests.engines.llama.asking import Answer, ask, ask_for, opened
from tests.engines.llama.small_model import write_model

pytestmark = pytest.mark.anyio

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
WARM = SamplingParams(temperature=1.0)
USER = {"role": "user", "content": "hello"}
THINKER = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% else %}<think>\n{% endif %}{% endif %}"
)


@pytest.fixture
async def large(tmp_path: Path) -> AsyncIterator[LlamaEngine]:
    """An engine with room for prompts that present tools."""
    path = write_model(tmp_path / "large.gguf", n_context=4096)
    async with opened(path, context=8192, parallel=4, options={"kv_unified": True}) as engine:
        yield engine


def schema(value: dict[str, Any], **fields: Any) -> Constraint:
    return Constraint("json_schema", json.dumps(value), **fields)


def regex(pattern: str) -> Constraint:
    return Constraint("regex", pattern, param="regex")


def chat(**fields: Any) -> GenerationRequest:
    prompt = {name: fields.pop(name) for name in ("tools", "continues") if name in fields}
    messages = fields.pop("messages", (USER,))
    return GenerationRequest(
        id=fields.pop("id", "chat"),
        prompt=ChatPrompt(messages, **prompt),
        **{"sampling": WARM, "max_tokens": 200, **fields},
    )


def tool(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def calls_of(answer: Answer) -> list[tuple[str, dict[str, Any]]]:
    found: list[list[str]] = []
    for delta in answer.deltas:
        for call in delta.calls:
            if call.name:
                assert call.index == len(found)
                found.append([call.name, ""])
            found[call.index][1] += call.arguments
    return [(name, json.loads(arguments)) for name, arguments in found]


async def test_a_regular_expression_is_matched_by_all_of_the_text(engine: LlamaEngine) -> None:
    pattern = r"[0-9]{3}-[a-f]{2,4} (yes|no)"
    answers = await asyncio.gather(
        *(ask(engine, f"{n}", sampling=WARM, max_tokens=40, constraint=regex(pattern)) for n in range(20))
    )
    for answer in answers:
        assert re.fullmatch(pattern, answer.texts[0])
        assert answer.reasons == ["stop"]
    assert len({answer.texts[0] for answer in answers}) > 5


async def test_free_and_held_answers_share_batches(engine: LlamaEngine) -> None:
    numbers = (7, 9, 19, 22)  # no close call, which rounding could tip
    free = [await ask(engine, f"free {n}", max_tokens=30) for n in numbers]
    mixed = await asyncio.gather(
        *(ask(engine, f"free {n}", max_tokens=30) for n in numbers),
        *(ask(engine, f"held {n}", max_tokens=60, constraint=schema(PERSON)) for n in range(4)),
    )
    assert [answer.texts for answer in mixed[:4]] == [answer.texts for answer in free]
    for answer in mixed[4:]:
        person = json.loads(answer.texts[0])
        assert set(person) == {"name", "age"}
        assert isinstance(person["age"], int)


async def test_every_choice_follows_the_grammar_by_itself(engine: LlamaEngine) -> None:
    answer = await ask(engine, sampling=WARM, n_choices=5, max_tokens=100, constraint=schema(PERSON))
    assert len(set(answer.texts)) > 1
    assert all(len(json.loads(text)["name"]) <= 12 for text in answer.texts)


async def test_the_end_of_the_budget_is_told(engine: LlamaEngine) -> None:
    answer = await ask(engine, max_tokens=5, constraint=schema(PERSON))
    assert answer.reasons == ["length"]
    assert answer.usage.n_completion_tokens == 5
    whole = await ask(engine, max_tokens=100, constraint=schema(PERSON))
    assert whole.texts[0].startswith(answer.texts[0])


async def test_the_answer_ends_with_the_grammar_even_if_end_tokens_are_ignored(engine: LlamaEngine) -> None:
    answer = await ask(engine, max_tokens=50, ignore_eos=True, constraint=regex("[ab]{4}"))
    assert re.fullmatch("[ab]{4}", answer.texts[0])
    assert answer.reasons == ["stop"]


async def test_text_that_is_certain_is_the_same_in_every_mode(tmp_path: Path) -> None:
    path = write_model(tmp_path / "small.gguf")
    constraint = regex("the answer to this and every other question is [0-9]{2}, as everybody knows")
    texts = []
    for changes in ({"options": {"speculation": "off"}}, {}, {"deterministic": True}):
        async with opened(path, **changes) as engine:
            answer = await ask(engine, max_tokens=120, constraint=constraint)
            texts.append(answer.texts[0])
            assert answer.usage.n_accepted_prediction_tokens == 0
    assert re.fullmatch(constraint.source, texts[0])
    assert len({text[:48] for text in texts}) == 1


async def test_log_probabilities_are_there_for_every_token(engine: LlamaEngine) -> None:
    sampling = SamplingParams(temperature=0, n_logprobs=2)
    answer = await ask(engine, sampling=sampling, max_tokens=40, constraint=regex("certain: [0-9]{3}"))
    entries = [entry for delta in answer.deltas for entry in delta.logprobs]
    assert b"".join(entry.data for entry in entries).decode() == answer.texts[0]
    assert all(entry.logprob is not None and entry.logprob < 0 and len(entry.top) == 2 for entry in entries)


async def test_a_form_that_cannot_be_is_refused_by_name(engine: LlamaEngine) -> None:
    for constraint, param in [
        (regex("(unclosed"), "regex"),
        (Constraint("lark", "start: missing", param="grammar"), "grammar"),
        (schema({"type": "object", "not": {"required": ["a"]}}), "response_format"),
    ]:
        with pytest.raises(InvalidRequest) as caught:
            await ask(engine, constraint=constraint)
        assert caught.value.param == param
    assert (await ask(engine)).reasons == ["length"]


async def test_a_required_call_is_made_whatever_the_model(large: LlamaEngine) -> None:
    nothing = {"type": "object", "properties": {}, "additionalProperties": False}
    tools = ToolUse((tool("find", PERSON), tool("stop", nothing)), mode="required", is_parallel=False)
    answers = await asyncio.gather(
        *(ask_for(large, chat(id=f"c{n}", tools=tools, max_tokens=300)) for n in range(6))
    )
    for answer in answers:
        assert answer.texts == [""]
        assert answer.reasons == ["tool_calls"]
        ((name, arguments),) = calls_of(answer)
        assert set(arguments) == ({"name", "age"} if name == "find" else set())


async def test_one_call_only_and_only_the_named_one(large: LlamaEngine) -> None:
    definitions = tuple(tool(name, PERSON) for name in ("find", "keep", "lose"))
    tools = ToolUse(definitions, mode="required", allowed=("keep",), is_parallel=False)
    answer = await ask_for(large, chat(tools=tools))
    assert [name for name, _ in calls_of(answer)] == ["keep"]
    assert answer.reasons == ["tool_calls"]


async def test_a_continued_message_must_fit_what_holds_it(engine: LlamaEngine) -> None:
    begun = {"role": "assistant", "content": '{"name": "An'}
    answer = await ask_for(engine, chat(messages=(USER, begun), continues=True, constraint=schema(PERSON)))
    person = json.loads(begun["content"] + answer.texts[0])
    assert person["name"].startswith("An")
    wrong = {"role": "assistant", "content": "Well, "}
    with pytest.raises(InvalidRequest) as caught:
        await ask_for(engine, chat(messages=(USER, wrong), continues=True, constraint=schema(PERSON)))
    assert caught.value.param == "messages"


async def test_thinking_is_limited_counted_and_not_held(tmp_path: Path) -> None:
    path = write_model(tmp_path / "thinker.gguf", template=THINKER)
    async with opened(path) as engine:
        assert engine.info.has_reasoning
        for seed in range(12):
            request = chat(
                id=f"t{seed}",
                reasoning_budget=10,
                constraint=schema(PERSON),
                sampling=SamplingParams(temperature=0.3, seed=seed),
            )
            answer = await ask_for(engine, request)
            thoughts = "".join(delta.reasoning for delta in answer.deltas)
            assert thoughts
            assert "think>" not in thoughts
            assert set(json.loads(answer.texts[0])) == {"name", "age"}
            n_ending = len("\n</think>\n\n")
            assert 10 <= answer.usage.n_reasoning_tokens <= 10 + 3 + n_ending
        none = await ask_for(engine, chat(id="none", reasoning_budget=0, max_tokens=30))
        assert "".join(delta.reasoning for delta in none.deltas).strip() == ""


async def test_a_budget_for_thinking_needs_a_model_that_thinks(engine: LlamaEngine) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await ask_for(engine, chat(reasoning_budget=10))
    assert caught.value.param == "thinking_budget_tokens"


async def test_a_wish_for_thinking_does_not(engine: LlamaEngine) -> None:
    request = chat(reasoning_budget=10, max_tokens=8, ignore_eos=True)
    assert isinstance(request.prompt, ChatPrompt)
    wish = replace(request.prompt, effort_is_wish=True, reasoning_effort="max")
    answer = await ask_for(engine, replace(request, prompt=wish))
    assert answer.usage.n_completion_tokens == 8
    assert answer.usage.n_reasoning_tokens == 0


async def test_equal_seeds_give_equal_held_answers(engine: LlamaEngine) -> None:
    sampling = SamplingParams(temperature=1.0, seed=7)
    fields: dict[str, Any] = {"sampling": sampling, "max_tokens": 80, "constraint": schema(PERSON)}
    first = await ask(engine, **fields)
    assert (await ask(engine, **fields)).texts == first.texts
