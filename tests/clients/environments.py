"""The environments of clients that cannot live beside the server's own packages.

Each is pinned by a lock file, made the first time a test asks for it, kept under .cache/tests/clients, and made
anew when its lock changes. A test that cannot have one, for want of a registry or of Node, is skipped with the
reason. Used by fixtures alone; never by the server.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("LLMATIC_TEST_CACHE") or ROOT / ".cache" / "tests") / "clients"
LOCKS = Path(__file__).parent / "locks"
NODE_PROJECT = Path(__file__).parent / "node"
SETUP_TIMEOUT_S, PROGRAM_TIMEOUT_S = 600, 300
OLDEST_NODE = 20


class Results:
    """What a program printed: the outcome of each of its examples, by the example's name."""

    def __init__(self, outcomes: Mapping[str, Any]) -> None:
        self._outcomes = outcomes

    def __getitem__(self, name: str) -> Any:
        """What the example returned; it fails the test when it raised instead."""
        outcome = self._outcomes[name]
        if "raised" in outcome:
            pytest.fail(f"{name} raised in the client:\n{outcome['raised']}", pytrace=False)
        return outcome["returned"]


def python(name: str) -> Path:
    """The interpreter of the environment that locks/`name`.lock describes."""
    lock = LOCKS / f"{name}.lock"
    folder = CACHE / name
    interpreter = folder / "bin" / "python"
    mark = hashlib.sha256(f"{sys.version}\n{lock.read_text()}".encode()).hexdigest()
    if _is_made(folder, mark):
        return interpreter
    _set_up(f"the environment {name}", [sys.executable, "-m", "venv", str(folder)])
    pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    _set_up(f"the environment {name}", [*pip, "--requirement", str(lock)])
    (folder / "made").write_text(mark)
    return interpreter


def node_project() -> Path:
    """A folder with the packages of node/package-lock.json and the programs of node/."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("needs Node and npm")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"needs Node {OLDEST_NODE} or newer; this is {version}")
    folder = CACHE / "node"
    mark = hashlib.sha256(version.encode() + (NODE_PROJECT / "package-lock.json").read_bytes()).hexdigest()
    made = _is_made(folder, mark)
    folder.mkdir(parents=True, exist_ok=True)
    for path in NODE_PROJECT.iterdir():
        shutil.copy(path, folder)
    if not made:
        npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]
        _set_up("the Node project", npm, folder)
        (folder / "made").write_text(mark)
    return folder


def results(command: Sequence[str | Path], folder: Path = ROOT) -> Results:
    """Run a program that prints one JSON object; its last line counts."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("LLMATIC_", "OPENAI_"))}
    run = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=PROGRAM_TIMEOUT_S,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    outcomes: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return Results(outcomes)


def python_results(environment: str, program: str, base_url: str) -> Results:
    """The outcomes of programs/`program`.py, run in that environment against the server at `base_url`."""
    return results([python(environment), "-m", f"tests.clients.programs.{program}", base_url])


def node_results(program: str, base_url: str) -> Results:
    """The outcomes of node/`program`.mjs against the server at `base_url`."""
    return results(["node", f"{program}.mjs", base_url], node_project())


def _is_made(folder: Path, mark: str) -> bool:
    if (folder / "made").is_file() and (folder / "made").read_text() == mark:
        return True
    shutil.rmtree(folder, ignore_errors=True)
    return False


def _set_up(what: str, command: Sequence[str], folder: Path | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SETUP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{what} took more than {SETUP_TIMEOUT_S} s to make")
    if done.returncode != 0:
        pytest.skip(f"{what} cannot be made: {done.stderr.strip()[-300:]}")
