"""Files while the database is locked or the bucket is out of reach: clear errors, nothing lost, no restart."""

import socket
import sqlite3
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmatic.config import StoreSettings
from tests.api.conftest import Serve, Served

FORM: dict[str, Any] = {"data": {"purpose": "user_data"}, "files": {"file": ("a", b"hello" * 3_000_000)}}


def ids(served: Served) -> list[str]:
    return [file["id"] for file in served.http.get("/v1/files").json()["data"]]


def assert_unavailable(reply: httpx2.Response, words: str) -> None:
    assert reply.status_code == 503, reply.text
    assert words in reply.json()["error"]["message"]
    assert int(reply.headers["retry-after"]) >= 1


def test_a_locked_database(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmatic.store.sqlite.BUSY_TIMEOUT_S", 0.05)
    served = serve(store=StoreSettings(folder=str(tmp_path)))
    kept = served.http.post("/v1/files", **FORM).json()["id"]
    upload = {"bytes": 1, "filename": "a", "mime_type": "a/b", "purpose": "evals"}
    locker = sqlite3.connect(tmp_path / "llmatic.db", isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    for reply in (
        served.http.post("/v1/files", **FORM),
        served.http.post("/v1/uploads", json=upload),
        served.http.delete(f"/v1/files/{kept}"),
    ):
        assert_unavailable(reply, "locked by another program")
    assert ids(served) == [kept]
    locker.execute("ROLLBACK")
    locker.close()
    assert served.http.post("/v1/uploads", json=upload).status_code == 200
    assert ids(served) == [kept]
    assert len(served.http.get(f"/v1/files/{kept}/content").content) == 15_000_000
    assert served.http.delete(f"/v1/files/{kept}").status_code == 200


def test_a_bucket_out_of_reach(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = pytest.importorskip("moto.server")
    import boto3

    monkeypatch.setattr("llmatic.store.s3_blobs.N_TRIES", 1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = server.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    bucket.start()
    boto3.client("s3").create_bucket(Bucket="faults")
    served = serve(store=StoreSettings(folder=str(tmp_path), blobs="s3://faults/llmatic"))
    kept, doomed = (served.http.post("/v1/files", **FORM).json()["id"] for _ in range(2))
    bucket.stop()
    assert_unavailable(served.http.post("/v1/files", **FORM), "cannot be reached")
    assert_unavailable(served.http.get(f"/v1/files/{kept}/content"), "cannot be reached")
    assert served.http.get(f"/v1/files/{kept}").status_code == 200
    # A file whose bytes cannot be deleted now is gone all the same; the bytes are found later.
    assert served.http.delete(f"/v1/files/{doomed}").status_code == 200
    assert ids(served) == [kept]
    bucket = server.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    bucket.start()
    assert len(served.http.get(f"/v1/files/{kept}/content").content) == 15_000_000
    assert served.http.post("/v1/files", **FORM).status_code == 200
    bucket.stop()
