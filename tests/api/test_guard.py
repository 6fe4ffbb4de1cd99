"""Foreign hosts and origins are kept out; ours and the listed ones get in."""

import pytest

from llmatic.api.guard import Guard
from llmatic.config import ServerSettings
from llmatic.core.errors import Forbidden
from tests.api.conftest import Serve, Served


def guard(**server: object) -> Guard:
    return Guard(ServerSettings(**server))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "host",
    [
        b"localhost",
        b"LOCALHOST:8000",
        b"localhost.:8000",
        b"app.localhost",
        b"127.0.0.1:1",
        b"[::1]:8000",
        b"192.168.1.7:8000",
        b"box",
        b"box:8000",
        b"a.corp.example",
    ],
)
def test_our_hosts(host: bytes) -> None:
    settings = guard(host="box", allowed_hosts=("*.corp.example",))
    assert settings.check([host], None) is False


@pytest.mark.parametrize(
    "host",
    [b"evil.example", b"localhost.evil.example", b"127.0.0.1.evil.example", b"corp.example", b":", b"["],
)
def test_foreign_hosts(host: bytes) -> None:
    settings = guard(allowed_hosts=("*.corp.example",))
    for _ in range(2):
        with pytest.raises(Forbidden) as caught:
            settings.check([host], None)
    assert caught.value.code == "host_not_allowed"


def test_any_host_if_configured() -> None:
    assert guard(allowed_hosts=("*",)).check([b"evil.example"], None) is False


def test_no_host_passes_and_two_do_not() -> None:
    assert guard().check([], None) is False
    with pytest.raises(Forbidden):
        guard().check([b"localhost", b"localhost"], None)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (b"http://localhost:8000", b"localhost:8000"),
        (b"http://LOCALHOST", b"localhost"),
        (b"https://localhost", b"localhost"),
        (b"https://localhost:443", b"localhost"),
        (b"http://[::1]:8000", b"[::1]:8000"),
    ],
)
def test_same_origin(origin: bytes, host: bytes) -> None:
    assert guard().check([host], origin) is False


@pytest.mark.parametrize(
    "origin",
    [
        b"http://evil.example",
        b"http://localhost:3000",
        b"null",
        b"",
        b"http://[",
        b"file://",
        b"http://localhost:x",
    ],
)
def test_foreign_origins(origin: bytes) -> None:
    with pytest.raises(Forbidden) as caught:
        guard().check([b"localhost:8000"], origin)
    assert caught.value.code == "origin_not_allowed"


def test_listed_origins_get_cors_headers() -> None:
    assert guard(cors_origins=("http://ui.example/",)).check([b"localhost"], b"http://UI.example") is True
    assert guard(cors_origins=("*",)).check([b"localhost"], b"null") is True


def test_foreign_page_is_refused_before_anything_happens(api: Served) -> None:
    body = {"model": "gpt-4o-mini", "prompt": "Hi"}
    for headers in ({"origin": "http://evil.example"}, {"host": "evil.example"}):
        reply = api.http.post("/v1/completions", json=body, headers=headers)
        assert reply.status_code == 403
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
        assert "access-control-allow-origin" not in reply.headers
    assert not api.pool.requests


def test_cors(serve: Serve) -> None:
    served = serve(cors_origins=("http://ui.example",))
    origin = {"origin": "http://ui.example"}
    preflight = served.http.options(
        "/v1/chat/completions",
        headers={
            **origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type,x-stainless-lang",
        },
    )
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "http://ui.example"
    assert "x-stainless-lang" in preflight.headers["access-control-allow-headers"]
    for reply in (served.http.get("/v1/models", headers=origin), served.http.get("/nope", headers=origin)):
        assert reply.headers["access-control-allow-origin"] == "http://ui.example"
        assert "x-request-id" in reply.headers["access-control-expose-headers"]
    assert served.http.options("/v1/models", headers={"origin": "http://x.example"}).status_code == 403
    assert "access-control-allow-origin" not in served.http.get("/v1/models").headers
