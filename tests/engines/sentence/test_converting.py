import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError
from llmatic.engines.sentence.converting import convert_apart
from tests.engines.sentence.models import make_small


@pytest.fixture(scope="module")
def small(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small(tmp_path_factory.mktemp("small"))


def spec(folder: Path) -> ModelSpec:
    return ModelSpec("m", str(folder), "sentence", options={"backend": "openvino"})


def test_a_first_start_leaves_the_worker_without_torch(small: Path, tmp_path: Path) -> None:
    script = f"""
import sys
from llmatic.config import ModelSpec
from llmatic.engines.sentence.loading import open_backend
open_backend(ModelSpec("m", {str(small)!r}, "sentence", options={{"backend": "openvino"}}))
print([name for name in ("torch", "transformers", "sentence_transformers") if name in sys.modules])
"""
    environ = os.environ | {"LLMATIC_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environ)
    assert done.stdout.strip() == "[]"
    assert len(list(tmp_path.glob("openvino/*/meta.json"))) == 1


def test_what_the_other_process_refuses_is_refused_here(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMATIC_CACHE_DIR", str(tmp_path / "cache"))
    folder = shutil.copytree(small, tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    modules[1]["type"] = "sentence_transformers.models.NoSuchModule"
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"^model 'm': .*cannot be loaded"):
        convert_apart(spec(folder))
