"""LangChain's own OpenAI classes, pointed at the server."""

import pytest
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import SecretStr

from tests.clients.conftest import Server

MODEL = "llmatic-tiny"
KEY = SecretStr("sk-local")


@pytest.fixture
def chat(server: Server) -> ChatOpenAI:
    return ChatOpenAI(model=MODEL, base_url=server.base_url, api_key=KEY, temperature=0, max_retries=0)


def test_chat_openai_invokes(chat: ChatOpenAI) -> None:
    assert "this is a test" in str(chat.invoke("Say this is a test").content).lower()


def test_chat_openai_streams_what_it_invokes(chat: ChatOpenAI) -> None:
    streamed = "".join(str(chunk.content) for chunk in chat.stream("Say this is a test"))
    assert streamed == chat.invoke("Say this is a test").content


def test_completion_class_sends_explicit_nulls(server: Server) -> None:
    llm = OpenAI(
        model=MODEL, base_url=server.base_url, api_key=KEY, max_tokens=6, temperature=0, max_retries=0
    )
    assert llm.invoke("Say this is a test")
