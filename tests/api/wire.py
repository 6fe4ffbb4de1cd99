"""What goes and comes over the wire."""

import json
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tests.api.conftest import WAIT_S, Served
from tests.fakes import SPEC


def events(text: str) -> list[Any]:
    """The data of every server-sent event; the end mark as the string it is."""
    found: list[Any] = []
    for frame in text.split("\n\n"):
        if frame.startswith("data: "):
            data = frame.removeprefix("data: ")
            found.append(data if data == "[DONE]" else json.loads(data))
    return found


def messages_events(text: str) -> list[Any]:
    """The data of every event of a stream of Anthropic's, each of which has a name that it repeats."""
    found: list[Any] = []
    for frame in text.split("\n\n")[:-1]:
        name, data = frame.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def shape(value: Any) -> Any:
    """Keys without values: what two replies of one kind have in common."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return None


def open_stream(
    served: Served,
    path: str = "/v1/chat/completions",
    *,
    headers: Mapping[str, str] | None = None,
    **fields: object,
) -> socket.socket:
    """A raw connection with a request sent on it."""
    parts = urlsplit(served.url)
    assert parts.hostname
    body = {"model": SPEC.id, "messages": [{"role": "user", "content": "Hi"}], **fields}
    raw = json.dumps(body).encode()
    connection = socket.create_connection((parts.hostname, parts.port), timeout=WAIT_S)
    sent = {"Host": parts.netloc, "Content-Length": str(len(raw)), **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    connection.sendall(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + raw)
    return connection
