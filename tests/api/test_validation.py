# A line of a table is one case, however long its sentence.
from pathlib import Path

import orjson
import pytest

from llmatic.api.validation import Contract
from llmatic.app import contract_path
from llmatic.core.errors import ConfigError, InvalidRequest
from tests.api.words import (
    CHAT,
    HELLO,
    TEXT,
    Body,
    bad_type,
    chat,
    empty_array,
    missing,
    out_of_range,
    refusal,
    said,
    text,
    unserved,
    unserved_value,
)


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract.load(contract_path())


@pytest.fixture(scope="module")
def lenient() -> Contract:
    return Contract.load(contract_path(), unknown_fields="ignore")


NO_CONTENT = "Invalid value for 'content': expected a string, got null."
TEXT_ONLY = "Pictures can stand in messages of the user only."
NO_CUSTOM = "A function whose only argument is a text does the same."
TOOL: Body = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL: Body = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SCHEMA = {"name": "n", "schema": {"type": "object"}}
ROLES = "'system', 'assistant', 'user', 'function', 'tool', and 'developer'"
FULL_CHAT = chat(
    messages=[
        {"role": "system", "content": "a", "name": "s"},
        {"role": "developer", "content": [{"type": "text", "text": "b"}]},
        {"role": "user", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}], "name": "u-1"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,", "detail": "low"}}, {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]},
        {"role": "assistant", "content": "e", "annotations": [], "refusal": "r", "reasoning_content": "t", "reasoning": "t"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}], "tool_calls": [{**CALL, "index": 0}]},
        {"role": "tool", "content": "f", "tool_call_id": "call_1"},
        {"role": "assistant", "function_call": {"name": "h", "arguments": ""}},
        {"role": "function", "content": "g", "name": "h"},
    ],
    **{
        "max_tokens": 1, "max_completion_tokens": 1, "n": 128, "stop": ["a", "b", "c", "d"], "temperature": 2,
        "top_p": 0.5, "presence_penalty": -2, "frequency_penalty": 2.0, "logit_bias": {"0": -100, "7": 1.5},
        "logprobs": True, "top_logprobs": 20, "seed": -(2**63), "stream": True, "user": "u",
        "stream_options": {"include_usage": True, "include_obfuscation": False, "continuous_usage_stats": True},
        "safety_identifier": "s", "prompt_cache_key": "k" * 64, "prompt_cache_retention": "in_memory",
        "prompt_cache_options": {"mode": "implicit", "ttl": "30m"}, "cache_salt": "s",
        "prediction": {"type": "content", "content": [{"type": "text", "text": "p"}]},
        "metadata": {"k": "v"}, "store": False, "service_tier": "auto", "modalities": ["text"],
        "response_format": {"type": "text"}, "reasoning_effort": "xhigh", "verbosity": "medium", "top_k": -1,
        "tools": [TOOL], "parallel_tool_calls": False, "thinking_budget_tokens": -1, "thinking_token_budget": 5,
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}},
        "grammar": {"syntax": "lark", "definition": "start: /a/"},
        "continue_final_message": False, "add_generation_prompt": True,
        "min_p": 0.1, "repetition_penalty": 1.1, "repeat_penalty": 1.1, "min_tokens": 3, "ignore_eos": True,
        "continuous_usage_stats": False, "chat_template_kwargs": {"enable_thinking": False, "a": [{"b": 1}]},
    },
)  # fmt: skip
FULL_TEXT = text(
    prompt=["a", "b"], suffix="c", max_tokens=0, n=2, best_of=20, stop="x", temperature=0, top_p=1, logprobs=5,
    presence_penalty=0, frequency_penalty=0, logit_bias={}, echo=True, seed=1, stream=False, user="u", top_k=0,
    min_p=0, repetition_penalty=0.5, repeat_penalty=2, min_tokens=0, ignore_eos=False, continuous_usage_stats=True,
    service_tier="flex", prompt_cache_key="", prompt_cache_retention="24h", cache_salt="s" * 256,
    response_format={"type": "json_schema", "json_schema": {**SCHEMA, "strict": None, "description": None}},
)  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        (CHAT, FULL_CHAT),
        (TEXT, FULL_TEXT),
        (TEXT, text()),
        (TEXT, text(prompt="")),
        (TEXT, text(prompt=[""])),
        (TEXT, text(prompt=[1, 2])),
        (TEXT, text(prompt=[[1], [2, 3]])),
        (TEXT, text(prompt=list(range(5000)))),
        (TEXT, text(regex="a+", response_format={"type": "text"})),
        (TEXT, text(grammar='root ::= "a"')),
        (TEXT, text(response_format={"type": "json_object", "schema": {}})),
        (CHAT, chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "f"}})),
        (
            CHAT,
            chat(tools=[{"type": "function", "function": {"name": "f", "parameters": None, "strict": None}}]),
        ),
        (CHAT, chat(functions=[{"name": "f"}], function_call={"name": "f"})),
        ("createEngineCompletion", {"prompt": "a"}),
        ("createEngineCompletion", text(prompt="a")),
        ("createEngineChatCompletion", {"messages": [HELLO]}),
    ],
)
def test_a_good_body_passes_unchanged(contract: Contract, operation: str, body: Body) -> None:
    before = orjson.dumps(body)
    assert contract.check(operation, body) == body
    assert orjson.dumps(body) == before


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, ("you must provide a model parameter", None, None)),
        (text(model=""), ("you must provide a model parameter", None, None)),
        (text(model=None), ("you must provide a model parameter", None, None)),
        (text(model=7), bad_type("model", "a string", "an integer")),
        (text(foo=1), ("Unrecognized request argument supplied: foo", None, None)),
        (text(foo=1, bar=2), ("Unrecognized request arguments supplied: bar, foo", None, None)),
        (text(tools=[]), ("Unrecognized request argument supplied: tools", None, None)),
        (text(prompt=[]), empty_array("prompt")),
        (text(prompt=[[]]), empty_array("prompt[0]")),
        (text(prompt=7), bad_type("prompt", "one of a string, array of strings, array of integers, or array of integer arrays", "an integer")),
        (text(prompt=["a", 1]), bad_type("prompt[1]", "a string", "an integer")),
        (text(prompt=[1, "a"]), bad_type("prompt[1]", "an integer", "a string")),
        (text(prompt=[1, True]), bad_type("prompt[1]", "an integer", "a boolean")),
        (text(prompt=[[1], "a"]), bad_type("prompt[1]", "an array of integers", "a string")),
        (text(prompt=[[1], [2, 0.5]]), bad_type("prompt[1][1]", "an integer", "a decimal number")),
        (text(prompt=[3, -1]), out_of_range("prompt[1]", "integer", ">= 0", "-1")),
        (text(prompt=[[3, 2**31]]), out_of_range("prompt[0][1]", "integer", "<= 2147483647", "2147483648")),
        (text(prompt=["a"] * 2049), ("Invalid 'prompt': array too long. Expected an array with maximum length 2048, but got an array with length 2049 instead.", "prompt", "array_above_max_length")),
        (text(suffix=1), bad_type("suffix", "a string", "an integer")),
        (text(max_tokens=-1, prompt="", temperature=3), out_of_range("max_tokens", "integer", ">= 0", "-1")),
        (text(best_of=21), out_of_range("best_of", "integer", "<= 20", "21")),
        (text(logprobs=6), out_of_range("logprobs", "integer", "<= 5", "6")),
        (text(logprobs=True), bad_type("logprobs", "an integer", "a boolean")),
        (text(echo="yes"), bad_type("echo", "a boolean", "a string")),
        (text(stream_options={}), ("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options", None)),
    ],
)  # fmt: skip
def test_a_bad_completion_body_gets_openais_words(
    contract: Contract, body: Body, error: tuple[str, str | None, str | None]
) -> None:
    assert refusal(contract, TEXT, body) == error


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"model": "m"}, missing("messages")),
        (chat(messages=[]), empty_array("messages")),
        (chat(messages=None), missing("messages")),
        (chat(messages="hi"), bad_type("messages", "an array of objects", "a string")),
        (chat(messages=["hi"]), bad_type("messages[0]", "an object", "a string")),
        (chat(messages=[None]), bad_type("messages[0]", "an object", "null")),
        (said(content="x"), missing("messages[1].role")),
        (said(role="bogus", content="x"), (f"Invalid value: 'bogus'. Supported values are: {ROLES}.", "messages[1].role", "invalid_value")),
        (said(role=7, content="x"), bad_type("messages[1].role", f"one of {ROLES}".replace(" and ", " or "), "an integer")),
        (said(role="user"), (NO_CONTENT, "messages.[1].content", None)),
        (said(role="user", content=None), (NO_CONTENT, "messages.[1].content", None)),
        (said(role="tool", content=None, tool_call_id="a"), (NO_CONTENT, "messages.[1].content", None)),
        (said(role="tool", content="x"), missing("messages[1].tool_call_id")),
        (said(role="function", content="x"), missing("messages[1].name")),
        (said(role="user", content=7), bad_type("messages[1].content", "one of a string or array of objects", "an integer")),
        (said(role="user", content=[]), empty_array("messages[1].content")),
        (said(role="user", content=["x"]), bad_type("messages[1].content[0]", "an object", "a string")),
        (said(role="user", content=[{}]), missing("messages[1].content[0].type")),
        (said(role="user", content=[{"type": "text"}]), missing("messages[1].content[0].text")),
        (said(role="user", content=[{"type": "text", "text": 1}]), bad_type("messages[1].content[0].text", "a string", "an integer")),
        (said(role="system", content=[{"type": "x", "text": ""}]), ("Invalid value: 'x'. Supported values are: 'text'.", "messages[1].content[0].type", "invalid_value")),
        (said(role="user", content=[{"type": "x", "text": ""}]), ("Invalid value: 'x'. Supported values are: 'text', 'image_url', and 'input_audio'.", "messages[1].content[0].type", "invalid_value")),
        (said(role="system", content=[{"type": "image_url", "image_url": {"url": "x"}}]), unserved_value("messages[1].content[0].type", "'image_url'", TEXT_ONLY)),
        (said(role="user", content=[{"type": "file", "file": {}}]), unserved_value("messages[1].content[0].type", "'file'", "This version of llmatic reads no files.")),
        (said(role="user", content=[{"type": "image_url", "image_url": "x"}]), bad_type("messages[1].content[0].image_url", "an object", "a string")),
        (said(role="user", content=[{"type": "image_url", "image_url": {}}]), missing("messages[1].content[0].image_url.url")),
        (said(role="user", content=[{"type": "input_audio", "input_audio": {"data": "x", "format": "ogg"}}]), ("Invalid value: 'ogg'. Supported values are: 'wav' and 'mp3'.", "messages[1].content[0].input_audio.format", "invalid_value")),
        (said(role="user", content=[{"type": "text", "text": "", "extra": 1}]), ("Unknown parameter: 'messages[1].content[0].extra'.", "messages[1].content[0].extra", "unknown_parameter")),
        (said(role="user", content="x", extra=1), ("Unknown parameter: 'messages[1].extra'.", "messages[1].extra", "unknown_parameter")),
        (said(role="user", content="x", name=""), ("Invalid 'messages[1].name': empty string. Expected a string with minimum length 1, but got an empty string instead.", "messages[1].name", "empty_string")),
        (said(role="user", content="x", name="a b"), ("Invalid 'messages[1].name': string does not match pattern. Expected a string that matches the pattern '^[^\\s<|\\\\/>]+$'.", "messages[1].name", "invalid_value")),
        (said(role="user", content="x", name="a" * 65), ("Invalid 'messages[1].name': string too long. Expected a string with maximum length 64, but got a string with length 65 instead.", "messages[1].name", "string_above_max_length")),
        (said(role="assistant", content="x", tool_calls=[]), empty_array("messages[1].tool_calls")),
        (said(role="assistant", content="x", tool_calls="x"), bad_type("messages[1].tool_calls", "an array of objects", "a string")),
        (said(role="assistant", tool_calls=[{**CALL, "type": "custom"}]), unserved_value("messages[1].tool_calls[0].type", "'custom'", NO_CUSTOM)),
        (said(role="assistant", tool_calls=[{**CALL, "function": {"name": "f", "arguments": {}}}]), bad_type("messages[1].tool_calls[0].function.arguments", "a string", "an object")),
        (said(role="assistant", tool_calls=[{**CALL, "function": {"name": "a b", "arguments": ""}}]), ("Invalid 'messages[1].tool_calls[0].function.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.", "messages[1].tool_calls[0].function.name", "invalid_value")),
        (said(role="assistant", function_call="f"), bad_type("messages[1].function_call", "an object", "a string")),
        (said(role="assistant", content="x", refusal=7), bad_type("messages[1].refusal", "a string", "an integer")),
        (chat(max_tokens=0), out_of_range("max_tokens", "integer", ">= 1", "0")),
        (chat(max_completion_tokens="5"), bad_type("max_completion_tokens", "an integer", "a string")),
        (chat(max_tokens=1.5), bad_type("max_tokens", "an integer", "a decimal number")),
        (chat(max_tokens=True), bad_type("max_tokens", "an integer", "a boolean")),
        (chat(max_tokens={}), bad_type("max_tokens", "an integer", "an object")),
        (chat(n=0), out_of_range("n", "integer", ">= 1", "0")),
        (chat(n=129), out_of_range("n", "integer", "<= 128", "129")),
        (chat(temperature=200), out_of_range("temperature", "decimal", "<= 2", "200")),
        (chat(temperature=-0.5), out_of_range("temperature", "decimal", ">= 0", "-0.5")),
        (chat(temperature="hot"), bad_type("temperature", "a decimal", "a string")),
        (chat(top_p=[1]), bad_type("top_p", "a decimal", "an array")),
        (chat(stop=[]), empty_array("stop")),
        (chat(stop=list("abcde")), ("Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length 5 instead.", "stop", "array_above_max_length")),
        (chat(stop=7), bad_type("stop", "one of a string or array of strings", "an integer")),
        (chat(stop=["a", 1]), bad_type("stop[1]", "a string", "an integer")),
        (chat(stop=[""]), ("Invalid 'stop[0]': empty string. Expected a string with minimum length 1, but got an empty string instead.", "stop[0]", "empty_string")),
        (chat(seed=1.5), bad_type("seed", "an integer", "a decimal number")),
        (chat(seed=2.0**63), out_of_range("seed", "integer", "<= 9223372036854775807", "9.223372036854776e+18")),
        (chat(stream="yes"), bad_type("stream", "a boolean", "a string")),
        (chat(stream=True, stream_options={"x": 1}), ("Unknown parameter: 'stream_options.x'.", "stream_options.x", "unknown_parameter")),
        (chat(stream=False, stream_options={}), ("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options", None)),
        (chat(logprobs=1), bad_type("logprobs", "a boolean", "an integer")),
        (chat(top_logprobs=1), ("The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", "top_logprobs", None)),
        (chat(logprobs=False, top_logprobs=1), ("The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", "top_logprobs", None)),
        (chat(logprobs=True, top_logprobs=21), out_of_range("top_logprobs", "integer", "<= 20", "21")),
        (chat(logit_bias={"a": 1}), ("Invalid key in 'logit_bias': a. You should only be submitting non-negative integers.", "logit_bias", None)),
        (chat(logit_bias={"-1": 1}), ("Invalid key in 'logit_bias': -1. You should only be submitting non-negative integers.", "logit_bias", None)),
        (chat(logit_bias={"1\n": 1}), ("Invalid key in 'logit_bias': 1\n. You should only be submitting non-negative integers.", "logit_bias", None)),
        (chat(logit_bias={"1": 101}), out_of_range("logit_bias.1", "decimal", "<= 100", "101")),
        (chat(logit_bias={"1": "x"}), bad_type("logit_bias.1", "a decimal", "a string")),
        (chat(logit_bias=[]), bad_type("logit_bias", "an object", "an array")),
        (chat(user={}), bad_type("user", "a string", "an object")),
        (chat(safety_identifier="x" * 65), ("Invalid 'safety_identifier': string too long. Expected a string with maximum length 64, but got a string with length 65 instead.", "safety_identifier", "string_above_max_length")),
        (chat(metadata={"k": 7}), bad_type("metadata.k", "a string", "an integer")),
        (chat(metadata={f"k{i}": "" for i in range(17)}), ("Invalid 'metadata': too many properties. Expected an object with at most 16 properties, but got an object with 17 properties instead.", "metadata", "object_above_max_properties")),
        (chat(metadata={"k": "x" * 513}), ("Invalid 'metadata.k': string too long. Expected a string with maximum length 512, but got a string with length 513 instead.", "metadata.k", "string_above_max_length")),
        (chat(metadata={"k" * 65: ""}), ("Invalid property name in 'metadata': 'kkk...kkk' is too long. Expected a string with maximum length 64, but got a string with length 65 instead.", "metadata." + "k" * 65, "property_name_above_max_length")),
        (chat(top_k=-2), out_of_range("top_k", "integer", ">= -1", "-2")),
        (chat(min_p=1.5), out_of_range("min_p", "decimal", "<= 1", "1.5")),
        (chat(repetition_penalty=0), out_of_range("repetition_penalty", "decimal", "> 0", "0")),
        (chat(ignore_eos=1), bad_type("ignore_eos", "a boolean", "an integer")),
        (chat(chat_template_kwargs=[]), bad_type("chat_template_kwargs", "an object", "an array")),
    ],
)  # fmt: skip
def test_a_bad_chat_body_gets_openais_words(
    contract: Contract, body: Body, error: tuple[str, str | None, str | None]
) -> None:
    assert refusal(contract, CHAT, body) == error


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, unserved_value("tools[0].type", "'custom'", NO_CUSTOM)),
        ({"tools": [TOOL], "tool_choice": {"type": "custom", "custom": {"name": "f"}}}, unserved_value("tool_choice.type", "'custom'", NO_CUSTOM)),
        ({"tool_choice": "none"}, ("Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.", "tool_choice", None)),
        ({"parallel_tool_calls": False}, ("Invalid value for 'parallel_tool_calls': 'parallel_tool_calls' is only allowed when 'tools' are specified.", "parallel_tool_calls", None)),
        ({"function_call": "auto"}, ("Invalid value for 'function_call': 'function_call' is only allowed when 'functions' are specified.", "function_call", None)),
        ({"audio": {}}, unserved("audio", "The loaded models write text only.")),
        ({"prediction": {"type": "content", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}}, unserved_value("prediction.content[0].type", "'image_url'", TEXT_ONLY)),
        ({"web_search_options": {}}, unserved("web_search_options", "This server does not search the web.")),
        ({"moderation": {}}, unserved("moderation", "This version of llmatic does not moderate.")),
        ({"prompt_cache_options": {"mode": "explicit"}}, unserved_value("prompt_cache_options.mode", "'explicit'", "Every beginning of a prompt is kept for reuse; to share it with nobody, send a 'cache_salt' of your own.")),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "t", "prompt_cache_breakpoint": {"mode": "explicit"}}]}]}, unserved("messages[0].content[0].prompt_cache_breakpoint", "Every beginning of a prompt can be reused here without a mark.")),
        ({"store": "yes"}, bad_type("store", "a boolean", "a string")),
        ({"modalities": ["text", "audio"]}, unserved_value("modalities[1]", "'audio'", "The loaded models write text only.")),
        ({"verbosity": "low"}, unserved_value("verbosity", "'low'", "Ask for short or long answers in a message instead.")),
    ],
)  # fmt: skip
def test_what_is_not_served_is_refused_by_name(
    contract: Contract, fields: Body, error: tuple[str, str | None, str | None]
) -> None:
    assert refusal(contract, CHAT, chat(**fields)) == error


