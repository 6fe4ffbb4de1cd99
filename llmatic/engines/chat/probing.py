"""What a chat template can do with tools, calls and reasoning, found out by rendering small conversations.

Owns the probes, run once per template. Never sees a client's messages. Pure; usable from any thread.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from llmatic.engines.chat.conversation import with_reasoning
from llmatic.engines.chat.prefill import common_beginning
from llmatic.engines.chat.template import ChatTemplate
from llmatic.engines.chat.traits import Arguments, Calls, Traits

EXAMPLE_NAME = "function_name"
EXAMPLE_ARGUMENTS = {"parameter": "value"}
_NAME = "needle_name"
_KEY, _VALUE, _SECOND = "needle_key", "needle_value", "needle_second"
_QUESTION, _WORDS, _THOUGHT, _RESULT = "needle_question", "needle_words", "needle_thought", "needle_result"
_SYSTEM = "needle_system"
_LONG_ID, _SHORT_ID = "call_needle0id", "needle0id"
_USER = {"role": "user", "content": _QUESTION}
_TOOL = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "needle_description",
        "parameters": {
            "type": "object",
            "properties": {_KEY: {"type": "string", "description": "needle_parameter"}},
            "required": [_KEY],
        },
    },
}
# Templates that keep thoughts only while thinking is on.
_THINKING = {"thinking": True, "enable_thinking": True}
# Words of templates that list tools but leave it to the client to write calls as their models do.
_WRITTEN: tuple[tuple[str, Calls], ...] = (("List of tools: ", "python"), ("<|tool_call|>", "granite"))


def find_traits(template: ChatTemplate) -> Traits:
    """The traits of `template`; some fifty small renderings, a few milliseconds."""
    system = _SYSTEM in (template.attempt([{"role": "system", "content": _SYSTEM}, _USER]) or "")
    reasoning = _find_reasoning(template, None)
    tools = [_TOOL] if _lists_tools(template) else None
    form = _find_form(template, tools)
    example = _example(template, form) if form and not tools else ""
    if form is None or not (tools or example):
        calls = _written_calls(template) if tools else "generic"
        return Traits(
            presents_tools=calls != "generic",
            calls=calls,
            results=calls != "generic",
            arguments="objects" if calls == "python" else "text",
            reasoning=reasoning,
            system=system,
        )
    reasoning = reasoning or _find_reasoning(template, form)
    return Traits(
        presents_tools=bool(tools),
        calls="template",
        results=True,
        call_example=example,
        arguments=form.arguments,
        ids=form.find_ids(template, tools),
        one_call_each=not _shows_two_calls(template, form, tools),
        calls_alone=_loses_calls(template, form, tools),
        null_content=form.content is None,
        reasoning=reasoning,
        reasoning_or_content=bool(reasoning) and not _takes_both(template, form, reasoning),
        system=system,
    )


@dataclass(frozen=True, slots=True)
class _Form:
    """One way to write a call in a message."""

    id: str
    arguments: Arguments
    content: str | None

    def call(self, arguments: Mapping[str, Any], id: str, name: str = _NAME) -> dict[str, Any]:
        given = json.dumps(arguments) if self.arguments == "text" else arguments
        return {"id": id, "type": "function", "function": {"name": name, "arguments": given}}

    def calling(self, arguments: Mapping[str, Any] | None = None, name: str = _NAME) -> dict[str, Any]:
        call = self.call(arguments or {_KEY: _VALUE}, self.id, name)
        return {"role": "assistant", "content": self.content, "tool_calls": [call]}

    def result(self, id: str = "") -> dict[str, Any]:
        return {"role": "tool", "name": _NAME, "tool_call_id": id or self.id, "content": _RESULT}

    def turn(self) -> list[dict[str, Any]]:
        return [_USER, self.calling(), self.result()]

    def find_ids(self, template: ChatTemplate, tools: Sequence[Mapping[str, Any]] | None) -> Any:
        if self.id == _SHORT_ID:
            return "short"
        shown = _behind_question(template.attempt(self.turn(), tools=tools))
        return "position" if _LONG_ID in shown and f"functions.{_NAME}:0" in shown else "any"


def _behind_question(text: str | None) -> str:
    return text[text.rfind(_QUESTION) :] if text else ""


def _lists_tools(template: ChatTemplate) -> bool:
    for messages in ([_USER], [{"role": "system", "content": _SYSTEM}, _USER]):
        text = template.attempt(messages, tools=[_TOOL]) or ""
        if _NAME in text and _KEY in text:
            return True
    return False


def _forms() -> Iterator[_Form]:
    kinds: tuple[Arguments, ...] = ("objects", "text")
    contents: tuple[str | None, ...] = (None, "")
    for id, arguments, content in product((_LONG_ID, _SHORT_ID), kinds, contents):
        yield _Form(id, arguments, content)


def _find_form(template: ChatTemplate, tools: Sequence[Mapping[str, Any]] | None) -> _Form | None:
    """The first form in which a call and its result come out whole."""
    for form in _forms():
        text = template.attempt(form.turn(), tools=tools)
        if _RESULT not in (text or "") or not _is_written(_behind_question(text)):
            continue
        as_text = _Form(form.id, "text", form.content)
        # Text that comes out as it is keeps what the model itself wrote, and so its computed prefix.
        return as_text if template.attempt(as_text.turn(), tools=tools) == text else form
    return None


def _is_written(shown: str) -> bool:
    """Whether a call stands there: neither escaped as a string, nor as Python writes a dict or none."""
    marred = ("None", f"'{_KEY}'", f'\\"{_KEY}')
    return all(needle in shown for needle in (_NAME, _KEY, _VALUE)) and not any(s in shown for s in marred)


def _written_calls(template: ChatTemplate) -> Calls:
    return next((calls for words, calls in _WRITTEN if words in template.source), "generic")


def _example(template: ChatTemplate, form: _Form) -> str:
    """What the template writes for a call where an answer in words would stand, "" if that is unclear."""
    words = {"role": "assistant", "content": _WORDS}
    call = form.calling(EXAMPLE_ARGUMENTS, EXAMPLE_NAME)
    said, called = (
        _behind_question(template.attempt([_USER, answer], add_generation_prompt=False))
        for answer in (words, call)
    )
    start = len(common_beginning(said, called))
    end = len(common_beginning(said[start:][::-1], called[start:][::-1]))
    if said[start : len(said) - end].strip() != _WORDS:
        return ""
    example = called[start : len(called) - end].strip()
    return example if EXAMPLE_NAME in example and "parameter" in example else ""


def _shows_two_calls(template: ChatTemplate, form: _Form, tools: Sequence[Mapping[str, Any]] | None) -> bool:
    other_id = form.id[:-1] + "2"
    calls = [form.call({_KEY: _VALUE}, form.id), form.call({_KEY: _SECOND}, other_id)]
    message = {"role": "assistant", "content": form.content, "tool_calls": calls}
    messages: list[Mapping[str, Any]] = [_USER, message, form.result(), form.result(other_id)]
    return _SECOND in (template.attempt(messages, tools=tools) or "")


def _loses_calls(template: ChatTemplate, form: _Form, tools: Sequence[Mapping[str, Any]] | None) -> bool:
    message = {**form.calling(), "content": _WORDS}
    return _VALUE not in (template.attempt([_USER, message, form.result()], tools=tools) or "")


def _find_reasoning(template: ChatTemplate, form: _Form | None) -> str:
    """The key under which thoughts come out, be it only after the last question or before results."""
    for key in ("reasoning_content", "reasoning", "thinking", "content"):
        words = {"role": "assistant", "content": _WORDS}
        thinking = with_reasoning(form.calling() if form else words, key, _THOUGHT)
        messages: list[Mapping[str, Any]] = [_USER, thinking, *([form.result()] if form else [])]
        for names, is_open in product((None, _THINKING), (True, False)):
            text = template.attempt(messages, add_generation_prompt=is_open, names=names)
            if _THOUGHT in (text or "") and not _is_dumped(text or ""):
                return key
    return ""


def _is_dumped(text: str) -> bool:
    """Whether the template wrote the list of parts itself, not what is in them."""
    return any(f"{quote}thinking{quote}: {quote}{_THOUGHT}" in text for quote in ("'", '"'))


def _takes_both(template: ChatTemplate, form: _Form, reasoning: str) -> bool:
    message = with_reasoning({**form.calling(), "content": _WORDS}, reasoning, _THOUGHT)
    return template.attempt([_USER, message, form.result()]) is not None
