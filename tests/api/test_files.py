"""/files over a real socket, in its own database."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from llmatic.config import StoreSettings
from tests.api.conftest import Serve, Served
from tests.contract_check import assert_response_matches

MAX_BYTES, QUOTA_BYTES = 300_000, 1_000_000


@pytest.fixture(scope="module")
def served(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Bodies of other requests may be small; that says nothing about files."""
    folder = str(tmp_path_factory.mktemp("files"))
    store = StoreSettings(folder=folder, max_file_bytes=MAX_BYTES, quota_bytes=QUOTA_BYTES)
    return serve(store=store, max_body_bytes=10_000)


def blobs(served: Served) -> set[str]:
    """The names of all stored bytes, whole or not."""
    folder: Path = served.stored.blobs._folder  # type: ignore[attr-defined]
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    return {name for name in names if not name.startswith("store-mark")}


@pytest.fixture(autouse=True)
def leaves_nothing_half(served: Served) -> Iterator[None]:
    """What is stored is what is listed."""
    yield
    listed = served.http.get("/v1/files").json()["data"]
    assert {file["id"] for file in listed} == blobs(served)
    for file in listed:
        served.http.delete(f"/v1/files/{file['id']}")
    assert blobs(served) == set()


def post(
    served: Served, data: Any = None, file: Any = ("a.txt", b"hello"), **options: Any
) -> httpx2.Response:
    fields = {"purpose": "user_data"} if data is None else data
    files = {} if file is None else {"file": file}
    reply = served.http.post("/v1/files", data=fields, files=files, **options)
    assert_response_matches(
        "createFile", reply.status_code, reply.content, headers=dict(reply.headers.items())
    )
    return reply


def created(served: Served, **options: Any) -> dict[str, Any]:
    reply = post(served, **options)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def refused(reply: httpx2.Response, status: int = 400) -> tuple[str, str | None, str | None]:
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    return error["message"], error["param"], error["code"]


def test_the_client_has_it_all(served: Served) -> None:
    files = served.sdk().files
    made = files.create(file=("данні.txt", b"hello"), purpose="user_data")
    assert (made.object, made.bytes, made.filename, made.purpose) == ("file", 5, "данні.txt", "user_data")
    assert (made.status, made.status_details, made.expires_at) == ("processed", None, None)
    assert files.retrieve(made.id) == made == files.wait_for_processing(made.id)
    assert [file.id for file in files.list()] == [made.id]
    assert files.content(made.id).read() == b"hello"
    gone = files.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "file", True)
    with pytest.raises(openai.NotFoundError) as caught:
        files.retrieve(made.id)
    assert (caught.value.body["message"], caught.value.param) == (  # type: ignore[index]
        f"No such File object: {made.id}",
        "id",
    )


