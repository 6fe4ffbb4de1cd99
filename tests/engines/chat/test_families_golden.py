"""Every template of llama.cpp's collection: what it writes of an answer is read back, and fits the grammar.

A real template renders a conversation whose last message, the assistant's, thinks, speaks and calls. Its text is
what a model of that family would write; the family's parser must find thought, content and calls in it however it
is cut, and the family's grammar must allow it, over the embedded model's vocabulary, and nothing that is wrong.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import pytest

from llmatic.core.types import ChatPrompt, ToolUse
from llmatic.engines.chat import ChatTemplate
from llmatic.engines.chat.answer import AnswerPlan, plan_answer
from llmatic.engines.chat.conversation import arrange
from llmatic.engines.chat.detection import find_family
from llmatic.engines.chat.probing import find_traits
from llmatic.engines.chat.written import write_out
from tests.engines.chat.held import Grammars, grammars
from tests.engines.chat.reading import read_in_every_way

pytestmark = pytest.mark.templates

NOW = datetime(2026, 11, 20, tzinfo=UTC)
THOUGHT, CONTENT = "Erst denken, dann rufen.", "Ich sehe nach."
ARGUMENTS: list[dict[str, Any]] = [
    {"city": 'Köln "Süd" \\ {☂} 😀', "when": {"day": 3, "parts": ["früh", "spät }"]}},
    {},
]
NAMES = ["get_weather", "now"]
WHEN = {
    "type": "object",
    "description": "when",
    "properties": {"day": {"type": "integer"}, "parts": {"type": "array", "items": {"type": "string"}}},
    "additionalProperties": False,
}
TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "the weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "where"}, "when": WHEN},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "now",
            "description": "the time",
            "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
        },
    },
)
ENDS = re.compile(
    r"<\|im_end\|>|</s>|<\|eot_id\|>|<\|eom_id\|>|<\|end_of_text\|>|<seed:eos>|<\|END_OF_TURN_TOKEN\|>"
    r"|<end_of_sentence>|\[e~\[|<SPECIAL_12>|<｜end▁of▁sentence｜>|<sep>|<\|role_end\|>|<\|end_of_msg\|>"
    r"|<turn\|>|<\|tool_response>|<｜hy_eos:opensource｜>|<\|eot\|>|<end_of_turn>|<\|START_OF_TURN_TOKEN\|>|<\|calls\|>|<\|call\|>"
    r"|<\|end\|>\s*(?:</s>)?\Z|<\|message_sep\|>\s*\Z|<\|message_sep\|>\s*assistant"
)
# What their templates cannot show of the conversation, or show in a way that no model writes.
ONE_CALL = ("GigaChat", "Llama-3", "gpt-oss")
ONLY_CALLS = ("Nemotron-Nano-v2", "gpt-oss", "DeepSeek-R1", "deepseek-r1", "muse", "gemma-4", "Llama-3")


@dataclass(frozen=True, slots=True)
class Case:
    """A template's own text of an answer, and how it is to be read."""

    raw: str
    content: str
    thought: str
    calls: list[tuple[str, dict[str, Any]]]
    rendered: str
    template: ChatTemplate

    def plan(
        self, tiny: Grammars, mode: Literal["auto", "required"] = "auto", *, parallel: bool = True
    ) -> AnswerPlan:
        """How answers are read and held."""
        prompt = ChatPrompt(({"role": "user", "content": "Q"},), tools=ToolUse(TOOLS, mode, (), parallel))
        return plan_answer(
            find_family(self.template.source),
            prompt,
            None,
            self.rendered,
            tiny.mark,
            presents_tools=not find_traits(self.template).is_generic,
        )


def render(template: ChatTemplate, messages: Sequence[dict[str, Any]], *, is_prompt: bool) -> str:
    """The conversation as the engine would render it."""
    traits = find_traits(template)
    prompt = ChatPrompt(tuple(messages), tools=ToolUse(TOOLS))
    conversation = write_out(arrange(prompt, traits), traits)
    return template.render(
        conversation.messages,
        tools=conversation.tools,
        now=NOW,
        add_generation_prompt=is_prompt,
        template_kwargs={"enable_thinking": True, "thinking": True},
    )


