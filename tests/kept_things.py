"""Everything that a server keeps, by kind: how it is made, changed and forgotten, and how one sees that it is
there, whole, as it was said to be."""

import hashlib
import json
import random
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.fakes import SPEC

WAIT_S = 30.0
CHAT = {"model": SPEC.id, "messages": [{"role": "user", "content": "Hi"}]}
ALL = {"limit": 100}


@dataclass(eq=False)
class Thing:
    """Something that a server said it keeps. `path`: where it is found; `known`: what was said of it."""

    kind: "Kind"
    path: str
    known: dict[str, Any] = field(default_factory=dict)
    is_settled: bool = False


class Kind(ABC):
    """Made by `make`, which returns once the server has acknowledged it, as all others do."""

    can_change = False

    @abstractmethod
    def make(self, http: httpx2.Client, rng: random.Random) -> Thing: ...

    def change(self, http: httpx2.Client, thing: Thing, rng: random.Random) -> None:
        """Only of a kind that `can_change`."""
        raise AssertionError(f"{type(self).__name__} cannot be changed")

    def forget(self, http: httpx2.Client, thing: Thing) -> None:
        good(http.delete(thing.path))

    @abstractmethod
    def check(self, http: httpx2.Client, thing: Thing) -> None:
        """It is as was said."""

    def check_gone(self, http: httpx2.Client, thing: Thing) -> None:
        assert http.get(thing.path).status_code == 404

    def check_all(self, http: httpx2.Client) -> None:
        """Whatever is to be seen of this kind is whole, acknowledged or not."""
        return

    def end(self, http: httpx2.Client, thing: Thing) -> None:
        """What was under way comes to its end."""
        self.check(http, thing)


class Away(Exception):
    """The server says that its database cannot be used, and when to come again."""


def good(reply: httpx2.Response) -> dict[str, Any]:
    if reply.status_code == 503:
        assert int(reply.headers["retry-after"]) >= 1
        assert "database" in reply.text, reply.text
        raise Away(reply.text)
    assert reply.status_code == 200, (reply.request.method, reply.request.url, reply.status_code, reply.text)
    body: dict[str, Any] = reply.json()
    return body


def label(rng: random.Random) -> str:
    return rng.randbytes(8).hex()


class Files(Kind):
    """Each bears the digest of its content as its name."""

    def make(self, http: httpx2.Client, rng: random.Random) -> Thing:
        data = rng.randbytes(rng.choice([1, 1000, 100_000, 1_500_000]))
        name = hashlib.sha256(data).hexdigest()
        made = good(http.post("/v1/files", data={"purpose": "user_data"}, files={"file": (name, data)}))
        return Thing(self, f"/v1/files/{made['id']}", {"filename": name, "bytes": len(data)})

    def check(self, http: httpx2.Client, thing: Thing) -> None:
        assert good(http.get(thing.path)).items() >= thing.known.items()

    def check_all(self, http: httpx2.Client) -> None:
        for file in good(http.get("/v1/files", params={"purpose": "user_data"}))["data"]:
            content = http.get(f"/v1/files/{file['id']}/content")
            assert content.status_code == 200, content.text
            assert len(content.content) == file["bytes"]
            assert hashlib.sha256(content.content).hexdigest() == file["filename"]