@pytest.mark.parametrize(
    ("body", "first"),
    [
        ({"foo": 1}, "you must provide a model parameter"),
        ({"model": "m", "foo": 1}, "Missing required parameter: 'messages'."),
        (chat(foo=1, n="x", tools=[]), "Unrecognized request argument supplied: foo"),
        (chat(tools="x", tool_choice="y"), "Invalid type for 'tools'"),
        (chat(temperature=9, n=0), "Invalid 'n': integer below minimum value."),
        (chat(tools=[], stop=7), "Invalid type for 'stop'"),
        (chat(messages=[{"role": "x"}, {}], n=0), "Invalid value: 'x'."),
    ],
)
def test_of_several_faults_the_first_is_reported(contract: Contract, body: Body, first: str) -> None:
    assert refusal(contract, CHAT, body)[0].startswith(first)


def test_null_means_absent(contract: Contract) -> None:
    body = chat(n=None, tools=None, stream=True, stream_options={"include_usage": None}, foo="")
    del body["foo"]
    body["messages"] = [
        {"role": "user", "content": "hi", "name": None},
        {"role": "assistant", "content": None},
    ]
    assert contract.check(CHAT, body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None}],
        "stream": True,
        "stream_options": {},
    }
    assert body["messages"][0]["name"] is None


