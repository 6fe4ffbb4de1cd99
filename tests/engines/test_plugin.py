"""The engine of docs/engines.md, taken from there word for word and installed as a package of its own."""

import re
import tomllib
from contextlib import aclosing
from pathlib import Path

import pytest
import yaml
from starlette.testclient import TestClient

from llmatic.app import create_app
from llmatic.config import ModelSpec, Settings, WorkerSettings
from llmatic.core.errors import ContextLengthExceeded, InvalidRequest, Unavailable
from llmatic.core.types import Delta, Event, GenerationRequest, TextPrompt, TokenPrompt
from llmatic.engines import engine_kinds
from llmatic.workers.pool import ProcessPool

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).parents[2] / "docs" / "engines.md").read_text(encoding="utf-8")


def fence(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found, f"docs/engines.md has no {language} fence"
    return found[1]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an installer makes of the page: the module, and metadata with its entry points."""
    project = tomllib.loads(fence("toml"))["project"]
    points = project["entry-points"]["llmatic.engines"]
    module = points["reverser"].partition(":")[0]
    (tmp_path / f"{module}.py").write_text(fence("python"))
    metadata = tmp_path / f"{module}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [f"{name} = {value}" for name, value in points.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[llmatic.engines]", *lines]) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


async def events_of(spec: ModelSpec, request: GenerationRequest) -> list[Event]:
    pool = ProcessPool({spec.id: spec}, WorkerSettings(restart_backoff_s=0.05))
    await pool.start()
    try:
        async with aclosing(pool.generate(spec.id, request)) as events:
            return [event async for event in events]
    finally:
        await pool.close()


def test_it_is_as_short_as_the_page_says() -> None:
    assert len(fence("python").splitlines()) < 60


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kind", ["reverser", "llmatic_reverser:Reverser"])
async def test_it_serves(kind: str) -> None:
    assert "reverser" in engine_kinds()
    entry = yaml.safe_load(fence("yaml"))["models"]["backwards"]
    spec = ModelSpec("backwards", entry["source"], engine=kind, options={"pause_s": 0.0})
    events = await events_of(spec, GenerationRequest("r", TextPrompt("one two three"), n_choices=2))
    texts = ["".join(e.text for e in events if isinstance(e, Delta) and e.index == k) for k in (0, 1)]
    assert texts == ["three two one "] * 2


@pytest.mark.usefixtures("installed")
async def test_its_refusals_keep_their_class() -> None:
    spec = ModelSpec("backwards", "", engine="reverser", context=4)
    with pytest.raises(InvalidRequest, match="text only"):
        await events_of(spec, GenerationRequest("r", TokenPrompt((1,))))
    with pytest.raises(ContextLengthExceeded):
        await events_of(spec, GenerationRequest("r", TextPrompt("one two three"), max_tokens=2))
    with pytest.raises(Unavailable, match="has no option 'speed'"):
        await events_of(
            ModelSpec("b", "", engine="reverser", options={"speed": 1}),
            GenerationRequest("r", TextPrompt("")),
        )


@pytest.mark.usefixtures("installed")
def test_it_serves_over_http() -> None:
    app = create_app(Settings(models={"backwards": ModelSpec("backwards", "", engine="reverser")}))
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        chat = {"model": "backwards", "messages": [{"role": "user", "content": "one two three"}]}
        reply = client.post("/v1/chat/completions", json=chat).json()
        assert reply["choices"][0]["message"]["content"].strip() == "three two one"
        with client.stream("POST", "/v1/chat/completions", json=chat | {"stream": True}) as stream:
            lines = [line for line in stream.iter_lines() if line]
        assert lines[-1] == "data: [DONE]"
