"""The server as a process: what it prints, what it imports, how it ends."""

import http.client
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from llmatic.config import AuthSettings, ModelSpec, ServerSettings, Settings, StoreSettings
from llmatic.core.errors import ConfigError
from llmatic.server import announce, listen
from llmatic.services.stored import open_stored

WAIT_S = 30.0
PROGRAM = """
import sys
from llmatic.config import ModelSpec, ServerSettings, Settings
from llmatic.server import run
delay_s, drain_timeout_s = map(float, sys.argv[1:])
spec = ModelSpec(id="m", source="none", engine="fake", options={"token_delay_s": delay_s})
run(Settings(server=ServerSettings(port=0, drain_timeout_s=drain_timeout_s), models={"m": spec}))
"""
HEAVY = (
    *("llama_cpp", "torch", "numpy", "openapi_core", "huggingface_hub", "jinja2", "typer", "alembic", "mako"),
    *("jwt", "cryptography", "re2", "boto3", "psycopg", "sqlalchemy.orm"),
)


@contextmanager
def running(*, delay_s: float = 0.0, drain_timeout_s: float = WAIT_S) -> Iterator[subprocess.Popen[str]]:
    """A server process, killed at the end if it has not ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(delay_s), str(drain_timeout_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def port_of(process: subprocess.Popen[str]) -> int:
    """The port in the first line that the server prints."""
    assert process.stdout is not None
    found = re.search(r"at http://127\.0\.0\.1:(\d+)/v1", process.stdout.readline())
    assert found, process.stderr and process.stderr.read()
    return int(found[1])


@contextmanager
def ask(port: int, content: str, *, stream: bool) -> Iterator[http.client.HTTPResponse]:
    """The reply to one chat request, its head already read."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    body = {"model": "m", "messages": [{"role": "user", "content": content}], "stream": stream}
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    with closing(connection), connection.getresponse() as reply:
        yield reply


def is_refused(port: int) -> bool:
    with ask(port, "x", stream=False) as reply:
        return reply.status == 503 and bool(reply.headers["retry-after"])


def read_until(reply: http.client.HTTPResponse, mark: bytes) -> None:
    while mark not in (line := reply.readline()):
        assert line, "the stream ended"


def test_sigterm_lets_streams_end_and_refuses_new_requests() -> None:
    with running(delay_s=0.02) as process:
        port = port_of(process)
        with ask(port, "word " * 300, stream=True) as stream:
            read_until(stream, b'"content":" word"')
            process.send_signal(signal.SIGTERM)
            while not is_refused(port):
                pass
            assert stream.read().endswith(b"data: [DONE]\n\n")
        assert process.wait(WAIT_S) == 0


@pytest.mark.parametrize(("drain_timeout_s", "n_signals"), [(0.1, 1), (WAIT_S, 2)])
def test_drain_ends_in_time_and_at_a_second_signal(drain_timeout_s: float, n_signals: int) -> None:
    with running(delay_s=0.05, drain_timeout_s=drain_timeout_s) as process:
        with ask(port_of(process), "word " * 2000, stream=True) as stream:
            for _ in range(n_signals):
                read_until(stream, b'"content":" word"')
                process.send_signal(signal.SIGTERM)
            assert b'data: {"error":' in stream.read()
        assert process.wait(WAIT_S) == 0


def test_server_process_stays_light(tmp_path: Path) -> None:
    program = (
        "import sys, llmatic.server\n"
        "from llmatic.config import ModelSpec, Settings\n"
        "spec = ModelSpec(id='m', source='none', engine='fake')\n"
        "llmatic.server.create_app(Settings(models={'m': spec}))\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    environ = os.environ | {"LLMATIC_DATA_DIR": str(tmp_path)}
    # The first start makes the tables, with libraries that no later one needs.
    open_stored(StoreSettings(), AuthSettings(), environ).database.close_now()
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.strip() == "[]"


def test_the_log_says_where_things_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLMATIC_DATA_DIR", str(tmp_path))
    with running() as process:
        port_of(process)
        process.send_signal(signal.SIGTERM)
        _, words = process.communicate(timeout=WAIT_S)
    events = {line["event"]: line for line in map(json.loads, words.splitlines())}
    assert events["store opened"]["folder"] == str(tmp_path)


def test_taken_port_is_a_sentence() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"Cannot listen on 127.0.0.1:{port}: "):
            listen("127.0.0.1", port)


def test_unknown_engine_stops_the_start() -> None:
    program = PROGRAM.replace('engine="fake"', 'engine="fakr"')
    done = subprocess.run(
        [sys.executable, "-c", program, "0", "1"], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode != 0
    assert "fakr" in done.stderr


def test_the_announced_example_is_one_that_the_model_serves(capsys: pytest.CaptureFixture[str]) -> None:
    encoder = ModelSpec(id="e", source="/nowhere", engine="sentence", options={"task": "embed"})
    ranker = ModelSpec(id="r", source="/nowhere", engine="sentence", options={"task": "rank"})
    writer = ModelSpec(id="w", source="none", engine="fake")
    paths = []
    for specs in ([encoder, writer], [ranker, encoder], [ranker]):
        with listen("127.0.0.1", 0) as listener:
            announce(Settings(models={spec.id: spec for spec in specs}), listener, needs_key=False)
        lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines() if "curl" in line]
        paths.append([(words[1].partition("/v1/")[2], json.loads(words[-1])["model"]) for words in lines])
    assert paths == [[("chat/completions", "w")], [("embeddings", "e")], []]


@pytest.mark.parametrize(
    ("host", "keys", "is_warned"),
    [("127.0.0.1", (), False), ("0.0.0.0", (), True), ("0.0.0.0", ("k",), False)],
)
def test_announcement(
    capsys: pytest.CaptureFixture[str], host: str, keys: tuple[str, ...], is_warned: bool
) -> None:
    settings = Settings(
        server=ServerSettings(host=host, api_keys=keys),
        models={"it's": ModelSpec(id="it's", source="none")},
    )
    with listen(host, 0) as listener:
        announce(settings, listener, needs_key=bool(keys))
        port = listener.getsockname()[1]
    said = capsys.readouterr()
    assert ("WARNING" in said.err) is is_warned
    command = next(line for line in said.out.splitlines() if line.strip().startswith("curl"))
    words = shlex.split(command)
    assert words[1] == f"http://127.0.0.1:{port}/v1/chat/completions"
    assert json.loads(words[words.index("-d") + 1])["model"] == "it's"
    assert ("Authorization: Bearer YOUR_KEY" in words) is bool(keys)


def test_a_server_for_others_without_a_key_does_not_start(tmp_path: Path) -> None:
    program = (
        "from llmatic.config import *\n"
        "from llmatic.core.errors import ConfigError\n"
        "from llmatic.server import run\n"
        "spec = ModelSpec(id='m', source='none', engine='fake', preload=True)\n"
        f"store = StoreSettings(folder={str(tmp_path)!r})\n"
        "try:\n"
        "    run(Settings(server=ServerSettings(host='0.0.0.0', port=0), models={'m': spec}, store=store))\n"
        "except ConfigError as error:\n"
        "    print(error.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("The server would be open to everybody who can reach 0.0.0.0")
    assert done.stderr == ""
