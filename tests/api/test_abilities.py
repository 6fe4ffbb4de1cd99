"""Requests for what a model cannot do are turned away before the model is loaded."""

from pathlib import Path

import pytest

from llmatic.config import ModelSpec
from tests.api.conftest import Serve, Served
from tests.fakes import ENCODER
from tests.services.test_capabilities import write


@pytest.fixture(scope="module")
def unloaded(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A model that embeds, one that writes and one that cannot be told; none is loaded."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "encoder").mkdir()
    (folder / "encoder" / "config.json").write_text('{"hidden_size": 16}')
    specs = [
        ModelSpec("encoder", str(folder / "encoder"), engine="sentence"),
        ModelSpec("writer", str(write(folder / "writer.gguf"))),
        ModelSpec("away", str(Path(folder / "away.gguf"))),
    ]
    served = serve({spec.id: spec for spec in specs})
    served.pool.info = lambda model_id: None  # type: ignore[method-assign]
    served.pool.encoders = dict.fromkeys(["encoder", "away"], ENCODER)
    return served


def status(served: Served, path: str, **fields: object) -> int:
    served.pool.model_ids.clear()
    return served.http.post(f"/v1/{path}", json=fields).status_code


def test_a_writers_file_says_that_it_makes_no_embeddings(unloaded: Served) -> None:
    assert status(unloaded, "embeddings", model="writer", input="x") == 403
    assert unloaded.pool.model_ids == []


@pytest.mark.parametrize("stream", [False, True])
def test_an_encoders_files_say_that_it_does_not_write(unloaded: Served, stream: bool) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    assert status(unloaded, "chat/completions", model="encoder", messages=messages, stream=stream) == 403
    assert status(unloaded, "completions", model="encoder", prompt="x", stream=stream) == 403
    assert unloaded.pool.model_ids == []


def test_what_a_model_can_do_is_asked_of_it(unloaded: Served) -> None:
    assert status(unloaded, "embeddings", model="encoder", input="x") == 200
    assert status(unloaded, "completions", model="writer", prompt="x") == 200


def test_where_the_files_do_not_tell_the_model_is_loaded(unloaded: Served) -> None:
    assert status(unloaded, "embeddings", model="away", input="x") == 200
    assert unloaded.pool.model_ids == ["away"]


def test_a_body_is_checked_before_the_model_is_looked_at(unloaded: Served) -> None:
    assert status(unloaded, "completions", model="encoder", prompt=5) == 400
    assert status(unloaded, "embeddings", model="nope", input="x") == 404
