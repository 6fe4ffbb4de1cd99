from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from llmatic.config import StoreSettings
from llmatic.core.errors import EngineFailed, Unavailable
from llmatic.core.types import CallDelta, Delta, Finished, Started, Usage
from tests.api.conftest import Serve, Served
from tests.api.running import CONFIG, HI, eventually, frames, make, playing, refusal, saying
from tests.contract_check import assert_response_matches
from tests.fakes import SPEC


def test_a_run_is_executed_recorded_and_found(api: Served) -> None:
    made = make(
        api, tags=["a", "б"], data={"unused": 1}, config={**CONFIG, "temperature": 0.5, "max_tokens": 9}
    )
    assert made["result"] == [{"type": "text", "value": "Hello wörld!"}]
    assert made["prompt"] == HI
    assert (made["status"], made["finish_reason"], made["modelId"]) == ("completed", "stop", SPEC.id)
    assert made["token_use"] == {"prompt": 7, "completion": 4, "result": 4, "total": 11}
    assert made["config"] == {"environment": "local", "model": SPEC.id, "temperature": 0.5, "max_tokens": 9}
    assert made["created_at"].endswith("Z")
    assert len(made["created_at"]) == 24
    found = api.http.get(f"/api/v1/runs/{made['id']}")
    assert_response_matches("retrieveRun", 200, found.content)
    assert found.json() == made
    assert api.pool.requests[-1].sampling.temperature == 0.5


def test_prompts_are_filled_in(api: Served) -> None:
    made = make(
        api, messages=None, prompts=[{"role": "user", "content": "Hi {{ name }}"}], data={"name": "Їжак"}
    )
    assert made["prompt"] == [{"role": "user", "content": "Hi Їжак"}]
    assert made["parameters"] == {"name": "Їжак"}


def test_results_with_a_schema_are_values_or_failures(api: Served) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    api.pool.script = saying('{"a": 7}')
    made = make(api, result_schema=schema)
    assert made["result"] == [{"type": "json", "value": {"a": 7}}]
    assert made["result_schema"] == schema
    constraint = api.pool.requests[-1].constraint
    assert constraint is not None
    assert constraint.kind == "json_schema"
    api.pool.script = saying('{"a": ', "length")
    failed = make(api, result_schema=schema)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "validation_error")
    assert api.http.get(f"/api/v1/runs/{failed['id']}").json()["status"] == "failed"
    unchecked = make(api, result_schema=schema, do_validate=False)
    assert (unchecked["status"], unchecked["result"]) == ("completed", [{"type": "text", "value": '{"a": '}])


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ({"messages": None}, "interaction"),
        ({"prompts": [{"role": "user", "content": "x"}]}, "messages"),
        ({"config": {}}, "config.model"),
        ({"config": {"model": SPEC.id, "environment": "openai"}}, "config.environment"),
        ({"config": {"model": SPEC.id, "temperature": 3}}, "config.temperature"),
        ({"config": {"model": SPEC.id, "run_data": "RESTRICTED"}}, "config.run_data"),
        ({"config": {"model": SPEC.id, "foo": 1}}, "config.foo"),
        ({"foo": 1}, None),
        ({"tags": [""]}, "tags[0]"),
        ({"result_schema": {"type": "objekt"}}, "result_schema"),
        ({"messages": None, "prompts": [{"role": "user", "content": "{{ x }}"}]}, "data.x"),
        ({"messages": None, "prompts": [{"role": "user", "content": "{{"}]}, "prompts[0].content"),
        ({"messages": [{"role": "nobody", "content": ""}]}, "messages[0].role"),
    ],
)
def test_mistakes_are_named(api: Served, fields: dict[str, Any], details: str | None) -> None:
    body = refusal(api.http.post("/api/v1/runs", json={"messages": HI, "config": CONFIG, **fields}))
    assert body.get("details") == details
    assert body["error"] == "Bad Request"
    assert api.pool.requests == []


