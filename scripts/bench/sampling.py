"""What drawing a token costs, beside llama.cpp's own samplers on the same logits.

Both sides draw from rows that are put where a decode would have left them. "flat" logits are normally
distributed, "peaked" ones have four times the spread, roughly as those of a trained model.
"""

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from scripts.bench import models, processes
from scripts.bench.report import Bar, Report

BANNED = range(151_643, 151_936)
BIAS = tuple((id, 1.0) for id in range(10))


def cases() -> dict[str, tuple[Any, list[Callable[[Any, int], Any]]]]:
    """Name → (SamplingParams, llama.cpp's chain for it, empty if it has none)."""
    from llmatic.core.types import SamplingParams

    def chain(*names: str) -> list[Callable[[Any, int], Any]]:
        return [_PARTS[name] for name in names]

    return {
        "greedy": (SamplingParams(temperature=0), chain("greedy")),
        "greedy, 5 logprobs": (SamplingParams(temperature=0, n_logprobs=5), []),
        "temperature 0.8": (SamplingParams(temperature=0.8), chain("temp", "dist")),
        "temperature 0.8, 5 logprobs": (SamplingParams(temperature=0.8, n_logprobs=5), []),
        "temperature 1": (SamplingParams(), chain("dist")),
        "temperature 1, 20 logprobs": (SamplingParams(n_logprobs=20), []),
        "top_k 40": (SamplingParams(top_k=40), chain("top_k", "dist")),
        "top_k 40, top_p 0.95": (SamplingParams(top_k=40, top_p=0.95), chain("top_k", "top_p 0.95", "dist")),
        "top_k 40, 20 logprobs": (SamplingParams(top_k=40, n_logprobs=20), []),
        "top_p 0.9": (SamplingParams(top_p=0.9), chain("top_p 0.9", "dist")),
        "min_p 0.05": (SamplingParams(min_p=0.05), chain("min_p", "dist")),
        "penalties, top_k 40": (
            SamplingParams(presence_penalty=0.5, frequency_penalty=0.5, top_k=40),
            chain("penalties", "top_k", "dist"),
        ),
        "repetition 1.1": (SamplingParams(repetition_penalty=1.1), chain("repetition", "dist")),
        "10 logit_bias, top_k 40": (
            SamplingParams(logit_bias=BIAS, top_k=40),
            chain("bias", "top_k", "dist"),
        ),
    }


