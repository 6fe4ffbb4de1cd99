"""/v1/embeddings beside sentence-transformers in a process of its own, on the same model, turn about.

bulk: long lists in requests of 64, a few at once. callers: 64 at once, each with one short text after
another; the library calls `encode` for one at a time. single: one such caller. behind: one such caller while
a request with a long list runs. Who goes first alternates from round to round.
"""

import argparse
import asyncio
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from scripts.bench import encoders, keepalive, library, processes
from scripts.bench.duel import QUIET, Turn, median, ratio
from scripts.bench.encoders import DEFAULT, Texts, request
from scripts.bench.keepalive import Connection
from scripts.bench.library import NAME as LIBRARY
from scripts.bench.library import Library
from scripts.bench.loadgen import quantile_ms
from scripts.bench.report import Bar, Report
from scripts.bench.servers import Server

PARTS = ("bulk", "callers", "single", "behind")
PER_REQUEST, IN_FLIGHT = 64, 4
N_BATCHES = 11
LONGEST_PAUSE_S = 0.04
Figures = dict[str, float]
Side = Callable[[int], Figures]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    encoders.add_arguments(parser)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=2048, help="of the long lists; default: %(default)s")
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--each", type=int, default=20, help="texts of each caller; default: %(default)s")
    parser.add_argument("--singles", type=int, default=200, help="texts of the one caller")


def run(arguments: argparse.Namespace) -> Report:
    turns: list[Turn] = []
    with (
        library.running(encoders.folder(), arguments.cache, threads=arguments.threads) as rival,
        encoders.serving(arguments) as server,
    ):
        for part in arguments.parts:
            turns += _play(part, arguments, server, rival)
    bars = judge(turns, arguments.parts, arguments.variants)
    return _report(turns, bars, arguments)


def judge(turns: Sequence[Turn], parts: Iterable[str], variants: Sequence[str]) -> list[Bar]:
    """The bars of those parts and variants that were run."""
    found: list[Bar] = []
    for part in parts:
        of_part = [turn for turn in turns if turn.model == part]
        others = [name for name in variants if name != "torch"]
        if part == "bulk":
            if "torch" in variants:
                found.append(_bar("bulk, torch: texts a second, ratio", of_part, "bulk/s", "torch", 0.95))
            best = max((ratio(of_part, "bulk/s", name, LIBRARY) for name in others), default=math.nan)
            if others:
                found.append(Bar("bulk, best other backend: texts a second, ratio", best, "at least", 1.8))
        elif DEFAULT in variants:
            found += _default_bars(part, of_part)
    return found


def _default_bars(part: str, turns: Sequence[Turn]) -> list[Bar]:
    """The bars that the shipped configuration has to keep."""
    if part == "callers":
        late = median(turns, "callers p95 ms", DEFAULT) / median(turns, "batch ms", DEFAULT)
        return [
            _bar("64 callers: texts a second, ratio to one by one", turns, "callers/s", DEFAULT, 6.0),
            Bar("64 callers: p95 over the time of one full batch", late, "at most", 2.0),
        ]
    if part == "single":
        return [_bar("one caller: texts a second, ratio", turns, "single/s", DEFAULT, 2.5)]
    late = median(turns, "behind p95 ms", DEFAULT) / median(turns, "idle p95 ms", DEFAULT)
    return [Bar("short text behind a long list: p95 over its p95 on an idle server", late, "at most", 5.0)]


def _bar(name: str, turns: Sequence[Turn], figure: str, variant: str, bound: float) -> Bar:
    return Bar(name, ratio(turns, figure, variant, LIBRARY), "at least", bound)


def _play(part: str, arguments: argparse.Namespace, server: Server, rival: Library) -> Iterator[Turn]:
    """Every side's turn in every round of one part, the same texts for all sides of a round."""
    sides: dict[str, Side] = {}
    for name in arguments.variants:
        sides[name] = _served(part, name, arguments, server)
    if part != "behind":
        sides[LIBRARY] = _in_process(part, arguments, rival)
    for number in range(arguments.rounds + 1):
        order = list(sides) if number % 2 else list(reversed(sides))
        for name in order:
            watch = processes.CpuWatch(rival.pid if name == LIBRARY else server.pid)
            figures = sides[name](number)
            if number == 0:  # to warm up: buffers grow, slices are calibrated
                continue
            words = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
            print(f"bench: {part}, round {number} of {arguments.rounds}: {name} {words}", file=sys.stderr)
            yield Turn(part, number, name, figures, watch.stop().foreign_share)


def _texts(part: str, arguments: argparse.Namespace, number: int) -> Texts:
    return Texts(random.Random(f"{arguments.rng} {part} {number}"))