def test_a_reply_can_be_sent_back_as_it_came(contract: Contract) -> None:
    reply: Body = {"role": "assistant", "content": "hi", "refusal": None, "annotations": [], "audio": None}
    reply |= {"function_call": None, "tool_calls": None}
    checked = contract.check(CHAT, {"model": "m", "messages": [HELLO, reply, HELLO]})
    assert checked["messages"][1] == {"role": "assistant", "content": "hi", "annotations": []}


def test_whole_decimals_become_integers(contract: Contract) -> None:
    checked = contract.check(TEXT, text(max_tokens=5.0, temperature=1.0, prompt=[[1.0, 2]], seed=-4.0))
    assert repr(checked) == repr(text(max_tokens=5, temperature=1.0, prompt=[[1, 2]], seed=-4))
    assert repr(contract.check(TEXT, text(prompt=[1, 2.0]))) == repr(text(prompt=[1, 2]))


def test_unknown_fields_can_be_ignored(lenient: Contract) -> None:
    body = chat(foo=1, stream=True, stream_options={"x": 1})
    body["messages"] = [{"role": "user", "content": [{"type": "text", "text": "a", "x": 1}], "y": 2}]
    assert lenient.check(CHAT, body) == {
        "model": "m",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
        "stream": True,
        "stream_options": {},
    }


