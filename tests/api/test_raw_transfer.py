"""The benchmark's own client against a real socket: what it measures is whole files."""

import hashlib
from pathlib import Path

import httpx2
import pytest

from llmatic.config import StoreSettings
from scripts.bench import raw_transfer
from scripts.bench.problem import Problem
from tests.api.conftest import Serve

DATA = bytes(range(256)) * 12_000  # several pieces up, several down


def test_a_file_goes_up_and_comes_down_whole(serve: Serve, tmp_path: Path) -> None:
    served = serve(store=StoreSettings(folder=str(tmp_path / "store")))
    port = httpx2.URL(served.url).port
    assert port is not None
    source = tmp_path / "source.bin"
    source.write_bytes(DATA)
    file = raw_transfer.upload(port, source)
    assert (file["bytes"], file["filename"], file["purpose"]) == (len(DATA), "source.bin", "user_data")
    digest = hashlib.sha256()
    assert raw_transfer.download(port, file["id"], digest) == len(DATA)
    assert digest.digest() == hashlib.sha256(DATA).digest()
    raw_transfer.delete(port, file["id"])
    for call in (raw_transfer.download, raw_transfer.delete):
        with pytest.raises(Problem, match="404"):
            call(port, file["id"])


def test_what_is_refused_is_told(serve: Serve, tmp_path: Path) -> None:
    served = serve(store=StoreSettings(folder=str(tmp_path / "store"), max_file_bytes=1024))
    source = tmp_path / "source.bin"
    source.write_bytes(b"x" * 2048)
    with pytest.raises(Problem, match="413"):
        raw_transfer.upload(httpx2.URL(served.url).port or 0, source)
