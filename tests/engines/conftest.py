"""llama.cpp's own chat templates and example grammars, out of the source archive of llama-cpp-python."""

import importlib.metadata
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from llmatic.engines.chat import ChatTemplate

CACHE = Path(os.environ.get("LLMATIC_TEST_CACHE") or Path(__file__).parents[2] / ".cache" / "tests")
WANTED = {"vendor/llama.cpp/models/templates/": ".jinja", "vendor/llama.cpp/grammars/": ".gbnf"}


@pytest.fixture(scope="session")
def llama_cpp_texts() -> Path:
    """The folder that holds them. Fetched once with pip and kept in the checkout's .cache."""
    version = importlib.metadata.version("llama-cpp-python")
    folder = CACHE / f"llama.cpp-texts-{version}"
    if not folder.is_dir():
        _fetch(version, folder)
    return folder


@pytest.fixture(scope="session")
def llama_cpp_grammars(llama_cpp_texts: Path) -> dict[str, str]:
    """File name → grammar in llama.cpp's notation."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(llama_cpp_texts.glob("*.gbnf"))}


@pytest.fixture(scope="session")
def llama_cpp_templates(llama_cpp_texts: Path) -> dict[str, ChatTemplate]:
    """File name → template, compiled."""
    return {
        path.name: ChatTemplate(path.read_text(encoding="utf-8"), bos="<s>", eos="</s>", name=path.name)
        for path in sorted(llama_cpp_texts.glob("*.jinja"))
    }


def _fetch(version: str, folder: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--no-binary", "llama-cpp-python", "--dest", scratch, f"llama-cpp-python=={version}"]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        except subprocess.TimeoutExpired:
            pytest.skip("pip needed more than 300 s for llama-cpp-python's source archive")
        archives = list(Path(scratch).glob("*.tar.gz"))
        if done.returncode != 0 or not archives:
            pytest.skip(f"pip cannot fetch llama-cpp-python's source archive: {done.stderr.strip()[-300:]}")
        made = Path(scratch) / "texts"
        made.mkdir()
        with tarfile.open(archives[0]) as archive:
            for member in archive:
                if member.isfile() and _is_wanted(member.name):
                    content = archive.extractfile(member)
                    assert content is not None
                    (made / Path(member.name).name).write_bytes(content.read())
        if not folder.is_dir():
            made.rename(folder)


def _is_wanted(name: str) -> bool:
    return any(folder in name and name.endswith(suffix) for folder, suffix in WANTED.items())
