"""Every template in llama.cpp's source renders a plain chat, or refuses it in its own words."""

from datetime import UTC, datetime

import pytest

from llmatic.core.errors import InvalidRequest
from llmatic.engines.chat import ChatTemplate

pytestmark = pytest.mark.templates

NOW = datetime(2026, 11, 20, tzinfo=UTC)
CHATS = {
    "one question": ["user"],
    "with a system message": ["system", "user"],
    "three turns": ["user", "assistant", "user"],
    "three turns with a system message": ["system", "user", "assistant", "user"],
}
GEMMA_2 = "google-gemma-2-2b-it.jinja"
REFUSED = {
    (GEMMA_2, "with a system message"): "System role not supported",
    (GEMMA_2, "three turns with a system message"): "System role not supported",
}


def test_the_collection_is_there(llama_cpp_templates: dict[str, ChatTemplate]) -> None:
    assert len(llama_cpp_templates) >= 50


@pytest.mark.parametrize("chat", CHATS)
def test_renders_or_refuses(llama_cpp_templates: dict[str, ChatTemplate], chat: str) -> None:
    messages = [{"role": role, "content": f"{role}'s words {k}"} for k, role in enumerate(CHATS[chat])]
    refused: dict[tuple[str, str], str] = {}
    for name, template in llama_cpp_templates.items():
        try:
            text = template.render(messages, now=NOW)
        except InvalidRequest as refusal:
            refused[name, chat] = refusal.message
            continue
        lost = [message["content"] for message in messages if message["content"] not in text]
        assert not lost, name
        assert text == template.render(messages, now=NOW), name
    assert refused == {key: words for key, words in REFUSED.items() if key[1] == chat}
