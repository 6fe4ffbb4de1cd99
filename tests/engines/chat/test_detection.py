"""Templates and the families that they belong to."""

from pathlib import Path

import pytest

from llmatic.core.errors import ConfigError
from llmatic.engines.chat import ChatTemplate
from llmatic.engines.chat.builtin import CHATML
from llmatic.engines.chat.detection import family_named, find_family
from llmatic.engines.chat.families import ALIASES, FAMILIES

FAMILY_OF = {
    "Apertus-8B-Instruct": "apertus",
    "Apriel-1.6-15b-Thinker-fixed": "apriel",
    "Bielik-11B-v3.0-Instruct": "hermes",
    "ByteDance-Seed-OSS": "seed-oss",
    "Cohere2MoE": "command-a",
    "CohereForAI-c4ai-command-r-plus-tool_use": "command-r",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": "command-r7b",
    "GLM-4.6": "glm-4.6",
    "GLM-4.7-Flash": "glm-4.7",
    "GigaChat3-10B-A1.8B": "gigachat-3",
    "GigaChat3.1-10B-A1.8B": "gigachat-3.1",
    "HuggingFaceTB-SmolLM3-3B": "generic",
    "Kimi-K2-Instruct": "kimi-k2",
    "Kimi-K2-Thinking": "kimi-k2",
    "Kimi-K3": "kimi-k3",
    "LFM2-8B-A1B": "lfm2",
    "LFM2.5-8B-A1B": "lfm2",
    "LFM2.5-Instruct": "lfm2",
    "MiMo-VL": "hermes",
    "MiniMax-M1": "minimax-m1",
    "MiniMax-M2": "minimax-m2",
    "MiniMax-M3": "minimax-m3",
    "Mistral-Small-3.2-24B-Instruct-2506": "mistral-call-id",
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": "qwen3-coder",
    "NVIDIA-Nemotron-Nano-v2": "nemotron-v2",
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": "hermes",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": "hermes",
    "Qwen-QwQ-32B": "hermes",
    "Qwen-Qwen2.5-7B-Instruct": "hermes",
    "Qwen-Qwen3-0.6B": "hermes",
    "Qwen3-Coder": "qwen3-coder",
    "Qwen3.5-4B": "qwen3-coder",
    "Reka-Edge": "hermes",
    "Spark2.5": "glm-4.7",
    "StepFun3.5-Flash": "qwen3-coder",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "deepseek-r1",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": "deepseek-r1",
    "deepseek-ai-DeepSeek-V3.1": "deepseek-v3.1",
    "deepseek-ai-DeepSeek-V3.2": "deepseek-v3.2",
    "deepseek-ai-DeepSeek-V4": "deepseek-v4",
    "deepseek-ai-DeepSeek-V4-Flash-0731": "deepseek-v4",
    "fireworks-ai-llama-3-firefunction-v2": "firefunction",
    "google-gemma-2-2b-it": "generic",
    "google-gemma-4-31B-it": "gemma-4",
    "google-gemma-4-31B-it-interleaved": "gemma-4",
    "ibm-granite-granite-3.3-2B-Instruct": "granite-3",
    "ibm-granite-granite-4.0": "hermes",
    "ibm-granite-granite-4.1": "hermes",
    "inclusionai-ling-3.0-flash": "ling",
    "llama-cpp-deepseek-r1": "deepseek-r1",
    "llama-cpp-rwkv-world": "generic",
    "meetkai-functionary-medium-v3.1": "functionary-v3.1",
    "meetkai-functionary-medium-v3.2": "functionary-v3.2",
    "meta-llama-Llama-3.1-8B-Instruct": "llama-3",
    "meta-llama-Llama-3.2-3B-Instruct": "llama-3",
    "meta-llama-Llama-3.3-70B-Instruct": "llama-3",
    "microsoft-Phi-3.5-mini-instruct": "generic",
    "mistralai-Ministral-3-14B-Reasoning-2512": "mistral",
    "mistralai-Mistral-Nemo-Instruct-2407": "mistral-nemo",
    "moonshotai-Kimi-K2": "kimi-k2",
    "muse-glimmer": "muse",
    "openai-gpt-oss-120b": "gpt-oss",
    "openbmb-MiniCPM5-1B": "minicpm5",
    "poolside-Laguna-S-2.1": "laguna",
    "poolside-Laguna-XS-2.1": "laguna-xs",
    "poolside-Laguna-XS.2": "laguna-xs",
    "tencent-Hy3": "hunyuan",
    "unsloth-Apriel-1.5": "apriel",
    "unsloth-mistral-Devstral-Small-2507": "mistral",
    "upstage-Solar-Open-100B": "solar",
}
DO_NOT_THINK = {
    *("CohereForAI-c4ai-command-r-plus-tool_use", "GigaChat3-10B-A1.8B", "GigaChat3.1-10B-A1.8B"),
    *("Kimi-K2-Instruct", "LFM2-8B-A1B", "MiMo-VL", "Mistral-Small-3.2-24B-Instruct-2506"),
    *("NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", "NousResearch-Hermes-3-Llama-3.1-8B-tool_use"),
    *("Qwen-Qwen2.5-7B-Instruct", "Qwen3-Coder", "fireworks-ai-llama-3-firefunction-v2"),
    *("google-gemma-2-2b-it", "ibm-granite-granite-4.0", "ibm-granite-granite-4.1"),
    *("meetkai-functionary-medium-v3.1", "meetkai-functionary-medium-v3.2", "moonshotai-Kimi-K2"),
    *("meta-llama-Llama-3.1-8B-Instruct", "meta-llama-Llama-3.2-3B-Instruct"),
    *("meta-llama-Llama-3.3-70B-Instruct", "microsoft-Phi-3.5-mini-instruct"),
    *("mistralai-Mistral-Nemo-Instruct-2407", "unsloth-mistral-Devstral-Small-2507"),
}


