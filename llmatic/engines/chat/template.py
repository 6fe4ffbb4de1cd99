"""A model's chat template: messages in, the prompt's text out.

Owns the compiled template, the names it may use, and what a message looks like to it. Never
tokenises: markup that a user typed into a message comes out as plain text among the template's own, and
telling the two apart is the engine's duty. Pure: time comes in as an argument; usable from any thread.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError
from jinja2.exceptions import SecurityError, UndefinedError

from llmatic.core.errors import ConfigError, InvalidRequest
from llmatic.engines.chat.plain_tools import plain_tools
from llmatic.engines.chat.sandbox import (
    BUDGET,
    Budget,
    BudgetExceeded,
    TemplateRaised,
    compile_template,
    given,
    make_environment,
)

MAX_SOURCE_CHARACTERS = 1_000_000
RESERVED = frozenset(
    {
        "messages",
        "tools",
        "documents",
        "bos_token",
        "eos_token",
        "add_generation_prompt",
        "raise_exception",
        "strftime_now",
    }
)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_STRFTIME_WIDTH = re.compile(r"%[^A-Za-z%]*[0-9]{3,}")
_APPENDS = re.compile(r"\.\s*append\s*\(")
_PROBE = "needle7261"
_PROBE_STEPS = 50_000
_PROBE_TIME = datetime(2024, 7, 26, tzinfo=UTC)


class InvalidTemplate(ConfigError):
    """The template does not compile; the message says where."""


class _BrokeDown(Exception):
    """The template failed without meaning to; `refusal` says so to the client."""

    def __init__(self, refusal: InvalidRequest) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How a template wants its input: content as a list of parts, "no tools" as an empty list."""

    parts: bool
    empty_tools: bool


_DIALECTS = tuple(_Dialect(parts, empty) for parts in (False, True) for empty in (False, True))


