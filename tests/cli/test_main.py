"""The console script, as a process: one sentence and exit status 2 for every mistake."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from llmatic import __version__

HEAVY = [
    "llama_cpp",
    "numpy",
    "starlette",
    "uvicorn",
    "openapi_core",
    "rich",
    "huggingface_hub",
    "jinja2",
    "yaml",
]


def llmatic(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LLMATIC_")}
    environ["RES_OPTIONS"] = "timeout:1 attempts:1"  # of names that nobody has
    command = [sys.executable, "-c", "from llmatic.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=60)


def test_version() -> None:
    assert llmatic("version").stdout == f"llmatic {__version__}\n"


def test_help_names_every_command() -> None:
    text = llmatic("--help").stdout
    assert all(command in text for command in ("serve", "models", "version"))


def test_importing_the_command_line_is_light() -> None:
    code = f"import llmatic.cli, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "--config", "none.yaml"], "llmatic: none.yaml: cannot be read: No such file or directory\n"),
        (["models", "list", "--config", "bad.yaml"], "llmatic: bad.yaml:1: unknown section 'modles'; did you mean 'models'?\n"),
        (["models", "show", "x", "--config", "good.yaml"], "llmatic: The model `x` does not exist or you do not have access to it.\n"),
        (["serve", "--config", "good.yaml", "--host", "nowhere.invalid"], "llmatic: The host 'nowhere.invalid' is no address of this machine"),
        (["serve", "--config", "good.yaml", "--host", "192.0.2.1"], "llmatic: The host '192.0.2.1' is no address of this machine"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "bad.yaml").write_text("modles: {}")
    (tmp_path / "good.yaml").write_text("models: {}")
    done = llmatic(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(words)
    assert done.stderr.count("\n") == 1


def test_a_port_in_use(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("models: {}")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = llmatic("serve", "--port", port, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        f"llmatic: Port {port} on 127.0.0.1 is already in use; stop the program that uses it, "
        "or choose another one with --port.\n"
    )


@pytest.mark.parametrize(
    "arguments", [["sevre"], ["serve", "--port", "99999"], ["serve", "extra"], ["models", "show"]]
)
def test_wrong_usage(arguments: list[str]) -> None:
    done = llmatic(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
