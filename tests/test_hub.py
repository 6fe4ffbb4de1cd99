"""Downloads, against a hub of 40 lines on the loopback interface."""

import hashlib
import io
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError, LlmaticError, Unavailable
from llmatic.hub import HubFile, StderrBar, download
from llmatic.sources import locate_source

CONTENT = bytes(range(256)) * 4000
FILE = HubFile("org/repo", "m.gguf")


@dataclass
class Hub:
    """What the fake hub serves, how it misbehaves, and the ranges it was asked for."""

    content: bytes = CONTENT
    etag: str = hashlib.sha256(CONTENT).hexdigest()
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)
    ranges: bool = True
    asked: list[str | None] = field(default_factory=list)


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(hub.status if self.path.startswith("/org/repo/resolve/") else 404)
            self.send_header("Content-Length", str(len(hub.content)))
            self.send_header("X-Repo-Commit", "c" * 40)
            self.send_header("X-Linked-Etag", f'"{hub.etag}"')
            for name, value in hub.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def do_GET(self) -> None:
            if not self.path.startswith("/org/repo/resolve/"):  # the library's own curiosity
                self.send_error(404)
                return
            asked = self.headers.get("Range")
            hub.asked.append(asked)
            start = int(re.findall(r"\d+", asked)[0]) if asked and hub.ranges else 0
            body = hub.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: hub.cut_after.pop(0)] if hub.cut_after else body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(target: Path, file: HubFile = FILE) -> None:
    download(file, target, on_progress=lambda fraction, what: None, pause=lambda seconds: None)


def test_a_source_is_downloaded_once(hub: Hub, tmp_path: Path) -> None:
    seen: list[tuple[float | None, str]] = []
    spec = ModelSpec(id="m", source="hf:org/repo/m.gguf")
    environ = {"LLMATIC_CACHE_DIR": str(tmp_path)}
    for _ in range(2):
        path = locate_source(
            spec, environ=environ, on_progress=lambda fraction, what: seen.append((fraction, what))
        )
    assert path.read_bytes() == CONTENT
    assert hub.asked == [None]
    assert seen[-1] == (1.0, "downloading m.gguf")


def test_it_goes_on_where_the_connection_broke(hub: Hub, tmp_path: Path) -> None:
    hub.cut_after = [300_000, 200_000]
    fetch(tmp_path / "m.gguf")
    assert hub.asked == [None, "bytes=300000-", "bytes=500000-"]
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT


def test_another_process_goes_on_where_this_one_gave_up(hub: Hub, tmp_path: Path) -> None:
    hub.cut_after = [100_000, *[0] * 4]
    with pytest.raises(Unavailable, match=r"broke off: .* Start again to go on\."):
        fetch(tmp_path / "m.gguf")
    fetch(tmp_path / "m.gguf")
    assert hub.asked[-1] == "bytes=100000-"
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_a_hub_without_ranges_starts_again(hub: Hub, tmp_path: Path) -> None:
    hub.cut_after, hub.ranges = [100_000], False
    fetch(tmp_path / "m.gguf")
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT


def test_a_damaged_file_is_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.content = CONTENT[:-1] + b"!"
    with pytest.raises(Unavailable, match="arrived damaged"):
        fetch(tmp_path / "m.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf.lock"]


def test_a_small_file_has_gits_hash(hub: Hub, tmp_path: Path) -> None:
    hub.content = b"hello"
    hub.etag = hashlib.sha1(b"blob 5\0hello", usedforsecurity=False).hexdigest()
    fetch(tmp_path / "m.gguf")
    hub.etag = "0" * 40
    with pytest.raises(Unavailable, match="arrived damaged"):
        fetch(tmp_path / "other")


@pytest.mark.parametrize(
    ("status", "headers", "kind", "words"),
    [
        (
            404,
            {"X-Error-Code": "RepoNotFound"},
            ConfigError,
            "org/repo/m.gguf: no such repository on the hub",
        ),
        (
            404,
            {"X-Error-Code": "EntryNotFound"},
            ConfigError,
            "org/repo/m.gguf: the repository has no such file",
        ),
        (
            404,
            {"X-Error-Code": "RevisionNotFound"},
            ConfigError,
            "org/repo/m.gguf: the repository has no such file",
        ),
        (403, {"X-Error-Code": "GatedRepo"}, ConfigError, "org/repo/m.gguf: the repository is gated"),
        (500, {}, Unavailable, "org/repo/m.gguf is not on this disk, and the hub cannot be reached"),
    ],
)
def test_what_a_hub_may_answer(
    hub: Hub, tmp_path: Path, status: int, headers: dict[str, str], kind: type[LlmaticError], words: str
) -> None:
    hub.status, hub.headers = status, headers
    with pytest.raises(kind, match=words):
        fetch(tmp_path / "m.gguf")


def test_offline(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Unavailable, match="HF_HUB_OFFLINE forbids"):
        fetch(tmp_path / "m.gguf")


def test_the_bar_without_a_terminal_is_a_few_lines() -> None:
    out = io.StringIO()
    bar = StderrBar(out)
    for k in range(1001):
        bar(k / 1000, "downloading m.gguf")
    assert len(out.getvalue().splitlines()) == 11
    assert out.getvalue().endswith("downloading m.gguf: 100 %\n")
