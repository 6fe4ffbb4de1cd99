"""What the server says of itself."""

import pytest

from llmatic.api.status import wants_json
from llmatic.app import contract_path
from tests.api.conftest import Served
from tests.fakes import SPEC


def test_page(api: Served) -> None:
    reply = api.http.get("/", headers={"accept": "text/html,application/xhtml+xml"})
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert SPEC.id in reply.text
    assert f"curl {api.url}/v1/chat/completions" in reply.text
    assert "<script" not in reply.text


def test_page_as_json(api: Served) -> None:
    facts = api.http.get("/", headers={"accept": "application/json"}).json()
    assert facts["name"] == "llmatic"
    assert facts["models"] == [{"id": SPEC.id, "aliases": ["gpt-4o-mini"], "state": "ready"}]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/json", True),
        ("application/json, text/html", True),
        ("text/html, application/json", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_wants_json(accept: str, expected: bool) -> None:
    assert wants_json(accept) is expected


def test_health(api: Served) -> None:
    assert api.http.get("/healthz").json() == {"status": "ok"}


def test_readiness_follows_the_pool(api: Served) -> None:
    ready = api.http.get("/readyz").json()
    assert (ready["status"], ready["models"][SPEC.id]["state"]) == ("ready", "ready")
    api.pool.ready = False
    reply = api.http.get("/readyz")
    assert (reply.status_code, reply.json()["status"]) == (503, "loading")
    assert int(reply.headers["retry-after"]) >= 1


def test_metrics_count_requests_and_tokens(api: Served) -> None:
    api.chat(stream=True)
    text = api.http.get("/metrics").text
    assert 'llmatic_requests_total{route="/v1/chat/completions",status="200"}' in text
    assert f'llmatic_tokens_total{{kind="completion",model="{SPEC.id}"}}' in text
    assert f'llmatic_time_to_first_token_seconds_count{{model="{SPEC.id}"}}' in text
    assert "llmatic_requests_in_flight 1.0" in text
    assert f'llmatic_engine_requests_running{{model="{SPEC.id}"}} 0.0' in text
    assert f'llmatic_model_ready{{model="{SPEC.id}"}} 1.0' in text


def test_metrics_never_take_a_name_from_a_client(api: Served) -> None:
    api.http.get("/made-up-path")
    api.chat(model="made-up-model")
    text = api.http.get("/metrics").text
    assert "made-up" not in text


def test_contract_is_served_as_it_is(api: Served) -> None:
    assert api.http.get("/openapi.yaml").content == contract_path().read_bytes()
