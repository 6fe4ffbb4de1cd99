"""What the benchmarks call good and bad, on made-up replies."""

import json
from typing import Any

import pytest

from scripts.bench import fuzz, kill, many_streams, throughput
from scripts.bench.loadgen import figures
from scripts.bench.processes import CpuUse
from scripts.bench.sse import Reply

ERROR = b'{"error":{"message":"m","type":"t","param":null,"code":null}}'


def stream(name: str, text: str, n_tokens: int = 2, index: int = 0) -> Reply:
    event = {
        "id": name,
        "choices": [{"index": index, "text": text}],
        "usage": {"completion_tokens": n_tokens},
    }
    return Reply(status=200, done=1, events=[(1.0, json.dumps(event).encode())])


def test_streams_of_their_own_are_fine() -> None:
    assert many_streams.faults([stream("a", "x"), stream("b", "y")], ["x", "y"], 2) == []


@pytest.mark.parametrize(
    "other",
    [stream("b", "x"), stream("a", "y"), stream("b", "y", n_tokens=3), stream("b", "y", index=1)],
    ids=["foreign text", "shared id", "wrong count", "wrong index"],
)
def test_mixed_up_streams_are_found(other: Reply) -> None:
    assert many_streams.faults([stream("a", "x"), other], ["x", "y"], 2)


def test_growth_is_counted_from_the_end_of_the_warm_up() -> None:
    rows = [(16, n, 200, 0, 0, server, 100.0) for n, server in enumerate([50.0, 80.0, 81.0, 120.0])]
    growth = {bar.name: bar.holds for bar in many_streams.judge(rows, 16)}
    assert growth["16 slots: growth of the server in 2 rounds"] is False
    assert growth["16 slots: growth of the worker in 2 rounds"] is True


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(status=200, events=[(1.0, b'{"choices":[]}'), (1.0, ERROR)]), True),
        (Reply(status=503, body=ERROR), True),
        (Reply(status=200, events=[(1.0, b'{"choices":[]}')]), False),
        (Reply(status=200, events=[(1.0, ERROR)], done=1), False),
        (Reply(status=0), False),
    ],
)
def test_who_was_told_of_the_workers_death(reply: Reply, told: bool) -> None:
    assert kill.is_told(reply) is told


def test_verdicts_on_a_broken_request() -> None:
    api = fuzz.Shot("n", b"", waits=False, is_api=True)
    patient = fuzz.Shot("n", b"", waits=True, is_api=False)
    assert list(fuzz.verdicts(api, Reply(status=400, body=ERROR))) == ["4xx"]
    assert list(fuzz.verdicts(api, Reply(status=500, body=b"oops"))) == ["5xx", "odd errors"]
    assert list(fuzz.verdicts(api, Reply(error="no end within 30 s"))) == ["no reply", "hangs"]
    assert list(fuzz.verdicts(patient, Reply(error="no end within 1 s"))) == ["no reply"]


def test_routes_and_fields_come_from_the_contract() -> None:
    schemas: dict[str, Any] = {
        "Base": {"properties": {"model": {}}},
        "Chat": {"allOf": [{"$ref": "#/components/schemas/Base"}]},
    }
    schemas["Chat"]["properties"] = {"messages": {}}
    body = {"application/json": {"schema": {"$ref": "#/components/schemas/Chat"}}}
    operation = {"operationId": "x", "requestBody": {"content": body}}
    contract = {
        "servers": [{"url": "/v1"}, {"url": "/"}],
        "paths": {"/chat/{model}": {"post": operation}, "/": {"servers": [{"url": "/"}]}},
        "components": {"schemas": schemas},
    }
    assert [path for path, _ in fuzz.routes(contract)] == ["/v1/chat/bench", "/chat/bench", "/"]
    assert set(fuzz.properties(contract, operation)) == {"model", "messages"}


def test_generated_requests_ask_for_the_model_that_is_there() -> None:
    body = {"properties": {"model": {"type": "string"}, "messages": {"type": "array"}}}
    other = {"properties": {"model": {"type": "string"}, "input": {"type": "string"}}}
    path = {"parameters": [{"name": "model", "in": "path", "schema": {"type": "string"}}]}
    narrow = fuzz.narrowed({"body": body, "other": other, "path": path})
    assert narrow["body"]["properties"]["model"]["enum"] == ["bench"]
    assert narrow["other"]["properties"]["model"]["enum"] == ["encoder"]
    assert narrow["path"]["parameters"][0]["schema"]["enum"] == ["bench", "encoder"]
    assert "enum" not in body["properties"]["model"]


def turn(number: int, side: str, n_tokens: int, failed: bool = False) -> throughput.Run:
    replies = [Reply()] if failed else [stream("a", "x", n_tokens)]
    case = throughput.Case("half", "default", 16)
    return throughput.Run(case, number, side, figures(replies, 1.0), CpuUse(0.0, 0.0, 0.0))


def test_the_ratio_is_the_median_of_the_rounds_whoever_went_first() -> None:
    runs = [
        turn(1, "A", 90),
        turn(1, "B", 100),
        turn(2, "B", 100),
        turn(2, "A", 98),
        turn(3, "A", 99),
        turn(3, "B", 100),
    ]
    assert throughput.ratio(runs, runs[0].case) == 0.98


def test_a_failed_request_spoils_the_ratio() -> None:
    runs = [turn(1, "A", 100, failed=True), turn(1, "B", 100)]
    assert throughput.ratio(runs, runs[0].case) == 0.0


def test_the_bars_of_the_issue() -> None:
    ratios = {throughput.Case("half", "default", 4): 1.0, throughput.Case("small", "default", 1): 0.5}
    [bar] = throughput.bars(ratios)
    assert bar.holds
    [bar] = throughput.bars({throughput.Case("small", "default", 32): 1.05})
    assert not bar.holds
