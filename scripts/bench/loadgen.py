"""Closed-loop load: C connections, each sends streaming requests one after another. This machine only.

Owns the prompts and the arithmetic of the figures; `sse` owns the socket. One thread, one event loop.
"""

import argparse
import asyncio
import ipaddress
import json
import random
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scripts.bench.problem import Problem
from scripts.bench.report import Bar, Report
from scripts.bench.sse import Reply, exchange, http_request

WORDS = (
    "apple",
    "bridge",
    "carpet",
    "dolphin",
    "eagle",
    "forest",
    "guitar",
    "hammer",
    "island",
    "jacket",
    "kettle",
    "lemon",
    "mirror",
    "needle",
    "orange",
    "pencil",
    "quarry",
    "ribbon",
    "saddle",
    "tunnel",
    "umbrella",
    "violin",
    "walnut",
    "harvest",
)
MAX_REQUESTS = 100_000
MAX_CONCURRENCY = 1024


@dataclass(frozen=True, slots=True)
class Work:
    """What is asked, in the words of the request. The same `rng` gives the same prompts."""

    n_requests: int
    concurrency: int
    n_prompt_words: int = 64
    max_tokens: int = 64
    temperature: float = 0.8
    endpoint: str = "completions"
    model: str = "bench"
    rng: int = 1
    extra: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """What a load came to. Rates count completion tokens as the server's usage reports them."""

    n_complete: int
    n_failed: int
    wall_s: float
    n_tokens: int
    tokens_per_s: float
    requests_per_s: float
    mean_prompt_tokens: float
    first_ms_p50: float
    first_ms_p95: float
    gap_ms_p50: float
    gap_ms_p99: float
    first_error: str | None


def bodies(work: Work) -> Iterator[bytes]:
    """The JSON bodies of a load, endless tokens asked for by `ignore_eos`."""
    rng = random.Random(work.rng)
    for number in range(work.n_requests):
        prompt = " ".join([f"[{number}]", *rng.choices(WORDS, k=work.n_prompt_words)])
        body: dict[str, Any] = {
            "model": work.model,
            "max_tokens": work.max_tokens,
            "temperature": work.temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
            "ignore_eos": True,
        }
        if work.endpoint == "chat/completions":
            body["messages"] = [{"role": "user", "content": prompt}]
        else:
            body["prompt"] = prompt
        yield json.dumps(body | dict(work.extra or {})).encode()


async def load(
    host: str, port: int, work: Work, *, prefix: str = "/v1", key: str = "x", timeout_s: float = 600.0
) -> tuple[list[Reply], float]:
    """Run a load; returns the replies and the wall time in seconds."""
    if not 0 < work.n_requests <= MAX_REQUESTS or not 0 < work.concurrency <= MAX_CONCURRENCY:
        raise Problem(f"at most {MAX_REQUESTS} requests and {MAX_CONCURRENCY} at once")
    path = f"{prefix}/{work.endpoint}"
    requests = iter([http_request(path, body, host, key) for body in bodies(work)])
    replies: list[Reply] = []

    async def client() -> None:
        for request in requests:
            replies.append(await exchange(host, port, request, timeout_s=timeout_s))

    start_s = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(work.concurrency)))
    return replies, time.perf_counter() - start_s


def figures(replies: Sequence[Reply], wall_s: float) -> Figures:
    """Reduce the replies of a load to its figures."""
    complete = [reply for reply in replies if reply.complete]
    failed = [reply for reply in replies if not reply.complete]
    n_tokens = sum(reply.usage.get("completion_tokens", len(reply.events)) for reply in complete)
    n_prompt = sum(reply.usage.get("prompt_tokens", 0) for reply in complete)
    firsts = [first for reply in complete if (first := reply.first_s) is not None]
    gaps = [gap for reply in complete for gap in reply.gaps_s]
    return Figures(
        n_complete=len(complete),
        n_failed=len(failed),
        wall_s=round(wall_s, 3),
        n_tokens=n_tokens,
        tokens_per_s=round(n_tokens / wall_s, 1),
        requests_per_s=round(len(complete) / wall_s, 2),
        mean_prompt_tokens=round(n_prompt / max(1, len(complete)), 1),
        first_ms_p50=quantile_ms(firsts, 0.5),
        first_ms_p95=quantile_ms(firsts, 0.95),
        gap_ms_p50=quantile_ms(gaps, 0.5),
        gap_ms_p99=quantile_ms(gaps, 0.99),
        first_error=failed[0].error if failed else None,
    )


def quantile_ms(seconds: Sequence[float], q: float) -> float:
    """The value at or above the share `q` of the others, in ms; 0 without any."""
    ordered = sorted(seconds)
    return round(ordered[min(len(ordered) - 1, int(q * len(ordered)))] * 1e3, 2) if ordered else 0.0


def loopback(base_url: str) -> tuple[str, int, str]:
    """Host, port and path prefix of a server on this machine; raises Problem for any other."""
    url = urllib.parse.urlsplit(base_url)
    host = "127.0.0.1" if url.hostname == "localhost" else url.hostname or ""
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = False
    if not is_local or url.port is None:
        raise Problem(
            f"{base_url} is not an address of this machine with a port, like http://127.0.0.1:8000/v1"
        )
    return host, url.port, url.path.rstrip("/")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--api-key", default="x")
    parser.add_argument("--model", default="llmatic-tiny")
    parser.add_argument("--chat", action="store_true", help="ask /chat/completions, not /completions")
    parser.add_argument("-c", "--concurrency", type=int, default=8)
    parser.add_argument("-n", "--requests", type=int, default=32)
    parser.add_argument("--prompt-words", type=int, default=64)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--rng", type=int, default=1, help="decides the prompts")
    parser.add_argument("--extra", type=json.loads, default={}, help="more fields of the request, as JSON")


def run(arguments: argparse.Namespace) -> Report:
    host, port, prefix = loopback(arguments.base_url)
    work = Work(
        n_requests=arguments.requests,
        concurrency=arguments.concurrency,
        n_prompt_words=arguments.prompt_words,
        max_tokens=arguments.max_tokens,
        temperature=arguments.temperature,
        endpoint="chat/completions" if arguments.chat else "completions",
        model=arguments.model,
        rng=arguments.rng,
        extra=arguments.extra,
    )
    found = asdict(figures(*asyncio.run(load(host, port, work, prefix=prefix, key=arguments.api_key))))
    bars = [Bar("failed requests", found["n_failed"], "at most", 0)]
    return Report("loadgen", ("figure", "value"), list(found.items()), bars)
