"""The models as Anthropic lists them."""

from typing import Any

import pytest

from llmatic.api.model_infos import model_info, model_page
from llmatic.config import ModelSpec
from llmatic.core.errors import InvalidRequest
from llmatic.core.types import EncoderInfo
from llmatic.services.capabilities import Capabilities
from tests.api.conftest import Serve
from tests.contract_check import assert_response_matches
from tests.fakes import SPEC

VERSION = {"anthropic-version": "2023-06-01"}
INFOS = [{"id": name} for name in "abcde"]


def page(query: str) -> tuple[str, bool]:
    found = model_page(INFOS, query.encode())
    ids = "".join(info["id"] for info in found["data"])
    assert (found["first_id"], found["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
    return ids, found["has_more"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ("abcde", False)),
        ("limit=2", ("ab", True)),
        ("limit=2&after_id=b", ("cd", True)),
        ("limit=2&after_id=d", ("e", False)),
        ("after_id=e", ("", False)),
        ("limit=2&before_id=d", ("bc", True)),
        ("limit=5&before_id=d", ("abc", False)),
        ("after_id=zz", ("abcde", False)),
        ("lifecycle[]=active&lifecycle[]=retired", ("abcde", False)),
        ("lifecycle[]=retired", ("", False)),
    ],
)
def test_pages(query: str, expected: tuple[str, bool]) -> None:
    assert page(query) == expected


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=", "limit=²", "limit=1e1", "foo=1"]
)
def test_what_a_query_may_not_say(query: str) -> None:
    with pytest.raises(InvalidRequest):
        page(query)


def test_a_model() -> None:
    info: dict[str, Any] = model_info("alias", "org/id", 1735689600, Capabilities(context_length=4096))
    assert (info["id"], info["display_name"], info["created_at"]) == (
        "alias",
        "org/id",
        "2025-01-01T00:00:00Z",
    )
    assert (info["max_input_tokens"], info["lifecycle"]) == (4096, "active")


def test_only_who_speaks_anthropics_api_sees_them_so(serve: Serve) -> None:
    ranker = ModelSpec("ranker", "none", engine="fake")
    served = serve({SPEC.id: SPEC, "ranker": ranker})
    served.pool.encoders["ranker"] = EncoderInfo("rank", 1)
    reply = served.http.get("/v1/models", headers=VERSION)
    assert_response_matches("listModels", 200, reply.content)
    # What cannot chat is of no use to them.
    assert [info["id"] for info in reply.json()["data"]] == [SPEC.id, *SPEC.aliases]
    one = served.http.get(f"/v1/models/{SPEC.aliases[0]}", headers=VERSION)
    assert_response_matches("retrieveModel", 200, one.content)
    assert (one.json()["id"], one.json()["display_name"]) == (SPEC.aliases[0], SPEC.id)
    assert served.http.get("/v1/models").json()["object"] == "list"
    assert served.http.get("/v1/models/none", headers=VERSION).json()["type"] == "error"
    assert served.http.get("/v1/models?limit=0", headers=VERSION).status_code == 400
