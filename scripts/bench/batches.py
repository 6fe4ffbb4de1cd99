"""Batches beside live traffic: what the file of requests costs, and what it does to those who talk meanwhile.

time: short texts through /v1/embeddings, one per request over connections that stay open, beside the same
texts as a batch, from its creation to its end; turn about. first: a chat's first token on an idle server,
then while a batch of chats runs on its model, then while one of embeddings runs on another model too.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts.bench import encoders, keepalive, models, processes, servers
from scripts.bench.batch_client import Client
from scripts.bench.duel import QUIET, Turn, median, ratio
from scripts.bench.encoders import Texts
from scripts.bench.keepalive import Connection
from scripts.bench.loadgen import WORDS, quantile_ms
from scripts.bench.problem import Problem
from scripts.bench.report import Bar, Report
from scripts.bench.servers import HOST, Server
from scripts.bench.sse import Reply, exchange, http_request

PARTS = ("time", "first")
ENCODER, TINY = "all-MiniLM-L6-v2", "llmatic-tiny"
IDLE, CHATS, BOTH = "idle", "chats", "chats + embeddings"
LIVE, BATCH = "live", "batch"
TIME_RATIO, FIRST_RATIO = 1.10, 1.5
LONGEST_PAUSE_S = 0.2
TIMEOUT_S = 120.0
Figures = dict[str, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lines", type=int, default=5000, help="of the timed batch; default: %(default)s")
    parser.add_argument(
        "--callers",
        type=int,
        nargs="+",
        default=[64, 128],
        help="at once; the best counts: %(default)s",
    )
    parser.add_argument(
        "--models",
        nargs="+",
        default=[TINY, "half"],
        help=f"that are talked to: {TINY}, shapes or GGUF files; default: %(default)s",
    )
    parser.add_argument("--chats", type=int, default=12, help="live ones in a window; default: %(default)s")
    parser.add_argument("--words", type=int, default=48, help="of a live prompt; default: %(default)s")
    parser.add_argument("--max-tokens", type=int, default=16, help="of a live answer; default: %(default)s")
    parser.add_argument("--batch-words", type=int, default=200, help="of a batch's prompts: %(default)s")
    parser.add_argument("--batch-tokens", type=int, default=32, help="of a batch's answers: %(default)s")


def run(arguments: argparse.Namespace) -> Report:
    turns: list[Turn] = []
    bars: list[Bar] = []
    if "time" in arguments.parts:
        with _serving(arguments, {}) as server:
            found = list(_timed(arguments, server))
        turns += found
        bars.append(Bar("time of a batch, ratio", ratio(found, "s", BATCH, LIVE), "at most", TIME_RATIO))
    for name in arguments.models if "first" in arguments.parts else ():
        with _serving(arguments, _text_model(arguments, name)) as server:
            found = list(_watched(arguments, name, server))
        turns += found
        for side in (CHATS, BOTH):
            late = median(found, "first ms", side) / median(found, "first ms", IDLE)
            bars.append(Bar(f"{name}: first token beside {side}, ratio", late, "at most", FIRST_RATIO))
    return _report(turns, bars, arguments)


class _serving:
    """Our server with the encoder and one more model, on a database of its own."""

    def __init__(self, arguments: argparse.Namespace, more: Mapping[str, Mapping[str, Any]]) -> None:
        encoder = {"engine": "sentence", "source": str(encoders.folder()), "threads": arguments.threads}
        self._cache, self._models = arguments.cache, {ENCODER: encoder, **more}

    def __enter__(self) -> Server:
        self._folder = tempfile.TemporaryDirectory(prefix="batches-", dir=self._cache)
        environ = {"LLMATIC_STORE__FOLDER": self._folder.name}
        self._server = servers.ours(self._cache, self._models, name="llmatic-batches", environ=environ)
        server = self._server.__enter__()
        keepalive.run(encoders.vectors(server.port, ENCODER, ["to load it"]))
        return server

    def __exit__(self, *_: object) -> None:
        self._server.__exit__(None, None, None)
        self._folder.cleanup()


def _text_model(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    if name == TINY:  # as the default configuration has it
        tiny = {"engine": "llama", "source": f"builtin:{TINY}", "context": 8192, "parallel": 16, "threads": 1}
        return {name: {**tiny, "preload": True}}
    source = str(models.find(name, arguments.cache))
    size = {"context": 8192, "parallel": 8, "threads": arguments.threads}
    return {name: {"engine": "llama", "source": source, "preload": True, **size}}


# time


def _timed(arguments: argparse.Namespace, server: Server) -> Iterator[Turn]:
    texts = Texts(random.Random("batches"))
    best = _best_callers(arguments, server, texts)
    for number in range(1, arguments.rounds + 1):
        shorts = texts.short(arguments.lines)
        for side in (LIVE, BATCH) if number % 2 else (BATCH, LIVE):
            watch = processes.CpuWatch(server.pid)
            if side == LIVE:
                figures: Figures = {"s": _live_s(server, shorts, best), "callers": best}
            else:
                figures = _batch_s(server, shorts)
            yield _told(Turn("time", number, side, figures, watch.stop().foreign_share))


def _best_callers(arguments: argparse.Namespace, server: Server, texts: Texts) -> int:
    """With how many callers the live texts are answered soonest. Also warms up."""
    _batch_s(server, texts.short(arguments.lines // 10))
    tried = {}
    for n_callers in arguments.callers:
        tried[n_callers] = _live_s(server, texts.short(arguments.lines // 4), n_callers)
    return min(tried, key=lambda n: tried[n])


def _live_s(server: Server, texts: Sequence[str], n_callers: int) -> float:
    requests = iter([encoders.request(ENCODER, [text]) for text in texts])

    async def caller(connection: Connection) -> None:
        for request in requests:
            await connection.ask(request)

    async def all_callers() -> float:
        connections = [await Connection.open(server.port) for _ in range(n_callers)]
        start_s = time.perf_counter()
        await asyncio.gather(*map(caller, connections))
        took_s = time.perf_counter() - start_s
        for connection in connections:
            connection.close()
        return took_s

    return keepalive.run(all_callers())


def _batch_s(server: Server, texts: Sequence[str]) -> Figures:
    with Client(server.port) as client:
        bodies = ({"model": ENCODER, "input": text, "encoding_format": "base64"} for text in texts)
        start_s = time.perf_counter()
        file_id = client.upload("/v1/embeddings", bodies)
        uploaded_s = time.perf_counter()
        batch = client.ended(client.create(file_id, "/v1/embeddings"), TIMEOUT_S)
        took_s = time.perf_counter() - uploaded_s
        if batch["request_counts"]["completed"] != len(texts):
            raise Problem(f"the batch ended with {batch['request_counts']}, {batch['errors']}")
        return {"s": took_s, "upload s": uploaded_s - start_s}


# first


def _watched(arguments: argparse.Namespace, name: str, server: Server) -> Iterator[Turn]:
    with Client(server.port) as client:
        rng = random.Random(name)
        chats, vectors = _chat_file(arguments, client, name, rng), _vector_file(client)
        asyncio.run(_talk(arguments, name, server, rng, 3))
        for number in range(1, arguments.rounds + 1):
            order = (IDLE, CHATS, BOTH) if number % 2 else (BOTH, CHATS, IDLE)
            for side in order:
                running = []
                if side != IDLE:
                    running.append(client.create(chats, "/v1/chat/completions"))
                if side == BOTH:
                    running.append(client.create(vectors, "/v1/embeddings"))
                before = [client.begun(batch_id, TIMEOUT_S) for batch_id in running]
                start_s = time.perf_counter()
                watch = processes.CpuWatch(server.pid)
                replies = asyncio.run(_talk(arguments, name, server, rng, arguments.chats))
                foreign = watch.stop().foreign_share
                took_s = time.perf_counter() - start_s
                figures = _figures(replies)
                for batch_id, n_before, what in zip(running, before, ("chats/s", "texts/s"), strict=False):
                    figures[what] = (client.cancelled(batch_id, TIMEOUT_S) - n_before) / took_s
                yield _told(Turn(f"first {name}", number, side, figures, foreign))


def _chat_file(arguments: argparse.Namespace, client: Client, name: str, rng: random.Random) -> str:
    n_lines = 20_000 if name == TINY else 2_000
    bodies = (
        {
            "model": name,
            "messages": [{"role": "user", "content": _prose(rng, arguments.batch_words)}],
            "max_tokens": arguments.batch_tokens,
            "ignore_eos": True,
        }
        for _ in range(n_lines)
    )
    return client.upload("/v1/chat/completions", bodies)


def _vector_file(client: Client) -> str:
    texts = Texts(random.Random("vectors")).short(20_000)
    return client.upload("/v1/embeddings", ({"model": ENCODER, "input": text} for text in texts))


def _prose(rng: random.Random, n_words: int) -> str:
    return " ".join([f"[{rng.randrange(10**6)}]", *rng.choices(WORDS, k=n_words)])


async def _talk(
    arguments: argparse.Namespace, name: str, server: Server, rng: random.Random, n_chats: int
) -> list[Reply]:
    """One chat after another, with pauses, so that they come at any moment of a step."""
    replies = []
    for _ in range(n_chats):
        body = {
            "model": name,
            "messages": [{"role": "user", "content": _prose(rng, arguments.words)}],
            "max_tokens": arguments.max_tokens,
            "stream": True,
            "ignore_eos": True,
        }
        request = http_request("/v1/chat/completions", json.dumps(body).encode(), HOST, "x")
        await asyncio.sleep(rng.random() * LONGEST_PAUSE_S)
        reply = await exchange(HOST, server.port, request, timeout_s=TIMEOUT_S)
        if not reply.complete:
            raise Problem(f"a live chat failed: {reply.error}; see {server.log}")
        replies.append(reply)
    return replies


def _figures(replies: Sequence[Reply]) -> Figures:
    firsts = [reply.first_s for reply in replies if reply.first_s is not None]
    gaps = [gap for reply in replies for gap in reply.gaps_s]
    return {
        "first ms": quantile_ms(firsts, 0.5),
        "first p95 ms": quantile_ms(firsts, 0.95),
        "gap ms": quantile_ms(gaps, 0.5),
        "gap p99 ms": quantile_ms(gaps, 0.99),
    }


def _told(turn: Turn) -> Turn:
    words = ", ".join(f"{name} {value:.4g}" for name, value in turn.figures.items())
    print(f"bench: {turn.model}, round {turn.round}: {turn.side} {words}", file=sys.stderr, flush=True)
    return turn


def _report(turns: Sequence[Turn], bars: Sequence[Bar], arguments: argparse.Namespace) -> Report:
    """One row for each part and side: medians over the rounds."""
    rows = []
    for part, side in dict.fromkeys((turn.model, turn.side) for turn in turns):
        mine = [turn for turn in turns if (turn.model, turn.side) == (part, side)]
        names = dict.fromkeys(name for turn in mine for name in turn.figures)
        words = (f"{name} {statistics.median(turn.figures[name] for turn in mine):.4g}" for name in names)
        rows.append((part, side, ", ".join(words)))
    facts = {
        "rounds": arguments.rounds,
        "lines": arguments.lines,
        "threads": arguments.threads,
        "disturbed_turns": sum(turn.foreign > QUIET for turn in turns),
        "turns": len(turns),
        "machine": processes.machine(),
    }
    return Report("batches", ("part", "side", "medians"), rows, bars, facts)
