"""Pictures and sounds on their way to the engine."""

import base64
from dataclasses import replace
from typing import Any

import pytest

from llmatic.core.types import ChatPrompt
from tests.api.conftest import Served
from tests.fakes import INFO

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PICTURE = {
    "type": "image_url",
    "image_url": {"url": "data:image/png;base64," + base64.b64encode(PNG).decode()},
}
TEXT = {"type": "text", "text": "What is this?"}


@pytest.fixture
def seeing(api: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """The server with a model that can see."""
    monkeypatch.setattr(api.pool, "info", lambda model_id: replace(INFO, has_vision=True))
    return api


def ask(served: Served, *parts: Any) -> Any:
    return served.chat(messages=[{"role": "user", "content": list(parts)}])


def test_a_picture_reaches_the_engine(seeing: Served) -> None:
    ask(seeing, TEXT, PICTURE).raise_for_status()
    (request,) = seeing.pool.requests
    assert isinstance(request.prompt, ChatPrompt)
    assert request.prompt.messages[0]["content"] == [TEXT, {"type": "media", "index": 0}]
    assert [(item.kind, item.data) for item in request.prompt.media] == [("image", PNG)]


def test_a_model_that_cannot_see_says_so(api: Served) -> None:
    reply = ask(api, TEXT, PICTURE)
    assert reply.status_code == 400
    assert reply.json()["error"] == {
        "message": "Invalid content type. image_url is only supported by certain models.",
        "type": "invalid_request_error",
        "param": "messages.[0].content.[1].type",
        "code": None,
    }
    assert not api.pool.requests


def test_a_sound_for_a_model_that_only_sees(seeing: Served) -> None:
    reply = ask(seeing, {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})
    assert reply.json()["error"]["message"].startswith("Invalid content type. input_audio is only supported")


def test_no_client_names_media_by_number(seeing: Served) -> None:
    reply = ask(seeing, {"type": "media", "index": 0})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "messages[0].content[0].type")


def test_a_broken_picture(seeing: Served) -> None:
    reply = ask(seeing, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}})
    assert (reply.status_code, reply.json()["error"]["param"]) == (
        400,
        "messages.[0].content.[0].image_url.url",
    )