def test_what_is_not_there(api: Served) -> None:
    for fields in (
        {"config": {"model": "nobody"}},
        {"parent": "run_0"},
        {"messages": None, "interaction": "Nobody"},
    ):
        refusal(api.http.post("/api/v1/runs", json={"messages": HI, "config": CONFIG, **fields}), 404)
    for method, path in (("get", ""), ("delete", ""), ("get", "/stream")):
        refusal(getattr(api.http, method)(f"/api/v1/runs/run_0{path}"), 404)
    refusal(api.http.put("/api/v1/runs/run_0", json={"tags": []}), 404)
    refusal(api.http.get("/api/v1/nothing"), 404)
    refusal(api.http.patch("/api/v1/runs"), 405)


def test_tools_are_offered_and_their_calls_are_shown(api: Served) -> None:
    call = CallDelta(0, "look", arguments='{"at": "Їжак"}')
    api.pool.script = playing(
        Started(3), Delta(0, "", 1, (), "tool_calls", calls=(call,)), Finished(Usage(3, 1))
    )
    schema = {"type": "object", "properties": {"at": {"type": "string"}}}
    made = make(
        api,
        tool_definitions=[{"name": "look", "description": "Look.", "input_schema": schema}],
        result_schema={"type": "object"},
    )
    (used,) = made["tool_use"]
    assert (used["tool_name"], used["tool_input"]) == ("look", {"at": "Їжак"})
    assert (made["result"], made["status"]) == ([], "completed")
    prompt: Any = api.pool.requests[-1].prompt
    assert [tool["function"]["name"] for tool in prompt.tools.definitions] == ["look"]


def test_a_failure_of_the_engine_is_answered_and_recorded(api: Served) -> None:
    api.pool.script = playing(Started(3), EngineFailed("it died"))
    reply = api.http.post("/api/v1/runs", json={"messages": HI, "config": CONFIG, "tags": ["died"]})
    assert refusal(reply, 503)["message"] == "it died"
    (run,) = eventually(lambda: api.http.get("/api/v1/runs?tag=died").json())
    assert (run["status"], run["error"]["message"]) == ("failed", "it died")


def test_tags_and_scores_change_and_lists_follow(api: Served) -> None:
    made = make(api, tags=["before"])
    path = f"/api/v1/runs/{made['id']}"
    api.http.put(path, json={"evaluation": {"score": 0.5, "scores": {"style": 2}}})
    reply = api.http.put(path, json={"evaluation": {"selected": True}, "tags": ["after", "after"]})
    assert_response_matches("updateRun", 200, reply.content)
    assert reply.json()["evaluation"] == {"score": 0.5, "scores": {"style": 2}, "selected": True}
    assert reply.json()["tags"] == ["after"]
    assert api.http.get(path).json() == reply.json()
    assert api.http.get("/api/v1/runs?tag=before").json() == []
    assert [run["id"] for run in api.http.get("/api/v1/runs?tag=after").json()] == [made["id"]]
    assert api.http.delete(path).json() == {"id": made["id"]}
    assert api.http.get("/api/v1/runs?tag=after").json() == []


def test_lists_are_filtered_and_without_texts(api: Served) -> None:
    made = [make(api, tags=["list", f"n{k}"])["id"] for k in range(5)]
    child = make(api, parent=made[0])["id"]
    reply = api.http.get("/api/v1/runs?tag=list&limit=2&offset=1")
    assert_response_matches("listRuns", 200, reply.content)
    assert [run["id"] for run in reply.json()] == [made[3], made[2]]
    assert not {"result", "parameters", "prompt", "result_schema"} & reply.json()[0].keys()
    for query, expected in (
        (f"parent={made[0]}", [child]),
        ("tag=list&tag=n2", [made[2]]),
        ("tag=list&status=completed&environment=local&model=gpt-4o-mini&limit=1", [made[4]]),
        (f"tag=list&after={made[2]}", [made[1], made[0]]),
        ("tag=list&status=failed", []),
        ("tag=list&interaction=Nobody", []),
        ("tag=list&model=nobody", []),
    ):
        assert [run["id"] for run in api.http.get(f"/api/v1/runs?{query}").json()] == expected, query
    found = api.http.post("/api/v1/runs/search", json={"tags": ["list", "n1"], "limit": 3}).json()
    assert [run["id"] for run in found] == [made[1]]
    for query in ("limit=0", "limit=501", "offset=10001", "status=odd", "environment=openai", "foo=1"):
        refusal(api.http.get(f"/api/v1/runs?{query}"))
    refusal(api.http.get("/api/v1/runs?after=run_0"), 404)