_PARTS: dict[str, Callable[[Any, int], Any]] = {
    "greedy": lambda C, _: C.llama_sampler_init_greedy(),
    "dist": lambda C, _: C.llama_sampler_init_dist(1),
    "temp": lambda C, _: C.llama_sampler_init_temp(0.8),
    "top_k": lambda C, _: C.llama_sampler_init_top_k(40),
    "top_p 0.9": lambda C, _: C.llama_sampler_init_top_p(0.9, 1),
    "top_p 0.95": lambda C, _: C.llama_sampler_init_top_p(0.95, 1),
    "min_p": lambda C, _: C.llama_sampler_init_min_p(0.05, 1),
    "penalties": lambda C, n: C.llama_sampler_init_penalties(n, 64, 1.0, 0.5, 0.5),
    "repetition": lambda C, n: C.llama_sampler_init_penalties(n, 64, 1.1, 0.0, 0.0),
    "bias": lambda C, n: C.llama_sampler_init_logit_bias(
        n, len(BIAS), (C.llama_logit_bias * len(BIAS))(*BIAS)
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="small", help="whose vocabulary it is: a shape or a GGUF file")
    parser.add_argument("--draws", type=int, default=300, help="draws per figure")
    parser.add_argument("--rows", type=int, default=32, help="rows of a step, drawn by one and two threads")


def run(arguments: argparse.Namespace) -> Report:
    with _context(models.find(arguments.model, arguments.cache)) as (C, context, logits):
        sources = _sources(len(logits))
        figures: dict[tuple[str, str], tuple[float, float]] = {}
        for name, (params, parts) in cases().items():
            for kind, source in sources.items():
                ours = _ours_us(params, source, arguments.draws)
                theirs = _theirs_us(C, context, logits, parts, source, arguments.draws) if parts else 0.0
                figures[name, kind] = (ours, theirs)
        one_us, two_us = _threads_us(sources["peaked"], arguments.rows)
    rows = [
        (name, kind, round(ours, 1), round(theirs, 1) or "", round(theirs / ours, 1) if theirs else "")
        for (name, kind), (ours, theirs) in figures.items()
    ]
    worst = {
        name: max(ours / theirs for (n, _), (ours, theirs) in figures.items() if n == name)
        for name in ("greedy", "temperature 0.8", "top_p 0.9")
    }
    bars = [Bar(f"{name}: ours to llama.cpp's", share, "at most", 0.5) for name, share in worst.items()]
    facts = {
        "machine": processes.machine(),
        "n_vocab": len(logits),
        f"{arguments.rows} rows, one thread, µs": round(one_us),
        f"{arguments.rows} rows, two threads, µs": round(two_us),
    }
    return Report("sampling", ("sampling", "logits", "ours µs", "llama.cpp µs", "times"), rows, bars, facts)


@contextmanager
def _context(path: Any) -> Iterator[tuple[Any, Any, Any]]:
    """llama.cpp's functions, a context that has decoded one token, and a writable view of its logits."""
    import llama_cpp as C
    import numpy as np

    from llmatic.engines.llama.log import silence

    silence()
    C.llama_backend_init()
    model = C.llama_model_load_from_file(str(path).encode(), C.llama_model_default_params())
    params = C.llama_context_default_params()
    params.n_ctx = 64
    context = C.llama_init_from_model(model, params)
    try:
        C.llama_decode(context, C.llama_batch_get_one((C.llama_token * 1)(1), 1))
        n_vocab = C.llama_vocab_n_tokens(C.llama_model_get_vocab(model))
        yield C, context, np.ctypeslib.as_array(C.llama_get_logits(context), shape=(n_vocab,))
    finally:
        C.llama_free(context)
        C.llama_model_free(model)


def _sources(n_vocab: int) -> dict[str, Any]:
    import numpy as np

    random = np.random.default_rng(3)
    flat, peaked = random.standard_normal((2, n_vocab), dtype=np.float32)
    return {"flat": flat, "peaked": peaked * np.float32(4)}


def _median_us(draw: Callable[[], object], prepare: Callable[[], object], n: int) -> float:
    times = []
    for _ in range(n):
        prepare()
        start = time.perf_counter()
        draw()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def _ours_us(params: Any, source: Any, n: int) -> float:
    from llmatic.engines.llama.sampling import Sampler, Workspace

    row = source.copy()
    banned = [id for id in BANNED if id < len(row)]
    sampler = Sampler(params, Workspace(len(row)), seed=1, choice=0, prompt=list(range(64)), banned=banned)
    return _median_us(lambda: sampler.sample(row), lambda: row.__setitem__(slice(None), source), n)


def _theirs_us(C: Any, context: Any, logits: Any, parts: Any, source: Any, n: int) -> float:
    chain = C.llama_sampler_chain_init(C.llama_sampler_chain_default_params())
    for part in parts:
        C.llama_sampler_chain_add(chain, part(C, len(logits)))
    for id in range(64):
        C.llama_sampler_accept(chain, ctypes.c_int32(id))
    try:
        return _median_us(
            lambda: C.llama_sampler_sample(chain, context, -1),
            lambda: logits.__setitem__(slice(None), source),
            n,
        )
    finally:
        C.llama_sampler_free(chain)


def _threads_us(source: Any, n_rows: int) -> tuple[float, float]:
    """µs of drawing a step's rows at temperature 0.8 by one thread, and by two that take half each."""
    import numpy as np

    from llmatic.core.types import SamplingParams
    from llmatic.engines.llama.sampling import Sampler, Workspace

    rows = np.repeat(source[None], n_rows, 0)
    spaces = [Workspace(len(source)) for _ in range(2)]
    params = SamplingParams(temperature=0.8)
    samplers = [Sampler(params, spaces[2 * i // n_rows], seed=i, choice=0) for i in range(n_rows)]

    def draw(part: slice) -> None:
        for sampler, row in zip(samplers[part], rows[part], strict=True):
            sampler.sample(row)

    halves = [slice(0, (n_rows + 1) // 2), slice((n_rows + 1) // 2, n_rows)]
    with ThreadPoolExecutor(1) as pool:

        def both() -> None:
            other = pool.submit(draw, halves[1])
            draw(halves[0])
            other.result()

        one = _median_us(lambda: draw(slice(None)), lambda: None, 30)
        return one, _median_us(both, lambda: None, 30)
