"""The fate of orphans and of crashed processes, where the operating system has a say.

Never raises: where a call does not exist or is refused, nothing happens.
"""

import contextlib
import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> bool:
    """Have the kernel kill this process when the thread that started it ends (Linux).

    A second line of defence beside the end of file on the worker's socket: it also works while the
    interpreter is stuck in foreign code.
    """
    if sys.platform != "linux":
        return False
    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0)
    return False


def no_core_dump() -> None:
    """An abort ends the process at once instead of writing gigabytes first.

    The limit is 1 byte, not 0: Linux ignores 0 when dumps are piped to a program, and takes 1 as "none".
    """
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        wanted = 1 if hard == resource.RLIM_INFINITY or hard >= 1 else 0
        resource.setrlimit(resource.RLIMIT_CORE, (wanted, hard))
