"""What `store_pages` asks: the address of every list with every filter, and of everything that has an id.

Owns the choice: what is often there, what is seldom there, what never. Never measures.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from urllib.parse import urlencode

from scripts.bench import servers
from scripts.bench.keepalive import Connection
from scripts.bench.store_rows import (
    DAY_US,
    MODELS,
    NOW_US,
    OWNER,
    RARE_MODEL,
    Sizes,
    is_chat,
    name,
    owner_of,
    run_name,
)

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question. `kind`: "page" or "read". With a `body` it is a POST."""

    kind: str
    path: str
    body: bytes | None = None

    @property
    def shown(self) -> str:
        """For people, with the ids cut short."""
        path = re.sub("([0-9a-f]{4})[0-9a-f]{20}", r"\1…", self.path)
        return path if self.body is None else f"{path} {self.body.decode()}"

    def request(self, key: str) -> bytes:
        """The bytes of it."""
        method = "GET" if self.body is None else "POST"
        head = f"{method} {self.path} HTTP/1.1\r\nHost: {servers.HOST}\r\nAuthorization: Bearer {key}\r\n"
        if self.body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n"
        return head.encode() + b"\r\n" + (self.body or b"")


async def prepared(connection: Connection, key: str) -> str:
    """Makes a small file, whose content can be read then; its id."""
    mark, part = "llmatic-bench", "Content-Disposition: form-data; name"
    fields = (
        f'--{mark}\r\n{part}="purpose"\r\n\r\nuser_data\r\n'
        f'--{mark}\r\n{part}="file"; filename="a.txt"\r\n\r\n{"words " * 500}\r\n--{mark}--\r\n'
    )
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: {servers.HOST}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: multipart/form-data; boundary={mark}\r\nContent-Length: {len(fields)}\r\n\r\n"
    )
    file_id: str = json.loads(await connection.ask((head + fields).encode()))["id"]
    return file_id


def everything(sizes: Sizes, file_id: str) -> Iterator[Asked]:
    """All of it. `file_id`: of a file whose content is there."""
    for pages in (_files, _batches, _runs, _stored_chats, _interactions, _responses, _keys, _usage):
        for path in pages(sizes):
            yield Asked("page", path)
    for wanted in ({"status": "failed", "tags": ["prod"]}, {"tags": ["prod", "seldom"], "limit": 500}):
        yield Asked("page", "/api/v1/runs/search", json.dumps(wanted).encode())
    for path in _reads(sizes, file_id):
        yield Asked("read", path)


def _address(path: str, *groups: Pairs) -> str:
    query = urlencode([pair for group in groups for pair in group])
    return f"{path}?{query}" if query else path


def _places(prefix: str, early: int, middle: int, late: int) -> tuple[Pairs, ...]:
    """The first page, one in the middle, the last, in both orders."""
    after: list[Pairs] = [(("after", name(prefix, number)),) for number in (early, middle, late)]
    asc = (("order", "asc"),)
    return ((), after[1], after[0], asc, asc + after[1], asc + after[2])


