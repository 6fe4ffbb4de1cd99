"""POST /responses over a socket: whole and streamed, items, tools, thoughts, chains."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import openai
import pytest

from llmatic.core.errors import EngineFailed
from llmatic.core.types import ChatPrompt, Delta, GenerationRequest, Started
from tests.api.asking_responses import TOOL, cut_off, made, messages, respond, streamed, thinking
from tests.api.conftest import Serve, Served
from tests.contract_check import assert_response_matches, document
from tests.fakes import SPEC, Step
from tests.stream_check import response_events


def test_a_text_is_answered(api: Served) -> None:
    body = made(api, metadata={"a": "b"}, instructions="Be brief.")
    assert body["status"] == "completed"
    (item,) = body["output"]
    assert item["content"] == [
        {"type": "output_text", "annotations": [], "logprobs": [], "text": "Hello wörld!"}
    ]
    assert body["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 11,
    }
    assert (body["metadata"], body["instructions"], body["model"]) == ({"a": "b"}, "Be brief.", SPEC.id)
    assert messages(api) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]


def test_the_model_has_its_own_defaults(serve: Serve) -> None:
    sampling = {"temperature": 0.25, "max_tokens": 99, "min_tokens": 5, "stop": ["###"]}
    served = serve({SPEC.id: replace(SPEC, sampling=sampling)})
    body = made(served)
    (request,) = served.pool.requests
    assert (request.sampling.temperature, request.max_tokens) == (0.25, 99)
    assert (request.min_tokens, request.stop) == (5, ("###",))
    assert body["temperature"] == 0.25


def test_the_official_client_in_all_its_ways(api: Served) -> None:
    client = api.sdk()
    whole = client.responses.create(model=SPEC.id, input="Hi")
    assert whole.output_text == "Hello wörld!"
    events = list(client.responses.create(model=SPEC.id, input="Hi", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    with client.responses.stream(model=SPEC.id, input="Hi") as stream:
        pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert pieces == ["Hello", " wörld", "!"]
        assert stream.get_final_response().output_text == "Hello wörld!"
    assert client.responses.retrieve(whole.id).output_text == "Hello wörld!"
    listed = client.responses.input_items.list(whole.id)
    assert [item.type for item in listed] == ["message"]
    client.responses.delete(whole.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(whole.id)


def test_every_event_in_its_order(api: Served) -> None:
    events = streamed(api)
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert events[-1]["response"]["output"] == [events[-2]["item"]]


def test_thoughts_texts_and_calls_each_have_their_events(api: Served) -> None:
    api.pool.script = thinking
    events = streamed(api, tools=[TOOL])
    final = events[-1]["response"]
    thought, message, first, second = final["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "Let me think."}]
    assert message["content"][0]["text"] == "Well, then."
    assert (first["name"], first["arguments"]) == ("get_weather", '{"city":"Paris"}')
    assert (second["call_id"], second["arguments"]) == ("own", "{}")
    assert final["usage"]["output_tokens_details"] == {"reasoning_tokens": 2}
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds.count("reasoning_text.delta") == 2
    assert kinds.count("function_call_arguments.done") == 2
    assert [event["item"]["id"] for event in events if event["type"] == "response.output_item.done"] == [
        item["id"] for item in final["output"]
    ]


def test_whole_and_streamed_are_equal(api: Served) -> None:
    api.pool.script = thinking

    def plain(output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {key: value for key, value in item.items() if key not in ("id", "call_id")} for item in output
        ]

    whole = made(api, tools=[TOOL])
    assert plain(whole["output"]) == plain(streamed(api, tools=[TOOL])[-1]["response"]["output"])


def test_thoughts_as_a_summary(api: Served) -> None:
    api.pool.script = thinking
    events = streamed(api, tools=[TOOL], reasoning={"summary": "auto"})
    thought = events[-1]["response"]["output"][0]
    assert thought["summary"] == [{"type": "summary_text", "text": "Let me think."}]
    assert "content" not in thought
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds[2:8] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
    ]


def test_sealed_thoughts_come_back(api: Served) -> None:
    api.pool.script = thinking
    body = made(api, tools=[TOOL], store=False, include=["reasoning.encrypted_content"])
    thought, message, first, second = body["output"]
    del thought["content"]
    results = [
        {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        for call in (first, second)
    ]
    user = {"role": "user", "content": "Hi"}
    made(api, store=False, input=[user, thought, message, first, second, *results])
    assert messages(api)[1]["reasoning_content"] == "Let me think."
    thought["encrypted_content"] = "gAAAA"
    refused = respond(api, input=[thought]).json()["error"]
    assert (refused["code"], refused["param"]) == (
        "invalid_encrypted_content",
        "input[0].encrypted_content",
    )


def test_an_answer_that_is_cut_off(api: Served) -> None:
    api.pool.script = cut_off
    body = made(api, max_output_tokens=16)
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert body["output"][0]["status"] == "incomplete"
    assert streamed(api)[-1]["type"] == "response.incomplete"


def test_log_probabilities_if_included(api: Served) -> None:
    body = made(api, include=["message.output_text.logprobs"], top_logprobs=2)
    logprobs = body["output"][0]["content"][0]["logprobs"]
    assert [token["token"] for token in logprobs] == ["Hello", " wörld", "!"]
    assert len(logprobs[0]["top_logprobs"]) == 2
    events = streamed(api, include=["message.output_text.logprobs"], top_logprobs=2)
    told = [event["logprobs"] for event in events if event["type"] == "response.output_text.delta"]
    assert [token for tokens in told for token in tokens] == logprobs
    assert made(api)["output"][0]["content"][0]["logprobs"] == []


def test_obfuscation_if_asked_for(api: Served) -> None:
    events = streamed(api, stream_options={"include_obfuscation": True})
    padded = [event for event in events if "obfuscation" in event]
    assert [event["type"] for event in padded] == ["response.output_text.delta"] * 3


def test_fields_reach_the_engine(api: Served) -> None:
    made(
        api,
        temperature=0,
        top_p=0.5,
        max_output_tokens=99,
        seed=3,
        reasoning={"effort": "low"},
        text={"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": True}},
        prompt_cache_key="k",
        service_tier="flex",
    )
    request = api.pool.requests[-1]
    assert (request.sampling.temperature, request.sampling.top_p, request.sampling.seed) == (0, 0.5, 3)
    assert (request.max_tokens, request.cache_key, request.priority.name) == (99, "k", "FLEX")
    assert isinstance(request.prompt, ChatPrompt)
    assert request.prompt.reasoning_effort == "low"
    assert request.constraint is not None
    assert (request.constraint.name, request.constraint.is_strict) == ("a", True)
    assert request.constraint.param == "text.format"


def test_tool_choice_reaches_the_engine(api: Served) -> None:
    made(api, tools=[TOOL], tool_choice={"type": "function", "name": "get_weather"})
    prompt = api.pool.requests[-1].prompt
    assert isinstance(prompt, ChatPrompt)
    assert prompt.tools is not None
    assert (prompt.tools.mode, prompt.tools.allowed) == ("required", ("get_weather",))
    allowed = {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "function", "name": "get_weather"}],
    }
    body = made(api, tools=[TOOL], tool_choice=allowed)
    assert body["tool_choice"] == allowed
    made(api, tool_choice="auto", parallel_tool_calls=False)


def test_a_chain_holds_calls_and_thoughts(api: Served) -> None:
    api.pool.script = thinking
    first = made(api, tools=[TOOL])
    calls = [item for item in first["output"] if item["type"] == "function_call"]
    results = [
        {"type": "function_call_output", "call_id": call["call_id"], "output": "sun"} for call in calls
    ]
    api.pool.reset()
    second = made(api, previous_response_id=first["id"], input=results, instructions="Anew.")
    assert messages(api) == [
        {"role": "system", "content": "Anew."},
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": "Well, then.",
            "reasoning_content": "Let me think.",
            "tool_calls": [
                {
                    "id": call["call_id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": call["arguments"]},
                }
                for call in calls
            ],
        },
        {"role": "tool", "tool_call_id": calls[0]["call_id"], "content": "sun"},
        {"role": "tool", "tool_call_id": calls[1]["call_id"], "content": "sun"},
    ]
    made(api, previous_response_id=second["id"], input="And?")
    assert [message["role"] for message in messages(api)][-3:] == ["tool", "assistant", "user"]
    assert messages(api)[0] == {"role": "user", "content": "Hi"}


def test_calls_must_be_answered(api: Served) -> None:
    api.pool.script = thinking
    first = made(api, tools=[TOOL])
    error = respond(api, previous_response_id=first["id"]).json()["error"]
    assert error["message"].startswith("No tool output found for function call call_")
    orphan = {"type": "function_call_output", "call_id": "call_x", "output": "1"}
    error = respond(api, input=[orphan]).json()["error"]
    assert error["message"] == "No tool call found for function call output with call_id call_x."


def test_item_references(api: Served) -> None:
    first = made(api)
    made(
        api,
        input=[{"type": "item_reference", "id": first["output"][0]["id"]}, {"role": "user", "content": "?"}],
    )
    assert messages(api)[0] == {"role": "assistant", "content": "Hello wörld!"}
    reply = respond(api, input=[{"id": "msg_nothing"}])
    assert reply.status_code == 404


def test_a_late_failure(api: Served) -> None:
    def script(request: GenerationRequest) -> Iterable[Step]:
        yield Started(3)
        yield Delta(0, "Hel", 1)
        yield EngineFailed("The engine died.")

    api.pool.script = script
    assert respond(api).status_code == 503
    events = streamed(api)
    final = events[-1]
    assert final["type"] == "response.failed"
    assert final["response"]["error"] == {"code": "server_error", "message": "The engine died."}
    assert final["response"]["output"][0]["status"] == "incomplete"
    kept = api.http.get(f"/v1/responses/{final['response']['id']}").json()
    assert kept == final["response"]
    error = respond(api, previous_response_id=kept["id"]).json()["error"]
    assert "cannot be continued: it is failed" in error["message"]


def test_a_fault_is_hidden(api: Served) -> None:
    def script(request: GenerationRequest) -> Iterable[Step]:
        yield Started(3)
        yield ZeroDivisionError("secret")

    api.pool.script = script
    assert "secret" not in respond(api).text
    text = respond(api, stream=True).text
    assert "secret" not in text
    assert response_events(text)[-1]["response"]["status"] == "failed"


def test_what_is_not_kept(api: Served) -> None:
    body = made(api, store=False)
    assert body["store"] is False
    assert api.http.get(f"/v1/responses/{body['id']}").status_code == 404
    assert respond(api, previous_response_id=body["id"]).status_code == 400


def test_retrieved_as_it_was(api: Served) -> None:
    api.pool.script = thinking
    body = made(api, tools=[TOOL], user="me", safety_identifier="x")
    reply = api.http.get(f"/v1/responses/{body['id']}")
    assert_response_matches("getResponse", 200, reply.content)
    assert reply.json() == body
    reply = api.http.get(f"/v1/responses/{body['id']}", params={"stream": True})
    events = response_events(reply.text, is_replayed=True)
    assert events[-1]["response"] == body
    assert api.http.post(f"/v1/responses/{body['id']}/cancel").json()["error"]["message"] == (
        "Cannot cancel a synchronous response."
    )


def test_input_items_are_paged(api: Served) -> None:
    items = [{"role": "user", "content": f"{n}"} for n in range(5)]
    body = made(api, input=items)
    path = f"/v1/responses/{body['id']}/input_items"
    reply = api.http.get(path, params={"limit": 2})
    assert_response_matches("listInputItems", 200, reply.content)
    page = reply.json()
    assert [item["content"][0]["text"] for item in page["data"]] == ["4", "3"]
    assert page["has_more"]
    rest = api.http.get(path, params={"after": page["last_id"]}).json()
    assert [item["content"][0]["text"] for item in rest["data"]] == ["2", "1", "0"]
    assert not rest["has_more"]
    up = api.http.get(path, params={"order": "asc", "after": page["first_id"]}).json()
    assert up == {"object": "list", "data": [], "first_id": "", "last_id": "", "has_more": False}
    assert api.http.get(path, params={"after": "msg_x"}).status_code == 404
    assert api.http.get(path, params={"limit": 101}).status_code == 400
    assert api.http.get(path, params={"order": "up"}).status_code == 400


def test_counting(api: Served) -> None:
    reply = api.http.post("/v1/responses/input_tokens", json={"model": SPEC.id, "input": "Hi"})
    assert_response_matches("countInputTokens", 200, reply.content)
    assert reply.json() == {"object": "response.input_tokens", "input_tokens": 7}
    assert api.sdk().responses.input_tokens.count(model=SPEC.id, input="Hi").input_tokens == 7
    assert api.pool.n_open == 0
    error = api.http.post("/v1/responses/input_tokens", json={"model": SPEC.id, "store": True}).json()
    assert error["error"]["message"] == "Unknown parameter: 'store'."


def test_compaction_is_no_path(api: Served) -> None:
    assert api.http.post("/v1/responses/compact", json={}).status_code in (404, 405)


def test_every_event_type_of_the_contract_is_sent(api: Served) -> None:
    api.pool.script = thinking
    events = streamed(api, tools=[TOOL]) + streamed(api, tools=[TOOL], reasoning={"summary": "auto"})
    api.pool.script = cut_off
    events += streamed(api) + streamed(api, background=True)
    api.pool.script = lambda request: [Started(1), EngineFailed("died")]
    events += streamed(api)
    listed = document()["components"]["schemas"]["ResponseStreamEvent"]["properties"]["type"]["enum"]
    assert {event["type"] for event in events} == set(listed)


def test_what_the_official_client_writes_out_can_be_sent_back(api: Served) -> None:
    """Its objects hold a null for every field that a server may leave out."""
    api.pool.script = thinking
    tool = {**TOOL, "strict": False}
    first = api.sdk().responses.create(model=SPEC.id, input="Hi", tools=[tool])  # type: ignore[list-item]
    items: list[Any] = [{"role": "user", "content": "Hi"}, *(item.model_dump() for item in first.output)]
    for call in first.output:
        if call.type == "function_call":
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": "fine"})
    tools: list[Any] = [tool.model_dump() for tool in first.tools]
    made(api, input=items, tools=tools)
    response_id = made(api, input=items)["id"]
    listed = api.sdk().responses.input_items.list(response_id, limit=100)
    made(api, input=[item.model_dump() for item in reversed(listed.data)])


def test_the_official_clients_beta(api: Served) -> None:
    """It asks the same paths with a mark behind them."""
    beta = api.sdk().beta.responses
    made_so = beta.create(model=SPEC.id, input="Hi")
    assert beta.retrieve(made_so.id).id == made_so.id
    assert len(beta.input_items.list(made_so.id).data) == 1
    assert beta.input_tokens.count(model=SPEC.id, input="Hi").input_tokens == 7
    *_, last = beta.create(model=SPEC.id, input="Hi", stream=True)
    assert last.type == "response.completed"
    background = beta.create(model=SPEC.id, input="Hi", background=True)
    assert beta.cancel(background.id).status in ("cancelled", "completed")
    beta.delete(made_so.id)
    assert api.http.get(f"/v1/responses/{made_so.id}").status_code == 404