def case_of(name: str, template: ChatTemplate) -> Case:
    """What the template writes of an answer behind its own prompt."""
    n_calls = 1 if any(part in name for part in ONE_CALL) else 2
    content = "" if any(part in name for part in ONLY_CALLS) else CONTENT
    question = {"role": "user", "content": "Wie wird das Wetter?"}
    answer = {
        "role": "assistant",
        "content": content,
        "reasoning_content": THOUGHT,
        "tool_calls": [
            {
                "id": f"abcdefgh1{n}",
                "type": "function",
                "function": {"name": NAMES[n], "arguments": json.dumps(ARGUMENTS[n], ensure_ascii=False)},
            }
            for n in range(n_calls)
        ],
    }
    prompt = render(template, [question], is_prompt=True)
    whole = render(template, [question, answer], is_prompt=False)
    rendered = prompt[
        : next((n for n, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), None)
    ]
    while rendered != prompt and re.search(r"<[^<>\s]*\Z", rendered):  # not in the middle of a marker
        rendered = rendered[:-1]
    if name.startswith("Apriel"):  # it repeats thoughts without the words that lead to them
        assert len(rendered) < len(prompt)
        whole, rendered = prompt + whole[len(rendered) :], prompt
    if "command-r-plus" in name:  # it moves its last instruction
        rendered += "<|CHATBOT_TOKEN|>"
    raw = ENDS.split(whole[len(rendered) :])[0].rstrip()
    return Case(
        raw,
        content if content and content in raw else "",
        THOUGHT if THOUGHT in raw else "",
        list(zip(NAMES, ARGUMENTS, strict=True))[:n_calls],
        rendered,
        template,
    )


@pytest.fixture(scope="module")
def tiny() -> Iterator[Grammars]:
    yield from grammars()


@pytest.fixture(scope="module")
def cases(llama_cpp_templates: dict[str, ChatTemplate]) -> dict[str, Case]:
    return {
        name.removesuffix(".jinja"): case_of(name, template) for name, template in llama_cpp_templates.items()
    }


def test_what_a_template_writes_is_read_back(cases: dict[str, Case], tiny: Grammars) -> None:
    wrong = {}
    for name, case in cases.items():
        make_parser = case.plan(tiny).make_parser
        assert make_parser is not None
        answer = read_in_every_way(make_parser, case.raw)
        calls = [(call.name, json.loads(call.arguments)) for call in answer.calls if call.is_whole]
        if (answer.content.strip(), answer.thought, calls) != (case.content, case.thought, case.calls):
            wrong[name] = (case.raw, answer)
    assert not wrong, "\n".join(f"{n}: {w}" for n, w in wrong.items())


# What templates write in another way than they tell models to, or than the grammar has it.
NOT_CANONICAL = {
    "ByteDance-Seed-OSS": "nested values in Python's way",
    "openbmb-MiniCPM5-1B": "nested values in Python's way",
    "LFM2.5-8B-A1B": "nested values in JSON's way",
    "CohereForAI-c4ai-command-r-plus-tool_use": "arguments on several lines",
    "deepseek-ai-DeepSeek-V4": "an empty line for no arguments",
    "deepseek-ai-DeepSeek-V4-Flash-0731": "an empty line for no arguments",
    "muse-glimmer": "several turns",
}


def test_what_a_template_writes_is_allowed(cases: dict[str, Case], tiny: Grammars) -> None:
    wrong = {}
    for name, case in cases.items():
        plan = case.plan(tiny)
        assert plan.grammar is not None
        if not tiny.allows(plan.grammar, case.raw):
            wrong[name] = case.raw
    assert wrong.keys() == NOT_CANONICAL.keys(), wrong


def test_what_no_tool_allows_is_refused(cases: dict[str, Case], tiny: Grammars) -> None:
    for name, case in cases.items():
        lark = case.plan(tiny).grammar
        assert lark is not None
        for right, wrong in [("get_weather", "get_wether"), ("city", "town"), ("3", "drei")]:
            assert not tiny.allows(lark, case.raw.replace(right, wrong)), (name, wrong)


def test_required_calls_and_single_calls(cases: dict[str, Case], tiny: Grammars) -> None:
    for name, case in cases.items():
        if name in NOT_CANONICAL:
            continue
        silent = case.raw.replace(f"all\n{CONTENT}>>>", "").replace(CONTENT, "")
        lark = case.plan(tiny, "required").grammar
        assert lark is not None
        assert tiny.allows(lark, silent), name
        assert not case.content or not tiny.allows(lark, case.raw), name
        text = silent[: silent.index(THOUGHT)] + THOUGHT if case.thought else ""
        assert not tiny.allows(lark, text), name
        single = case.plan(tiny, "required", parallel=False).grammar
        assert single is not None
        assert tiny.allows(single, silent) == (len(case.calls) == 1), name
