import json
import re
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from llmatic.config import RecordingSettings, StoreSettings
from llmatic.core.errors import EngineFailed, Unavailable
from llmatic.core.types import CallDelta, Delta, Finished, GenerationRequest, Started, Usage
from tests.api.asking_responses import TOOL, respond, thinking
from tests.api.conftest import WAIT_S, Serve, Served
from tests.api.messaging import WEATHER, ask
from tests.api.running import HI, eventually, frames, playing
from tests.api.wire import events
from tests.contract_check import assert_response_matches
from tests.fakes import SPEC, Gate, Step

BODY = {"model": SPEC.id, "messages": HI}


@pytest.fixture
def recording(serve: Serve, tmp_path: Any) -> Iterator[Served]:
    """A server that records everything, without addresses."""
    settings = RecordingSettings(enabled=True, redact=(r"\S+@\S+",))
    served = serve(store=StoreSettings(folder=str(tmp_path)), recording=settings)
    yield served
    if served.thread.is_alive():
        served.stop()


def recorded(served: Served, run_id: str) -> dict[str, Any]:
    """The run, once it is written."""
    path = f"/api/v1/runs/{run_id}"
    found = eventually(lambda: next((r for r in [served.http.get(path)] if r.status_code == 200), None))
    assert_response_matches("retrieveRun", 200, found.content)
    run: dict[str, Any] = found.json()
    return run


def test_the_rule_records_chats_and_completions_without_what_is_private(
    recording: Served, serve: Serve, tmp_path: Any
) -> None:
    chat = recording.chat(messages=[{"role": "user", "content": "I am a@b.c"}]).json()
    streamed = events(recording.chat(stream=True).text)[0]
    text = recording.completion(prompt=["x@y.z", "b"], max_tokens=3).json()
    recording.pool.script = playing(EngineFailed("it died"))
    assert recording.chat().status_code == 503
    recording.pool.script = playing(Started(3), Delta(0, "x", 1), Gate())
    with recording.http.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as reply:
        assert next(reply.iter_text())
    assert recording.pool.cancelled.wait(WAIT_S)
    recording.stop()  # which writes what waits
    after = serve(store=StoreSettings(folder=str(tmp_path)))
    runs = {run["id"]: run for run in after.http.get("/api/v1/runs").json()}
    assert {chat["id"], streamed["id"], text["id"]} < runs.keys()
    assert recorded(after, chat["id"])["prompt"] == [{"role": "user", "content": "I am <redacted>"}]
    completion = recorded(after, text["id"])
    assert (completion["kind"], completion["prompt"]) == ("completion", ["<redacted>", "b"])
    assert [result["value"] for result in completion["result"]] == ["Hello wörld!"] * 2
    failed = {run["error"]["code"]: run for run in runs.values() if run["status"] == "failed"}
    assert failed.keys() == {"server_error", "cancelled"}
    assert failed["server_error"]["error"]["message"] == "it died"
    assert recorded(after, failed["cancelled"]["id"])["result"] == []


def test_only_chats_are_stored_completions(recording: Served) -> None:
    chat = recording.chat().json()["id"]
    others = [
        recording.completion().json()["id"],
        ask(recording).json()["id"],
        respond(recording).json()["id"],
        recording.http.post("/api/v1/runs", json={"messages": HI, "config": {"model": SPEC.id}}).json()["id"],
    ]
    kinds = [recorded(recording, run_id)["kind"] for run_id in (chat, *others)]
    assert kinds == ["chat", "completion", "message", "response", "run"]
    assert sorted(run["id"] for run in recording.http.get("/api/v1/runs").json()) == sorted([chat, *others])
    stored = recording.http.get("/v1/chat/completions").json()["data"]
    assert [completion["id"] for completion in stored] == [chat]
    for run_id in others:
        for place in (run_id, f"{run_id}/messages"):
            assert recording.http.get(f"/v1/chat/completions/{place}").status_code == 404
        assert recording.http.delete(f"/v1/chat/completions/{run_id}").status_code == 404
        assert recording.http.post(f"/v1/chat/completions/{run_id}", json={"metadata": {}}).status_code == 404


