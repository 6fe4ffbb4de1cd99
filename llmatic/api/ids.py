"""Names that the server gives out: of requests, of completions and of calls. Any thread."""

import os

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TO_BASE62 = bytes(ord(_BASE62[byte % 62]) for byte in range(256))


def request_id() -> str:
    """`req_` and 32 hexadecimal digits."""
    return "req_" + os.urandom(16).hex()


def object_id(prefix: str) -> str:
    """The prefix, a hyphen if it has no end of its own, and 29 letters and digits."""
    start = prefix if prefix.endswith("_") else f"{prefix}-"
    return start + os.urandom(29).translate(_TO_BASE62).decode("ascii")


def call_id() -> str:
    """`call_` and 24 letters and digits."""
    return "call_" + os.urandom(24).translate(_TO_BASE62).decode("ascii")


def tool_use_id() -> str:
    """`toolu_` and 24 letters and digits, the name of a call in Anthropic's API."""
    return "toolu_" + os.urandom(24).translate(_TO_BASE62).decode("ascii")
