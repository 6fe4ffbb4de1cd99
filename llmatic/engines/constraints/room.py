"""A thread with a large stack for llguidance, which reads grammars by recursion.

With the usual stack, a grammar of a few thousand rules that refer to each other would end the process. The
stack is only an address range: what is not used takes no memory, and it goes with the thread.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

# Several times what the largest accepted grammars need.
_STACK_BYTES = 256 * 1024 * 1024

_starting = threading.Lock()


class Panicked(Exception):
    """llguidance met a fault of its own."""


def with_room(work: Callable[[], Result]) -> Result:
    """The result of `work`, done on a thread of its own; what it raises is raised here.

    Raises Panicked in place of the BaseException that Rust's panics become.
    """
    results: list[Result] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="constraint")
    with _starting:
        usual = threading.stack_size(_STACK_BYTES)
        try:
            thread.start()
        finally:
            threading.stack_size(usual)
    thread.join()
    if not failures:
        return results[0]
    if type(failures[0]).__name__ == "PanicException":
        raise Panicked(str(failures[0])) from None
    raise failures[0]
