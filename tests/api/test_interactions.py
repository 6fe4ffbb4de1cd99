from typing import Any

import pytest

from llmatic.config import StoreSettings
from tests.api.conftest import Serve, Served
from tests.contract_check import assert_response_matches
from tests.fakes import SPEC

PROMPTS = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Greet {{ name }}."}]
PATH = "/api/v1/interactions"


@pytest.fixture
def own(serve: Serve, tmp_path: Any) -> Served:
    return serve(store=StoreSettings(folder=str(tmp_path)))


def create(served: Served, name: str = "Greeting", **fields: Any) -> dict[str, Any]:
    body = {"name": name, "prompts": PROMPTS, "model": SPEC.id, **fields}
    return good(served.http.post(PATH, json=body), "createInteraction")


def good(reply: Any, operation: str) -> dict[str, Any]:
    assert reply.status_code == 200, reply.text
    assert_response_matches(operation, 200, reply.content)
    body: dict[str, Any] = reply.json()
    return body


def refused(reply: Any, status: int = 400) -> Any:
    assert reply.status_code == status, reply.text
    assert_response_matches("createInteraction", status, reply.content)
    return reply.json().get("details")


def execute(served: Served, reference: str, **fields: Any) -> Any:
    body = {"interaction": reference, "data": {"name": "Anna"}, **fields}
    return served.http.post("/api/v1/execute", json=body)


def test_a_draft_is_made_changed_published_and_goes_on(own: Served) -> None:
    draft = create(own, description="Says hello.", tags=["a"], model_options={"temperature": 0.5})
    assert (draft["status"], draft["version"], draft["edit_revision"]) == ("draft", 1, 1)
    place = f"{PATH}/{draft['id']}"
    changed = good(own.http.put(place, json={"description": "Greets."}), "updateInteraction")
    assert (changed["description"], changed["edit_revision"], changed["prompts"]) == ("Greets.", 2, PROMPTS)
    published = good(own.http.post(f"{place}/publish", json={"tags": ["stable"]}), "publishInteraction")
    assert (published["status"], published["version"], published["parent"]) == ("published", 1, draft["id"])
    assert published["tags"] == ["stable"]
    after = good(own.http.get(place), "retrieveInteraction")
    assert (after["status"], after["version"], after["tags"]) == ("draft", 2, ["a"])
    versions = own.http.get(f"{place}/versions").json()
    assert [(v["version"], v["status"]) for v in versions] == [(1, "published"), (2, "draft")]
    assert "prompts" not in versions[0]
    listed = own.http.get(PATH, params={"status": "published", "name": "Greeting"})
    assert_response_matches("listInteractions", 200, listed.content)
    assert [v["id"] for v in listed.json()] == [published["id"]]


def test_an_interaction_begins_as_a_draft(own: Served) -> None:
    assert create(own, status="draft")["status"] == "draft"
    body = {"name": "Other", "prompts": PROMPTS, "status": "published"}
    assert refused(own.http.post(PATH, json=body)) == "status"


def test_what_was_published_stays_as_it_is(own: Served) -> None:
    draft = create(own)
    published = own.http.post(f"{PATH}/{draft['id']}/publish", json={}).json()
    place = f"{PATH}/{published['id']}"
    assert refused(own.http.put(place, json={"prompts": PROMPTS})) == "prompts"
    assert refused(own.http.put(place, json={"name": "Other"})) == "name"
    assert refused(own.http.put(place, json={"status": "draft"})) == "status"
    assert refused(own.http.put(f"{PATH}/{draft['id']}", json={"status": "published"})) == "status"
    refused(own.http.post(f"{place}/publish", json={}))
    archived = own.http.put(place, json={"status": "archived", "tags": ["old"]}).json()
    assert (archived["status"], archived["tags"]) == ("archived", ["old"])
    assert execute(own, "Greeting").json()["interaction"]["id"] == draft["id"]


def test_a_version_is_found_by_name_number_and_tag(own: Served) -> None:
    draft = create(own)
    assert execute(own, "Greeting").json()["interaction"]["status"] == "draft"
    first = own.http.post(f"{PATH}/{draft['id']}/publish", json={"tags": ["x"]}).json()
    second = own.http.post(f"{PATH}/{draft['id']}/publish", json={"tags": ["y"]}).json()
    for reference, expected in (
        ("Greeting", second["id"]),
        ("Greeting@1", first["id"]),
        ("Greeting@2", second["id"]),
        ("Greeting@x", first["id"]),
        ("Greeting@draft", draft["id"]),
        (first["id"], first["id"]),
    ):
        run = execute(own, reference).json()
        assert run["interaction"]["id"] == expected, reference
        assert run["prompt"][1]["content"] == "Greet Anna."
        assert run["status"] == "completed"
    for reference in ("Greeting@9", "Greeting@z", "greeting", "@draft", "int_0", "G\0"):
        refused(execute(own, reference), 404)
    runs = own.http.get("/api/v1/runs", params={"interaction": "Greeting@x"}).json()
    assert [run["interaction"]["id"] for run in runs] == [first["id"]] * 3
    by_path = own.http.post(f"{PATH}/{second['id']}/execute", json={"data": {"name": "Їжак"}})
    assert by_path.json()["prompt"][1]["content"] == "Greet Їжак."