class Uploads(Kind):
    """Begun and sent; whoever looks completes them."""

    def make(self, http: httpx2.Client, rng: random.Random) -> Thing:
        data = rng.randbytes(rng.choice([2, 1000, 300_000]))
        name = hashlib.sha256(data).hexdigest()
        wanted = {"bytes": len(data), "filename": name, "mime_type": "a/b", "purpose": "user_data"}
        path = f"/v1/uploads/{good(http.post('/v1/uploads', json=wanted))['id']}"
        pieces = (data[: len(data) // 2], data[len(data) // 2 :])
        parts = [good(http.post(f"{path}/parts", files={"data": ("p", piece)}))["id"] for piece in pieces]
        thing = Thing(self, path, {"part_ids": parts})
        if rng.random() < 0.5:
            self.check(http, thing)
        return thing

    def forget(self, http: httpx2.Client, thing: Thing) -> None:
        self.check(http, thing)
        good(http.delete(f"/v1/files/{thing.known['file']}"))

    def check(self, http: httpx2.Client, thing: Thing) -> None:
        done = good(http.post(f"{thing.path}/complete", json={"part_ids": thing.known["part_ids"]}))
        assert done["status"] == "completed"
        assert thing.known.setdefault("file", done["file"]["id"]) == done["file"]["id"]

    def check_gone(self, http: httpx2.Client, thing: Thing) -> None:
        assert http.get(f"/v1/files/{thing.known['file']}").status_code == 404


class Keys(Kind):
    def make(self, http: httpx2.Client, rng: random.Random) -> Thing:
        made = good(http.post("/v1/organization/admin_api_keys", json={"name": label(rng)}))
        path = f"/v1/organization/admin_api_keys/{made['id']}"
        return Thing(self, path, {"name": made["name"], "value": made["value"]})

    def check(self, http: httpx2.Client, thing: Thing) -> None:
        assert good(http.get(thing.path))["name"] == thing.known["name"]
        assert self._opens(http, thing) == 200

    def check_gone(self, http: httpx2.Client, thing: Thing) -> None:
        assert http.get(thing.path).status_code == 404
        assert self._opens(http, thing) == 401

    def _opens(self, http: httpx2.Client, thing: Thing) -> int:
        sent = {"authorization": f"Bearer {thing.known['value']}"}
        return http.get("/v1/models", headers=sent).status_code


class Batches(Kind):
    """They go on from one life to the next, and come to their end in the last one."""

    def make(self, http: httpx2.Client, rng: random.Random) -> Thing:
        n = rng.randrange(1, 12)
        lines = [
            {"custom_id": str(k), "method": "POST", "url": "/v1/chat/completions", "body": CHAT}
            for k in range(n)
        ]
        data = "\n".join(map(json.dumps, lines)).encode()
        file = good(http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("in", data)}))
        wanted = {
            "input_file_id": file["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": {"label": label(rng)},
        }
        made = good(http.post("/v1/batches", json=wanted))
        return Thing(self, f"/v1/batches/{made['id']}", {"metadata": wanted["metadata"], "n": n})

    def forget(self, http: httpx2.Client, thing: Thing) -> None:
        reply = http.post(f"{thing.path}/cancel")
        if reply.status_code != 409:  # it has ended
            good(reply)

    def check(self, http: httpx2.Client, thing: Thing) -> None:
        found = good(http.get(thing.path))
        assert found["metadata"] == thing.known["metadata"]
        assert found["status"] in {"validating", "in_progress", "finalizing", "completed"}
        if found["status"] == "completed":
            assert found["request_counts"] == {
                "total": thing.known["n"],
                "completed": thing.known["n"],
                "failed": 0,
            }
            output = http.get(f"/v1/files/{found['output_file_id']}/content").text.splitlines()
            answered = [int(json.loads(line)["custom_id"]) for line in output]
            assert sorted(answered) == list(range(thing.known["n"]))

    def check_gone(self, http: httpx2.Client, thing: Thing) -> None:
        assert good(http.get(thing.path))["status"] in {"cancelling", "cancelled", "completed", "finalizing"}

    def end(self, http: httpx2.Client, thing: Thing) -> None:
        deadline = time.monotonic() + WAIT_S
        while good(http.get(thing.path))["status"] != "completed":
            assert time.monotonic() < deadline
        self.check(http, thing)


class Responses(Kind):
    def make(self, http: httpx2.Client, rng: random.Random) -> Thing:
        wanted = {"model": SPEC.id, "input": label(rng), "metadata": {"label": label(rng)}}
        made = good(http.post("/v1/responses", json=wanted))
        return Thing(self, f"/v1/responses/{made['id']}", {"body": made, "input": wanted["input"]})

    def check(self, http: httpx2.Client, thing: Thing) -> None:
        assert good(http.get(thing.path)) == thing.known["body"]
        items = good(http.get(f"{thing.path}/input_items"))["data"]
        assert [item["content"][0]["text"] for item in items] == [thing.known["input"]]


class Conversations(Kind):
    can_change = True

    def make(self, http: httpx2.Client, rng: random.Random) -> Thing:
        metadata = {"label": label(rng)}
        made = good(http.post("/v1/conversations", json={"metadata": metadata}))
        return Thing(self, f"/v1/conversations/{made['id']}", {"metadata": metadata, "texts": []})

    def change(self, http: httpx2.Client, thing: Thing, rng: random.Random) -> None:
        said = label(rng)
        turn = rng.randrange(3)
        if turn == 0:
            item = {"type": "message", "role": "user", "content": said}
            good(http.post(f"{thing.path}/items", json={"items": [item]}))
            thing.known["texts"].append(said)
        elif turn == 1:
            good(http.post(thing.path, json={"metadata": {"label": said}}))
            thing.known["metadata"] = {"label": said}
        else:
            wanted = {"model": SPEC.id, "input": said, "conversation": thing.path.rpartition("/")[2]}
            made = good(http.post("/v1/responses", json=wanted))
            thing.known["texts"] += [said, made["output"][-1]["content"][0]["text"]]

    def check(self, http: httpx2.Client, thing: Thing) -> None:
        assert good(http.get(thing.path))["metadata"] == thing.known["metadata"]
        items = good(http.get(f"{thing.path}/items", params={"order": "asc", "limit": 100}))["data"]
        texts = [item["content"][0]["text"] for item in items]
        assert texts == thing.known["texts"]


class Recorded(Kind):
    """Such a thing is there at once, or as soon as the database is back."""

    can_change = True

    def forget(self, http: httpx2.Client, thing: Thing) -> None:
        self.settle(http, thing)
        super().forget(http, thing)

    def settle(self, http: httpx2.Client, thing: Thing) -> None:
        """Wait until it is written, if its reply did not."""
        deadline = time.monotonic() + WAIT_S
        while not thing.is_settled:
            reply = http.get(thing.path)
            if reply.status_code != 404 or time.monotonic() > deadline:
                good(reply)
                thing.is_settled = True


class StoredChats(Recorded):
    def make(self, http: httpx2.Client, rng: random.Random) -> Thing:
        metadata = {"label": label(rng)}
        made = good(http.post("/v1/chat/completions", json={**CHAT, "store": True, "metadata": metadata}))
        known = {"metadata": metadata, "choices": made["choices"]}
        return Thing(self, f"/v1/chat/completions/{made['id']}", known)

    def change(self, http: httpx2.Client, thing: Thing, rng: random.Random) -> None:
        self.settle(http, thing)
        metadata = {"label": label(rng)}
        good(http.post(thing.path, json={"metadata": metadata}))
        thing.known["metadata"] = metadata

    def check(self, http: httpx2.Client, thing: Thing) -> None:
        self.settle(http, thing)
        found = good(http.get(thing.path))
        assert found["metadata"] == thing.known["metadata"]
        said = thing.known["choices"][0]["message"]["content"]
        assert found["choices"][0]["message"]["content"] == said


class Runs(Recorded):
    def make(self, http: httpx2.Client, rng: random.Random) -> Thing:
        wanted = {"messages": CHAT["messages"], "config": {"model": SPEC.id}, "tags": [label(rng)]}
        made = good(http.post("/api/v1/runs", json=wanted))
        return Thing(self, f"/api/v1/runs/{made['id']}", {"tags": wanted["tags"], "result": made["result"]})

    def change(self, http: httpx2.Client, thing: Thing, rng: random.Random) -> None:
        self.settle(http, thing)
        tags = [label(rng)]
        good(http.put(thing.path, json={"tags": tags}))
        thing.known["tags"] = tags

    def check(self, http: httpx2.Client, thing: Thing) -> None:
        self.settle(http, thing)
        assert good(http.get(thing.path)).items() >= thing.known.items()

    def check_all(self, http: httpx2.Client) -> None:
        for run in http.get("/api/v1/runs", params=ALL).json():
            found = good(http.get(f"/api/v1/runs/{run['id']}"))
            assert found["status"] == "completed" or found["error"]["status"] == 503, found


class Interactions(Kind):
    can_change = True

    def make(self, http: httpx2.Client, rng: random.Random) -> Thing:
        prompts = [{"role": "user", "content": "Greet {{ name }}."}]
        wanted = {"name": f"N{label(rng)}", "prompts": prompts, "model": SPEC.id}
        made = good(http.post("/api/v1/interactions", json=wanted))
        return Thing(self, f"/api/v1/interactions/{made['id']}", {"name": made["name"]})

    def change(self, http: httpx2.Client, thing: Thing, rng: random.Random) -> None:
        description = label(rng)
        good(http.put(thing.path, json={"description": description}))
        thing.known["description"] = description

    def check(self, http: httpx2.Client, thing: Thing) -> None:
        assert good(http.get(thing.path)).items() >= thing.known.items()


KINDS: tuple[Kind, ...] = (
    Files(),
    Uploads(),
    Keys(),
    Batches(),
    Responses(),
    Conversations(),
    StoredChats(),
    Runs(),
    Interactions(),
)
