"""Key sets: from a file, from a server that comes and goes."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from llmatic.core.errors import ConfigError, Unavailable
from llmatic.services import key_sets
from llmatic.services.key_sets import MAX_SET_BYTES, OLD_AFTER_S, REFETCH_S, RETRY_AFTER_S, KeySet, read_set

pytestmark = pytest.mark.anyio

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
WIDE = ec.generate_private_key(ec.SECP384R1())
SHORT = rsa.generate_private_key(public_exponent=65537, key_size=1024)


def public(key: Any, algorithm: str, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key()))
    return made | more


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


ONE, TWO = public(RSA, "RS256", kid="one"), public(EC, "ES256", kid="two")


class Issuer:
    """A server whose answer can be changed."""

    def __init__(self) -> None:
        self.body: bytes | None = key_set(ONE)
        self.location: str | None = None
        self.n_asked = 0
        self.held: threading.Event | None = None
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.n_asked += 1
                if issuer.held is not None:
                    issuer.held.wait(10)
                status = 302 if issuer.location else 503 if issuer.body is None else 200
                self.send_response(status)
                if issuer.location:
                    self.send_header("location", issuer.location)
                self.end_headers()
                self.wfile.write(issuer.body or b"")

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_a_set_is_fetched_when_it_is_needed_and_not_again(issuer: Issuer, clock: Clock) -> None:
    keys = KeySet(issuer.url, clock=clock)
    found = await asyncio.gather(*(keys.find("one") for _ in range(20)))
    assert all(found)
    assert await keys.find("") is found[0]
    assert await keys.find("no") is None
    assert issuer.n_asked == 1


async def test_an_unknown_key_is_looked_for_now_and_then(issuer: Issuer, clock: Clock) -> None:
    keys = KeySet(issuer.url, clock=clock)
    assert await keys.find("one")
    issuer.body = key_set(ONE, TWO)
    clock.now += REFETCH_S - 1
    assert await keys.find("two") is None
    clock.now += 1
    assert await keys.find("two")
    assert await keys.find("") is None  # there are two
    assert issuer.n_asked == 2


@pytest.mark.parametrize(
    "body", [None, b"", b"[]", b"{}", b'{"keys": 1}', b'{"keys": []}', b"x" * (MAX_SET_BYTES + 1)]
)
async def test_failures_leave_the_known_keys_and_say_so_before(
    issuer: Issuer, clock: Clock, body: bytes | None
) -> None:
    keys = KeySet(issuer.url, clock=clock)
    good, issuer.body = issuer.body, body
    for _ in range(3):
        with pytest.raises(Unavailable, match="cannot be had"):
            await keys.find("one")
    assert issuer.n_asked == 1
    issuer.body = good
    clock.now += RETRY_AFTER_S
    assert await keys.find("one")
    issuer.body = body
    clock.now += REFETCH_S
    assert await keys.find("other") is None
    assert await keys.find("one")
    assert issuer.n_asked == 3


async def test_an_old_set_is_fetched_beside_the_request(issuer: Issuer, clock: Clock) -> None:
    keys = KeySet(issuer.url, clock=clock)
    assert await keys.find("one")
    issuer.body, issuer.held = key_set(TWO), threading.Event()
    clock.now += OLD_AFTER_S + 1
    assert await keys.find("one")  # does not wait
    fetching = keys._fetching
    assert fetching is not None
    issuer.held.set()
    await fetching
    assert await keys.find("one") is None  # withdrawn
    assert await keys.find("two")


async def test_whoever_hangs_up_does_not_end_the_fetch(issuer: Issuer, clock: Clock) -> None:
    issuer.held = threading.Event()
    keys = KeySet(issuer.url, clock=clock)
    first, second = asyncio.ensure_future(keys.find("one")), asyncio.ensure_future(keys.find("one"))
    await asyncio.sleep(0)
    first.cancel()
    issuer.held.set()
    assert await second
    assert issuer.n_asked == 1


async def test_a_server_that_dawdles_is_given_up(
    issuer: Issuer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A packet now and then is no timeout of the connection."""
    later = iter(range(0, 1000, 8))
    monkeypatch.setattr(key_sets, "time", SimpleNamespace(monotonic=lambda: float(next(later))))
    monkeypatch.setattr(key_sets, "_PACKET_BYTES", 8)
    with pytest.raises(ConfigError, match="it takes more than 10 s"):
        read_set(issuer.url)
    with pytest.raises(Unavailable):
        await KeySet(issuer.url, clock=clock).find("one")


async def test_no_detour_to_where_others_can_write(issuer: Issuer, clock: Clock) -> None:
    issuer.location = "http://192.0.2.1/jwks"
    with pytest.raises(Unavailable):
        await KeySet(issuer.url, clock=clock).find("one")


def test_only_keys_that_sign_count(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    secret = {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "s", "alg": "HS256"}
    others = (
        secret,
        public(RSA, "RS256", kid="e", use="enc"),
        public(WIDE, "ES384", kid="w"),
        public(SHORT, "RS256", kid="short"),
        {"kty": "?"},
    )
    path.write_bytes(key_set(*others, ONE, TWO, public(RSA, "RS256", kid=5)))
    assert set(read_set(str(path))) == {"one", "two", "5"}
    path.write_bytes(key_set(*others))
    with pytest.raises(ConfigError, match="no key"):
        KeySet(str(path))
    with pytest.raises(ConfigError, match=r"auth\.jwt_keys: no key set can be read"):
        KeySet(str(tmp_path / "missing"))
