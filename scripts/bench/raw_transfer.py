"""Files up and down over a raw socket, with as little work as a client can do. Blocks.

The body of an upload goes from the file to the socket inside the kernel (`sendfile`); of a download only the
length is looked at, unless it is told to hash it. So what is measured is the server.
"""

import hashlib
import json
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.bench import servers
from scripts.bench.keepalive import read_head
from scripts.bench.problem import Problem

TIMEOUT_S = 300.0
PIECE_BYTES = 1 << 20
BOUNDARY = "------------------------bench0123456789"


def upload(port: int, path: Path) -> dict[str, Any]:
    """The file object that the server made of the file at `path`. Raises Problem, OSError."""
    before = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    after = f"\r\n--{BOUNDARY}--\r\n".encode()
    size = path.stat().st_size
    with _connection(port) as connection, path.open("rb") as file:
        head = [
            "POST /v1/files HTTP/1.1",
            f"Host: {servers.HOST}",
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
            f"Content-Length: {len(before) + size + len(after)}",
        ]
        connection.sendall("\r\n".join([*head, "", ""]).encode() + before)
        sent = 0
        while sent < size:
            sent += os.sendfile(connection.fileno(), file.fileno(), sent, size - sent)
        connection.sendall(after)
        found: dict[str, Any] = json.loads(_reply(connection))
    if found.get("bytes") != size:
        raise Problem(f"the server kept {found.get('bytes')} of {size} bytes")
    return found


def download(port: int, file_id: str, digest: "hashlib._Hash | None" = None) -> int:
    """How many bytes of a file came. Raises Problem, OSError."""
    with _connection(port) as connection:
        request = f"GET /v1/files/{file_id}/content HTTP/1.1\r\nHost: {servers.HOST}\r\n\r\n"
        connection.sendall(request.encode())
        head, body = _head(connection)
        status, size = read_head(head)
        if status != 200:
            raise Problem(f"the server answered {status} to a download")
        n_come = len(body)
        buffer = memoryview(bytearray(PIECE_BYTES))
        if digest is not None:
            digest.update(body)
        while n_come < size:
            n_read = connection.recv_into(buffer)
            if not n_read:
                raise Problem(f"the server hung up after {n_come} of {size} bytes")
            n_come += n_read
            if digest is not None:
                digest.update(buffer[:n_read])
    return n_come


def delete(port: int, file_id: str) -> None:
    """Forget a file of the server."""
    with _connection(port) as connection:
        request = f"DELETE /v1/files/{file_id} HTTP/1.1\r\nHost: {servers.HOST}\r\n\r\n"
        connection.sendall(request.encode())
        _reply(connection)


@contextmanager
def _connection(port: int) -> Generator[socket.socket]:
    with socket.create_connection((servers.HOST, port), TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(None)  # a time-out would make the socket one that does not block
        yield connection


def _head(connection: socket.socket) -> tuple[bytes, bytes]:
    """The head of a reply, and what came of its body with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            raise Problem("the server hung up without an answer")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    return head, body


def _reply(connection: socket.socket) -> bytes:
    head, body = _head(connection)
    status, size = read_head(head)
    while len(body) < size:
        more = connection.recv(65536)
        if not more:
            raise Problem("the server hung up in its answer")
        body += more
    if status != 200:
        raise Problem(f"the server answered {status}: {body[:300].decode(errors='replace')}")
    return body