@pytest.mark.parametrize("streams", [False, True])
def test_messages_are_recorded_in_the_form_of_chats(recording: Served, streams: bool) -> None:
    recording.pool.script = thinking
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "I am a@b.c"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Wait."},
                {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "x@y.z"}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "Rain"}]},
    ]
    reply = ask(recording, messages=turns, system="Be kind.", tools=[WEATHER], stream=streams)
    whole = json.loads(reply.text.split("data: ")[1].split("\n")[0])["message"] if streams else reply.json()
    run = recorded(recording, whole["id"])
    assert run["prompt"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "I am <redacted>"},
        {
            "role": "assistant",
            "content": "Wait.",
            "tool_calls": [
                {
                    "id": "toolu_1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city":"<redacted>"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "content": "Rain"},
    ]
    assert run["result"] == [{"type": "text", "value": "Well, then."}]
    assert [call["tool_input"] for call in run["tool_use"]] == [{"city": "Paris"}, {}]
    sent = re.findall(r'"type":"tool_use","id":"(toolu_\w+|own)"', reply.text)
    assert [call["id"] for call in run["tool_use"]] == sent
    assert (run["finish_reason"], run["token_use"]["completion"]) == ("tool_calls", 9)


@pytest.mark.parametrize("streams", [False, True])
def test_responses_are_recorded_with_what_came_before(recording: Served, streams: bool) -> None:
    recording.pool.script = thinking
    first = respond(recording, input="I am a@b.c", instructions="Be kind.", tools=[TOOL]).json()
    call = next(item for item in first["output"] if item["type"] == "function_call")
    recording.pool.reset()
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "Rain"}
    other = {"type": "function_call_output", "call_id": "own", "output": "Sun"}
    reply = respond(recording, input=[output, other], previous_response_id=first["id"], stream=streams)
    made = json.loads(reply.text.split("data: ")[1].split("\n")[0])["response"] if streams else reply.json()
    before, run = recorded(recording, first["id"]), recorded(recording, made["id"])
    assert before["prompt"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "I am <redacted>"},
    ]
    assert before["result"] == [{"type": "text", "value": "Well, then."}]
    assert [use["tool_input"] for use in before["tool_use"]] == [{"city": "Paris"}, {}]
    _, own, rain, sun = run["prompt"]
    assert (own["role"], own["content"], own["reasoning_content"]) == (
        "assistant",
        "Well, then.",
        "Let me think.",
    )
    assert [made["function"]["name"] for made in own["tool_calls"]] == ["get_weather"] * 2
    assert (rain, sun["content"]) == (
        {"role": "tool", "tool_call_id": call["call_id"], "content": "Rain"},
        "Sun",
    )
    assert run["result"] == [{"type": "text", "value": "Hello wörld!"}]
    assert run["token_use"]["completion"] == 4


def test_responses_that_fail_or_run_in_the_background_are_recorded_too(recording: Served) -> None:
    queued = respond(recording, background=True).json()["id"]
    assert recorded(recording, queued)["result"] == [{"type": "text", "value": "Hello wörld!"}]
    recording.pool.script = playing(Started(3), EngineFailed("it died"))
    assert respond(recording).status_code == 503
    failed = eventually(lambda: recording.http.get("/api/v1/runs?status=failed").json())
    assert [(run["kind"], run["error"]["message"]) for run in failed] == [("response", "it died")]


def test_results_that_were_to_fit_a_schema_are_values(recording: Served) -> None:
    recording.pool.script = playing(Started(3), Delta(0, '{"a": 7}', 2, (), "stop"), Finished(Usage(3, 2)))
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    strict = {**schema, "additionalProperties": False}
    named = {"type": "json_schema", "name": "n", "schema": strict}
    made = [
        recording.chat(
            response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        ),
        ask(recording, output_config={"format": {"type": "json_schema", "schema": strict}}),
        respond(recording, text={"format": named}),
    ]
    for reply in made:
        assert reply.status_code == 200, reply.text
        run = recorded(recording, reply.json()["id"])
        assert run["result"] == [{"type": "json", "value": {"a": 7}}]
        assert run["result_schema"]["required"] == ["a"]


def test_requests_without_a_written_answer_are_not_recorded(recording: Served) -> None:
    recording.http.post("/v1/embeddings", json={"model": SPEC.id, "input": "x"})
    recording.http.post("/v1/edits", json={"model": SPEC.id, "instruction": "x"})
    recording.http.post("/v1/messages/count_tokens", json=BODY)
    recording.http.post("/v1/responses/input_tokens", json={"model": SPEC.id, "input": "x"})
    chat = recording.chat().json()["id"]
    recorded(recording, chat)
    assert [run["id"] for run in recording.http.get("/api/v1/runs").json()] == [chat]


def test_lines_of_batches_are_recorded_as_such(recording: Served) -> None:
    sdk: openai.OpenAI = recording.sdk()
    line = {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {**BODY, "store": True},
    }
    file = sdk.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
    sdk.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    (stored,) = eventually(lambda: recording.http.get("/v1/chat/completions").json()["data"])
    run = recorded(recording, stored["id"])
    assert (run["kind"], run["source"]["label"]) == ("chat", "Batch")
    assert recorded(recording, recording.chat().json()["id"])["source"]["label"] == "API request"


