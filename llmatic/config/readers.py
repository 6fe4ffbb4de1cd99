"""From one node of the tree to one checked value.

Owns what a number, a duration, a size or a name looks like and the words of every refusal:
"<where>: <key> must be <this>, not <that>". Never knows which key has which reader. Any thread.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from llmatic.config.tree import Items, Node, Scalar, Table, describe, fail

Read = Callable[[Node, str], Any]
_DURATION = re.compile(r"\s*([0-9]{1,12}(?:\.[0-9]+)?)\s*(ms|s|m|h|d)\s*\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]+)?)\s*([KMG]i?)?B?\s*\Z")
_BYTES = {None: 1, "K": 1000, "M": 1000**2, "G": 1000**3, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}


@dataclass(frozen=True, slots=True)
class Field:
    """How one key is read. `form` tells what a variable's raw text becomes: text, a list, or parsed YAML."""

    attribute: str
    read: Read
    form: str = "yaml"


def refuse(node: Node, name: str, expected: str) -> NoReturn:
    """Raise ConfigError: what was expected of `name` and what was found."""
    fail(node.at, f"{name} must be {expected}, not {describe(node)}")


def number_of(node: Node) -> float | None:
    """The node's number, whole or not; None if it is no finite number."""
    if not isinstance(node, Scalar) or node.kind not in ("int", "float"):
        return None
    try:
        value = float(node.text.replace("_", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def whole(low: int, high: int | None = None) -> Read:
    """A whole number in a range, both ends included."""
    expected = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"

    def read(node: Node, name: str) -> int:
        if not isinstance(node, Scalar) or node.kind != "int" or len(node.text) > 20:
            refuse(node, name, expected)
        try:
            value = int(node.text.replace("_", ""))
        except ValueError:
            refuse(node, name, f"{expected}, written in decimal")
        if value < low or (high is not None and value > high):
            refuse(node, name, expected)
        return value

    return read


def real(low: float, high: float) -> Read:
    """A number in a range, both ends included."""

    def read(node: Node, name: str) -> float:
        value = number_of(node)
        if value is None or not low <= value <= high:
            refuse(node, name, f"a number from {low:g} to {high:g}")
        return value

    return read


def duration(*, zero: bool) -> Read:
    """Seconds, or text such as 500ms, 90s, 5m, 2h, 1d; `zero` tells whether 0 is allowed."""
    bound = "a duration" if zero else "a duration above zero"

    def read(node: Node, name: str) -> float:
        value = number_of(node)
        if value is None and isinstance(node, Scalar) and (match := _DURATION.match(node.text)):
            value = float(match[1]) * _SECONDS[match[2]]
        if value is None or value < 0 or (value == 0 and not zero):
            refuse(node, name, f"{bound}: seconds, or a number with ms, s, m, h or d")
        return value

    return read


def keep_alive(node: Node, name: str) -> float | None:
    """A duration, or `never` for a model that stays loaded."""
    if isinstance(node, Scalar) and node.text == "never":
        return None
    seconds: float = duration(zero=True)(node, name)
    return seconds


def size(low: int) -> Read:
    """Bytes, or text such as 500KB (1000 bytes each), 16MiB (1024 × 1024 bytes each)."""

    def read(node: Node, name: str) -> int:
        match = _SIZE.match(node.text) if isinstance(node, Scalar) and node.kind in ("int", "str") else None
        value = int(float(match[1]) * _BYTES[match[2]]) if match else -1
        if value < low:
            refuse(
                node,
                name,
                f"a size of at least {low} bytes: bytes, or a number with KB, MB, GB, KiB, MiB, GiB",
            )
        return value

    return read


def flag(node: Node, name: str) -> bool:
    """True or false."""
    if isinstance(node, Scalar) and node.kind == "bool":
        return node.text.lower() in ("true", "yes", "on")
    refuse(node, name, "true or false")


def text(node: Node, name: str) -> str:
    """Text that is not empty; what YAML takes for a number or a boolean needs quotes."""
    if not isinstance(node, Scalar) or node.kind != "str":
        quotes = " (put it in quotes)" if isinstance(node, Scalar) and node.kind != "null" else ""
        fail(node.at, f"{name} must be text, not {describe(node)}{quotes}")
    if not node.text.strip():
        fail(node.at, f"{name} must not be empty")
    return node.text


def one_of(*choices: str) -> Read:
    """One of a few words."""

    def read(node: Node, name: str) -> str:
        if not isinstance(node, Scalar) or node.text not in choices:
            refuse(node, name, "one of " + ", ".join(choices))
        return node.text

    return read


def texts(check: Callable[[str], str | None] | None = None, *, secret: bool = False) -> Read:
    """A list of texts; `check` says what is wrong with one. No message repeats a secret's text."""

    def read(node: Node, name: str) -> tuple[str, ...]:
        if not isinstance(node, Items):
            what = "text" if secret and isinstance(node, Scalar) else describe(node)
            fail(node.at, f"{name} must be a list of texts, not {what}")
        found: list[str] = []
        for item in node.items:
            if secret and (not isinstance(item, Scalar) or item.kind != "str"):
                fail(item.at, f"every entry of {name} must be text in quotes")
            value = text(item, f"every entry of {name}")
            problem = check(value) if check else None
            if problem:
                fail(item.at, problem if secret else f"{name}: '{value}' {problem}")
            found.append(value)
        return tuple(dict.fromkeys(found))

    return read


def patterns(node: Node, name: str) -> tuple[str, ...]:
    """A list of RE2 patterns, which take time in proportion to the text; none matches ""."""
    found: tuple[str, ...] = texts(_pattern_problem)(node, name)
    return found


def _pattern_problem(pattern: str) -> str | None:
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "error"
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        return f"is no RE2 pattern: {reason} (see https://github.com/google/re2/wiki/Syntax)"
    return "matches the empty text" if compiled.search("") is not None else None


def stop_texts(node: Node, name: str) -> str | list[str]:
    """One stop text or up to four, as in a request; they may be white space."""
    nodes = node.items if isinstance(node, Items) else (node,)
    if not 0 < len(nodes) <= 4:
        fail(node.at, f"{name} must hold 1 to 4 texts, not {len(nodes)}")
    found: list[str] = []
    for item in nodes:
        if not isinstance(item, Scalar) or item.kind != "str" or not item.text:
            refuse(item, name, "one text or a list of texts, in quotes")
        found.append(item.text)
    return found if isinstance(node, Items) else found[0]


def plain(node: Node, _name: str) -> Any:
    """Whatever stands there, as Python values: for the options that only an engine knows."""
    if isinstance(node, Table):
        return {key: plain(value, _name) for key, value in node.values.items()}
    if isinstance(node, Items):
        return [plain(item, _name) for item in node.items]
    if node.kind == "null":
        return None
    if node.kind == "bool":
        return flag(node, _name)
    value = number_of(node)
    if value is None or len(node.text) > 40:
        return node.text
    return int(node.text.replace("_", "")) if node.kind == "int" else value


def mapping(node: Node, name: str) -> Mapping[str, Any]:
    """A mapping of plain values."""
    if not isinstance(node, Table):
        refuse(node, name, "a mapping")
    found: Mapping[str, Any] = plain(node, name)
    return found
