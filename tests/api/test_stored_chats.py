from collections.abc import Iterator
from typing import Any

import openai
import pytest

from llmatic.config import StoreSettings
from llmatic.core.types import CallDelta, Delta, Finished, GenerationRequest, Started, Usage
from tests.api.conftest import Serve, Served
from tests.contract_check import assert_response_matches
from tests.fakes import SPEC, Step

BODY = {"model": SPEC.id, "messages": [{"role": "user", "content": "Hi"}]}
TALK: Any = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": [{"type": "text", "text": "Гей 🦔\0"}]},
]


@pytest.fixture(scope="module")
def two(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> tuple[Served, str, str]:
    """A server with two owners' keys."""
    served = serve(store=StoreSettings(folder=str(tmp_path_factory.mktemp("own"))))
    return served, served.make_key(owner="ann"), served.make_key(owner="bob")


def make(client: openai.OpenAI, **fields: Any) -> Any:
    return client.chat.completions.create(model=SPEC.id, messages=TALK, store=True, **fields)


def test_what_is_stored_is_found_at_once_and_as_it_was_sent(two: tuple[Served, str, str]) -> None:
    served, ann, _ = two
    client = served.sdk(ann)
    made = make(client, temperature=0.5, metadata={"a": "b"}, n=2, user="me")
    found = client.chat.completions.retrieve(made.id)
    assert found.choices == made.choices
    assert (found.id, found.model, found.created, found.usage) == (
        made.id,
        made.model,
        made.created,
        made.usage,
    )
    raw = served.http.get(f"/v1/chat/completions/{made.id}", headers={"x-api-key": ann})
    assert_response_matches("getChatCompletion", 200, raw.content)
    told = raw.json()
    assert (told["temperature"], told["top_p"], told["metadata"], told["input_user"]) == (
        0.5,
        1.0,
        {"a": "b"},
        "me",
    )


def test_streams_are_there_when_they_have_ended(two: tuple[Served, str, str]) -> None:
    served, ann, _ = two
    client = served.sdk(ann)
    chunks = list(make(client, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    found = client.chat.completions.retrieve(chunks[0].id)
    assert found.choices[0].message.content == text == "Hello wörld!"
    assert found.usage is not None
    assert found.usage.completion_tokens == 4


def test_calls_of_a_stream_are_stored_under_the_ids_that_were_sent(two: tuple[Served, str, str]) -> None:
    served, ann, _ = two

    def calling(request: GenerationRequest) -> Iterator[Step]:
        yield Started(3)
        yield Delta(0, "", 1, calls=(CallDelta(0, "f"),))
        yield Delta(0, "", 1, (), "tool_calls", calls=(CallDelta(0, arguments="{}"),))
        yield Finished(Usage(3, 2))

    served.pool.script = calling
    tools: Any = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    chunks = list(make(served.sdk(ann), stream=True, tools=tools))
    served.pool.reset()
    sent = [call.id for chunk in chunks for call in chunk.choices[0].delta.tool_calls or () if call.id]
    found = served.sdk(ann).chat.completions.retrieve(chunks[0].id)
    assert [call.id for call in found.choices[0].message.tool_calls or ()] == sent
    assert len(sent) == 1
    assert found.choices[0].finish_reason == "tool_calls"


def test_messages_come_back_in_order_and_in_pages(two: tuple[Served, str, str]) -> None:
    served, ann, _ = two
    made = make(served.sdk(ann))
    path, headers = f"/v1/chat/completions/{made.id}/messages", {"x-api-key": ann}
    raw = served.http.get(path, headers=headers)
    assert_response_matches("getChatCompletionMessages", 200, raw.content)
    system, user = raw.json()["data"]
    assert (system["role"], system["content"], system["content_parts"]) == ("system", "Be kind.", None)
    assert (user["content"], user["content_parts"]) == (None, TALK[1]["content"])
    assert raw.json()["has_more"] is False
    first = served.http.get(path, headers=headers, params={"limit": 1, "order": "desc"}).json()
    assert ([m["id"] for m in first["data"]], first["has_more"]) == ([user["id"]], True)
    second = served.http.get(path, headers=headers, params={"after": system["id"]}).json()
    assert [m["id"] for m in second["data"]] == [user["id"]]
    assert served.http.get(path, headers=headers, params={"after": "x"}).status_code == 400
    with openai.OpenAI(base_url=served.base_url, api_key=ann, max_retries=0) as client:
        assert [m.id for m in client.chat.completions.messages.list(made.id)] == [system["id"], user["id"]]


def test_lists_are_paged_filtered_and_ones_own(two: tuple[Served, str, str]) -> None:
    served, _, bob = two
    client = served.sdk(bob)
    made = [make(client, metadata={"k": str(k % 2), "all": "ї"}).id for k in range(5)]
    client.chat.completions.create(model=SPEC.id, messages=TALK)
    assert [c.id for c in client.chat.completions.list(limit=2)] == made
    assert [c.id for c in client.chat.completions.list(order="desc", limit=3)] == made[::-1]
    assert [c.id for c in client.chat.completions.list(metadata={"k": "1", "all": "ї"})] == [made[1], made[3]]
    assert [c.id for c in client.chat.completions.list(metadata={"k": "7"})] == []
    assert len(list(client.chat.completions.list(model="gpt-4o-mini"))) == 5
    assert list(client.chat.completions.list(model="other")) == []
    raw = served.http.get("/v1/chat/completions?limit=2", headers={"x-api-key": bob})
    assert_response_matches("listChatCompletions", 200, raw.content)
    page = raw.json()
    assert (page["first_id"], page["last_id"], page["has_more"]) == (made[0], made[1], True)
    for query in ("limit=0", "limit=101", "limit=x", "order=up", "foo=1", "metadata=1"):
        assert served.http.get(f"/v1/chat/completions?{query}", headers={"x-api-key": bob}).status_code == 400
    missing = served.http.get("/v1/chat/completions?after=chatcmpl-0", headers={"x-api-key": bob})
    assert (missing.status_code, missing.json()["error"]["param"]) == (404, "after")


def test_metadata_changes_and_filters_follow(two: tuple[Served, str, str]) -> None:
    served, ann, _ = two
    client = served.sdk(ann)
    made = make(client, metadata={"old": "1"})
    changed = client.chat.completions.update(made.id, metadata={"new": "2"})
    assert changed.choices == made.choices
    assert changed.metadata == {"new": "2"}
    assert list(client.chat.completions.list(metadata={"old": "1"})) == []
    assert [c.id for c in client.chat.completions.list(metadata={"new": "2"})] == [made.id]
    assert client.chat.completions.update(made.id, metadata=None).metadata == {}
    assert list(client.chat.completions.list(metadata={"new": "2"})) == []
    with pytest.raises(openai.BadRequestError, match="metadata"):
        client.chat.completions.update(made.id, metadata={"k": "x" * 513})


def test_the_other_owner_sees_nothing(two: tuple[Served, str, str]) -> None:
    served, ann, bob = two
    made, other = make(served.sdk(ann)), served.sdk(bob).chat.completions
    for act in (other.retrieve, other.delete, lambda name: other.update(name, metadata={})):
        with pytest.raises(openai.NotFoundError, match="No such Completion object"):
            act(made.id)
    with pytest.raises(openai.NotFoundError):
        other.messages.list(made.id)
    assert served.sdk(ann).chat.completions.retrieve(made.id).id == made.id


def test_what_is_deleted_is_gone(two: tuple[Served, str, str]) -> None:
    served, ann, _ = two
    client = served.sdk(ann)
    made = make(client)
    gone = client.chat.completions.delete(made.id)
    assert (gone.id, gone.deleted, gone.object) == (made.id, True, "chat.completion.deleted")
    for act in (client.chat.completions.retrieve, client.chat.completions.delete):
        with pytest.raises(openai.NotFoundError):
            act(made.id)


@pytest.mark.parametrize("name", ["x", "chatcmpl-%00", "%F0%9F%A6%94", "a" * 300])
def test_hostile_ids_are_merely_not_there(api: Served, name: str) -> None:
    assert api.http.get(f"/v1/chat/completions/{name}").status_code == 404
    assert api.http.delete(f"/v1/chat/completions/{name}").status_code == 404
    assert api.http.get(f"/v1/chat/completions?model={name}").json()["data"] == []
    assert api.http.get(f"/api/v1/runs/{name}").status_code == 404
    assert api.http.get(f"/api/v1/runs?tag={name}&model={name}&interaction={name}&parent={name}").json() == []


def test_what_is_not_to_be_stored_is_not(api: Served) -> None:
    for fields in ({}, {"store": False}, {"store": None}):
        made = api.chat(**fields).json()
        assert api.http.get(f"/v1/chat/completions/{made['id']}").status_code == 404
    assert api.completion(store=True).status_code == 400
