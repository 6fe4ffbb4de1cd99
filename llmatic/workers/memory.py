"""How much memory a process holds, without a dependency. Linux only; None elsewhere."""

import os
from pathlib import Path


def resident_bytes(pid: int) -> int | None:
    """Resident set of `pid` in bytes; None if it is gone or the system does not say."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