class ChatTemplate:
    """One compiled template.

    `bos` and `eos` are the texts of the model's own tokens ("" if it has none). `source` is its text.
    """

    def __init__(self, source: str, *, bos: str, eos: str, name: str = "chat template") -> None:
        """Compile `source`. Raises InvalidTemplate, naming `name` and the line at fault."""
        if len(source) > MAX_SOURCE_CHARACTERS:
            raise InvalidTemplate(f"{name}: longer than {MAX_SOURCE_CHARACTERS} characters")
        self.source = source
        self._has_own_lists = _APPENDS.search(source) is not None
        environment = make_environment(has_own_lists=self._has_own_lists)
        try:
            self._template, self._free_names = compile_template(environment, source)
        except TemplateSyntaxError as error:
            raise InvalidTemplate(f"{name}, line {error.lineno}: {error.message}") from error
        except (TemplateError, SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
            raise InvalidTemplate(f"{name}: cannot be compiled: {error or type(error).__name__}") from error
        self._bos = bos
        self._eos = eos
        self._reserved = RESERVED | environment.globals.keys()
        self._knows_developer = False
        self._dialect = self._find_dialect()
        self._knows_developer = "developer" in source
        self._knows_developer = self._knows_developer and self._repeats("developer")

    @property
    def names(self) -> frozenset[str]:
        """The names that the template takes from outside or sets itself, reserved ones left out."""
        return frozenset(self._free_names) - self._reserved

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        /,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        now: datetime,
        template_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> str:
        """The prompt's text for `messages`, as OpenAI's API takes them, with text content only.

        `tools` are OpenAI's tool objects, which not every template presents. `now` is what strftime_now tells
        the template. `template_kwargs` are the client's further names for the template (enable_thinking,
        date_string, …); `kwargs` are the same for callers that know the names they pass.

        Raises InvalidRequest with the template's own message if the template refuses the conversation, and
        for a name that is reserved or is no name at all.
        """
        names = {**(template_kwargs or {}), **kwargs}
        self._check_names(names)
        budget = Budget()
        try:
            return self._render(messages, tools, add_generation_prompt, now, names, self._dialect, budget)
        except _BrokeDown as failure:
            if tools:
                tools = plain_tools(tools)
                try:
                    return self._render(
                        messages, tools, add_generation_prompt, now, names, self._dialect, budget
                    )
                except _BrokeDown:
                    pass  # the first failure is the one to tell
            raise failure.refusal from failure

    def attempt(
        self,
        messages: Sequence[Mapping[str, Any]],
        /,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        names: Mapping[str, Any] | None = None,
    ) -> str | None:
        """What the template makes of these messages on a fixed day and within few steps, None if nothing."""
        budget = Budget(_PROBE_STEPS)
        try:
            return self._render(
                messages, tools, add_generation_prompt, _PROBE_TIME, names or {}, self._dialect, budget
            )
        except (InvalidRequest, _BrokeDown):
            return None

    def _check_names(self, names: Mapping[str, Any]) -> None:
        for name in names:
            if name in self._reserved or not _NAME.match(name):
                raise InvalidRequest(
                    f"chat_template_kwargs may not set '{name}'.", param=f"chat_template_kwargs.{name}"
                )

    def _render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        add_generation_prompt: bool,
        now: datetime,
        extra: Mapping[str, Any],
        dialect: _Dialect,
        budget: Budget,
    ) -> str:
        names = {
            **self._names_of_old(tools, now),
            **extra,
            "messages": [self._prepare(message, dialect) for message in messages],
            "tools": list(tools) if tools else [] if dialect.empty_tools else None,
            "documents": None,
            "bos_token": self._bos,
            "eos_token": self._eos,
            "add_generation_prompt": add_generation_prompt,
            "strftime_now": lambda form: _strftime(now, form),
            BUDGET: budget,
        }
        if self._has_own_lists:
            names = {name: given(value) for name, value in names.items()}
        pieces: list[str] = []
        try:
            for piece in self._template.generate(names):
                budget._write(len(piece))
                pieces.append(piece)
        except TemplateRaised as refusal:
            words = str(refusal.message or "The chat template refused these messages.")
            raise InvalidRequest(words, param="messages") from refusal
        except Exception as error:  # whatever a template can provoke is the request's failure, not ours
            raise _BrokeDown(InvalidRequest(_explain(error), param="messages")) from error
        return "".join(pieces)

    def _prepare(self, message: Mapping[str, Any], dialect: _Dialect) -> dict[str, Any]:
        """The message as this template reads it: its role's name, its content's shape."""
        prepared = dict(message)
        if prepared.get("role") == "developer" and not self._knows_developer:
            prepared["role"] = "system"
        content = prepared.get("content")
        if isinstance(content, str) and dialect.parts:
            prepared["content"] = [{"type": "text", "text": content}]
        elif isinstance(content, list | tuple) and not dialect.parts:
            texts = [_part_text(part) for part in content]
            if None not in texts:
                prepared["content"] = "\n".join(text for text in texts if text is not None)
        return prepared

    def _names_of_old(self, tools: Sequence[Mapping[str, Any]] | None, now: datetime) -> dict[str, Any]:
        """What Firefunction's template takes in place of `tools` and `strftime_now`."""
        if {"functions", "datetime"} <= self._free_names:
            functions = json.dumps(tools, indent=4, ensure_ascii=False) if tools else ""
            return {"functions": functions, "datetime": now.strftime("%b %d %Y %H:%M:%S GMT")}
        return {}

    def _find_dialect(self) -> _Dialect:
        """The first dialect in which the template repeats a message; text and no tools come first."""
        for dialect in _DIALECTS:
            self._dialect = dialect
            if self._repeats("user"):
                return dialect
        return _DIALECTS[0]

    def _repeats(self, role: str) -> bool:
        """Whether a message of that role, if need be before a user's, comes out."""
        probe = {"role": role, "content": _PROBE}
        question = [] if role == "user" else [{"role": "user", "content": "?"}]
        return _PROBE in (self.attempt([probe, *question]) or "")


def _part_text(part: Any) -> str | None:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return str(part["text"])
    return None


def _strftime(now: datetime, form: Any) -> str:
    form = str(form)
    if len(form) > 256 or _STRFTIME_WIDTH.search(form):
        raise BudgetExceeded("the template asks for a date that is too wide")
    return now.strftime(form)


def _explain(error: Exception) -> str:
    """One sentence for a client about a template that broke down on its messages."""
    if isinstance(error, UndefinedError):
        what = f"it uses something that these messages do not have: {error.message}"
    elif isinstance(error, SecurityError):
        what = f"it does what a template may not do: {error.message}"
    elif isinstance(error, RecursionError):
        what = "it recurses too deeply"
    elif isinstance(error, TemplateError):
        what = str(error.message)
    else:
        what = f"{type(error).__name__}: {error}"
    return f"The model's chat template cannot render these messages: {what}"
