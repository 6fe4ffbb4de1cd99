"""Conversations over a socket, and whose they are."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from llmatic.config import StoreSettings
from llmatic.core.errors import EngineFailed, InsufficientStorage
from llmatic.core.types import ChatPrompt, Delta, Finished, GenerationRequest, Started, Usage
from tests.api.asking_responses import made, messages, respond, streamed, thinking
from tests.api.conftest import Serve, Served
from tests.contract_check import assert_response_matches
from tests.fakes import SPEC

SAID = {"type": "message", "role": "user", "content": "one"}


def begun(api: Served, **fields: Any) -> dict[str, Any]:
    reply = api.http.post("/v1/conversations", json=fields)
    assert_response_matches("createConversation", 200, reply.content)
    found: dict[str, Any] = reply.json()
    return found


def texts(api: Served, conversation_id: str, **params: Any) -> list[str]:
    reply = api.http.get(f"/v1/conversations/{conversation_id}/items", params={"order": "asc", **params})
    assert_response_matches("listConversationItems", 200, reply.content)
    return [item["content"][0]["text"] for item in reply.json()["data"]]


def test_its_life(api: Served) -> None:
    made_ = begun(api, metadata={"a": "b"}, items=[SAID])
    path = f"/v1/conversations/{made_['id']}"
    assert api.http.get(path).json() == made_
    changed = api.http.post(path, json={"metadata": {"c": "d"}}).json()
    assert changed == made_ | {"metadata": {"c": "d"}}
    added = api.http.post(f"{path}/items", json={"items": [SAID, {"role": "assistant", "content": "two"}]})
    assert_response_matches("createConversationItems", 200, added.content)
    assert texts(api, made_["id"]) == ["one", "one", "two"]
    last = added.json()["data"][1]
    assert api.http.get(f"{path}/items/{last['id']}").json() == last
    assert api.http.delete(f"{path}/items/{last['id']}").json() == changed
    assert api.http.get(f"{path}/items/{last['id']}").status_code == 404
    assert texts(api, made_["id"]) == ["one", "one"]
    assert api.http.delete(path).json() == {
        "id": made_["id"],
        "object": "conversation.deleted",
        "deleted": True,
    }
    for request in (
        api.http.get(path),
        api.http.delete(path),
        api.http.post(path, json={"metadata": {}}),
        api.http.get(f"{path}/items"),
        api.http.post(f"{path}/items", json={"items": [SAID]}),
        api.http.get(f"{path}/items/{last['id']}"),
        api.http.delete(f"{path}/items/{last['id']}"),
    ):
        assert request.status_code == 404


def test_the_official_client(api: Served) -> None:
    client = api.sdk()
    conversation = client.conversations.create(metadata={"a": "b"}, items=[SAID])  # type: ignore[list-item]
    reply = client.responses.create(model=SPEC.id, input="two", conversation=conversation.id)
    assert reply.conversation is not None
    assert reply.conversation.id == conversation.id
    kinds = [(item.type, item.role) for item in client.conversations.items.list(conversation.id, limit=1)]  # type: ignore[union-attr]
    assert kinds == [("message", "assistant"), ("message", "user"), ("message", "user")]
    client.conversations.update(conversation.id, metadata={"c": "d"})
    assert client.conversations.retrieve(conversation.id).metadata == {"c": "d"}
    assert client.conversations.delete(conversation.id).deleted


def test_responses_add_to_it(api: Served) -> None:
    conversation = begun(api, items=[SAID])["id"]
    made(api, input="two", conversation=conversation)
    made(api, input="three", conversation={"id": conversation}, store=False)
    assert texts(api, conversation) == ["one", "two", "Hello wörld!", "three", "Hello wörld!"]
    assert [message["content"] for message in messages(api)] == ["one", "two", "Hello wörld!", "three"]
    streamed(api, input="four", conversation=conversation, background=True)
    assert texts(api, conversation)[-2:] == ["four", "Hello wörld!"]


def test_failed_ones_do_not(api: Served) -> None:
    conversation = begun(api, items=[SAID])["id"]
    api.pool.script = lambda request: [Started(1), Delta(0, "Hel", 1), EngineFailed("died")]
    assert respond(api, conversation=conversation).status_code == 503
    streamed(api, conversation=conversation)
    streamed(api, conversation=conversation, background=True)
    assert texts(api, conversation) == ["one"]


def test_many_at_once_do_not_mix(api: Served) -> None:
    def script(request: GenerationRequest) -> Any:
        assert isinstance(request.prompt, ChatPrompt)
        yield Started(1)
        yield Delta(0, f"re {request.prompt.messages[-1]['content']}", 1, (), "stop")
        yield Finished(Usage(1, 1))

    api.pool.script = script
    conversation = begun(api)["id"]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: made(api, input=f"q{n}", conversation=conversation), range(40)))
    said = texts(api, conversation, limit=100)
    assert len(said) == 80
    assert all(answer == f"re {question}" for question, answer in zip(said[::2], said[1::2], strict=True))
    assert sorted(said[::2]) == sorted(f"q{n}" for n in range(40))


def test_many_continue_one_response(api: Served) -> None:
    first = made(api)["id"]
    with ThreadPoolExecutor(8) as threads:
        bodies = list(threads.map(lambda n: made(api, input=f"{n}", previous_response_id=first), range(16)))
    assert len({body["id"] for body in bodies}) == 16
    assert {len(request.prompt.messages) for request in api.pool.requests[1:]} == {3}  # type: ignore[union-attr]


def test_a_full_one_takes_no_more(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = str(tmp_path_factory.mktemp("own"))
    served = serve(store=StoreSettings(folder=folder, max_conversation_items=4))
    conversation = begun(served, items=[SAID] * 3)["id"]
    for stream in (True, False):
        error = respond(served, conversation=conversation, stream=stream)
        assert error.status_code == 400
        assert "at most 4 items" in error.json()["error"]["message"]
    assert served.pool.requests == []  # known before anything is made
    assert texts(served, conversation) == ["one"] * 3


def test_one_that_fills_up_meanwhile_takes_nothing(
    serve: Serve, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = str(tmp_path_factory.mktemp("own"))
    served = serve(store=StoreSettings(folder=folder, max_conversation_items=4))
    conversation = begun(served, items=[SAID] * 2)["id"]
    served.pool.script = thinking  # thoughts, a text and two calls
    assert respond(served, conversation=conversation).status_code == 400
    failed = streamed(served, conversation=conversation)[-1]
    assert texts(served, conversation) == ["one"] * 2
    assert failed["type"] == "response.failed"
    assert failed["response"]["error"]["code"] == "invalid_prompt"


def test_what_cannot_be_kept_is_told(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> None:
    served = serve(store=StoreSettings(folder=str(tmp_path_factory.mktemp("own"))))

    async def full(kept: object, n_events: int = 0) -> None:
        raise InsufficientStorage("The server's disk is full: nothing was stored.")

    served.stored.responses.keep = full  # type: ignore[method-assign]
    assert respond(served).status_code == 507
    events = streamed(served)
    assert events[-1]["type"] == "response.failed"
    assert "disk is full" in events[-1]["response"]["error"]["message"]
    assert respond(served, store=False).status_code == 200


def test_nobody_sees_what_is_anothers(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> None:
    served = serve(store=StoreSettings(folder=str(tmp_path_factory.mktemp("own"))))
    ann, bob = served.sdk(served.make_key(owner="ann")), served.sdk(served.make_key(owner="bob"))
    response = ann.responses.create(model=SPEC.id, input="secret")
    conversation = ann.conversations.create(items=[SAID])  # type: ignore[list-item]
    item = next(iter(ann.conversations.items.list(conversation.id)))
    for look in (
        lambda: bob.responses.retrieve(response.id),
        lambda: bob.responses.delete(response.id),
        lambda: bob.responses.cancel(response.id),
        lambda: bob.responses.input_items.list(response.id),
        lambda: bob.conversations.retrieve(conversation.id),
        lambda: bob.conversations.update(conversation.id, metadata={}),
        lambda: bob.conversations.delete(conversation.id),
        lambda: bob.conversations.items.list(conversation.id),
        lambda: bob.conversations.items.retrieve(item.id or "", conversation_id=conversation.id),
        lambda: bob.conversations.items.delete(item.id or "", conversation_id=conversation.id),
        lambda: bob.conversations.items.create(conversation.id, items=[SAID]),  # type: ignore[list-item]
        lambda: bob.responses.create(model=SPEC.id, input="x", conversation=conversation.id),
        lambda: bob.responses.create(model=SPEC.id, input=[{"type": "item_reference", "id": item.id or ""}]),
    ):
        with pytest.raises(openai.NotFoundError):
            look()
    with pytest.raises(openai.BadRequestError, match="not found"):
        bob.responses.create(model=SPEC.id, input="x", previous_response_id=response.id)
    assert ann.responses.retrieve(response.id).id == response.id
    assert len(list(ann.conversations.items.list(conversation.id))) == 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"items": [SAID] * 21}, "items"),
        ({"items": "x"}, "items"),
        (
            {"items": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "items[0].content[0].image_url",
        ),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ({"foo": 1}, "foo"),
    ],
)
def test_refusals(api: Served, fields: dict[str, Any], param: str) -> None:
    reply = api.http.post("/v1/conversations", json=fields)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
