"""Buckets that cannot be used: told at the start if waiting does not help, borne if it does."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llmatic.core.errors import ConfigError, Unavailable
from llmatic.services.stored import open_blobs
from llmatic.store import s3_blobs

pytest.importorskip("boto3")


@contextmanager
def answering(status: int) -> Iterator[str]:
    """A server that gives this answer to everything; 0: none, ever."""
    silence = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            if not status:
                silence.wait(30)
                return
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        do_HEAD = do_GET = do_PUT = answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        silence.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(s3_blobs, "N_TRIES", 1)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "no such bucket"),
        (403, "credentials do not open it"),
        (400, "credentials or the region"),
    ],
)
def test_what_waiting_does_not_cure_stops_the_start(
    status: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(status) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(ConfigError, match=rf"store\.blobs: s3://files .*{words}"):
            open_blobs("s3://files/llmatic")


@pytest.mark.parametrize("status", [503, 500, 0])
def test_what_waiting_may_cure_does_not(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not status:
        monkeypatch.setattr(s3_blobs, "READ_TIMEOUT_S", 0.2)
    with answering(status) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        blobs = open_blobs("s3://files/llmatic")
        with pytest.raises(Unavailable, match="storage"):
            blobs.read("file-a")


def test_an_address_of_nobody_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match="cannot be reached"):
        open_blobs("s3://files").read("file-a")


def test_no_credentials_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(ConfigError, match="no credentials"):
        open_blobs("s3://files")


@pytest.mark.parametrize("place", ["s3://", "s3:///prefix"])
def test_a_bucket_needs_a_name(place: str) -> None:
    with pytest.raises(ConfigError, match="s3://bucket"):
        open_blobs(place)
