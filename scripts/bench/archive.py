"""The source of llama.cpp, from llama-cpp-python's own source archive of the installed version.

So the rival is built from exactly the llama.cpp that the engine runs on. Never touches a running server.
"""

import importlib.metadata
import subprocess
import sys
import tarfile
from pathlib import Path

from scripts.bench.problem import Problem

PACKAGE = "llama-cpp-python"


def llama_cpp_source(cache: Path, given: Path | None) -> Path:
    """llama.cpp's source, from `given` (the unpacked archive) or from one that pip downloads into `cache`."""
    root = given or _download(cache / "archive")
    source = root / "vendor" / "llama.cpp"
    if not (source / "CMakeLists.txt").is_file():
        raise Problem(f"{root} is not the unpacked source archive of {PACKAGE}: it has no vendor/llama.cpp")
    return source


def _download(folder: Path) -> Path:
    version = importlib.metadata.version(PACKAGE)
    unpacked = folder / f"llama_cpp_python-{version}"
    if unpacked.is_dir():
        return unpacked
    folder.mkdir(parents=True, exist_ok=True)
    print(f"bench: downloading the source of {PACKAGE} {version} (about 77 MB)", file=sys.stderr)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    wanted = ["--no-deps", "--no-binary", PACKAGE, "--dest", str(folder), f"{PACKAGE}=={version}"]
    if subprocess.run(pip + wanted, stdout=sys.stderr).returncode:
        raise Problem(f"pip could not download the source of {PACKAGE} {version}; give it unpacked: --source")
    partial = folder / "unpacking"
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(partial, filter="data")
    next(partial.iterdir()).rename(unpacked)
    return unpacked
