"""API keys through the API: OpenAI's own client for them, and what only this server knows."""

import asyncio
from typing import Any

import openai
import pytest

from llmatic.config import StoreSettings
from tests.api.conftest import Serve, Served
from tests.contract_check import assert_response_matches
from tests.fakes import SPEC

KEYS = "/v1/organization/admin_api_keys"


@pytest.fixture(scope="module")
def own(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    return serve(store=StoreSettings(folder=str(tmp_path_factory.mktemp("own"))))


@pytest.fixture(scope="module")
def admin(own: Served) -> str:
    return own.make_key("admin", scopes=("admin",))


def post(own: Served, key: str, **body: Any) -> Any:
    reply = own.http.post(KEYS, json=body, headers={"x-api-key": key})
    assert_response_matches("createAdminApiKey", reply.status_code, reply.content)
    return reply


def test_the_official_client_makes_lists_and_deletes_keys(own: Served, admin: str) -> None:
    keys = own.sdk(admin).admin.organization.admin_api_keys
    made = keys.create(name="ключ 🔑", expires_in_seconds=3600)
    assert made.value.startswith("sk-llmatic-")
    assert made.expires_at is not None
    assert made.created_at + 3600 - made.expires_at in (0, 1)
    found = keys.retrieve(made.id)
    assert (found.name, found.redacted_value, found.owner.id) == ("ключ 🔑", made.redacted_value, made.id)
    assert "value" not in found.model_dump()
    assert made.value not in found.model_dump_json()
    # Without scopes it is an admin key, as OpenAI's are.
    assert made.id in {key.id for key in own.sdk(made.value).admin.organization.admin_api_keys.list()}
    assert keys.delete(made.id).deleted is True
    with pytest.raises(openai.AuthenticationError):
        own.sdk(made.value).admin.organization.admin_api_keys.list()
    for again in (keys.retrieve, keys.delete):
        with pytest.raises(openai.NotFoundError, match="No such API key"):
            again(made.id)


def test_pages(own: Served, admin: str) -> None:
    made = [own.make_key(f"page {number}") for number in range(5)]
    keys = own.sdk(admin).admin.organization.admin_api_keys
    for order in ("asc", "desc"):
        names = [key.name for key in keys.list(limit=2, order=order)]
        shown = [name for name in names if name and name.startswith("page")]
        assert shown == [f"page {number}" for number in (range(5) if order == "asc" else range(4, -1, -1))]
    assert keys.list(after="nobody").data == []
    assert len(made) == 5


def test_what_a_key_may_do(own: Served, admin: str) -> None:
    wanted = {"scopes": ["files", "inference"], "models": [SPEC.id], "limits": {"requests_per_minute": 60}}
    made = post(own, admin, name="n", owner="ann", **wanted).json()
    assert (made["scopes"], made["models"], made["limits"]) == (
        ["inference", "files"],
        [SPEC.id],
        {"requests_per_minute": 60},
    )
    assert made["owner"] == {
        "type": "user",
        "object": "organization.user",
        "id": "ann",
        "name": "ann",
        "role": "owner",
    }
    reply = own.http.get(f"{KEYS}/{made['id']}", headers={"x-api-key": admin})
    assert_response_matches("retrieveAdminApiKey", 200, reply.content)
    assert reply.json() == {name: value for name, value in made.items() if name != "value"}


def test_a_key_is_changed_and_stays_the_same_key(own: Served, admin: str) -> None:
    made = post(own, admin, name="n", scopes=["inference"], limits={"requests_per_minute": 1}).json()
    path, holder = f"{KEYS}/{made['id']}", {"x-api-key": made["value"]}

    def chat() -> int:
        body = {"model": SPEC.id, "messages": [{"role": "user", "content": "Hi"}]}
        return own.http.post("/v1/chat/completions", json=body, headers=holder).status_code

    assert [chat(), chat()] == [200, 429]
    wanted = {"limits": {"requests_per_minute": 1000}, "expires_in_seconds": 60, "name": "other"}
    reply = own.http.post(path, json=wanted, headers={"x-api-key": admin})
    assert_response_matches("changeAdminApiKey", 200, reply.content)
    changed = reply.json()
    assert changed["expires_at"] - made["created_at"] in (60, 61, 62)
    known = {**made, "name": "other", "limits": {"requests_per_minute": 1000}}
    assert {**changed, "expires_at": None} == {
        **{name: value for name, value in known.items() if name != "value"},
        "last_used_at": changed["last_used_at"],
    }
    assert chat() == 200
    wanted = {"models": [], "expires_in_seconds": None, "limits": {"requests_per_minute": None}}
    changed = own.http.post(path, json=wanted, headers={"x-api-key": admin}).json()
    assert (changed["models"], changed["expires_at"], changed["limits"]) == ([], None, {})
    assert chat() == 404
    assert own.http.post(path, json={"models": None}, headers={"x-api-key": admin}).json()["models"] is None
    assert chat() == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "\x7f"}, "name"),
        ({"name": None}, "name"),
        ({"owner": "bob"}, None),
        ({"scopes": None}, "scopes"),
        ({"limits": None}, "limits"),
        ({"limits": {"rpm": None}}, "limits.rpm"),
        ({"expires_in_seconds": 0}, "expires_in_seconds"),
    ],
)
def test_what_of_a_change_is_refused(
    own: Served, admin: str, body: dict[str, Any], param: str | None
) -> None:
    made = post(own, admin, name="n").json()
    reply = own.http.post(f"{KEYS}/{made['id']}", json=body, headers={"x-api-key": admin})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


