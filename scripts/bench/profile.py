"""What a step costs beside llama.cpp: planning, drawing, text, telling; per token and as a share of the step.

The engine runs in this process, without server and worker; its events are encoded as a worker does it, and
dropped. Functions are wrapped to take their own time, less what wrapped functions inside them take. Counted
is the stretch in which all streams write: from the last one's second piece of text to the first end.
"""

import argparse
import functools
import importlib
import json
import random
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.bench import models, processes
from scripts.bench.problem import Problem
from scripts.bench.report import Bar, Report
from scripts.bench.vocabulary import Words, words_of

CONTEXT = 16384
N_PROMPT = 55
TIMEOUT_S = 300.0
ENGINE, LLAMA_CPP, SAMPLING = "the rest", "llama.cpp", "sampling"
LLAMA = "llmatic.engines.llama"
PARTS = {
    "planning": (
        f"{LLAMA}.scheduler:Scheduler",
        ("prepare", "plan", "commit", "append", "accept", "finish", "take_effects"),
    ),
    "pace": (f"{LLAMA}.pace:Pace", ("observe", "prefill_rows")),
    "drafting": (f"{LLAMA}.speculation:Speculation", ("propose", "observe")),
    SAMPLING: (f"{LLAMA}.sampling:Sampler", ("sample",)),
    "text": (f"{LLAMA}.answers:Answer", ("accept",)),
    "batch": (f"{LLAMA}.backend:Backend", ("decode", "logits", "use")),
    "telling": (f"{LLAMA}.engine:LlamaEngine", ("_tell",)),
    LLAMA_CPP: ("llama_cpp", ("llama_decode", "llama_synchronize", "llama_get_logits")),
}
SAMPLINGS: dict[str, dict[str, Any]] = {
    "default": {"temperature": 0.8},
    "top_k": {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05},
    "greedy": {"temperature": 0.0},
}
SHARE, MICROSECONDS = 0.05, 60.0
COLUMNS = ("model", "sampling", "streams", "part", "us per token", "% of step")


class Meter:
    """Seconds that each part took itself. One thread calls what is wrapped."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._clock = clock
        self._inner = [0.0]

    def wrap(self, owner: Any, name: str, part: str) -> None:
        """Replace a function of a class or module by one that takes its time."""
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            inner, clock = self._inner, self._clock
            inner.append(0.0)
            began = clock()
            try:
                return function(*args, **kwargs)
            finally:
                took = clock() - began
                self.seconds[part] += took - inner.pop()
                inner[-1] += took

        setattr(owner, name, timed)


@dataclass
class Stretch:
    """Wall seconds, tokens and seconds by part between two moments."""

    wall_s: float
    n_tokens: int
    parts: Mapping[str, float]


class Watch:
    """Takes the events of the steps and finds the stretch in which all streams write. The engine's thread."""

    def __init__(self, meter: Meter, n_streams: int) -> None:
        self._meter, self._n_streams = meter, n_streams
        self._pieces: Counter[str] = Counter()
        self._n_tokens = 0
        self._began: tuple[float, int, dict[str, float]] | None = None
        self._n_ended = 0
        self.stretch: Stretch | None = None
        self.error: object = None
        self.done = threading.Event()

    def on_step(self, events: Sequence[tuple[str, Any]]) -> None:
        """As the engine calls it."""
        from llmatic.core.types import Delta, Finished, Started
        from llmatic.workers import protocol, wire

        protocol.encode(protocol.EVENTS, [wire.event_to_wire(1, event) for _, event in events])
        for name, event in events:
            if isinstance(event, Delta):
                self._pieces[name] += 1
                self._n_tokens += event.n_tokens
                if event.finish_reason is not None:
                    self._end()
            elif not isinstance(event, Started):
                self._n_ended += 1
                self.error = self.error or (None if isinstance(event, Finished) else event)
        if self._began is None and sum(count >= 2 for count in self._pieces.values()) == self._n_streams:
            self._began = (time.perf_counter(), self._n_tokens, dict(self._meter.seconds))
        if self._n_ended == self._n_streams:
            self.done.set()

    def _end(self) -> None:
        if self._began is None or self.stretch is not None:
            return
        began_s, n_before, before = self._began
        parts = {part: s - before.get(part, 0.0) for part, s in self._meter.seconds.items()}
        self.stretch = Stretch(time.perf_counter() - began_s, self._n_tokens - n_before, parts)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", nargs="+", default=["half"], help="shapes, or GGUF files")
    parser.add_argument("--streams", nargs="+", type=int, default=[1, 16, 32])
    parser.add_argument("--sampling", nargs="+", choices=list(SAMPLINGS), default=["default", "greedy"])
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1, help="the figures are those of all together")
    parser.add_argument("--options", type=json.loads, default={}, help="engine options, as a JSON object")