def test_unknown_fields_of_tools_can_be_ignored(lenient: Contract) -> None:
    named = {"type": "function", "function": {"name": "f"}}
    body = chat(
        tools=[{**TOOL, "x": 1}, {"type": "function", "function": {**TOOL["function"], "x": 1}}],
        tool_choice={**named, "function": {"name": "f", "x": 1}},
        response_format={"type": "json_object", "x": 1},
        grammar={"syntax": "gbnf", "definition": "g", "x": 1},
    )
    body["messages"] += [{"role": "assistant", "tool_calls": [{**CALL, "x": 1}]}]
    with pytest.raises(InvalidRequest, match="is only allowed without"):
        lenient.check(CHAT, body)
    del body["response_format"]
    checked = lenient.check(CHAT, body)
    assert checked["tools"] == [TOOL, TOOL]
    assert checked["tool_choice"] == named
    assert checked["grammar"] == {"syntax": "gbnf", "definition": "g"}
    assert checked["messages"][1]["tool_calls"] == [CALL]
    assert lenient.check(CHAT, chat(response_format={"type": "text", "x": 1}))["response_format"] == {
        "type": "text"
    }


def test_ignoring_unknown_fields_hides_no_other_fault(lenient: Contract) -> None:
    assert refusal(lenient, CHAT, chat(foo=1, tools=[]))[1] == "tools"
    assert refusal(lenient, CHAT, chat(messages=[{"role": "x", "y": 1}]))[1] == "messages[0].role"


@pytest.mark.parametrize(
    "body",
    [
        chat(messages=[HELLO] * 20_000 + [{"role": "x" * 1_000_000}]),
        chat(messages=[{"role": "user", "content": "x" * 1_000_000, "y" * 1_000_000: 1}]),
        chat(**{"z" * 1_000_000: 1}),
        chat(metadata={"k" * 1_000_000: 1}),
        chat(logit_bias={"k" * 1_000_000: 1}),
        text(prompt=[1] * 200_000 + ["x" * 1_000_000]),
        text(prompt=[[1] * 64] * 2000 + [["x" * 1_000_000]]),
    ],
)
def test_errors_of_large_bodies_are_short(contract: Contract, body: Body) -> None:
    message, param, _ = refusal(contract, CHAT if "messages" in body else TEXT, body)
    assert len(message) < 500
    assert len(param or "") < 200


def test_the_document_is_served_as_it_is(contract: Contract) -> None:
    assert contract.document_bytes() == contract_path().read_bytes()


def test_a_missing_document_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Contract.load(tmp_path / "none.yaml")
