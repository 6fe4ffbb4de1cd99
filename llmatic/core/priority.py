"""Which threads step back for those that compute. Linux only; elsewhere nothing happens. Never raises.

A busy thread beside llama.cpp's multiplies the time of a decode step, because its threads wait for each
other. So whatever does not compute is made a little nice. Only a little: llama.cpp's threads spin between
decodes, and at the lowest priority the server got its turn so rarely that tokens arrived in bursts
(16 streams, small model: first token after 485 ms at niceness 19, 84 ms at 5, the same throughput).
"""

import contextlib
import os
import sys
import threading

NICENESS = 5
_NICEST = 19


def nice_this_thread(by: int = NICENESS) -> bool:
    """Lower the priority of the calling thread alone; threads it starts later inherit that.

    It cannot be undone without privileges: never call it in a thread whose children do the arithmetic.
    """
    if sys.platform != "linux":
        return False
    with contextlib.suppress(OSError):
        thread = threading.get_native_id()
        now = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, min(_NICEST, now + by))
        return True
    return False
