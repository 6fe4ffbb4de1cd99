"""Broken requests on every route of a running server: no 5xx, no hang, alive and of the same size afterwards.

First the hand-made ones (`broken`), then what schemathesis generates from openapi.yaml. The route list is the
contract's own, under each of its prefixes.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scripts.bench import broken, models, processes, servers
from scripts.bench.problem import Problem
from scripts.bench.report import Bar, Report
from scripts.bench.sse import Reply, exchange

CONTRACT = Path(__file__).resolve().parents[2] / "openapi.yaml"
PREFIXES = ("/v1", "", "/oaiv1")
CONCURRENCY = 16
TIMEOUT_S, WAIT_S = 60.0, 1.0
FLAT_MB = 30.0
GENERATED = re.compile(r"(\d+) generated, (\d+) passed")
BAD, N_SHOWN = ("5xx", "hangs", "odd errors"), 10
WIRE_PREFIX, WIRE_PATHS = "/v1", ("/", "/healthz")
WRITER, ENCODER = "bench", "encoder"
ENCODER_SPEC = {"engine": "fake", "source": "none", "preload": True, "options": {"encodes": "embed"}}
ENCODER_PATHS = ("/embeddings", "/search", "/rerank")
COLUMNS = ("part", "requests", "2xx", "4xx", "5xx", "no reply", "hangs", "odd errors")


@dataclass(frozen=True, slots=True)
class Shot:
    """One broken request. `is_api`: a refusal must be an error object."""

    name: str
    data: bytes
    waits: bool
    is_api: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="small", help="shape or GGUF file")
    parser.add_argument(
        "--examples", type=int, default=100, help="of schemathesis for each operation and prefix"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--skip", choices=["broken", "schemathesis"], help="leave out one half")


def run(arguments: argparse.Namespace) -> Report:
    contract = yaml.safe_load(CONTRACT.read_text(encoding="utf-8"))
    # Else 128 choices take minutes, and what is kept of the prompts looks like a leak.
    size = {
        "context": 256,
        "parallel": 8,
        "sampling": {"max_tokens": 8},
        "options": {"cache_ram": "4MB"},
    }
    spec = {
        "engine": "llama",
        "source": str(models.find(arguments.model, arguments.cache)),
        "preload": True,
        **size,
    }
    with servers.ours(arguments.cache, {WRITER: spec, ENCODER: ENCODER_SPEC}) as server:
        workers = processes.worker_pids(server.pid)
        first, failures_first = _pass(arguments, server, contract, "first")
        before = (processes.rss_mb(server.pid), sum(map(processes.rss_mb, workers)))
        again, failures_again = _pass(arguments, server, contract, "again")
        after = (processes.rss_mb(server.pid), sum(map(processes.rss_mb, workers)))
        alive = (
            servers.get_status(server.port, "/healthz") == servers.get_status(server.port, "/readyz") == 200
        )
        same = processes.worker_pids(server.pid) == workers
    rows, failures = first + again, failures_first + failures_again
    bars = [
        Bar(f"{name}, by hand", sum(row[at] for row in rows), "at most", 0)
        for at, name in ((4, "5xx"), (6, "hangs"))
    ]
    bars += [
        Bar("refusals that are no error object", sum(row[7] for row in rows), "at most", 0),
        Bar("prefixes on which schemathesis found a 5xx or a hang", failures, "at most", 0),
        Bar("server alive and ready afterwards", float(alive), "at least", 1),
        Bar("workers never restarted", float(same), "at least", 1),
        Bar("growth of the server", round(after[0] - before[0], 1), "at most", FLAT_MB, "MB"),
        Bar("growth of the workers", round(after[1] - before[1], 1), "at most", FLAT_MB, "MB"),
    ]
    return Report(
        "fuzz", COLUMNS, rows, bars, {"examples": arguments.examples, "machine": processes.machine()}
    )


def _pass(
    arguments: argparse.Namespace, server: servers.Server, contract: dict[str, Any], name: str
) -> tuple[list[tuple[Any, ...]], int]:
    """Everything once; rows, and on how many prefixes schemathesis found something."""
    by_hand, generated = arguments.skip != "broken", arguments.skip != "schemathesis"
    rows = [_fire(server, f"by hand, {name}", shots(contract))] if by_hand else []
    prefixes = PREFIXES if generated else ()
    return rows, sum(_schemathesis(arguments, server, contract, prefix) for prefix in prefixes)


def routes(contract: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every path of the contract under every prefix it is served at, with its operations."""
    everywhere = [server["url"].rstrip("/") for server in contract["servers"]]
    for path, item in contract["paths"].items():
        own = [server["url"].rstrip("/") for server in item.get("servers", ())]
        engine = ENCODER if path.endswith(ENCODER_PATHS) else WRITER
        filled = path.replace("{model}", WRITER).replace("{engine_id}", engine)
        filled = re.sub(r"\{[a-z_]+\}", "none", filled)
        for prefix in own or everywhere:
            yield (prefix + filled) or "/", item