@pytest.mark.templates
def test_every_template_of_llama_cpp_has_a_family(llama_cpp_templates: dict[str, ChatTemplate]) -> None:
    found = {
        name.removesuffix(".jinja"): find_family(template.source)
        for name, template in llama_cpp_templates.items()
    }
    assert {name: family.name for name, family in found.items()} == FAMILY_OF
    assert {name for name, family in found.items() if not family.has_reasoning} == DO_NOT_THINK


def test_a_template_without_tools_is_generic() -> None:
    family = find_family(CHATML)
    assert family.name == "generic"
    assert not family.has_reasoning


def test_every_family_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "chat-formats.md").read_text(encoding="utf-8")
    assert [family.name for family in FAMILIES if f"`{family.name}`" not in page] == []


def test_every_family_is_known_by_name() -> None:
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    assert [family_named(name).name for name in names] == names
    assert set(ALIASES.values()) <= set(names)


def test_a_named_family_thinks_as_the_template_says() -> None:
    assert family_named("qwen3", "{{ '<think>' }}").thinking is not None
    assert family_named("qwen3").thinking is None
    assert family_named("deepseek-v3.1").thinking is not None


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'kimi-k22' is not known; did you mean 'kimi-k2'"):
        family_named("kimi-k22")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("<|tool|>{{ message['tools'] }}<|/tool|>", "phi-4"),
        ('<|header_start|> {"name": function name, "parameters": dictionary}', "llama-3"),
        ("<tool_calls>[{{ call }}]</tool_calls>", "jamba"),
        ("<|im_start|>{{ '<tool_call>' }}", "hermes"),
        ("<start_function_call>", "function-gemma"),
        ("in the format of [func_name1(params_name1=params_value1)]<|header_start|>", "pythonic"),
        ("{{ '<function_calls>' + message['function_calls'] + '</function_calls>' }}", "olmo-3"),
    ],
)
def test_templates_that_are_not_in_the_collection(words: str, name: str) -> None:
    assert find_family(words).name == name