def test_data_and_templates_are_checked_by_name(own: Served) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": False}
    create(own, interaction_schema=schema)
    assert refused(execute(own, "Greeting", data={})) == "data.name"
    assert refused(execute(own, "Greeting", data={"name": 7})) == "data.name"
    assert refused(execute(own, "Greeting", data=None)) == "data.name"
    assert own.pool.requests == []
    bad = {"name": "Bad", "prompts": [{"role": "user", "content": "{% if %}"}]}
    assert refused(own.http.post(PATH, json=bad)) == "prompts[0].content"
    for field in ("result_schema", "interaction_schema"):
        body = {"name": "Bad", "prompts": PROMPTS, field: {"$ref": "http://127.0.0.1:9/"}}
        assert refused(own.http.post(PATH, json=body)) == field
    body = {"name": "Bad", "prompts": PROMPTS, "environment": "openai"}
    assert refused(own.http.post(PATH, json=body)) == "config.environment"
    for name in ("", "a@b", "a/b", "a\0", "x" * 129):
        assert refused(own.http.post(PATH, json={"name": name, "prompts": PROMPTS})) == "name"


def test_options_of_an_execution_go_over_those_of_the_interaction(own: Served) -> None:
    create(own, model_options={"temperature": 0.5, "max_tokens": 5})
    execute(own, "Greeting", config={"temperature": 0.25})
    request = own.pool.requests[-1]
    assert (request.sampling.temperature, request.max_tokens) == (0.25, 5)
    create(own, "Without", model=None)
    assert refused(execute(own, "Without")) == "config.model"


def test_forks_and_names(own: Served) -> None:
    draft = create(own, tags=["a"])
    assert refused(own.http.post(PATH, json={"name": "Greeting", "prompts": PROMPTS}), 409) == "name"
    fork = good(own.http.post(f"{PATH}/{draft['id']}/fork", json={"name": "Other"}), "forkInteraction")
    assert (fork["name"], fork["parent"], fork["tags"], fork["prompts"]) == (
        "Other",
        draft["id"],
        ["a"],
        PROMPTS,
    )
    copy = own.http.post(f"{PATH}/{draft['id']}/fork", json={"keep_tags": False}).json()
    assert (copy["name"], copy["tags"]) == ("Greeting copy", [])
    assert refused(own.http.put(f"{PATH}/{copy['id']}", json={"name": "Other"}), 409) == "name"


def test_there_is_an_end_to_versions(own: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmatic.services.interactions.MAX_PER_OWNER", 2)
    draft = create(own)
    assert own.http.post(f"{PATH}/{draft['id']}/publish", json={}).status_code == 200
    refused(own.http.post(f"{PATH}/{draft['id']}/publish", json={}))
    refused(own.http.post(f"{PATH}/{draft['id']}/fork", json={}))
    refused(own.http.post(PATH, json={"name": "Other", "prompts": PROMPTS}))


def test_a_draft_does_not_take_the_name_of_another(own: Served) -> None:
    first, other = create(own), create(own, "Other")
    own.http.post(f"{PATH}/{other['id']}/publish", json={})  # its draft is version 2 now
    assert refused(own.http.put(f"{PATH}/{first['id']}", json={"name": "Other"}), 409) == "name"
    renamed = own.http.put(f"{PATH}/{first['id']}", json={"name": "Third"}).json()
    assert own.http.put(f"{PATH}/{first['id']}", json={"name": "Third"}).json()["name"] == renamed["name"]
    refused(execute(own, "Greeting"), 404)


@pytest.mark.parametrize(
    "content",
    [
        "{{ '{0[0]:{0[1]}}'.format([1, 10**9]) }}",
        "{{ ('a' * 1000000).translate({97: 'x' * 1000000}) }}",
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{{ '\\ud800' }}",
    ],
)
def test_hostile_templates_are_the_callers_mistake(own: Served, content: str) -> None:
    create(own, prompts=[{"role": "user", "content": content}])
    assert refused(execute(own, "Greeting")) in ("data", "prompts[0].content")
    assert own.pool.requests == []


def test_schemas_are_held_to_data_and_results(own: Served) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    create(own, result_schema=schema)
    run = execute(own, "Greeting").json()
    assert (run["status"], run["error"]["code"]) == ("failed", "validation_error")
    assert run["result"] == [{"type": "text", "value": "Hello wörld!"}]
    loose = execute(own, "Greeting", config={"do_validate": False}).json()
    assert (loose["status"], loose["error"]) == ("completed", None)


def test_what_is_deleted_is_gone_and_its_runs_stay(own: Served) -> None:
    draft = create(own)
    run = execute(own, "Greeting").json()
    assert own.http.delete(f"{PATH}/{draft['id']}").json() == {"id": draft["id"]}
    refused(own.http.get(f"{PATH}/{draft['id']}"), 404)
    refused(own.http.delete(f"{PATH}/{draft['id']}"), 404)
    refused(own.http.put(f"{PATH}/{draft['id']}", json={}), 404)
    refused(own.http.post(f"{PATH}/{draft['id']}/publish", json={}), 404)
    assert own.http.get(f"/api/v1/runs/{run['id']}").json() == run


def test_each_owner_has_its_own_names(own: Served) -> None:
    ann, bob = ({"x-api-key": own.make_key(owner=owner)} for owner in ("ann", "bob"))
    body = {"name": "Greeting", "prompts": PROMPTS, "model": SPEC.id}
    first = own.http.post(PATH, json=body, headers=ann).json()
    second = own.http.post(PATH, json=body, headers=bob).json()
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("get", "", {}),
        ("delete", "", {}),
        ("put", "", {"json": {}}),
        ("post", "/publish", {"json": {}}),
        ("post", "/fork", {"json": {}}),
        ("post", "/execute", {"json": {}}),
        ("get", "/versions", {}),
    ]
    for method, place, fields in calls:
        refused(getattr(own.http, method)(f"{PATH}/{first['id']}{place}", headers=bob, **fields), 404)
    assert [v["id"] for v in own.http.get(PATH, headers=bob).json()] == [second["id"]]