def test_everything_may_be_redacted(serve: Serve, tmp_path: Any) -> None:
    settings = RecordingSettings(enabled=True, redact=("(?s).+",))
    served = serve(store=StoreSettings(folder=str(tmp_path)), recording=settings)
    made = served.chat(store=True, metadata={"a": "b"}, n=2).json()
    stored = served.http.get(f"/v1/chat/completions/{made['id']}")
    assert_response_matches("getChatCompletion", 200, stored.content)
    assert stored.json()["metadata"] == {"<redacted>": "<redacted>"}
    assert [choice["message"]["content"] for choice in stored.json()["choices"]] == ["<redacted>"] * 2
    run = recorded(served, made["id"])
    assert (run["prompt"], run["config"]["n"]) == ([{"role": "user", "content": "<redacted>"}], 2)
    for reply in (ask(served, system="x"), respond(served, instructions="x"), served.completion()):
        assert {result["value"] for result in recorded(served, reply.json()["id"])["result"]} == {
            "<redacted>"
        }
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    served.pool.script = playing(Started(3), Delta(0, '{"a": "b"}', 2, (), "stop"), Finished(Usage(3, 2)))
    body = {
        "prompts": [{"role": "user", "content": "{{ a }}"}],
        "data": {"a": "b"},
        "config": {"model": SPEC.id},
        "result_schema": schema,
        "tags": ["t"],
    }
    run = served.http.post("/api/v1/runs", json=body).json()
    assert (run["status"], run["tags"]) == ("completed", ["<redacted>"])
    assert run["result"] == [{"type": "text", "value": "<redacted>"}]
    assert recorded(served, run["id"]) == run
    waiting = served.http.post("/api/v1/runs", json={**body, "stream": True}).json()
    assert (waiting["tags"], waiting["parameters"]) == (["<redacted>"], {"<redacted>": "<redacted>"})
    _, told = frames(served.http.get(f"/api/v1/runs/{waiting['id']}/stream").text)
    assert told["prompt"] == [{"role": "user", "content": "<redacted>"}]
    assert recorded(served, waiting["id"]) == told


def test_a_key_that_is_not_meant_is_not_recorded(serve: Serve, tmp_path: Any) -> None:
    settings = RecordingSettings(enabled=True, owners=("ann",))
    served = serve(store=StoreSettings(folder=str(tmp_path)), recording=settings)
    ann, bob = ({"x-api-key": served.make_key(owner=owner)} for owner in ("ann", "bob"))
    for headers in (bob, ann):
        assert served.http.post("/v1/chat/completions", json=BODY, headers=headers).status_code == 200
        body = {"model": SPEC.id, "input": "Hi"}
        assert served.http.post("/v1/responses", json=body, headers=headers).status_code == 200
    assert len(eventually(lambda: two(served.http.get("/api/v1/runs", headers=ann).json()))) == 2
    assert served.http.get("/api/v1/runs", headers=bob).json() == []


def two(found: list[Any]) -> list[Any] | None:
    return found if len(found) == 2 else None


def test_a_database_that_is_gone_costs_only_the_recording(
    recording: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(_work: Any) -> Any:
        raise Unavailable("the database is gone")

    monkeypatch.setattr("llmatic.services.recording.RETRY_S", (0.01, 0.1))
    with monkeypatch.context() as without:
        without.setattr(recording.stored.database, "write", gone)
        for reply in (
            recording.chat(),
            ask(recording),
            recording.completion(),
            respond(recording, store=False),
        ):
            assert reply.status_code == 200, reply.text
        assert recording.chat(stream=True).text.endswith("data: [DONE]\n\n")
    assert eventually(lambda: len(recording.http.get("/api/v1/runs").json()) == 5)


def test_many_choices_with_calls_pictures_and_odd_texts_come_back(recording: Served) -> None:
    def odd(_: GenerationRequest) -> Iterator[Step]:
        yield Started(3)
        for k in range(8):
            yield Delta(k, f"\0🦔\u2028{k}", 1)
            yield Delta(k, "", 1, calls=(CallDelta(0, "f", arguments='{"x":"\\u0000"}'),))
            yield Delta(k, "", 0, (), "tool_calls")
        yield Finished(Usage(3, 16))

    recording.pool.script = odd
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    made = recording.chat(n=8, tools=tools, messages=[{"role": "user", "content": "\0\uffff🦔"}]).json()
    run = recorded(recording, made["id"])
    assert [result["value"] for result in run["result"]] == [f"\0🦔\u2028{k}" for k in range(8)]
    assert run["tool_use"][0]["tool_input"] == {"x": "\0"}
    assert run["prompt"] == [{"role": "user", "content": "\0\uffff🦔"}]
    stored = recording.http.get(f"/v1/chat/completions/{made['id']}").json()
    assert stored["choices"] == made["choices"]