def test_what_is_not_there_cannot_be_changed(own: Served, admin: str) -> None:
    made = post(own, admin, name="n").json()
    own.http.delete(f"{KEYS}/{made['id']}", headers={"x-api-key": admin})
    for key_id in (made["id"], "key_none"):
        reply = own.http.post(f"{KEYS}/{key_id}", json={"name": "m"}, headers={"x-api-key": admin})
        assert (reply.status_code, reply.json()["error"]["message"]) == (404, f"No such API key: {key_id}")


def test_when_a_key_was_used(own: Served, admin: str) -> None:
    made = post(own, admin, name="n", scopes=["inference"]).json()
    assert made["last_used_at"] is None
    assert own.http.get("/v1/models", headers={"x-api-key": made["value"]}).is_success

    async def used() -> int | None:
        while (record := await own.stored.keys.get(made["id"])).used_at is None:
            await asyncio.sleep(0)  # it is noted beside the request
        return record.used_at

    assert asyncio.run(asyncio.wait_for(used(), 10)) is not None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "n" * 201}, "name"),
        ({"name": 1}, "name"),
        ({"name": "n", "expires_in_seconds": 0}, "expires_in_seconds"),
        ({"name": "n", "expires_in_seconds": 10**18}, "expires_in_seconds"),
        ({"name": "n", "scopes": []}, "scopes"),
        ({"name": "n", "scopes": ["root"]}, "scopes[0]"),
        ({"name": "n", "owner": ""}, "owner"),
        ({"name": "n", "owner": "\x00"}, "owner"),
        ({"name": "n", "models": [""]}, "models[0]"),
        ({"name": "n", "limits": {"requests_per_minute": -1}}, "limits.requests_per_minute"),
        ({"name": "n", "limits": {"rpm": 1}}, "limits.rpm"),
        ({"name": "n", "digest": "x"}, None),
    ],
)
def test_what_is_refused(own: Served, admin: str, body: dict[str, Any], param: str | None) -> None:
    reply = post(own, admin, **body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up", "since=1"])
def test_what_of_a_list_is_refused(own: Served, admin: str, query: str) -> None:
    assert own.http.get(f"{KEYS}?{query}", headers={"x-api-key": admin}).status_code == 400


def test_only_administrators(own: Served) -> None:
    key = own.make_key(scopes=("inference", "files", "training"))
    for method, path in (
        ("GET", KEYS),
        ("POST", KEYS),
        ("GET", f"{KEYS}/x"),
        ("POST", f"{KEYS}/x"),
        ("DELETE", f"{KEYS}/x"),
    ):
        reply = own.http.request(method, path, headers={"x-api-key": key})
        error = reply.json()["error"]
        assert reply.status_code == 403
        assert error["message"].startswith(
            "You have insufficient permissions for this operation. Missing scopes: admin."
        )
        assert (error["type"], error["code"]) == ("invalid_request_error", None)


def test_nobody_can_lock_an_open_server(api: Served) -> None:
    reply = api.http.post(KEYS, json={"name": "mine"})
    assert reply.status_code == 403
    assert "llmatic keys create" in reply.json()["error"]["message"]
    assert api.http.get(KEYS).json()["data"] == []
