"""Prompts to token ids.

Owns the rules of tokenisation: where BOS goes, what markup means, how a chat is rendered. Pure; time comes in
as an argument. Usable from any thread.

Text inside chat messages cannot become a control token. Before rendering, every occurrence of a control
token's text in a message or a template argument is replaced by a placeholder of private-use characters that
occurs nowhere else; afterwards the rendered text is cut at the placeholders, the template's own parts are
tokenised with markup, the replaced texts without. So a user who types "<|im_end|>" has written six ordinary
characters and more, not the end of the turn. (A SentencePiece vocabulary may put a space before such a text.)
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from llmatic.core.errors import InvalidRequest
from llmatic.core.types import ChatPrompt, InfillPrompt, Prompt, TextPrompt, TokenPrompt
from llmatic.engines.llama.vocabulary import Vocabulary

_OPEN, _CLOSE = "\ue000", "\ue001"


class Template(Protocol):
    """A compiled chat template."""

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        /,
        *,
        add_generation_prompt: bool = True,
        now: datetime,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """The conversation as text. Raises InvalidRequest."""
        ...


class PromptReader:
    """Turns the prompts of one model's requests into token ids."""

    def __init__(
        self, vocabulary: Vocabulary, template: Template | None, *, template_error: str | None = None
    ) -> None:
        """`template` None: chats are refused, with `template_error` if that says why."""
        self._vocabulary = vocabulary
        self._template = template
        self._template_error = template_error

    def read(self, prompt: Prompt, now: datetime) -> list[int]:
        """At least one token id. Raises InvalidRequest naming the field at fault."""
        if isinstance(prompt, TextPrompt):
            return self._begin(self._vocabulary.tokenize(prompt.text, parse_special=True))
        if isinstance(prompt, TokenPrompt):
            return self._check_ids(prompt.token_ids)
        if isinstance(prompt, InfillPrompt):
            return self._read_infill(prompt)
        return self._read_chat(prompt, now)

    def tokens(self, text: str) -> list[int]:
        """Plain text as the middle of an answer."""
        return self._vocabulary.tokenize(text, parse_special=False)

    def echo(self, prompt: Prompt, ids: Sequence[int]) -> str:
        """The text that `echo` repeats."""
        if isinstance(prompt, TextPrompt):
            return prompt.text
        if isinstance(prompt, InfillPrompt):
            return prompt.prefix
        return self._vocabulary.spell(ids).decode("utf-8", "replace")

    def _begin(self, ids: list[int]) -> list[int]:
        """With BOS in front, once, where the model wants it; an empty prompt becomes BOS or the end token."""
        vocabulary = self._vocabulary
        bos = vocabulary.bos
        if vocabulary.add_bos and bos is not None and ids[:1] != [bos]:
            return [bos, *ids]
        if ids:
            return ids
        first = bos if bos is not None else vocabulary.eos
        return [first if first is not None else min(vocabulary.eog, default=0)]

    def _check_ids(self, ids: Sequence[int]) -> list[int]:
        n_vocab = self._vocabulary.n_tokens
        for token in ids:
            if not 0 <= token < n_vocab:
                raise InvalidRequest(
                    f"Invalid token id {token} in 'prompt': this model's ids run from 0 to {n_vocab - 1}.",
                    param="prompt",
                )
        return list(ids) or self._begin([])

    def _read_infill(self, prompt: InfillPrompt) -> list[int]:
        vocabulary = self._vocabulary
        if vocabulary.infill is None:
            raise InvalidRequest(
                "This model does not support suffix: it has no fill-in-the-middle tokens.", param="suffix"
            )
        before, after, middle = vocabulary.infill
        prefix = vocabulary.tokenize(prompt.prefix, parse_special=False)
        suffix = vocabulary.tokenize(prompt.suffix, parse_special=False)
        ids = [before, *prefix, after, *suffix, middle]
        return self._begin(ids) if vocabulary.add_bos else ids

    def _read_chat(self, prompt: ChatPrompt, now: datetime) -> list[int]:
        if self._template is None:
            why = self._template_error or "it has no chat template"
            raise InvalidRequest(f"This model cannot chat: {why}. Use /v1/completions.", param="model")
        literals = _Literals(self._vocabulary, _strings([prompt.messages, prompt.template_kwargs]))
        rendered = self._template.render(
            literals.hide(prompt.messages), now=now, template_kwargs=literals.hide(prompt.template_kwargs)
        )
        return self._begin(literals.tokenize(rendered))


class _Literals:
    """Control-token texts that users typed, and what stands for them while a template runs."""

    def __init__(self, vocabulary: Vocabulary, texts: Sequence[str]) -> None:
        self._vocabulary = vocabulary
        pattern = vocabulary.special_pattern
        found = {m for text in texts for m in pattern.findall(text)} if pattern is not None else set()
        self._pattern = pattern if found else None
        mark = _OPEN
        while found and any(mark in text for text in texts):
            mark += _OPEN
        self._holders = {literal: f"{mark}{n}{_CLOSE}" for n, literal in enumerate(sorted(found))}

    def hide(self, value: Any) -> Any:
        """`value` with every typed control token replaced, in strings at any depth."""
        pattern = self._pattern
        if pattern is None:
            return value
        return _map_strings(value, lambda text: pattern.sub(lambda m: self._holders[m.group()], text))

    def tokenize(self, rendered: str) -> list[int]:
        """Ids of the rendered text, the replaced texts as plain text."""
        parts: list[tuple[str, bool]] = [(rendered, True)]
        for literal, holder in self._holders.items():
            parts = [new for part in parts for new in _cut(part, holder, literal)]
        ids: list[int] = []
        for text, is_markup in parts:
            ids += self._vocabulary.tokenize(text, parse_special=is_markup)
        return ids


def _cut(part: tuple[str, bool], holder: str, literal: str) -> list[tuple[str, bool]]:
    text, is_markup = part
    if not is_markup or holder not in text:
        return [part]
    pieces: list[tuple[str, bool]] = []
    for piece in text.split(holder):
        pieces += [(piece, True), (literal, False)]
    return pieces[:-1]


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _map_strings(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_map_strings(item, change) for item in value]
    return value


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [text for item in value for text in _strings(item)] if isinstance(value, list | tuple) else []