def properties(contract: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    """The documented body fields of an operation."""
    content = operation.get("requestBody", {}).get("content", {})
    return _fields(contract, content.get("application/json", {}).get("schema", {}))


def _fields(contract: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    found = dict(schema.get("properties", {}))
    parts = list(schema.get("allOf", ()))
    if reference := schema.get("$ref"):
        parts.append(contract["components"]["schemas"][reference.rsplit("/", 1)[1]])
    for part in parts:
        found |= _fields(contract, part)
    return found


def shots(contract: dict[str, Any]) -> Iterator[Shot]:
    """All hand-made requests: every body on every path, odd fields once, broken HTTP under one prefix."""
    seen: set[str] = set()
    for path, item in routes(contract):
        for name, body in broken.BODIES.items():
            yield Shot(f"POST {path}: {name}", broken.request("POST", path, body), False, True)
        for wire in broken.wires(path) if path.startswith(WIRE_PREFIX) or path in WIRE_PATHS else ():
            yield Shot(f"{path}: {wire.name}", wire.data, wire.waits, False)
        operation = item.get("post")
        if operation and takes_json(operation) and operation["operationId"] not in seen:
            seen.add(operation["operationId"])
            for name, body in broken.odd_fields(properties(contract, operation), _good(operation)):
                yield Shot(f"POST {path}: {name}", broken.request("POST", path, body), False, True)


def takes_json(operation: dict[str, Any]) -> bool:
    """Whether an operation has a body, and not a form."""
    return "application/json" in operation.get("requestBody", {}).get("content", {})


def _good(operation: dict[str, Any]) -> dict[str, Any]:
    """A body that the operation can serve: the first example of the contract, with a model that is here."""
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    body: dict[str, Any] = dict(next(iter(examples.values()))["value"])
    if "messages" in body or "prompt" in body:
        body["max_tokens"] = 2
    if "model" in body:
        body["model"] = WRITER if _writes(body) else ENCODER
    return body


def _writes(fields: Container[str]) -> bool:
    """Whether an operation with these fields is one for models that write."""
    return any(name in fields for name in ("messages", "prompt", "instruction", "question", "search_model"))


def _fire(server: servers.Server, part: str, all_shots: Iterator[Shot]) -> tuple[Any, ...]:
    """Send them all, a few at a time; the row under COLUMNS that tells how it went."""
    counts: Counter[str] = Counter()

    async def client() -> None:
        for shot in all_shots:
            timeout_s = WAIT_S if shot.waits else TIMEOUT_S
            reply = await exchange(servers.HOST, server.port, shot.data, timeout_s=timeout_s)
            counts["requests"] += 1
            for verdict in verdicts(shot, reply):
                counts[verdict] += 1
                if verdict in BAD and counts[verdict] <= N_SHOWN:
                    words = f"{shot.name}: {reply.status} {reply.body[:200]!r} {reply.error}"
                    print(f"bench: {verdict}: {words}", file=sys.stderr)

    async def clients() -> None:
        await asyncio.gather(*(client() for _ in range(CONCURRENCY)))

    asyncio.run(clients())
    if servers.get_status(server.port, "/healthz") != 200:
        raise Problem(f"the server no longer answers; its log: {server.log}")
    return (part, *(counts[name] for name in COLUMNS[1:]))


def verdicts(shot: Shot, reply: Reply) -> Iterator[str]:
    """Under which columns an outcome is counted."""
    if reply.status:
        yield f"{reply.status // 100}xx"
        if reply.status >= 400 and shot.is_api and not is_error_object(reply.body):
            yield "odd errors"
    else:
        yield "no reply"
    if not shot.waits and reply.error is not None and reply.error.startswith("no end within"):
        yield "hangs"


def is_error_object(body: bytes) -> bool:
    """True for OpenAI's error object with its four keys, Anthropic's, and that of the runs API."""
    try:
        whole = json.loads(body)
        error = whole["error"]
    except (ValueError, KeyError, TypeError):
        return False
    if isinstance(error, str):
        return {"status", "message"} <= set(whole)
    if whole.get("type") == "error":
        return isinstance(error, dict) and {"message", "type"} <= set(error)
    return isinstance(error, dict) and set(error) == {"message", "type", "param", "code"}


def narrowed(node: Any, names: tuple[str, ...] = ("model", "engine_id")) -> Any:
    """The contract with one model to ask for: a random name would be refused before anything else is read."""
    if isinstance(node, list):
        return [narrowed(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: narrowed(value) for key, value in node.items()}
    if found.get("name") in names and "in" in found:
        found["schema"] = _one_of(WRITER, ENCODER)
    fields = found.get("properties")
    if isinstance(fields, dict) and "model" in fields and "object" not in fields:
        fields["model"] = _one_of(WRITER if _writes(fields) else ENCODER)
    return found


def _one_of(*names: str) -> dict[str, Any]:
    return {"type": "string", "enum": [*names]}


def _schemathesis(
    arguments: argparse.Namespace, server: servers.Server, contract: dict[str, Any], prefix: str
) -> bool:
    """True when it found something; its words go to a log in the cache and, then, to stderr.

    Operations whose schema its generator does not take are in the log; its other phases asked them.
    """
    name = f"schemathesis-{server.port}{prefix.replace('/', '-')}"
    url, log = f"http://{servers.HOST}:{server.port}{prefix}", arguments.cache / f"{name}.log"
    schema = arguments.cache / f"{name}.json"
    schema.write_text(json.dumps({**narrowed(contract), "servers": [{"url": url}]}), encoding="utf-8")
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", str(schema), "--no-color"]
    command += ["--url", url, "--checks", "not_a_server_error", "--seed", str(arguments.seed)]
    phases = "examples,coverage,fuzzing" if prefix == PREFIXES[0] else "examples,fuzzing"
    command += ["--phases", phases, "--max-examples", str(arguments.examples)]
    command += ["--request-timeout", str(TIMEOUT_S), "--continue-on-failure"]
    with log.open("wb") as words:
        code = subprocess.run(command, stdout=words, stderr=words, cwd=arguments.cache).returncode
    text = log.read_text(encoding="utf-8", errors="replace")
    counts = GENERATED.search(text)
    n_asked, n_passed = map(int, counts.groups()) if counts else (0, 0)
    said = f"{n_passed} of {n_asked} requests passed, exit code {code}, log {log}"
    print(f"bench: schemathesis on {prefix or '/'}: {said}", file=sys.stderr)
    if not 0 < n_asked == n_passed:
        print(text[-4000:], file=sys.stderr)
        return True
    return False
