"""API keys: where they may stand, what is said of wrong ones, who the caller is then."""

import asyncio
import base64
import hashlib

import openai
import pytest

from llmatic.api.auth import ANONYMOUS, Authenticator
from llmatic.core.errors import Unauthorized
from tests.api.conftest import Serve, Served
from tests.fakes import SPEC

KEY = "sk-0123456789abcdefghij"
WRONG = "sk-VKMIs0123456789abcdwjh3"


@pytest.fixture(scope="module")
def locked(serve: Serve) -> Served:
    return serve(api_keys=("another", KEY))


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY}"},
        {"authorization": f"BEARER {KEY}"},
        {"x-api-key": "", "authorization": f"Bearer {KEY}"},
        {"x-api-key": KEY, "authorization": "Bearer anything"},
        {"authorization": f"Api-Key {KEY}"},
        {"authorization": "Basic " + base64.b64encode(f":{KEY}".encode()).decode()},
        {"x-api-key": KEY},
    ],
)
def test_key_is_found(locked: Served, headers: dict[str, str]) -> None:
    assert locked.http.get("/v1/models", headers=headers).is_success


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Basic !!"},
        {"authorization": "Digest x"},
        {"authorization": KEY},
        {"cookie": f"api_key={KEY}"},
    ],
)
def test_no_key(locked: Served, headers: dict[str, str]) -> None:
    reply = locked.http.get("/v1/models", headers=headers)
    error = reply.json()["error"]
    assert reply.status_code == 401
    assert error["message"].startswith("You didn't provide an API key.")
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)
    assert reply.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("stream", [False, True])
def test_wrong_key_is_shown_masked(locked: Served, stream: bool) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        locked.sdk(WRONG).chat.completions.create(
            model=SPEC.id, messages=[{"role": "user", "content": "Hi"}], stream=stream
        )
    assert caught.value.code == "invalid_api_key"
    assert "Incorrect API key provided: sk-VKMIs**************wjh3." in str(caught.value)


@pytest.mark.parametrize("key", ["short", "fifteen-chars-x"])
def test_short_keys_stay_hidden(key: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        asyncio.run(Authenticator((KEY,)).identify(b"Bearer " + key.encode(), None))
    assert key not in caught.value.message
    assert f"{key[:2]}***" in caught.value.message


@pytest.mark.parametrize(
    ("authorization", "x_api_key"),
    [("Bearer\t{} ", None), ("\tApi-Key \t {}", None), (None, " {}\t"), ("Bearer {}", " \t")],
)
def test_space_around_a_key_does_not_count(authorization: str | None, x_api_key: str | None) -> None:
    sent = [None if text is None else text.format(KEY).encode() for text in (authorization, x_api_key)]
    assert not asyncio.run(Authenticator((KEY,)).identify(*sent)).is_anonymous


@pytest.mark.parametrize("sent", ["", " ", "\t", "Bearer", "Bearer  ", "Basic", "Basic Og=="])
def test_only_space_is_no_key(sent: str) -> None:
    with pytest.raises(Unauthorized, match="You didn't provide an API key"):
        asyncio.run(Authenticator((KEY,)).identify(sent.encode(), b" "))


@pytest.mark.parametrize("name", ["authorization", "x-api-key"])
@pytest.mark.parametrize("values", [(KEY, WRONG), (WRONG, KEY), (KEY, "another"), (KEY, "x")])
def test_two_keys_in_headers_of_one_name_open_nothing(
    locked: Served, name: str, values: tuple[str, str]
) -> None:
    start = "Bearer " if name == "authorization" else ""
    reply = locked.http.get("/v1/models", headers=[(name, start + value) for value in values])
    assert reply.status_code == 401
    assert reply.json()["error"]["message"].startswith("You sent two different API keys")
    assert locked.http.get("/healthz", headers=[(name, value) for value in values]).is_success
    twice = [(name, start + KEY)] * 2
    assert locked.http.get("/v1/models", headers=twice).is_success


def test_two_keys_are_no_matter_where_none_is_asked_for(api: Served) -> None:
    headers = [("authorization", "Bearer a"), ("authorization", "Bearer b")]
    assert api.http.get("/v1/models", headers=headers).is_success


@pytest.mark.parametrize("path", ["/v1/models", "/api/v1/runs", "/api/v1/runs/a/stream/b", "/metrics"])
@pytest.mark.parametrize("name", ["api_key", "access_token", "key"])
def test_a_key_in_the_address_opens_nothing(locked: Served, path: str, name: str) -> None:
    assert locked.http.get(f"{path}?{name}={KEY}").status_code == 401


def test_caller_is_named_without_its_key(locked: Served) -> None:
    locked.pool.reset()
    locked.sdk(KEY).completions.create(model=SPEC.id, prompt="Hi")
    (request,) = locked.pool.requests
    assert request.client.startswith("key-")
    assert KEY not in request.client
    # Names are written down: who can guess a short key must not see that it is right.
    assert request.client != "key-" + hashlib.sha256(KEY.encode()).hexdigest()[:16]


def test_without_keys_everybody_is_anonymous(api: Served) -> None:
    api.sdk("anything").completions.create(model=SPEC.id, prompt="Hi")
    assert api.pool.requests[0].client == ANONYMOUS


def test_public_pages_need_no_key_and_name_no_model(locked: Served) -> None:
    for path in ("/", "/healthz", "/readyz", "/openapi.yaml"):
        reply = locked.http.get(path)
        assert reply.is_success
        assert SPEC.id not in reply.text
    assert SPEC.id in locked.http.get("/", headers={"x-api-key": KEY}).text
    assert locked.http.get("/metrics").status_code == 401


def test_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(Unauthorized):
        asyncio.run(Authenticator((KEY,)).identify(b"Bearer \xff\xfe\x00", None))
