"""Every family's real template on a model of random weights: what is required comes, and is understood.

The model's vocabulary holds the markers of the template as control tokens, as the family's real one does.
"""

import asyncio
import json
import re
from pathlib import Path

import pytest

from llmatic.core.types import ChatPrompt, Constraint, GenerationRequest, SamplingParams, ToolUse
from llmatic.engines.chat import ChatTemplate
from llmatic.engines.chat.detection import find_family
from tests.engines.llama.asking import Answer, ask_for, opened
from tests.engines.llama.small_model import write_model

pytestmark = [pytest.mark.anyio, pytest.mark.templates]

MARKERS = re.compile(r"<[|｜/]{0,2}[A-Za-z_▁:.\-0-9]{2,40}[|｜/]{0,2}>|\[/?[A-Z_]{3,}\]")
UNWRITTEN = {  # markers that these families write and their templates never show
    "gpt-oss": {"<|return|>", "<|call|>", "<|constrain|>"},
    "solar": {"<|flush|>", "<|calls|>"},
}
WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 8},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "days": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
TOOLS = ToolUse(
    tuple(
        {"type": "function", "function": {"name": name, "parameters": schema}}
        for name, schema in (("get_weather", WEATHER), ("stop", NOTHING))
    ),
    mode="required",
    is_parallel=False,
)
FORM = Constraint("json_schema", json.dumps(WEATHER))


async def asked(path: Path, template: ChatTemplate) -> tuple[Answer, Answer]:
    """The answers to a required call and to a schema."""
    async with opened(path, context=32768, parallel=2, chat_template=template.source) as engine:
        budget = 8 if engine.info.has_reasoning else None

        def request(name: str, tools: ToolUse | None, constraint: Constraint | None) -> GenerationRequest:
            return GenerationRequest(
                id=name,
                prompt=ChatPrompt(({"role": "user", "content": "hello"},), tools=tools),
                sampling=SamplingParams(temperature=0.7, seed=5),
                max_tokens=900,
                constraint=constraint,
                reasoning_budget=budget,
            )

        called, held = await asyncio.gather(
            ask_for(engine, request("call", TOOLS, None)), ask_for(engine, request("form", None, FORM))
        )
        return called, held


async def test_every_family_keeps_to_what_is_required(
    llama_cpp_templates: dict[str, ChatTemplate], tmp_path: Path
) -> None:
    firsts: dict[str, tuple[str, ChatTemplate]] = {}
    for name, template in llama_cpp_templates.items():
        firsts.setdefault(find_family(template.source).name, (name, template))
    assert len(firsts) >= 25
    cut_off = []
    for family, (name, template) in firsts.items():
        markers = sorted(set(MARKERS.findall(template.source)) | UNWRITTEN.get(family, set()))
        path = write_model(tmp_path / "model.gguf", n_context=16384, control=tuple(markers))
        called, held = await asked(path, template)
        if "length" in (*called.reasons, *held.reasons):  # the dice may think over and over
            cut_off.append(name)
            continue
        assert called.reasons == ["tool_calls"], name
        deltas = [call for delta in called.deltas for call in delta.calls]
        assert [call.name for call in deltas if call.name] in (["get_weather"], ["stop"]), name
        arguments = json.loads("".join(call.arguments for call in deltas))
        assert set(arguments) - {"days"} in ({"city", "unit"}, set()), name
        assert called.texts[0].strip() == "", name
        assert held.reasons == ["stop"], name
        assert set(json.loads(held.texts[0])) >= {"city", "unit"}, name
    assert len(cut_off) <= 3, cut_off
