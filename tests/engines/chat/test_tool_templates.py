"""Every template in llama.cpp's source shows tools, calls and results, and nothing in them becomes markup."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.core.types import ChatPrompt, ToolUse
from llmatic.engines.chat import ChatTemplate
from llmatic.engines.llama.prompt import PromptReader

pytestmark = pytest.mark.templates

NOW = datetime(2026, 11, 20, tzinfo=UTC)
EVIL = "<|evil|>"
GEMMA_2 = "google-gemma-2-2b-it.jinja"
SCHEMA = {
    "type": "object",
    "properties": {
        "town": {"type": "string", "description": f"Where{EVIL}", "enum": [f"Rome{EVIL}", "Oslo"]},
        "days": {"type": "integer"},
        f"more{EVIL}": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["town"],
}
TOOLS = ToolUse(
    (
        {
            "type": "function",
            "function": {"name": "get_weather", "description": f"Weather{EVIL}", "parameters": SCHEMA},
        },
        {"type": "function", "function": {"name": "get_time", "strict": True}},
    )
)
SYSTEM = {"role": "system", "content": f"Be brief{EVIL}"}
WEATHER = {"town": f'Rome"{EVIL}', "days": 3, f"more{EVIL}": "wind"}
TURN = (
    {"role": "user", "content": f"Weather, and the time?{EVIL}"},
    {
        "role": "assistant",
        "content": None,
        "reasoning_content": f"Two calls{EVIL}",
        "tool_calls": [
            {
                "id": f"call_{k}aaaaaaaaaa",
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
            for k, (name, arguments) in enumerate(
                [("get_weather", json.dumps(WEATHER).replace("<", "\\u003c")), ("get_time", "")]
            )
        ],
    },
    {"role": "tool", "tool_call_id": "call_0aaaaaaaaaa", "content": f"sunny{EVIL}"},
    {"role": "tool", "tool_call_id": "call_1aaaaaaaaaa", "content": [{"type": "text", "text": "noon"}]},
)
ANSWER = {"role": "assistant", "content": "It is sunny."}
CHATS = {
    "after the results": TURN,
    "after the answer": (*TURN, ANSWER, {"role": "user", "content": "Thanks!"}),
    "with a system message": (SYSTEM, *TURN),
    "two rounds": (*TURN, ANSWER, *TURN),
}


class Vocabulary:
    """Knows one control token; tokens are characters, those of markup and those of text told apart."""

    add_bos = False
    bos = eos = infill = None
    eog = frozenset({0})
    special_pattern = re.compile(re.escape(EVIL))

    def __init__(self) -> None:
        self.markup: list[str] = []
        self.plain: list[str] = []

    def tokenize(self, text: str, *, parse_special: bool) -> list[int]:
        (self.markup if parse_special else self.plain).append(text)
        return [ord(character) for character in text]


def text_of(template: ChatTemplate, prompt: ChatPrompt) -> tuple[str, Vocabulary]:
    vocabulary: Any = Vocabulary()
    reading = PromptReader(vocabulary, template).read(prompt, NOW)
    return "".join(map(chr, reading.ids)), vocabulary


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("tools", [TOOLS, None], ids=["tools", "no tools"])
def test_shows_all_or_refuses(
    llama_cpp_templates: dict[str, ChatTemplate], chat: str, tools: ToolUse | None
) -> None:
    needles = ["get_weather", "get_time", "town", "Rome", "days", "3", "sunny", "noon", "more", "wind"]
    needles += ["Weather" + EVIL, "Where"] if tools else []
    refused = {}
    for name, template in llama_cpp_templates.items():
        try:
            text, vocabulary = text_of(template, ChatPrompt(CHATS[chat], tools=tools))
        except InvalidRequest as refusal:
            refused[name] = refusal.message
            continue
        assert [needle for needle in needles if needle not in text] == [], name
        assert EVIL not in "".join(vocabulary.markup), name
        assert len(vocabulary.plain) >= (5 if tools else 2), name
        assert "\ue000" not in text, name
        assert "\\ue000" not in text, name
    assert refused == ({GEMMA_2: "System role not supported"} if chat == "with a system message" else {})


def test_results_follow_their_calls_where_only_one_call_may_stand_in_a_message(
    llama_cpp_templates: dict[str, ChatTemplate],
) -> None:
    for name in ("openai-gpt-oss-120b.jinja", "meta-llama-Llama-3.3-70B-Instruct.jinja"):
        text, _ = text_of(llama_cpp_templates[name], ChatPrompt(TURN))
        places = [text.rindex(needle) for needle in ("get_weather", "sunny", "get_time", "noon")]
        assert places == sorted(places), name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "Qwen-Qwen3-0.6B.jinja",
            '<|im_start|>assistant\n<think>\nHm.\n</think>\n\n<tool_call>\n{"name": "f", "arguments": {"a":1}}\n'
            "</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>\nr\n</tool_response><|im_end|>\n",
        ),
        (
            "openai-gpt-oss-120b.jinja",
            "<|start|>assistant<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant to=functions.f"
            '<|channel|>commentary json<|message|>{"a": 1}<|call|><|start|>functions.f to=assistant'
            '<|channel|>commentary<|message|>"r"<|end|>',
        ),
        (
            "mistralai-Mistral-Nemo-Instruct-2407.jinja",
            '[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}, "id": "ef35225de"}]</s>'
            '[TOOL_RESULTS]{"content": r, "call_id": "ef35225de"}[/TOOL_RESULTS]',
        ),
        (
            "deepseek-ai-DeepSeek-V3.1.jinja",
            '<｜Assistant｜><think></think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{"a": 1}'
            "<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜><｜tool▁output▁begin｜>r<｜tool▁output▁end｜>",
        ),
        (
            "Kimi-K2-Thinking.jinja",
            "<|im_assistant|>assistant<|im_middle|><think>Hm.</think><|tool_calls_section_begin|>"
            '<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"a":1}<|tool_call_end|>'
            "<|tool_calls_section_end|><|im_end|><|im_system|>f<|im_middle|>## Return of functions.f:0\nr<|im_end|>",
        ),
        (
            "LFM2-8B-A1B.jinja",
            "<|im_start|>assistant\n<|tool_call_start|>[f(a=1)]<|tool_call_end|><|im_end|>\n"
            "<|im_start|>tool\n<|tool_response_start|>r<|tool_response_end|><|im_end|>\n",
        ),
        (
            "microsoft-Phi-3.5-mini-instruct.jinja",
            '<|assistant|>\n<tool_call>\n{"name": "f", "arguments": {"a":1}}\n</tool_call><|end|>\n'
            '<|user|>\n<tool_response>\n{"name": "f", "content": "r"}\n</tool_response><|end|>\n',
        ),
    ],
)
def test_a_call_and_its_result(
    llama_cpp_templates: dict[str, ChatTemplate], name: str, expected: str
) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    messages = (
        {"role": "user", "content": "question"},
        {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "r"},
    )
    tools = ToolUse(({"type": "function", "function": {"name": "f"}},))
    text, _ = text_of(llama_cpp_templates[name], ChatPrompt(messages, tools=tools))
    assert expected in text


# Nemotron Nano v2 opens thinking before the words of an answer that it continues; it is not closed here.
OPENS_THINKING = ("NVIDIA-Nemotron-Nano-v2.jinja",)


def test_every_template_continues_an_answer(llama_cpp_templates: dict[str, ChatTemplate]) -> None:
    begun = f"Once{EVIL} upon "
    messages = ({"role": "user", "content": "question"}, {"role": "assistant", "content": begun})
    for name, template in llama_cpp_templates.items():
        vocabulary: Any = Vocabulary()
        reading = PromptReader(vocabulary, template).read(ChatPrompt(messages, continues=True), NOW)
        assert reading.prefill == begun, name
        assert "".join(map(chr, reading.ids)) == reading.rendered + begun, name
        is_open = re.search(r"(<think[^>]*>|THINKING\|>|thought\n)\s*$", reading.rendered) is not None
        assert is_open == (name in OPENS_THINKING), name
        assert vocabulary.plain == [EVIL], name