def test_each_owner_has_its_own(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> None:
    served = serve(store=StoreSettings(folder=str(tmp_path_factory.mktemp("own"))))
    ann, bob = ({"x-api-key": served.make_key(owner=owner)} for owner in ("ann", "bob"))
    body = {"messages": HI, "config": CONFIG, "tags": ["t"]}
    made = served.http.post("/api/v1/runs", json=body, headers=ann).json()
    waiting = served.http.post("/api/v1/runs", json={**body, "stream": True}, headers=ann).json()
    path = f"/api/v1/runs/{made['id']}"
    for method, place, fields in (
        ("get", path, {}),
        ("delete", path, {}),
        ("put", path, {"json": {"tags": []}}),
        ("get", f"/api/v1/runs/{waiting['id']}/stream", {}),
        ("post", "/api/v1/runs", {"json": {**body, "parent": made["id"]}}),
    ):
        refusal(getattr(served.http, method)(place, headers=bob, **fields), 404)
    assert served.http.get("/api/v1/runs?tag=t", headers=bob).json() == []
    assert len(served.http.get("/api/v1/runs?tag=t", headers=ann).json()) == 2
    assert served.http.get(path, headers=ann).json() == made
    token = {"access_token": ann["x-api-key"]}
    refusal(served.http.get(path, params=token), 401)
    refusal(served.http.get(f"/api/v1/runs/{waiting['id']}/stream", params={"access_token": "x"}), 401)
    assert frames(served.http.get(f"/api/v1/runs/{waiting['id']}/stream", params=token).text)[0]
    refusal(served.http.get("/api/v1/runs"), 401)
    limited = {"x-api-key": served.make_key(owner="ann", scopes=("files",))}
    refusal(served.http.get("/api/v1/runs", headers=limited), 403)
    no_model = {"x-api-key": served.make_key(owner="ann", models=("other",))}
    refusal(served.http.post("/api/v1/runs", json=body, headers=no_model), 404)


def test_many_at_once(api: Served) -> None:
    with ThreadPoolExecutor(16) as threads:
        made = list(threads.map(lambda k: make(api, tags=["many", f"m{k}"])["id"], range(48)))
    found = api.http.get("/api/v1/runs?tag=many").json()
    assert sorted(run["id"] for run in found) == sorted(made)


def test_a_huge_run(api: Served) -> None:
    text = "ї\0🦔" * 300_000
    made = make(api, messages=[{"role": "user", "content": text}])
    assert made["prompt"][0]["content"] == text
    assert api.http.get(f"/api/v1/runs/{made['id']}").json() == made


def test_answers_come_without_a_database(
    serve: Serve, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve(store=StoreSettings(folder=str(tmp_path)))

    async def gone(_work: Any) -> Any:
        raise Unavailable("the database is gone")

    monkeypatch.setattr("llmatic.services.recording.RETRY_S", (0.01, 0.1))
    with monkeypatch.context() as without:
        without.setattr(served.stored.database, "write", gone)
        assert served.chat(store=True).status_code == 200
        assert served.chat(store=True, stream=True).text.endswith("data: [DONE]\n\n")
        assert make(served)["status"] == "completed"
        refusal(
            served.http.post("/api/v1/runs", json={"messages": HI, "config": CONFIG, "stream": True}), 503
        )
    assert (
        len(eventually(lambda: len(served.http.get("/v1/chat/completions").json()["data"]) == 2 and [1, 1]))
        == 2
    )
