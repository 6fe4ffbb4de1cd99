"""/uploads over a real socket, in its own database."""

import hashlib
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from llmatic.config import StoreSettings
from tests.api.conftest import Serve, Served
from tests.contract_check import assert_response_matches

DATA = b'{"text": "a"}\n' * 1000
WANTED = {"bytes": 6, "filename": "a.txt", "mime_type": "text/plain", "purpose": "user_data"}


@pytest.fixture(scope="module")
def served(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    store = StoreSettings(
        folder=str(tmp_path_factory.mktemp("uploads")), max_file_bytes=100, quota_bytes=10**9
    )
    return serve(store=store, max_body_bytes=10_000)


def blobs(served: Served) -> set[str]:
    folder: Path = served.stored.blobs._folder  # type: ignore[attr-defined]
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith("store-mark")}


def post(served: Served, operation: str, path: str, **options: Any) -> httpx2.Response:
    reply = served.http.post(f"/v1/uploads{path}", **options)
    assert_response_matches(operation, reply.status_code, reply.content, headers=dict(reply.headers.items()))
    return reply


def create(served: Served, **fields: Any) -> str:
    reply = post(served, "createUpload", "", json=WANTED | fields)
    assert reply.status_code == 200, reply.text
    found: str = reply.json()["id"]
    return found


def add(served: Served, upload_id: str, data: bytes) -> httpx2.Response:
    return post(served, "addUploadPart", f"/{upload_id}/parts", files={"data": ("part", data)})


def complete(served: Served, upload_id: str, *part_ids: str, **fields: Any) -> httpx2.Response:
    body = {"part_ids": list(part_ids), **fields}
    return post(served, "completeUpload", f"/{upload_id}/complete", json=body)


def cancel(served: Served, upload_id: str) -> httpx2.Response:
    return post(served, "cancelUpload", f"/{upload_id}/cancel")


def refused(reply: httpx2.Response, status: int = 400) -> tuple[str, str | None]:
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    return error["message"], error["param"]


