import subprocess
import sys
from collections.abc import Callable

import pytest

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError
from llmatic.engines import engine_kinds, load_engine, resolve_engine
from llmatic.engines.fake import FakeEngine


def test_built_in_kinds() -> None:
    assert {"llama", "fake"} <= set(engine_kinds())
    assert resolve_engine("llama") == "llmatic.engines.llama:create"


def test_an_unknown_kind_names_the_nearest_and_the_list() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_engine("lama")
    assert "Unknown engine 'lama'. Did you mean 'llama'? Known engines: fake, llama" in caught.value.message


def test_a_class_by_its_name() -> None:
    assert isinstance(load_engine(ModelSpec("m", "", engine="llmatic.engines.fake:FakeEngine")), FakeEngine)


@pytest.mark.parametrize("kind", ["nowhere.at_all:Engine", "llmatic.engines.fake:Nothing", "sys:path", ":"])
def test_what_cannot_be_an_engine_is_a_config_error(kind: str) -> None:
    with pytest.raises(ConfigError):
        load_engine(ModelSpec("m", "", engine=kind))


def test_progress_is_handed_to_factories_that_want_it() -> None:
    seen: list[tuple[float | None, str]] = []
    report: Callable[[float | None, str], None] = lambda share, what: seen.append((share, what))  # noqa: E731
    load_engine(ModelSpec("m", "", engine="fake"), report)
    assert seen[0] == (0.0, "loading")


def test_looking_a_kind_up_imports_no_engine() -> None:
    code = (
        "import sys; from llmatic.engines import resolve_engine; resolve_engine('llama'); "
        "print([m for m in sys.modules if m.startswith('llmatic.engines.')], 'llama_cpp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] False"