def test_it_expires_when_it_is_told_to(served: Served) -> None:
    made = served.sdk().files.create(
        file=b"x", purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert made.expires_at == made.created_at + 3600
    assert made.filename == "upload"
    batch = served.sdk().files.create(file=b"{}", purpose="batch")
    assert batch.expires_at == batch.created_at + 30 * 24 * 3600


@pytest.mark.parametrize("purpose", ["search", "answers", "classifications", "fine-tune", "evals", "vision"])
def test_every_purpose_of_both_times(served: Served, purpose: str) -> None:
    made = created(served, data={"purpose": purpose}, file=("a.jsonl", b'{"text": "a", "label": "b"}\n'))
    assert made["purpose"] == purpose


def test_fields_may_come_after_the_file_and_chunks_without_a_length(served: Served) -> None:
    parts = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"x" * 200_000,
        b'\r\n--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n',
        b'--b\r\nContent-Disposition: form-data; name="expires_after[seconds]"\r\n\r\n3600\r\n',
        b'--b\r\nContent-Disposition: form-data; name="expires_after[anchor]"\r\n\r\ncreated_at\r\n--b--\r\n',
    )
    headers = {"content-type": "multipart/form-data; boundary=b"}
    reply = served.http.post("/v1/files", content=iter(parts), headers=headers)
    assert reply.request.headers["transfer-encoding"] == "chunked"
    made = reply.json()
    assert (made["bytes"], made["purpose"]) == (200_000, "assistants")
    assert made["expires_at"] == made["created_at"] + 3600


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, ("Missing required parameter: 'purpose'.", "purpose", "missing_required_parameter")),
        (
            {"purpose": "nothing"},
            (
                "'nothing' is not one of ['assistants', 'batch', 'fine-tune', 'vision', 'user_data', 'evals', "
                "'search', 'answers', 'classifications'] - 'purpose'",
                None,
                None,
            ),
        ),
        (
            {"purpose": "evals", "colour": "red"},
            ("Unrecognized request argument supplied: colour", None, None),
        ),
        (
            {"purpose": "evals", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"},
            (
                "Invalid 'expires_after.seconds': integer below minimum value. Expected a value >= 3600, but got "
                "3599 instead.",
                "expires_after.seconds",
                "integer_below_min_value",
            ),
        ),
        (
            {"purpose": "evals", "expires_after[anchor]": "created_at", "expires_after[seconds]": "soon"},
            (
                "Invalid type for 'expires_after.seconds': expected an integer, but got a string instead.",
                "expires_after.seconds",
                "invalid_type",
            ),
        ),
        (
            {"purpose": "evals", "expires_after[seconds]": "3600"},
            (
                "Missing required parameter: 'expires_after.anchor'.",
                "expires_after.anchor",
                "missing_required_parameter",
            ),
        ),
        (
            {"purpose": "evals", "expires_after[days]": "3"},
            (
                "Missing required parameter: 'expires_after.anchor'.",
                "expires_after.anchor",
                "missing_required_parameter",
            ),
        ),
        (
            {"purpose": "evals", "expires_after": "soon"},
            (
                "Invalid type for 'expires_after': expected an object, but got a string instead.",
                "expires_after",
                "invalid_type",
            ),
        ),
    ],
)
def test_wrong_fields_are_named(
    served: Served, fields: dict[str, str], said: tuple[str, str | None, str | None]
) -> None:
    assert refused(post(served, data=fields)) == said


def test_wrong_files_are_named(served: Served) -> None:
    assert refused(post(served, file=("a", b"")))[:2] == ("File is empty.", "file")
    assert refused(post(served, data={"purpose": "user_data", "file": "hello"}, file=("b", b"x")))[:2] == (
        "Invalid type for 'file': expected a file, but got a string instead.",
        "file",
    )
    wrong = served.http.post("/v1/files", data={"purpose": "evals"}, files={"data": ("a", b"x")})
    assert refused(wrong) == ("Missing required parameter: 'file'.", "file", "missing_required_parameter")
    as_file = served.http.post("/v1/files", files={"purpose": ("a", b"evals")})
    assert refused(as_file)[1] == "purpose"
    two = served.http.post("/v1/files", files=[("file", ("a", b"x")), ("file", ("b", b"y"))])
    assert refused(two)[0] == "The form holds more than one file."
    line = refused(post(served, data={"purpose": "search"}, file=("a", b'{"text": "a"}\n{"text": 1}')))
    assert line[0].endswith(
        'Line 2 has no field \'text\' that is a string (HINT: line starts with: "{"text": 1}").'
    )
    body = served.http.post("/v1/files", json={"purpose": "evals"})
    assert "multipart/form-data" in refused(body)[0]


