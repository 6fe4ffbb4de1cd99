"""Both places for blobs keep the same promises; the bucket is moto's real server."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmatic.core.errors import InsufficientStorage, Unavailable
from llmatic.store.blobs import Blobs
from llmatic.store.local_blobs import LocalBlobs, LocalWriter
from llmatic.store.s3_blobs import PART_BYTES, S3Blobs

BIG = os.urandom(1024) * (PART_BYTES * 2 // 1024 + 3)


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    server = pytest.importorskip("moto.server")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


def use(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture(params=["local", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Blobs:
    if request.param == "local":
        return LocalBlobs(tmp_path / "blobs")
    use(monkeypatch, request.getfixturevalue("s3"))
    bucket = "b" + hashlib.sha256(str(tmp_path).encode()).hexdigest()[:20]
    import boto3

    boto3.client("s3").create_bucket(Bucket=bucket)
    return S3Blobs(bucket, "/llmatic/")


def store(blobs: Blobs, key: str, *pieces: bytes) -> None:
    writer = blobs.create(key)
    for piece in pieces:
        writer.write(piece)
    writer.commit()
    assert writer.size_bytes == len(b"".join(pieces))
    writer.discard()


@pytest.mark.parametrize("data", [b"", b"x", b"hello", BIG])
def test_what_is_stored_is_read(blobs: Blobs, data: bytes) -> None:
    store(blobs, "file-a", *(data[k : k + 700_000] for k in range(0, len(data), 700_000)))
    assert b"".join(blobs.read("file-a")) == data


@pytest.mark.parametrize(("start", "end"), [(0, 1), (3, None), (2, 9), (9, 9), (0, 0), (0, None)])
def test_a_part_of_it_is_read(blobs: Blobs, start: int, end: int | None) -> None:
    store(blobs, "file-a", b"0123456789")
    assert b"".join(blobs.read("file-a", start, end)) == b"0123456789"[start:end]


def test_a_reader_is_let_go_without_being_read(blobs: Blobs) -> None:
    store(blobs, "file-a", BIG)
    reader = blobs.read("file-a")
    reader.close()
    reader.close()
    half_read = blobs.read("file-a")
    assert next(half_read)
    half_read.close()
    assert next(half_read, None) is None if isinstance(blobs, S3Blobs) else True


@pytest.mark.parametrize("span", [(0, None), (0, 0)])
def test_what_is_not_there_is_told_at_once(blobs: Blobs, span: tuple[int, int | None]) -> None:
    with pytest.raises(KeyError):
        blobs.read("file-a", *span)


def test_it_is_not_there_before_it_is_whole(blobs: Blobs) -> None:
    writer = blobs.create("file-a")
    writer.write(BIG)
    with pytest.raises(KeyError):
        blobs.read("file-a")
    writer.discard()
    writer.discard()
    with pytest.raises(KeyError):
        blobs.read("file-a")


def test_a_later_one_takes_its_place(blobs: Blobs) -> None:
    store(blobs, "file-a", b"old")
    store(blobs, "file-a", b"new")
    assert b"".join(blobs.read("file-a")) == b"new"


def test_it_is_deleted_once_and_again(blobs: Blobs) -> None:
    store(blobs, "file-a", b"x")
    blobs.delete("file-a")
    blobs.delete("file-a")
    with pytest.raises(KeyError):
        blobs.read("file-a")


def test_a_local_reader_outlives_the_blob(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    store(blobs, "file-a", b"hello")
    reader = blobs.read("file-a")
    blobs.delete("file-a")
    assert b"".join(reader) == b"hello"


def test_the_old_ones_are_listed(blobs: Blobs) -> None:
    writer = blobs.create("file-unfinished")
    writer.write(BIG)
    for key in ("file-a", "file-b", "part_c"):
        store(blobs, key, b"x")
    assert sorted(blobs.older_than(0)) == ["file-a", "file-b", "part_c"]
    assert list(blobs.older_than(60)) == []
    writer.discard()


def test_leftovers_of_the_dead_are_removed(blobs: Blobs) -> None:
    writer = blobs.create("file-a")
    writer.write(BIG)
    assert n_leftovers(blobs) == 1
    blobs.tidy(60)  # moto says of every unfinished upload that it began in 2010, but this one is our own
    assert n_leftovers(blobs) == 1
    if isinstance(writer, LocalWriter):
        as_another_process(blobs).tidy(0)
        assert n_leftovers(blobs) == 1  # it is alive
        writer._file.close()  # as the kernel does when it dies
    as_another_process(blobs).tidy(0)
    assert n_leftovers(blobs) == 0
    writer.discard()


def test_the_dead_are_told_by_their_age_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_arguments: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", no_locks)
    monkeypatch.setattr("llmatic.store.local_blobs.SILENT_S", 0.0)
    blobs = LocalBlobs(tmp_path)
    writer = blobs.create("file-a")
    blobs.tidy(60)
    assert n_leftovers(blobs) == 1
    blobs.tidy(0)
    assert n_leftovers(blobs) == 0
    writer.discard()


def as_another_process(blobs: Blobs) -> Blobs:
    return S3Blobs(blobs._bucket, "/llmatic/") if isinstance(blobs, S3Blobs) else blobs


def n_leftovers(blobs: Blobs) -> int:
    if isinstance(blobs, LocalBlobs):
        return len(list(blobs._incoming.iterdir()))
    assert isinstance(blobs, S3Blobs)
    return len(blobs._client.list_multipart_uploads(Bucket=blobs._bucket).get("Uploads", []))


def test_a_bucket_out_of_reach_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("boto3")
    use(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setattr("llmatic.store.s3_blobs.N_TRIES", 1)
    blobs = S3Blobs("bucket")
    writer = blobs.create("file-a")
    writer.write(b"x")
    for use_it in (
        writer.commit,
        lambda: blobs.read("file-a"),
        lambda: blobs.delete("file-a"),
        lambda: list(blobs.older_than(0)),
        lambda: blobs.tidy(0),
    ):
        with pytest.raises(Unavailable, match="cannot be reached"):
            use_it()


def test_the_last_bytes_of_a_disk_are_not_for_blobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = os.statvfs(tmp_path)
    blobs = LocalBlobs(tmp_path)
    store(blobs, "file-a", b"x")
    monkeypatch.setattr("llmatic.store.local_blobs.RESERVE_BYTES", disk.f_blocks * disk.f_frsize)
    writer = blobs.create("file-b")
    with pytest.raises(InsufficientStorage):
        writer.write(b"x")
    writer.discard()
    assert n_leftovers(blobs) == 0
    blobs.delete("file-a")


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    writer = blobs.create("file-a")
    with open("/dev/full", "wb") as full:
        os.dup2(full.fileno(), writer._file.fileno())
    with pytest.raises(InsufficientStorage):
        writer.write(b"x")
    writer.discard()
    assert list((tmp_path / "incoming").iterdir()) == []


@pytest.mark.parametrize("failing", ["os.fsync", "os.replace"])
def test_a_failed_commit_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    blobs = LocalBlobs(tmp_path)
    writer = blobs.create("file-a")
    writer.write(b"x")

    def fail(*_arguments: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(failing, fail)
    with pytest.raises(Unavailable, match="Input/output error"):
        writer.commit()
    monkeypatch.undo()
    assert n_leftovers(blobs) == 0
    assert list(blobs.older_than(0)) == []