def _files(sizes: Sizes) -> Iterator[str]:
    n = sizes.files
    assert all(number % 11 for number in (20, n // 2 + 1, n - 9)), "those are somebody else's"
    purposes: tuple[Pairs, ...] = ((), *((("purpose", what),) for what in ("batch", "vision", "evals")))
    for limit in ((), (("limit", "100"),)):
        for purpose, place in product(purposes, _places("file-", 20, n // 2 + 1, n - 9)):
            yield _address("/v1/files", limit, purpose, place)


def _batches(sizes: Sizes) -> Iterator[str]:
    for limit in ((), (("limit", "100"),)):
        for place in _places("batch_", 20, sizes.batches // 2, 0)[:3]:
            yield _address("/v1/batches", limit, place)


def _runs(sizes: Sizes) -> Iterator[str]:
    path, n = "/api/v1/runs", sizes.runs
    runs = [number for number in range(n // 2, n // 2 + 40) if owner_of(number) == OWNER]
    middle = (("after", run_name(runs[0])),)
    last = (("after", run_name(10)),)
    far = (("offset", "10000"),)
    models = ((), (("model", MODELS[0]),), (("model", RARE_MODEL),), (("model", "nobody"),))
    states = ((), *((("status", what),) for what in ("completed", "failed", "created", "processing")))
    often, seldom, never = (name("int_", number) for number in (0, 7, 9_999_999))
    interactions = ((), *((("interaction", what),) for what in (often, seldom, never)))
    tags = ("prod",), ("experiment-7",), ("seldom",), ("dev",), ("none",), ("prod", "seldom"), ("prod", "dev")
    labels: tuple[Pairs, ...] = ((), *(tuple(("tag", tag) for tag in some) for some in tags))
    for model, state, interaction, label in product(models, states, interactions, labels[:4]):
        yield _address(path, model, state, interaction, label)
    for model, state, label in product(models, states, labels[4:]):
        yield _address(path, model, state, label)
    for model, state, label in product(models[:3], states[:3], labels[:3]):
        for place in (middle, last, far, (("limit", "500"),), (("limit", "500"), *middle)):
            yield _address(path, model, state, label, place)
    parent = next(number for number in range(n // 2, n) if number % 100 == 54) - 5
    yield _address(path, (("parent", run_name(parent)),))
    yield _address(path, (("interaction", "Interaction7@3"), ("limit", "500")))


def _stored_chats(sizes: Sizes) -> Iterator[str]:
    path, n = "/v1/chat/completions", sizes.runs
    places = [number for number in (10, n // 2, n - 40) if is_chat(number) and owner_of(number) == OWNER]
    metadata = ("env", "prod"), ("env", "dev"), ("user", "u700"), ("case", "seldom"), ("case", "none")
    labels: tuple[Pairs, ...] = ((), *(((f"metadata[{key}]", value),) for key, value in metadata))
    labels += (*labels[1], *labels[4]), (*labels[1], *labels[3])
    models = ((), (("model", MODELS[0]),), (("model", RARE_MODEL),), (("model", "nobody"),))
    for order in ((), (("order", "desc"),)):
        for model, label in product(models, labels):
            yield _address(path, model, label, order)
            yield _address(path, model, label, order, (("limit", "100"),))
        for model, label, place in product(models[:2], labels[:3], places):
            yield _address(path, model, label, order, (("limit", "100"), ("after", run_name(place))))
    yield f"{path}/{run_name(places[1])}/messages"


def _interactions(sizes: Sizes) -> Iterator[str]:
    states = ((), *((("status", what),) for what in ("draft", "published", "archived")))
    names = ((), (("name", "Interaction7"),), (("name", "nobody"),))
    versions = ((), (("version", "20"),), (("version", "21"),))
    for state, named, version in product(states, names, versions):
        yield _address("/api/v1/interactions", state, named, version)
        yield _address("/api/v1/interactions", state, named, version, (("limit", "1000"),))
    far = (("limit", "1000"), ("offset", str(min(10_000, sizes.interactions - 100))))
    yield _address("/api/v1/interactions", far)
    yield _address("/api/v1/interactions", states[1], far)
    yield "/api/v1/interactions/Interaction7@3/versions"


def _responses(sizes: Sizes) -> Iterator[str]:
    path = f"/v1/responses/{name('resp_', 0)}/input_items"
    talk = f"/v1/conversations/{name('conv_', 0)}/items"
    for limit, order in product(((), (("limit", "100"),)), ((), (("order", "asc"),))):
        yield _address(path, limit, order)
        yield _address(path, limit, order, (("after", name("msg_500_", 0)),))
        yield _address(talk, limit, order)
        for place in (sizes.items // 2, sizes.items - 20, 20):
            yield _address(talk, limit, order, (("after", name(f"msg_c{place}_", 0)),))


def _keys(sizes: Sizes) -> Iterator[str]:
    for limit, order in product(((), (("limit", "100"),)), ((), (("order", "desc"),))):
        yield _address("/v1/organization/admin_api_keys", limit, order)
        for place in (sizes.keys // 2, sizes.keys - 20):
            yield _address("/v1/organization/admin_api_keys", limit, order, (("after", name("key_", place)),))


def _usage(sizes: Sizes) -> Iterator[str]:
    groups: tuple[Pairs, ...] = (
        (),
        (("group_by", "model"),),
        (("group_by", "api_key_id"),),
        (("group_by", "api_key_id"), ("group_by", "model")),
    )
    narrow: tuple[Pairs, ...] = (
        (),
        (("models", MODELS[0]),),
        (("api_key_ids", name("key_", 1)),),
        (("user_ids", "nobody"),),
    )
    wide: tuple[Pairs, ...] = (
        (("start_time", _ago(7)),),
        (("start_time", _ago(31)), ("limit", "31")),
        (("start_time", _ago(sizes.usage_days)), ("limit", "31")),
        (("start_time", _ago(7)), ("bucket_width", "1h"), ("limit", "168")),
    )
    for operation in ("completions", "embeddings"):
        path = f"/v1/organization/usage/{operation}"
        for time, few, group in product(wide, narrow, groups):
            # Every hour of a week for every pair of key and model: that is no page but a book.
            if group != groups[3] or time != wide[3]:
                yield _address(path, time, few, group)
        yield _address(path, (("start_time", _ago(1)), ("bucket_width", "1h")), groups[3])


def _ago(days: int) -> str:
    return str((NOW_US - days * DAY_US) // 1_000_000)


def _reads(sizes: Sizes, file_id: str) -> Iterator[str]:
    chat = next(number for number in range(sizes.runs // 2, sizes.runs) if is_chat(number))
    run = next(n for n in range(sizes.runs // 2, sizes.runs) if not is_chat(n) and owner_of(n) == OWNER)
    response, talk = name("resp_", sizes.responses // 2), name("conv_", 0)
    return iter(
        (
            f"/v1/files/{file_id}",
            f"/v1/files/{name('file-', 12)}",
            f"/v1/files/{file_id}/content",
            f"/v1/batches/{name('batch_', sizes.batches // 2)}",
            f"/v1/chat/completions/{run_name(chat)}",
            f"/v1/chat/completions/{run_name(chat)}/messages",
            f"/api/v1/runs/{run_name(run)}",
            f"/api/v1/runs/{run_name(chat)}",
            f"/v1/responses/{response}",
            f"/v1/responses/{response}/input_items",
            f"/v1/conversations/{talk}",
            f"/v1/conversations/{talk}/items/{name(f'msg_c{sizes.items // 2}_', 0)}",
            f"/api/v1/interactions/{name('int_', 7)}",
            "/api/v1/interactions/Interaction7",
            "/api/v1/interactions/Interaction7@3",
            "/api/v1/interactions/Interaction7@draft",
            f"/v1/organization/admin_api_keys/{name('key_', 0)}",
        )
    )
