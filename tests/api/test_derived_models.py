"""Models with a base in the lists and on the page."""

import orjson
import pytest

from llmatic.api.families import OPENAI
from llmatic.api.models import ModelViews
from llmatic.app import create_app
from llmatic.config import ModelSpec, Settings
from llmatic.core.principal import EVERYBODY
from llmatic.registry import Registry
from llmatic.services.capabilities import KnownCapabilities
from tests.fakes import FakePool

BASE = ModelSpec("m", "x")
LEGAL = ModelSpec("legal", "", base="m", aliases=("law",))
MODELS = {"m": BASE, "legal": LEGAL}


@pytest.mark.anyio
async def test_the_list_names_their_base() -> None:
    registry = Registry(MODELS, started=7)
    views = ModelViews(registry, FakePool(), KnownCapabilities(registry))
    scope = {"llmatic.principal": EVERYBODY, "llmatic.family": OPENAI}
    listed = orjson.loads((await views.list_models(scope)).body)["data"]
    assert [(model["id"], model["root"], model["parent"]) for model in listed] == [
        ("m", "m", None),
        ("legal", "legal", "m"),
        ("law", "legal", "m"),
    ]
    assert set(listed[1]) == set(listed[0])


def test_the_page_and_the_metrics_count_a_process_once() -> None:
    app = create_app(Settings(models=MODELS), pool=FakePool())
    scope = {"type": "http", "scheme": "http", "headers": [], "llmatic.principal": EVERYBODY}
    page = app.status.index(scope).body.decode()
    assert "<code>legal</code><br><span class=dim>also law</span>" in page
    assert "<span class=dim>by m</span>" in page
    metrics = app.status.metrics(scope).body.decode()
    assert 'llmatic_engine_requests_running{model="m"} 0.0' in metrics
    assert 'model="legal"' not in metrics
