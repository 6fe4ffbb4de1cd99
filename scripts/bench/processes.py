"""What processes cost and leave behind: memory, processor time, children, sockets. Reads only."""

import os
from dataclasses import dataclass

import psutil

WORKER_MARK = "llmatic.workers.host"


def worker_pids(server_pid: int) -> list[int]:
    """Living worker processes of a server, by their command line."""
    found = []
    for child in children(server_pid):
        try:
            if child.status() != psutil.STATUS_ZOMBIE and WORKER_MARK in child.cmdline():
                found.append(child.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def left_behind(server_pid: int) -> dict[str, int]:
    """What a server holds: child processes (zombies are among them), zombies, open files, Unix sockets."""
    server = psutil.Process(server_pid)
    descendants = children(server_pid)
    return {
        "children": len(descendants),
        "zombies": sum(_is_zombie(child) for child in descendants),
        "files": server.num_fds(),
        "unix_sockets": len(server.net_connections(kind="unix")),
    }


def rss_mb(pid: int) -> float:
    """Resident memory in MB (10^6 bytes); 0 when the process is gone."""
    try:
        return float(psutil.Process(pid).memory_info().rss) / 1e6
    except psutil.NoSuchProcess:
        return 0.0


def tree_cpu_s(pid: int) -> float:
    """Processor seconds, user and system, of a process and its living descendants."""
    return sum(cpu_s(p.pid) for p in [psutil.Process(pid), *children(pid)])


def cpu_s(pid: int) -> float:
    """Processor seconds, user and system, of one process."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


@dataclass(frozen=True, slots=True)
class CpuUse:
    """Processor seconds of a stretch; `foreign_share`: what other programs took of all cores, 0 to 1."""

    server_s: float
    tree_s: float
    foreign_share: float


class CpuWatch:
    """From construction to `stop`: what a server, this process (the client) and all others used."""

    def __init__(self, server_pid: int) -> None:
        self._pid = server_pid
        self._start = self._read()

    def stop(self) -> CpuUse:
        """The use since construction."""
        wall, busy, server, tree, own = (b - a for a, b in zip(self._start, self._read(), strict=True))
        return CpuUse(server, tree, max(0.0, busy - tree - own) / max(wall, 1e-9))

    def _read(self) -> tuple[float, float, float, float, float]:
        times = psutil.cpu_times()
        wall = sum(times[:8])
        busy = wall - times.idle - getattr(times, "iowait", 0.0)
        return wall, busy, cpu_s(self._pid), tree_cpu_s(self._pid), cpu_s(os.getpid())


def machine() -> dict[str, object]:
    """The processor's name and number, and the memory in GB."""
    name = ""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            name = next(
                (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), ""
            )
    memory_gb = round(psutil.virtual_memory().total / 1e9)
    return {"processor": name, "cores": os.cpu_count(), "memory_gb": memory_gb}


def children(pid: int) -> list[psutil.Process]:
    """All descendants, the dead and unburied among them; empty when the process is gone."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
