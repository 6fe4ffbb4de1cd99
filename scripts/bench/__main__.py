"""The command line of the benchmark kit. Owns argument parsing and the exit code; the modules do the work.

    python -m scripts.bench throughput --check      one line of JSON on stdout, the table on stderr

Exit code: 0 done, 1 a bar was missed and --check was given, 2 the benchmark could not be run.
"""

import argparse
import importlib
import signal
import sys
from pathlib import Path

from scripts.bench import report
from scripts.bench.problem import Problem

COMMANDS = {
    "models": "make the random-weight models that the other commands serve",
    "rival": "build llama-server from the llama.cpp that llama-cpp-python brings",
    "throughput": "completion tokens per second beside llama-server",
    "shared_prefix": "many requests that begin with the same text, beside llama-server",
    "choices": "eight answers to one prompt, beside llama-server",
    "stalls": "what long prompts do to running streams, beside llama-server",
    "conversation": "users who talk in turns with too little cache, beside llama-server",
    "copying": "rewriting a passage with drafts from the prompt, beside llama-server",
    "constrained": "streams held to a JSON schema, beside free ones and llama-server",
    "python_server": "beside llama-cpp-python's own server",
    "determinism": "what the deterministic mode costs",
    "sampling": "what drawing a token costs, beside llama.cpp's samplers",
    "profile": "the scheduler's own cost per step and per token",
    "soak": "mixed load with cancels and killed workers: nothing lost, memory flat",
    "startup": "time of --help, size of an idle server, time to the first token",
    "embeddings": "texts a second and waits, beside sentence-transformers",
    "embedding_quality": "vectors and a small search, beside sentence-transformers",
    "embedding_memory": "memory over many texts",
    "embedding_reply": "what the server itself costs on /v1/embeddings",
    "batches": "batches beside the live API: their time, and a chat's first token meanwhile",
    "many_streams": "200 streams at once: errors, cross-talk, memory",
    "request_cost": "what keys, tokens, limits and recording add to a request",
    "validation": "what checking a request and the whole ASGI call cost",
    "kill": "kill -9 of the worker amid running streams",
    "fuzz": "generated and hand-made broken requests on every route",
    "mutations": "random sound and broken chat bodies against the embedded model",
    "store_pages": "every list and every read by id, with a million runs in SQLite and PostgreSQL",
    "transfers": "1 GB up and down through /files, beside the disk's own copying",
    "loadgen": "load any server on this machine and print what it did",
}
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "bench"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench/run", description="The benchmarks of llmatic.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name.replace("_", "-"), help=summary, description=summary)
        command.add_argument("--cache", type=Path, default=CACHE, help="for models, builds and logs")
        command.add_argument("--check", action="store_true", help="exit with 1 when a bar is missed")
        module = importlib.import_module(f"scripts.bench.{name}")
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main() -> int:
    arguments = build_parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers are stopped
    arguments.cache.mkdir(parents=True, exist_ok=True)
    try:
        result = arguments.run(arguments)
    except Problem as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    report.show(result)
    return 1 if arguments.check and not result.passed else 0


if __name__ == "__main__":
    sys.exit(main())
