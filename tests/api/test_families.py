"""Which family writes the errors of a request."""

import pytest

from llmatic.api.families import ANTHROPIC, OPENAI, family_of
from tests.api.conftest import Served


@pytest.mark.parametrize(
    "path",
    [
        "/v1/messages",
        "/messages",
        "/oaiv1/messages",
        "/v1/messages/",
        "/v1/messages/count_tokens",
        "/messages/x",
    ],
)
def test_anthropics_paths(path: str) -> None:
    assert family_of(path, None) is ANTHROPIC


@pytest.mark.parametrize(
    "path", ["/", "/v1/messagesx", "/v1/chat/completions/c/messages", "/v2/messages", "/v1//messages", "/v1"]
)
def test_everything_else_is_openais(path: str) -> None:
    assert family_of(path, None) is OPENAI


def test_who_names_a_version_of_anthropics_is_answered_so_everywhere(api: Served) -> None:
    assert family_of("/v1/models", b"2023-06-01") is ANTHROPIC
    reply = api.http.get("/v1/nothing", headers={"anthropic-version": "x"})
    assert (reply.status_code, reply.json()["type"]) == (404, "error")
    assert "param" in api.http.get("/v1/nothing").json()["error"]


def test_a_host_that_is_not_ours_is_refused_in_the_familys_form(api: Served) -> None:
    reply = api.http.post("/v1/messages", headers={"host": "evil.example"}, json={})
    assert (reply.status_code, reply.json()["error"]["type"]) == (403, "permission_error")
