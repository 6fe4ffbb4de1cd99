"""Stored chat completions with the official SDKs against a real server process."""

from typing import Any

import openai
import pytest

from tests.clients import environments
from tests.clients.conftest import Server


@pytest.fixture(scope="module")
def node(server: Server) -> environments.Results:
    return environments.node_results("stored_examples", server.base_url)


def test_a_stored_completion_from_birth_to_death(client: openai.OpenAI) -> None:
    stored = client.chat.completions
    asked: Any = [{"role": "user", "content": "щенки 🦔"}]
    made = [
        stored.create(
            model="llmatic-tiny", messages=asked, max_tokens=4, store=True, metadata={"topic": "python"}
        )
        for _ in range(3)
    ]
    ids = [each.id for each in made]
    assert [each.id for each in stored.list(metadata={"topic": "python"}, limit=2)] == ids
    assert [each.id for each in stored.list(metadata={"topic": "python"}, order="desc")] == ids[::-1]
    assert stored.retrieve(ids[0]).choices == made[0].choices
    # The package's type knows assistants only; OpenAI's messages are those of the request.
    lenient = openai.OpenAI(base_url=client.base_url, api_key=client.api_key)
    with lenient:
        listed = list(lenient.chat.completions.messages.list(ids[0]))
    assert [message.content for message in listed] == ["щенки 🦔"]
    assert stored.update(ids[0], metadata={"topic": "other"}).metadata == {"topic": "other"}
    assert [each.id for each in stored.list(metadata={"topic": "python"}, model="llmatic-tiny")] == ids[1:]
    for each in ids:
        assert stored.delete(each).deleted
    with pytest.raises(openai.NotFoundError, match="No such Completion object"):
        stored.retrieve(ids[0])


def test_the_same_on_node(node: environments.Results) -> None:
    found = node["stored"]
    assert found["listed"] == found["ids"]
    assert found["newest"] == found["ids"][-1]
    assert found["same"]
    [message] = found["messages"]
    assert (message["role"], message["content"]) == ("user", "щенки 🦔")
    assert found["metadata"] == {"topic": "other"}
    assert found["gone"] == {"object": "chat.completion.deleted", "id": found["ids"][0], "deleted": True}
    assert found["missing"][0] == "NotFoundError"
