"""What OpenAI's levels of effort become for each template."""

from collections.abc import Mapping
from typing import Any

import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.engines.chat import ChatTemplate, template_source
from llmatic.engines.chat.effort import LEVELS, Efforts, find_efforts

ON_LEVELS = ("low", "medium", "high", "xhigh", "max")


def switch(name: str, on: Any = True, off: Any = False) -> dict[str, Any]:
    return {level: {name: off if level in ("none", "minimal") else on} for level in LEVELS}


def graded(name: str, *levels: str, **others: Any) -> dict[str, Any]:
    return {level: {name: level} for level in levels} | {
        level: {name: word} for level, word in others.items()
    }


def switched(table: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    return {level: {name: True, **names} for level, names in table.items()} | {
        "none": {name: False},
        "minimal": {name: False},
    }


def found(source: str) -> Mapping[str, Mapping[str, Any]]:
    return find_efforts(ChatTemplate(source + "{{ messages[0].content }}", bos="", eos="")).table


@pytest.mark.parametrize(
    ("source", "table"),
    [
        ("", {"medium": {}}),
        ("{{ enable_thinking is defined }}", {"medium": {}}),
        (
            "{% if enable_thinking is defined and not enable_thinking %}off{% endif %}",
            switch("enable_thinking"),
        ),
        ("{{ 'on' if thinking }}", switch("thinking")),
        ("{{ 'off' if thinking_mode == 'disabled' }}", switch("thinking_mode", "enabled", "disabled")),
        ("{{ reasoning_effort or 'medium' }}", graded("reasoning_effort", "low", "medium", "high")),
        (
            "{{ reasoning_effort or 'medium' }}{# 'xhigh', 'minimal' #}",
            graded("reasoning_effort", "minimal", "low", "medium", "high", "xhigh"),
        ),
        (
            "{{ 'deep' if reasoning_effort == 'max' }}{{ 'on' if enable_thinking }}",
            switched(graded("reasoning_effort", *ON_LEVELS), "enable_thinking"),
        ),
        (
            "{% if reasoning_effort not in [none, 'low', 'high'] %}{{ raise_exception('no') }}{% endif %}"
            "{{ reasoning_effort == 'low' }}",
            {},
        ),
    ],
)
def test_small_templates(source: str, table: dict[str, Any]) -> None:
    expected = table or {"medium": {}, **graded("reasoning_effort", "low", "high")}
    assert found(source) == expected


def test_a_level_that_the_template_cannot_express() -> None:
    with pytest.raises(InvalidRequest) as caught:
        Efforts().names("low")
    assert caught.value.message == (
        "Unsupported value: 'reasoning_effort' does not support 'low' with this model. "
        "Supported values are: 'medium'."
    )
    assert (caught.value.param, caught.value.code) == ("reasoning_effort", "unsupported_value")


def test_supported_levels_are_listed_in_order() -> None:
    efforts = Efforts({"high": {}, "medium": {}, "low": {}})
    with pytest.raises(InvalidRequest, match=r"values are: 'low', 'medium' and 'high'\.$"):
        efforts.names("none")


@pytest.mark.parametrize(
    ("known", "asked", "meant"),
    [
        (("medium",), "max", "medium"),
        (("none", "minimal", "medium"), "low", "medium"),
        (("low", "medium", "high"), "xhigh", "high"),
        (("low", "medium", "high"), "low", "low"),
    ],
)
def test_a_wish_means_the_nearest_thinking(known: tuple[str, ...], asked: str, meant: str) -> None:
    efforts = Efforts({level: {"level": level} for level in known})
    assert efforts.names(asked, is_wish=True) == {"level": meant}


def test_no_level_sets_nothing() -> None:
    assert Efforts({"medium": {"thinking": True}}).names(None) == {}


def test_chatml() -> None:
    assert find_efforts(ChatTemplate(template_source("chatml"), bos="", eos="")).supported == ("medium",)


SWITCHED = [
    "Apertus-8B-Instruct",
    "Bielik-11B-v3.0-Instruct",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
    "GLM-4.6",
    "GLM-4.7-Flash",
    "HuggingFaceTB-SmolLM3-3B",
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
    "Qwen-QwQ-32B",
    "Qwen-Qwen3-0.6B",
    "Qwen3.5-4B",
    "Reka-Edge",
    "Spark2.5",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
    "deepseek-ai-DeepSeek-V3.1",
    "deepseek-ai-DeepSeek-V3.2",
    "google-gemma-4-31B-it-interleaved",
    "google-gemma-4-31B-it",
    "inclusionai-ling-3.0-flash",
    "llama-cpp-rwkv-world",
    "openbmb-MiniCPM5-1B",
    "poolside-Laguna-S-2.1",
    "poolside-Laguna-XS-2.1",
    "poolside-Laguna-XS.2",
]
OTHERS = {
    "Cohere2MoE": switch("reasoning"),
    "ibm-granite-granite-3.3-2B-Instruct": switch("thinking"),
    "MiniMax-M3": switch("thinking_mode", "enabled", "disabled"),
    "openai-gpt-oss-120b": graded("reasoning_effort", "low", "medium", "high"),
    "muse-glimmer": graded("reasoning_strength", "low", "medium", "high"),
    "Kimi-K3": switched({"medium": {}, **graded("thinking_effort", "low", "high", "max")}, "thinking"),
    "deepseek-ai-DeepSeek-V4": switched(graded("reasoning_effort", *ON_LEVELS), "enable_thinking"),
    "deepseek-ai-DeepSeek-V4-Flash-0731": switched(graded("reasoning_effort", *ON_LEVELS), "enable_thinking"),
    "upstage-Solar-Open-100B": graded("reasoning_effort", *ON_LEVELS, none="minimal", minimal="minimal"),
    "tencent-Hy3": graded(
        "reasoning_effort", "low", "high", medium="high", none="no_think", minimal="no_think"
    ),
    "ByteDance-Seed-OSS": {
        level: {"thinking_budget": budget}
        for level, budget in zip(LEVELS, (0, 0, 1024, 4096, 16384, -1, -1), strict=True)
    },
}


@pytest.mark.templates
def test_real_templates(llama_cpp_templates: dict[str, ChatTemplate]) -> None:
    known = {name: switch("enable_thinking") for name in SWITCHED} | OTHERS
    tables = {
        name.removesuffix(".jinja"): find_efforts(template).table
        for name, template in llama_cpp_templates.items()
    }
    assert tables == {name: known.get(name, {"medium": {}}) for name in tables}
    assert known.keys() <= tables.keys()