def _count(whole: int, number: int) -> int:
    """The warming round is a quarter as long."""
    return whole if number else max(1, whole // 4)


def _in_process(part: str, arguments: argparse.Namespace, rival: Library) -> Side:
    def turn(number: int) -> Figures:
        texts = _texts(part, arguments, number)
        if part == "bulk":
            n = _count(arguments.texts, number)
            return {"bulk/s": n / rival.encode(texts.mixed(n), batch_size=32)}
        n = _count(arguments.singles, number)
        each_s = rival.one_by_one(texts.short(n))
        figures = {f"{part}/s": n / sum(each_s)}
        return figures if part == "callers" else {**figures, "single p50 ms": quantile_ms(each_s, 0.5)}

    return turn


def _served(part: str, model: str, arguments: argparse.Namespace, server: Server) -> Side:
    def turn(number: int) -> Figures:
        texts = _texts(part, arguments, number)
        n_texts, n_singles = _count(arguments.texts, number), _count(arguments.singles, number)
        if part == "bulk":
            return keepalive.run(bulk(server.port, model, texts.mixed(n_texts)))
        if part == "callers":
            each = _count(arguments.each, number)
            shorts = [texts.short(each) for _ in range(arguments.callers)]
            return keepalive.run(callers(server.port, model, shorts))
        if part == "single":
            return keepalive.run(single(server.port, model, texts.short(n_singles)))
        return keepalive.run(behind(server.port, model, texts.mixed(n_texts), texts.short(n_singles)))

    return turn


async def bulk(port: int, model: str, texts: Sequence[str]) -> Figures:
    """All texts in requests of 64, four at once."""
    requests = iter([request(model, texts[k : k + PER_REQUEST]) for k in range(0, len(texts), PER_REQUEST)])

    async def client(connection: Connection) -> None:
        for body in requests:
            await connection.ask(body)

    connections = [await Connection.open(port) for _ in range(IN_FLIGHT)]
    start_s = time.perf_counter()
    await asyncio.gather(*map(client, connections))
    took_s = time.perf_counter() - start_s
    _close(connections)
    return {"bulk/s": len(texts) / took_s}


async def callers(port: int, model: str, shorts: Sequence[Sequence[str]]) -> Figures:
    """One caller for each list of texts; then the same number of texts in one request, several times."""
    connections = [await Connection.open(port) for _ in shorts]
    times = [
        (connection, [request(model, [text]) for text in texts])
        for connection, texts in zip(connections, shorts, strict=True)
    ]
    start_s = time.perf_counter()
    each = await asyncio.gather(*(_one_after_another(*one) for one in times))
    took_s = time.perf_counter() - start_s
    batch = request(model, [texts[0] for texts in shorts])
    batch_s = await _one_after_another(connections[0], [batch] * N_BATCHES)
    _close(connections)
    waits = [wait for waits in each for wait in waits]
    return {
        "callers/s": len(waits) / took_s,
        "callers p95 ms": quantile_ms(waits, 0.95),
        "batch ms": statistics.median(batch_s) * 1e3,
    }


async def single(port: int, model: str, texts: Sequence[str]) -> Figures:
    """One caller, one text at a time."""
    connection = await Connection.open(port)
    waits = await _one_after_another(connection, [request(model, [text]) for text in texts])
    connection.close()
    return {"single/s": len(waits) / sum(waits), "single p50 ms": quantile_ms(waits, 0.5)}


async def behind(port: int, model: str, long: Sequence[str], short: Sequence[str]) -> Figures:
    """One caller on an idle server, then until the one request with the long list has been answered.

    With pauses, so that texts come at any moment of a slice; and without any: whoever asks again at once
    always finds that a slice of the long list has just begun.
    """
    first, second = await Connection.open(port), await Connection.open(port)
    requests = [request(model, [text]) for text in short]
    pauses = random.Random(0)
    found: dict[str, list[float]] = {
        name: [] for name in ("idle", "behind", "idle at once", "behind at once")
    }
    for body in requests:
        found["idle"] += await _after_a_pause(first, body, pauses)
    found["idle at once"] = await _one_after_another(first, requests)
    for name in ("behind", "behind at once"):
        running = asyncio.create_task(second.ask(request(model, long)))
        waits = found[name]
        while not running.done():
            body = requests[len(waits) % len(requests)]
            if name == "behind":
                waits += await _after_a_pause(first, body, pauses)
            else:
                waits += await _one_after_another(first, [body])
        await running
    _close([first, second])
    figures: Figures = {}
    for name, waits in found.items():
        figures |= {f"{name} p50 ms": quantile_ms(waits, 0.5), f"{name} p95 ms": quantile_ms(waits, 0.95)}
    return figures | {"behind n": len(found["behind"])}


async def _after_a_pause(connection: Connection, body: bytes, pauses: random.Random) -> list[float]:
    await asyncio.sleep(pauses.random() * LONGEST_PAUSE_S)
    return await _one_after_another(connection, [body])


async def _one_after_another(connection: Connection, requests: Iterable[bytes]) -> list[float]:
    """Seconds that each took."""
    waits = []
    for body in requests:
        start_s = time.perf_counter()
        await connection.ask(body)
        waits.append(time.perf_counter() - start_s)
    return waits


def _close(connections: Iterable[Connection]) -> None:
    for connection in connections:
        connection.close()


def _report(turns: Sequence[Turn], bars: Sequence[Bar], arguments: argparse.Namespace) -> Report:
    """One row for each part and side: medians over the rounds, and the ratio to the library."""
    rows = []
    for part in arguments.parts:
        of_part = [turn for turn in turns if turn.model == part]
        for side in dict.fromkeys(turn.side for turn in of_part):
            mine = [turn for turn in of_part if turn.side == side]
            medians = {key: median(mine, key, side) for key in mine[0].figures}
            rate = next(iter(medians))
            beside = ratio(of_part, rate, side, LIBRARY) if rate.endswith("/s") else math.nan
            rows.append((part, side, _words(medians), round(beside, 3) if beside == beside else ""))
    disturbed = sum(turn.foreign > QUIET for turn in turns)
    facts: Mapping[str, object] = {
        "rounds": arguments.rounds,
        "threads": arguments.threads,
        "texts": arguments.texts,
        "disturbed_turns": disturbed,
        "turns": len(turns),
        "machine": processes.machine(),
    }
    return Report("embeddings", ("part", "side", "medians", "beside the library"), rows, bars, dict(facts))


def _words(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
