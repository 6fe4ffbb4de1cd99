"""How much memory this machine has, and what a model's file will take of it. Any thread."""

import os
import re
from pathlib import Path

_PART = re.compile(r"-\d{5}-of-(\d{5})$")


def total_bytes() -> int:
    """All of it."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def available_bytes() -> int:
    """What could be taken without swapping, page cache included; where that is unknown, half of all."""
    try:
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return total_bytes() // 2
    found = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(found[1]) * 1024 if found else total_bytes() // 2


def file_bytes(path: Path) -> int:
    """The size of a model's file, of all its parts if it is the first of several."""
    part = _PART.search(path.stem)
    parts = path.parent.glob(f"{path.stem[: part.start()]}-*-of-{part[1]}{path.suffix}") if part else [path]
    return sum(item.stat().st_size for item in parts)
