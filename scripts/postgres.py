"""A PostgreSQL server of our own in a folder, reached by a socket in it: for tests and benchmarks.

Owns how Debian's packages are started; as root the server runs as the user `postgres`. Blocks. Nothing of it
is reached from outside this machine.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

# Newest first; a client's package has a folder of its own, without a server.
BINARIES: Final = sorted(
    (server.parent for server in Path("/usr/lib/postgresql").glob("*/bin/postgres")),
    key=lambda folder: float(folder.parent.name),
    reverse=True,
)


class Postgres:
    """A server in a folder. `settings`: as in postgresql.conf."""

    def __init__(self, folder: Path, binaries: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._binaries = binaries
        self._settings = settings or {}

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs. Raises AssertionError with its words if it fails."""
        command = [str(self._binaries / program), *arguments]
        if shutil.which("runuser") and os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def make(self) -> None:
        """The files of an empty server."""
        self.run("initdb", "-D", str(self.folder / "data"), "-U", "postgres", "-A", "trust", "--no-sync")

    def start(self) -> None:
        """Returns once it answers."""
        settings = {"listen_addresses": "''", "unix_socket_directories": str(self.folder), **self._settings}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        log = str(self.folder / "log")
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-l", log, "-w", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """`mode`: as pg_ctl has it; "immediate" is a crash."""
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")

    def is_running(self) -> bool:
        """Whether it was started and neither stopped nor died."""
        return (self.folder / "data" / "postmaster.pid").exists()

    def fresh_url(self) -> str:
        """An empty database."""
        name = f"t{uuid4().hex}"
        self.run("createdb", "-h", str(self.folder), "-U", "postgres", name)
        return f"postgresql://postgres@/{name}?host={self.folder}"


@contextmanager
def own_postgres(settings: Mapping[str, str] | None = None) -> Generator[Postgres]:
    """A running server in a temporary folder, of which nothing is left in the end. Needs `BINARIES`."""
    folder = Path(tempfile.mkdtemp(prefix="llmatic-pg-"))  # short: a socket's path has at most 107 bytes
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    server = Postgres(folder, BINARIES[0], settings)
    try:
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder)