def test_the_client_uploads_in_chunks(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(DATA)
    client = served.sdk()
    md5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
    done = client.uploads.upload_file_chunked(
        file=path, mime_type="text/jsonl", purpose="user_data", part_size=3000, md5=md5
    )
    assert (done.status, done.bytes, done.filename) == ("completed", len(DATA), "a.jsonl")
    assert done.expires_at == done.created_at + 3600
    assert done.file is not None
    assert done.file == client.files.retrieve(done.file.id)
    assert client.files.content(done.file.id).read() == DATA
    assert blobs(served) == {done.file.id}
    client.files.delete(done.file.id)


def test_parts_are_put_together_in_the_order_that_is_told(served: Served) -> None:
    upload = create(served, expires_after={"anchor": "created_at", "seconds": 3600})
    c, a, b, _unused = (add(served, upload, data).json()["id"] for data in (b"cc", b"aa", b"bb", b"xx"))
    done = complete(served, upload, a, b, c)
    file = done.json()["file"]
    assert served.http.get(f"/v1/files/{file['id']}/content").content == b"aabbcc"
    assert file["expires_at"] == file["created_at"] + 3600
    assert blobs(served) == {file["id"]}
    # A client whose reply was lost asks again.
    assert complete(served, upload, a, b, c).json() == done.json()
    assert refused(complete(served, upload, b, a, c)) == (
        f"Upload {upload} is already completed.",
        "upload_id",
    )
    assert refused(cancel(served, upload))[0] == f"Upload {upload} is already completed."
    assert refused(add(served, upload, b"x"))[0] == f"Upload {upload} is already completed."
    served.http.delete(f"/v1/files/{file['id']}")
    assert refused(complete(served, upload, a, b, c))[0] == f"Upload {upload} is already completed."


def test_what_does_not_add_up_is_refused_and_can_be_mended(served: Served) -> None:
    upload = create(served)
    part = add(served, upload, b"abc").json()["id"]
    message, param = refused(complete(served, upload, part))
    assert "(3) does not match" in message
    assert param == "part_ids"
    assert refused(complete(served, upload, part, part))[1] == "part_ids"
    assert refused(complete(served, upload, part, "part_0")) == (
        f"Part part_0 not found in upload {upload}.",
        "part_ids",
    )
    other = add(served, upload, b"def").json()["id"]
    message, param = refused(complete(served, upload, part, other, md5="0" * 32))
    assert hashlib.md5(b"abcdef", usedforsecurity=False).hexdigest() in message
    assert param == "md5"
    assert blobs(served) == {part, other}
    md5 = hashlib.md5(b"abcdef", usedforsecurity=False).hexdigest().upper()
    file = complete(served, upload, part, other, md5=md5).json()["file"]
    served.http.delete(f"/v1/files/{file['id']}")
    assert blobs(served) == set()


def test_lines_are_checked_at_the_end(served: Served) -> None:
    upload = create(served, purpose="search")
    part = add(served, upload, b"{1: 2}").json()["id"]
    assert "Line 1" in refused(complete(served, upload, part))[0]
    assert blobs(served) == {part}
    cancel(served, upload)


def test_a_cancelled_one_is_gone(served: Served) -> None:
    upload = create(served)
    add(served, upload, b"abc")
    assert cancel(served, upload).json()["status"] == "cancelled"
    assert cancel(served, upload).json()["status"] == "cancelled"
    assert blobs(served) == set()
    for reply in (add(served, upload, b"abc"), complete(served, upload, "part_0")):
        assert refused(reply) == (f"Upload {upload} is already cancelled.", "upload_id")


def test_parts_that_are_too_much_are_refused(served: Served) -> None:
    upload = create(served)
    assert "more than the 6 bytes" in refused(add(served, upload, b"x" * 7))[0]
    assert refused(add(served, upload, b"")) == ("The part is empty.", "data")
    for _ in range(2):
        assert add(served, upload, b"x" * 6).status_code == 200
    assert "more than the 6 bytes" in refused(add(served, upload, b"x" * 6))[0]
    large = create(served, bytes=8 * 10**7)
    message, param = refused(add(served, large, b"x" * (64 * 1024**2 + 1)), 413)
    assert (message, param) == ("The part is too large: at most 67108864 bytes are taken.", "data")
    for each in (upload, large):
        cancel(served, each)
    assert blobs(served) == set()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"bytes": 0}, "bytes"),
        ({"bytes": 8 * 1024**3 + 1}, "bytes"),
        ({"purpose": "x"}, None),
        ({"filename": ""}, "filename"),
        ({"filename": "a\nb"}, "filename"),
        ({"mime_type": None}, "mime_type"),
        ({"expires_after": {"anchor": "now", "seconds": 3600}}, "expires_after.anchor"),
        ({"colour": 1}, None),
    ],
)
def test_wrong_fields_are_named(served: Served, fields: dict[str, Any], param: str | None) -> None:
    assert refused(post(served, "createUpload", "", json=WANTED | fields))[1] == param


def test_what_is_announced_must_fit_the_quota(served: Served) -> None:
    assert refused(post(served, "createUpload", "", json=WANTED | {"bytes": 10**9 + 1}), 413)[1] == "bytes"
    upload = create(served, bytes=10**9)
    assert refused(post(served, "createUpload", "", json=WANTED), 413)[1] == "bytes"
    cancel(served, upload)
    cancel(served, create(served))


def test_what_is_not_there_is_told(served: Served) -> None:
    for reply in (
        add(served, "upload_0", b"x"),
        complete(served, "upload_0", "part_0"),
        cancel(served, "upload_0"),
    ):
        assert refused(reply, 404) == ("No such Upload object: upload_0", "upload_id")
    wrong = served.http.post(f"/v1/uploads/{create(served)}/parts", files={"file": ("a", b"x")})
    assert refused(wrong) == ("Missing required parameter: 'data'.", "data")


def test_nobody_elses_upload_is_seen(serve: Serve, tmp_path: Path) -> None:
    server = serve(store=StoreSettings(folder=str(tmp_path)))
    ann, bob = (server.sdk(server.make_key(owner=owner)) for owner in ("ann", "bob"))
    upload = ann.uploads.create(bytes=1, filename="a", mime_type="b", purpose="evals")
    for wrong in (
        lambda: bob.uploads.cancel(upload.id),
        lambda: bob.uploads.parts.create(upload.id, data=b"x"),
        lambda: bob.uploads.complete(upload.id, part_ids=["part_0"]),
    ):
        with pytest.raises(openai.NotFoundError):
            wrong()