def test_what_is_too_large_is_refused_before_it_is_sent(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", httpx2.URL(served.url).port or 0)) as connection:
        connection.settimeout(10)
        connection.sendall(
            b"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\n"
            b"Content-Length: 99999999999\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n"
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_what_is_too_large_is_refused_while_it_is_sent(served: Served) -> None:
    message, param, _ = refused(post(served, file=("a", b"x" * (MAX_BYTES + 1))), 413)
    assert (message, param) == (f"The file is too large: at most {MAX_BYTES} bytes are taken.", "file")
    with pytest.raises(openai.APIStatusError) as caught:
        served.sdk().files.create(file=b"x" * (MAX_BYTES * 20), purpose="user_data")
    assert caught.value.status_code == 413


def test_the_quota_is_all_files_together(served: Served) -> None:
    for _ in range(3):
        created(served, file=("a", b"x" * MAX_BYTES))
    message, _, _ = refused(post(served, file=("a", b"x" * (QUOTA_BYTES - 3 * MAX_BYTES + 1))), 413)
    assert f"{QUOTA_BYTES} bytes together" in message
    created(served, file=("a", b"x" * (QUOTA_BYTES - 3 * MAX_BYTES)))


def test_a_client_that_hangs_up_leaves_nothing(served: Served) -> None:
    head = (
        b"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 250000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    )
    n_before = n_hung_up(served)
    for size in (0, 1, 200_000):
        with socket.create_connection(("127.0.0.1", httpx2.URL(served.url).port or 0)) as connection:
            connection.sendall(head + b"x" * size)
    assert any(n_hung_up(served) == n_before + 3 for _ in range(1000))
    assert blobs(served) == set()


def n_hung_up(served: Served) -> int:
    """How many clients have gone before the reply to their file."""
    found = re.search(r'route="/v1/files",status="499"\S* (\d+)', served.http.get("/metrics").text)
    return int(found[1]) if found else 0


def test_pages_follow_each_other(served: Served) -> None:
    ids = [created(served)["id"] for _ in range(5)]
    other = created(served, data={"purpose": "vision"})["id"]
    assert listed(served) == [other, *reversed(ids)]
    assert listed(served, order="asc", purpose="user_data") == ids
    assert listed(served, purpose="answers") == []
    first = page(served, limit="2", purpose="user_data")
    assert (first["first_id"], first["last_id"], first["has_more"]) == (ids[4], ids[3], True)
    last = page(served, limit="2", order="asc", after=ids[3], purpose="user_data")
    assert (last["first_id"], last["last_id"], last["has_more"]) == (ids[4], ids[4], False)
    none = page(served, after=ids[0])
    assert (none["data"], none["first_id"], none["last_id"], none["has_more"]) == ([], None, None, False)
    assert [file.id for file in served.sdk().files.list(limit=2, purpose="user_data")] == ids[::-1]


def page(served: Served, **query: str) -> dict[str, Any]:
    reply = served.http.get("/v1/files", params=query)
    assert_response_matches(
        "listFiles", reply.status_code, reply.content, headers=dict(reply.headers.items())
    )
    found: dict[str, Any] = reply.json()
    return found


def listed(served: Served, **query: str) -> list[str]:
    return [file["id"] for file in page(served, **query)["data"]]


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ("limit=0", "limit", "integer_below_min_value"),
        ("limit=10001", "limit", "integer_above_max_value"),
        ("limit=many", "limit", "invalid_type"),
        ("order=up", "order", "invalid_value"),
        ("after=", "after", "empty_string"),
        ("before=file-1", None, None),
        ("limit[a]=1", None, None),
    ],
)
def test_wrong_queries_are_named(served: Served, query: str, param: str | None, code: str | None) -> None:
    reply = served.http.get(f"/v1/files?{query}")
    assert_response_matches(
        "listFiles", reply.status_code, reply.content, headers=dict(reply.headers.items())
    )
    assert refused(reply)[1:] == (param, code)


def test_what_is_not_there_is_told(served: Served) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
        reply = served.http.request(method, f"/v1/files/file-abc{path}")
        assert refused(reply, 404) == ("No such File object: file-abc", "id", None)
    assert refused(served.http.get("/v1/files?after=file-abc"), 404)[1] == "after"
    assert served.http.put("/v1/files").status_code == 405


def test_the_other_prefixes_serve_it_too(served: Served) -> None:
    made = created(served)
    for prefix in ("", "/oaiv1"):
        assert served.http.get(f"{prefix}/files/{made['id']}").json() == made


def test_each_owner_has_files_of_its_own(serve: Serve, tmp_path: Path) -> None:
    server = serve(store=StoreSettings(folder=str(tmp_path)))
    ann, ann_too, bob = (server.make_key(owner=owner) for owner in ("ann", "ann", "bob"))
    no_files = server.make_key(owner="ann", scopes=("inference",))
    made = server.sdk(ann).files.create(file=b"x", purpose="user_data")
    assert server.sdk(ann_too).files.content(made.id).read() == b"x"
    theirs = server.sdk(bob).files
    assert list(theirs.list()) == []
    for wrong in (theirs.retrieve, theirs.content, theirs.delete):
        with pytest.raises(openai.NotFoundError):
            wrong(made.id)
    with pytest.raises(openai.PermissionDeniedError):
        server.sdk(no_files).files.list()
    assert server.http.get("/v1/files").status_code == 401


def test_the_examples_of_the_contract_are_taken(served: Served) -> None:
    from tests.contract_check import document

    examples = document()["paths"]["/files"]["post"]["requestBody"]["content"]["multipart/form-data"][
        "examples"
    ]
    for example in examples.values():
        value = json.loads(json.dumps(example["value"]))
        nested = {f"expires_after[{k}]": str(v) for k, v in value.pop("expires_after", {}).items()}
        file = value.pop("file").encode()
        created(served, data={**value, **nested}, file=("a", file))
