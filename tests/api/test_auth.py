"""API keys: where they may stand, what is said of wrong ones, who the caller is then."""

import base64

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
        {"authorization": f"Api-Key {KEY}"},
        {"authorization": "Basic " + base64.b64encode(f":{KEY}".encode()).decode()},
        {"x-api-key": KEY},
    ],
)
def test_key_is_found(locked: Served, headers: dict[str, str]) -> None:
    assert locked.http.get("/v1/models", headers=headers).is_success


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic !!"}, {"authorization": "Digest x"}])
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
        Authenticator((KEY,)).identify(b"Bearer " + key.encode(), None)
    assert key not in caught.value.message
    assert f"{key[:2]}***" in caught.value.message


def test_caller_is_named_without_its_key(locked: Served) -> None:
    locked.pool.reset()
    locked.sdk(KEY).completions.create(model=SPEC.id, prompt="Hi")
    (request,) = locked.pool.requests
    assert request.client.startswith("key-")
    assert KEY not in request.client


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
        Authenticator((KEY,)).identify(b"Bearer \xff\xfe\x00", None)
