"""Beside llama-cpp-python's own server, which answers one request at a time: sixteen streams at once.

It runs in an environment of its own with the packages that it needs more, and takes llama_cpp from ours, so
that both run the same library. Only the ratio is told; there is no bar.
"""

import argparse
import asyncio
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from scripts.bench import duel, loadgen, models, servers
from scripts.bench.problem import Problem
from scripts.bench.report import Report
from scripts.bench.servers import Server

NAME = "llama_cpp.server"
PACKAGES = ("uvicorn", "fastapi", "pydantic-settings", "sse-starlette", "starlette-context<0.4", "PyYAML")
CONTEXT, N_WORDS = 16384, 52


def add_arguments(parser: argparse.ArgumentParser) -> None:
    duel.add_arguments(parser, models=["half"], rounds=1)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=64)


def run(arguments: argparse.Namespace) -> Report:
    python = environment(arguments.cache)
    turns: list[duel.Turn] = []
    ratios: dict[str, float] = {}
    for name in arguments.models:
        model = models.find(name, arguments.cache)
        with (
            duel.ours(arguments, model, context=CONTEXT, parallel=arguments.streams) as first,
            _server(arguments, python, model) as second,
        ):

            def act(server: Server, number: int) -> Mapping[str, float]:
                return asyncio.run(_act(arguments, server, number))

            found = duel.play(model.stem, [first, second], arguments.rounds, act)
        turns += found
        ratios[model.stem] = round(duel.ratio(found, "tok/s", duel.OURS, NAME), 4)
        print(f"bench: {model.stem}: median ratio {ratios[model.stem]}", file=sys.stderr)
    return duel.report("python-server", turns, [], arguments, ratios=ratios, streams=arguments.streams)


def environment(cache: Path) -> Path:
    """The Python of an environment with the server's packages, made once; llama_cpp comes from ours."""
    folder = cache / "python-server"
    python = folder / "bin" / "python"
    done = folder / "complete"
    if done.is_file():
        return python
    print(f"bench: making {folder}", file=sys.stderr)
    venv.create(folder, with_pip=True, clear=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES]
    if subprocess.run(install, stdout=sys.stderr).returncode:
        raise Problem(f"this failed, its words stand above: {' '.join(install)}")
    # Behind the environment's own packages on the path, and only now, so that pip does not touch ours.
    own = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (own / "behind.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    done.touch()
    return python


@contextmanager
def _server(arguments: argparse.Namespace, python: Path, model: Path) -> Generator[Server]:
    port = servers.free_port()
    options = {
        "model": model,
        "n_ctx": CONTEXT,
        "n_threads": arguments.threads,
        "n_threads_batch": arguments.threads,
        "interrupt_requests": False,  # else every new request ends the one that is being answered
        "host": servers.HOST,
        "port": port,
    }
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    command = [str(python), "-m", "llama_cpp.server", *words]
    with servers.running(NAME, command, port, arguments.cache, "/v1/models") as server:
        yield server


async def _act(arguments: argparse.Namespace, server: Server, number: int) -> dict[str, float]:
    """A closed loop of one request for each stream; without a usage block, events count as tokens."""
    work = loadgen.Work(
        arguments.streams, arguments.streams, N_WORDS, max_tokens=arguments.max_tokens, rng=number
    )
    replies, wall_s = await loadgen.load(servers.HOST, server.port, work)
    failed = duel.check(server, replies)
    found = loadgen.figures(replies, wall_s)
    return {"tok/s": found.tokens_per_s, "first ms": found.first_ms_p50, "s": found.wall_s, "failed": failed}
