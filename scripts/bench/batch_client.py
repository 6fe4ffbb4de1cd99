"""What the benchmark of batches says to a server about its files and batches. Never measures. One thread."""

import http.client
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any, Self

from scripts.bench.problem import Problem
from scripts.bench.servers import HOST

POLL_S = 0.02
ENDED = {"completed", "failed", "expired", "cancelled"}
BOUNDARY = "batches-7d1f"


class Client:
    """A caller of a server on this machine."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=120.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def upload(self, url: str, bodies: Iterable[Mapping[str, Any]]) -> str:
        """The id of an input file with a line for each body."""
        lines = (
            json.dumps({"custom_id": f"line-{number}", "method": "POST", "url": url, "body": body})
            for number, body in enumerate(bodies)
        )
        data = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--{BOUNDARY}\r\n'
            'Content-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n'
        )
        data += "\n".join(lines) + f"\r\n--{BOUNDARY}--\r\n"
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        return str(self._ask("POST", "/v1/files", data.encode(), kind)["id"])

    def create(self, file_id: str, endpoint: str) -> str:
        """The id of a new batch."""
        body = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": "24h"}
        return str(self._ask("POST", "/v1/batches", json.dumps(body).encode())["id"])

    def get(self, batch_id: str) -> dict[str, Any]:
        """The batch as it is."""
        return self._ask("GET", f"/v1/batches/{batch_id}")

    def ended(self, batch_id: str, timeout_s: float) -> dict[str, Any]:
        """The batch once it has ended."""
        deadline_s = time.monotonic() + timeout_s
        while (batch := self.get(batch_id))["status"] not in ENDED:
            if time.monotonic() > deadline_s:
                raise Problem(f"after {timeout_s:g} s the batch is still {batch['status']}")
            time.sleep(POLL_S)
        return batch

    def begun(self, batch_id: str, timeout_s: float) -> int:
        """Wait until some lines are answered; how many those are."""
        deadline_s = time.monotonic() + timeout_s
        while not (n_done := int((batch := self.get(batch_id))["request_counts"]["completed"])):
            if time.monotonic() > deadline_s or batch["status"] in ENDED:
                raise Problem(f"the batch is {batch['status']} and answered nothing: {batch['errors']}")
            time.sleep(POLL_S)
        return n_done

    def cancelled(self, batch_id: str, timeout_s: float) -> int:
        """End a batch that must still run; how many lines were answered."""
        self._ask("POST", f"/v1/batches/{batch_id}/cancel", b"")
        batch = self.ended(batch_id, timeout_s)
        if batch["status"] != "cancelled":
            raise Problem(f"the batch was {batch['status']} too early: ask for fewer chats")
        return int(batch["request_counts"]["completed"])

    def _ask(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/json"
    ) -> dict[str, Any]:
        if method == "POST":
            self._connection.close()  # it may have been idle for longer than the server keeps it
        headers = {"Authorization": "Bearer x", "Content-Type": kind}
        self._connection.request(method, path, body, headers if body is not None else {})
        reply = self._connection.getresponse()
        data = reply.read()
        if reply.status != 200:
            raise Problem(f"{method} {path} was answered {reply.status}: {data[:300]!r}")
        found: dict[str, Any] = json.loads(data)
        return found
