"""Builds the rival, llama-server, with cmake, as optimised as the engine's own llama.cpp. Never runs it."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.bench.archive import llama_cpp_source
from scripts.bench.problem import Problem
from scripts.bench.report import Report

FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", type=Path, help="unpacked source archive of llama-cpp-python")


def run(arguments: argparse.Namespace) -> Report:
    binary = build(arguments.cache, arguments.source)
    return Report("rival", ("binary",), [(str(binary),)])


def find(cache: Path, given: Path | None) -> Path:
    """The llama-server to compare with: `given`, else the one built before."""
    binary = given or _binary(cache)
    if not binary.is_file():
        raise Problem(
            f"there is no llama-server at {binary}: scripts/bench/run rival makes it, --rival gives another"
        )
    return binary


def build(cache: Path, source: Path | None) -> Path:
    """Configure and compile; a second call only asks the build tool whether anything is left to do."""
    if shutil.which("cmake") is None:
        raise Problem(
            "cmake is needed to build llama-server (Debian, Ubuntu: apt install cmake; or pip install cmake)"
        )
    folder = cache / "rival"
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    configure = ["cmake", "-S", str(llama_cpp_source(cache, source)), "-B", str(folder), *generator, *FLAGS]
    targets = ["--target", "llama-server", "llama-batched-bench"]
    compile_ = ["cmake", "--build", str(folder), "--parallel", str(os.cpu_count() or 1), *targets]
    print("bench: building llama-server, several minutes on 2 cores", file=sys.stderr)
    for command in (configure, compile_):
        if subprocess.run(command, stdout=sys.stderr).returncode:
            raise Problem(f"this failed, its words stand above: {' '.join(command)}")
    return _binary(cache)


def _binary(cache: Path) -> Path:
    return cache / "rival" / "bin" / "llama-server"
