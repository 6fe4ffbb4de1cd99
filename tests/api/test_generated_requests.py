"""Requests that schemathesis makes of the contract, right ones and wrong ones: never a 5xx, replies as described.

A few for each operation; `scripts/bench fuzz` makes many, against real models.
"""

import re
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from llmatic.config import ModelSpec, StoreSettings
from tests.api.conftest import Serve
from tests.api.walking import ENCODER, PLACES, WRITER, Walk
from tests.contract_check import assert_response_matches, document
from tests.fakes import ENCODER as EMBEDS

N_EXAMPLES: Final = 8
RIGHT, WRONG = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
# Schemathesis cannot make these; tests/test_contract.py makes some of its own.
TOO_HARD: Final = {
    ("createChatCompletion", RIGHT),
    ("createEngineChatCompletion", RIGHT),
    ("createCompletion", RIGHT),
    ("createCompletion", WRONG),
}
ALLOWED: Final = {"createClassification": 503}  # the model here never writes one of the labels
NO_HTTP: Final = b"Invalid HTTP request received."  # uvicorn's word, for addresses of more than 64 KiB
FOUND: Final[Any] = schemathesis.openapi.from_dict(document()).get_all_operations()
OPERATIONS: Final = {found.ok().definition.raw["operationId"]: found.ok() for found in FOUND}
CALLS: Final = {
    *((name, RIGHT) for name in OPERATIONS),
    *((name, WRONG) for name, operation in OPERATIONS.items() if operation.body or operation.query),
} - TOO_HARD


@pytest.fixture(scope="module")
def walk(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Walk:
    models = {name: ModelSpec(id=name, source="none", engine="fake") for name in (WRITER, ENCODER)}
    served = serve(models=models, store=StoreSettings(folder=str(tmp_path_factory.mktemp("made"))))
    served.pool.encoders = {ENCODER: EMBEDS}
    return Walk(served, served.make_key(scopes=frozenset({"admin"})))


def test_every_operation_is_asked() -> None:
    assert {name for name, _ in CALLS} == PLACES.keys() - {"createCompletion"}


@pytest.mark.parametrize(("operation_id", "mode"), sorted(CALLS))
def test_no_request_breaks_the_server(walk: Walk, operation_id: str, mode: GenerationMode) -> None:
    operation, path = OPERATIONS[operation_id], PLACES[operation_id][1]
    base_url = walk.served.url + path.removesuffix(operation.path)
    names = set(re.findall(r"\{([a-z_]+)\}", path))
    places = {"path_parameters": walk.made_ids(names)} if names else {}

    @settings(
        max_examples=N_EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # shrinking takes minutes
    )
    @given(operation.as_strategy(mode, **places))
    def holds(case: Any) -> None:
        reply = case.call(base_url=base_url, headers={"Authorization": f"Bearer {walk.key}"})
        is_fine = reply.status_code < 500 or reply.status_code == ALLOWED.get(operation_id)
        assert is_fine, f"{case.as_curl_command()}\n{reply.text}"
        kind = reply.headers["content-type"][0].partition(";")[0]
        if reply.content == NO_HTTP:
            assert reply.status_code == 400
        elif kind != "text/event-stream":
            assert_response_matches(operation_id, reply.status_code, reply.content, content_type=kind)

    holds()