def run(arguments: argparse.Namespace) -> Report:
    meter = Meter()
    for part, (place, names) in PARTS.items():
        _wrap(meter, part, place, names)
    rows: list[tuple[Any, ...]] = []
    bars: list[Bar] = []
    for name in arguments.models:
        model = models.find(name, arguments.cache)
        words = words_of(model)
        for streams in arguments.streams:
            for sampling in arguments.sampling:
                stretch = _measure(arguments, meter, model, words, streams, sampling)
                case = (model.stem, sampling, streams)
                rows += table(case, stretch)
                own = cost(stretch)
                print(
                    f"bench: {model.stem}, {streams} streams, {sampling}: {own['with']:.1f} us per token, "
                    f"{own['without']:.1f} without sampling, {own['share']:.1%} of the step",
                    file=sys.stderr,
                    flush=True,
                )
                if streams == max(arguments.streams):
                    bars += judge(case, own)
    facts = {"context": CONTEXT, "threads": arguments.threads, "options": arguments.options}
    facts["machine"] = processes.machine()
    return Report("profile", COLUMNS, rows, bars, facts)


def cost(stretch: Stretch) -> dict[str, float]:
    """Microseconds per token beside llama.cpp, with and without sampling, and their share of the step."""
    own_s = stretch.wall_s - stretch.parts.get(LLAMA_CPP, 0.0)
    per_token = 1e6 / max(1, stretch.n_tokens)
    without_s = own_s - stretch.parts.get(SAMPLING, 0.0)
    return {
        "with": own_s * per_token,
        "without": without_s * per_token,
        "share": own_s / stretch.wall_s,
        "share without": without_s / stretch.wall_s,
    }


def judge(case: tuple[str, str, int], own: dict[str, float]) -> list[Bar]:
    """The bars of the case with the most streams."""
    title = f"{case[0]}, {case[2]} streams, {case[1]}"
    return [
        Bar(f"{title}: share of the step beside llama.cpp", own["share"], "at most", SHARE),
        Bar(f"{title}: per token without sampling", own["without"], "at most", MICROSECONDS, "us"),
    ]


def table(case: tuple[str, str, int], stretch: Stretch) -> list[tuple[Any, ...]]:
    """The parts under COLUMNS, and what none of them holds."""
    known = sum(stretch.parts.values())
    parts = {**stretch.parts, ENGINE: max(0.0, stretch.wall_s - known)}
    return [
        (
            *case,
            part,
            round(seconds / max(1, stretch.n_tokens) * 1e6, 2),
            round(seconds / stretch.wall_s * 100, 2),
        )
        for part, seconds in sorted(parts.items(), key=lambda item: -item[1])
    ]


def _wrap(meter: Meter, part: str, place: str, names: Sequence[str]) -> None:
    module_name, _, class_name = place.partition(":")
    owner: Any = importlib.import_module(module_name)
    if class_name:
        owner = getattr(owner, class_name, None)
    for name in names:
        if owner is None or not hasattr(owner, name):
            print(f"bench: there is no {place}.{name}; its time counts as '{ENGINE}'", file=sys.stderr)
        else:
            meter.wrap(owner, name, part)


def _measure(
    arguments: argparse.Namespace, meter: Meter, model: Path, words: Words, streams: int, sampling: str
) -> Stretch:
    """All rounds of one case, added up."""
    import asyncio

    from llmatic.config import ModelSpec
    from llmatic.core.types import GenerationRequest, SamplingParams, TextPrompt
    from llmatic.engines.llama.engine import LlamaEngine

    spec = ModelSpec(
        id="bench",
        source=str(model),
        context=CONTEXT,
        parallel=streams,
        threads=arguments.threads,
        options=arguments.options,
    )
    engine = LlamaEngine(spec)
    stretches: list[Stretch] = []
    try:
        for number in range(arguments.rounds):
            watch = Watch(meter, streams)
            engine.start(watch.on_step)
            rng = random.Random(f"profile {number}")
            for stream in range(streams):
                request = GenerationRequest(
                    id=f"{number}-{stream}",
                    prompt=TextPrompt(words.prose(rng, N_PROMPT)),
                    sampling=SamplingParams(**SAMPLINGS[sampling]),
                    max_tokens=arguments.max_tokens,
                    ignore_eos=True,
                )
                engine.submit(request)
            if not watch.done.wait(TIMEOUT_S) or watch.error is not None or watch.stretch is None:
                raise Problem(f"{streams} streams did not all write at once: {watch.error or 'no end'}")
            stretches.append(watch.stretch)
    finally:
        asyncio.run(engine.close())
    return Stretch(
        wall_s=sum(one.wall_s for one in stretches),
        n_tokens=sum(one.n_tokens for one in stretches),
        parts={part: sum(one.parts[part] for one in stretches) for part in stretches[0].parts},
    )
