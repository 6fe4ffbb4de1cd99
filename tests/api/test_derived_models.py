"""Models with a base in the lists and on the page."""

import orjson

from llmatic.api.models import ModelViews, model_object
from llmatic.app import create_app
from llmatic.config import ModelSpec, Settings
from llmatic.registry import Registry
from tests.fakes import FakePool

BASE = ModelSpec("m", "x")
LEGAL = ModelSpec("legal", "", base="m", aliases=("law",))
MODELS = {"m": BASE, "legal": LEGAL}


def test_the_list_names_their_base() -> None:
    listed = orjson.loads(ModelViews(Registry(MODELS, started=7)).list_models({}).body)["data"]
    assert [(model["id"], model["root"], model["parent"]) for model in listed] == [
        ("m", "m", None),
        ("legal", "legal", "m"),
        ("law", "legal", "m"),
    ]
    assert set(model_object("legal", LEGAL, 7)) == set(model_object("m", BASE, 7))


def test_the_page_and_the_metrics_count_a_process_once() -> None:
    app = create_app(Settings(models=MODELS), pool=FakePool())
    scope = {"type": "http", "scheme": "http", "headers": [], "llmatic.client": "anonymous"}
    page = app.status.index(scope).body.decode()
    assert "<code>legal</code><br><span class=dim>also law</span>" in page
    assert "<span class=dim>by m</span>" in page
    metrics = app.status.metrics(scope).body.decode()
    assert 'llmatic_engine_requests_running{model="m"} 0.0' in metrics
    assert 'model="legal"' not in metrics
