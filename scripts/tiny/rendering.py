"""Turns examples into the exact text that the model reads, through the chat template. Pure after loading."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .data.example import Chat, Example

TEMPLATE_PATH = Path(__file__).with_name("chat_template.jinja")


def template_text() -> str:
    """The template as it goes into the GGUF."""
    return TEMPLATE_PATH.read_text(encoding="utf-8").rstrip("\n")


@cache
def _template() -> Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(template_text())


def render(chat: Chat, n_messages: int | None = None, add_generation_prompt: bool = False) -> str:
    """The conversation (or its first `n_messages` messages) as text."""
    return _template().render(
        messages=chat.messages[:n_messages], tools=chat.tools, add_generation_prompt=add_generation_prompt
    )


def question_and_answer(example: Example) -> tuple[str, str]:
    """The text up to the last answer, and the answer without the token that ends it."""
    if not isinstance(example, Chat):
        return example.prompt, example.completion
    prompt = render(example, len(example.messages) - 1, add_generation_prompt=True)
    return prompt, render(example)[len(prompt) :].removesuffix("<|im_end|>\n")
