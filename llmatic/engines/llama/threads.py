"""How many threads to compute with, and which threads must yield to them.

Owns no state. A busy core multiplies llama.cpp's step time (its threads wait for each other), so every
thread that does not compute runs at the lowest priority.
"""

import os
import sys
import threading
from pathlib import Path


def default_threads() -> int:
    """Physical cores this process may use; hyper-threads share their arithmetic units and gain nothing."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = set()
    for cpu in allowed:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(siblings.read_text(encoding="ascii").strip())
        except OSError:
            cores.add(str(cpu))
    return max(1, len(cores))


def yield_to_compute() -> None:
    """Give the calling thread the lowest priority; threads it starts later inherit that.

    Where the system has no priorities per thread (anything but Linux) this does nothing. It cannot be undone
    without privileges: never call it in the engine's thread, whose children do the arithmetic.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
