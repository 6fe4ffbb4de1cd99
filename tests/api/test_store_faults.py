"""The whole server while its database is away: clear errors, what needs no database goes on, nothing is lost."""

import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmatic.config import StoreSettings
from llmatic.core.errors import Unavailable
from tests.api.asking_responses import made
from tests.api.conftest import WAIT_S, Serve, Served
from tests.api.test_background_responses import ended, gated
from tests.fakes import SPEC, Gate


@pytest.fixture
def own(serve: Serve, tmp_path: Path) -> Served:
    return serve(store=StoreSettings(folder=str(tmp_path / "store")))


class Away:
    """A database that takes nothing until `back`."""

    def __init__(self, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        self.back = threading.Event()
        self.refused = threading.Event()
        for name in ("read", "write"):
            usual = getattr(served.stored.database, name)
            monkeypatch.setattr(served.stored.database, name, self._instead(usual))

    def _instead(self, usual: Any) -> Any:
        async def call(work: Any) -> Any:
            if self.back.is_set():
                return await usual(work)
            self.refused.set()
            raise Unavailable("The server's database cannot be reached at the moment.", retry_after_s=1.0)

        return call


def test_a_folder_that_is_gone_and_back(own: Served, tmp_path: Path) -> None:
    kept = own.http.post("/v1/conversations", json={"metadata": {"a": "b"}}).json()
    (tmp_path / "store").rename(tmp_path / "away")
    requests: list[tuple[str, str, Any]] = [
        ("GET", f"/v1/conversations/{kept['id']}", None),
        ("GET", "/v1/files", None),
        ("GET", "/v1/batches", None),
        ("GET", "/api/v1/runs", None),
        ("GET", "/v1/chat/completions", None),
        ("POST", "/v1/conversations", {}),
        ("POST", "/v1/responses", {"model": SPEC.id, "input": "Hi"}),
        ("POST", "/v1/responses", {"model": SPEC.id, "input": "Hi", "background": True}),
        ("DELETE", f"/v1/conversations/{kept['id']}", None),
    ]
    for method, path, body in requests:
        assert_away(own.http.request(method, path, json=body))
    assert own.chat().status_code == 200
    assert own.http.post("/v1/responses", json=requests[6][2] | {"store": False}).status_code == 200
    assert own.http.get("/healthz").status_code == 200
    (tmp_path / "away").rename(tmp_path / "store")
    assert own.http.get(f"/v1/conversations/{kept['id']}").json() == kept
    assert own.http.delete(f"/v1/conversations/{kept['id']}").status_code == 200


def assert_away(reply: httpx2.Response) -> None:
    assert reply.status_code == 503, reply.text
    assert "database is not where it was" in reply.text
    assert int(reply.headers["retry-after"]) >= 1


def test_the_end_of_a_background_response_waits_for_the_database(
    own: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    own.pool.script = gated(gate)
    body = made(own, background=True)
    assert gate.reached.wait(WAIT_S)
    away = Away(own, monkeypatch)
    gate.open()
    assert away.refused.wait(WAIT_S)
    away.back.set()
    final = ended(own, body["id"])
    assert (final["status"], final["output"][0]["content"][0]["text"]) == ("completed", "word ")
