"""GET and HEAD /files/{file_id}/content."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmatic.api.errors import UnsatisfiableRange
from llmatic.api.file_content import disposition, wanted_span
from llmatic.config import StoreSettings
from llmatic.core.errors import Unavailable
from llmatic.store.files import FileRecord
from tests.api.conftest import Serve, Served

DATA = bytes(range(256)) * 8192  # several pieces
RECORD = FileRecord("file-0", "ann", "a", "evals", 10, 0)
NAMES = [
    ("a.jsonl", 'attachment; filename="a.jsonl"'),
    ("данні.txt", "attachment; filename=\"_____.txt\"; filename*=UTF-8''%D0%B4%D0%B0%D0%BD%D0%BD%D1%96.txt"),
    ('a"; x="b', "attachment; filename=\"a__ x=_b\"; filename*=UTF-8''a%22%3B%20x%3D%22b"),
    ("a%22b\\c/d", "attachment; filename=\"a_22b_c_d\"; filename*=UTF-8''a%2522b_c_d"),
    ("../../etc/passwd", 'attachment; filename="_.._etc_passwd"'),
    ("..", 'attachment; filename="file"'),
    (
        "a\r\nSet-Cookie: x",
        "attachment; filename=\"a__Set-Cookie_ x\"; filename*=UTF-8''a__Set-Cookie%3A%20x",
    ),
    ("a\u202etxt.exe", 'attachment; filename="a_txt.exe"'),
]


@pytest.fixture(scope="module")
def served(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    return serve(store=StoreSettings(folder=str(tmp_path_factory.mktemp("content"))))


@pytest.fixture(scope="module")
def path(served: Served) -> str:
    reply = served.http.post("/v1/files", data={"purpose": "evals"}, files={"file": ("данні.bin", DATA)})
    return f"/v1/files/{reply.json()['id']}/content"


def test_all_of_it(served: Served, path: str) -> None:
    for method in ("GET", "HEAD"):
        reply = served.http.request(method, path)
        assert reply.status_code == 200
        assert reply.content == (DATA if method == "GET" else b"")
        assert reply.headers["content-length"] == str(len(DATA))
        assert reply.headers["content-type"] == "application/octet-stream"
        assert reply.headers["content-disposition"].startswith(
            'attachment; filename="_____.bin"; filename*=UTF-8'
        )
        assert reply.headers["accept-ranges"] == "bytes"
        assert reply.headers["etag"] == f'"{path.split("/")[-2]}"'
        assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-600000", 5, 600001),
        ("bytes=2097150-", 2097150, 2097152),
        ("bytes=-3", 2097149, 2097152),
        ("bytes=-99999999", 0, 2097152),
        ("bytes=7-99999999", 7, 2097152),
        ("Bytes = 7 - 99999999999999999999999999", 7, 2097152),
    ],
)
def test_a_range_of_it(served: Served, path: str, asked: str, start: int, end: int) -> None:
    for method in ("GET", "HEAD"):
        reply = served.http.request(method, path, headers={"range": asked})
        assert reply.status_code == 206
        assert reply.content == (DATA[start:end] if method == "GET" else b"")
        assert reply.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"
        assert reply.headers["content-length"] == str(end - start)


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,3-4", "bytes=9-5", "bytes=-", "lines=1-2", "bytes=x-y", "5", ""]
)
def test_what_is_no_single_range_gives_all_of_it(served: Served, path: str, asked: str) -> None:
    assert served.http.head(path, headers={"range": asked}).status_code == 200


def test_a_range_outside_is_told(served: Served, path: str) -> None:
    for asked in ("bytes=2097152-", "bytes=-0", "bytes=99999999999999999999999999-"):
        reply = served.http.get(path, headers={"range": asked})
        assert reply.status_code == 416
        assert reply.headers["content-range"] == f"bytes */{len(DATA)}"
        assert reply.json()["error"]["type"] == "invalid_request_error"


def test_a_range_of_another_file_gives_all_of_this(served: Served, path: str) -> None:
    tag = served.http.head(path).headers["etag"]
    for condition, status in ((tag, 206), ('"other"', 200)):
        reply = served.http.head(path, headers={"range": "bytes=0-0", "if-range": condition})
        assert reply.status_code == status


@pytest.mark.parametrize(
    ("known", "status"),
    [
        ("{tag}", 304),
        ("W/{tag}", 304),
        ('"a", {tag}', 304),
        ("*", 304),
        ('"a"', 200),
        ("", 200),
        ("a,b", 200),
    ],
)
def test_what_the_client_has_is_not_sent_again(served: Served, path: str, known: str, status: int) -> None:
    tag = served.http.head(path).headers["etag"]
    for method in ("GET", "HEAD"):
        reply = served.http.request(method, path, headers={"if-none-match": known.format(tag=tag)})
        assert (reply.status_code, reply.headers["etag"]) == (status, tag)
        assert reply.content == (DATA if (status, method) == (200, "GET") else b"")


def test_unknown_parameters_are_refused(served: Served, path: str) -> None:
    assert served.http.get(f"{path}?x=1").json()["error"]["message"] == (
        "Unrecognized request argument supplied: x"
    )


def test_a_client_that_hangs_up_lets_go_of_the_file(served: Served, path: str) -> None:
    wait_until(served, lambda: served.app.n_in_flight == 0)
    with socket.create_connection(("127.0.0.1", httpx2.URL(served.url).port or 0)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    wait_until(served, lambda: served.app.n_in_flight == 0)
    wait_until(served, lambda: not is_open(path.split("/")[-2]))


def is_open(name: str) -> bool:
    """Whether this process has a file of that name open."""
    return any(name in str(link.resolve()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())


def wait_until(served: Served, is_so: Callable[[], bool]) -> None:
    """Each round gives the server a turn."""
    assert any(is_so() for _ in range(1000) if served.http.get("/healthz"))


def test_storage_out_of_reach_is_told_before_the_first_byte(
    served: Served, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: Any) -> None:
        raise Unavailable("The server's storage cannot be reached.")

    monkeypatch.setattr(served.stored.blobs, "read", fail)
    assert served.http.get(path).status_code == 503
    monkeypatch.undo()
    assert served.http.get(path).content == DATA


def test_bytes_that_are_lost_under_way_break_the_connection(
    served: Served, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Breaking:
        n_read = 0

        def __iter__(self) -> "Breaking":
            return self

        def __next__(self) -> bytes:
            self.n_read += 1
            if self.n_read > 1:
                raise Unavailable("The server's storage cannot be reached.")
            return b"x"

        def close(self) -> None: ...

    monkeypatch.setattr(served.stored.blobs, "read", lambda *_: Breaking())
    with pytest.raises(httpx2.RemoteProtocolError):
        served.http.get(path)


@pytest.mark.parametrize(("name", "header"), NAMES)
def test_no_name_is_dangerous(name: str, header: str) -> None:
    assert disposition(name) == header


@given(st.text())
def test_every_name_makes_a_header(name: str) -> None:
    header = disposition(name)
    assert header.isascii()
    assert header.isprintable()
    assert "/" not in header.split("; filename*")[0]
    assert header.split("; filename*")[0].count('"') == 2


@given(st.text(alphabet="bytes=-,0123456789 ") | st.from_regex(r"\Abytes=\d{0,3}-\d{0,3}\Z"))
def test_every_range_is_within_the_file_or_refused(text: str) -> None:
    try:
        span = wanted_span([(b"range", text.encode())], RECORD)
    except UnsatisfiableRange:
        return
    assert span is None or 0 <= span[0] < span[1] <= RECORD.size_bytes
